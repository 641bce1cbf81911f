//! A limit with hysteresis: raised beyond one value, cleared within another.
//!
//! The gap between the two keeps a value that wavers about the limit from raising it each time (the trigger of
//! Schmitt, "A thermionic trigger", Journal of Scientific Instruments 15, 1938).

use super::{Score, StreamDetector};
use crate::diagnosis::symptom::{Threshold, Verdict};
use crate::platform::time::Instant;

/// The side of its limit on which a value is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Too much is bad.
    Above,
    /// Too little is bad.
    Below,
}

/// Watches a value against a limit.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    side: Side,
    // Of the value where too little is bad, of its negative where too much is.
    threshold: Threshold<f64>,
    raised: bool,
}

impl Level {
    /// Raised by a value on `side` of `raise`, cleared by one on the other side of `clear`.
    ///
    /// # Panics
    /// If `clear` lies on `side` of `raise`.
    pub fn new(side: Side, raise: f64, clear: f64) -> Self {
        let threshold = Threshold {
            raise_below: side.turned(raise),
            clear_above: side.turned(clear),
        };
        // Without the values: what formats them would be a fiftieth of the image.
        assert!(
            threshold.raise_below <= threshold.clear_above,
            "cleared on the side on which it is raised"
        );
        Self {
            side,
            threshold,
            raised: false,
        }
    }

    /// True from the value that raised it to the one that clears it.
    pub fn is_raised(&self) -> bool {
        self.raised
    }
}

impl Side {
    fn turned(self, value: f64) -> f64 {
        match self {
            Self::Above => -value,
            Self::Below => value,
        }
    }
}

impl StreamDetector for Level {
    fn take(&mut self, _: Instant, value: f64) -> Score {
        match self.threshold.judge(self.side.turned(value)) {
            Verdict::Bad => self.raised = true,
            Verdict::Good => self.raised = false,
            Verdict::Between => {}
        }
        // A state, not a distance: it is out of its limit, or it is not.
        Score(if self.raised { 2.0 } else { 0.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(level: &mut Level, values: &[f64]) -> std::vec::Vec<bool> {
        values
            .iter()
            .map(|&value| level.observe(Instant::ZERO, value).is_anomalous())
            .collect()
    }

    #[test]
    fn a_value_that_wavers_about_the_limit_raises_it_once() {
        let mut level = Level::new(Side::Above, 10.0, 8.0);
        assert_eq!(
            states(&mut level, &[9.0, 10.0, 10.1, 9.0, 10.1, 8.0, 7.9, 9.9]),
            [false, false, true, true, true, true, false, false]
        );
    }

    #[test]
    fn too_little_is_bad_where_it_says_so() {
        let mut level = Level::new(Side::Below, 3.0, 6.0);
        assert_eq!(
            states(&mut level, &[4.0, 2.9, 5.0, 6.1, 4.0]),
            [false, true, true, false, false]
        );
    }

    #[test]
    #[should_panic(expected = "cleared on the side on which it is raised")]
    fn a_gap_the_wrong_way_round_is_refused() {
        Level::new(Side::Above, 3.0, 6.0);
    }
}
