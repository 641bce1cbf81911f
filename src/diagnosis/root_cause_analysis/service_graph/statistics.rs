//! Robust statistics over short, incomplete series: order statistics, which a few wild samples do not move.
//!
//! A missing sample is a NaN. Recordings of "normal" times hold faults too, so nothing here is a mean: the middle is
//! the median, the width what most samples keep within.

use crate::diagnosis::quantile::quantile;
use crate::error::{Grow, Result};
use alloc::vec::Vec;

/// Width of a normal distribution between its quartiles, in standard deviations.
const QUARTILES_APART: f64 = 1.349;
/// The same between its 15th and 85th hundredth.
const MOST_APART: f64 = 2.073;

/// The samples that are there, in rising order.
///
/// # Errors
/// `OutOfMemory`.
pub(super) fn sorted(samples: impl Iterator<Item = f64>) -> Result<Vec<f64>> {
    let mut present = Vec::new();
    for sample in samples.filter(|sample| sample.is_finite()) {
        present.try_push(sample)?;
    }
    present.sort_unstable_by(f64::total_cmp);
    Ok(present)
}

/// The middle.
pub(super) fn median(sorted: &[f64]) -> Option<f64> {
    quantile(sorted, 0.5)
}

/// A standard deviation by order statistics: of the middle half or of the middle seven tenths, whichever is wider.
/// The second is for what mostly stands still and sometimes leaps.
pub(super) fn spread(sorted: &[f64]) -> f64 {
    let apart = |low, high| match (quantile(sorted, low), quantile(sorted, high)) {
        (Some(low), Some(high)) => high - low,
        _ => 0.0,
    };
    f64::max(
        apart(0.25, 0.75) / QUARTILES_APART,
        apart(0.15, 0.85) / MOST_APART,
    )
}

/// What a metric does in normal times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Normal {
    /// Its middle.
    pub(super) median: f64,
    /// What it strays by around that.
    pub(super) level_spread: f64,
    /// What it changes by within [`CHANGE_SAMPLES`] samples; nothing where too few changes are known.
    pub(super) change_spread: Option<f64>,
}

/// Samples from one to the next that a change is measured over: about the length of an incident's window.
const CHANGE_SAMPLES: usize = 3;
/// Samples, and changes, that normal times must have to be judged by.
const SAMPLES_MIN: usize = 8;
/// Of a series with more holes than this nothing is said.
const PRESENT_MIN: f64 = 0.3;

impl Normal {
    /// What `samples` of normal times say; nothing if they are too few.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn of(samples: &[f64]) -> Result<Option<Self>> {
        let present = sorted(samples.iter().copied())?;
        if present.len() < SAMPLES_MIN
            || (present.len() as f64) < PRESENT_MIN * samples.len() as f64
        {
            return Ok(None);
        }
        let later = samples.iter().skip(CHANGE_SAMPLES);
        let changes = sorted(
            samples
                .iter()
                .zip(later)
                .map(|(before, after)| after - before),
        )?;
        Ok(median(&present).map(|median| Self {
            median,
            level_spread: spread(&present),
            change_spread: (changes.len() > SAMPLES_MIN).then(|| spread(&changes)),
        }))
    }
}

/// The samples of an incident, split by when it began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'a> {
    /// Its samples.
    pub(super) samples: &'a [f64],
    /// How many of them are from before it began.
    pub(super) before: usize,
}

/// How many spreads a metric left its normal by, upwards positive, in the second worst of an incident's samples: one
/// wild sample says nothing. `floor` is the least spread, as a share of the median. Away from normal means away from
/// what it was before the incident too, in the same direction; a metric that wanders far by small steps is held against
/// what it was before alone.
///
/// # Errors
/// `OutOfMemory`.
pub(super) fn deviation(normal: &Normal, window: Window<'_>, floor: f64) -> Result<f64> {
    let (before, since) = window.samples.split_at(window.before);
    let before = median(&sorted(before.iter().copied())?);
    let least = f64::max(floor * normal.median.abs(), f64::MIN_POSITIVE);
    let wanders = |change: &f64| f64::max(*change, least) * WANDERING < normal.level_spread;
    let change = normal
        .change_spread
        .filter(wanders)
        .filter(|_| before.is_some());
    let spread = f64::max(change.unwrap_or(normal.level_spread), least);
    let away = since.iter().map(|sample| match before {
        _ if !sample.is_finite() => f64::NAN,
        Some(before) if change.is_some() => (sample - before) / spread,
        Some(before) => lesser(sample - normal.median, sample - before) / spread,
        None => (sample - normal.median) / spread,
    });
    let away = sorted(away)?;
    let [_, second_lowest, ..] = *away else {
        return Ok(0.0);
    };
    let second_highest = away[away.len() - 2];
    Ok(if second_highest >= -second_lowest {
        second_highest
    } else {
        second_lowest
    })
}

