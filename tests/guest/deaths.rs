//! Inside QEMU: a fiber dies by each means, alone: the CPU, the other fibers and the tests go on, what died is
//! told, and it is started again.
#![no_std]
#![no_main]

extern crate alloc;

mod fiber_support;

use core::arch::asm;
use core::hint::black_box;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use fiber_support::{Machine, counter, run, this_machine};
use nos::arch::aarch64::cpu_block::CpuBlock;
use nos::arch::aarch64::{BootInfo, ImageLayout, preemption};
use nos::kernel::scheduler::{Cause, FiberId, Obituary, State, Verdict};
use nos::platform::time::Clock;

/// Times that each means kills.
const TIMES: u32 = 5;

#[unsafe(no_mangle)]
extern "C" fn nos_main(boot: &BootInfo) -> ! {
    run(
        boot,
        &[
            ("a panic kills its fiber alone, and is told", panic),
            ("a read of unmapped memory does", unmapped),
            ("a write to constants does", constants),
            ("an undefined instruction does", undefined),
            ("a jump to nowhere does", nowhere),
            ("a jump into data does", into_data),
            ("a stack overflow does", overflow),
            ("an entry that returns does", returns),
            ("a fiber is stopped while it is parked", stopped),
            ("a death on another CPU is told on this one", elsewhere),
            (
                "a thousand restarts leave the same stack and the same others",
                a_thousand,
            ),
        ],
    )
}

/// Watched by all tests: fibers above and below the one that dies, on its CPU.
struct Bystanders {
    higher: FiberId,
    lower: FiberId,
}

/// A fiber that keeps state in registers and on its stack, and checks it at each wake.
fn bystander(number: usize) {
    let mut on_stack = [number; 64];
    let mut sum = 0u64;
    loop {
        for word in black_box(&mut on_stack) {
            assert_eq!(*word, number + sum as usize);
            *word += 1;
        }
        sum += 1;
        counter(number).fetch_add(1, Relaxed);
        this_machine().fibers.park(None);
    }
}

