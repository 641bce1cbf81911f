//! What a side knows of each connection, found by the connection's name.
//!
//! Slots of the stack are shared by all services, entries are not: so there are as many entries as there were
//! connections at once, and one small number for each slot. In a steady state nothing is allocated.

use crate::error::Result;
use crate::net::service::ConnectionId;
use alloc::vec::Vec;

/// No entry.
const NONE: u32 = u32::MAX;

/// A value for each connection.
pub(super) struct Table<T> {
    entries: Vec<Option<(ConnectionId, T)>>,
    vacant: Vec<u32>,
    entry_of_slot: Vec<u32>,
}

impl<T> Table<T> {
    pub(super) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            vacant: Vec::new(),
            entry_of_slot: Vec::new(),
        }
    }

    /// Connections in it.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.vacant.len()
    }

    /// The connection that has that slot.
    pub(super) fn occupant(&self, slot: u32) -> Option<ConnectionId> {
        let entry = *self.entry_of_slot.get(slot as usize)?;
        Some(self.entries.get(entry as usize)?.as_ref()?.0)
    }

    /// Takes in a connection whose slot is free.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn insert(&mut self, id: ConnectionId, value: T) -> Result<()> {
        let slot = id.slot as usize;
        if let Some(missing) = (slot + 1).checked_sub(self.entry_of_slot.len()) {
            self.entry_of_slot.try_reserve(missing)?;
            self.entry_of_slot
                .resize(self.entry_of_slot.len() + missing, NONE);
        }
        if self.vacant.is_empty() {
            let index = self.entries.len();
            self.entries.try_reserve(1)?;
            // An entry can always be given back: room for it is taken now.
            self.vacant.try_reserve(index + 1)?;
            self.entries.push(None);
            self.vacant.push(index as u32);
        }
        if let Some(index) = self.vacant.pop() {
            self.entries[index as usize] = Some((id, value));
            self.entry_of_slot[slot] = index;
        }
        Ok(())
    }

    /// What is known of a connection, if it is one of these.
    #[inline]
    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut T> {
        let entry = *self.entry_of_slot.get(id.slot as usize)?;
        let (name, value) = self.entries.get_mut(entry as usize)?.as_mut()?;
        (*name == id).then_some(value)
    }

    /// As [`Table::get_mut`], to be read.
    #[inline]
    pub(super) fn get(&self, id: ConnectionId) -> Option<&T> {
        let entry = *self.entry_of_slot.get(id.slot as usize)?;
        let (name, value) = self.entries.get(entry as usize)?.as_ref()?;
        (*name == id).then_some(value)
    }

    /// Forgets a connection.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<T> {
        self.get(id)?;
        let index = core::mem::replace(&mut self.entry_of_slot[id.slot as usize], NONE);
        self.vacant.push(index);
        self.entries[index as usize].take().map(|(_, value)| value)
    }

    /// All of them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ConnectionId, &mut T)> {
        let entries = self.entries.iter_mut().flatten();
        entries.map(|(id, value)| (*id, value))
    }

    /// Forgets all of them; `each` gets what was known.
    pub(super) fn clear(&mut self, mut each: impl FnMut(ConnectionId, T)) {
        let entries = core::mem::take(&mut self.entries);
        self.vacant.clear();
        self.entry_of_slot.clear();
        for (id, value) in entries.into_iter().flatten() {
            each(id, value);
        }
    }
}
