//! The anomaly benchmark's own tests, on made series: what it reads, what it writes, and how it scores.

mod nab;
mod run;
mod series;

use run::run;
use std::fs;
use std::path::{Path, PathBuf};

/// A directory of its own for a test.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("anomaly")
        .join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir).expect("what an earlier run left can go");
    }
    fs::create_dir_all(dir.join("data")).expect("the build directory can be written");
    dir
}

/// Runs it on the files given; the scratch directory and what came of it.
fn bench(name: &str, files: &[(&str, &str)]) -> (PathBuf, Result<(), String>) {
    let dir = scratch(name);
    for (file, text) in files {
        fs::write(dir.join("data").join(file), text).expect("scratch can be written");
    }
    let done = run(&dir.join("data"), &dir.join("out"));
    (dir, done)
}

/// A series of 1,000 rows, one a minute: a slow wave, with a spike at row 700.
fn spike() -> String {
    let mut text = String::from("timestamp,value,label\n");
    for row in 0..1000_u64 {
        let value = if row == 700 {
            900.0
        } else {
            (row as f64 / 30.0).sin() * 10.0
        };
        text += &format!("{},{value},0\n", 1_600_000_000 + 60 * row);
    }
    text
}

/// The scores in a file that was written.
fn scores(path: &Path) -> Vec<f64> {
    fs::read_to_string(path)
        .expect("the file is there")
        .lines()
        .skip(1)
        .map(|line| line.rsplit(',').next().unwrap_or_default())
        .map(|score| score.parse().expect("a score is a number"))
        .collect()
}

#[test]
fn every_row_is_written_as_it_was_with_its_score() {
    let (dir, done) = bench(
        "written",
        &[("spike.csv", &spike()), ("notes.csv", "a,b\n1,2\n")],
    );
    done.expect("both can be read");
    let scores = scores(&dir.join("out/spike.csv"));
    assert_eq!(scores.len(), 1000);
    let alarms: Vec<usize> = (500..1000).filter(|&row| scores[row] >= 0.5).collect();
    assert_eq!(alarms, [700]);
    let text = fs::read_to_string(dir.join("out/spike.csv")).expect("it is there");
    assert!(text.starts_with("timestamp,value,anomaly_score\n1600000000,0,0\n"));
    assert!(!dir.join("out/notes.csv").exists(), "it is no series");
}

#[test]
fn labels_change_no_score() {
    let text = spike();
    let other = text.replace(",0\n", ",1\n").replace("label", "anything");
    let (dir, done) = bench(
        "labels",
        &[
            ("a.csv", &text),
            ("b.csv", &other),
            (
                "windows.csv",
                "file,rows,first_row,last_row\na.csv,1000,650,750\nb.csv,1000,,\n",
            ),
        ],
    );
    done.expect("all can be read");
    assert_eq!(
        scores(&dir.join("out/a.csv")),
        scores(&dir.join("out/b.csv"))
    );
}

#[test]
fn a_missing_sample_has_no_score_and_line_ends_of_other_systems_are_read() {
    let text = spike()
        .replace("1600012000,", "1600012000,,")
        .replace('\n', "\r\n");
    let (dir, done) = bench("missing", &[("spike.csv", &text)]);
    done.expect("an empty field is a missing sample");
    assert_eq!(scores(&dir.join("out/spike.csv"))[200], 0.0);
}

#[test]
fn what_cannot_be_read_is_told_with_file_and_line_and_nothing_is_written() {
    let good = spike();
    for (name, row, why) in [
        ("value", "1600000000,many,0", "value \"many\" is no number"),
        ("infinite", "1600000000,inf,0", "value \"inf\" is no number"),
        (
            "time",
            "2014-04-01 00:00:00,5,0",
            "is no time in Unix seconds",
        ),
        ("fields", "1600000000", "has no value field"),
    ] {
        let bad = format!("timestamp,value\n1600000000,1\n{row}\n");
        let (dir, done) = bench(name, &[("good.csv", &good), ("xbad.csv", &bad)]);
        let error = done.expect_err("the row is bad");
        assert!(error.starts_with("xbad.csv:3: "), "{error}");
        assert!(error.ends_with(why), "{error}");
        assert!(!dir.join("out").exists() && !dir.join("out.partial").exists());
    }
    let (_, done) = bench("empty", &[]);
    assert!(
        done.expect_err("there is nothing")
            .ends_with("no series in it")
    );
}

#[test]
fn a_run_that_fails_leaves_the_files_of_the_last() {
    let (dir, done) = bench("kept", &[("spike.csv", &spike())]);
    done.expect("it can be read");
    fs::write(dir.join("data/bad.csv"), "timestamp,value\nx,1\n").expect("scratch can be written");
    run(&dir.join("data"), &dir.join("out")).expect_err("the row is bad");
    assert_eq!(scores(&dir.join("out/spike.csv")).len(), 1000);
}

/// The score of one file with 1,000 rows of which those given are over the threshold.
fn nab(windows: &str, over: &[usize]) -> Vec<f64> {
    let dir = scratch(&format!("nab-{windows}-{}", over.len()).replace([',', '\n'], "-"));
    let labels = dir.join("windows.csv");
    fs::write(&labels, format!("file,rows,first_row,last_row\n{windows}"))
        .expect("scratch can be written");
    fs::write(dir.join("data/a.csv"), spike()).expect("scratch can be written");
    let series = series::read_all(&dir.join("data")).expect("it is a series");
    let all: Vec<run::Scored> = series
        .into_iter()
        .map(|series| run::Scored {
            scores: (0..1000)
                .map(|row| f64::from(u8::from(over.contains(&row))))
                .collect(),
            series,
        })
        .collect();
    let windows = nab::Windows::read(&labels).expect("they can be read");
    let scores = windows.score(&all, 0.5).expect("all files are there");
    scores.into_iter().map(|(_, score)| score).collect()
}

#[test]
fn the_score_is_that_of_the_benchmark() {
    let one = "a.csv,1000,500,599\n";
    let near = |found: Vec<f64>, expected: [f64; 3]| {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 0.01, "{found} {expected}");
        }
    };
    // Silent; perfect; at the window's last row, of a hundredth: 2 / (1 + exp(-0.05)) - 1 of 0.98661.
    near(nab(one, &[]), [0.0, 0.0, 0.0]);
    near(nab(one, &[500]), [100.0; 3]);
    near(nab(one, &[599]), [51.27, 51.27, 67.51]);
    // Only the earliest in a window counts; none counts in the first 150 rows; one before all windows costs its full price.
    near(nab(one, &[10, 149, 500, 501]), [100.0; 3]);
    near(nab(one, &[150, 500]), [94.5, 89.0, 96.33]);
    // Right behind the window it costs little: 2 / (1 + exp(5 / 99)) - 1 of the price.
    near(nab(one, &[500, 600]), [99.86, 99.72, 99.91]);
}
