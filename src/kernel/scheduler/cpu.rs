//! One CPU's fibers: which are ready, which one runs, and the switch between them.
//!
//! Whoever wakes a fiber, on whichever CPU, does it by the [`ReadySet`]. Everything but that is this CPU's own, and
//! touched with interrupts masked. A fiber that parks with nothing
//! else ready sleeps on its own stack: the wake that comes for it then costs no switch. Only when the fiber that
//! ran is dead does the CPU come back to its own stack ([`Cpu::base`]).
#![allow(unsafe_code, reason = "what the CPU's block points at, and the switch")]

use super::Common;
use super::death::Cause;
use super::fiber::{Fiber, Own};
use super::{FIBERS_MAX, NEVER};
use crate::arch::aarch64::cpu_block::CpuBlock;
use crate::arch::aarch64::fiber::{Context, switch};
use crate::arch::aarch64::{cpu, preemption, timer};
use crate::bus::ready_set::{ReadySet, bit as mask};
use crate::metrics::LATENCY_BOUNDS_NS;
use crate::platform::clock::CounterClock;
use crate::platform::interrupts;
use crate::platform::time::Instant;
use core::ptr;
use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU64,
    Ordering::{self, Relaxed, SeqCst},
};

/// Ticks after which a fiber that was spared is looked at again: some ten thousand instructions, of which its section
/// is a few dozen.
const SPARED_TICKS: u64 = 1_000;

#[repr(C, align(64))]
pub(super) struct Cpu {
    /// Fibers that were woken, and what runs.
    ready: ReadySet,
    /// Fibers to be stopped.
    doomed: AtomicU64,
    /// Fibers that may run.
    alive: AtomicU64,
    /// Fibers that were preempted: they go on without being woken. This CPU's own, as all that follow.
    preempted: Own,
    /// Fibers that are parked with a deadline, and the nearest of their deadlines (or an earlier time).
    timed: Own,
    pub(super) nearest: Own,
    /// What the timer is set to, and whether that is for the watchdog's look alone.
    armed: Own,
    armed_for_look: AtomicBool,
    /// The timer interrupted.
    pub(super) ticked: AtomicBool,
    /// Since when what runs runs.
    pub(super) slice_start: Own,
    /// Ticks asleep, and since when it sleeps; 0 if it does not.
    pub(super) idle_ticks: Own,
    slept_at: Own,
    /// Ticks in which it served interrupts, and in which no fiber ran: those are in no fiber's.
    pub(super) irq_ticks: Own,
    pub(super) own_ticks: Own,
    pub(super) switches: Own,
    /// Latencies in the first bucket: how many, and their sum in ticks. The others are counted together.
    pub(super) short_latencies: Own,
    pub(super) short_latency_ticks: Own,
    /// The longest of them, in ticks.
    short_latency_max: u64,
    current: AtomicPtr<Fiber>,
    /// Of the CPU's own stack: written when it is left, and never read, as it always begins anew.
    base: Context,
    fibers: [AtomicPtr<Fiber>; FIBERS_MAX],
    pub(super) number: usize,
    common: &'static Common,
}

/// The most ticks that are no longer than that many nanoseconds.
fn ticks_within(nanos: u64, clock: &CounterClock) -> u64 {
    let mut ticks = clock.ticks_at(Instant::from_nanos(nanos));
    while ticks > 0 && clock.at_ticks(ticks).as_nanos() > nanos {
        ticks -= 1;
    }
    ticks
}

impl Cpu {
    pub(super) fn new(number: usize, common: &'static Common) -> Self {
        let [stack, _] = CpuBlock::current().stacks();
        Self {
            ready: ReadySet::new(),
            doomed: AtomicU64::new(0),
            alive: AtomicU64::new(0),
            preempted: Own::default(),
            timed: Own::default(),
            nearest: Own::new(NEVER),
            armed: Own::new(NEVER),
            armed_for_look: AtomicBool::new(false),
            ticked: AtomicBool::new(false),
            slice_start: Own::default(),
            idle_ticks: Own::default(),
            slept_at: Own::default(),
            irq_ticks: Own::default(),
            own_ticks: Own::default(),
            switches: Own::default(),
            short_latencies: Own::default(),
            short_latency_ticks: Own::default(),
            short_latency_max: ticks_within(LATENCY_BOUNDS_NS[0], common.clock),
            current: AtomicPtr::new(ptr::null_mut()),
            base: Context::new(stack),
            fibers: [const { AtomicPtr::new(ptr::null_mut()) }; FIBERS_MAX],
            number,
            common,
        }
    }

