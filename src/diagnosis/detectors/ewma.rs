//! The control chart of the exponentially weighted mean.
//!
//! Roberts, "Control chart tests based on geometric moving averages", Technometrics 1 (1959). The weighted mean of
//! recent values varies less than they do, so a small shift of theirs that lasts leaves its narrower limits.

use super::{Moments, Score, StreamDetector};
use crate::platform::time::Instant;

/// Watches for a mean that has moved from where it was while learning.
#[derive(Clone, Copy, Debug)]
pub struct Ewma {
    weight: f64,
    limit: f64,
    learning: u32,
    usual: Moments,
    /// The weighted mean, in deviations from the usual mean.
    mean: f64,
    /// What is left of the weight of its start: the limits begin narrow.
    start_left: f64,
}

impl Ewma {
    /// Each value weighs `weight`, 0 to 1, against those before it; anomalous beyond `limit` deviations of the weighted
    /// mean; the usual mean and deviation are those of the first `learning` values.
    pub const fn new(weight: f64, limit: f64, learning: u32) -> Self {
        Self {
            weight,
            limit,
            learning,
            usual: Moments::NEW,
            mean: 0.0,
            start_left: 1.0,
        }
    }
}

impl StreamDetector for Ewma {
    fn take(&mut self, _: Instant, value: f64) -> Score {
        if self.usual.count() < f64::from(self.learning) {
            self.usual.learn(value, 0.0);
            return Score::NONE;
        }
        let deviation = self.usual.deviation().max(f64::MIN_POSITIVE);
        self.mean += self.weight * ((value - self.usual.mean()) / deviation - self.mean);
        self.start_left *= (1.0 - self.weight) * (1.0 - self.weight);
        let variance = self.weight / (2.0 - self.weight) * (1.0 - self.start_left);
        Score::of(self.mean.abs(), self.limit * libm::sqrt(variance))
    }
}

#[cfg(test)]
mod tests {
    use super::super::series::{hundred_learned, run_length, second};
    use super::*;

    // Lucas and Saccucci, "Exponentially weighted moving average control schemes", Technometrics 32 (1990), give 500
    // and 10.3 for this weight and limit with limits that do not begin narrow.
    #[test]
    fn it_fires_as_seldom_and_as_soon_as_the_tables_say() {
        let learned = hundred_learned(Ewma::new(0.1, 2.814, 2000), 2000);
        let quiet = run_length(&learned, 0.0);
        assert!((300.0..700.0).contains(&quiet), "{quiet}");
        let shifted = run_length(&learned, 1.0);
        assert!((7.0..11.5).contains(&shifted), "{shifted}");
    }

    #[test]
    fn its_mean_is_the_geometric_one() {
        let mut detector = Ewma::new(0.25, 1.0, 2);
        for (index, value) in [-1.0, 1.0, 4.0, 0.0].into_iter().enumerate() {
            detector.observe(second(index), value);
        }
        assert!((detector.mean - 0.75).abs() < 1e-12, "{}", detector.mean);
    }
}
