//! The harness of tests that run inside QEMU: one binary a topic, ended by semihosting.
//!
//! The last line is `nos-test: N passed, M failed`; the exit status is 0 only if tests ran and none
//! failed. A panic or an unexpected exception prints its report and fails the binary.

use nos::arch::aarch64::{BootInfo, semihosting};
use nos::kernel::crash::{self, Ending};
use nos::kernel::ground::{self, Ground};
use nos::platform::console::print;

/// A test: a name that is a sentence, and what shows it.
pub(crate) type Test = (&'static str, fn(&Ground));

/// Runs the tests of a binary and ends QEMU.
pub(crate) fn run(boot: &BootInfo, tests: &[Test]) -> ! {
    crash::set_ending(Ending::TestFailure, None, None);
    // SAFETY: this is the first call into Rust, with what the entry code handed over.
    let ground = unsafe { ground::bring_up(boot, &[]) };
    for (name, test) in tests {
        print(format_args!("test {name} ... "));
        test(&ground);
        print(format_args!("ok\n"));
    }
    print(format_args!("nos-test: {} passed, 0 failed\n", tests.len()));
    semihosting::exit(u8::from(tests.is_empty()))
}
