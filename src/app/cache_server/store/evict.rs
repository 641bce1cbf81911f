//! Making room: the eviction policy at work, and the compaction of slabs.
//!
//! Evicting a key frees its slot, which serves the next key of its size class at once. Another class
//! needs a block: when the free slots of a class add up to a slab, the emptiest of its slabs is emptied by
//! moving its entries, and its block goes back. So no key leaves while moving alone makes room.

use super::arena::Handle;
use super::entry::Entry;
use super::{ACCESS_MASK, DATABASES, LRU_SHIFT, MINUTE_MS, Store, Touch};
use crate::cache::eviction::{CandidatePool, EvictionPolicy, Ranking, Scope};

/// Requests above this need a block of their own, and evict as many bytes at once.
const SLAB_BYTES_MAX: usize = 64 << 10;
/// Keys evicted or slabs emptied in one call of [`Store::shrink`]: others wait meanwhile.
const SHRINK_ROUNDS: usize = 64;
/// Rounds of sampling before an eviction gives up: each finds a victim unless its hints went stale.
const ROUNDS: usize = 64;
const COUNTER_MASK: u32 = 0xff;

impl Store {
    /// The policy.
    pub fn policy(&self) -> EvictionPolicy {
        self.policy
    }

    /// Changes the policy. What keys remember of their use is read anew: it is wrong until they are used.
    pub fn set_policy(&mut self, policy: EvictionPolicy) {
        self.policy = policy;
        self.candidates = CandidatePool::new();
        self.choose_road();
    }

    /// Changes the memory limit; what is held beyond it leaves by [`Store::make_room`].
    pub fn set_limit(&mut self, limit_bytes: u64) {
        self.budget.set_limit(limit_bytes);
    }

    /// True when more memory is held than the limit allows: after the limit was lowered.
    #[inline]
    pub fn is_over_limit(&self) -> bool {
        self.budget.is_over()
    }

    /// Makes some room for a request of `requested_bytes` that was refused: gives a block back by
    /// compaction, or else evicts. False if neither can be done.
    #[cold]
    pub fn make_room(&mut self, requested_bytes: usize) -> bool {
        if self.compact() {
            return true;
        }
        let target_bytes = if requested_bytes > SLAB_BYTES_MAX {
            requested_bytes as u64
        } else {
            1
        };
        let before = self.arena.live_bytes();
        while before - self.arena.live_bytes() < target_bytes {
            let Some(victim) = self.choose_victim() else {
                break;
            };
            if self.can_trust(victim) {
                self.remove_handle(victim);
                self.events.evicted += 1;
            }
        }
        before != self.arena.live_bytes()
    }

    /// Gives about `bytes` of blocks back, by compaction and by eviction, if the policy lets it: a bounded part of
    /// that in one call. False if nothing could be done.
    #[cold]
    pub fn shrink(&mut self, bytes: u64) -> bool {
        let target = self.budget.held_bytes().saturating_sub(bytes);
        let mut rounds = 0;
        while self.budget.held_bytes() > target && rounds < SHRINK_ROUNDS && self.make_room(1) {
            rounds += 1;
        }
        rounds > 0
    }

    /// Seconds since a key was used, under a policy that remembers that; `None` for no key.
    pub fn idle_seconds(&mut self, database: usize, key: &[u8]) -> Option<u64> {
        let found = self.find(database, key)?;
        let idle = self.idle_ticks(Entry::at(&self.arena, found.handle).access());
        Some((u64::from(idle) << LRU_SHIFT) / 1000)
    }

    /// The logarithmic use counter of a key, under an LFU policy; `None` for no key.
    pub fn frequency(&mut self, database: usize, key: &[u8]) -> Option<u8> {
        let found = self.find(database, key)?;
        Some(self.lfu_counter(Entry::at(&self.arena, found.handle).access()))
    }

    /// Counts a use of a key; true if it is there.
    pub fn touch_key(&mut self, database: usize, key: &[u8]) -> bool {
        self.get(database, key, Touch::Use).is_some()
    }

    /// The access bits of an entry used now whose LFU counter is `counter`.
    pub(super) fn lfu_access(&self, counter: u8) -> u32 {
        ((self.now_ms / MINUTE_MS) as u32 & 0xffff) << 8 | u32::from(counter)
    }

