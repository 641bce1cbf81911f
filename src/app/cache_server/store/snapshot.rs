//! Snapshots: every key as it was at one moment, taken while the keyspace is worked on.
//!
//! Each entry carries a mark, one bit. Between snapshots all marks are the same; to begin one is to turn the meaning of
//! the bit around, so that all entries are at once yet to be saved, and new ones are made with the other mark. From
//! then on tables are walked in small turns ([`Store::walk_snapshot`]), and what the walk finds unmarked is saved and
//! marked. Whoever changes or removes an entry saves it first, as it was, if it is unmarked ([`Store::preserve`]). So
//! each entry of that moment is saved once, with its value and expiry of that moment, and nothing that came later is.
//! What keys remember of their use is saved as it is when they are: it is no part of the promise.
//!
//! Splitting, merging and moving take the mark along, and the walk is a scan, which misses nothing that was there
//! throughout. SWAPDB changes no entry: the databases are those of the beginning.
//!
//! FLUSHDB and FLUSHALL would have to save all keys at once: they spoil the snapshot instead, and whoever takes it begins
//! anew. A snapshot that is spoilt or given up leaves unmarked entries behind: the walk goes on without saving until all
//! are marked, and no new one begins before.
//!
//! While a snapshot is taken the roads of [`Store::look`] and [`Store::overwrite`] are closed ([`super::changes`]); at other
//! times a write costs one test.
//!
//! What is saved waits in memory of the incarnation, [`BACKLOG_BYTES_MAX`] at most: beyond that, and where there is no
//! memory, the snapshot is spoilt for good.

use super::arena::{Arena, Handle};
use super::entry::{Entry, EntryMut, HEADER_BYTES};
use super::expiries::Expiries;
use super::{DATABASES, Store};
use crate::error::Result;
use crate::storage::checkpoint::record::{KEY_HEAD_BYTES_MAX, KeyRecord, Record};
use alloc::vec::Vec;

/// Bytes that may wait to be taken: some of the largest values.
const BACKLOG_BYTES_MAX: usize = 64 << 20;
/// Buckets walked in one turn: some four hundred keys, a few ten thousand instructions.
const BUCKETS_PER_TURN: usize = 64;
/// With this much waiting the walk waits as well, in the middle of a bucket if need be.
const BACKLOG_BYTES: usize = 64 << 10;

/// How far a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// None is taken, and all entries are marked.
    Nothing,
    /// Tables are walked.
    Walking,
    /// All is saved, but some of it not yet taken.
    Saved,
    /// It cannot be completed: databases were flushed. Entries are being marked.
    Flushed,
    /// It cannot be completed: it was given up, or what waits took too much memory. Entries are being marked.
    GivenUp,
}

/// What the store keeps of the snapshot under way.
pub(super) struct Snapshot {
    progress: Progress,
    /// The mark of entries that are saved, or were made since.
    mark: bool,
    /// The table that is walked, and the cursor in it.
    table: usize,
    cursor: u32,
    /// The database of each table, at the beginning.
    database_of: [u8; DATABASES],
    keys: u64,
    /// Records, those before `taken` no more needed.
    backlog: Vec<u8>,
    taken: usize,
}

impl Snapshot {
    pub(super) const fn new() -> Self {
        Self {
            progress: Progress::Nothing,
            mark: false,
            table: 0,
            cursor: 0,
            database_of: [0; DATABASES],
            keys: 0,
            backlog: Vec::new(),
            taken: 0,
        }
    }

    /// True while entries have to be saved before they are changed.
    #[inline(always)]
    pub(super) fn is_taken(&self) -> bool {
        matches!(self.progress, Progress::Walking)
    }

    /// The number of a table with the mark of entries made now.
    #[inline(always)]
    pub(super) fn stamp(&self, table: usize) -> (usize, bool) {
        (table, self.mark)
    }

    /// True while enough waits to be taken.
    fn is_ahead(&self) -> bool {
        self.backlog.len() - self.taken >= BACKLOG_BYTES
    }

    /// Forgets what waits.
    fn drop_backlog(&mut self) {
        self.backlog = Vec::new();
        self.taken = 0;
    }

    /// Saves an entry.
    fn save(&mut self, entry: Entry<'_>, expiries: &Expiries) {
        let bytes = entry.bytes() - HEADER_BYTES + KEY_HEAD_BYTES_MAX;
        if self.taken > self.backlog.len() / 2 {
            self.backlog.copy_within(self.taken.., 0);
            self.backlog.truncate(self.backlog.len() - self.taken);
            self.taken = 0;
        }
        let has_room = self.backlog.len() + bytes <= BACKLOG_BYTES_MAX
            && self.backlog.try_reserve(bytes).is_ok();
        if !has_room {
            self.progress = Progress::GivenUp;
            (self.table, self.cursor) = (0, 0);
            self.drop_backlog();
            return;
        }
        let record = KeyRecord {
            database: self.database_of[entry.table()].into(),
            key: entry.key(),
            value: entry.value(),
            expires_at_ms: entry.expiry_position().map(|at| expiries.at_ms(at)),
            notes: entry.notes(),
        };
        record.append(&mut self.backlog);
        self.keys += 1;
    }

    /// Saves the entry in a slot if it is yet to be saved, and marks it.
    fn settle(&mut self, arena: &mut Arena, expiries: &Expiries, handle: Handle) {
        let entry = Entry::at(arena, handle);
        if entry.mark() == self.mark {
            return;
        }
        if self.progress == Progress::Walking {
            self.save(entry, expiries);
        }
        EntryMut::at(arena, handle).set_mark(self.mark);
    }
}

