//! Writing keys: each operation either is done or has changed nothing, whenever it ends or is cut off.
//!
//! What can fail comes first. A new value is finished before it is shown: in a fresh slot, whose link then
//! replaces the old one's, or in the record from which it is rewritten in place ([`super::intent`]).

use super::arena::Handle;
use super::changes::Cause;
use super::entry::{Encoding, Entry, EntryMut, HEADER_BYTES, entry_bytes};
use super::intent::REDO_BYTES;
use super::size_classes::slot_bytes_for;
use super::table::Link;
use super::{ENTRY_BYTES_MAX, Expiry, Found, Store};
use crate::cache::eviction::{LFU_INITIAL, Ranking};
use crate::error::{CommandFault, Error, Kind, Result, Subsystem};

/// Where the bytes of a value come from.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// From the caller.
    Bytes(&'a [u8]),
    /// They are those of another entry.
    Entry(Handle),
    /// The present value with these bytes at that offset, zeros between.
    Patch(usize, &'a [u8]),
}

/// A value to be written.
#[derive(Clone, Copy)]
struct Write<'a> {
    source: Source<'a>,
    len: usize,
    encoding: Encoding,
    /// The access bits, if not those of a use now.
    access: Option<u32>,
    expiry: Expiry,
}

impl Store {
    /// Sets a key to a value.
    ///
    /// # Errors
    /// `OutOfMemory`, or `TooLong` if they fit no block.
    pub fn set(
        &mut self,
        database: usize,
        key: &[u8],
        value: &[u8],
        encoding: Encoding,
        expiry: Expiry,
    ) -> Result<()> {
        let write = Write {
            source: Source::Bytes(value),
            len: value.len(),
            encoding,
            access: None,
            expiry,
        };
        self.put(database, key, write)
    }

    /// Writes `bytes` at `offset` of the value of a key, which becomes long enough for them, zeros in
    /// between. A missing key is made, without expiry.
    ///
    /// # Errors
    /// `OutOfMemory`, or `TooLong` if key and value fit no block.
    pub fn patch(
        &mut self,
        database: usize,
        key: &[u8],
        offset: usize,
        bytes: &[u8],
    ) -> Result<()> {
        let old = self.find(database, key).map(|found| found.handle);
        let old_len = old.map_or(0, |handle| Entry::at(&self.arena, handle).value().len());
        let len = old_len.max(offset.saturating_add(bytes.len()));
        if let Some(handle) = old {
            self.preserve(handle);
        }
        if let Some(handle) = old
            && self.patch_in_place(handle, (old_len, len), offset, bytes)
        {
            self.changes.note(key, Cause::Command);
            return Ok(());
        }
        let write = Write {
            source: Source::Patch(offset, bytes),
            len,
            encoding: Encoding::Raw,
            access: None,
            expiry: Expiry::Keep,
        };
        self.put(database, key, write)
    }

    /// Copies value, encoding and expiry of a key to another key, replacing it; false if the source is
    /// not there.
    ///
    /// # Errors
    /// `OutOfMemory`, or `TooLong` if the new key makes it too long.
    pub fn copy(&mut self, from: (usize, &[u8]), to: (usize, &[u8])) -> Result<bool> {
        let Some(found) = self.find(from.0, from.1) else {
            return Ok(false);
        };
        let entry = Entry::at(&self.arena, found.handle);
        let expiry = match entry.expiry_position() {
            Some(position) => Expiry::AtMs(self.expiries.at_ms(position)),
            None => Expiry::Never,
        };
        let write = Write {
            source: Source::Entry(found.handle),
            len: entry.value().len(),
            encoding: entry.encoding(),
            access: Some(entry.access()),
            expiry,
        };
        self.put(to.0, to.1, write)?;
        Ok(true)
    }

