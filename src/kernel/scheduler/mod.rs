//! Fibers: each part of the image on a guarded stack of its own, on a CPU of its own choice, by priority.
//!
//! # Use
//! The composition root makes the scheduler once and every fiber after it, then gives each CPU to it:
//!
//! ```ignore
//! let fibers = Fibers::new(cpu_count, clock)?;          // attaches the CPU this runs on
//! fibers.install(timer_interrupt)?;                      // after interrupts::set_up
//! start_all(&ground, |block| fibers.attach(block), scheduler::run_this_cpu)?;
//! let supervisor = fibers.spawn(&stacks, &spec, supervise, argument)?;
//! fibers.on_death(supervisor);
//! fibers.run()
//! ```
//!
//! A fiber runs its entry for ever, with interrupts unmasked: it works while there is work, then
//! [`Fibers::park`]s, until somebody [`Fibers::wake`]s it (from any CPU, any fiber or interrupt handler) or its
//! deadline comes. A wake is never lost: one that comes while the fiber runs makes the next `park` return at
//! once. One that works for long without parking calls [`Fibers::beat`] each time it is back at its executor.
//!
//! # What holds
//! - A fiber stays on its CPU. The ready fiber of the best rank runs: priority first, 0 the highest, then who was
//!   made first. A better one preempts at once: at the interrupt or wake that made it ready, or when the last
//!   [`PreemptionGuard`](crate::arch::aarch64::preemption::PreemptionGuard) is dropped.
//! - A wake costs at most one interrupt, and none on the fiber's own CPU, if it was awake already, or if its CPU runs
//!   something better and will look by itself.
//! - No tick: the timer is armed for the nearest deadline of the CPU's fibers, and while a fiber with a hang limit runs
//!   for the watchdog's next look at it. A CPU without either sleeps until something else wakes it.
//! - A fiber that dies ([`death`] lists how) takes nothing with it but its stack: the supervisor's fiber is woken, finds
//!   the [`Obituary`] ([`Fibers::take_obituary`]), breaks the locks it left, and [`Fibers::restart`]s it.
//!   Without a supervisor, and in it, every death is a crash of the image.
//! - `park` and `wake` must not be called with a guard held (`wake` may: the switch comes when it is dropped).
//!
//! # Rooms
//! `cpu` is the run loop and the switch, `interrupt` what interrupts do, `death` how fibers end, `fiber` what one
//! is, `wake` a way to wake one, `lock` the lock that survives its holder, `stacks` where stacks come from, `metrics`
//! what a scrape shows.

mod cpu;
pub mod death;
mod fiber;
mod interrupt;
mod lock;
mod metrics;
pub mod stacks;
mod wake;

pub use death::{Cause, Obituary, Registers};
pub use fiber::{Entry, State};
pub use lock::{Held, Locked, LockedGuard, Verdict};
pub(in crate::kernel) use metrics::Spent;
pub use wake::WakeHandle;

use crate::arch::aarch64::cpu_block::CpuBlock;
use crate::arch::aarch64::{cpu as this_cpu, exceptions, preemption};
use crate::error::{Error, Grow, Kind, Result, Subsystem, try_box};
use crate::kernel::this_cpu::ThisCpu;
use crate::memory::MemoryManager;
use crate::memory::accounts::Owner;
use crate::metrics::Histogram;
use crate::platform::clock::CounterClock;
use crate::platform::device_tree::Interrupt;
use crate::platform::interrupts::{self, Binding, Source};
use crate::platform::time::{Duration, Instant};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use cpu::Cpu;
use fiber::Fiber;
use spin::Once;
use stacks::FiberStacks;

/// Priorities: 0 to 7.
pub const PRIORITIES: u8 = 8;
/// Fibers of one priority on one CPU.
pub const FIBERS_A_PRIORITY: u8 = 8;
const FIBERS_MAX: usize = PRIORITIES as usize * FIBERS_A_PRIORITY as usize;

/// A time that does not come, in ticks.
const NEVER: u64 = u64::MAX;
/// Bytes of its stack that a fiber leaves to the scheduler; measured 0.6 KiB in a release build, 2 KiB in debug.
const SCHEDULER_STACK_BYTES: usize = if cfg!(debug_assertions) { 4096 } else { 1024 };

/// Names a fiber: its CPU and its rank there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiberId {
    cpu: u8,
    rank: u8,
}

/// Sections in which a fiber is not killed by the watchdog or a stop: what others use is half written there, and it
/// leaves them within a few dozen instructions of its own.
pub trait Spared: Sync {
    /// True while the fiber is in one.
    fn is_in_section(&self) -> bool;
}

