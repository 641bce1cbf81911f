//! The general scorer: one setting for any series of which nothing is known.
//!
//! A value is as novel as it lies apart from all that was seen before: beyond the range, or in a gap within it. A series is
//! looked at in many ways at once (views: its level over several spans, in its own unit and in magnitudes, and
//! its distance from what is usual at this hour of the day and of the week), and the novelty in each is averaged: what is odd
//! in several is an anomaly, what is new in one alone is noise. Then three things keep the peace:
//!
//! - novelty counts against how much of it is usual of late, so a series that always wanders alarms no sooner than a calm one;
//! - one alarm is enough: a rest follows it, longer as the series grows older and what is new should be rarer;
//! - alarms tire: each makes the next harder, and is forgiven slowly (the budget for false discoveries of Foster and Stine,
//!   "Alpha-investing", Journal of the Royal Statistical Society B 70, 2008, as a single number that decays).
//!
//! The distance to the nearest neighbour as novelty: Knorr and Ng, VLDB 1998; Ramaswamy, Rastogi and Shim, SIGMOD 2000.
//! Remembering one value for all that resemble it: the categories of Carpenter, Grossberg and Rosen, "Fuzzy ART", Neural Networks 4,
//! 1991.
//!
//! The settings were chosen by the mean score of the Numenta Anomaly Benchmark over its public series as they are, mirrored, at
//! half the rate, averaged in pairs, without their first fifth, and with their halves swapped. Half or twice of one alone costs
//! at most 6 of the 100 points; of those that all say how much is too much (`LIMIT`, `USUAL`, `FATIGUE`), up to 12.
//!
//! Limits: what was seen once is never quite new again, and a restart forgets all. A pattern whose every value is usual at its
//! hour is not seen as odd.

mod gaps;
mod views;

#[cfg(test)]
mod tests;

use super::{Moments, Score, StreamDetector};
use crate::platform::time::Instant;
use gaps::Gaps;
use views::{VIEWS, Views};

/// Values that are learned before any is scored.
const LEARNING: u32 = 40;
/// The mean novelty that counts as one whole limit when little novelty is usual.
const LIMIT: f64 = 0.047;
/// Usual novelty at which a value must be twice as novel. Values are at most 0.7, so it is a seventh of the scale.
const USUAL: f64 = 0.1;
/// How much the latest value weighs in what is usual.
const USUAL_WEIGHT: f64 = 1.0 / 1000.0;
/// Values after an alarm that raise none: so many, and this share of all values so far, up to the most.
const REST: f64 = 20.0;
const REST_SHARE: f64 = 0.02;
const REST_MAX: f64 = 400.0;
/// By how much of the limit each alarm raises it, and in how many values that falls to a third (e to one).
const FATIGUE: f64 = 0.1;
const FATIGUE_VALUES: f64 = 3000.0;

/// Watches a series of which nothing is known for values unlike those before.
#[derive(Clone, Debug)]
pub struct Novelty {
    views: Views,
    seen: [Gaps; VIEWS],
    usual: Moments,
    count: u32,
    rest_until: u32,
    alarms: f64,
}

impl Novelty {
    /// Nothing seen.
    pub const fn new() -> Self {
        Self {
            views: Views::NEW,
            seen: [Gaps::NEW; VIEWS],
            usual: Moments::NEW,
            count: 0,
            rest_until: 0,
            alarms: 0.0,
        }
    }

    /// The mean novelty of a value over all views, which then learn it.
    fn novelty(&mut self, at: Instant, value: f64) -> f64 {
        let mut total = 0.0;
        for (gaps, seen) in self.seen.iter_mut().zip(self.views.look(at, value)) {
            // The root: many small gaps in all views say more than a wide one in one.
            total += libm::sqrt(gaps.apart(seen));
            gaps.learn(seen);
        }
        total / VIEWS as f64
    }
}

impl Default for Novelty {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamDetector for Novelty {
    fn take(&mut self, at: Instant, value: f64) -> Score {
        let novelty = self.novelty(at, value);
        let usual = self.usual.mean();
        self.count = self.count.saturating_add(1);
        if self.count <= LEARNING {
            return Score::NONE;
        }
        self.usual.learn(novelty, USUAL_WEIGHT);
        self.alarms *= 1.0 - 1.0 / FATIGUE_VALUES;
        let limit = LIMIT * (1.0 + usual / USUAL) * (1.0 + FATIGUE * self.alarms);
        let score = Score::of(novelty, limit);
        if self.count < self.rest_until {
            return score.muted();
        }
        if score.is_anomalous() {
            let rest = (REST + REST_SHARE * f64::from(self.count)).min(REST_MAX);
            self.rest_until = self.count.saturating_add(1 + rest as u32);
            self.alarms += 1.0;
        }
        score
    }
}
