//! The symbol cache: what places in the image's text were resolved to, for whoever shows them again and again.
//!
//! To resolve a place is some thousand instructions of decoding; pages ask for the same few dozen each time they are
//! shown. What leaves first is what was asked for longest ago, a batch at a time. A wrong victim costs one more decoding.
//! How many entries there may be follows demand ([`crate::cache::sizing`]). That a place is of nothing known is kept as
//! well.
//!
//! Always true: there are at most as many entries as the limit says, each place once. Without memory for an entry the
//! answer is made and not kept.

#[cfg(test)]
mod tests;

use crate::cache::sizing::{Sizing, SizingPolicy};
use crate::error::{Grow, Result};
use crate::metrics::{Counter, Encoder, Gauge, Label, Source, Value, heading};
use crate::platform::time::{Duration, Instant};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

/// Between which bounds it keeps, and how fast it follows: from two backtraces to those of all reports.
const SIZING: SizingPolicy = SizingPolicy {
    floor: 32,
    ceiling: 512,
    batch: 8,
    growth: 2,
    decay: 8,
};
/// What nobody asked for in so long is given up by halves: some scrapes.
const PERIOD: Duration = Duration::from_secs(60);

/// What is counted of look-ups. It outlives the cache.
#[derive(Debug, Default)]
pub struct SymbolCacheCounters {
    hits: Counter,
    misses: Counter,
    negatives: Counter,
    entries: Gauge,
}

/// Resolved places.
#[derive(Debug)]
pub struct SymbolCache<T> {
    /// By place.
    entries: Vec<Entry<T>>,
    sizing: Sizing,
    counters: Arc<SymbolCacheCounters>,
    /// Counts look-ups: the time by which entries age.
    clock: u64,
    /// `clock` when the period began, and when it did.
    period: (u64, Instant),
}

#[derive(Debug)]
struct Entry<T> {
    place: u32,
    /// When it was asked for last.
    used: u64,
    /// What it was resolved to; nothing if it is of nothing that is known.
    value: Option<T>,
}

impl<T> SymbolCache<T> {
    /// An empty cache.
    pub fn new(counters: Arc<SymbolCacheCounters>, now: Instant) -> Self {
        counters.entries.set(0);
        Self {
            entries: Vec::new(),
            sizing: Sizing::new(SIZING),
            counters,
            clock: 0,
            period: (0, now),
        }
    }

    /// Hands `show` what `place` is: what is kept of it, or else what `resolve` says.
    pub fn look<R>(
        &mut self,
        place: u32,
        now: Instant,
        resolve: impl FnOnce(u32) -> Option<T>,
        show: impl FnOnce(Option<&T>) -> R,
    ) -> R {
        self.age(now);
        self.clock += 1;
        let clock = self.clock;
        if let Some(entry) = self.entry(place) {
            entry.used = clock;
            let shown = show(entry.value.as_ref());
            let is_known = entry.value.is_some();
            match is_known {
                true => self.counters.hits.increment(),
                false => self.counters.negatives.increment(),
            }
            return shown;
        }
        self.counters.misses.increment();
        self.sizing.missed(u32::MAX);
        let value = resolve(place);
        let shown = show(value.as_ref());
        // Without room it is resolved again the next time.
        let _ = self.keep(place, value);
        shown
    }

    /// Resolves `places` that are likely to be asked for, as far as there is room without giving others up. Counts
    /// nothing.
    pub fn warm(
        &mut self,
        places: impl IntoIterator<Item = u32>,
        mut resolve: impl FnMut(u32) -> Option<T>,
    ) {
        for place in places {
            if self.entries.len() >= self.sizing.limit() as usize {
                break;
            }
            if self.entry(place).is_none() && self.keep(place, resolve(place)).is_err() {
                break;
            }
        }
    }

    /// Forgets what `places` were resolved to: other code lies there from now on.
    pub fn invalidate(&mut self, places: Range<u32>) {
        self.entries.retain(|entry| !places.contains(&entry.place));
        self.show();
    }

    /// Where the entry of that place is, or would be.
    fn at(&self, place: u32) -> usize {
        self.entries.partition_point(|entry| entry.place < place)
    }

    fn entry(&mut self, place: u32) -> Option<&mut Entry<T>> {
        let at = self.at(place);
        let entry = self.entries.get_mut(at);
        entry.filter(|entry| entry.place == place)
    }

    fn keep(&mut self, place: u32, value: Option<T>) -> Result<()> {
        let held = self.entries.len() as u32;
        if held >= self.sizing.limit() {
            let given_up = (held - self.sizing.limit() + self.sizing.batch()).min(held);
            self.give_up(given_up);
            self.sizing.overflowed(given_up);
        }
        self.entries.try_reserve(1)?;
        let used = self.clock;
        let entry = Entry { place, used, value };
        self.entries.insert_reserved(self.at(place), entry);
        self.show();
        Ok(())
    }

    /// Gives up those that were asked for longest ago.
    fn give_up(&mut self, count: u32) {
        for _ in 0..count {
            let ages = self.entries.iter().enumerate();
            let oldest = ages.min_by_key(|(_, entry)| entry.used);
            if let Some((at, _)) = oldest {
                self.entries.remove(at);
            }
        }
        self.show();
    }

    /// Takes note of the periods that have ended by `now`.
    fn age(&mut self, now: Instant) {
        let (since, began) = self.period;
        let periods = now.since(began).as_nanos() / PERIOD.as_nanos();
        if periods == 0 {
            return;
        }
        self.period = (self.clock, now);
        let held = self.entries.len() as u32;
        let unused = self.entries.iter().filter(|entry| entry.used <= since);
        let unused = unused.count() as u32;
        let periods = u32::try_from(periods).unwrap_or(u32::MAX);
        let excess = self.sizing.periods_ended(periods, held, unused);
        self.give_up(excess);
    }

    fn show(&self) {
        self.counters.entries.set(self.entries.len() as u64);
    }
}

impl Source for SymbolCacheCounters {
    fn collect(&self, page: &mut Encoder<'_>) {
        let mut lookups = page.family(heading!(
            Counter,
            "nos_symbol_cache_lookups_total",
            "Look-ups of addresses by result; negative: known to be of no function."
        ));
        for (result, count) in [
            ("hit", &self.hits),
            ("miss", &self.misses),
            ("negative", &self.negatives),
        ] {
            let labels = [("result", Label::Word(result))];
            lookups.sample(&labels, Value::Whole(count.get()));
        }
        page.gauge(
            heading!(
                Gauge,
                "nos_symbol_cache_entries",
                "Addresses whose function and lines are kept."
            ),
            Value::Whole(self.entries.get()),
        );
    }
}