/// How many times wider a metric's level spreads than its changes when it wanders.
const WANDERING: f64 = 3.0;

/// The one nearer to 0 of two of one direction; 0 of two of different ones.
fn lesser(one: f64, other: f64) -> f64 {
    if one * other <= 0.0 {
        0.0
    } else if one.abs() < other.abs() {
        one
    } else {
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const NAN: f64 = f64::NAN;

    fn normal(samples: &[f64]) -> Normal {
        Normal::of(samples)
            .expect("the host has memory")
            .expect("there are enough samples")
    }

    fn away(normal: &Normal, samples: &[f64], before: usize) -> f64 {
        deviation(normal, Window { samples, before }, 0.05).expect("the host has memory")
    }

    /// 10, 11, 12, 10, 11, 12, ...
    fn steady() -> Vec<f64> {
        (0..60).map(|i| 10.0 + f64::from(i % 3)).collect()
    }

    #[test]
    fn quantiles_lie_between_neighbours_in_proportion() {
        let samples = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(median(&samples), Some(3.0));
        assert_eq!(quantile(&samples, 1.0), Some(8.0));
        assert_eq!(quantile(&samples, 0.25), Some(1.75));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_tenth_of_wild_samples_changes_nothing() {
        let mut wild = steady();
        for place in (0..60).step_by(10) {
            wild[place] = 1e9;
        }
        assert_eq!(normal(&wild).median, 11.0);
        assert_eq!(normal(&wild).level_spread, normal(&steady()).level_spread);
    }

    #[test]
    fn a_series_with_too_few_samples_is_not_judged() {
        assert_eq!(Normal::of(&[1.0; 7]), Ok(None));
        let mut holes = std::vec![NAN; 100];
        holes[..29].fill(1.0);
        assert_eq!(Normal::of(&holes), Ok(None));
    }

    #[test]
    fn one_wild_sample_is_no_deviation_and_two_are() {
        let normal = normal(&steady());
        assert_eq!(away(&normal, &[11.0, 11.0, 900.0, 11.0], 1), 0.0);
        assert!(away(&normal, &[11.0, 11.0, 900.0, 900.0], 1) > 100.0);
        assert!(away(&normal, &[11.0, 0.0, 0.0, 11.0], 1) < -5.0);
    }

    #[test]
    fn what_was_away_before_the_incident_is_not_counted() {
        let normal = normal(&steady());
        assert!(away(&normal, &[50.0, 50.0, 50.0], 0) > 10.0);
        assert_eq!(away(&normal, &[50.0, 50.0, 50.0], 1), 0.0);
        assert_eq!(away(&normal, &[50.0, 40.0, 40.0], 1), 0.0, "it comes back");
    }

    #[test]
    fn missing_samples_are_passed_over() {
        let normal = normal(&steady());
        assert_eq!(away(&normal, &[NAN, NAN, NAN], 1), 0.0);
        assert!(away(&normal, &[NAN, 50.0, NAN, 50.0], 1) > 10.0);
    }

    #[test]
    fn a_metric_that_wanders_is_held_against_what_it_was_before() {
        // Steps of 1 every 30 samples: its level spreads far, and it hardly ever changes.
        let stairs: Vec<f64> = (0..600).map(|i| 100.0 + 10.0 * f64::from(i / 30)).collect();
        let normal = normal(&stairs);
        assert_eq!(away(&normal, &[250.0, 250.0, 250.0], 1), 0.0);
        assert!(away(&normal, &[150.0, 190.0, 190.0], 1) > 3.0);
    }
}