impl Store {
    /// Begins a snapshot of this moment; false if entries of the last one are yet to be marked.
    ///
    /// # Errors
    /// `OutOfMemory`, or what `before` answers: it appends what is to be before the keys.
    pub fn begin_snapshot(
        &mut self,
        before: impl FnOnce(&Self, &mut Vec<u8>) -> Result<()>,
    ) -> Result<bool> {
        if self.snapshot.progress != Progress::Nothing {
            return Ok(false);
        }
        let mut backlog = Vec::new();
        backlog.try_reserve(2 * BACKLOG_BYTES)?;
        before(self, &mut backlog)?;
        let snapshot = &mut self.snapshot;
        (snapshot.backlog, snapshot.taken) = (backlog, 0);
        (snapshot.table, snapshot.cursor, snapshot.keys) = (0, 0, 0);
        for (database, table) in self.table_of.iter().enumerate() {
            snapshot.database_of[usize::from(*table)] = database as u8;
        }
        // First: a death from here on has all entries marked again.
        snapshot.progress = Progress::Walking;
        super::blocks::in_order();
        snapshot.mark = !snapshot.mark;
        self.choose_road();
        Ok(true)
    }

    /// How far the snapshot is.
    #[inline]
    pub fn snapshot(&self) -> Progress {
        self.snapshot.progress
    }

    /// Keys saved so far.
    pub fn snapshot_keys(&self) -> u64 {
        self.snapshot.keys
    }

    /// Saves a few more keys, or marks them; nothing while enough waits to be taken.
    pub fn walk_snapshot(&mut self) {
        for _ in 0..BUCKETS_PER_TURN {
            let is_over = matches!(self.snapshot.progress, Progress::Nothing | Progress::Saved);
            if is_over || self.snapshot.is_ahead() {
                return;
            }
            self.walk_bucket();
        }
    }

    fn walk_bucket(&mut self) {
        let (table, cursor) = (self.snapshot.table, self.snapshot.cursor);
        self.settle_all(table, |table, see| {
            table.scan(cursor, |link| see(link.handle));
        });
        let Self {
            snapshot,
            tables,
            arena,
            expiries,
            ..
        } = self;
        let table = snapshot.table;
        let walked = snapshot.progress;
        let mut is_whole = true;
        let next = tables[table].scan(snapshot.cursor, |link| {
            is_whole &= !snapshot.is_ahead();
            if is_whole {
                snapshot.settle(arena, expiries, link.handle);
            }
        });
        if snapshot.progress != walked {
            // Spoilt on the way: from the start.
            return self.choose_road();
        }
        if !is_whole {
            // The rest of the bucket comes next: what is saved is marked.
            return;
        }
        snapshot.cursor = next;
        if next != 0 {
            return;
        }
        snapshot.table += 1;
        if snapshot.table < DATABASES {
            return;
        }
        snapshot.table = 0;
        let keys = snapshot.keys;
        snapshot.progress = match walked {
            Progress::Walking => match Record::append_end(&mut snapshot.backlog, keys) {
                Ok(()) => Progress::Saved,
                Err(_) => Progress::GivenUp,
            },
            _ => Progress::Nothing,
        };
        self.choose_road();
    }

    /// Moves what was saved into `into`, as much as there is and fits; tells how much.
    pub fn take_saved(&mut self, into: &mut [u8]) -> usize {
        let snapshot = &mut self.snapshot;
        let len = into.len().min(snapshot.backlog.len() - snapshot.taken);
        let end = snapshot.taken + len;
        into[..len].copy_from_slice(&snapshot.backlog[snapshot.taken..end]);
        snapshot.taken = end;
        if end == snapshot.backlog.len() {
            snapshot.backlog.clear();
            snapshot.taken = 0;
        }
        len
    }

    /// Bytes that wait to be taken.
    pub fn saved_bytes(&self) -> usize {
        self.snapshot.backlog.len() - self.snapshot.taken
    }

    /// Ends a snapshot: one that was taken whole, or else what is left is to be marked.
    pub fn end_snapshot(&mut self) {
        let is_whole = matches!(self.snapshot.progress, Progress::Saved | Progress::Nothing);
        self.snapshot.drop_backlog();
        match is_whole {
            true => self.snapshot.progress = Progress::Nothing,
            false => self.spoil(Progress::GivenUp),
        }
        self.choose_road();
    }

    /// As [`Store::end_snapshot`], where the memory of what was saved is gone.
    pub fn abandon_snapshot(&mut self) {
        core::mem::forget(core::mem::take(&mut self.snapshot.backlog));
        self.end_snapshot();
    }

    /// Saves an entry that is about to be changed or removed, if that is to be.
    #[inline(always)]
    pub(super) fn preserve(&mut self, handle: Handle) {
        if self.snapshot.is_taken() {
            self.preserve_now(handle);
        }
    }

    #[cold]
    #[inline(never)]
    fn preserve_now(&mut self, handle: Handle) {
        let Self {
            snapshot,
            arena,
            expiries,
            ..
        } = self;
        snapshot.settle(arena, expiries, handle);
        if !snapshot.is_taken() {
            self.choose_road();
        }
    }

    /// Databases are about to be flushed.
    pub(super) fn spoil_snapshot(&mut self) {
        if matches!(self.snapshot.progress, Progress::Walking) {
            self.spoil(Progress::Flushed);
            self.choose_road();
        }
    }

    /// Has entries marked from the start, for a snapshot that ends with `progress`.
    fn spoil(&mut self, progress: Progress) {
        self.snapshot.drop_backlog();
        self.snapshot.progress = progress;
        (self.snapshot.table, self.snapshot.cursor) = (0, 0);
    }
}
