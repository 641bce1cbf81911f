//! Bayesian change points: how long ago did the values begin to be as they are?
//!
//! Adams and MacKay, "Bayesian online changepoint detection" (2007): for each start of the present stretch, the
//! chance that it is the true one. Values of a stretch are normal with unknown mean and variance, so the next is
//! predicted by Student's t. Memory is bounded by keeping the [`STARTS`] likeliest starts (the pruning of Fearnhead and
//! Liu, Journal of the Royal Statistical Society B 69, 2007, in its simplest form).

use super::{Moments, Score, StreamDetector};
use crate::platform::time::Instant;

/// Starts that are kept: enough that those beside a true one all are. A guess.
const STARTS: usize = 12;

/// Values that must speak for a new stretch before it is told of: one alone is an outlier, and no change.
const STRETCH_MIN: u32 = 4;

/// Watches for the moment from which values are different.
#[derive(Clone, Copy, Debug)]
pub struct ChangePoint {
    /// Chance that any one value begins a new stretch.
    hazard: f64,
    limit: f64,
    /// All values: where a stretch of which nothing is known is thought to lie, and how wide.
    all: Moments,
    /// Those with a weight above 0 are kept; the weights sum to 1.
    starts: [Start; STARTS],
    /// Values since the latest change that was told of.
    told: u32,
}

#[derive(Clone, Copy, Debug)]
struct Start {
    weight: f64,
    count: u32,
    mean: f64,
    /// Sum of squared distances from the mean.
    squares: f64,
}

impl Start {
    const NONE: Self = Self {
        weight: 0.0,
        count: 0,
        mean: 0.0,
        squares: 0.0,
    };

    /// The density of `value` if it goes on as since this start; what is thought before it counts as one value at
    /// `prior`'s mean, and as one squared distance of its variance.
    fn density(&self, value: f64, prior: &Moments) -> f64 {
        let n = f64::from(self.count);
        let mean = (prior.mean() + n * self.mean) / (n + 1.0);
        let apart = self.mean - prior.mean();
        let squares = prior.variance() + self.squares + n / (n + 1.0) * apart * apart;
        // Student's t with as many degrees of freedom, of this location and scale.
        let freedom = n + 2.0;
        let scale = (squares / freedom * (n + 2.0) / (n + 1.0)).max(f64::MIN_POSITIVE);
        let distance = (value - mean) * (value - mean) / (freedom * scale);
        let log_density = libm::lgamma((freedom + 1.0) / 2.0)
            - libm::lgamma(freedom / 2.0)
            - 0.5 * libm::log(freedom * core::f64::consts::PI * scale)
            - (freedom + 1.0) / 2.0 * libm::log1p(distance);
        libm::exp(log_density)
    }

    fn learn(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        let distance = value - self.mean;
        self.mean += distance / f64::from(self.count);
        self.squares += distance * (value - self.mean);
    }
}

impl ChangePoint {
    /// A new stretch is thought to begin every `stretch` values; one is told of when its chance is above `certainty`.
    pub const fn new(stretch: f64, certainty: f64) -> Self {
        Self {
            hazard: 1.0 / stretch,
            limit: certainty,
            all: Moments::NEW,
            starts: [Start::NONE; STARTS],
            told: 0,
        }
    }

    /// The likeliest length of the present stretch, in values.
    pub fn stretch(&self) -> u32 {
        self.starts
            .iter()
            .max_by(|a, b| a.weight.total_cmp(&b.weight))
            .map_or(0, |start| start.count)
    }

    /// The chance that the present stretch began after the last change that was told of.
    fn changed(&self) -> f64 {
        self.starts
            .iter()
            .filter(|start| start.count >= STRETCH_MIN && start.count < self.told)
            .map(|start| start.weight)
            .sum()
    }

    /// Weighs each start by how well it foretold `value`, and adds the start that `value` itself is.
    fn weigh(&mut self, value: f64) {
        let begun = self.hazard * Start::NONE.density(value, &self.all);
        let mut total = begun;
        for start in self.starts.iter_mut().filter(|start| start.weight > 0.0) {
            start.weight *= start.density(value, &self.all) * (1.0 - self.hazard);
            total += start.weight;
        }
        if let Some(least) = self
            .starts
            .iter_mut()
            .min_by(|a, b| a.weight.total_cmp(&b.weight))
        {
            total -= least.weight;
            *least = Start {
                weight: begun,
                ..Start::NONE
            };
        }
        for start in self.starts.iter_mut().filter(|start| start.weight > 0.0) {
            // A value that none foretold leaves the latest start alone.
            start.weight = if total > 0.0 {
                start.weight / total
            } else {
                0.0
            };
            start.learn(value);
        }
        if total <= 0.0 {
            self.starts = [Start::NONE; STARTS];
            self.starts[0].weight = 1.0;
            self.starts[0].learn(value);
        }
    }
}

impl StreamDetector for ChangePoint {
    fn take(&mut self, _: Instant, value: f64) -> Score {
        self.all.learn(value, 0.0);
        if self.all.variance() <= 0.0 {
            // As many equal values as there were: one stretch.
            self.starts[0].weight = 1.0;
            self.starts[0].learn(value);
            self.told = self.told.saturating_add(1);
            return Score::NONE;
        }
        self.weigh(value);
        self.told = self.told.saturating_add(1);
        let score = Score::of(self.changed(), self.limit);
        if score.is_anomalous() {
            self.told = self.stretch();
        }
        score
    }
}

#[cfg(test)]
mod tests {
    use super::super::series::{Noise, first_anomaly, second};
    use super::*;

    fn detector() -> ChangePoint {
        ChangePoint::new(500.0, 0.9)
    }

    #[test]
    fn a_change_of_mean_or_of_spread_is_found_soon_and_dated() {
        for (shift, spread, delay_max) in [(4.0, 1.0, 15), (-4.0, 1.0, 15), (0.0, 5.0, 60)] {
            for seed in 0..20 {
                let mut noise = Noise::new(seed);
                let mut detector = detector();
                let found = first_anomaly(&mut detector, 600, |index| {
                    if index < 400 {
                        noise.normal()
                    } else {
                        shift + spread * noise.normal()
                    }
                });
                let found = found.expect("the change is seen");
                assert!(
                    (400..400 + delay_max).contains(&found),
                    "seed {seed}: {found}"
                );
                let began = found + 1 - detector.stretch() as usize;
                assert!(began.abs_diff(400) <= 12, "seed {seed}: dated {began}");
            }
        }
    }

    #[test]
    fn noise_without_a_change_hardly_ever_has_one() {
        let fired: usize = (0..20)
            .map(|seed| {
                let mut noise = Noise::new(100 + seed);
                let mut detector = detector();
                (0..2000)
                    .filter(|&index| {
                        let score = detector.observe(second(index), noise.normal());
                        index >= 50 && score.is_anomalous()
                    })
                    .count()
            })
            .sum();
        assert!(fired <= 8, "{fired} in 40,000 values");
    }

    #[test]
    fn the_weights_are_chances() {
        let mut noise = Noise::new(9);
        let mut detector = detector();
        for index in 0..3000 {
            let level = if index % 700 < 300 { 1e6 } else { -3.0 };
            detector.observe(second(index), level + noise.normal());
            let total: f64 = detector.starts.iter().map(|start| start.weight).sum();
            assert!((total - 1.0).abs() < 1e-9, "{total}");
        }
    }
}