/// What a fiber is to be.
#[derive(Clone, Copy, Debug)]
pub struct FiberSpec {
    /// Its name, for reports.
    pub name: &'static str,
    /// The CPU it runs on.
    pub cpu: usize,
    /// 0 (highest) to 7.
    pub priority: u8,
    /// Bytes of stack it needs.
    pub stack_bytes: usize,
    /// CPU time without coming back to its executor after which it is killed; none for never.
    pub hang_limit: Option<Duration>,
    /// The account that its memory is charged to: its alone, but for 0, the kernel's.
    pub owner: u8,
}

/// The name of the fiber that runs on this CPU, for reports.
pub(in crate::kernel) fn running() -> &'static str {
    Cpu::this().map_or("no fiber", Cpu::current_name)
}

/// What is shared by all CPUs.
struct Common {
    clock: &'static CounterClock,
    /// Ready to running.
    latency: Histogram,
    /// The supervisor's word, and one more; 0 for none.
    supervisor: AtomicU32,
    cpus: Once<&'static [Cpu]>,
    /// Whose caches, one a CPU, the CPUs see to.
    memory: Once<&'static MemoryManager<ThisCpu>>,
}

/// All fibers of the image.
#[derive(Clone, Copy)]
pub struct Fibers {
    cpus: &'static [Cpu],
}

impl FiberId {
    /// The CPU it runs on.
    pub fn cpu(self) -> usize {
        self.cpu.into()
    }

    /// One word that names it.
    pub fn word(self) -> u16 {
        u16::from(self.cpu) << 8 | u16::from(self.rank)
    }

    fn from_word(word: u16) -> Self {
        let [rank, cpu] = word.to_le_bytes();
        Self { cpu, rank }
    }
}

impl Common {
    fn supervisor(&self) -> Option<FiberId> {
        let word = self.supervisor.load(Relaxed).checked_sub(1)?;
        Some(FiberId::from_word(word as u16))
    }

    fn is_supervised(&self, id: FiberId) -> bool {
        self.supervisor().is_some_and(|supervisor| supervisor != id)
    }

    /// Gives back what other CPUs ask of this one, and what it does not need any more; answers the tick at which to look
    /// again. Interrupts are masked, and what runs is in no section.
    #[inline]
    fn obey(&self) -> u64 {
        self.memory.get().map_or(NEVER, |memory| memory.obey())
    }

    fn wake_supervisor(&self) {
        if let (Some(supervisor), Some(&cpus)) = (self.supervisor(), self.cpus.get()) {
            Fibers { cpus }.wake(supervisor);
        }
    }

    /// Counts a latency that is not among the shortest.
    #[inline(never)]
    fn observe_latency(&self, ticks: u64) {
        self.latency
            .observe_nanos(self.clock.at_ticks(ticks).as_nanos());
    }
}

