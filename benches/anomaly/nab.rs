//! The score of the Numenta Anomaly Benchmark, once every row has its own.
//!
//! Lavin and Ahmad, "Evaluating real-time anomaly detection algorithms", ICMLA 2015, with version 1.1's rules: a window
//! counts once, by its earliest row at or over the threshold, more the earlier; each such row outside the windows costs, up
//! to its full price as it lies further behind the last window; the first 15 % of a file, at most 750 rows, do not count.
//! 0 is a detector that stays silent, 100 a perfect one.

use super::run::Scored;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What a profile counts for: a row outside the windows, and a missed window.
const PROFILES: [(&str, f64, f64); 3] = [
    ("standard", 0.11, 1.0),
    ("few_false_alarms", 0.22, 1.0),
    ("few_misses", 0.11, 2.0),
];

/// The first and last row of each anomaly window of each file.
pub(crate) struct Windows(BTreeMap<String, Vec<(usize, usize)>>);

/// What a file's rows come to.
#[derive(Default)]
struct Tally {
    windows: f64,
    missed: f64,
    found: f64,
    false_alarms: f64,
}

impl Windows {
    /// Reads `file,rows,first_row,last_row`; both ends are empty for a file without an anomaly.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))?;
        let mut windows: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
        for (index, line) in text.lines().enumerate().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let ends = match fields[..] {
                [_, _, "", ""] => None,
                [_, _, first, last] => first.parse().ok().zip(last.parse().ok()),
                _ => None,
            };
            let of_file = windows.entry(fields[0].into()).or_default();
            match ends {
                Some(ends) => of_file.push(ends),
                None if line.ends_with(",,") => {}
                None => return Err(format!("{}:{}: no window", path.display(), index + 1)),
            }
        }
        Ok(Self(windows))
    }

    /// The score of each profile over all files that the windows name.
    pub(crate) fn score(
        &self,
        all: &[Scored],
        threshold: f64,
    ) -> Result<Vec<(&'static str, f64)>, String> {
        let mut total = Tally::default();
        for (name, windows) in &self.0 {
            let scored = all
                .iter()
                .find(|scored| scored.series.name == *name)
                .ok_or_else(|| format!("windows.csv names {name}, which is not there"))?;
            total.add(&tally(&scored.scores, windows, threshold));
        }
        if total.windows == 0.0 {
            return Ok(Vec::new());
        }
        Ok(PROFILES
            .map(|(profile, price, miss)| (profile, total.score(price, miss)))
            .into())
    }
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.windows += other.windows;
        self.missed += other.missed;
        self.found += other.found;
        self.false_alarms += other.false_alarms;
    }

    fn score(&self, price: f64, miss: f64) -> f64 {
        let raw = self.found - miss * self.missed - price * self.false_alarms;
        let silent = -miss * self.windows;
        100.0 * (raw - silent) / (self.windows - silent)
    }
}

fn tally(scores: &[f64], windows: &[(usize, usize)], threshold: f64) -> Tally {
    let unscored = (scores.len() * 15 / 100).min(750);
    let fires = |row: &usize| scores[*row] >= threshold;
    let mut tally = Tally::default();
    let mut behind = None;
    let mut next = unscored;
    for &(first, last) in windows {
        let outside = (next..first.max(next)).filter(fires);
        tally.false_alarms += outside.map(|row| price(row, behind)).sum::<f64>();
        next = next.max(last + 1);
        behind = Some((first, last));
        if last < unscored {
            continue;
        }
        tally.windows += 1.0;
        let width = (last - first + 1) as f64;
        match (first.max(unscored)..=last.min(scores.len() - 1)).find(fires) {
            Some(row) => tally.found += falling(-((last - row + 1) as f64) / width) / falling(-1.0),
            None => tally.missed += 1.0,
        }
    }
    let outside = (next..scores.len()).filter(fires);
    tally.false_alarms += outside.map(|row| price(row, behind)).sum::<f64>();
    tally
}

/// What a row outside the windows costs, of its full price: less right behind a window.
fn price(row: usize, behind: Option<(usize, usize)>) -> f64 {
    behind.map_or(1.0, |(first, last)| {
        -falling((row - last) as f64 / (last - first).max(1) as f64)
    })
}

/// Falls from nearly 1 at -1 through 0 at the window's end to nearly -1 at 1; -1 from 3 on.
fn falling(position: f64) -> f64 {
    if position >= 3.0 {
        -1.0
    } else {
        2.0 / (1.0 + (5.0 * position).exp()) - 1.0
    }
}
