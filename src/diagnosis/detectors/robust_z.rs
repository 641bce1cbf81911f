//! Distance from the median in inter-quartile ranges: what a few wild values do not move.
//!
//! Iglewicz and Hoaglin, "How to detect and handle outliers" (1993), for the score. The quartiles are exact ones of a sample
//! of [`SAMPLE`] recent values: a quarter of them may be wild without moving it far. Turned down was P² (Jain and Chlamtac
//! 1985), which needs a tenth of the memory for a quantile: its markers follow a parabola through the extremes, so that one wild
//! value among the first spoils the quartiles for long.

use super::{Score, StreamDetector};
use crate::diagnosis::quantile::quantile;
use crate::platform::time::Instant;

/// Values in the sample. The median of so many normal ones is a sixth of a deviation off, their range a seventh.
const SAMPLE: usize = 63;
/// Inter-quartile ranges of a normal spread in one standard deviation.
const RANGES_PER_DEVIATION: f64 = 1.348_979_5;
/// The golden ratio's fraction: its multiples, taken modulo 1, spread evenly and follow no period.
const GOLDEN: f64 = 0.618_033_988_749_894_8;

/// Watches for values far from the median.
#[derive(Clone, Copy, Debug)]
pub struct RobustZ {
    limit: f64,
    stride: u32,
    learning: u8,
    /// Values seen of the present stride, and which of them goes into the sample.
    seen: u32,
    chosen: u32,
    /// Sorted, with the turn in which each came in.
    values: [f64; SAMPLE],
    turns: [u8; SAMPLE],
    len: u8,
    turn: u8,
}

impl RobustZ {
    /// Anomalous from `limit` robust deviations on, judged by one of every `stride` values over the last 63 strides, and not
    /// before `learning` of these were seen, which is at most 63.
    ///
    /// # Panics
    /// If `stride` or `learning` is 0, or `learning` above 63.
    pub const fn new(limit: f64, stride: u32, learning: u8) -> Self {
        assert!(stride > 0 && learning > 0 && learning as usize <= SAMPLE);
        Self {
            limit,
            stride,
            learning,
            seen: 0,
            chosen: 0,
            values: [0.0; SAMPLE],
            turns: [0; SAMPLE],
            len: 0,
            turn: 0,
        }
    }

    /// How many robust deviations `value` lies above the median, below it where negative. A series that hardly varies is
    /// taken to vary by a millionth of its median.
    pub fn deviations(&self, value: f64) -> f64 {
        let [low, median, high] = [0.25, 0.5, 0.75].map(|share| self.quantile(share));
        let deviation = (high - low) / RANGES_PER_DEVIATION;
        (value - median) / deviation.max(median.abs() * 1e-6).max(f64::MIN_POSITIVE)
    }

    /// That of the sample; 0 of none.
    fn quantile(&self, share: f64) -> f64 {
        quantile(&self.values[..self.len.into()], share).unwrap_or(0.0)
    }

    /// Lets a value into the sample, for the one that came in longest ago.
    fn sample(&mut self, value: f64) {
        let len = usize::from(self.len);
        // One is taken out, or the place behind the last is free: those above move down, then up.
        let mut place = if len < SAMPLE {
            self.len += 1;
            len
        } else {
            (0..SAMPLE)
                .find(|&place| self.turns[place] == self.turn)
                .expect("each of a full sample's turns is in it")
        };
        while place > 0 && self.values[place - 1] > value {
            self.put(place, self.values[place - 1], self.turns[place - 1]);
            place -= 1;
        }
        while place + 1 < usize::from(self.len) && self.values[place + 1] < value {
            self.put(place, self.values[place + 1], self.turns[place + 1]);
            place += 1;
        }
        self.put(place, value, self.turn);
        self.turn = (self.turn + 1) % SAMPLE as u8;
    }

    fn put(&mut self, place: usize, value: f64, turn: u8) {
        self.values[place] = value;
        self.turns[place] = turn;
    }
}