    /// Gives a key another name, in the same or another database, replacing what has that name; false if
    /// it is not there.
    ///
    /// # Errors
    /// As [`Store::copy`].
    pub fn rename(&mut self, from: (usize, &[u8]), to: (usize, &[u8])) -> Result<bool> {
        // An expired target goes first: what is found after it stays where it is.
        self.find(to.0, to.1);
        let Some(source) = self.find(from.0, from.1).map(|found| found.handle) else {
            return Ok(false);
        };
        let (index, hash) = (usize::from(self.table_of[to.0]), self.hash(to.1));
        let target = self.find_in(index, hash, to.1).map(|found| found.handle);
        if target == Some(source) {
            return Ok(true);
        }
        self.preserve(source);
        if let Some(target) = target {
            self.preserve(target);
        }
        let entry = Entry::at(&self.arena, source);
        let value = (entry.value().len(), entry.encoding());
        let (access, position) = (entry.access(), entry.expiry_position());
        let bytes = checked_entry_bytes(to.1.len(), value.0)?;
        self.record.build(None);
        let new = self.take_slot(index, bytes)?;
        let mut entry = EntryMut::at(&mut self.arena, new);
        entry.init(self.snapshot.stamp(index), to.1, value, access);
        entry.set_expiry_position(position);
        let (source_at, target_at) = (HEADER_BYTES + from.1.len(), HEADER_BYTES + to.1.len());
        self.arena
            .copy((source, source_at), (new, target_at), value.0);
        EntryMut::at(&mut self.arena, new).seal();
        self.link(index, hash, new)?;
        self.record.prepare(Some(new), target);
        self.record.change(Some(source));
        self.live_keys += 1;
        if let Some(position) = position {
            self.expiries.rename(position, new);
            self.expiring[index] += 1;
            self.expiring[Entry::at(&self.arena, source).table()] -= 1;
            EntryMut::at(&mut self.arena, source).set_expiry_position(None);
        }
        self.take_out(source);
        if let Some(target) = target {
            self.take_out(target);
        }
        self.record.end();
        self.changes.note(from.1, Cause::Command);
        self.changes.note(to.1, Cause::Command);
        Ok(true)
    }

    /// Sets a key to a value, wherever the value comes from.
    #[inline]
    fn put(&mut self, database: usize, key: &[u8], write: Write<'_>) -> Result<()> {
        self.write(database, key, write)?;
        self.changes.note(key, Cause::Command);
        Ok(())
    }

    #[inline]
    fn write(&mut self, database: usize, key: &[u8], write: Write<'_>) -> Result<()> {
        let bytes = checked_entry_bytes(key.len(), write.len)?;
        let index = usize::from(self.table_of[database]);
        let hash = self.hash(key);
        let found = match self.find_in(index, hash, key) {
            Some(found) if self.remove_expired(index, found) => None,
            found => found,
        };
        // Not before an expired entry is gone: with the last one the index gives its pages back.
        if let Expiry::AtMs(_) = write.expiry {
            self.expiries.reserve(&mut self.budget)?;
        }
        let Some(found) = found else {
            return self.make((index, hash, key), bytes, write);
        };
        self.preserve(found.handle);
        let is_same_size = self.arena.slot(found.handle).len() == slot_bytes_for(bytes);
        match write.source {
            Source::Bytes(value) if is_same_size && value.len() <= REDO_BYTES => {
                self.rewrite(found.handle, value, write);
                Ok(())
            }
            _ => self.replace((index, found), key.len(), bytes, write),
        }
    }

    /// Makes the entry of a new key.
    fn make(
        &mut self,
        (index, hash, key): (usize, u32, &[u8]),
        bytes: usize,
        write: Write<'_>,
    ) -> Result<()> {
        self.record.build(None);
        let new = self.take_slot(index, bytes)?;
        let access = write.access.unwrap_or(match self.policy.ranking {
            Ranking::LeastFrequent => self.lfu_access(LFU_INITIAL),
            _ => self.lru_now,
        });
        let value = (write.len, write.encoding);
        let stamp = self.snapshot.stamp(index);
        EntryMut::at(&mut self.arena, new).init(stamp, key, value, access);
        self.fill(new, None, write.source);
        EntryMut::at(&mut self.arena, new).seal();
        self.link(index, hash, new)?;
        self.live_keys += 1;
        if let Expiry::AtMs(_) = write.expiry {
            self.apply_expiry(new, write.expiry);
        }
        self.record.end();
        Ok(())
    }

    /// Gives a key another slot, with its new value.
    fn replace(
        &mut self,
        (index, found): (usize, Found),
        key_len: usize,
        bytes: usize,
        write: Write<'_>,
    ) -> Result<()> {
        let old = found.handle;
        self.record.build(None);
        let new = self.take_slot(index, bytes)?;
        self.arena.copy((old, 0), (new, 0), HEADER_BYTES + key_len);
        EntryMut::at(&mut self.arena, new).set_len(write.len, write.encoding);
        self.fill(new, Some(old), write.source);
        self.touch(new);
        if let Some(access) = write.access {
            EntryMut::at(&mut self.arena, new).set_access(access);
        }
        EntryMut::at(&mut self.arena, new).seal();
        self.record.prepare(Some(new), None);
        self.record.expiry = redo_of(new, write.expiry);
        self.record.change(Some(old));
        self.rename_entry(index, found, new);
        self.arena.free(old, &mut self.budget);
        self.apply_expiry(new, write.expiry);
        self.record.end();
        Ok(())
    }