    /// The LFU counter in access bits, after its decay.
    pub(super) fn lfu_counter(&self, access: u32) -> u8 {
        let then = access >> 8 & 0xffff;
        let minutes = ((self.now_ms / MINUTE_MS) as u32).wrapping_sub(then) & 0xffff;
        self.policy
            .lfu_decayed((access & COUNTER_MASK) as u8, minutes)
    }

    fn idle_ticks(&self, access: u32) -> u32 {
        self.lru_now.wrapping_sub(access) & ACCESS_MASK
    }

    /// Empties one slab by moving its entries within their class; true if a block went back.
    fn compact(&mut self) -> bool {
        let Some(slab) = self.arena.compactable() else {
            return false;
        };
        let mut from = 0;
        while let Some((handle, next)) = self.arena.first_live_slot(slab, from) {
            if !self.can_trust(handle) {
                // All was made again: there may be a better slab.
                return true;
            }
            from = next;
        }
        self.record.build(None);
        self.arena.close(slab);
        from = 0;
        while let Some((old, next)) = self.arena.first_live_slot(slab, from) {
            let (index, found) = self.locate(old);
            let bytes = Entry::at(&self.arena, old).bytes();
            let new = self
                .arena
                .allocate(bytes, &mut self.budget)
                .expect("the other slabs of the class have free slots for all of this one");
            self.record.build(Some(new));
            self.arena.copy((old, 0), (new, 0), bytes);
            self.record.prepare(Some(new), None);
            self.record.change(Some(old));
            self.rename_entry(index, found, new);
            self.arena.free(old, &mut self.budget);
            self.record.build(None);
            from = next;
        }
        self.record.end();
        self.candidates.clear();
        true
    }

    /// The entry that the policy lets go first, as far as sampling tells.
    fn choose_victim(&mut self) -> Option<Handle> {
        match (self.policy.ranking, self.policy.scope) {
            (Ranking::Nothing, _) => None,
            (Ranking::SoonestExpiry, _) => self.expiries.soonest().map(|node| node.handle),
            (Ranking::Random, Scope::Expiring) => self
                .expiries
                .random(&mut self.random)
                .map(|node| node.handle),
            (Ranking::Random, Scope::All) => {
                let index = self.random_table()?;
                let link = self.tables[index].random(&mut self.random);
                link.map(|link| link.handle)
            }
            (Ranking::LeastRecent | Ranking::LeastFrequent, _) => self.best_of_samples(),
        }
    }

    fn best_of_samples(&mut self) -> Option<Handle> {
        for _ in 0..ROUNDS {
            self.sample_candidates()?;
            while let Some((score, handle)) = self.candidates.take_best() {
                if self.arena.live_slot(handle).is_none() || !self.can_trust(handle) {
                    continue;
                }
                let entry = Entry::at(&self.arena, handle);
                let may_go = self.policy.scope == Scope::All || entry.expiry_position().is_some();
                if may_go && self.score(entry) >= score {
                    return Some(handle);
                }
            }
        }
        None
    }

    /// Offers a few random entries to the pool; `None` if the policy has nothing to choose from.
    fn sample_candidates(&mut self) -> Option<()> {
        let mut seen = [None; 16];
        let count = (self.policy.samples as usize).clamp(1, seen.len());
        if self.policy.scope == Scope::Expiring {
            for place in &mut seen[..count] {
                *place = Some(self.expiries.random(&mut self.random)?.handle);
            }
        } else {
            let index = self.random_table()?;
            let mut places = seen.iter_mut();
            self.tables[index].sample(&mut self.random, count as u32, |link| {
                if let Some(place) = places.next() {
                    *place = Some(link.handle);
                }
            });
        }
        for handle in seen.into_iter().flatten() {
            let score = self.score(Entry::at(&self.arena, handle));
            self.candidates.offer(score, handle);
        }
        Some(())
    }

    /// How soon an entry should go: the higher the sooner.
    fn score(&self, entry: Entry<'_>) -> u64 {
        match self.policy.ranking {
            Ranking::LeastFrequent => u64::from(u8::MAX - self.lfu_counter(entry.access())),
            _ => u64::from(self.idle_ticks(entry.access())),
        }
    }

    /// A table with keys, drawn with the weight of its keys.
    fn random_table(&mut self) -> Option<usize> {
        let mut number = self.random.below(self.total_len() as u32) as usize;
        (0..DATABASES).find(|&index| {
            let len = self.tables[index].len();
            if number < len {
                return len > 0;
            }
            number -= len;
            false
        })
    }
}
