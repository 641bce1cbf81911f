//! What a side knows of each connection, found by the connection's name.
//!
//! Slots of the stack are shared by all services, entries are not: so there are as many entries as there were
//! connections at once, and one small number for each slot. In a steady state nothing is allocated.

use crate::error::Result;
use crate::net::service::ConnectionId;
use alloc::vec::Vec;

/// No entry.
const NONE: u32 = u32::MAX;

/// What is known of a connection. Its place is kept and used again: it is large, and mostly room.
pub(super) trait Place {
    /// One that nobody has.
    const VACANT: Self;

    /// Gives back what it holds.
    fn vacate(&mut self);
}

struct Entry<T> {
    /// None while the entry is vacant.
    name: Option<ConnectionId>,
    value: T,
}

/// A value for each connection.
///
/// Invariant: a slot's entry is that of the connection which has the slot, by its name.
pub(super) struct Table<T> {
    entries: Vec<Entry<T>>,
    vacant: Vec<u32>,
    entry_of_slot: Vec<u32>,
}

impl<T: Place> Table<T> {
    pub(super) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            vacant: Vec::new(),
            entry_of_slot: Vec::new(),
        }
    }

    /// Connections in it.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.vacant.len()
    }

    /// The connection that has that slot.
    #[inline]
    pub(super) fn occupant(&self, slot: u32) -> Option<ConnectionId> {
        let entry = *self.entry_of_slot.get(slot as usize)?;
        self.entries.get(entry as usize)?.name
    }

    /// Takes in a connection whose slot is free; its value is as it was made, or as its predecessor left it when it
    /// vacated it.
    ///
    /// # Errors
    /// `OutOfMemory`.
    #[inline]
    pub(super) fn insert(&mut self, id: ConnectionId) -> Result<&mut T> {
        let slot = id.slot as usize;
        if slot >= self.entry_of_slot.len() || self.vacant.is_empty() {
            self.grow(slot)?;
        }
        let index = self.vacant.pop().expect("one was free, or has been made");
        self.entry_of_slot[slot] = index;
        let entry = &mut self.entries[index as usize];
        entry.name = Some(id);
        Ok(&mut entry.value)
    }

    /// Makes room for one more connection, in `slot`.
    #[cold]
    fn grow(&mut self, slot: usize) -> Result<()> {
        let missing = (slot + 1).saturating_sub(self.entry_of_slot.len());
        self.entry_of_slot.try_reserve(missing)?;
        self.entry_of_slot
            .resize(self.entry_of_slot.len() + missing, NONE);
        if self.vacant.is_empty() {
            let index = self.entries.len();
            self.entries.try_reserve(1)?;
            // An entry can always be given back: room for it is taken now.
            self.vacant.try_reserve(index + 1)?;
            self.entries.push(Entry {
                name: None,
                value: T::VACANT,
            });
            self.vacant.push(index as u32);
        }
        Ok(())
    }

    /// What is known of a connection, if it is one of these.
    #[inline]
    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut T> {
        let index = *self.entry_of_slot.get(id.slot as usize)?;
        let entry = self.entries.get_mut(index as usize)?;
        (entry.name == Some(id)).then_some(&mut entry.value)
    }

    /// As [`Table::get_mut`], to be read.
    #[inline]
    pub(super) fn get(&self, id: ConnectionId) -> Option<&T> {
        let index = *self.entry_of_slot.get(id.slot as usize)?;
        let entry = self.entries.get(index as usize)?;
        (entry.name == Some(id)).then_some(&entry.value)
    }

    /// Forgets a connection; `last` looks at what was known of it.
    #[inline]
    pub(super) fn remove<R>(
        &mut self,
        id: ConnectionId,
        last: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        let index = self.entry_of_slot.get_mut(id.slot as usize)?;
        let entry = self.entries.get_mut(*index as usize)?;
        if entry.name != Some(id) {
            return None;
        }
        let result = last(&mut entry.value);
        entry.name = None;
        entry.value.vacate();
        self.vacant.push(core::mem::replace(index, NONE));
        Some(result)
    }

    /// All of them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ConnectionId, &mut T)> {
        let entries = self.entries.iter_mut();
        entries.filter_map(|entry| Some((entry.name?, &mut entry.value)))
    }

    /// Forgets all of them; `each` gets what was known.
    pub(super) fn clear(&mut self, mut each: impl FnMut(ConnectionId, T)) {
        let entries = core::mem::take(&mut self.entries);
        self.vacant.clear();
        self.entry_of_slot.clear();
        for entry in entries {
            if let Some(id) = entry.name {
                each(id, entry.value);
            }
        }
    }
}
