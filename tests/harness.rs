//! The runner of the guest tests is tested here: whatever is not a run of at least one test with no failure
//! must come out as a failure, and say why. First with guests of a dozen instructions, then with the kernel's own
//! failures (`harness/kernel.rs`).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[path = "harness/kernel.rs"]
mod kernel;
#[path = "harness/orphans.rs"]
mod orphans;
#[path = "harness/setup.rs"]
mod setup;
#[path = "support/watcher.rs"]
mod watcher;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// How the small guest ends after its text.
#[derive(Clone, Copy)]
enum End {
    Exit(u8),
    PowerOff,
    Hang,
}

/// Builds the guest that prints `text` and ends as `end` says. It lies under `deps`, as cargo's do.
fn guest(name: &str, text: &str, end: End) -> PathBuf {
    let elf = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("deps")
        .join(name);
    std::fs::create_dir_all(elf.parent().expect("joined above"))
        .expect("the target directory can be written");
    let (symbol, code) = match end {
        End::Exit(code) => ("exit", code),
        End::PowerOff => ("power_off", 0),
        End::Hang => ("hang", 0),
    };
    let built = Command::new("rustc")
        .current_dir(ROOT)
        .args([
            "--edition=2024",
            "--target=aarch64-unknown-none",
            "-Cpanic=abort",
        ])
        .args([
            "-Crelocation-model=static",
            "-Clink-arg=--image-base=0x40200000",
        ])
        .arg("-o")
        .arg(&elf)
        .arg("tests/harness/guest.rs")
        .env("TEXT", text.replace('\n', "\\n"))
        .env("END", symbol)
        .env("CODE", code.to_string())
        .output()
        .expect("rustc is there: cargo ran it");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    elf
}

fn run(name: &str, text: &str, end: End) -> (Output, String) {
    let output = Command::new(Path::new(ROOT).join("scripts/qemu-runner.sh"))
        .arg(guest(name, text, end))
        .env(
            "NOS_TEST_TIMEOUT",
            if matches!(end, End::Hang) { "2" } else { "60" },
        )
        .output()
        .expect("the runner starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, said)
}

#[track_caller]
fn fails(name: &str, text: &str, end: End, reason: &str) {
    let (output, said) = run(name, text, end);
    assert!(
        !output.status.success(),
        "{name} passed for a success:\n{said}"
    );
    assert!(said.contains(&format!("FAILED {name}: ")), "{said}");
    assert!(said.contains(reason), "no {reason:?} in:\n{said}");
}

#[test]
fn a_binary_whose_tests_pass_is_a_success_and_its_output_is_shown() {
    let (output, said) = run(
        "passes",
        "one\nnos-test: 2 passed, 0 failed\n",
        End::Exit(0),
    );
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("one\nnos-test: 2 passed, 0 failed\n"),
        "{said}"
    );
}

#[test]
fn a_failed_test_is_a_failure_with_the_guests_exit_code() {
    let (output, said) = run("fails", "nos-test: 2 passed, 1 failed\n", End::Exit(7));
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(
        said.contains("FAILED fails: 2 passed, 1 failed, status 7"),
        "{said}"
    );
}

#[test]
fn a_failed_test_is_a_failure_even_when_the_exit_code_says_success() {
    fails(
        "lies",
        "nos-test: 2 passed, 1 failed\n",
        End::Exit(0),
        "1 failed, but status 0",
    );
}

#[test]
fn a_failing_exit_code_is_a_failure_even_when_every_test_passed() {
    fails(
        "exits",
        "nos-test: 2 passed, 0 failed\n",
        End::Exit(3),
        "status 3",
    );
}

#[test]
fn a_panic_is_a_failure() {
    fails(
        "panics",
        "panicked at src/lib.rs:1\n",
        End::Exit(101),
        "ended with status 101",
    );
}

#[test]
fn a_hang_is_a_failure_after_the_time_limit() {
    fails("hangs", "test one ... ", End::Hang, "hung: ended after 2 s");
}

#[test]
fn a_hang_after_the_verdict_is_a_failure() {
    fails(
        "lingers",
        "nos-test: 2 passed, 0 failed\n",
        End::Hang,
        "hung",
    );
}

#[test]
fn a_binary_that_runs_no_test_is_a_failure() {
    fails(
        "empty",
        "nos-test: 0 passed, 0 failed\n",
        End::Exit(0),
        "ran no test",
    );
}

#[test]
fn a_guest_that_ends_without_a_word_is_a_failure() {
    fails(
        "silent",
        "",
        End::PowerOff,
        "without saying how many tests passed",
    );
}

/// Tests of a benchmark, in its own language, beside this file.
#[track_caller]
fn run_tests_of_a_benchmark(file: &str, count: usize) {
    let output = Command::new("python3")
        .arg(Path::new(ROOT).join("tests/harness").join(file))
        .output()
        .expect("python3 is there: the set-up asks for it");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains(&format!("Ran {count} tests")),
        "{said}"
    );
}

#[test]
fn the_benchmarks_table_and_file_say_what_was_measured() {
    run_tests_of_a_benchmark("bench_serve_test.py", 5);
}

#[test]
fn a_campaign_of_faults_judges_what_it_sees() {
    run_tests_of_a_benchmark("bench_faults_test.py", 9);
}
