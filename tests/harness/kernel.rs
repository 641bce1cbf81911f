//! The kernel's own failures, made by `tests/guest/crash.rs`: each must be reported as one, and a crash must
//! print where it was.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::ROOT;

/// `tests/guest/crash.rs` and `empty.rs`, built as the guest tests are.
fn built(name: &str) -> &'static Path {
    static ELFS: OnceLock<[PathBuf; 2]> = OnceLock::new();
    let [crash, empty] = ELFS.get_or_init(|| {
        let cargo = Command::new("cargo")
            .current_dir(ROOT)
            .args(["test", "--no-run", "--color=never"])
            .args(["--target", "aarch64-unknown-none"])
            .args(["--test", "crash", "--test", "empty"])
            .output()
            .expect("cargo is there: it ran us");
        let said = String::from_utf8_lossy(&cargo.stderr);
        assert!(cargo.status.success(), "{said}");
        ["crash", "empty"].map(|name| executable(&said, name))
    });
    if name == "empty" { empty } else { crash }
}

/// The executable that cargo names: "  Executable tests/guest/NAME.rs (target/…/deps/NAME-0123456789abcdef)".
fn executable(said: &str, name: &str) -> PathBuf {
    let of_name = format!("tests/guest/{name}.rs (");
    let rest = said.split_once(&of_name).map(|(_, rest)| rest);
    let path = rest.and_then(|rest| rest.split_once(')'));
    let (path, _) = path.unwrap_or_else(|| panic!("cargo names no executable:\n{said}"));
    Path::new(ROOT).join(path)
}

/// Boots binary `name` to fail as `how` says, or not at all; whether that was a success, and what was said.
fn run(name: &str, how: &str) -> (bool, String) {
    let limit = if how == "hang" { "5" } else { "60" };
    let output = Command::new(Path::new(ROOT).join("scripts/qemu-runner.sh"))
        .arg(built(name))
        .env("NOS_TEST_TIMEOUT", limit)
        .env("NOS_QEMU_ARGS", format!("-append test.fail={how}"))
        .output()
        .expect("the runner starts");
    let said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    (output.status.success(), said)
}

/// What it said on its way to a failure; panics if that was not reported as one, with each of `parts`.
#[track_caller]
fn fails(how: &str, parts: &[&str]) -> String {
    let (success, said) = run("crash", how);
    assert!(!success, "{how} passed for a success:\n{said}");
    for part in parts.iter().chain(&["FAILED crash: "]) {
        assert!(said.contains(part), "{how}: no {part:?} in:\n{said}");
    }
    assert!(
        !said.contains("while dying"),
        "the report itself failed:\n{said}"
    );
    said
}

/// The functions that a backtrace names, innermost first, by the symbols of the binary.
fn backtrace(said: &str) -> Vec<String> {
    let (_, frames) = said
        .split_once("backtrace, innermost first:\n")
        .unwrap_or_else(|| panic!("no backtrace in:\n{said}"));
    let symbols = symbols();
    let frame = |(depth, line): (usize, &str)| {
        let (_, address) = line.split_once("  linked 0x")?;
        let address = u64::from_str_radix(address.trim(), 16).ok()?;
        // All but the innermost are return addresses: one past a call, which may be a function's last instruction.
        let address = address - u64::from(depth > 0);
        let before = symbols.partition_point(|(start, _)| *start <= address);
        // Of functions that were folded into one, any name may be meant.
        let start = symbols.get(before.checked_sub(1)?)?.0;
        let names = symbols.iter().filter(|(of, _)| *of == start);
        Some(names.map(|(_, name)| name.as_str()).collect())
    };
    frames.lines().enumerate().map_while(frame).collect()
}

/// The text symbols of the binary, in order, by the pinned toolchain's own nm.
fn symbols() -> Vec<(u64, String)> {
    let sysroot = Command::new("rustc")
        .current_dir(ROOT)
        .args(["--print", "target-libdir"])
        .output()
        .expect("rustc is there: cargo ran it");
    let libraries = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim());
    let nm = libraries.with_file_name("bin").join("llvm-nm");
    let listed = Command::new(&nm)
        .args(["--demangle", "--numeric-sort", "--defined-only"])
        .arg(built("crash"))
        .output()
        .unwrap_or_else(|fault| panic!("{}: {fault}", nm.display()));
    let text = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        (words.next()?.eq_ignore_ascii_case("t")).then_some(())?;
        Some((address, words.next()?.to_string()))
    };
    String::from_utf8_lossy(&listed.stdout)
        .lines()
        .filter_map(text)
        .filter(|(_, name)| !name.starts_with('$'))
        .collect()
}

