//! Inside QEMU: a fiber of higher priority takes the CPU from a lower one that computes, at any instruction, and
//! the lower one never notices; guards keep it until they are dropped.
#![no_std]
#![no_main]

extern crate alloc;

mod fiber_support;

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use fiber_support::{Machine, count_wakes, counter, run, this_machine};
use nos::arch::aarch64::BootInfo;
use nos::arch::aarch64::preemption::PreemptionGuard;
use nos::platform::time::{Clock, Duration};

#[unsafe(no_mangle)]
extern "C" fn nos_main(boot: &BootInfo) -> ! {
    run(
        boot,
        &[
            (
                "a compute loop is preempted by a higher fiber that the timer wakes",
                by_the_timer,
            ),
            (
                "every register survives hundreds of preemptions, vectors included",
                registers,
            ),
            (
                "a guard keeps the CPU until it is dropped, then the switch comes",
                guard,
            ),
            ("what is preempted is preempted itself", nested),
            (
                "a fiber on another CPU is preempted by a wake from here",
                across,
            ),
        ],
    )
}

/// Ticks of the fiber `ticks`.
static TICKS: AtomicU64 = AtomicU64::new(0);

/// Wakes every `micros` microseconds.
fn ticks(micros: usize) {
    let machine = this_machine();
    loop {
        let deadline = machine.ground.clock.now() + Duration::from_nanos(micros as u64 * 1000);
        machine.fibers.park(Some(deadline));
        TICKS.fetch_add(1, Relaxed);
    }
}

fn by_the_timer(machine: &'static Machine) {
    let ticking = machine.spawn("ticks", 0, 0, ticks, 500);
    let first = TICKS.load(Relaxed);
    // This never parks: only a preemption lets the other one run.
    while TICKS.load(Relaxed) < first + 20 {
        core::hint::spin_loop();
    }
    machine.fibers.stop(ticking);
}

/// Fills all registers that it can with values made from `seed`, lets the time pass in a loop that uses none of
/// them, and sums up what has changed.
fn changed_registers(seed: u64, rounds: u64) -> u64 {
    let changed: u64;
    // SAFETY: everything that is written is declared, x19 and x29 are put back from the stack; memory below the
    // stack pointer is reserved before it is written.
    unsafe {
        asm!(
            "stp x19, x29, [sp, #-16]!",
            "mov x29, x1",
            // General registers: seed plus their number; x0 rounds, x1 seed, x2 result, x3 scratch.
            "add x4, x1, #4", "add x5, x1, #5", "add x6, x1, #6", "add x7, x1, #7",
            "add x8, x1, #8", "add x9, x1, #9", "add x10, x1, #10", "add x11, x1, #11",
            "add x12, x1, #12", "add x13, x1, #13", "add x14, x1, #14", "add x15, x1, #15",
            "add x16, x1, #16", "add x17, x1, #17", "add x19, x1, #19", "add x20, x1, #20",
            "add x21, x1, #21", "add x22, x1, #22", "add x23, x1, #23", "add x24, x1, #24",
            "add x25, x1, #25", "add x26, x1, #26", "add x27, x1, #27", "add x28, x1, #28",
            "add x30, x1, #30",
            // Vector registers: both halves.
            ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
            "add x3, x1, #(\\n * 3)",
            "dup v\\n\\().2d, x3",
            "add x3, x3, #1000",
            "mov v\\n\\().d[1], x3",
            ".endr",
            "mov x3, #(1 << 22)",       // FPCR: round towards plus infinity
            "msr fpcr, x3",
            "2: subs x0, x0, #1",       // flags, too
            "b.ne 2b",
            "mov x2, #0",
            "mrs x3, fpcr", "cmp x3, #(1 << 22)", "cinc x2, x2, ne",
            "msr fpcr, xzr",
            ".irp n, 4,5,6,7,8,9,10,11,12,13,14,15,16,17,19,20,21,22,23,24,25,26,27,28,30",
            "sub x3, x\\n, x1",
            "cmp x3, #\\n",
            "cinc x2, x2, ne",
            ".endr",
            "cmp x29, x1", "cinc x2, x2, ne",
            ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
            "add x3, x1, #(\\n * 3)",
            "mov x0, v\\n\\().d[0]",
            "cmp x0, x3", "cinc x2, x2, ne",
            "add x3, x3, #1000",
            "mov x0, v\\n\\().d[1]",
            "cmp x0, x3", "cinc x2, x2, ne",
            ".endr",
            "ldp x19, x29, [sp], #16",
            inout("x0") rounds => _, inout("x1") seed => _, out("x2") changed, out("x3") _,
            out("x20") _, out("x21") _, out("x22") _, out("x23") _, out("x24") _, out("x25") _,
            out("x26") _, out("x27") _, out("x28") _, clobber_abi("C"),
        );
    }
    changed
}

