//! Runs the tests of each machine on one boot of it, and says `image: N passed, M failed` at the end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::exit;
use std::time::Instant;

use crate::support::guest::{Guest, Setting};

/// A test's path, and what it does with a guest of its machine.
pub(crate) type Test = (&'static str, fn(&Guest));
/// A test that boots what it needs itself.
pub(crate) type OwnMachineTest = (&'static str, fn());

/// One way to boot the image, and what is tested on that boot.
pub(crate) struct Machine<'a> {
    pub(crate) what: &'static str,
    pub(crate) settings: Vec<Setting>,
    pub(crate) tests: &'a [Test],
}

/// The tests at these paths, each with its name.
macro_rules! tests {
    ($($path:path),* $(,)?) => { &[$((stringify!($path), $path)),*] };
}
pub(crate) use tests;

/// Lines of the serial line that a failed test shows.
const SERIAL_LINES: usize = 60;

/// Runs what the words of the command line select, and ends the process.
pub(crate) fn run(machines: &[Machine<'_>], own_machine: &[OwnMachineTest]) -> ! {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let name = |path: &str| path.replace('_', " ");
    let chosen = |path: &str| {
        words
            .iter()
            .all(|word| path.contains(word) || name(path).contains(word))
    };
    // The place and the message; the stack below is always this file's.
    std::panic::set_hook(Box::new(|info| println!("  {info}")));
    let (mut passed, mut failed) = (0, 0);
    let mut judge = |path: &str, test: &mut dyn FnMut()| {
        let start = Instant::now();
        let good = catch_unwind(AssertUnwindSafe(test)).is_ok();
        let (verdict, count) = if good {
            ("ok", &mut passed)
        } else {
            ("FAILED", &mut failed)
        };
        *count += 1;
        println!(
            "test {} ... {verdict} ({:.1} s)",
            name(path),
            start.elapsed().as_secs_f64()
        );
        good
    };
    for machine in machines {
        let mut guest = None;
        let mut first = true;
        for (path, test) in machine.tests.iter().filter(|(path, _)| chosen(path)) {
            if std::mem::take(&mut first) {
                println!("the image {}", machine.what);
            }
            let good = judge(path, &mut || {
                // A test that broke the machine does not break the next one's.
                let guest = guest.get_or_insert_with(|| Guest::boot(&machine.settings));
                test(guest);
                guest.assert_serves();
            });
            if !good && let Some(broken) = guest.take() {
                show(&broken);
            }
        }
    }
    for (path, test) in own_machine.iter().filter(|(path, _)| chosen(path)) {
        judge(path, &mut || test());
    }
    println!("\nimage: {passed} passed, {failed} failed");
    exit(i32::from(failed > 0 || passed == 0));
}

fn show(guest: &Guest) {
    let serial = guest.serial();
    let lines: Vec<&str> = serial.lines().collect();
    println!("the end of its serial line:");
    for line in &lines[lines.len().saturating_sub(SERIAL_LINES)..] {
        println!("  | {line}");
    }
}