    /// That of the CPU this runs on; none before there is a scheduler.
    #[inline]
    pub(super) fn this() -> Option<&'static Self> {
        // SAFETY: null or what `Fibers::attach` put there, which lives for ever.
        unsafe { CpuBlock::current().attachment().cast::<Self>().as_ref() }
    }

    #[inline]
    pub(super) fn common(&self) -> &'static Common {
        self.common
    }

    /// The fiber that runs here, asked by this CPU.
    #[inline]
    pub(super) fn current(&self) -> Option<&'static Fiber> {
        // SAFETY: null or a fiber, and fibers live for ever.
        unsafe { self.current.load(Relaxed).as_ref() }
    }

    pub(super) fn current_name(&self) -> &'static str {
        self.current().map_or("no fiber", |fiber| fiber.name)
    }

    /// The fiber of that rank.
    #[inline]
    pub(super) fn fiber(&self, rank: u32) -> Option<&'static Fiber> {
        // Acquire: pairs with the Release in `add`. SAFETY: as in `current`.
        unsafe { self.fibers[rank as usize].load(Ordering::Acquire).as_ref() }
    }

    /// Adds a fiber of a rank that is free.
    pub(super) fn add(&self, fiber: &'static Fiber) {
        // Release: pairs with the Acquire in `fiber`.
        self.fibers[usize::from(fiber.id.rank)]
            .store(ptr::from_ref(fiber).cast_mut(), Ordering::Release);
    }

    /// Lets a fiber that was set up run.
    pub(super) fn revive(&self, fiber: &'static Fiber) {
        let bit = mask(fiber.id.rank.into());
        // Wakes that its predecessor left are not its own.
        self.ready.take(bit);
        self.alive.fetch_or(bit, SeqCst);
        self.wake(fiber);
    }

    /// Takes a dead fiber out of everything that would run it.
    pub(super) fn forget(&self, fiber: &Fiber) {
        let bit = mask(fiber.id.rank.into());
        self.alive.fetch_and(!bit, SeqCst);
        self.preempted.set(self.preempted.get() & !bit);
        self.timed.set(self.timed.get() & !bit);
    }

    /// Notes that nothing runs here after `fiber` did.
    pub(super) fn take_off(&self, fiber: &Fiber) {
        let now = timer::ticks();
        fiber.cpu_ticks.add(now - self.slice_start.get());
        self.slice_start.set(now);
        self.ready.look_out();
        self.current.store(ptr::null_mut(), Relaxed);
        CpuBlock::current().set_fiber(None, 0);
    }

    /// Fibers that can run, if those are ready.
    #[inline]
    fn candidates(&self, ready: u64) -> u64 {
        ready & self.alive.load(Relaxed) | self.preempted.get()
    }

    /// How many fibers can run or do.
    pub(super) fn runnable(&self) -> u32 {
        self.candidates(self.ready.bits()).count_ones() + u32::from(self.is_busy())
    }

    fn is_busy(&self) -> bool {
        !self.current.load(Relaxed).is_null() && !self.ready.is_asleep()
    }

    /// Makes a fiber of this CPU ready, called on any CPU; it runs at once if it ranks highest.
    #[inline]
    pub(super) fn wake(&self, fiber: &Fiber) {
        let rank = u32::from(fiber.id.rank);
        self.wake_ranked(fiber, rank, mask(rank));
    }

    /// Makes the fiber of that rank and bit ready.
    #[inline]
    pub(super) fn wake_ranked(&self, fiber: &Fiber, rank: u32, bit: u64) {
        if self.ready.bits() & bit == 0 {
            // It tells latencies: a few instructions more or less are nothing to them.
            fiber.ready_at.set(timer::ticks_about_now());
        }
        if self.ready.add(rank, bit) {
            self.ring();
        }
    }

    /// Has this CPU look at its fibers. Apart, so that a wake that need not ring saves no registers for it.
    #[inline(never)]
    fn ring(&self) {
        if !ptr::eq(self, CpuBlock::current().attachment().cast()) {
            if self.ready.ring() {
                interrupts::wake(self.number);
            }
        } else if preemption::depth() > 0 {
            preemption::request_switch();
        } else if !cpu::are_interrupts_masked() {
            self.give_way();
        }
        // With interrupts masked it is the scheduler that woke it, or a handler: it looks afterwards.
    }

    /// The other CPU's interrupt has come: the next wake sends another.
    pub(super) fn answer(&self) {
        self.ready.answer();
    }

    /// Has this CPU stop that fiber.
    pub(super) fn doom(&self, rank: u32) {
        self.doomed.fetch_or(mask(rank), SeqCst);
        if !ptr::eq(self, CpuBlock::current().attachment().cast()) {
            interrupts::wake(self.number);
        }
    }

    /// Has this CPU, which runs this, stop that fiber when it has left the section in which it is spared.
    pub(super) fn doom_again(&self, fiber: &Fiber) {
        self.doomed.fetch_or(mask(fiber.id.rank.into()), SeqCst);
        self.look_again();
    }

    /// Has the timer interrupt this CPU, which runs this with interrupts masked, when a section is over.
    #[cold]
    pub(super) fn look_again(&self) {
        let soon = timer::ticks() + SPARED_TICKS;
        if soon < self.armed.get() {
            self.arm(soon);
        }
    }

    /// Whether there are fibers to be stopped.
    #[inline]
    pub(super) fn has_doomed(&self) -> bool {
        self.doomed.load(Relaxed) != 0
    }

    /// The fibers to be stopped, each once.
    pub(super) fn take_doomed(&self) -> impl Iterator<Item = &'static Fiber> {
        let mut doomed = self.doomed.swap(0, SeqCst);
        core::iter::from_fn(move || {
            (doomed != 0).then(|| {
                let rank = doomed.trailing_zeros();
                doomed &= doomed - 1;
                self.fiber(rank)
            })
        })
        .flatten()
    }

    /// Waits until the running fiber is woken, or till `deadline` ticks. Interrupts are unmasked after it.
    #[inline(always)]
    pub(super) fn park(&self, deadline: u64) {
        let fiber = self.current().expect("only fibers park");
        debug_assert!(preemption::depth() == 0, "parked inside a critical section");
        self.check_stack(fiber);
        cpu::mask_interrupts();
        fiber.beats.add(1);
        let rank = u32::from(fiber.id.rank);
        if deadline != NEVER {
            fiber.deadline.set(deadline);
            self.timed.set(self.timed.get() | mask(rank));
            self.nearest.set(self.nearest.get().min(deadline));
        }
        loop {
            match self.pick() {
                None => self.sleep_on(fiber),
                Some(next) if next == rank => {
                    self.ready.take(mask(rank));
                    break;
                }
                Some(next) => {
                    self.switch_to(&fiber.context, next);
                    break;
                }
            }
        }
        if deadline != NEVER {
            self.timed.set(self.timed.get() & !mask(rank));
        }
        cpu::unmask_interrupts();
    }

    /// Lets those that rank above the running fiber run first, if any are ready. Interrupts are unmasked before
    /// and after it.
    pub(super) fn give_way(&self) {
        let Some(fiber) = self.current() else {
            return;
        };
        self.check_stack(fiber);
        cpu::mask_interrupts();
        if let Some(cause) = fiber.doom() {
            self.die(cause, |_| {});
        }
        self.let_higher_run(fiber);
        cpu::unmask_interrupts();
    }

    /// As [`Cpu::give_way`], with interrupts masked.
    pub(super) fn let_higher_run(&self, fiber: &'static Fiber) {
        let rank = u32::from(fiber.id.rank);
        if self.higher_than(rank) {
            self.preempted.set(self.preempted.get() | mask(rank));
            // It is itself a candidate now: there is one.
            if let Some(next) = self.pick().filter(|&next| next != rank) {
                self.switch_to(&fiber.context, next);
            } else {
                self.preempted.set(self.preempted.get() & !mask(rank));
            }
        }
    }

    /// True if a fiber that can run ranks above `rank`.
    #[inline]
    pub(super) fn higher_than(&self, rank: u32) -> bool {
        self.candidates(self.ready.bits()) & (mask(rank) - 1) != 0
    }

    /// The highest rank that can run. It counts as running from now on, so that other CPUs interrupt for what
    /// ranks above it.
    #[inline]
    fn pick(&self) -> Option<u32> {
        self.ready.pick(|ready| self.candidates(ready))
    }

    /// Runs the fiber of that rank, which [`Cpu::pick`] picked; returns when `from` is run again. Interrupts are
    /// masked.
    #[inline]
    fn switch_to(&self, from: &'static Context, rank: u32) {
        let Some(next) = self.fiber(rank) else {
            unreachable!("a bit without a fiber");
        };
        let now = timer::ticks();
        let slice = now - self.slice_start.get();
        match self.current() {
            Some(fiber) => fiber.cpu_ticks.add(slice),
            None => self.own_ticks.add(slice),
        }
        self.slice_start.set(now);
        let preempted = self.preempted.get();
        if preempted & mask(rank) != 0 {
            self.preempted.set(preempted & !mask(rank));
        } else {
            self.ready.take(mask(rank));
            self.note_latency(now, next.ready_at.get());
        }
        self.switches.add(1);
        self.current.store(ptr::from_ref(next).cast_mut(), Relaxed);
        CpuBlock::current().set_fiber(Some(&next.context), next.owner);
        self.arm_for(next, now);
        // SAFETY: interrupts are masked; `from` is what runs, or the CPU's own stack, which begins anew each
        // time; a candidate is alive, on this CPU, set up or switched away from, and not what runs.
        unsafe { switch(from, &next.context) };
    }

    /// Counts how long a fiber that runs now, or is about to, was ready before.
    #[inline]
    fn note_latency(&self, now: u64, ready_at: u64) {
        let ticks = now.saturating_sub(ready_at);
        // Where code runs as fast as its machine, nearly all are.
        if ticks <= self.short_latency_max {
            self.short_latencies.add(1);
            self.short_latency_ticks.add(ticks);
        } else {
            self.common.observe_latency(ticks);
        }
    }

    /// Sets the timer for the nearest deadline and the watchdog's next look at `fiber`, unless it comes before.
    #[inline]
    pub(super) fn arm_for(&self, fiber: &Fiber, now: u64) {
        let look = match fiber.hang_ticks {
            NEVER => NEVER,
            limit => now + limit / 2,
        };
        let nearest = self.nearest.get();
        if nearest.min(look) < self.armed.get() {
            self.arm(nearest.min(look));
            self.armed_for_look.store(look < nearest, Relaxed);
        }
    }

    /// Sets the timer for the nearest deadline, or for `look_at` if that is before, as the CPU is to sleep. A look of the
    /// watchdog that comes before is left to come: that costs less than to set the timer at each sleep and after it.
    fn arm_for_sleep(&self, look_at: u64) {
        let nearest = self.nearest.get().min(look_at);
        let armed = self.armed.get();
        let is_look = self.armed_for_look.load(Relaxed);
        if nearest < armed || nearest > armed && !is_look {
            self.arm(nearest);
            self.armed_for_look.store(false, Relaxed);
        }
    }

    fn arm(&self, ticks: u64) {
        self.armed.set(ticks);
        if ticks == NEVER {
            timer::disarm();
        } else {
            timer::arm(ticks);
        }
    }

    /// The timer interrupted: it is off until it is armed again.
    pub(super) fn timer_fired(&self) {
        timer::disarm();
        self.armed.set(NEVER);
        self.ticked.store(true, Relaxed);
    }

    /// Sleeps on the stack of `fiber`, which is parked.
    #[cold]
    fn sleep_on(&self, fiber: &'static Fiber) {
        let now = self.sleep();
        if self.reap() {
            self.die(Cause::Stopped, |_| {});
        }
        if self.ready.bits() & mask(fiber.id.rank.into()) != 0 {
            self.note_latency(now, fiber.ready_at.get());
        }
        self.arm_for(fiber, now);
    }

    /// Sleeps till an interrupt or the nearest deadline, not at all if that has passed; answers the ticks when it
    /// woke. Interrupts are masked, and served.
    #[inline]
    fn sleep(&self) -> u64 {
        let now = timer::ticks();
        self.expire(now);
        let look_at = self.common.obey();
        self.arm_for_sleep(look_at);
        let may_sleep = self.ready.may_sleep(|ready| self.candidates(ready));
        // Whoever sets this interrupts, whatever the CPU says.
        let woken = if may_sleep && self.doomed.load(SeqCst) == 0 {
            self.wait_and_serve(now)
        } else {
            now
        };
        self.ready.look_out();
        if self.ticked.load(Relaxed) {
            self.ticked.store(false, Relaxed);
            self.expire(woken);
        }
        woken
    }

    /// Sleeps from `now` till an interrupt, and serves it; answers when that was done.
    #[inline]
    fn wait_and_serve(&self, now: u64) -> u64 {
        self.slept_at.set(now);
        cpu::wait_for_interrupt();
        let woken = timer::ticks();
        self.slept_at.set(0);
        self.idle_ticks
            .publish(self.idle_ticks.get() + (woken - now));
        interrupts::serve();
        let served = timer::ticks();
        self.irq_ticks.add(served - woken);
        self.slice_start.add(served - now);
        served
    }

    /// Makes the fibers ready whose deadlines have passed, and finds the nearest of the others.
    #[inline]
    pub(super) fn expire(&self, now: u64) {
        let mut left = self.timed.get();
        let mut nearest = NEVER;
        while left != 0 {
            let rank = left.trailing_zeros();
            left &= left - 1;
            let Some(fiber) = self.fiber(rank) else {
                continue;
            };
            let deadline = fiber.deadline.get();
            if deadline <= now {
                self.timed.set(self.timed.get() & !mask(rank));
                if self.ready.bits() & mask(rank) == 0 {
                    fiber.ready_at.set(deadline);
                }
                self.ready.mark(mask(rank));
            } else {
                nearest = nearest.min(deadline);
            }
        }
        self.nearest.set(nearest);
    }

    /// The CPU's own loop, on its own stack, when no fiber runs. Interrupts are masked.
    pub(super) extern "C" fn base() -> ! {
        let cpu = Self::this().expect("the CPU was attached to the scheduler");
        loop {
            match cpu.pick() {
                Some(rank) => cpu.switch_to(&cpu.base, rank),
                None => {
                    let now = timer::ticks();
                    cpu.own_ticks.add(now - cpu.slice_start.get());
                    cpu.slice_start.set(now);
                    cpu.sleep();
                }
            }
            cpu.reap();
        }
    }

    /// What a fiber calls first.
    pub(super) extern "C" fn begin() -> ! {
        let cpu = Self::this().expect("fibers run under the scheduler");
        let fiber = cpu.current().expect("it runs");
        fiber.call_entry();
        cpu::mask_interrupts();
        cpu.die(Cause::Returned, |_| {})
    }

    /// Ticks asleep up to `now`, a sleep that lasts counted. Asked by any CPU: a sleep that ends meanwhile may be
    /// missing, and is never counted twice.
    pub(super) fn asleep_ticks(&self, now: u64) -> u64 {
        loop {
            let since = self.slept_at.get();
            // With the sleep that ended last counted, its start is seen to be gone.
            let ended = self.idle_ticks.published();
            if self.slept_at.get() == since {
                return ended
                    + if since == 0 {
                        0
                    } else {
                        now.saturating_sub(since)
                    };
            }
        }
    }

    /// Every fiber of this CPU.
    pub(super) fn all(&self) -> impl Iterator<Item = &'static Fiber> {
        (0..FIBERS_MAX as u32).filter_map(|rank| self.fiber(rank))
    }
}
