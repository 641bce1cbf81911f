//! Tests that run as a fiber themselves: of the lowest priority on CPU 0, and supervisor of all others, so that
//! a failed assertion ends the binary.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use nos::arch::aarch64::cpu_block::CpuBlock;
use nos::arch::aarch64::{BootInfo, semihosting};
use nos::kernel::crash::{self, Ending};
use nos::kernel::ground::{self, Ground};
use nos::kernel::scheduler::{self, Entry, FiberId, FiberSpec, Fibers, Obituary, State};
use nos::kernel::secondary_cpus::start_all;
use nos::platform::console::print;
use nos::platform::interrupts;
use nos::platform::time::{Clock, Duration};
use spin::Once;

/// What tests work with.
pub(crate) struct Machine {
    pub(crate) ground: Ground,
    pub(crate) fibers: Fibers,
    pub(crate) own: FiberId,
    /// The CPUs' blocks.
    pub(crate) blocks: alloc::vec::Vec<&'static CpuBlock>,
}

/// A test: a name that is a sentence, and what shows it.
pub(crate) type Test = (&'static str, fn(&'static Machine));

/// Bytes of the stacks of tests' fibers, and how many there are.
pub(crate) const STACK_BYTES: usize = 32 << 10;
/// Bytes of one that holds a network stack.
pub(crate) const LARGE_STACK_BYTES: usize = 192 << 10;
/// The account that is left to a test that names it.
pub(crate) const LAST_OWNER: u8 = 15;
const STACKS: [usize; 40] = {
    let mut stacks = [STACK_BYTES; 40];
    stacks[0] = 128 << 10;
    stacks[1] = LARGE_STACK_BYTES;
    stacks[2] = LARGE_STACK_BYTES;
    stacks
};
/// Parks of the lowest fiber until something holds, at most, each of a millisecond.
const PATIENCE: u32 = 20_000;

static MACHINE: Once<Machine> = Once::new();
static TESTS: Once<&'static [Test]> = Once::new();

/// The machine that tests run on.
pub(crate) fn this_machine() -> &'static Machine {
    MACHINE.get().expect("`run` made it")
}

/// Runs the tests of a binary in a fiber and ends QEMU.
pub(crate) fn run(boot: &BootInfo, tests: &'static [Test]) -> ! {
    crash::set_ending(Ending::TestFailure, None, None);
    // SAFETY: this is the first call into Rust, with what the entry code handed over.
    let ground = unsafe { ground::bring_up(boot, &STACKS) };
    let fibers = Fibers::new(ground.machine.cpus.len(), ground.clock).expect("there is memory");
    fibers.keep_caches_of(ground.memory);
    let gic = ground.machine.gic.as_ref().expect("virt has a GIC");
    // SAFETY: the machine's controller, mapped by `bring_up`, set up once.
    unsafe { interrupts::set_up(gic, ground.machine.cpus.len(), []) }.expect("a GIC of virt");
    let timer = ground.machine.timer_interrupt.expect("virt has a timer");
    fibers.install(timer).expect("the GIC takes the timer");
    let attach = |block: &'static CpuBlock| fibers.attach(block);
    // SAFETY: this is the only call.
    let blocks = unsafe { start_all(&ground, attach, scheduler::run_this_cpu) };
    let blocks = blocks.expect("there is memory");
    let spec = FiberSpec {
        name: "tests",
        cpu: 0,
        priority: 7,
        stack_bytes: 128 << 10,
        hang_limit: None,
        owner: 0,
    };
    let own = fibers.create(&ground.stacks, &spec).expect("a stack");
    fibers.on_death(own);
    TESTS.call_once(|| tests);
    MACHINE.call_once(|| Machine {
        ground,
        fibers,
        own,
        blocks,
    });
    fibers.restart(own, run_tests, 0).expect("it is new");
    fibers.run()
}

fn run_tests(_: usize) {
    let tests = TESTS.get().expect("`run` set them");
    for (name, test) in *tests {
        print(format_args!("test {name} ... "));
        test(this_machine());
        print(format_args!("ok\n"));
    }
    print(format_args!("nos-test: {} passed, 0 failed\n", tests.len()));
    semihosting::exit(u8::from(tests.is_empty()))
}

/// An account that no fiber has, as long as there is one but the last, which a test may name; then the kernel's, which
/// any may have that is not killed in the heap.
pub(crate) fn next_owner() -> u8 {
    static OWNERS: AtomicU8 = AtomicU8::new(1);
    let owner = OWNERS.load(Relaxed);
    if owner == LAST_OWNER {
        return 0;
    }
    OWNERS.store(owner + 1, Relaxed);
    owner
}

impl Machine {
    /// Starts a fiber on that CPU, without a hang limit.
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        cpu: usize,
        priority: u8,
        entry: Entry,
        argument: usize,
    ) -> FiberId {
        self.spawn_with(name, cpu, priority, None, entry, argument)
    }

    /// Starts a fiber on that CPU, to be killed after `hang_millis` of CPU time without parking.
    pub(crate) fn spawn_with(
        &self,
        name: &'static str,
        cpu: usize,
        priority: u8,
        hang_millis: Option<u64>,
        entry: Entry,
        argument: usize,
    ) -> FiberId {
        let spec = FiberSpec {
            name,
            cpu,
            priority,
            stack_bytes: STACK_BYTES,
            hang_limit: hang_millis.map(Duration::from_millis),
            owner: next_owner(),
        };
        self.fibers
            .spawn(&self.ground.stacks, &spec, entry, argument)
            .expect("there are stacks and ranks")
    }

    /// Sleeps in the tests' fiber.
    pub(crate) fn sleep_millis(&self, millis: u64) {
        let end = self.ground.clock.now() + Duration::from_millis(millis);
        while self.ground.clock.now() < end {
            self.fibers.park(Some(end));
        }
    }

    /// Waits until that holds; panics if it never does.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, holds: impl Fn() -> bool) {
        for _ in 0..PATIENCE {
            if holds() {
                return;
            }
            let soon = self.ground.clock.now() + Duration::from_millis(1);
            self.fibers.park(Some(soon));
        }
        panic!("never: {what}");
    }

    /// Waits for the fiber's death and tells of it.
    #[track_caller]
    pub(crate) fn await_death(&self, id: FiberId) -> Obituary {
        self.wait_until("a death", || self.fibers.state(id) == State::Dead);
        self.fibers.take_obituary(id).expect("it is dead")
    }
}

/// Counts its start and every wake.
pub(crate) fn count_wakes(argument: usize) {
    loop {
        counter(argument).fetch_add(1, Relaxed);
        this_machine().fibers.park(None);
    }
}

/// Counters that fibers get by number.
pub(crate) fn counter(number: usize) -> &'static AtomicUsize {
    static COUNTERS: [AtomicUsize; 64] = [const { AtomicUsize::new(0) }; 64];
    &COUNTERS[number]
}