fn bystanders(machine: &'static Machine) -> &'static Bystanders {
    static THEM: spin::Once<Bystanders> = spin::Once::new();
    THEM.call_once(|| Bystanders {
        higher: machine.spawn("higher", 0, 0, bystander, 1),
        lower: machine.spawn("lower", 0, 5, bystander, 2),
    })
}

fn is_well(machine: &'static Machine) {
    let them = bystanders(machine);
    for (id, number) in [(them.higher, 1), (them.lower, 2)] {
        let before = counter(number).load(Relaxed);
        machine.fibers.wake(id);
        machine.wait_until("a bystander runs", || {
            counter(number).load(Relaxed) > before
        });
        assert_eq!(machine.fibers.state(id), State::Alive);
    }
    assert_eq!(preemption::depth(), 0);
    assert_eq!(CpuBlock::current().owner(), 0);
}

/// Kills one fiber `TIMES` times by what `entry` does, and looks at each obituary.
fn kill(machine: &'static Machine, entry: fn(usize), look: fn(&Obituary)) {
    static VICTIM: spin::Once<FiberId> = spin::Once::new();
    fn idle(_: usize) {
        loop {
            this_machine().fibers.park(None);
        }
    }
    is_well(machine);
    let victim = *VICTIM.call_once(|| machine.spawn("victim", 0, 2, idle, 0));
    if machine.fibers.state(victim) == State::Alive {
        machine.fibers.stop(victim);
        assert_eq!(machine.await_death(victim).cause, Cause::Stopped);
    }
    for _ in 0..TIMES {
        let incarnation = machine
            .fibers
            .take_obituary(victim)
            .expect("it is dead")
            .incarnation;
        let before = machine.ground.clock.now();
        machine
            .fibers
            .restart(victim, entry, 7)
            .expect("it is dead");
        let obituary = machine.await_death(victim);
        assert_eq!(obituary.fiber, victim);
        assert_eq!(obituary.incarnation, incarnation + 1);
        assert!(obituary.at >= before);
        assert!(machine.fibers.dead().any(|id| id == victim));
        look(&obituary);
        is_well(machine);
    }
    // It lives again, and parks.
    machine.fibers.restart(victim, idle, 0).expect("it is dead");
    machine.sleep_millis(1);
    assert_eq!(machine.fibers.state(victim), State::Alive);
}

fn is_in_text(address: usize) -> bool {
    let layout = ImageLayout::current();
    (layout.start..layout.text_end).contains(&address)
}

fn has_backtrace(obituary: &Obituary) {
    assert!(!obituary.backtrace.is_empty(), "{obituary:?}");
    assert!(
        obituary.backtrace.iter().all(|&at| is_in_text(at)),
        "{obituary:?}"
    );
}

fn panic(machine: &'static Machine) {
    kill(
        machine,
        |argument| panic!("on purpose, {argument}"),
        |obituary| {
            assert_eq!(obituary.cause, Cause::Panic);
            assert_eq!(obituary.message.as_str(), "on purpose, 7");
            assert!(obituary.location.contains("deaths.rs:"), "{obituary:?}");
            has_backtrace(obituary);
        },
    );
    // A message that does not fit is cut.
    kill(
        machine,
        |_| panic!("{:400}", 1),
        |obituary| assert_eq!(obituary.message.len(), obituary.message.capacity()),
    );
}

/// The exception's class, with everything an exception's obituary has to have.
#[track_caller]
fn class(obituary: &Obituary) -> u64 {
    assert_eq!(obituary.cause, Cause::Exception);
    assert!(obituary.registers.is_some());
    obituary.esr >> 26
}

fn unmapped(machine: &'static Machine) {
    kill(
        machine,
        // SAFETY: page 0 is never mapped: this faults, which is what is wanted.
        |_| unsafe { asm!("ldr {0}, [{1}]", out(reg) _, in(reg) 8u64) },
        |obituary| {
            assert_eq!((class(obituary), obituary.far), (0x25, 8));
            has_backtrace(obituary);
        },
    );
}

fn constants(machine: &'static Machine) {
    static CONSTANT: u64 = 5;
    kill(
        machine,
        // SAFETY: constants are mapped read-only: this faults, which is what is wanted.
        |_| unsafe { asm!("str xzr, [{0}]", in(reg) &raw const CONSTANT) },
        |obituary| {
            assert_eq!(class(obituary), 0x25);
            assert_eq!(obituary.far, (&raw const CONSTANT).addr() as u64);
            assert_eq!(CONSTANT, 5);
        },
    );
}

fn undefined(machine: &'static Machine) {
    kill(
        machine,
        |_| {
            // SAFETY: undefined, which is what is wanted.
            unsafe { asm!("mov x9, #0x1234", "udf #0", out("x9") _) };
        },
        |obituary| {
            assert_eq!(class(obituary), 0);
            let registers = obituary.registers.as_ref().expect("just looked at");
            assert_eq!(registers.x[9], 0x1234);
            assert!(is_in_text(registers.pc as usize));
        },
    );
}

fn nowhere(machine: &'static Machine) {
    kill(
        machine,
        // SAFETY: nothing is mapped there, which is what is wanted.
        |_| unsafe { asm!("br {0}", in(reg) 0x10u64, options(noreturn)) },
        |obituary| {
            assert_eq!(class(obituary), 0x21);
            assert_eq!(obituary.registers.as_ref().map(|at| at.pc), Some(0x10));
        },
    );
}

fn into_data(machine: &'static Machine) {
    static DATA: AtomicUsize = AtomicUsize::new(0);
    kill(
        machine,
        // SAFETY: data is never executed: this faults, which is what is wanted.
        |_| unsafe { asm!("br {0}", in(reg) &raw const DATA, options(noreturn)) },
        |obituary| assert_eq!(class(obituary), 0x21),
    );
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

fn overflow(machine: &'static Machine) {
    kill(
        machine,
        |_| {
            black_box(overflows(black_box(1)));
        },
        |obituary| {
            assert_eq!(obituary.cause, Cause::StackOverflow);
            has_backtrace(obituary);
        },
    );
    // Where the scheduler itself is called with too little left.
    #[expect(
        unconditional_recursion,
        reason = "running out of stack is what is wanted"
    )]
    fn parks_deep(depth: u64) -> u64 {
        let frame = black_box([depth; 16]);
        this_machine()
            .fibers
            .wake(bystanders(this_machine()).higher);
        let soon = this_machine().ground.clock.now();
        this_machine().fibers.park(Some(soon));
        parks_deep(depth + 1) + frame[depth as usize % 16]
    }
    kill(
        machine,
        |_| {
            black_box(parks_deep(black_box(1)));
        },
        |obituary| assert_eq!(obituary.cause, Cause::StackOverflow),
    );
}