/// A higher fiber that leaves other values in all registers at each wake.
fn disturbs(micros: usize) {
    let machine = this_machine();
    loop {
        let deadline = machine.ground.clock.now() + Duration::from_nanos(micros as u64 * 1000);
        machine.fibers.park(Some(deadline));
        TICKS.fetch_add(1, Relaxed);
        assert_eq!(changed_registers(0xdead_0000, 1), 0);
    }
}

const PREEMPTIONS: u64 = 300;

fn registers(machine: &'static Machine) {
    let disturbing = machine.spawn("disturbs", 0, 1, disturbs, 200);
    let first = TICKS.load(Relaxed);
    let mut seed = 1;
    let mut inside = 0;
    while inside < PREEMPTIONS {
        let before = TICKS.load(Relaxed);
        assert_eq!(changed_registers(seed << 20, 200_000), 0, "after {inside}");
        inside += TICKS.load(Relaxed) - before;
        seed += 1;
    }
    assert!(TICKS.load(Relaxed) >= first + PREEMPTIONS);
    machine.fibers.stop(disturbing);
}

fn guard(machine: &'static Machine) {
    let higher = machine.spawn("higher", 0, 0, count_wakes, 0);
    let ticking = machine.spawn("ticks", 0, 1, ticks, 300);
    {
        let _outer = PreemptionGuard::new();
        {
            let _inner = PreemptionGuard::new();
            machine.fibers.wake(higher);
        }
        assert_eq!(counter(0).load(Relaxed), 1, "it ran in spite of a guard");
        let ticks = TICKS.load(Relaxed);
        // Interrupts come all the same, and their fibers wait.
        let end = machine.ground.clock.now() + Duration::from_millis(5);
        while machine.ground.clock.now() < end {}
        assert_eq!(TICKS.load(Relaxed), ticks, "it ran in spite of a guard");
    }
    assert_eq!(counter(0).load(Relaxed), 2, "the switch is still pending");
    machine.fibers.stop(ticking);
    machine.fibers.stop(higher);
}

static STOP: AtomicBool = AtomicBool::new(false);

/// Computes without ever parking, checking all registers.
fn computes(number: usize) {
    let mut seed = number as u64;
    while !STOP.load(Relaxed) {
        assert_eq!(changed_registers(seed << 24, 20_000), 0);
        counter(number).fetch_add(1, Relaxed);
        seed += 16;
    }
    loop {
        this_machine().fibers.park(None);
    }
}

fn nested(machine: &'static Machine) {
    // Three on top of each other: each computes for 2 ms of every 6 or so, then is preempted or parks.
    fn bursts(number: usize) {
        let machine = fiber_support::this_machine();
        let mut seed = number as u64;
        loop {
            let pause = Duration::from_nanos(700_000 * number as u64);
            machine
                .fibers
                .park(Some(machine.ground.clock.now() + pause));
            assert_eq!(changed_registers(seed << 24, 50_000), 0);
            seed += 16;
            counter(number).fetch_add(1, Relaxed);
        }
    }
    let bursting = [1, 2, 3].map(|number| machine.spawn("bursts", 0, number as u8, bursts, number));
    let mut seed = 9;
    while (1..=3).any(|number| counter(number).load(Relaxed) < 50) {
        assert_eq!(changed_registers(seed << 24, 50_000), 0);
        seed += 16;
    }
    for id in bursting {
        machine.fibers.stop(id);
    }
}

fn across(machine: &'static Machine) {
    for cpu in 1..machine.blocks.len() {
        STOP.store(false, Relaxed);
        counter(10).store(0, Relaxed);
        counter(11).store(0, Relaxed);
        let lower = machine.spawn("computes", cpu, 3, computes, 10);
        let higher = machine.spawn("higher", cpu, 0, count_wakes, 11);
        for times in 1..=50 {
            machine.wait_until("it runs", || counter(11).load(Relaxed) == times);
            machine.fibers.wake(higher);
        }
        let seen = counter(10).load(Relaxed);
        machine.wait_until("it computes", || counter(10).load(Relaxed) > seen);
        STOP.store(true, Relaxed);
        machine.fibers.stop(lower);
        machine.fibers.stop(higher);
        machine.await_death(lower);
        machine.await_death(higher);
    }
}
