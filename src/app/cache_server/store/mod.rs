//! The keyspace: keys, values and expiries of sixteen databases in memory of its own.
//!
//! All memory is blocks from the frame source, counted against one limit ([`budget`]): slots for entries
//! ([`arena`]), a hash table for each database in use ([`table`]), and the index of expiries
//! ([`expiries`]). Nothing here allocates but through them, and every refusal is an `OutOfMemory` that
//! left the keyspace as it was: the caller makes room ([`Store::make_room`]) and asks again.
//!
//! Always true: each live slot is an entry named by exactly one link of exactly one table; an entry with
//! an expiry is in the index once. An expired key is never seen: looking at it removes it.
//!
//! The keyspace outlives whoever works on it: nothing of it is on the heap ([`blocks`]) but the log of
//! [`changes`], which ends with who asked for it. Each mutation
//! says what it is about ([`intent`]), and one cut off at any machine step is completed or undone by
//! [`Store::recover`] before the keyspace is worked on again. Writing is in [`write`].
//!
//! Flow: a command handler asks by database and key; the eviction policy answers in [`evict`].
//! Limits: key and value together fit one block of 4 MiB.

mod arena;
mod blocks;
mod buckets;
mod budget;
mod changes;
mod check;
#[cfg(all(test, target_os = "linux", not(miri)))]
mod cut_tests;
mod damage;
#[cfg(test)]
mod damage_tests;
mod databases;
mod entry;
mod evict;
mod expiries;
mod intent;
mod lifetimes;
mod recovery;
mod restore;
mod seal;
mod size_classes;
mod snapshot;
#[cfg(test)]
mod snapshot_tests;
#[cfg(all(test, target_os = "linux", not(miri)))]
mod stepping;
mod table;
#[cfg(test)]
mod table_tests;
#[cfg(test)]
pub(in crate::app) mod testing;
#[cfg(test)]
mod tests;
mod write;

use crate::cache::eviction::{CandidatePool, EvictionPolicy, Ranking};
use crate::cache::random::Random;
use crate::memory::frames::FrameSource;
use arena::{Arena, Handle};
use budget::Budget;
use changes::Changes;
use core::hash::Hasher;
use core::ops::Range;
use entry::{Entry, EntryMut};
use expiries::{Expiries, Node};
use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use intent::Record;
use snapshot::Snapshot;
use table::{Link, Place, Table};

pub use changes::{Cause, Change, ChangeLog};
pub use damage::Damage;
pub use entry::Encoding;
pub use recovery::{Outcome, Recovery};
pub use snapshot::Progress;

/// Databases a client can select.
pub const DATABASES: usize = 16;
/// Bytes of key and value together, at most.
pub const ENTRY_BYTES_MAX: usize = arena::MAX_BYTES - entry::HEADER_BYTES;
/// The LRU clock counts units of 32 ms: fine enough to rank keys written within a second; its 26 bits
/// wrap after 24 days, after which an idle key looks young once.
const LRU_SHIFT: u32 = 5;
const ACCESS_MASK: u32 = (1 << 26) - 1;
const MINUTE_MS: u64 = 60_000;

/// What a write does to the key's expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// The key never expires.
    Never,
    /// It stays as it is.
    Keep,
    /// At that time, milliseconds since the Unix epoch.
    AtMs(u64),
}

/// A value found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// How it is said to be encoded.
    pub encoding: Encoding,
}

/// What [`Store::look`] found.
pub enum Look<'a> {
    /// The value of the key, which has not expired.
    Found(&'a [u8]),
    /// The key is not there.
    Missing,
    /// Nothing is known: [`Store::get`] has to look.
    Unsure,
}

/// What `look_at` found.
enum LookAt<'a> {
    /// The entry of the key and where its value lies in the slot, the access bits of a use now, and what it takes to rewrite it.
    Found((EntryMut<'a>, Range<usize>), u32, Handle, &'a mut Record),
    Missing,
    Unsure,
}

/// Whether a look at a key counts as a use of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// It does.
    Use,
    /// It does not.
    LookOnly,
}

/// What happened in the keyspace since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Keys evicted for room.
    pub evicted: u64,
    /// Expired keys removed when they were looked at.
    pub expired_lazily: u64,
    /// Expired keys removed by [`Store::expire_due`].
    pub expired_actively: u64,
    /// What was not as it was written.
    pub damage: Damage,
}

