//! The house rules that a compiler does not hold, checked by syntax: imports point downwards only, assembly
//! stays in `arch`, one error type, files of a readable size. Also lists logic that stands in two places.
//!
//! The sources are read as tokens, so that comments and strings never count and macro bodies always do.

mod application_api;
mod boot_arguments;
mod duplicates;
mod generated;
mod source;

use source::{File, Token, sources};

/// The floors from the ground up; rooms on one floor do not import each other either.
const FLOORS: [&[&str]; 11] = [
    &["error"],
    &["arch"],
    &["platform"],
    &["metrics"],
    &["cache"],
    &["storage"],
    &["memory"],
    &["bus"],
    &["diagnosis", "injection", "modules", "net"],
    &["app"],
    &["kernel"],
];

/// Lines a source file has at most, on the mean and alone (issue 3, "Size").
const MEAN_LINES_MAX: usize = 230;
const FILE_LINES_MAX: usize = 600;
/// How the head of a longer file begins its reason.
const LONG_BECAUSE: &str = "//! Long because";

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Fails with every violation on a line of its own, where an editor finds it.
fn report(rule: &str, violations: &[String]) {
    assert!(
        violations.is_empty(),
        "{rule}:\n  {}",
        violations.join("\n  ")
    );
}

#[test]
fn imports_point_downwards_only() {
    let mut violations = Vec::new();
    for file in sources() {
        // main.rs and lib.rs are above every floor.
        let Some(room) = file.module.first() else {
            continue;
        };
        let Some(own) = floor(room) else {
            violations.push(format!("{}: the room {room} is on no floor", file.path));
            continue;
        };
        for (line, target) in file.crate_paths() {
            let allowed = target == *room || floor(&target).is_some_and(|other| other < own);
            if !allowed {
                violations.push(format!("{}:{line}: {room} uses crate::{target}", file.path));
            }
        }
    }
    report(
        "a floor imports from floors below it only (see FLOORS)",
        &violations,
    );
}

/// What is told which faults are there could name them without having seen them.
#[test]
fn the_diagnosis_engine_knows_nothing_of_the_faults_that_are_injected() {
    const TELLTALES: [&str; 3] = ["injection", "faults", "nos_fault_injections_total"];
    let names = |file: &File| {
        let tokens = file.tokens.iter();
        let words = tokens.map(|token| (token.line, token.text.trim_matches('"').to_string()));
        words
            .filter(|(_, word)| TELLTALES.contains(&word.as_str()))
            .map(|(line, word)| format!("{}:{line}: {word}", file.path))
            .collect::<Vec<_>>()
    };
    let is_diagnosis = |file: &&File| {
        let is_room = file.module.first().is_some_and(|room| room == "diagnosis");
        is_room || file.path == "src/kernel/subsystems/diagnosis.rs"
    };
    let files = sources();
    let own: Vec<&File> = files.iter().filter(is_diagnosis).collect();
    assert!(own.len() > 10, "the rule looks at the engine");
    let violations: Vec<String> = own.into_iter().flat_map(names).collect();
    report("src/diagnosis sees no injected fault", &violations);
    let file = File::parse(
        "src/diagnosis/x.rs",
        "use crate::injection::Group; fn f() { g(\"nos_fault_injections_total\"); }",
    );
    assert_eq!(names(&file).len(), 2, "and would find one");
}

#[test]
fn assembly_and_the_target_architecture_stay_in_arch() {
    let mut violations = Vec::new();
    for file in sources()
        .iter()
        .filter(|file| file.module.first().is_none_or(|room| room != "arch"))
    {
        for pair in file.tokens.windows(2) {
            let assembly = pair[0].text.ends_with("asm") && pair[1].text == "!";
            if assembly || pair[0].text == "target_arch" {
                violations.push(format!("{}:{}: {}", file.path, pair[0].line, pair[0].text));
            }
        }
    }
    report(
        "assembly and cfg(target_arch) stand in src/arch only",
        &violations,
    );
}

#[test]
fn every_result_carries_the_one_error_type() {
    let files = sources();
    let here: Vec<String> = files.iter().flat_map(File::defined_types).collect();
    let mut violations = Vec::new();
    for file in files
        .iter()
        .filter(|file| file.module.first().is_none_or(|room| room != "error"))
    {
        let outside_tests: Vec<Token> = file
            .tokens
            .iter()
            .filter(|token| !token.in_test)
            .cloned()
            .collect();
        for (line, error) in source::result_errors(&outside_tests) {
            if !is_the_error(&error, &here) {
                violations.push(format!(
                    "{}:{line}: {} in a Result's error position",
                    file.path,
                    error.join("")
                ));
            }
        }
    }
    report("no error type but crate::error::Error", &violations);
}

