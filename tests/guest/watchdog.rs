//! Inside QEMU: a fiber that hangs is killed, also inside a critical section; its locks are broken; one that
//! works long and comes back to its executor is left alone.
#![no_std]
#![no_main]

extern crate alloc;

mod fiber_support;

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use fiber_support::{Machine, counter, run, this_machine};
use nos::arch::aarch64::preemption::PreemptionGuard;
use nos::arch::aarch64::{BootInfo, preemption};
use nos::kernel::scheduler::{Cause, FiberId, Locked, Obituary, Spared, State, Verdict};
use nos::platform::time::{Clock, Duration};

/// Times that each hang is killed.
const TIMES: u32 = 5;
/// The limit of these tests' fibers, in milliseconds.
const LIMIT: u64 = 40;

#[unsafe(no_mangle)]
extern "C" fn nos_main(boot: &BootInfo) -> ! {
    run(
        boot,
        &[
            ("a fiber that loops is killed", loops),
            ("one that loops inside a guard is killed inside", in_a_guard),
            (
                "one that leaves its guard in time dies at the guard's end",
                at_the_end,
            ),
            (
                "a lock of the dead is verified, rebuilt and released",
                lock_of_the_dead,
            ),
            ("a lock that cannot be rebuilt stays locked", lost),
            (
                "one that died waiting for a lock does not release it",
                waiting,
            ),
            ("one that beats is left alone", beats),
            (
                "time that others take does not count against a fiber",
                cpu_time_counts,
            ),
            ("a fiber that hangs on another CPU is killed", elsewhere),
            (
                "nobody is killed in a section in which it is spared",
                spared,
            ),
        ],
    )
}

fn spin() -> ! {
    loop {
        core::hint::spin_loop();
    }
}

#[track_caller]
fn hang(machine: &'static Machine, id: FiberId) -> Obituary {
    let obituary = machine.await_death(id);
    assert_eq!(obituary.cause, Cause::Hang);
    assert_eq!(preemption::depth(), 0);
    obituary
}

fn loops(machine: &'static Machine) {
    let entry = |_| spin();
    let id = machine.spawn_with("loops", 0, 1, Some(LIMIT), entry, 0);
    for time in 1..=TIMES {
        let obituary = hang(machine, id);
        assert_eq!(obituary.incarnation, time);
        assert_eq!(obituary.guards, 0);
        assert!(obituary.registers.is_some());
        assert_eq!(obituary.break_locks(), Verdict::Intact);
        machine.fibers.restart(id, entry, 0).expect("it is dead");
    }
    hang(machine, id);
}

fn in_a_guard(machine: &'static Machine) {
    let entry = |_| {
        let _guard = PreemptionGuard::new();
        let _inner = PreemptionGuard::new();
        spin()
    };
    let id = machine.spawn_with("guards", 0, 1, Some(LIMIT), entry, 0);
    for _ in 0..TIMES {
        let obituary = hang(machine, id);
        assert_eq!(obituary.guards, 2);
        // Without a lock there is nothing to mend.
        assert_eq!(obituary.break_locks(), Verdict::Intact);
        machine.fibers.restart(id, entry, 0).expect("it is dead");
    }
    hang(machine, id);
}

fn at_the_end(machine: &'static Machine) {
    static LEFT: AtomicBool = AtomicBool::new(false);
    fn late(_: usize) {
        let guard = PreemptionGuard::new();
        // Nothing else waits for it: the watchdog has told it.
        while !preemption::is_switch_pending() {
            core::hint::spin_loop();
        }
        LEFT.store(true, Relaxed);
        drop(guard);
        unreachable!("it was doomed");
    }
    let id = machine.spawn_with("late", 0, 1, Some(10 * LIMIT), late, 0);
    let obituary = hang(machine, id);
    assert!(LEFT.load(Relaxed), "killed inside: {obituary:?}");
    assert_eq!(obituary.guards, 0);
}

struct Pair(usize, usize);

