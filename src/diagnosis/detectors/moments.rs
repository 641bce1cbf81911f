//! Mean and variance of a series, with all of the past or with less and less of it.
//!
//! Welford, "Note on a method for calculating corrected sums of squares and products", Technometrics 4 (1962);
//! with weights that fall: West, "Updating mean and variance estimates", CACM 22 (1979).

/// Mean and variance of the values so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moments {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Moments {
    /// Nothing seen.
    pub const NEW: Self = Self {
        count: 0.0,
        mean: 0.0,
        variance: 0.0,
    };

    /// Takes in a value. It weighs as much as each before, but never less than `weight_min`, so values from longer
    /// than about its inverse ago are forgotten; 0 forgets none.
    pub fn learn(&mut self, value: f64, weight_min: f64) {
        self.count += 1.0;
        let weight = (1.0 / self.count).max(weight_min);
        let distance = value - self.mean;
        self.mean += weight * distance;
        self.variance = (1.0 - weight) * (self.variance + weight * distance * distance);
    }

    /// Values seen.
    pub fn count(&self) -> f64 {
        self.count
    }

    /// Their mean; 0 of none.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Their mean squared distance from the mean.
    pub fn variance(&self) -> f64 {
        self.variance
    }

    /// The square root of the variance.
    pub fn deviation(&self) -> f64 {
        libm::sqrt(self.variance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_variance_are_those_of_all_values() {
        let mut moments = Moments::NEW;
        for value in [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0] {
            moments.learn(value + 1e9, 0.0);
        }
        assert!((moments.mean() - 1e9 - 5.0).abs() < 1e-6);
        assert!((moments.deviation() - 2.0).abs() < 1e-6);
    }

    #[test]
    fn with_a_least_weight_the_far_past_is_forgotten() {
        let mut moments = Moments::NEW;
        for value in [100.0; 50].into_iter().chain([3.0; 400]) {
            moments.learn(value, 0.05);
        }
        assert!((moments.mean() - 3.0).abs() < 1e-6, "{}", moments.mean());
        assert!(moments.deviation() < 0.01);
    }
}