/// Judges the type in a Result's error position: ours must be `Error`; another crate's is left alone (a trait of
/// theirs may ask for it), and so is a generic parameter.
fn is_the_error(error: &[String], defined_here: &[String]) -> bool {
    const PRIMITIVES: [&str; 9] = [
        "usize", "u8", "u16", "u32", "u64", "isize", "i32", "bool", "str",
    ];
    let path: Vec<&String> = error
        .iter()
        .take_while(|token| *token != "<")
        .filter(|token| *token != ":")
        .collect();
    let Some(name) = path.last() else {
        return false;
    };
    if *name == "Error" || *name == "!" {
        return true;
    }
    let is_a_path = path
        .iter()
        .all(|token| token.starts_with(|c: char| c.is_alphabetic() || c == '_'));
    is_a_path && !PRIMITIVES.contains(&name.as_str()) && !defined_here.contains(name)
}

#[test]
fn source_files_are_of_a_readable_size() {
    let files = sources();
    let total: usize = files.iter().map(File::line_count).sum();
    let mean = total / files.len();
    let longest = files
        .iter()
        .max_by_key(|file| file.line_count())
        .expect("src/ holds files");
    println!(
        "{} source files, mean {mean} lines, longest {} ({})",
        files.len(),
        longest.line_count(),
        longest.path
    );
    let mut violations: Vec<String> = files
        .iter()
        .filter(|file| file.line_count() > FILE_LINES_MAX && !file.text.contains(LONG_BECAUSE))
        .map(|file| {
            format!(
                "{}: {} lines, and no `{LONG_BECAUSE} …` at its head",
                file.path,
                file.line_count()
            )
        })
        .collect();
    if mean > MEAN_LINES_MAX {
        violations.push(format!("mean {mean} lines, more than {MEAN_LINES_MAX}"));
    }
    report("source files are short", &violations);
}

#[test]
fn the_readme_lists_the_boot_arguments_that_the_code_takes() {
    let taken = boot_arguments::in_code(&sources());
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).expect("the README can be read");
    let listed = boot_arguments::in_readme(&readme);
    assert!(taken.len() > 10, "the code takes no more than {taken:?}");
    let missing = taken
        .difference(&listed)
        .map(|key| format!("nos.{key} is not in the README"));
    let invented = listed
        .difference(&taken)
        .map(|key| format!("nos.{key} is in the README alone"));
    report(
        "the README lists the boot arguments that there are",
        &missing.chain(invented).collect::<Vec<_>>(),
    );
}

#[test]
fn the_cache_server_is_built_on_what_every_application_has() {
    report(
        "the default application uses the application API only (see application_api.rs)",
        &application_api::violations(&sources()),
    );
    let file = File::parse(
        "src/app/cache_server/x.rs",
        "use crate::{net}; use crate::net::{service::Next, stack::Stack}; use crate::kernel;\n\
         fn f() { crate::memory::manager::g(); crate::platform::time::h(); }",
    );
    let told = application_api::violations(&[file]);
    let places: Vec<&str> = told
        .iter()
        .filter_map(|line| line.split(' ').nth(1))
        .collect();
    assert_eq!(
        places,
        [
            "crate::{::",
            "crate::net::stack",
            "crate::kernel::",
            "crate::memory::manager"
        ]
    );
}

#[test]
fn make_has_the_targets_that_ci_and_users_type() {
    let read = |file: &str| {
        let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{path}: {fault}"))
    };
    let makefile = read("Makefile");
    for target in [
        "run", "test", "bench", "image", "ci", "setup", "clean", "help",
    ] {
        let is_explained =
            |line: &str| line.starts_with(&format!("{target}:")) && line.contains(" ## ");
        assert!(makefile.lines().any(is_explained), "no target {target}");
    }
    assert!(read(".ci/run").contains(" ci <"), "CI runs make ci");
    let workflow = read(".github/workflows/ci.yml");
    assert!(
        workflow.contains("- run: .ci/run\n"),
        "GitHub runs the same"
    );
}

/// Lists, and never fails: two places may look alike for good reasons, and a reader is to judge.
#[test]
fn logic_that_stands_in_two_places_is_listed() {
    let found = duplicates::pairs(&sources());
    println!("{} pairs of functions share logic", found.len());
    for pair in found {
        println!("  {pair}");
    }
}

#[test]
fn the_rules_see_what_they_forbid() {
    let file = File::parse(
        "src/metrics/x.rs",
        "use crate::{error::Error, net}; // crate::app\n\
         mod inner { fn f() { super::super::super::memory::g(\"crate::bus\"); } }\n\
         fn r() -> Result<Vec<u8>, Failure<u8>> { Ok(m!(crate::kernel::k)) }\n\
         struct Failure<T>(T);",
    );
    let rooms: Vec<String> = file
        .crate_paths()
        .into_iter()
        .map(|(_, room)| room)
        .collect();
    assert_eq!(rooms, ["error", "net", "memory", "kernel"]);
    assert_eq!(file.defined_types(), ["Failure"]);
    let errors = source::result_errors(&file.tokens);
    assert_eq!(errors.len(), 1);
    assert!(!is_the_error(&errors[0].1, &file.defined_types()));
    assert!(is_the_error(&["Error".into()], &[]));
    assert!(is_the_error(
        &["smoltcp".into(), ":".into(), ":".into(), "Fault".into()],
        &[]
    ));
    assert!(!is_the_error(&["()".into()], &[]));
    assert!(!is_the_error(&["usize".into()], &[]));
}