fn returns(machine: &'static Machine) {
    kill(
        machine,
        |_| {},
        |obituary| assert_eq!(obituary.cause, Cause::Returned),
    );
}

fn stopped(machine: &'static Machine) {
    fn parks(_: usize) {
        loop {
            this_machine().fibers.park(None);
        }
    }
    let parked = machine.spawn("stopped", 0, 3, parks, 0);
    for _ in 0..TIMES {
        machine.sleep_millis(1);
        machine.fibers.stop(parked);
        assert_eq!(machine.await_death(parked).cause, Cause::Stopped);
        // A wake of a dead one does nothing, then or later.
        machine.fibers.wake(parked);
        is_well(machine);
        machine
            .fibers
            .restart(parked, parks, 0)
            .expect("it is dead");
    }
    machine.fibers.stop(parked);
    fn stops_itself(_: usize) {
        let fibers = this_machine().fibers;
        fibers.stop(fibers.current().expect("a fiber"));
        unreachable!("it was stopped");
    }
    machine.await_death(parked);
    machine
        .fibers
        .restart(parked, stops_itself, 0)
        .expect("dead");
    assert_eq!(machine.await_death(parked).cause, Cause::Stopped);
}

fn elsewhere(machine: &'static Machine) {
    fn faults(argument: usize) {
        match argument {
            0 => panic!("elsewhere"),
            1 => {
                black_box(overflows(black_box(1)));
            }
            2 => loop {
                this_machine().fibers.park(None);
            },
            // SAFETY: undefined, which is what is wanted.
            _ => unsafe { asm!("udf #0") },
        }
    }
    for cpu in 1..machine.blocks.len() {
        let other = machine.spawn("other", cpu, 0, bystander, 10 + cpu);
        let victim = machine.spawn("victim", cpu, 1, faults, 0);
        for time in 0..4 * TIMES as usize {
            if time % 4 == 2 {
                machine.sleep_millis(1);
                machine.fibers.stop(victim);
            }
            let cause = machine.await_death(victim).cause;
            let expected = [
                Cause::Panic,
                Cause::StackOverflow,
                Cause::Stopped,
                Cause::Exception,
            ];
            assert_eq!(cause, expected[time % 4], "CPU {cpu}, time {time}");
            let before = counter(10 + cpu).load(Relaxed);
            machine.fibers.wake(other);
            machine.wait_until("the other runs", || {
                counter(10 + cpu).load(Relaxed) > before
            });
            let next = (time + 1) % 4;
            machine.fibers.restart(victim, faults, next).expect("dead");
        }
        machine.await_death(victim);
    }
}

fn a_thousand(machine: &'static Machine) {
    fn dies(argument: usize) {
        counter(30).store(argument, Relaxed);
        let place = 0u8;
        counter(31).store((&raw const place).addr(), Relaxed);
        panic!("again");
    }
    let victim = machine.spawn("again", 0, 1, dies, 0);
    let mut place = 0;
    for time in 1..=1000 {
        let obituary = machine.await_death(victim);
        assert_eq!(obituary.incarnation, time);
        assert_eq!(counter(30).load(Relaxed), time as usize - 1);
        let seen = counter(31).load(Relaxed);
        assert!(place == 0 || place == seen, "the stack crept");
        place = seen;
        assert_eq!(obituary.break_locks(), Verdict::Intact);
        machine
            .fibers
            .restart(victim, dies, time as usize)
            .expect("it is dead");
    }
    machine.await_death(victim);
    is_well(machine);
}
