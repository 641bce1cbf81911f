//! Made series for the tests of the detectors: the same from the same seed.

use super::StreamDetector;
use crate::cache::random::Random;
use crate::platform::time::{Duration, Instant};
use std::vec::Vec;

/// Seeded noise.
pub(crate) struct Noise(Random);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    /// Evenly spread over 0 to 1.
    pub(crate) fn even(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normal, with mean 0 and deviation 1 (Box and Muller 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.even()));
        radius * libm::cos(core::f64::consts::TAU * self.even())
    }
}

/// The moment of sample number `index`: one a second.
pub(crate) fn second(index: usize) -> Instant {
    Instant::ZERO + Duration::from_secs(index as u64)
}

/// Feeds `len` values of `value(index)`; the index of the first that is anomalous.
pub(crate) fn first_anomaly(
    detector: &mut impl StreamDetector,
    len: usize,
    mut value: impl FnMut(usize) -> f64,
) -> Option<usize> {
    (0..len).find(|&index| detector.observe(second(index), value(index)).is_anomalous())
}

/// The mean number of values until each of these detectors fires, on normal noise of their own that is moved by `shift`.
pub(crate) fn run_length<D: StreamDetector + Copy>(learned: &[D], shift: f64) -> f64 {
    let longest = 20_000;
    let total: usize = learned
        .iter()
        .zip(1000..)
        .map(|(&(mut detector), seed)| {
            let mut noise = Noise::new(seed);
            let value = |_| shift + noise.normal();
            first_anomaly(&mut detector, longest, value).map_or(longest, |index| index + 1)
        })
        .sum();
    total as f64 / learned.len() as f64
}

/// A hundred copies of a detector, each of which has learned from `len` values of normal noise of its own.
pub(crate) fn hundred_learned<D: StreamDetector + Copy>(new: D, len: usize) -> Vec<D> {
    (0..100)
        .map(|seed| {
            let mut noise = Noise::new(seed);
            let mut detector = new;
            for index in 0..len {
                detector.observe(second(index), noise.normal());
            }
            detector
        })
        .collect()
}