/// Sizes of the keyspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes held, in blocks.
    pub used_bytes: u64,
    /// The most blocks held at a time, in bytes.
    pub peak_bytes: u64,
    /// Of `used_bytes`, what live entries occupy.
    pub entry_bytes: u64,
    /// The limit.
    pub limit_bytes: u64,
}

/// A key found: where its link is and which entry it names.
#[derive(Clone, Copy)]
struct Found {
    hash: u32,
    place: Place,
    handle: Handle,
    has_expiry: bool,
}

/// What a lookup came to.
enum Lookup {
    /// It went to its end: the key is there or not.
    Done(Option<Found>),
    /// This entry was on its way, and is not as it was written.
    Damaged(Handle),
}

/// The ways of what is run most.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Road {
    Open,
    Closed,
}

/// The keyspace.
pub struct Store {
    budget: Budget,
    arena: Arena,
    /// Opened on first use.
    tables: [Table; DATABASES],
    /// Which table a database is: what SWAPDB changes.
    table_of: [u8; DATABASES],
    live_keys: usize,
    expiring: [usize; DATABASES],
    expiries: Expiries,
    hash_seed: u64,
    hash_seeds: SharedSeed,
    /// Spreads each bit of a hash over all: odd, and as secret as the state.
    hash_mixer: u64,
    random: Random,
    now_ms: u64,
    lru_now: u32,
    policy: EvictionPolicy,
    /// [`Store::look`] and [`Store::overwrite`] leave all to the others ([`changes`]).
    usual_road: Road,
    candidates: CandidatePool<Handle>,
    events: Events,
    record: Record,
    changes: Changes,
    snapshot: Snapshot,
}

impl Store {
    /// An empty keyspace that takes up to `limit_bytes` from `source`. `seed` keys the hash: peers must
    /// not know it.
    pub fn new(
        source: &'static dyn FrameSource,
        limit_bytes: u64,
        policy: EvictionPolicy,
        seed: u64,
    ) -> Self {
        let mut random = Random::new(seed);
        let mut store = Self {
            budget: Budget::new(source, limit_bytes),
            arena: Arena::new(),
            tables: [const { Table::new() }; DATABASES],
            table_of: core::array::from_fn(|database| database as u8),
            live_keys: 0,
            expiring: [0; DATABASES],
            expiries: Expiries::new(),
            hash_seed: random.next_u64(),
            hash_seeds: SharedSeed::from_u64(seed),
            hash_mixer: random.next_u64() | 1,
            random,
            now_ms: 0,
            lru_now: 0,
            policy,
            usual_road: Road::Open,
            candidates: CandidatePool::new(),
            events: Events::default(),
            record: Record::new(),
            changes: Changes::default(),
            snapshot: Snapshot::new(),
        };
        store.choose_road();
        store
    }

    /// Tells the time, in milliseconds since the Unix epoch.
    #[inline]
    pub fn set_time(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.lru_now = (now_ms >> LRU_SHIFT) as u32 & ACCESS_MASK;
    }

    /// The time it was told last.
    #[inline]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// What happened so far.
    #[inline]
    pub fn events(&self) -> Events {
        self.events
    }

    /// Its sizes.
    #[inline]
    pub fn sizes(&self) -> Sizes {
        Sizes {
            used_bytes: self.budget.held_bytes(),
            peak_bytes: self.budget.peak_bytes(),
            entry_bytes: self.arena.live_bytes(),
            limit_bytes: self.budget.limit_bytes(),
        }
    }

    /// Forgets the peak.
    pub fn reset_peak(&mut self) {
        self.budget.reset_peak();
    }

