//! Eviction: which entry leaves first when a cache is full.
//!
//! Redis' eight policies, approximated as Redis does (its `evict.c`; "Redis as an LRU cache" in its
//! manual): a few random entries are looked at, the best victims seen so far wait in a small pool, and the
//! best of the pool leaves. No list is kept in order, so a hit costs one store and an entry a few bits.
//!
//! Always true: the pool is sorted by score, and a candidate is only a hint. The mechanism must look at it
//! again before it goes, for it may have been used, changed or removed since.
//!
//! Cost of being wrong: the true least recent entry of N is missed with a probability that falls with the
//! number of samples; with 5 samples and a pool of 16 the hit ratio is within a few percent of exact LRU.

use super::random::Random;

/// Entries looked at for one eviction (Redis' `maxmemory-samples`).
pub const DEFAULT_SAMPLES: u32 = 5;
/// Candidates that wait for a later eviction (Redis' `EVPOOL_SIZE`).
pub const POOL_SIZE: usize = 16;
/// The counter a new entry starts with under LFU, so that it is not the first to go.
pub const LFU_INITIAL: u8 = 5;

/// Which entries may be evicted at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every entry.
    All,
    /// Only entries with an expiry.
    Expiring,
}

/// Which of them leaves first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranking {
    /// None: a full cache refuses.
    Nothing,
    /// The one unused for longest.
    LeastRecent,
    /// The one used least often, by a logarithmic counter that decays with time.
    LeastFrequent,
    /// Any.
    Random,
    /// The one that expires soonest.
    SoonestExpiry,
}

/// An eviction policy: who leaves first, and how hard it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvictionPolicy {
    /// Which entries may go.
    pub scope: Scope,
    /// Which of them goes first.
    pub ranking: Ranking,
    /// Entries looked at for one eviction: more is closer to exact and dearer.
    pub samples: u32,
    /// How many hits it takes to saturate an LFU counter: 10 takes about a million (Redis' manual).
    pub lfu_log_factor: u32,
    /// Minutes after which an LFU counter falls by one; 0 for never.
    pub lfu_decay_minutes: u32,
}

/// The policies by name, in the order Redis lists them.
pub const NAMES: [(&str, Scope, Ranking); 8] = [
    ("volatile-lru", Scope::Expiring, Ranking::LeastRecent),
    ("volatile-lfu", Scope::Expiring, Ranking::LeastFrequent),
    ("volatile-random", Scope::Expiring, Ranking::Random),
    ("volatile-ttl", Scope::Expiring, Ranking::SoonestExpiry),
    ("allkeys-lru", Scope::All, Ranking::LeastRecent),
    ("allkeys-lfu", Scope::All, Ranking::LeastFrequent),
    ("allkeys-random", Scope::All, Ranking::Random),
    ("noeviction", Scope::All, Ranking::Nothing),
];

impl EvictionPolicy {
    /// `allkeys-lru`: what a cache wants when nothing else is known.
    pub const ALLKEYS_LRU: Self = Self {
        scope: Scope::All,
        ranking: Ranking::LeastRecent,
        samples: DEFAULT_SAMPLES,
        lfu_log_factor: 10,
        lfu_decay_minutes: 1,
    };

    /// The policy of that name with the other fields as they are, if there is one.
    pub fn renamed(self, name: &str) -> Option<Self> {
        NAMES
            .iter()
            .find(|(known, ..)| known.eq_ignore_ascii_case(name))
            .map(|&(_, scope, ranking)| Self {
                scope,
                ranking,
                ..self
            })
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        NAMES
            .iter()
            .find(|(_, scope, ranking)| (*scope, *ranking) == (self.scope, self.ranking))
            .map_or("noeviction", |(name, ..)| name)
    }

    /// The counter after one more hit: grows by one with a probability that falls as it grows.
    pub fn lfu_hit(&self, counter: u8, random: &mut Random) -> u8 {
        let base = u32::from(counter.saturating_sub(LFU_INITIAL));
        let one_in = base.saturating_mul(self.lfu_log_factor).saturating_add(1);
        if random.below(one_in) == 0 {
            counter.saturating_add(1)
        } else {
            counter
        }
    }