/// Panics unless the functions of `path` are in the backtrace, in that order.
#[track_caller]
fn assert_leads_through(said: &str, path: &[&str]) {
    let frames = backtrace(said);
    assert!(frames.len() >= 2, "fewer than two frames in:\n{said}");
    let mut rest = frames.iter();
    for function in path {
        assert!(
            rest.any(|frame| frame.contains(function)),
            "{function} is not in its place: {frames:#?}\n{said}"
        );
    }
}

#[test]
fn a_kernel_test_that_passes_is_a_success() {
    let (success, said) = run("crash", "not");
    assert!(success, "{said}");
    assert!(said.contains("nos-test: 1 passed, 0 failed\n"), "{said}");
}

#[test]
fn a_kernel_test_that_panics_is_a_failure_with_its_message_and_a_backtrace() {
    let said = fails(
        "panic",
        &[
            "nos: crashed: panicked at tests/guest/crash.rs:",
            "on purpose",
        ],
    );
    assert_leads_through(&said, &["crash::panics", "crash::outer", "nos_main"]);
}

#[test]
fn a_kernel_test_that_faults_is_a_failure_with_its_registers_and_a_backtrace() {
    let said = fails(
        "exception",
        &[
            "nos: crashed: Synchronous exception: data abort",
            "translation fault",
            "by a read at 0x8",
            "esr 0x9600000",
            "  x0  ",
            "  sp  ",
            "  pc  ",
        ],
    );
    assert_leads_through(&said, &["crash::faults", "crash::outer", "nos_main"]);
}

#[test]
fn a_stack_overflow_is_a_failure_that_says_so_with_a_backtrace() {
    let said = fails(
        "stack-overflow",
        &["nos: crashed: ", "a stack overflowed", "by a write at"],
    );
    assert_leads_through(&said, &["crash::overflows", "crash::overflows"]);
}

#[test]
fn a_crash_on_a_broken_frame_chain_is_still_reported() {
    let said = fails(
        "corrupt-frames",
        &["nos: crashed: ", "undefined instruction"],
    );
    assert!(
        backtrace(&said)[0].contains("breaks_the_frame_chain"),
        "{said}"
    );
}

#[test]
fn an_allocation_that_cannot_be_met_is_a_failure_with_a_backtrace() {
    let said = fails("out-of-memory", &["nos: crashed: "]);
    assert_leads_through(&said, &["asks_for_too_much", "crash::outer"]);
}

#[test]
fn an_expected_exception_that_does_not_come_is_a_failure() {
    fails("no-exception", &["an exception was taken"]);
}

#[test]
fn the_life_after_a_warm_reboot_knows_the_reason() {
    let (success, said) = run("crash", "warm-reboot -action reboot=reset");
    assert!(success, "{said}");
    let told = said.matches("nos: warm reboot: too many deaths\n").count();
    assert_eq!(told, 1, "{said}");
}

#[test]
fn a_fault_in_the_report_of_a_crash_still_ends_in_a_restart() {
    let (success, said) = run("crash", "report-fault -action reboot=reset");
    assert!(success, "{said}");
    let told = said.matches("nos: another exception while dying, ").count();
    assert_eq!(told, 1, "{said}");
}

#[test]
fn a_kernel_test_that_never_ends_is_a_failure() {
    fails(
        "hang",
        &["it fails as it is told to ... ", "hung: ended after 5 s"],
    );
}

#[test]
fn a_kernel_binary_without_tests_is_a_failure() {
    let (success, said) = run("empty", "not");
    assert!(!success, "{said}");
    assert!(
        said.contains("nos-test: 0 passed, 0 failed") && said.contains("FAILED empty: "),
        "{said}"
    );
}