impl StreamDetector for RobustZ {
    fn take(&mut self, _: Instant, value: f64) -> Score {
        let score = if self.len < self.learning {
            Score::NONE
        } else {
            Score::of(self.deviations(value).abs(), self.limit)
        };
        if self.seen == self.chosen {
            self.sample(value);
        }
        self.seen += 1;
        if self.seen == self.stride {
            self.seen = 0;
            let turn = f64::from(self.turn) * GOLDEN;
            self.chosen = ((turn - f64::from(turn as u32)) * f64::from(self.stride)) as u32;
        }
        score
    }
}

#[cfg(test)]
mod tests {
    use super::super::series::{Noise, first_anomaly, second};
    use super::*;

    #[test]
    fn the_sample_is_the_last_values_and_sorted() {
        let mut noise = Noise::new(1);
        let mut detector = RobustZ::new(5.0, 1, 1);
        let values: std::vec::Vec<f64> = (0..500).map(|_| noise.normal()).collect();
        for (index, &value) in values.iter().enumerate() {
            detector.observe(second(index), value);
            let mut last = values[(index + 1).saturating_sub(SAMPLE)..=index].to_vec();
            last.sort_by(f64::total_cmp);
            assert_eq!(detector.values[..last.len()], last[..]);
            assert_eq!(usize::from(detector.len), last.len());
        }
    }

    #[test]
    fn a_normal_value_is_as_many_deviations_out_as_it_is() {
        let mut noise = Noise::new(3);
        let mut detector = RobustZ::new(5.0, 20, 30);
        for index in 0..5000 {
            detector.observe(second(index), 40.0 + 3.0 * noise.normal());
        }
        for deviations in [-6.0, -2.0, 0.0, 1.0, 8.0_f64] {
            let measured = detector.deviations(40.0 + 3.0 * deviations);
            let tolerance = 0.3 + 0.25 * deviations.abs();
            assert!((measured - deviations).abs() < tolerance, "{measured}");
        }
    }

    #[test]
    fn a_fifth_of_wild_values_moves_it_little() {
        let mut noise = Noise::new(4);
        let mut detector = RobustZ::new(5.0, 7, 30);
        for index in 0..5000 {
            let wild = if index % 5 == 0 { 1e6 } else { 0.0 };
            detector.observe(second(index), noise.normal() + wild);
        }
        let measured = detector.deviations(6.0);
        assert!((2.5..7.0).contains(&measured), "{measured}");
    }

    #[test]
    fn a_series_with_the_period_of_the_stride_is_seen_in_all_its_phases() {
        let mut detector = RobustZ::new(5.0, 24, 30);
        for index in 0..24 * 200 {
            detector.observe(second(index), (index % 24) as f64);
        }
        assert!((detector.quantile(0.5) - 11.5).abs() < 2.0, "{detector:?}");
        assert!((detector.quantile(0.75) - detector.quantile(0.25) - 12.0).abs() < 3.0);
    }

    #[test]
    fn a_new_level_becomes_the_usual_one_within_a_sample() {
        let mut noise = Noise::new(5);
        let mut detector = RobustZ::new(8.0, 3, 50);
        let mut step = |index| noise.normal() + if index < 1000 { 0.0 } else { 50.0 };
        assert_eq!(first_anomaly(&mut detector, 1001, &mut step), Some(1000));
        for index in 1001..1200 {
            detector.observe(second(index), step(index));
        }
        assert!(detector.deviations(50.0).abs() < 1.0);
        assert!(detector.deviations(0.0) < -6.0);
    }

    #[test]
    fn the_first_change_of_a_constant_is_anomalous() {
        let mut detector = RobustZ::new(6.0, 2, 10);
        let found = first_anomaly(
            &mut detector,
            90,
            |index| if index < 60 { 5.0 } else { 5.1 },
        );
        assert_eq!(found, Some(60));
    }
}