    /// Looks a key up.
    pub fn get(&mut self, database: usize, key: &[u8], touch: Touch) -> Option<Value<'_>> {
        let handle = self.find(database, key)?.handle;
        if touch == Touch::Use {
            self.touch(handle);
        }
        let entry = Entry::at(&self.arena, handle);
        Some(Value {
            bytes: entry.value(),
            encoding: entry.encoding(),
        })
    }

    /// Looks a key up where nearly all keys are found, and counts that as a use: for the commands that are
    /// run most, whose part it becomes.
    #[inline(always)]
    pub fn look(&mut self, database: usize, key: &[u8]) -> Look<'_> {
        match self.look_at(database, key) {
            LookAt::Found((mut entry, value), access, ..) => {
                entry.set_access(access);
                Look::Found(entry.into_bytes(value))
            }
            LookAt::Missing => Look::Missing,
            LookAt::Unsure => Look::Unsure,
        }
    }

    /// [`Store::look`] with what it takes to change the entry.
    #[inline(always)]
    fn look_at(&mut self, database: usize, key: &[u8]) -> LookAt<'_> {
        let index = usize::from(self.table_of[database % DATABASES]) % DATABASES;
        let hash = self.hash(key);
        let Some((_, handle)) = self.tables[index].first(hash) else {
            return match self.tables[index].is_surely_missing(hash) {
                true => LookAt::Missing,
                false => LookAt::Unsure,
            };
        };
        if self.usual_road == Road::Closed {
            return LookAt::Unsure;
        }
        let Some(slot) = self.arena.slot_if(handle) else {
            return LookAt::Unsure;
        };
        let Some((entry, value)) = EntryMut::of(slot, key, index) else {
            return LookAt::Unsure;
        };
        if let Some(position) = entry.entry().expiry_position()
            && self.expiries.at_ms(position) < self.now_ms
        {
            return LookAt::Unsure;
        }
        LookAt::Found((entry, value), self.lru_now, handle, &mut self.record)
    }

    /// Sets a key to a value in place and tells true, if that is the usual write: the same key again, with a
    /// value that fits its slot, and no expiry at all. Else [`Store::set`] has to do it.
    #[inline(always)]
    pub fn overwrite(
        &mut self,
        database: usize,
        key: &[u8],
        value: &[u8],
        encoding: Encoding,
    ) -> bool {
        match self.look_at(database, key) {
            LookAt::Found((mut entry, _), access, handle, record) => {
                entry.overwrite(key.len(), (value, encoding), access, (handle, record))
            }
            LookAt::Missing | LookAt::Unsure => false,
        }
    }

    /// Removes a key; true if it was there.
    pub fn remove(&mut self, database: usize, key: &[u8]) -> bool {
        let Some(found) = self.find(database, key) else {
            return false;
        };
        self.remove_found(usize::from(self.table_of[database]), found, Cause::Command);
        true
    }

    /// Makes an integer an object of its own, which no other key shares.
    pub fn unshare(&mut self, database: usize, key: &[u8]) {
        let Some(found) = self.find(database, key) else {
            return;
        };
        let entry = Entry::at(&self.arena, found.handle);
        let len = entry.value().len();
        if entry.encoding() == Encoding::Int && len <= self.record.redo.len() {
            self.record.redo[..len].copy_from_slice(entry.value());
            self.record.rewrite(found.handle, Encoding::OwnInt, len);
            let mut entry = EntryMut::at(&mut self.arena, found.handle);
            entry.set_len(len, Encoding::OwnInt);
            entry.seal();
            self.record.end();
        }
    }

    /// Bytes that a key occupies with all that belongs to it.
    pub fn usage_bytes(&mut self, database: usize, key: &[u8]) -> Option<usize> {
        let found = self.find(database, key)?;
        let entry = Entry::at(&self.arena, found.handle);
        let expiry = if entry.expiry_position().is_some() {
            size_of::<Node>()
        } else {
            0
        };
        Some(size_classes::slot_bytes_for(entry.bytes()) + size_of::<u64>() + expiry)
    }

    fn table(&self, database: usize) -> &Table {
        &self.tables[usize::from(self.table_of[database])]
    }

    /// The hash of a key, for a table of the same keys: secret, so that peers cannot choose keys by it.
    #[inline(never)]
    pub fn hash_of(&self, key: &[u8]) -> u32 {
        self.hash(key)
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> u32 {
        let mut hasher = FoldHasher::with_seed(self.hash_seed, &self.hash_seeds);
        hasher.write(key);
        // Similar keys must not have similar hashes: buckets next to one another are a sample of all keys.
        let product = u128::from(hasher.finish()) * u128::from(self.hash_mixer);
        (product >> 64) as u32 ^ product as u32
    }

    /// Finds a key; one that has expired is removed instead. A call of its own: what runs most has [`Store::look`].
    #[inline(never)]
    fn find(&mut self, database: usize, key: &[u8]) -> Option<Found> {
        let index = usize::from(self.table_of[database]);
        let found = self.find_in(index, self.hash(key), key)?;
        (!self.remove_expired(index, found)).then_some(found)
    }

    /// Finds a key, expired or not. All that was looked at is as it was written, or has been put right.
    #[inline(never)]
    fn find_in(&mut self, index: usize, hash: u32, key: &[u8]) -> Option<Found> {
        loop {
            self.events.damage.index_corrected += self.tables[index].mend(hash);
            match self.lookup(index, hash, key) {
                Lookup::Done(found) => {
                    if found.is_some_and(|found| found.has_expiry) {
                        self.mend_expiry(found?.handle);
                    }
                    return found;
                }
                Lookup::Damaged(damaged) => self.settle_damage(damaged),
            }
        }
    }

    /// Finds a key as the links say, or else an entry on the way that is not as it was written.
    #[inline]
    fn lookup(&self, index: usize, hash: u32, key: &[u8]) -> Lookup {
        let table = &self.tables[index];
        let mut next = table.first(hash);
        while let Some((place, handle)) = next {
            let entry = Entry::at(&self.arena, handle);
            if !entry.is_sealed() {
                return Lookup::Damaged(handle);
            }
            if entry.has_key(key) {
                return Lookup::Done(Some(Found {
                    hash,
                    place,
                    handle,
                    has_expiry: entry.expiry_position().is_some(),
                }));
            }
            next = table.next(hash, place);
        }
        Lookup::Done(None)
    }

    /// The access bits of an entry that is used now.
    #[inline]
    fn access_now(&mut self, handle: Handle) -> u32 {
        match self.policy.ranking {
            Ranking::LeastFrequent => self.lfu_access_now(handle),
            _ => self.lru_now,
        }
    }

    #[cold]
    fn lfu_access_now(&mut self, handle: Handle) -> u32 {
        let counter = self.lfu_counter(Entry::at(&self.arena, handle).access());
        let policy = self.policy;
        let counter = policy.lfu_hit(counter, &mut self.random);
        self.lfu_access(counter)
    }

    #[inline]
    fn touch(&mut self, handle: Handle) {
        let access = self.access_now(handle);
        EntryMut::at(&mut self.arena, handle).set_access(access);
    }

    /// Makes link and expiry of an entry name the slot it was copied to.
    fn rename_entry(&mut self, index: usize, found: Found, handle: Handle) {
        let link = Link {
            hash: found.hash,
            handle,
        };
        self.tables[index].replace(found.place, link);
        if let Some(position) = Entry::at(&self.arena, handle).expiry_position() {
            self.expiries.rename(position, handle);
        }
    }

    /// Removes the entry that `found` names.
    fn remove_found(&mut self, index: usize, found: Found, cause: Cause) {
        self.preserve(found.handle);
        let key = Entry::at(&self.arena, found.handle).key();
        self.changes.note(key, cause);
        self.record.prepare(None, None);
        self.record.change(Some(found.handle));
        self.take_out_found(index, found);
        self.record.end();
    }

    /// Removes the entry that `found` names, as part of an operation.
    fn take_out_found(&mut self, index: usize, found: Found) {
        self.apply_expiry(found.handle, Expiry::Never);
        self.tables[index].remove(found.place, &mut self.budget);
        self.live_keys -= 1;
        self.arena.free(found.handle, &mut self.budget);
    }

    /// Removes an entry, as part of an operation.
    fn take_out(&mut self, handle: Handle) {
        let (index, found) = self.locate(handle);
        self.take_out_found(index, found);
    }

    /// Finds the link of an entry, which is as it was written.
    fn locate(&mut self, handle: Handle) -> (usize, Found) {
        let entry = Entry::at(&self.arena, handle);
        let (index, hash) = (entry.table(), self.hash(entry.key()));
        let has_expiry = entry.expiry_position().is_some();
        self.events.damage.index_corrected += self.tables[index].mend(hash);
        let table = &self.tables[index];
        let named = "an entry is named by one link";
        let (mut place, mut other) = table.first(hash).expect(named);
        while other != handle {
            (place, other) = table.next(hash, place).expect(named);
        }
        (
            index,
            Found {
                hash,
                place,
                handle,
                has_expiry,
            },
        )
    }

    /// Removes an entry whose time has come, or that is evicted.
    fn remove_handle(&mut self, handle: Handle) {
        let (index, found) = self.locate(handle);
        self.remove_found(index, found, Cause::End);
    }
}
