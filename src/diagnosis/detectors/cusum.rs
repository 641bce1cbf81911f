//! Cumulative sums: the soonest way to a shift of known size.
//!
//! Page, "Continuous inspection schemes", Biometrika 41 (1954), in its tabular form with a sum for each direction. Each
//! value adds its distance from the usual mean less a slack; a shift adds up, noise falls back to nothing. Of all ways
//! with as few false alarms it has the least delay in the worst case (Moustakides, Annals of Statistics 14, 1986).

use super::{Moments, Score, StreamDetector};
use crate::platform::time::Instant;

/// Watches for a mean that has moved from where it was while learning.
#[derive(Clone, Copy, Debug)]
pub struct Cusum {
    slack: f64,
    limit: f64,
    learning: u32,
    usual: Moments,
    up: f64,
    down: f64,
}

impl Cusum {
    /// In deviations of the first `learning` values: `slack` is half the shift to find, anomalous is a sum beyond `limit`.
    pub const fn new(slack: f64, limit: f64, learning: u32) -> Self {
        Self {
            slack,
            limit,
            learning,
            usual: Moments::NEW,
            up: 0.0,
            down: 0.0,
        }
    }

    /// Begins the sums anew, with the same usual values: after an alarm was dealt with.
    pub fn restart(&mut self) {
        (self.up, self.down) = (0.0, 0.0);
    }
}

impl StreamDetector for Cusum {
    fn take(&mut self, _: Instant, value: f64) -> Score {
        if self.usual.count() < f64::from(self.learning) {
            self.usual.learn(value, 0.0);
            return Score::NONE;
        }
        let deviation = self.usual.deviation().max(f64::MIN_POSITIVE);
        let distance = (value - self.usual.mean()) / deviation;
        self.up = (self.up + distance - self.slack).max(0.0);
        self.down = (self.down - distance - self.slack).max(0.0);
        Score::of(self.up.max(self.down), self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::super::series::{hundred_learned, run_length, second};
    use super::*;

    // Montgomery, "Introduction to statistical quality control": 465 without a shift, 10.4 and 4.0 with one of 1 and 2
    // deviations, for this slack and limit.
    #[test]
    fn it_fires_as_seldom_and_as_soon_as_the_tables_say() {
        let learned = hundred_learned(Cusum::new(0.5, 5.0, 5000), 5000);
        let quiet = run_length(&learned, 0.0);
        assert!((330.0..620.0).contains(&quiet), "{quiet}");
        for (shift, expected) in [(1.0, 10.4), (-1.0, 10.4), (2.0, 4.0)] {
            let shifted = run_length(&learned, shift);
            assert!(
                (shifted - expected).abs() < 0.1 * expected,
                "{shift}: {shifted}"
            );
        }
    }

    #[test]
    fn after_a_restart_what_was_summed_up_is_gone() {
        let mut detector = Cusum::new(0.5, 5.0, 2);
        let values = [-1.0, 1.0, 4.0, 4.0];
        for (index, value) in values.into_iter().enumerate() {
            let score = detector.observe(second(index), value);
            assert_eq!(score.is_anomalous(), index == 3);
        }
        detector.restart();
        assert_eq!(detector.observe(second(4), 0.0), Score::NONE);
    }
}
