//! Detectors over one series of values: each says of every value how far it is out of what came before.
//!
//! | detector | it sees | source | bytes of state, at most |
//! | --- | --- | --- | --- |
//! | [`Level`] | a value beyond a limit, until it is well within it again | Schmitt 1938 | 32 |
//! | [`RobustZ`] | a value far from the median, in inter-quartile ranges | Iglewicz and Hoaglin 1993 | 600 |
//! | [`Ewma`] | a small shift of the mean that lasts | Roberts 1959 | 72 |
//! | [`Cusum`] | a shift of the mean, soonest for one of known size | Page 1954 | 72 |
//! | [`ChangePoint`] | the moment from which values have another mean or spread | Adams and MacKay 2007 | 640 |
//! | [`Trend`] | a resource that is on its way to its limit, and when it gets there | Brown 1963 | 112 |
//! | [`Novelty`] | a value unlike all before, in a series of which nothing is known | its own docs | 14336 |
//!
//! A detector is a value of fixed size: it takes no memory after it was made, and its time for a value is
//! bounded. What it says depends on the values and times it was given alone, so a recorded series can be
//! judged again anywhere. A value that is no number is a missing sample: it is judged by none and learned by none.

mod change_point;
mod cusum;
mod ewma;
mod level;
mod moments;
mod novelty;
mod robust_z;
#[cfg(test)]
mod series;
mod trend;

pub use change_point::ChangePoint;
pub use cusum::Cusum;
pub use ewma::Ewma;
pub use level::{Level, Side};
pub use moments::Moments;
pub use novelty::Novelty;
pub use robust_z::RobustZ;
pub use trend::{Exhaustion, Trend};

use crate::platform::time::Instant;

/// How far a value is out of what a detector expected, in multiples of the detector's limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Score(f64);

impl Score {
    /// Nothing is amiss, or too little was seen to say so.
    pub const NONE: Self = Self(0.0);

    /// A distance as a multiple of the limit, which is above 0.
    fn of(distance: f64, limit: f64) -> Self {
        Self(distance / limit)
    }

    /// [`as_share`](Self::as_share) of a value on the limit.
    pub const LIMIT_SHARE: f64 = 0.5;

    /// Multiples of the limit: 1 is on it.
    pub fn as_multiple(self) -> f64 {
        self.0
    }

    /// The same from 0 to 1, as a share of itself and the limit together.
    pub fn as_share(self) -> f64 {
        if self.0.is_finite() {
            self.0 / (1.0 + self.0)
        } else {
            1.0
        }
    }

    /// True on the limit and beyond.
    pub fn is_anomalous(self) -> bool {
        self.0 >= 1.0
    }

    /// The same order of values, all below the limit.
    fn muted(self) -> Self {
        Self(self.as_share() * 0.999)
    }
}

/// What is fed a series and scores each value of it.
pub trait StreamDetector {
    /// Scores a value that was seen at `at` by what came before it, then learns it. Times do not fall.
    fn observe(&mut self, at: Instant, value: f64) -> Score {
        if value.is_finite() {
            self.take(at, value)
        } else {
            Score::NONE
        }
    }

    /// [`observe`](Self::observe) for a value that is a number.
    fn take(&mut self, at: Instant, value: f64) -> Score;
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::size_of;

    #[test]
    fn no_detector_is_larger_than_its_row_in_the_table_says() {
        for (row, bytes) in [
            ("[`Level`]", size_of::<Level>()),
            ("[`RobustZ`]", size_of::<RobustZ>()),
            ("[`Ewma`]", size_of::<Ewma>()),
            ("[`Cusum`]", size_of::<Cusum>()),
            ("[`ChangePoint`]", size_of::<ChangePoint>()),
            ("[`Trend`]", size_of::<Trend>()),
            ("[`Novelty`]", size_of::<Novelty>()),
        ] {
            let line = include_str!("mod.rs")
                .lines()
                .find(|line| line.starts_with("//! | [`") && line.contains(row))
                .expect("the table has a row for each");
            let limit: usize = line
                .trim_end_matches(" |")
                .rsplit("| ")
                .next()
                .and_then(|cell| cell.parse().ok())
                .expect("its last cell is a number");
            assert!(bytes <= limit, "{row}: {bytes} bytes");
        }
    }

    #[test]
    fn a_missing_sample_is_no_anomaly_and_changes_nothing() {
        let mut level = Level::new(Side::Above, 10.0, 8.0);
        assert_eq!(level.observe(Instant::ZERO, f64::NAN), Score::NONE);
        assert_eq!(level.observe(Instant::ZERO, f64::INFINITY), Score::NONE);
        assert!(!level.is_raised());
    }
}