static PAIR: Locked<Pair> = Locked::new(Pair(0, 0), |pair| {
    if pair.0 == pair.1 {
        return Verdict::Intact;
    }
    pair.1 = pair.0;
    Verdict::Rebuilt
});

fn lock_of_the_dead(machine: &'static Machine) {
    fn cut(argument: usize) {
        let mut pair = PAIR.lock();
        pair.0 += 1;
        if argument == 1 {
            pair.1 += 1;
        }
        spin()
    }
    let id = machine.spawn_with("cut", 0, 1, Some(LIMIT), cut, 0);
    for time in 1..=TIMES as usize {
        let obituary = hang(machine, id);
        assert_eq!((obituary.locks.len(), obituary.guards), (1, 1));
        let verdict = obituary.break_locks();
        let expected = if time % 2 == 1 {
            Verdict::Rebuilt
        } else {
            Verdict::Intact
        };
        assert_eq!(verdict, expected, "time {time}");
        {
            let pair = PAIR.lock();
            assert_eq!((pair.0, pair.1), (time, time));
        }
        machine.fibers.restart(id, cut, time % 2).expect("dead");
    }
    hang(machine, id).break_locks();
}

fn lost(machine: &'static Machine) {
    static BROKEN: Locked<()> = Locked::new((), |()| Verdict::Lost);
    let entry = |_| {
        let _inner = (PAIR.lock(), BROKEN.lock());
        panic!("inside")
    };
    let id = machine.spawn("lost", 0, 1, entry, 0);
    let obituary = machine.await_death(id);
    assert_eq!(obituary.cause, Cause::Panic);
    assert_eq!(obituary.locks.len(), 2);
    assert_eq!(obituary.break_locks(), Verdict::Lost);
    // The one that is whole is free again.
    drop(PAIR.lock());
}

fn waiting(machine: &'static Machine) {
    static HELD: Locked<usize> = Locked::new(0, |_| Verdict::Rebuilt);
    static LET_GO: AtomicBool = AtomicBool::new(false);
    static HOLDS: AtomicBool = AtomicBool::new(false);
    fn holds(_: usize) {
        let mut held = HELD.lock();
        HOLDS.store(true, Relaxed);
        while !LET_GO.load(Relaxed) {
            core::hint::spin_loop();
        }
        *held += 1;
        drop(held);
        loop {
            this_machine().fibers.park(None);
        }
    }
    if machine.blocks.len() == 1 {
        return;
    }
    let holder = machine.spawn("holds", 1, 1, holds, 0);
    machine.wait_until("it holds", || HOLDS.load(Relaxed));
    let waits = |_| drop(HELD.lock());
    let waiting = machine.spawn_with("waits", 0, 1, Some(LIMIT), waits, 0);
    let obituary = hang(machine, waiting);
    assert_eq!(obituary.break_locks(), Verdict::Intact);
    LET_GO.store(true, Relaxed);
    assert_eq!(*HELD.lock(), 1);
    assert_eq!(machine.fibers.state(holder), State::Alive);
    machine.fibers.stop(holder);
}

static WORKED: AtomicUsize = AtomicUsize::new(0);

/// Computes for that many milliseconds.
fn work(millis: u64) {
    let clock = this_machine().ground.clock;
    let end = clock.now() + Duration::from_millis(millis);
    while clock.now() < end {}
}

fn beats(machine: &'static Machine) {
    fn busy(_: usize) {
        for _ in 0..10 {
            work(LIMIT / 4);
            this_machine().fibers.beat();
        }
        WORKED.store(1, Relaxed);
        loop {
            this_machine().fibers.park(None);
        }
    }
    let id = machine.spawn_with("busy", 0, 1, Some(LIMIT), busy, 0);
    machine.wait_until("it worked", || WORKED.load(Relaxed) == 1);
    assert_eq!(machine.fibers.state(id), State::Alive);
    machine.fibers.stop(id);
}

