//! What the general scorer of `diagnosis::root_cause_analysis` makes of recorded incidents in other people's systems
//! (scripts/bench-rca.sh).
//!
//!     rca rank DIR FILE     ranks every case of the sets in DIR and writes FILE
//!     rca score DIR FILE    holds FILE against the answers in DIR, if they are there
//!
//! `rank` never has an answer: what it reads of a table are the columns that it names, and those of the answers are
//! named in `answers` alone.

mod answers;
mod csv;
mod sets;

use nos::diagnosis::root_cause_analysis::service_graph::rank;
use sets::{Case, Set};
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Cargo adds an argument of its own to a benchmark's.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match *words {
        ["rank", dir, file] => rank_all(Path::new(dir)).and_then(|page| {
            std::fs::write(file, page).map_err(|fault| format!("{file}: {fault}"))
        }),
        ["score", dir, file] => answers::score(Path::new(dir), Path::new(file)),
        _ => Err("usage: rca rank|score DIR FILE".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// The page of all cases: a header, then a line for each with all its candidates, the likeliest first.
fn rank_all(dir: &Path) -> Result<String, String> {
    let mut lines = Vec::new();
    for set in sets::find(dir)? {
        lines.extend(guesses(&set)?);
    }
    let widest = lines.iter().map(Vec::len).max().unwrap_or(0);
    let mut page = String::from("case");
    for guess in 1..widest {
        match guess {
            1 => page.push_str(",first guess"),
            2 => page.push_str(",second guess"),
            3 => page.push_str(",third guess"),
            _ => write!(page, ",guess {guess}").expect("a string takes all"),
        }
    }
    for line in lines {
        let fields: Vec<String> = line.iter().map(|field| csv::quoted(field)).collect();
        page.push('\n');
        page.push_str(&fields.join(","));
    }
    page.push('\n');
    Ok(page)
}

/// For each case of a set: its name, then its components.
fn guesses(set: &Set) -> Result<Vec<Vec<String>>, String> {
    let case = |case: &Case| {
        let ranked = case.with_recording(rank);
        let ranked = ranked.map_err(|fault| format!("{}: {fault}", case.name))?;
        let names = ranked
            .iter()
            .map(|candidate| case.components[candidate.component].clone());
        Ok(std::iter::once(case.name.clone()).chain(names).collect())
    };
    set.cases()?.iter().map(case).collect()
}
