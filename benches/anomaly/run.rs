//! From the files of a directory to the files with scores.

use super::nab::Windows;
use super::series::{Series, read_all};
use nos::diagnosis::detectors::{Novelty, Score, StreamDetector};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant as HostInstant;

/// A series with a score for each of its rows.
pub(crate) struct Scored {
    pub(crate) series: Series,
    pub(crate) scores: Vec<f64>,
}

/// Scores every series of `data` into `out`; prints what it comes to.
pub(crate) fn run(data: &Path, out: &Path) -> Result<(), String> {
    let all = read_all(data)?;
    let began = HostInstant::now();
    let all: Vec<Scored> = all.into_iter().map(score).collect();
    let seconds = began.elapsed().as_secs_f64();
    write_all(&all, out)?;

    let rows: usize = all.iter().map(|scored| scored.scores.len()).sum();
    let anomalous = all
        .iter()
        .flat_map(|scored| &scored.scores)
        .filter(|score| **score >= Score::LIMIT_SHARE)
        .count();
    println!("row all nos threshold {}", Score::LIMIT_SHARE);
    println!("row all nos series {}", all.len());
    println!("row all nos rows {rows}");
    println!("row all nos anomalous_rows {anomalous}");
    println!("row all nos rows_per_second {:.0}", rows as f64 / seconds);
    println!("row all nos state_bytes {}", size_of::<Novelty>());

    let labels = data.join("windows.csv");
    if labels.exists() {
        let windows = Windows::read(&labels)?;
        for (profile, score) in windows.score(&all, Score::LIMIT_SHARE)? {
            println!("row all nos nab_{profile} {score:.2}");
        }
    }
    Ok(())
}

/// Feeds a series to a new scorer, row by row; a missing sample is no anomaly.
fn score(series: Series) -> Scored {
    let mut scorer = Box::new(Novelty::new());
    let scores = series
        .rows
        .iter()
        .map(|row| {
            let value = row.value.unwrap_or(f64::NAN);
            scorer.observe(row.at, value).as_share()
        })
        .collect();
    Scored { series, scores }
}

/// Puts all files in place at once: those of an earlier run stay until the new ones are whole.
fn write_all(all: &[Scored], out: &Path) -> Result<(), String> {
    let partial = out.with_extension("partial");
    let failed = |path: &Path, why: std::io::Error| format!("{}: {why}", path.display());
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(|why| failed(&partial, why))?;
    }
    fs::create_dir_all(&partial).map_err(|why| failed(&partial, why))?;
    for Scored { series, scores } in all {
        let mut text = String::from("timestamp,value,anomaly_score\n");
        for (row, score) in series.rows.iter().zip(scores) {
            // As they were written, so that rows can be matched as text.
            writeln!(text, "{},{},{score}", row.timestamp, row.text).expect("a string takes all");
        }
        let path = partial.join(&series.name);
        fs::write(&path, text).map_err(|why| failed(&path, why))?;
    }
    if out.exists() {
        fs::remove_dir_all(out).map_err(|why| failed(out, why))?;
    }
    fs::rename(&partial, out).map_err(|why| failed(out, why))
}
