//! What happened lately: rates and peaks of the last seconds, for INFO.
//!
//! Samples are taken when a turn finds the last one a tenth of a second old: an idle server takes none, and
//! none are missing, as nothing happens between turns.

use super::server::Totals;
use crate::platform::time::{Duration, Instant};

/// The least time between two samples (Redis' cron at the default `hz`).
const INTERVAL: Duration = Duration::from_millis(100);
/// Samples that a rate is taken over (Redis' `STATS_METRIC_SAMPLES`).
const SAMPLES: usize = 16;
/// The time that a rate is taken over, at least.
const WINDOW: Duration = Duration::from_millis(1_500);
/// The age up to which a sample counts.
const AGE_MAX: Duration = Duration::from_millis(1_700);
/// How long a peak is told (Redis' `CLIENTS_PEAK_MEM_USAGE_SLOTS`, in seconds).
const PEAK_SECONDS: usize = 8;

/// Totals at the start of a turn.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    at: Instant,
    commands: u64,
    input_bytes: u64,
    output_bytes: u64,
}

/// The largest buffers of a second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peak {
    second: u64,
    /// Bytes that one client had sent and that were not run yet.
    pub(super) input_bytes: usize,
    /// Bytes of replies that one client had to be sent.
    pub(super) output_bytes: usize,
}

/// The last seconds.
#[derive(Debug)]
pub(super) struct Recent {
    samples: [Sample; SAMPLES],
    newest: usize,
    next_sample: Instant,
    /// The peak since the last sample.
    pub(super) peak: Peak,
    peaks: [Peak; PEAK_SECONDS],
}

/// What was done in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rates {
    /// Commands run.
    pub(super) commands: u64,
    /// Bytes read.
    pub(super) input_bytes: u64,
    /// Bytes written.
    pub(super) output_bytes: u64,
}

impl Recent {
    /// Nothing so far.
    pub(super) fn new(now: Instant) -> Self {
        let start = Sample {
            at: now,
            ..Sample::default()
        };
        Self {
            samples: [start; SAMPLES],
            newest: 0,
            next_sample: now,
            peak: Peak::default(),
            peaks: [Peak::default(); PEAK_SECONDS],
        }
    }

    /// When a turn takes the next sample.
    #[inline]
    pub(super) fn next_sample(&self) -> Instant {
        self.next_sample
    }

    /// Takes a sample.
    #[cold]
    pub(super) fn sample(&mut self, now: Instant, totals: &Totals) {
        self.next_sample = now + INTERVAL;
        self.newest = (self.newest + 1) % SAMPLES;
        self.samples[self.newest] = Sample {
            at: now,
            commands: totals.commands,
            input_bytes: totals.input_bytes,
            output_bytes: totals.output_bytes,
        };
        let second = now.as_nanos() / 1_000_000_000;
        let slot = &mut self.peaks[(second % PEAK_SECONDS as u64) as usize];
        if slot.second != second {
            *slot = Peak {
                second,
                ..Peak::default()
            };
        }
        slot.input_bytes = slot.input_bytes.max(self.peak.input_bytes);
        slot.output_bytes = slot.output_bytes.max(self.peak.output_bytes);
        self.peak = Peak::default();
    }

    /// Notes the buffers of a turn.
    #[inline]
    pub(super) fn note(&mut self, input_bytes: usize, output_bytes: usize) {
        self.peak.input_bytes = self.peak.input_bytes.max(input_bytes);
        self.peak.output_bytes = self.peak.output_bytes.max(output_bytes);
    }

    /// The largest buffers of the last seconds.
    pub(super) fn peak(&self, now: Instant) -> Peak {
        let second = now.as_nanos() / 1_000_000_000;
        let is_recent = |peak: &&Peak| second.saturating_sub(peak.second) < PEAK_SECONDS as u64;
        let recent = self.peaks.iter().filter(is_recent).chain([&self.peak]);
        Peak {
            second,
            input_bytes: recent
                .clone()
                .map(|peak| peak.input_bytes)
                .max()
                .unwrap_or(0),
            output_bytes: recent.map(|peak| peak.output_bytes).max().unwrap_or(0),
        }
    }

    /// What was done in a second, on average over the last few.
    pub(super) fn rates(&self, now: Instant, totals: &Totals) -> Rates {
        let age = |sample: &&Sample| now.since(sample.at) <= AGE_MAX;
        let oldest = self
            .samples
            .iter()
            .filter(age)
            .min_by_key(|sample| sample.at);
        // A turn takes a sample before it runs anything: without one nothing was run.
        let Some(from) = oldest else {
            return Rates {
                commands: 0,
                input_bytes: 0,
                output_bytes: 0,
            };
        };
        let millis = now.since(from.at).max(WINDOW).as_nanos() / 1_000_000;
        let rate = |now: u64, then: u64| now.saturating_sub(then) * 1000 / millis;
        Rates {
            commands: rate(totals.commands, from.commands),
            input_bytes: rate(totals.input_bytes, from.input_bytes),
            output_bytes: rate(totals.output_bytes, from.output_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn a_rate_is_that_of_the_last_seconds_and_falls_to_nothing() {
        let mut recent = Recent::new(at(0));
        let mut totals = Totals::default();
        for millis in (0..5_000).step_by(10) {
            if at(millis) >= recent.next_sample() {
                recent.sample(at(millis), &totals);
            }
            totals.commands += 5;
        }
        let rates = recent.rates(at(5_000), &totals);
        assert!((490..=510).contains(&rates.commands), "{rates:?}");
        assert_eq!(recent.rates(at(9_000), &totals).commands, 0);
    }

    #[test]
    fn a_burst_after_a_long_silence_counts_as_a_burst() {
        let mut recent = Recent::new(at(0));
        let mut totals = Totals::default();
        recent.sample(at(3_600_000), &totals);
        totals.commands += 300;
        assert_eq!(recent.rates(at(3_600_001), &totals).commands, 200);
    }

    #[test]
    fn a_peak_is_told_for_some_seconds() {
        let mut recent = Recent::new(at(0));
        recent.note(100, 70_000);
        assert_eq!(recent.peak(at(0)).output_bytes, 70_000);
        recent.sample(at(100), &Totals::default());
        assert_eq!(recent.peak(at(5_000)).input_bytes, 100);
        assert_eq!(recent.peak(at(20_000)).output_bytes, 0);
    }
}
