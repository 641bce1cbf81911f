//! A series seen in several ways, so that what hides in one shows in another.
//!
//! Levels are means over the last values, from one to many: a spike shows in the shortest, a shift in all, a slow change in
//! the longest. Magnitudes are the same levels on a scale that is a logarithm but near nothing (the inverse
//! hyperbolic sine of Johnson, Biometrika 36, 1949): halving and doubling weigh the same on it. Surprises are the same means of
//! the distance from what is usual at this hour (the seasonal means of Winters, Management Science 6, 1960).

use crate::diagnosis::detectors::Moments;
use crate::platform::time::Instant;

/// Numbers of values over which levels are means.
const LEVELS: [usize; 6] = [1, 3, 6, 12, 24, 48];
/// Numbers of values over which surprises are means.
const SURPRISES: [usize; 4] = [1, 6, 12, 36];
/// All views of one value.
pub(super) const VIEWS: usize = 2 * LEVELS.len() + 2 * SURPRISES.len();

/// Below this share of the mean magnitude, magnitudes differ as the values do.
const NEAR_NOTHING: f64 = 0.03;
/// The latest value weighs no less in the mean magnitude, so that in the end it follows.
const MAGNITUDE_WEIGHT: f64 = 1e-4;

const HOURS_A_DAY: usize = 24;
const HOURS_A_WEEK: usize = 7 * HOURS_A_DAY;
/// How much the latest value weighs in what is usual at its hour: of a day there are many, of a week few.
const DAY_WEIGHT: f64 = 0.1;
const WEEK_WEIGHT: f64 = 0.3;

/// What the views need of the past.
#[derive(Clone, Debug)]
pub(super) struct Views {
    recent: Recent<{ LEVELS[LEVELS.len() - 1] }>,
    magnitude: Moments,
    day: Season<HOURS_A_DAY>,
    week: Season<HOURS_A_WEEK>,
}

impl Views {
    pub(super) const NEW: Self = Self {
        recent: Recent::NEW,
        magnitude: Moments::NEW,
        day: Season::NEW,
        week: Season::NEW,
    };

    /// Takes in a value; all views of it.
    pub(super) fn look(&mut self, at: Instant, value: f64) -> impl Iterator<Item = f64> {
        let hour = usize::try_from(at.as_secs() / 3600).unwrap_or(0);
        self.recent.push(value);
        self.magnitude.learn(value.abs(), MAGNITUDE_WEIGHT);
        let unit = (NEAR_NOTHING * self.magnitude.mean()).max(f64::MIN_POSITIVE);
        let levels = self.recent.means(LEVELS);
        let day = self.day.surprises(hour, value, DAY_WEIGHT);
        let week = self.week.surprises(hour, value, WEEK_WEIGHT);
        levels
            .into_iter()
            .chain(levels.map(|level| libm::asinh(level / unit)))
            .chain(day)
            .chain(week)
    }
}

/// What is usual at each hour of a period.
#[derive(Clone, Debug)]
struct Season<const HOURS: usize> {
    usual: [f64; HOURS],
    seen: [u8; HOURS],
    surprises: Recent<{ SURPRISES[SURPRISES.len() - 1] }>,
}

impl<const HOURS: usize> Season<HOURS> {
    const NEW: Self = Self {
        usual: [0.0; HOURS],
        seen: [0; HOURS],
        surprises: Recent::NEW,
    };

    /// Takes in a value; the mean distances of the latest from what was usual at their hours.
    fn surprises(&mut self, hour: usize, value: f64, weight: f64) -> [f64; SURPRISES.len()] {
        let hour = hour % HOURS;
        // Nothing is usual at an hour that was never seen.
        let surprise = match self.seen[hour] {
            0 => 0.0,
            _ => value - self.usual[hour],
        };
        self.surprises.push(surprise);
        self.seen[hour] = self.seen[hour].saturating_add(1);
        let weight = weight.max(1.0 / f64::from(self.seen[hour]));
        self.usual[hour] += weight * (value - self.usual[hour]);
        self.surprises.means(SURPRISES)
    }
}

/// The last `N` values.
#[derive(Clone, Debug)]
struct Recent<const N: usize> {
    values: [f64; N],
    /// Values taken in; the latest stands before this one's place.
    count: usize,
}

impl<const N: usize> Recent<N> {
    const NEW: Self = Self {
        values: [0.0; N],
        count: 0,
    };

    fn push(&mut self, value: f64) {
        self.values[self.count % N] = value;
        self.count += 1;
    }

    /// The means of the last so many values, or of as many as there are; `spans` rise, the last is at most `N`.
    fn means<const SPANS: usize>(&self, spans: [usize; SPANS]) -> [f64; SPANS] {
        let mut sum = 0.0;
        let mut summed = 0;
        spans.map(|span| {
            while summed < span.min(self.count) {
                summed += 1;
                sum += self.values[(self.count - summed) % N];
            }
            sum / summed.max(1) as f64
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::series::second;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn levels_are_means_of_the_last_values_or_of_all_there_are() {
        let mut recent = Recent::<6>::NEW;
        recent.push(8.0);
        assert_eq!(recent.means([1, 3, 6]), [8.0; 3]);
        for value in 1..=20 {
            recent.push(f64::from(value));
        }
        assert_eq!(recent.means([1, 3, 6]), [20.0, 19.0, 17.5]);
    }

    #[test]
    fn another_unit_gives_the_same_magnitudes() {
        let looks = |unit: f64| {
            let mut views = Views::NEW;
            let values = [1.0, 5.0, -2.0, 800.0, 3.0];
            let mut looks = Vec::new();
            for (index, value) in values.into_iter().enumerate() {
                looks.extend(
                    views
                        .look(second(index), unit * value)
                        .skip(LEVELS.len())
                        .take(LEVELS.len()),
                );
            }
            looks
        };
        for (a, b) in looks(1.0).into_iter().zip(looks(1000.0)) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
    }

    #[test]
    fn what_comes_at_the_same_hour_each_day_surprises_no_more() {
        let mut season = Season::<HOURS_A_DAY>::NEW;
        let mut surprise = 0.0;
        for hour in 0..24 * 60 {
            let value = if hour % 24 == 7 { 500.0 } else { 3.0 };
            [surprise, ..] = season.surprises(hour, value, DAY_WEIGHT);
        }
        assert_eq!(surprise, 0.0);
        let [missing, ..] = season.surprises(24 * 60 + 7, 3.0, DAY_WEIGHT);
        assert_eq!(missing, -497.0);
    }
}
