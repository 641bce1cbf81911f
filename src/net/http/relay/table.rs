//! What a side knows of each connection, found by the connection's name.
//!
//! Slots of the stack are shared by all services, entries are not: so there are as many entries as there were
//! connections at once, and one small number for each slot. In a steady state nothing is allocated.

use crate::error::{Grow, Result};
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
    /// The connection's name in one word; [`NOBODY`] while the entry is vacant.
    name: u64,
    value: T,
}

/// The name of no connection: slots are fewer.
const NOBODY: u64 = u64::MAX;

#[inline]
fn name_of(id: ConnectionId) -> u64 {
    u64::from(id.slot) << 32 | u64::from(id.generation)
}

#[inline]
fn named(name: u64) -> Option<ConnectionId> {
    let (slot, generation) = ((name >> 32) as u32, name as u32);
    (name != NOBODY).then_some(ConnectionId { slot, generation })
}

/// Where a connection's entry is, as long as the connection is in the table.
#[derive(Clone, Copy)]
pub(super) struct Index(u32);

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
        named(self.entries.get(entry as usize)?.name)
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
        entry.name = name_of(id);
        Ok(&mut entry.value)
    }

    /// Makes room for one more connection, in `slot`.
    #[cold]
    fn grow(&mut self, slot: usize) -> Result<()> {
        let missing = (slot + 1).saturating_sub(self.entry_of_slot.len());
        self.entry_of_slot.try_reserve(missing)?;
        self.entry_of_slot
            .resize_reserved(self.entry_of_slot.len() + missing, NONE);
        if self.vacant.is_empty() {
            let index = self.entries.len();
            self.entries.try_reserve(1)?;
            // An entry can always be given back: room for it is taken now.
            self.vacant.try_reserve(index + 1)?;
            self.entries.push_reserved(Entry {
                name: NOBODY,
                value: T::VACANT,
            });
            self.vacant.push_reserved(index as u32);
        }
        Ok(())
    }

    /// Where a connection's entry is, if it is one of these.
    #[inline]
    pub(super) fn find(&self, id: ConnectionId) -> Option<Index> {
        let index = *self.entry_of_slot.get(id.slot as usize)?;
        let entry = self.entries.get(index as usize)?;
        (entry.name == name_of(id)).then_some(Index(index))
    }

    /// What is known of the connection that was found there and has not been removed since.
    #[inline]
    pub(super) fn at(&mut self, index: Index) -> &mut T {
        &mut self.entries[index.0 as usize].value
    }

    /// What is known of a connection, if it is one of these.
    #[inline]
    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut T> {
        let index = *self.entry_of_slot.get(id.slot as usize)?;
        let entry = self.entries.get_mut(index as usize)?;
        (entry.name == name_of(id)).then_some(&mut entry.value)
    }

    /// As [`Table::get_mut`], to be read.
    #[inline]
    pub(super) fn get(&self, id: ConnectionId) -> Option<&T> {
        let index = *self.entry_of_slot.get(id.slot as usize)?;
        let entry = self.entries.get(index as usize)?;
        (entry.name == name_of(id)).then_some(&entry.value)
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
        if entry.name != name_of(id) {
            return None;
        }
        let result = last(&mut entry.value);
        entry.name = NOBODY;
        entry.value.vacate();
        self.vacant.push_reserved(core::mem::replace(index, NONE));
        Some(result)
    }

    /// All of them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ConnectionId, &mut T)> {
        let entries = self.entries.iter_mut();
        entries.filter_map(|entry| Some((named(entry.name)?, &mut entry.value)))
    }

    /// Forgets all of them; `each` gets what was known.
    pub(super) fn clear(&mut self, mut each: impl FnMut(ConnectionId, T)) {
        let entries = core::mem::take(&mut self.entries);
        self.vacant.clear();
        self.entry_of_slot.clear();
        for entry in entries {
            if let Some(id) = named(entry.name) {
                each(id, entry.value);
            }
        }
    }
}