impl Fibers {
    /// A scheduler for that many CPUs, this one attached. Called once.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(cpu_count: usize, clock: &'static CounterClock) -> Result<Self> {
        let common: &'static Common = Box::leak(try_box(Common {
            clock,
            latency: Histogram::new(),
            supervisor: AtomicU32::new(0),
            cpus: Once::new(),
            memory: Once::new(),
        })?);
        let mut cpus = Vec::new();
        cpus.try_reserve_exact(cpu_count)?;
        cpus.extend_reserved((0..cpu_count).map(|number| Cpu::new(number, common)));
        let cpus: &'static [Cpu] = cpus.leak();
        common.cpus.call_once(|| cpus);
        let fibers = Self { cpus };
        fibers.attach(CpuBlock::current());
        Ok(fibers)
    }

    /// Has each CPU see to its page cache: give back what others ask for when it has nothing else to do, and close it when
    /// a fiber dies in a section. Said once, before fibers run.
    pub fn keep_caches_of(&self, memory: &'static MemoryManager<ThisCpu>) {
        if let Some(cpu) = self.cpus.first() {
            cpu.common().memory.call_once(|| memory);
        }
    }

    /// Lets a CPU find its part, before that CPU asks for it.
    pub fn attach(&self, block: &CpuBlock) {
        block.attach((&raw const self.cpus[block.number()]).cast());
    }

    /// Takes the interrupts that the scheduler needs: the timer, and those between CPUs.
    ///
    /// # Errors
    /// Those of [`interrupts::bind`].
    pub fn install(&self, timer: Interrupt) -> Result<()> {
        interrupts::bind(Binding {
            interrupt: timer,
            source: Source::Timer,
            handler: try_box(|| {
                if let Some(cpu) = Cpu::this() {
                    cpu.timer_fired();
                }
            })?,
        })?;
        interrupts::on_wake(try_box(|| {
            if let Some(cpu) = Cpu::this() {
                cpu.answer();
            }
        })?)?;
        exceptions::set_interrupt_handler(interrupt::on_interrupt);
        preemption::set_switch(interrupt::pending_switch);
        Ok(())
    }

    /// Makes a fiber, which does not run yet.
    ///
    /// # Errors
    /// `Missing` for a CPU, priority or account that does not exist; `Duplicate` naming the fiber that has the account;
    /// `LimitReached` if the priority has no room on that CPU; `Missing` too if no stack is left that is large enough;
    /// `OutOfMemory`.
    pub fn create(&self, stacks: &FiberStacks, spec: &FiberSpec) -> Result<FiberId> {
        let bad = |what| Error::new(Subsystem::Scheduler, Kind::Missing { what });
        let cpu = self.cpus.get(spec.cpu).ok_or(bad("CPU for a fiber"))?;
        if spec.priority >= PRIORITIES {
            return Err(bad("priority for a fiber"));
        }
        // Whoever asks a CPU for the account it runs for relies on it.
        if usize::from(spec.owner) >= Owner::COUNT {
            return Err(bad("account for a fiber"));
        }
        // The heap relies on it: what an account has there is touched by its fiber alone, without a lock.
        let is_holder = |fiber: &&Fiber| fiber.owner == spec.owner && spec.owner != 0;
        if let Some(holder) = self.all().find(is_holder) {
            let kind = Kind::Duplicate { name: holder.name };
            return Err(Error::new(Subsystem::Scheduler, kind));
        }
        let first = spec.priority * FIBERS_A_PRIORITY;
        let rank = (first..first + FIBERS_A_PRIORITY)
            .find(|&rank| cpu.fiber(rank.into()).is_none())
            .ok_or(Error::new(
                Subsystem::Scheduler,
                Kind::LimitReached {
                    what: "fibers of a priority",
                    limit: FIBERS_A_PRIORITY.into(),
                },
            ))?;
        let id = FiberId {
            cpu: spec.cpu as u8,
            rank,
        };
        let stack = stacks
            .take(spec.stack_bytes)
            .ok_or(bad("stack for a fiber"))?;
        let clock = cpu.common().clock;
        let hang_ticks = spec
            .hang_limit
            .map_or(NEVER, |limit| clock.ticks_at(Instant::ZERO + limit));
        #[allow(unsafe_code, reason = "the stack becomes the fiber's, once")]
        // SAFETY: `place` set it aside and `bring_up` mapped it; `take` gives each out once.
        let fiber = unsafe { Fiber::new(id, spec, stack, hang_ticks) };
        cpu.add(Box::leak(try_box(fiber)?));
        Ok(id)
    }

    /// Spares a fiber while it is in one of those sections: who wants it killed waits till it has left. Said once.
    pub fn spare(&self, id: FiberId, sections: &'static dyn Spared) {
        self.fiber(id).spared.call_once(|| sections);
    }

    /// Makes a fiber and starts it.
    ///
    /// # Errors
    /// Those of [`Fibers::create`].
    pub fn spawn(
        &self,
        stacks: &FiberStacks,
        spec: &FiberSpec,
        entry: Entry,
        argument: usize,
    ) -> Result<FiberId> {
        let id = self.create(stacks, spec)?;
        self.restart(id, entry, argument)?;
        Ok(id)
    }

    /// Starts a fiber that is new or dead, on its stack as if it were empty. Its CPU runs it by its rank.
    ///
    /// # Errors
    /// `Duplicate` naming it if it is alive.
    pub fn restart(&self, id: FiberId, entry: Entry, argument: usize) -> Result<()> {
        let fiber = self.fiber(id);
        if !fiber.claim() {
            let kind = Kind::Duplicate { name: fiber.name };
            return Err(Error::new(Subsystem::Scheduler, kind));
        }
        fiber.set_up(entry, argument, Cpu::begin);
        self.cpus[id.cpu()].revive(fiber);
        Ok(())
    }

    /// Makes a fiber ready. From any CPU, fiber or interrupt handler; a dead one is not affected.
    #[inline]
    pub fn wake(&self, id: FiberId) {
        let cpu = &self.cpus[id.cpu()];
        if let Some(fiber) = cpu.fiber(id.rank.into()) {
            cpu.wake(fiber);
        }
    }

    /// Waits until the running fiber is woken, or till the deadline. Returns at once if it was woken since the last
    /// time. Interrupts may be masked before it, and are unmasked after it.
    ///
    /// Inline: a fiber calls it in one place, where it has nothing left in registers that a call would have to save.
    #[inline(always)]
    pub fn park(&self, deadline: Option<Instant>) {
        let cpu = Cpu::this().expect("only fibers park");
        cpu.park(deadline.map_or(NEVER, |deadline| cpu.common().clock.ticks_at(deadline)));
    }

    /// Parks the running fiber for good: what it was for has ended.
    pub fn rest(&self) -> ! {
        loop {
            self.park(None);
        }
    }

    /// Tells the watchdog that the running fiber is back at its executor, as [`Fibers::park`] does by itself.
    #[inline]
    pub fn beat(&self) {
        if let Some(fiber) = Cpu::this().and_then(Cpu::current) {
            fiber.beats.add(1);
        }
    }

    /// Stops a fiber: it is dead a little later, or when it drops its last guard.
    pub fn stop(&self, id: FiberId) {
        self.cpus[id.cpu()].doom(id.rank.into());
        if id.cpu() == this_cpu::current() {
            this_cpu::without_interrupts(|| {
                Cpu::this().is_some_and(Cpu::reap).then(|| self.stop_self())
            });
        }
    }

    /// Whom deaths are told: it is woken, and then asks for the obituaries. It is not supervised itself.
    pub fn on_death(&self, supervisor: FiberId) {
        let word = 1 + u32::from(supervisor.word());
        self.cpus[0].common().supervisor.store(word, Relaxed);
    }

    /// The fibers that are dead now.
    pub fn dead(&self) -> impl Iterator<Item = FiberId> {
        let is_dead = |fiber: &&'static Fiber| fiber.state() == State::Dead;
        self.all().filter(is_dead).map(|fiber| fiber.id)
    }

    /// What is known of a fiber's death, as long as it is dead.
    pub fn take_obituary(&self, id: FiberId) -> Option<Obituary> {
        self.fiber(id).obituary()
    }

    /// Whether it may be run.
    pub fn state(&self, id: FiberId) -> State {
        self.fiber(id).state()
    }

    /// Its name.
    pub fn name(&self, id: FiberId) -> &'static str {
        self.fiber(id).name
    }

    /// Ticks that it ran, up to the last time it was switched to or from another.
    pub fn ran_ticks(&self, id: FiberId) -> u64 {
        self.fiber(id).cpu_ticks.get()
    }

    /// A number that changes with each turn of a fiber: each time it was back at its executor.
    pub fn turns(&self, id: FiberId) -> u64 {
        self.fiber(id).beats.get()
    }

    /// Bytes of its stack that were ever used, and all of them. Walks the unused part: not for a hot path.
    pub fn stack_use(&self, id: FiberId) -> (usize, usize) {
        let fiber = self.fiber(id);
        let all = fiber.context.stack().range().len();
        (fiber.stack_high_water(), all)
    }

    /// The fiber that calls this, if it is one.
    pub fn current(&self) -> Option<FiberId> {
        Cpu::this().and_then(Cpu::current).map(|fiber| fiber.id)
    }

    /// Gives the CPU this runs on to its fibers, for good.
    pub fn run(&self) -> ! {
        this_cpu::mask_interrupts();
        Cpu::base()
    }

    fn all(&self) -> impl Iterator<Item = &'static Fiber> {
        self.cpus.iter().flat_map(Cpu::all)
    }

    fn fiber(&self, id: FiberId) -> &'static Fiber {
        self.cpus[id.cpu()]
            .fiber(id.rank.into())
            .expect("an identity is made with its fiber")
    }

    fn stop_self(&self) {
        let cpu = Cpu::this().expect("its fiber runs");
        if let Some(fiber) = cpu.current().filter(|_| preemption::depth() > 0) {
            fiber.set_doom(Cause::Stopped);
            preemption::request_switch();
        } else {
            cpu.die(Cause::Stopped, |_| {});
        }
    }
}

/// Where a CPU goes that was attached and started: it sets up its part of the interrupt controller and runs its
/// fibers.
pub fn run_this_cpu() -> ! {
    let cpu = Cpu::this().expect("the CPU was attached to the scheduler");
    if let Err(error) = interrupts::set_up_this_cpu() {
        log::error!("CPU {} has no interrupts: {error}", cpu.number);
        this_cpu::halt();
    }
    // Its time before it was ready is nobody's.
    cpu.slice_start
        .set(CpuBlock::current().ready_at().unwrap_or_default());
    cpu.answer();
    Cpu::base()
}
