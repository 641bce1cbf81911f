//! Fault detection: detectors that stream over samples and raise symptoms with their evidence.
//!
//! A detector keeps what it needs of the past in a few words, whatever it has seen; what is bad is said by
//! [`DetectionPolicy`] alone. Samples are taken on events and while work flows: [`FaultDetection::due`] is one
//! comparison, asked by the data plane as it works, so an idle image does nothing for its diagnosis.
//!
//! Always true: a detector has at most one open symptom; a symptom's times do not fall; the last
//! [`HISTORY_LEN`] past symptoms are kept, in memory that was there from the start.
//!
//! Flow: the kernel samples the memory manager and calls [`FaultDetection::observe`]; `GET /diagnosis` shows
//! [`FaultDetection::report`]; each change of state is logged once.

use super::symptom::{Detector, Evidence, Observation, Ratio, Symptom, Threshold, Verdict};
use crate::platform::time::{Duration, Instant};
use heapless::Deque;

/// Past symptoms that are kept; a guess at what fits on a page and still shows a bad night.
pub(super) const HISTORY_LEN: usize = 32;

/// What the memory manager shows of itself at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemorySample {
    /// Requests that the page caches of all CPUs met themselves, since boot.
    pub hits: u64,
    /// Requests that refilled a page cache, since boot.
    pub misses: u64,
    /// Bytes free, those in page caches counted as free.
    pub free_bytes: u64,
    /// Bytes that the allocator manages.
    pub total_bytes: u64,
}

/// What counts as a fault. To be wrong costs a line in a report, or a fault seen late; nothing acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetectionPolicy {
    /// Least time between two samples that work itself brings about.
    pub sample_interval: Duration,
    /// For the share of page requests that the caches meet in a window.
    pub page_cache_hit_ratio: Threshold,
    /// Page requests a window must have before it is judged: fewer say nothing. It stays open until then.
    pub page_requests_min: u64,
    /// For the share of memory that is free.
    pub free_memory_ratio: Threshold,
}

impl DetectionPolicy {
    /// The policy of the image. All are guesses until labelled faults are measured against them: a cache
    /// that refills in batches of 8 or more meets 7 of 8 requests even when pages only go out, so one of 2
    /// means that refills are failing or the capacity is far too small; 3 % is near where Linux begins
    /// direct reclaim on a small machine.
    pub const DEFAULT: Self = Self {
        sample_interval: Duration::from_secs(1),
        page_cache_hit_ratio: Threshold {
            raise_below: Ratio::from_percent(50),
            clear_above: Ratio::from_percent(70),
        },
        page_requests_min: 256,
        free_memory_ratio: Threshold {
            raise_below: Ratio::from_percent(3),
            clear_above: Ratio::from_percent(6),
        },
    };

    /// The threshold of a detector.
    pub(super) const fn threshold(&self, detector: Detector) -> Threshold {
        match detector {
            Detector::PageCacheHitRatio => self.page_cache_hit_ratio,
            Detector::FreeMemory => self.free_memory_ratio,
        }
    }
}

/// All detectors and what they have seen.
#[derive(Clone, Debug)]
pub struct FaultDetection {
    policy: DetectionPolicy,
    due_at: Instant,
    window: Option<Window>,
    watches: [Watch; Detector::ALL.len()],
    raised_total: u64,
    past: Deque<Symptom, HISTORY_LEN>,
}

/// Where the window of page requests that is still open began.
#[derive(Clone, Copy, Debug)]
struct Window {
    hits: u64,
    misses: u64,
    since: Instant,
}

/// What one detector remembers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    pub(super) latest: Option<Evidence>,
    pub(super) open: Option<Symptom>,
}

impl FaultDetection {
    /// Detection by `policy`, with nothing seen yet.
    pub const fn new(policy: DetectionPolicy) -> Self {
        Self {
            policy,
            due_at: Instant::ZERO,
            window: None,
            watches: [Watch {
                latest: None,
                open: None,
            }; Detector::ALL.len()],
            raised_total: 0,
            past: Deque::new(),
        }
    }

    /// True if work that is done now should bring about a sample.
    #[inline]
    pub fn due(&self, now: Instant) -> bool {
        now >= self.due_at
    }

