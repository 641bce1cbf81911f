//! The counter types: plain atomics, read at any time by a scrape on any CPU.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at 0.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds 1.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        // Relaxed: a count orders nothing else.
        self.0.fetch_add(n, Relaxed);
    }

    /// The count now.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A quantity that rises and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// A gauge at 0.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Sets it.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Takes `n` away; the caller added it before.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }

    /// The quantity now.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the latency buckets in nanoseconds: 1 µs to 10 s in steps of 1-2.5-5 (METRICS.md).
pub const LATENCY_BOUNDS_NS: [u64; 22] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// How many of [`LATENCY_BOUNDS_NS`] are below each power of two: where the search for a bucket starts.
static BOUNDS_BELOW: [u8; u64::BITS as usize] = {
    let mut below = [0; u64::BITS as usize];
    let (mut log2, mut bound) = (0, 0);
    while log2 < below.len() {
        while bound < LATENCY_BOUNDS_NS.len() && LATENCY_BOUNDS_NS[bound] < 1 << log2 {
            bound += 1;
        }
        below[log2] = bound as u8;
        log2 += 1;
    }
    below
};

/// A histogram of latencies over [`LATENCY_BOUNDS_NS`], with one more bucket for what is above.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; LATENCY_BOUNDS_NS.len() + 1],
    sum_ns: AtomicU64,
}

impl Histogram {
    /// An empty histogram.
    pub const fn new() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; LATENCY_BOUNDS_NS.len() + 1],
            sum_ns: AtomicU64::new(0),
        }
    }

    /// Counts one latency of `nanos` nanoseconds.
    #[inline]
    pub fn observe_nanos(&self, nanos: u64) {
        self.observe_many(nanos, 1);
    }

    /// Counts `count` latencies of `nanos` nanoseconds each.
    #[inline]
    pub fn observe_many(&self, nanos: u64, count: u64) {
        // No power of two lies more than two bounds below the next.
        let mut bucket = usize::from(BOUNDS_BELOW[nanos.max(1).ilog2() as usize]);
        while LATENCY_BOUNDS_NS
            .get(bucket)
            .is_some_and(|&bound| bound < nanos)
        {
            bucket += 1;
        }
        self.buckets[bucket].fetch_add(count, Relaxed);
        self.sum_ns.fetch_add(nanos.saturating_mul(count), Relaxed);
    }

    /// This histogram, with `count` latencies of `nanos` nanoseconds in all added to the first bucket: for who counts the
    /// shortest apart.
    pub fn with_shortest(&self, count: u64, nanos: u64) -> Self {
        let all = Self {
            buckets: self.buckets().map(AtomicU64::new),
            sum_ns: AtomicU64::new(self.sum_nanos() + nanos),
        };
        all.buckets[0].fetch_add(count, Relaxed);
        all
    }

    /// Counts per bucket, not cumulative; the last is above every bound.
    pub fn buckets(&self) -> [u64; LATENCY_BOUNDS_NS.len() + 1] {
        core::array::from_fn(|i| self.buckets[i].load(Relaxed))
    }

    /// Sum of all latencies in nanoseconds.
    pub fn sum_nanos(&self) -> u64 {
        self.sum_ns.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_into_the_first_bucket_that_holds_it() {
        let near = LATENCY_BOUNDS_NS.map(|bound| [bound - 1, bound, bound + 1]);
        let powers = (0..u64::BITS).flat_map(|log2| [(1 << log2) - 1, 1 << log2, (1 << log2) + 1]);
        for nanos in powers.chain(near.into_iter().flatten()) {
            let histogram = Histogram::new();
            histogram.observe_nanos(nanos);
            let first = LATENCY_BOUNDS_NS.iter().position(|&bound| nanos <= bound);
            let first = first.unwrap_or(LATENCY_BOUNDS_NS.len());
            assert_eq!(histogram.buckets()[first], 1, "{nanos}");
        }
    }

    #[test]
    fn a_latency_on_a_bound_falls_into_that_bounds_bucket() {
        let histogram = Histogram::new();
        histogram.observe_nanos(1_000);
        histogram.observe_nanos(1_001);
        histogram.observe_nanos(u64::MAX);
        let buckets = histogram.buckets();
        assert_eq!((buckets[0], buckets[1], buckets[22]), (1, 1, 1));
    }
}
