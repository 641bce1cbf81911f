//! Taking up the keys of a checkpoint, many at a time and before anybody is served.
//!
//! A death on the way has all keys removed: what was restored of a checkpoint is nothing without the rest, and the next
//! incarnation begins it anew. So a run of keys is one operation to the record, the flush that it would come to, and no key says
//! by itself what it is about.

use super::entry::EntryMut;
use super::table::Link;
use super::write::checked_entry_bytes;
use super::{DATABASES, Expiry, Lookup, Store};
use crate::error::Result;
use crate::storage::checkpoint::record::KeyRecord;

impl Store {
    /// Makes room for so many keys in an empty database, as far as memory goes: it need not grow key by key.
    pub fn expect_keys(&mut self, database: usize, keys: usize) {
        let index = usize::from(self.table_of[database]);
        self.record.flush(None);
        self.tables[index].expect(keys, &mut self.budget);
        self.record.end();
    }

    /// Begins a run of keys, or goes on with it after something else.
    pub fn begin_restoring(&mut self) {
        self.record.flush(None);
    }

    /// Ends a run of keys: nothing else may be done before.
    pub fn end_restoring(&mut self) {
        self.record.end();
    }

    /// Takes up a key of a checkpoint, as part of a run; false if it has ended meanwhile. What has its name already stays.
    ///
    /// # Errors
    /// As [`Store::set`].
    #[inline(never)]
    pub fn restore(&mut self, record: &KeyRecord<'_>) -> Result<bool> {
        let (key, value) = (record.key, record.value);
        let ends = record.expires_at_ms;
        if ends.is_some_and(|at_ms| at_ms < self.now_ms) {
            return Ok(false);
        }
        let bytes = checked_entry_bytes(key.len(), value.len())?;
        let index = usize::from(self.table_of[record.database % DATABASES]) % DATABASES;
        let hash = self.hash(key);
        if self.tables[index].first(hash).is_some()
            && matches!(self.lookup(index, hash, key), Lookup::Done(Some(_)))
        {
            return Ok(true);
        }
        if ends.is_some() {
            self.expiries.reserve(&mut self.budget)?;
        }
        self.tables[index].open(&mut self.budget)?;
        let handle = self.arena.allocate(bytes, &mut self.budget)?;
        let stamp = self.snapshot.stamp(index);
        EntryMut::at(&mut self.arena, handle).restore(stamp, (key, value), record.notes);
        if let Err(error) = self.tables[index].insert(Link { hash, handle }, &mut self.budget) {
            self.arena.free(handle, &mut self.budget);
            return Err(error);
        }
        self.live_keys += 1;
        if let Some(at_ms) = ends {
            self.apply_expiry(handle, Expiry::AtMs(at_ms));
        }
        Ok(true)
    }
}
