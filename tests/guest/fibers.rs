//! Inside QEMU: fibers switch, wake each other on one CPU and across CPUs, and none disturbs another.
#![no_std]
#![no_main]

extern crate alloc;

mod fiber_support;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use fiber_support::{LAST_OWNER, Machine, STACK_BYTES, count_wakes, counter, run, this_machine};
use nos::arch::aarch64::cpu_block::CpuBlock;
use nos::arch::aarch64::{BootInfo, cpu};
use nos::kernel::scheduler::{FiberId, FiberSpec};
use nos::platform::interrupts::{Source, taken};
use nos::platform::time::{Clock, Duration};

#[unsafe(no_mangle)]
extern "C" fn nos_main(boot: &BootInfo) -> ! {
    run(
        boot,
        &[
            ("a wake runs the fiber of higher priority at once", at_once),
            (
                "a wake that comes before the park is not lost, and two are one",
                before_the_park,
            ),
            (
                "a park ends at its deadline, and not before",
                at_its_deadline,
            ),
            ("many fibers hand a token round", round),
            (
                "fibers run with interrupts unmasked, on their own stacks and accounts",
                own_state,
            ),
            (
                "a stack's high-water mark follows what was used of it",
                high_water,
            ),
            ("every CPU of the machine runs fibers", on_every_cpu),
            (
                "wakes across CPUs are never lost, and cost one interrupt each at most",
                across,
            ),
            ("what cannot be made is refused by name", refused),
        ],
    )
}

fn at_once(machine: &'static Machine) {
    let higher = machine.spawn("higher", 0, 0, count_wakes, 0);
    for woken in 1..1000 {
        assert_eq!(counter(0).load(Relaxed), woken);
        machine.fibers.wake(higher);
        assert_eq!(counter(0).load(Relaxed), woken + 1, "it did not run");
    }
}

fn before_the_park(machine: &'static Machine) {
    let own = machine.fibers.current().expect("tests run in a fiber");
    assert_eq!(own, machine.own);
    // Nothing else wakes it: a lost wake would hang here.
    machine.fibers.wake(own);
    machine.fibers.wake(own);
    machine.fibers.park(None);
    let deadline = machine.ground.clock.now() + Duration::from_millis(2);
    machine.fibers.park(Some(deadline));
    assert!(machine.ground.clock.now() >= deadline, "woken twice");
}

fn at_its_deadline(machine: &'static Machine) {
    static SLEPT: AtomicUsize = AtomicUsize::new(0);
    fn sleeper(_: usize) {
        let machine = fiber_support::this_machine();
        loop {
            let deadline = machine.ground.clock.now() + Duration::from_millis(3);
            machine.fibers.park(Some(deadline));
            assert!(machine.ground.clock.now() >= deadline);
            SLEPT.fetch_add(1, Relaxed);
        }
    }
    let sleeper = machine.spawn("sleeper", 0, 1, sleeper, 0);
    machine.wait_until("ten sleeps", || SLEPT.load(Relaxed) >= 10);
    machine.fibers.stop(sleeper);
    // A deadline that has passed does not wait.
    machine
        .fibers
        .park(Some(machine.ground.clock.now() - Duration::from_millis(1)));
}

static RING: spin::Once<Vec<FiberId>> = spin::Once::new();

/// Each wakes the next one of the ring.
fn hand_on(number: usize) {
    loop {
        this_machine().fibers.park(None);
        counter(number).fetch_add(1, Relaxed);
        let ring = RING.get().expect("it is complete before a wake");
        let next = (number + 1) % ring.len();
        if next != 0 || counter(number).load(Relaxed) < ROUNDS {
            this_machine().fibers.wake(ring[next]);
        }
    }
}

const ROUNDS: usize = 200;
const RING_LEN: usize = 16;

fn round(machine: &'static Machine) {
    let mut ring = Vec::new();
    for number in 0..RING_LEN {
        counter(number).store(0, Relaxed);
        let priority = 2 + (number % 2) as u8;
        ring.push(machine.spawn("ring", 0, priority, hand_on, number));
    }
    let first = ring[0];
    RING.call_once(|| ring);
    machine.fibers.wake(first);
    machine.wait_until("the last round", || {
        counter(RING_LEN - 1).load(Relaxed) == ROUNDS
    });
    for number in 0..RING_LEN {
        assert_eq!(counter(number).load(Relaxed), ROUNDS, "fiber {number}");
    }
}

