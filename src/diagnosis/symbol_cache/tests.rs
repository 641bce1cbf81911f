//! What is kept, what leaves, and what is counted.

use super::*;
use crate::cache::random::Random;
use std::cell::Cell;

const SECOND: u64 = 1_000_000_000;

struct Bench {
    cache: SymbolCache<u32>,
    resolved: Cell<u32>,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::from_nanos(5 * SECOND);
        Self {
            cache: SymbolCache::new(Arc::default(), now),
            resolved: Cell::new(0),
            now,
        }
    }

    /// Odd places are of nothing known.
    fn look(&mut self, place: u32) -> Option<u32> {
        let resolve = |place: u32| {
            self.resolved.set(self.resolved.get() + 1);
            place.is_multiple_of(2).then_some(place * 3)
        };
        let found = self
            .cache
            .look(place, self.now, resolve, |found| found.copied());
        let held = self.cache.entries.len();
        assert!(held <= self.cache.sizing.limit() as usize);
        assert!(self.cache.entries.is_sorted_by_key(|entry| entry.place));
        assert_eq!(self.cache.counters.entries.get(), held as u64);
        found
    }

    fn counts(&self) -> [u64; 3] {
        let counters = &self.cache.counters;
        [&counters.hits, &counters.misses, &counters.negatives].map(Counter::get)
    }
}

#[test]
fn a_place_is_resolved_once_and_so_is_one_of_nothing_known() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        assert_eq!(bench.look(8), Some(24));
        assert_eq!(bench.look(7), None);
    }
    assert_eq!(bench.resolved.get(), 2);
    assert_eq!(bench.counts(), [2, 2, 2]);
}

#[test]
fn what_was_asked_for_longest_ago_leaves_first() {
    let mut bench = Bench::new();
    for place in 0..SIZING.floor {
        bench.look(2 * place);
    }
    bench.look(0);
    bench.look(1_000);
    let resolved = bench.resolved.get();
    assert_eq!(bench.look(0), Some(0));
    assert_eq!(
        bench.resolved.get(),
        resolved,
        "it was asked for just before"
    );
    bench.look(2);
    assert_eq!(bench.resolved.get(), resolved + 1, "it was the oldest");
}

#[test]
fn a_working_set_that_does_not_fit_makes_it_grow_and_silence_makes_it_shrink() {
    let mut bench = Bench::new();
    let mut random = Random::new(3);
    for _ in 0..5_000 {
        let place = 2 * random.below(150);
        bench.look(place);
    }
    let [hits, misses, _] = bench.counts();
    bench.resolved.set(0);
    for place in 0..150 {
        bench.look(2 * place);
    }
    assert!(hits > 4 * misses, "{hits} hits, {misses} misses");
    assert!(bench.resolved.get() < 20, "{}", bench.resolved.get());
    assert!(bench.cache.entries.len() >= 140);
    // What was used in a period is left alone at its end; what was not, in sixty of them, is not.
    bench.now = bench.now + PERIOD;
    bench.look(0);
    assert!(bench.cache.entries.len() >= 140);
    bench.now = bench.now + Duration::from_secs(60 * 60);
    bench.look(0);
    assert!(bench.cache.entries.len() <= 2);
}

#[test]
fn it_is_warmed_up_to_its_limit_without_counting() {
    let mut bench = Bench::new();
    bench.cache.warm([4, 9, 4, 6], |place| Some(place + 1));
    assert_eq!(bench.counts(), [0; 3]);
    assert_eq!(bench.cache.entries.len(), 3);
    assert_eq!(bench.look(9), Some(10));
    assert_eq!(bench.counts(), [1, 0, 0]);
    bench.cache.warm((0..1_000).map(|place| 4 * place), Some);
    assert_eq!(bench.cache.entries.len(), SIZING.floor as usize);
    assert_eq!(bench.look(9), Some(10), "nobody was given up");
}

#[test]
fn what_is_invalidated_is_resolved_anew() {
    let mut bench = Bench::new();
    for place in [2, 4, 6, 8] {
        bench.look(place);
    }
    bench.cache.invalidate(4..8);
    assert_eq!(bench.cache.counters.entries.get(), 2);
    bench.resolved.set(0);
    for place in [2, 4, 6, 8] {
        bench.look(place);
    }
    assert_eq!(bench.resolved.get(), 2);
}

#[test]
fn its_counters_are_shown_whole_from_the_start() {
    let mut page = Vec::new();
    let mut encoder = Encoder::new(&mut page, crate::metrics::Format::Text);
    SymbolCacheCounters::default().collect(&mut encoder);
    encoder.finish().expect("the host has memory");
    let page = std::string::String::from_utf8(page).expect("text");
    for sample in [
        "nos_symbol_cache_lookups_total{result=\"hit\"} 0\n",
        "nos_symbol_cache_lookups_total{result=\"miss\"} 0\n",
        "nos_symbol_cache_lookups_total{result=\"negative\"} 0\n",
        "nos_symbol_cache_entries 0\n",
    ] {
        assert!(page.contains(sample), "{page}");
    }
}