fn cpu_time_counts(machine: &'static Machine) {
    fn hogs(_: usize) {
        loop {
            this_machine().fibers.park(None);
            work(4 * LIMIT);
            this_machine().fibers.beat();
            counter(1).fetch_add(1, Relaxed);
        }
    }
    fn meek(_: usize) {
        let machine = this_machine();
        // It is preempted for longer than it may run.
        machine
            .fibers
            .wake(HOG.get().copied().expect("it was made"));
        work(1);
        counter(2).fetch_add(1, Relaxed);
        loop {
            machine.fibers.park(None);
        }
    }
    static HOG: spin::Once<FiberId> = spin::Once::new();
    let hog = HOG.call_once(|| machine.spawn("hogs", 0, 0, hogs, 0));
    let meek = machine.spawn_with("meek", 0, 1, Some(LIMIT), meek, 0);
    machine.wait_until("it is done", || counter(2).load(Relaxed) == 1);
    assert_eq!(counter(1).load(Relaxed), 1);
    assert_eq!(machine.fibers.state(meek), State::Alive);
    machine.fibers.stop(*hog);
    machine.fibers.stop(meek);
}

fn elsewhere(machine: &'static Machine) {
    for cpu in 1..machine.blocks.len() {
        let entry = |guarded| {
            let _guard = (guarded == 1).then(PreemptionGuard::new);
            spin()
        };
        let id = machine.spawn_with("far", cpu, 1, Some(LIMIT), entry, 0);
        for time in 1..=TIMES as usize {
            hang(machine, id);
            machine.fibers.restart(id, entry, time % 2).expect("dead");
        }
        hang(machine, id);
    }
}

struct Section;

static IN_SECTION: AtomicBool = AtomicBool::new(false);

impl Spared for Section {
    fn is_in_section(&self) -> bool {
        IN_SECTION.load(Relaxed)
    }
}

/// Mostly in its section, which counter 3 says was begun and counter 4 ended; never back at an executor.
fn sectioned(_: usize) {
    loop {
        counter(3).fetch_add(1, Relaxed);
        IN_SECTION.store(true, Relaxed);
        work(3);
        counter(4).fetch_add(1, Relaxed);
        IN_SECTION.store(false, Relaxed);
        work(1);
    }
}

fn spared(machine: &'static Machine) {
    static VICTIM: spin::Once<FiberId> = spin::Once::new();
    fn stops(_: usize) {
        let machine = this_machine();
        loop {
            let end = machine.ground.clock.now() + Duration::from_millis(10);
            while machine.ground.clock.now() < end {
                machine.fibers.park(Some(end));
            }
            // What it stops was preempted, or runs on another CPU.
            let victim = *VICTIM.get().expect("it was made");
            if machine.fibers.state(victim) == State::Alive {
                machine.fibers.stop(victim);
            }
        }
    }
    let in_whole = |what| {
        let (begun, ended) = (counter(3).load(Relaxed), counter(4).load(Relaxed));
        assert!(!IN_SECTION.load(Relaxed), "{what}: killed in its section");
        assert!(begun - ended <= 1, "{what}: {begun} begun, {ended} ended");
        // One that was killed between the count and the section has begun none.
        counter(4).store(begun, Relaxed);
    };
    // It ranks above this test: the first life is over before anybody can be told of the section.
    let make = |limit| {
        let id = machine.spawn_with("spared", 0, 2, limit, |_| (), 0);
        machine.await_death(id);
        machine.fibers.spare(id, &Section);
        id
    };
    let victim = make(Some(LIMIT));
    let begin = |victim| {
        let restarted = machine.fibers.restart(victim, sectioned, 0);
        restarted.expect("it is dead");
    };
    for _ in 0..TIMES {
        begin(victim);
        hang(machine, victim);
        in_whole("hang");
    }
    let victim = *VICTIM.call_once(|| make(None));
    for cpu in [0, machine.blocks.len() - 1] {
        let stopper = machine.spawn("stops", cpu, 0, stops, 0);
        for _ in 0..TIMES {
            begin(victim);
            let obituary = machine.await_death(victim);
            assert_eq!(obituary.cause, Cause::Stopped);
            in_whole("stop");
        }
        machine.fibers.stop(stopper);
    }
}