fn own_state(machine: &'static Machine) {
    fn look(_: usize) {
        let block = CpuBlock::current();
        let fiber = block.fiber().expect("a fiber runs");
        let here = 0u8;
        let here = (&raw const here).addr();
        assert!(fiber.stack().range().contains(&here));
        assert!(!block.stacks()[0].range().contains(&here));
        assert!(!cpu::are_interrupts_masked());
        assert_eq!(block.owner(), LAST_OWNER);
        counter(20).store(1, Relaxed);
        loop {
            fiber_support::this_machine().fibers.park(None);
        }
    }
    let spec = FiberSpec {
        name: "looks",
        cpu: 0,
        priority: 4,
        stack_bytes: STACK_BYTES,
        hang_limit: None,
        owner: LAST_OWNER,
    };
    let fiber = machine.fibers.spawn(&machine.ground.stacks, &spec, look, 0);
    fiber.expect("there are stacks and ranks");
    let second = machine.fibers.create(&machine.ground.stacks, &spec);
    let second = alloc::format!("{}", second.expect_err("the account has a fiber"));
    assert!(second.contains("looks"), "{second}");
    machine.wait_until("it looked", || counter(20).load(Relaxed) == 1);
    assert_eq!(CpuBlock::current().owner(), 0);
}

#[inline(never)]
fn use_stack(bytes: usize) -> usize {
    let page = core::hint::black_box([1u8; 1024]);
    match bytes.checked_sub(1024) {
        Some(rest) => use_stack(rest) + usize::from(page[bytes % 1024]),
        None => 0,
    }
}

fn high_water(machine: &'static Machine) {
    fn deep(bytes: usize) {
        counter(21).store(use_stack(bytes), Relaxed);
        loop {
            fiber_support::this_machine().fibers.park(None);
        }
    }
    let shallow = machine.spawn("shallow", 0, 5, deep, 0);
    let deep = machine.spawn("deep", 0, 5, deep, 12 << 10);
    machine.sleep_millis(1);
    let (low, all) = machine.fibers.stack_use(shallow);
    let (high, _) = machine.fibers.stack_use(deep);
    assert_eq!(all, STACK_BYTES);
    assert!(low > 0 && low < 8 << 10, "{low}");
    assert!((12 << 10..all).contains(&high), "{high}");
}

fn on_every_cpu(machine: &'static Machine) {
    fn tell(number: usize) {
        loop {
            counter(30 + number).store(1 + cpu::current(), Relaxed);
            fiber_support::this_machine().fibers.park(None);
        }
    }
    for number in 0..machine.blocks.len() {
        machine.spawn("tells", number, 6, tell, number);
    }
    for number in 0..machine.blocks.len() {
        machine.wait_until("each told", || {
            counter(30 + number).load(Relaxed) == number + 1
        });
    }
}

const ACROSS: usize = 300;

fn across(machine: &'static Machine) {
    /// Answers each wake of the tests' fiber.
    fn answer(number: usize) {
        let machine = fiber_support::this_machine();
        loop {
            counter(40 + number).fetch_add(1, Relaxed);
            machine.fibers.wake(machine.own);
            machine.fibers.park(None);
        }
    }
    let others: Vec<_> = (1..machine.blocks.len())
        .map(|number| machine.spawn("answers", number, 0, answer, number))
        .collect();
    for other in &others {
        machine.wait_until("it began", || counter(40 + other.cpu()).load(Relaxed) == 1);
    }
    let before: Vec<_> = (0..machine.blocks.len())
        .map(|number| taken(number, Source::Wake))
        .collect();
    for times in 1..=ACROSS {
        for &other in &others {
            machine.fibers.wake(other);
            // A lost wake, here or there, hangs.
            while counter(40 + other.cpu()).load(Relaxed) == times {
                machine.fibers.park(None);
            }
        }
    }
    for &other in &others {
        let number = other.cpu();
        assert_eq!(counter(40 + number).load(Relaxed), 1 + ACROSS);
        let interrupts = taken(number, Source::Wake) - before[number];
        assert!((1..=ACROSS as u64).contains(&interrupts), "{interrupts}");
    }
    let here = taken(0, Source::Wake) - before[0];
    assert!(here <= (others.len() * ACROSS) as u64, "{here}");
}

fn refused(machine: &'static Machine) {
    let spec = FiberSpec {
        name: "refused",
        cpu: 0,
        priority: 0,
        stack_bytes: STACK_BYTES,
        hang_limit: None,
        owner: 0,
    };
    let refused = |spec| {
        let error = machine.fibers.create(&machine.ground.stacks, &spec);
        alloc::format!("{}", error.expect_err("it cannot be made"))
    };
    let cpu = refused(FiberSpec { cpu: 64, ..spec });
    assert!(cpu.contains("CPU for a fiber"), "{cpu}");
    let stack = refused(FiberSpec {
        stack_bytes: 1 << 20,
        ..spec
    });
    assert!(stack.contains("stack for a fiber"), "{stack}");
    let alive = machine.fibers.restart(machine.own, count_wakes, 0);
    assert!(alive.is_err(), "a fiber that runs was started");
}
