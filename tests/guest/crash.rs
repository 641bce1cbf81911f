//! Inside QEMU: fails on purpose, in the way that the boot argument `test.fail=` names.
//!
//! No test of the kernel: `tests/harness.rs` runs it and looks at how each failure is told and reported.
#![no_std]
#![no_main]

mod expected_exception;
mod support;

use core::arch::asm;
use core::hint::black_box;
use expected_exception::expect_exception;
use nos::arch::aarch64::{BootInfo, cpu};
use nos::kernel::crash::{self, Ending, LastLife, Tell, Witness};
use nos::kernel::ground::Ground;

/// The boot argument that names the way.
const KEY: &str = "test.fail=";

#[unsafe(no_mangle)]
extern "C" fn nos_main(boot: &BootInfo) -> ! {
    support::run(boot, &[("it fails as it is told to", fail)])
}

fn fail(ground: &Ground) {
    let words = ground.machine.boot_arguments.split_ascii_whitespace();
    match words.filter_map(|word| word.strip_prefix(KEY)).next_back() {
        Some("panic") => outer(panics),
        Some("exception") => outer(faults),
        Some("stack-overflow") => outer(|| {
            black_box(overflows(black_box(1)));
        }),
        Some("corrupt-frames") => outer(breaks_the_frame_chain),
        Some("out-of-memory") => outer(asks_for_too_much),
        Some("no-exception") => {
            expect_exception(|| {});
        }
        Some("hang") => cpu::halt(),
        Some("warm-reboot") => reboots_once(ground),
        Some("report-fault") => fails_while_reporting(ground),
        // Told nothing, it passes.
        _ => {}
    }
}

/// A caller of its own, so that a backtrace has something to name.
#[inline(never)]
fn outer(inner: fn()) {
    inner();
    // Not a tail call: this frame stays.
    black_box(());
}

#[inline(never)]
fn panics() {
    panic!("on purpose");
}

#[inline(never)]
fn faults() {
    // SAFETY: page 0 is never mapped: this faults, which is what is wanted.
    unsafe { asm!("ldr {0}, [{1}]", out(reg) _, in(reg) 8u64) };
}

#[inline(never)]
#[expect(
    unconditional_recursion,
    reason = "running out of stack is what is wanted"
)]
fn overflows(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    overflows(depth + 1) + frame[depth as usize % 32]
}

#[inline(never)]
fn breaks_the_frame_chain() {
    // SAFETY: it never returns; whatever walks the frames must not believe x29.
    unsafe { asm!("mov x29, #0x1230", "udf #0", options(noreturn)) };
}

/// Not a failure at all, but another end: the second life passes if it was told why the first one ended.
fn reboots_once(ground: &Ground) {
    let LastLife::Ended { text: told, .. } = crash::last_life() else {
        crash::set_ending(Ending::TestFailure, ground.conduit, None);
        crash::warm_reboot(format_args!("too many deaths\nof one subsystem"));
    };
    assert_eq!(told, "warm reboot: too many deaths\nof one subsystem\n");
}

/// Asked what the image is at, it faults.
struct FaultyWitness;

impl Witness for FaultyWitness {
    fn tell(&self, _: &str, tell: Tell<'_>) {
        tell(format_args!("so far\n"));
        faults();
    }
}

/// The machine starts again though the report faults; the second life passes if it was told what was reported till then.
fn fails_while_reporting(ground: &Ground) {
    let LastLife::Ended { text: told, .. } = crash::last_life() else {
        crash::set_ending(Ending::Reset, ground.conduit, None);
        crash::set_witness(&FaultyWitness);
        panics();
        return;
    };
    assert!(told.starts_with("crashed: panicked at "), "{told}");
    assert!(told.contains("on purpose\nbacktrace"), "{told}");
    assert!(told.ends_with("so far\n"), "{told}");
}

#[inline(never)]
fn asks_for_too_much() {
    extern crate alloc;
    let bytes: alloc::vec::Vec<u8> = alloc::vec::Vec::with_capacity(black_box(1 << 40));
    black_box(bytes);
}
