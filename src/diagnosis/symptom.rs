//! What detection speaks in: ratios, thresholds, observations, evidence, symptoms.

use crate::platform::time::{Duration, Instant};

/// A share of a whole, 0 to 1, in parts per million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ratio(u32);

impl Ratio {
    /// The whole.
    pub const ONE: Self = Self(1_000_000);

    /// So many hundredths, at most the whole.
    pub const fn from_percent(percent: u32) -> Self {
        Self(if percent < 100 {
            percent * 10_000
        } else {
            Self::ONE.0
        })
    }

    /// The share that `part` is of `whole`, at most the whole; of nothing, all.
    pub fn of(part: u64, whole: u64) -> Self {
        if part >= whole {
            return Self::ONE;
        }
        let millionths = u128::from(part) * 1_000_000 / u128::from(whole);
        Self(u32::try_from(millionths).expect("a part smaller than the whole"))
    }

    /// Parts per million.
    pub const fn as_millionths(self) -> u32 {
        self.0
    }
}

/// Where a symptom begins and where it ends. The gap between the two is what keeps a value that wavers
/// about one of them from raising a symptom each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold<T = Ratio> {
    /// A value below this raises the symptom.
    pub raise_below: T,
    /// A value above this clears it.
    pub clear_above: T,
}

/// What a threshold says to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is bad enough to raise a symptom.
    Bad,
    /// It is in the gap: what was, stays.
    Between,
    /// It is good enough to clear one.
    Good,
}

impl<T: PartialOrd> Threshold<T> {
    pub(super) fn judge(&self, value: T) -> Verdict {
        if value < self.raise_below {
            Verdict::Bad
        } else if value > self.clear_above {
            Verdict::Good
        } else {
            Verdict::Between
        }
    }
}

/// What watches for one symptom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detector {
    /// The page caches meet too few requests themselves.
    PageCacheHitRatio,
    /// Too little memory is free.
    FreeMemory,
}

impl Detector {
    /// All of them, each at its own index.
    pub const ALL: [Self; 2] = [Self::PageCacheHitRatio, Self::FreeMemory];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PageCacheHitRatio => "page_cache_hit_ratio",
            Self::FreeMemory => "free_memory_ratio",
        }
    }

    /// What it watches, for who reads the report.
    pub const fn about(self) -> &'static str {
        match self {
            Self::PageCacheHitRatio => {
                "share of page requests that the per-CPU caches met without the shared allocator"
            }
            Self::FreeMemory => "share of the managed memory that is free",
        }
    }
}

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// Requests to the page caches within a window of time.
    PageRequests {
        /// Those met by a cache.
        hits: u64,
        /// Those that refilled one.
        misses: u64,
        /// Length of the window.
        window: Duration,
    },
    /// Memory at one moment.
    Memory {
        /// Bytes free.
        free_bytes: u64,
        /// Bytes managed.
        total_bytes: u64,
    },
}

impl Observation {
    /// The value that is held against the threshold.
    pub fn ratio(&self) -> Ratio {
        match *self {
            Self::PageRequests { hits, misses, .. } => Ratio::of(hits, hits.saturating_add(misses)),
            Self::Memory {
                free_bytes,
                total_bytes,
            } => Ratio::of(free_bytes, total_bytes),
        }
    }
}

/// What was seen, when, and what it was held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What was seen.
    pub observation: Observation,
    /// When; a window ends there.
    pub at: Instant,
    /// What it was held against.
    pub threshold: Threshold,
}

/// Something wrong, from when it was raised to when it cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symptom {
    /// Counts symptoms from 1.
    pub number: u64,
    /// What saw it.
    pub detector: Detector,
    /// What it was raised on, and when.
    pub raised: Evidence,
    /// The worst that was seen while it lasted.
    pub worst: Evidence,
    /// What it was cleared on, and when; nothing while it lasts.
    pub cleared: Option<Evidence>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_exact_to_a_millionth_and_never_above_the_whole() {
        for (part, whole, millionths) in [
            (0, 0, 1_000_000),
            (0, 5, 0),
            (1, 3, 333_333),
            (7, 5, 1_000_000),
            (u64::MAX - 1, u64::MAX, 999_999),
        ] {
            assert_eq!(
                Ratio::of(part, whole).as_millionths(),
                millionths,
                "{part}/{whole}"
            );
        }
        assert_eq!(Ratio::from_percent(250), Ratio::ONE);
    }

    #[test]
    fn a_value_on_a_threshold_changes_nothing() {
        let threshold = Threshold {
            raise_below: Ratio::from_percent(50),
            clear_above: Ratio::from_percent(70),
        };
        for (percent, verdict) in [
            (49, Verdict::Bad),
            (50, Verdict::Between),
            (70, Verdict::Between),
            (71, Verdict::Good),
        ] {
            assert_eq!(
                threshold.judge(Ratio::from_percent(percent)),
                verdict,
                "{percent}"
            );
        }
    }

    #[test]
    fn every_detector_is_listed_at_its_own_index() {
        for (i, detector) in Detector::ALL.into_iter().enumerate() {
            assert_eq!(detector as usize, i);
        }
    }
}
