//! When keys end: lazily, when a look finds them expired, and actively, when their time has come.

use super::arena::Handle;
use super::changes::Cause;
use super::entry::{Entry, EntryMut};
use super::expiries::Node;
use super::write::redo_of;
use super::{Expiry, Found, Store, Touch};
use crate::error::Result;

impl Store {
    /// When a key expires: `None` for no key, `Some(None)` for no expiry.
    pub fn expiry(&mut self, database: usize, key: &[u8], touch: Touch) -> Option<Option<u64>> {
        let found = self.find(database, key)?;
        if touch == Touch::Use {
            self.touch(found.handle);
        }
        let position = Entry::at(&self.arena, found.handle).expiry_position();
        Some(position.map(|position| self.expiries.at_ms(position)))
    }

    /// Sets or removes the expiry of a key; true if the key is there.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn set_expiry(&mut self, database: usize, key: &[u8], expiry: Expiry) -> Result<bool> {
        if let Expiry::AtMs(_) = expiry {
            self.expiries.reserve(&mut self.budget)?;
        }
        let Some(found) = self.find(database, key) else {
            return Ok(false);
        };
        self.preserve(found.handle);
        self.record.prepare(None, None);
        self.record.expiry = redo_of(found.handle, expiry);
        self.record.change(None);
        self.apply_expiry(found.handle, expiry);
        self.record.end();
        if found.has_expiry || expiry != Expiry::Never {
            self.changes.note(key, Cause::Command);
        }
        Ok(true)
    }

    /// When the next key expires, in milliseconds since the Unix epoch.
    #[inline]
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.expiries.soonest().map(|node| node.at_ms)
    }

    /// Milliseconds that keys with an expiry have left, on average over a few of them.
    pub fn average_ttl_ms(&self) -> u64 {
        let mut random = self.random.clone();
        let samples: [Option<Node>; 16] =
            core::array::from_fn(|_| self.expiries.random(&mut random));
        let left = samples
            .iter()
            .flatten()
            .map(|node| node.at_ms.saturating_sub(self.now_ms));
        left.clone()
            .sum::<u64>()
            .checked_div(left.count() as u64)
            .unwrap_or(0)
    }

    /// Removes up to `limit` keys whose time has come; true if there may be more.
    pub fn expire_due(&mut self, limit: usize) -> bool {
        for _ in 0..limit {
            match self.expiries.soonest() {
                Some(node) if node.at_ms < self.now_ms => {
                    if self.can_trust(node.handle) {
                        self.remove_handle(node.handle);
                        self.events.expired_actively += 1;
                    }
                }
                _ => return false,
            }
        }
        true
    }

    /// Removes an entry if it has expired; true if so.
    #[inline]
    pub(super) fn remove_expired(&mut self, index: usize, found: Found) -> bool {
        found.has_expiry && self.remove_if_past(index, found)
    }

    fn remove_if_past(&mut self, index: usize, found: Found) -> bool {
        let is_expired = self.is_expired(found.handle);
        if is_expired {
            self.remove_found(index, found, Cause::End);
            self.events.expired_lazily += 1;
        }
        is_expired
    }

    #[inline]
    pub(super) fn is_expired(&self, handle: Handle) -> bool {
        match Entry::at(&self.arena, handle).expiry_position() {
            None => false,
            Some(position) => self.expiries.at_ms(position) < self.now_ms,
        }
    }

    /// Changes the expiry of an entry; room in the index was reserved.
    #[inline]
    pub(super) fn apply_expiry(&mut self, handle: Handle, expiry: Expiry) {
        let entry = Entry::at(&self.arena, handle);
        match (entry.expiry_position(), expiry) {
            (_, Expiry::Keep) | (None, Expiry::Never) => {}
            (None, Expiry::AtMs(at_ms)) => {
                self.expiring[entry.table()] += 1;
                self.expiries
                    .insert(Node { at_ms, handle }, &mut self.arena);
            }
            (Some(position), Expiry::AtMs(at_ms)) => {
                self.expiries.reschedule(position, at_ms, &mut self.arena);
            }
            (Some(position), Expiry::Never) => {
                self.expiring[entry.table()] -= 1;
                EntryMut::at(&mut self.arena, handle).set_expiry_position(None);
                self.expiries
                    .remove(position, &mut self.arena, &mut self.budget);
            }
        }
    }
}