    /// The counter after `minutes` without a hit.
    pub fn lfu_decayed(&self, counter: u8, minutes: u32) -> u8 {
        match minutes.checked_div(self.lfu_decay_minutes) {
            Some(periods) => counter.saturating_sub(u8::try_from(periods).unwrap_or(u8::MAX)),
            None => counter,
        }
    }
}

/// The best victims seen so far, the best last.
#[derive(Debug)]
pub struct CandidatePool<T: Copy> {
    candidates: [Option<(u64, T)>; POOL_SIZE],
    len: usize,
}

impl<T: Copy + PartialEq> CandidatePool<T> {
    /// An empty pool.
    pub const fn new() -> Self {
        Self {
            candidates: [None; POOL_SIZE],
            len: 0,
        }
    }

    /// Offers a candidate: the higher its score, the sooner it should leave. A full pool keeps the best.
    pub fn offer(&mut self, score: u64, item: T) {
        let held = self.candidates[..self.len].iter().flatten();
        if held.clone().any(|&(_, known)| known == item) {
            return;
        }
        let at = held.take_while(|&&(known, _)| known < score).count();
        if self.len < POOL_SIZE {
            self.candidates.copy_within(at..self.len, at + 1);
            self.candidates[at] = Some((score, item));
            self.len += 1;
        } else if at > 0 {
            self.candidates.copy_within(1..at, 0);
            self.candidates[at - 1] = Some((score, item));
        }
    }

    /// Takes the best candidate and the score it was offered with.
    pub fn take_best(&mut self) -> Option<(u64, T)> {
        self.len = self.len.checked_sub(1)?;
        self.candidates[self.len].take()
    }

    /// Forgets all candidates: the policy or the entries changed.
    pub fn clear(&mut self) {
        *self = Self::new();
    }
}

impl<T: Copy + PartialEq> Default for CandidatePool<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_found_by_its_name_in_any_case_and_tells_it() {
        for (name, ..) in NAMES {
            let policy = EvictionPolicy::ALLKEYS_LRU.renamed(&name.to_ascii_uppercase());
            assert_eq!(policy.expect("a known name").name(), name);
        }
        assert!(EvictionPolicy::ALLKEYS_LRU.renamed("lru").is_none());
    }

    #[test]
    fn the_pool_keeps_the_best_and_gives_them_best_first() {
        let mut pool = CandidatePool::new();
        for score in [5, 90, 17, 3, 44].into_iter().chain(100..120) {
            pool.offer(score, score);
        }
        let mut last = u64::MAX;
        let mut count = 0;
        while let Some((score, item)) = pool.take_best() {
            assert!(
                score < last && score == item && score >= 104,
                "{score} after {last}"
            );
            last = score;
            count += 1;
        }
        assert_eq!(count, POOL_SIZE);
    }

    #[test]
    fn a_candidate_offered_twice_is_held_once() {
        let mut pool = CandidatePool::new();
        pool.offer(1, 'a');
        pool.offer(2, 'a');
        assert_eq!(pool.take_best(), Some((1, 'a')));
        assert_eq!(pool.take_best(), None);
    }

    #[test]
    fn an_lfu_counter_grows_ever_slower_and_decays_by_the_minute() {
        let policy = EvictionPolicy::ALLKEYS_LRU;
        let mut random = Random::new(1);
        let after = |hits: u32, random: &mut Random| {
            (0..hits).fold(LFU_INITIAL, |counter, _| policy.lfu_hit(counter, random))
        };
        let (hundred, ten_thousand) = (after(100, &mut random), after(10_000, &mut random));
        assert!((7..20).contains(&hundred), "{hundred}");
        assert!((30..80).contains(&ten_thousand), "{ten_thousand}");
        assert_eq!(policy.lfu_decayed(10, 4), 6);
        assert_eq!(policy.lfu_decayed(10, 4000), 0);
    }
}
