//! Inside QEMU, under -icount: the instructions of a switch from one fiber's `park` to the return of another's,
//! and of a wake. Built in release mode and run by `scripts/test.sh guest`; refuses to pass where instructions
//! are not counted.
#![no_std]
#![no_main]

extern crate alloc;

mod fiber_support;

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
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
            ("instructions are counted", counted),
            ("a switch from park to park", rows),
            ("a wake of a lower fiber", wake),
            ("a wake of a higher one until it runs", preempting_wake),
        ],
    )
}

/// Instructions that this CPU retired, modulo 2^32.
#[inline(always)]
fn instructions() -> u64 {
    let count: u64;
    // SAFETY: only reads a register, after all instructions before it.
    unsafe { asm!("isb", "mrs {}, pmevcntr0_el0", out(reg) count, options(nomem, nostack)) };
    count
}

/// What the two readings around nothing differ by.
fn empty_pair() -> u64 {
    let before = instructions();
    instructions() - before
}

fn counted(_: &'static Machine) {
    let events: u64;
    // SAFETY: sets up a counter that nothing else uses: INST_RETIRED (8) on counter 0.
    unsafe {
        asm!(
            "mrs {events}, pmceid0_el0",
            "mov {value}, #8",
            "msr pmevtyper0_el0, {value}",
            "mov {value}, #1",
            "msr pmcntenset_el0, {value}",
            "mrs {value}, pmcr_el0",
            "orr {value}, {value}, #0x40",
            "orr {value}, {value}, #1",
            "msr pmcr_el0, {value}",
            "isb",
            events = out(reg) events,
            value = out(reg) _,
        );
    }
    assert!(
        events >> 8 & 1 == 1,
        "INST_RETIRED is not counted: run with -icount shift=0"
    );
    let pair = empty_pair();
    assert_eq!(empty_pair(), pair);
    let before = instructions();
    // SAFETY: does nothing.
    unsafe { asm!(".rept 100", "nop", ".endr", options(nomem, nostack)) };
    assert_eq!(instructions() - before, pair + 100);
}

/// The counter when what is measured began.
static BEGAN: AtomicU64 = AtomicU64::new(0);
static LOW: Once<FiberId> = Once::new();

/// What was measured: how often, their sum, the most.
struct Measured {
    times: AtomicU64,
    sum: AtomicU64,
    most: AtomicU64,
}

impl Measured {
    const fn new() -> Self {
        Self {
            times: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            most: AtomicU64::new(0),
        }
    }

    #[inline(always)]
    fn note(&self, began: u64, ended: u64) {
        let spent = ended.wrapping_sub(began) & 0xffff_ffff;
        self.times.fetch_add(1, Relaxed);
        self.sum.fetch_add(spent, Relaxed);
        self.most.fetch_max(spent, Relaxed);
    }

    /// Prints it, without the readings themselves, and holds it to `limit`.
    fn hold_to(&self, limit: u64) {
        let pair = empty_pair() + 1;
        let times = self.times.load(Relaxed);
        assert_eq!(times, ROUNDS);
        let mean = self.sum.load(Relaxed) / times - pair;
        let most = self.most.load(Relaxed) - pair;
        print(format_args!("{mean} on the mean, {most} at most ... "));
        assert!(mean > 0 && most <= limit, "more than {limit}");
    }
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
    SWITCH.hold_to(SWITCH_MAX);
}

fn wake(_: &'static Machine) {
    WAKE.hold_to(WAKE_MAX);
}

fn preempting_wake(_: &'static Machine) {
    PREEMPTING_WAKE.hold_to(PREEMPTING_WAKE_MAX);
}