    /// Takes in a sample that was taken at `now`; may be called at any time, due or not.
    pub fn observe(&mut self, sample: &MemorySample, now: Instant) {
        self.due_at = now + self.policy.sample_interval;
        if let Some(requests) = self.page_requests(sample, now) {
            self.judge(Detector::PageCacheHitRatio, requests, now);
        }
        let MemorySample {
            free_bytes,
            total_bytes,
            ..
        } = *sample;
        self.judge(
            Detector::FreeMemory,
            Observation::Memory {
                free_bytes,
                total_bytes,
            },
            now,
        );
    }

    /// The symptoms that last, in the order of their detectors.
    pub fn open(&self) -> impl Iterator<Item = &Symptom> {
        self.watches.iter().filter_map(|watch| watch.open.as_ref())
    }

    /// The symptoms that have cleared and are still remembered, oldest first.
    pub fn past(&self) -> impl Iterator<Item = &Symptom> {
        self.past.iter()
    }

    /// Symptoms raised since boot.
    pub fn raised_total(&self) -> u64 {
        self.raised_total
    }

    /// What is held against what is seen.
    pub fn policy(&self) -> &DetectionPolicy {
        &self.policy
    }

    pub(super) fn watch(&self, detector: Detector) -> &Watch {
        &self.watches[detector as usize]
    }

    /// Closes the window of page requests if it has enough of them, and begins the next.
    fn page_requests(&mut self, sample: &MemorySample, now: Instant) -> Option<Observation> {
        let &MemorySample { hits, misses, .. } = sample;
        let next = Window {
            hits,
            misses,
            since: now,
        };
        let window = *self.window.get_or_insert(next);
        // Counters that fell belong to a new life of the memory manager.
        let (Some(hits), Some(misses)) = (
            hits.checked_sub(window.hits),
            misses.checked_sub(window.misses),
        ) else {
            self.window = Some(next);
            return None;
        };
        if hits.saturating_add(misses) < self.policy.page_requests_min {
            return None;
        }
        self.window = Some(next);
        Some(Observation::PageRequests {
            hits,
            misses,
            window: now.since(window.since),
        })
    }

    fn judge(&mut self, detector: Detector, observation: Observation, now: Instant) {
        let threshold = self.policy.threshold(detector);
        let evidence = Evidence {
            observation,
            at: now,
            threshold,
        };
        let ratio = observation.ratio();
        let watch = &mut self.watches[detector as usize];
        watch.latest = Some(evidence);
        match (threshold.judge(ratio), &mut watch.open) {
            (Verdict::Bad, None) => {
                self.raised_total += 1;
                let number = self.raised_total;
                watch.open = Some(Symptom {
                    number,
                    detector,
                    raised: evidence,
                    worst: evidence,
                    cleared: None,
                });
                log::warn!("symptom {number} raised: {}", Reading { detector, ratio });
            }
            (Verdict::Good, Some(symptom)) => {
                let cleared = Symptom {
                    cleared: Some(evidence),
                    ..*symptom
                };
                watch.open = None;
                log::info!(
                    "symptom {} cleared: {}",
                    cleared.number,
                    Reading { detector, ratio }
                );
                self.remember(cleared);
            }
            (_, Some(symptom)) if ratio < symptom.worst.observation.ratio() => {
                symptom.worst = evidence;
            }
            _ => {}
        }
    }

    fn remember(&mut self, symptom: Symptom) {
        if self.past.is_full() {
            self.past.pop_front();
        }
        self.past
            .push_back(symptom)
            .expect("the oldest has just made room");
    }
}

/// A detector and its value, for the log.
struct Reading {
    detector: Detector,
    ratio: Ratio,
}

impl core::fmt::Display for Reading {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let tenths_of_percent = self.ratio.as_millionths() / 1000;
        let (percent, tenth) = (tenths_of_percent / 10, tenths_of_percent % 10);
        write!(f, "{} at {percent}.{tenth} %", self.detector.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn detection() -> FaultDetection {
        FaultDetection::new(DetectionPolicy::DEFAULT)
    }

    fn memory(free_percent: u64) -> MemorySample {
        MemorySample {
            free_bytes: free_percent << 20,
            total_bytes: 100 << 20,
            ..Default::default()
        }
    }

    fn pages(hits: u64, misses: u64) -> MemorySample {
        MemorySample {
            hits,
            misses,
            ..memory(50)
        }
    }

    fn numbers<'a>(symptoms: impl Iterator<Item = &'a Symptom>) -> Vec<u64> {
        symptoms.map(|symptom| symptom.number).collect()
    }