    /// Writes a value where the present one is.
    fn rewrite(&mut self, handle: Handle, value: &[u8], write: Write<'_>) {
        self.record.redo[..value.len()].copy_from_slice(value);
        self.record.expiry = redo_of(handle, write.expiry);
        self.record
            .rewrite_wide(handle, write.encoding, value.len());
        self.touch(handle);
        let mut entry = EntryMut::at(&mut self.arena, handle);
        entry.set_value(value, write.encoding);
        self.apply_expiry(handle, write.expiry);
        self.record.end();
    }

    /// Patches a value where it is and tells true, if the slot is one for its new length and the record
    /// holds what is overwritten. Bytes beyond the old length are nobody's before the length says so.
    fn patch_in_place(
        &mut self,
        handle: Handle,
        (old_len, len): (usize, usize),
        offset: usize,
        bytes: &[u8],
    ) -> bool {
        let overwritten = old_len.saturating_sub(offset).min(bytes.len());
        let entry = Entry::at(&self.arena, handle);
        let new_bytes = entry_bytes(entry.key().len(), len);
        let is_same_size = self.arena.slot(handle).len() == slot_bytes_for(new_bytes);
        if !is_same_size || overwritten > REDO_BYTES {
            return false;
        }
        self.touch(handle);
        let mut entry = EntryMut::at(&mut self.arena, handle);
        let room = entry.room_mut();
        if offset > old_len {
            room[old_len..offset].fill(0);
        }
        let (over, beyond) = bytes.split_at(overwritten);
        let beyond_at = offset + overwritten;
        room[beyond_at..beyond_at + beyond.len()].copy_from_slice(beyond);
        self.record.redo[..overwritten].copy_from_slice(over);
        self.record.part = (offset, len);
        self.record.rewrite_part(handle, Encoding::Raw, overwritten);
        entry.set_len(len, Encoding::Raw);
        entry.value_mut()[offset..beyond_at].copy_from_slice(over);
        entry.seal();
        self.record.end();
        true
    }

    /// Writes the value of an entry under construction; `old` is the slot it takes the place of.
    fn fill(&mut self, new: Handle, old: Option<Handle>, source: Source<'_>) {
        let at = |store: &Self, handle| HEADER_BYTES + Entry::at(&store.arena, handle).key().len();
        match source {
            Source::Bytes(value) => {
                let mut entry = EntryMut::at(&mut self.arena, new);
                entry.value_mut().copy_from_slice(value);
            }
            Source::Entry(source) => {
                let len = Entry::at(&self.arena, source).value().len();
                let (from, to) = (at(self, source), at(self, new));
                self.arena.copy((source, from), (new, to), len);
            }
            Source::Patch(offset, bytes) => {
                let old_len = old.map_or(0, |old| Entry::at(&self.arena, old).value().len());
                if let Some(old) = old {
                    let (from, to) = (at(self, old), at(self, new));
                    self.arena.copy((old, from), (new, to), old_len);
                }
                let mut entry = EntryMut::at(&mut self.arena, new);
                let value = entry.value_mut();
                value[old_len..].fill(0);
                value[offset..offset + bytes.len()].copy_from_slice(bytes);
            }
        }
    }

    /// Takes a slot for an entry of a table, and puts it on record; ends the operation if there is none.
    fn take_slot(&mut self, index: usize, bytes: usize) -> Result<Handle> {
        let taken = self.tables[index]
            .open(&mut self.budget)
            .and_then(|()| self.arena.allocate(bytes, &mut self.budget));
        match taken {
            Ok(new) => self.record.build(Some(new)),
            Err(_) => self.record.end(),
        }
        taken
    }

    /// Links an entry under construction; frees its slot and ends the operation if there is no room.
    fn link(&mut self, index: usize, hash: u32, handle: Handle) -> Result<()> {
        let linked = self.tables[index].insert(Link { hash, handle }, &mut self.budget);
        if linked.is_err() {
            self.arena.free(handle, &mut self.budget);
            self.record.end();
        }
        linked
    }
}

/// What the record keeps of a change of expiry.
pub(super) fn redo_of(handle: Handle, expiry: Expiry) -> Option<(Handle, Option<u64>)> {
    match expiry {
        Expiry::Keep => None,
        Expiry::Never => Some((handle, None)),
        Expiry::AtMs(at_ms) => Some((handle, Some(at_ms))),
    }
}

/// Bytes of an entry with a key and a value of these lengths.
pub(super) fn checked_entry_bytes(key_len: usize, value_len: usize) -> Result<usize> {
    if value_len > ENTRY_BYTES_MAX.saturating_sub(key_len) {
        return Err(Error::new(
            Subsystem::Cache,
            Kind::Command(CommandFault::TooLong),
        ));
    }
    Ok(entry_bytes(key_len, value_len))
}
