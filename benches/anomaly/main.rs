//! `make bench-anomaly DATA=DIR`: what the diagnosis engine makes of recorded series.
//!
//! Reads each `*.csv` of a directory whose header begins `timestamp,value` once, row by row, and writes the same rows with
//! the engine's anomaly score. Prints lines `row CASE SUBJECT METRIC NUMBER` for scripts/bench-anomaly.sh. The engine is
//! given times and values, nothing else, and one setting for all series. Labels in windows.csv are read when every score
//! has been written, to compare with them.
//!
//! Arguments: the directory, and where to put the files. A row that cannot be read ends it before anything is written.

mod nab;
mod run;
mod series;

use std::env;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    // `cargo bench` adds an option of its own.
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let done = match &args[..] {
        [data, out] => run::run(Path::new(data), Path::new(out)),
        _ => Err("usage: anomaly DATA OUT".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}
