//! The answers, which are read after everything has been ranked and written, and alone to be counted.

use crate::csv::Table;
use crate::sets::{self, Kind, Set};
use std::collections::HashMap;
use std::path::Path;

/// Counts how often the answer stands first, and among the first three; prints a row for each figure.
pub(crate) fn score(dir: &Path, ranked: &Path) -> Result<(), String> {
    let ranked = read(ranked)?;
    for set in sets::find(dir)? {
        let name = set.kind.name();
        // Without answers there is a list of cases alone, and nothing to hold them against.
        let Ok(answers) = Table::read(&set.list(), &columns(&set)) else {
            let cases = Table::read(&set.list(), &["case"])?.rows().count();
            println!("row {name} nos cases {cases}");
            continue;
        };
        let (mut cases, mut first, mut in_three) = (0_u32, 0_u32, 0_u32);
        for row in answers.rows().filter(|row| !row.text(1).is_empty()) {
            let guesses = ranked
                .get(row.text(0))
                .ok_or_else(|| row.fault("a case that was not ranked"))?;
            let place = guesses.iter().position(|guess| guess == row.text(1));
            cases += 1;
            first += u32::from(place == Some(0));
            in_three += u32::from(place.is_some_and(|place| place < 3));
        }
        let share = |count: u32| f64::from(count) / f64::from(cases.max(1));
        println!("row {name} nos cases {cases}");
        println!("row {name} nos top1 {:.3}", share(first));
        println!("row {name} nos top3 {:.3}", share(in_three));
    }
    Ok(())
}

fn columns(set: &Set) -> [&'static str; 2] {
    match set.kind {
        Kind::Petshop => ["case", "root_cause_node"],
        Kind::Nezha => ["case", "root_cause_service"],
    }
}

/// The guesses for each case.
fn read(ranked: &Path) -> Result<HashMap<String, Vec<String>>, String> {
    let lines = crate::csv::lines(ranked)?;
    let guesses = lines
        .into_iter()
        .skip(1)
        .map(|(_, mut fields)| (fields.remove(0), fields));
    Ok(guesses.collect())
}
