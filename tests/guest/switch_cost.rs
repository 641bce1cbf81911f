//! Inside QEMU, under -icount: the instructions of a switch from one fiber's `park` to the return of another's,
//! and of a wake. Built in release mode and run by `scripts/test.sh guest`; refuses to pass where instructions
//! are not counted.
#![no_std]
#![no_main]

extern crate alloc;

mod counting;
mod fiber_support;

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use counting::{Measured, instructions};
use fiber_support::{Machine, run, this_machine};
use nos::arch::aarch64::BootInfo;
use nos::kernel::scheduler::FiberId;
use nos::platform::console::print;
use spin::Once;

/// Instructions of a switch at most, from the call of `park` to the return of another fiber's `park`.
const SWITCH_MAX: u64 = 150;
/// Instructions of a wake on the same CPU at most, so that a bus has most of its 120 left.
const WAKE_MAX: u64 = 50;
/// Instructions of a wake on the same CPU until the woken fiber's `park` returns.
const PREEMPTING_WAKE_MAX: u64 = 230;
/// Times that each is measured.
const ROUNDS: u64 = 100;

#[unsafe(no_mangle)]
extern "C" fn nos_main(boot: &BootInfo) -> ! {
    run(
        boot,
        &[
            ("instructions are counted", |_| counting::set_up()),
            ("a switch from park to park", rows),
            ("a wake of a lower fiber", wake),
            ("a wake of a higher one until it runs", preempting_wake),
        ],
    )
}

/// The counter when what is measured began.
static BEGAN: AtomicU64 = AtomicU64::new(0);
static LOW: Once<FiberId> = Once::new();

/// Prints what was measured and holds the dearest call to `limit`.
fn hold_to(measured: &Measured, limit: u64) {
    assert_eq!(measured.times(), ROUNDS);
    let (mean, most) = (measured.mean(), measured.most());
    print(format_args!("{mean} on the mean, {most} at most ... "));
    assert!(mean > 0 && most <= limit, "more than {limit}");
}

static SWITCH: Measured = Measured::new();
static WAKE: Measured = Measured::new();
static PREEMPTING_WAKE: Measured = Measured::new();

/// Makes the lower one ready and parks: that is the switch.
fn high(_: usize) {
    let fibers = this_machine().fibers;
    fibers.park(None);
    let low = *LOW.get().expect("set before the first wake");
    loop {
        let ended = instructions();
        PREEMPTING_WAKE.note(BEGAN.load(Relaxed), ended);
        let before = instructions();
        fibers.wake(low);
        let after = instructions();
        WAKE.note(before, after);
        BEGAN.store(instructions(), Relaxed);
        fibers.park(None);
    }
}

/// Runs when the higher one parks.
fn low(_: usize) {
    let fibers = this_machine().fibers;
    fibers.park(None);
    loop {
        let ended = instructions();
        SWITCH.note(BEGAN.load(Relaxed), ended);
        fibers.park(None);
    }
}

fn rows(machine: &'static Machine) {
    let high = machine.spawn("high", 0, 1, high, 0);
    let low = machine.spawn("low", 0, 2, low, 0);
    LOW.call_once(|| low);
    // Both have parked: they rank above this one. So does what the wake starts: it is over when it returns.
    for _ in 0..ROUNDS {
        BEGAN.store(instructions(), Relaxed);
        machine.fibers.wake(high);
    }
    hold_to(&SWITCH, SWITCH_MAX);
}

fn wake(_: &'static Machine) {
    hold_to(&WAKE, WAKE_MAX);
}

fn preempting_wake(_: &'static Machine) {
    hold_to(&PREEMPTING_WAKE, PREEMPTING_WAKE_MAX);
}