    #[test]
    fn little_free_memory_raises_one_symptom_until_there_is_plenty_again() {
        let mut detection = detection();
        for (second, (free, open)) in [
            (50, 0),
            (3, 0),
            (2, 1),
            (1, 1),
            (4, 1),
            (6, 1),
            (2, 1),
            (7, 0),
            (5, 0),
        ]
        .into_iter()
        .enumerate()
        {
            detection.observe(&memory(free), at(second as u64));
            assert_eq!(detection.open().count(), open, "{free} % free");
        }
        let past: Vec<_> = detection.past().collect();
        let [symptom] = past[..] else {
            panic!("{past:?}")
        };
        assert_eq!((symptom.number, symptom.raised.at), (1, at(2)));
        assert_eq!(symptom.worst.observation.ratio(), Ratio::from_percent(1));
        assert_eq!(symptom.cleared.map(|evidence| evidence.at), Some(at(7)));
    }

    #[test]
    fn a_window_is_judged_when_it_has_enough_requests_and_not_before() {
        let mut detection = detection();
        detection.observe(&pages(1000, 1000), at(0));
        detection.observe(&pages(1000, 1255), at(1));
        assert_eq!(detection.open().count(), 0, "255 requests say nothing");
        detection.observe(&pages(1000, 1256), at(5));
        let symptom = detection.open().next().expect("256 misses in a row");
        assert_eq!(
            symptom.raised.observation,
            Observation::PageRequests {
                hits: 0,
                misses: 256,
                window: Duration::from_secs(5)
            }
        );
    }

    #[test]
    fn what_was_before_a_window_does_not_count_in_it() {
        let mut detection = detection();
        detection.observe(&pages(1_000_000, 0), at(0));
        detection.observe(&pages(1_000_100, 300), at(1));
        assert_eq!(
            numbers(detection.open()),
            [1],
            "25 % in the window, 99.9 % in all"
        );
        detection.observe(&pages(1_001_000, 400), at(2));
        assert_eq!(detection.open().count(), 0);
        assert_eq!(numbers(detection.past()), [1]);
    }

    #[test]
    fn counters_that_fell_begin_a_new_window() {
        let mut detection = detection();
        detection.observe(&pages(0, 10_000), at(0));
        detection.observe(&pages(0, 20), at(1));
        assert_eq!(detection.open().count(), 0);
        detection.observe(&pages(0, 20 + 256), at(2));
        assert_eq!(detection.open().count(), 1);
    }

    #[test]
    fn two_faults_at_once_are_two_symptoms() {
        let mut detection = detection();
        detection.observe(&MemorySample::default(), at(0));
        detection.observe(
            &MemorySample {
                misses: 500,
                free_bytes: 0,
                ..pages(0, 0)
            },
            at(1),
        );
        assert_eq!(numbers(detection.open()).len(), 2);
    }

    #[test]
    fn the_history_keeps_the_last_and_counts_all() {
        let mut detection = detection();
        for round in 0..HISTORY_LEN as u64 + 8 {
            detection.observe(&memory(1), at(2 * round));
            detection.observe(&memory(50), at(2 * round + 1));
        }
        let kept = numbers(detection.past());
        assert_eq!(kept, (9..=HISTORY_LEN as u64 + 8).collect::<Vec<_>>());
        assert_eq!(detection.raised_total(), HISTORY_LEN as u64 + 8);
    }

    #[test]
    fn samples_are_due_once_an_interval() {
        let mut detection = detection();
        assert!(detection.due(at(0)));
        detection.observe(&memory(50), at(5));
        assert!(!detection.due(at(5)));
        assert!(!detection.due(Instant::from_nanos(at(6).as_nanos() - 1)));
        assert!(detection.due(at(6)));
    }

    #[test]
    fn a_machine_without_memory_to_manage_is_not_short_of_it() {
        let mut detection = detection();
        detection.observe(&MemorySample::default(), at(0));
        assert_eq!(detection.open().count(), 0);
    }
}
