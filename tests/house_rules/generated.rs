//! Files that are made from the tables of the diagnosis engine: `docs/causes.md` for people, `docs/prometheus-rules.yml`
//! for Prometheus. One that is not what the tables say fails the test; `make docs` writes them anew.

mod alerts;
mod causes_page;

use std::path::Path;

/// Set by `make docs`: the files are written instead of compared.
const WRITE: &str = "NOS_WRITE_DOCS";

/// Compares a file with what it should be, or writes it.
fn compare(path: &str, wanted: &str) -> Result<(), String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os(WRITE).is_some() {
        return std::fs::write(&file, wanted).map_err(|fault| format!("{path}: {fault}"));
    }
    let found = std::fs::read_to_string(&file).map_err(|fault| format!("{path}: {fault}"))?;
    if found == wanted {
        return Ok(());
    }
    let mut lines = (1..).zip(found.lines()).zip(wanted.lines());
    let differs = lines.find(|((_, found), wanted)| found != wanted);
    let line = differs.map_or(found.lines().count(), |((line, _), _)| line);
    Err(format!("{path}:{line}: not what the tables say: make docs"))
}

#[test]
fn the_table_of_causes_in_the_docs_is_the_one_in_the_code() {
    assert_eq!(compare("docs/causes.md", &causes_page::page()), Ok(()));
}

#[test]
fn the_alerts_in_the_docs_are_made_from_the_tables() {
    assert_eq!(
        compare("docs/prometheus-rules.yml", &alerts::page()),
        Ok(())
    );
}

/// With Prometheus' own tool where it is installed; `make setup` installs it.
#[test]
fn promtool_takes_the_alerts() {
    let root = env!("CARGO_MANIFEST_DIR");
    let own = format!("{root}/target/test-tools/bin/promtool");
    let promtool = if Path::new(&own).exists() {
        own
    } else {
        "promtool".into()
    };
    let rules = format!("{root}/docs/prometheus-rules.yml");
    let outcome = std::process::Command::new(promtool)
        .args(["check", "rules", &rules])
        .output();
    match outcome {
        Ok(told) => assert!(
            told.status.success(),
            "{}",
            String::from_utf8_lossy(&told.stderr)
        ),
        Err(fault) => {
            println!("promtool is not there, so the rules are not checked with it: {fault}")
        }
    }
}

#[test]
fn a_file_that_is_not_what_the_tables_say_is_told_by_its_line() {
    if std::env::var_os(WRITE).is_none() {
        let wanted = causes_page::page().replacen("# Causes", "# Reasons", 1);
        let told = compare("docs/causes.md", &wanted).expect_err("it differs");
        assert!(told.starts_with("docs/causes.md:1: "), "{told}");
    }
}
