//! How fibers die, and what is left of them: every way ends in [`Cpu::bury`].
//!
//! An exception on a fiber's stack, a panic, the watchdog, a stop: the fiber's obituary is written, it is taken
//! from its CPU, the supervisor's fiber is woken, and the CPU goes on with the next fiber from its own stack.
//! What is no fiber's fault stays a crash of the image: outside any fiber, in the supervisor or without one, with
//! interrupts masked (that is the scheduler), or in a handler.

use super::cpu::Cpu;
use super::fiber::{Fiber, LOCKS_MAX, State};
use super::lock::{Held, Verdict};
use super::{FiberId, SCHEDULER_STACK_BYTES};
use crate::arch::aarch64::backtrace::{Backtrace, DEPTH_MAX};
use crate::arch::aarch64::cpu_block::CpuBlock;
use crate::arch::aarch64::exceptions::{Frame, Vector};
use crate::arch::aarch64::{cpu, fiber, preemption, timer};
use crate::kernel::cut::Cut;
use crate::platform::console;
use crate::platform::time::Instant;
use core::fmt::Write;
use core::panic::PanicInfo;
use heapless::{String, Vec};

/// Exception classes of ESR_EL1.
const INSTRUCTION_ABORT: u64 = 0x21;
const DATA_ABORT: u64 = 0x25;

/// Why a fiber died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It panicked; the message says why.
    Panic,
    /// An exception, as the syndrome says.
    Exception,
    /// Its stack ran into the page below it.
    StackOverflow,
    /// It did not come back to its executor in time.
    Hang,
    /// It was told to stop.
    Stopped,
    /// Its entry returned.
    Returned,
}

/// General registers at a death.
#[derive(Clone, Debug)]
pub struct Registers {
    /// x0 to x30.
    pub x: [u64; 31],
    /// The stack pointer.
    pub sp: u64,
    /// Where it was.
    pub pc: u64,
    /// Its processor state.
    pub spsr: u64,
}

/// What is known of a death.
#[derive(Clone, Debug)]
pub struct Obituary {
    /// Who died.
    pub fiber: FiberId,
    /// Which time it had been started.
    pub incarnation: u32,
    /// Why.
    pub cause: Cause,
    /// When.
    pub at: Instant,
    /// Its registers, where an exception or the watchdog's interrupt saved them.
    pub registers: Option<Registers>,
    /// The exception syndrome, for an exception.
    pub esr: u64,
    /// The faulting address, for an exception that has one.
    pub far: u64,
    /// Return addresses, innermost first.
    pub backtrace: Vec<usize, DEPTH_MAX>,
    /// The panic's message, cut to what fits.
    pub message: String<256>,
    /// Where it panicked.
    pub location: String<96>,
    /// Preemption guards that it held: each is a critical section that was cut.
    pub guards: u32,
    /// Locks that it held or waited for.
    pub locks: Vec<&'static dyn Held, LOCKS_MAX>,
}

impl Obituary {
    pub(super) const fn new(fiber: FiberId) -> Self {
        Self {
            fiber,
            incarnation: 0,
            cause: Cause::Stopped,
            at: Instant::ZERO,
            registers: None,
            esr: 0,
            far: 0,
            backtrace: Vec::new(),
            message: String::new(),
            location: String::new(),
            guards: 0,
            locks: Vec::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        (self.registers, self.esr, self.far) = (None, 0, 0);
        self.backtrace.clear();
        self.message.clear();
        self.location.clear();
    }

    /// Breaks the locks that the dead fiber held: each is verified, rebuilt if need be, and released. The memory
    /// manager's are not among them: [`crate::memory::reclaim()`] sees to those. A guard without a lock protects
    /// nothing that others see.
    pub fn break_locks(&self) -> Verdict {
        let verdicts = self.locks.iter().map(|lock| lock.release_of(self.fiber));
        verdicts.max().unwrap_or(Verdict::Intact)
    }

    /// True if it died of an abort: it reached for memory that is not there, or not its to use so.
    pub fn is_abort(&self) -> bool {
        matches!(self.esr >> 26 & 0x3f, DATA_ABORT | INSTRUCTION_ABORT)
    }

    /// True if it was to run what is not there or not to be run.
    pub fn is_jump(&self) -> bool {
        self.esr >> 26 & 0x3f == INSTRUCTION_ABORT
    }

    fn note_frame(&mut self, frame: &Frame) {
        self.registers = Some(Registers {
            x: frame.x,
            sp: frame.sp,
            pc: frame.elr,
            spsr: frame.spsr,
        });
        self.backtrace
            .extend(Backtrace::from_frame(frame.x[29]).take(DEPTH_MAX));
    }
}

impl Cpu {
    /// The fiber that runs here, if its death is no crash of the image.
    fn mortal(&self) -> Option<&'static Fiber> {
        self.current()
            .filter(|fiber| self.common().is_supervised(fiber.id))
    }

    /// Takes a fiber of this CPU from the living, and tells the supervisor. Interrupts are masked. If it is the
    /// one that runs, the caller leaves its stack next.
    fn bury(&self, fiber: &'static Fiber, cause: Cause, write: impl FnOnce(&mut Obituary)) {
        let is_running = self.current().is_some_and(|current| current.id == fiber.id);
        let guards = if is_running { preemption::depth() } else { 0 };
        let at = self.common().clock.at_ticks(timer::ticks());
        let fill = |obituary: &mut Obituary| {
            obituary.incarnation = fiber
                .incarnation
                .load(core::sync::atomic::Ordering::Relaxed);
            (obituary.cause, obituary.at, obituary.guards) = (cause, at, guards);
            write(obituary);
        };
        #[allow(unsafe_code, reason = "the dead one's own cells")]
        // SAFETY: this is the fiber's CPU, in the scheduler: the fiber does not run, and never will again
        // before a restart; its state still says alive.
        unsafe {
            fiber.write_obituary(fill);
        }
        self.forget(fiber);
        if is_running {
            self.take_off(fiber);
            preemption::forget();
            if guards > 0
                && let Some(memory) = self.common().memory.get()
            {
                memory.cut();
            }
            console::release_of_the_dead();
        }
        fiber.set_state(State::Dead);
        self.common().wake_supervisor();
    }

    /// Buries those that other CPUs want stopped; answers whether the one that runs is among them. Interrupts are
    /// masked.
    #[inline]
    pub(super) fn reap(&self) -> bool {
        self.has_doomed() && self.reap_doomed()
    }

    #[cold]
    fn reap_doomed(&self) -> bool {
        let mut current_too = false;
        for fiber in self.take_doomed() {
            if self.current().is_some_and(|current| current.id == fiber.id) {
                current_too = true;
            } else if fiber.state() == State::Alive && fiber.is_spared() {
                // It was preempted there.
                self.doom_again(fiber);
            } else if fiber.state() == State::Alive {
                self.bury(fiber, Cause::Stopped, |_| {});
            }
        }
        current_too
    }

    /// Kills the fiber that `frame` interrupted, at once, or when it drops its last guard if it holds one and was
    /// not told before, or when it has left the section in
    /// which it is spared. Answers whether it is dead: then the frame leads to the CPU's own loop.
    pub(super) fn kill_interrupted(&self, frame: &mut Frame, cause: Cause) -> bool {
        let Some(fiber) = self.mortal() else {
            if cause == Cause::Hang {
                panic!("{} hangs, and nobody supervises it", self.current_name());
            }
            return false;
        };
        if fiber.is_spared() {
            // One that hangs does so at the next look too; a wish to have it stopped has to be kept.
            match cause {
                Cause::Hang => self.look_again(),
                _ => self.doom_again(fiber),
            }
            return false;
        }
        if preemption::depth() > 0 && fiber.doom().is_none() && cause != Cause::StackOverflow {
            fiber.set_doom(cause);
            preemption::request_switch();
            return false;
        }
        self.bury(fiber, cause, |obituary| obituary.note_frame(frame));
        self.abandon(frame);
        true
    }

    fn abandon(&self, frame: &mut Frame) {
        let [own_stack, _] = CpuBlock::current().stacks();
        frame.abandon_for(own_stack, Cpu::base);
    }

    /// Ends the running fiber from its own stack. Interrupts are masked.
    pub(super) fn die(&self, cause: Cause, write: impl FnOnce(&mut Obituary)) -> ! {
        let Some(fiber) = self.mortal() else {
            panic!(
                "{} dies ({cause:?}), and nobody supervises it",
                self.current_name()
            );
        };
        self.bury(fiber, cause, |obituary| {
            obituary.backtrace.extend(Backtrace::here().take(DEPTH_MAX));
            write(obituary);
        });
        let [own_stack, _] = CpuBlock::current().stacks();
        #[allow(unsafe_code, reason = "leaves the dead one's stack")]
        // SAFETY: interrupts are masked; the fiber is dead, so nothing on this stack is used again, and
        // nothing lives on the CPU's own stack while a fiber runs.
        unsafe {
            fiber::run_on(own_stack, Cpu::base)
        }
    }

    /// Ends the running fiber if its stack has no room for what the scheduler does on it.
    #[inline]
    pub(super) fn check_stack(&self, fiber: &'static Fiber) {
        if fiber.context.stack().left() < SCHEDULER_STACK_BYTES {
            cpu::mask_interrupts();
            self.die(Cause::StackOverflow, |_| {});
        }
    }
}

/// Buries the running fiber after an exception: then the frame leads on. False if the image is to die of it.
pub(in crate::kernel) fn bury_after_exception(
    frame: &mut Frame,
    vector: Vector,
    esr: u64,
    far: u64,
) -> bool {
    // A system error is imprecise: who runs when it is taken need not be who caused it (Arm ARM, D1.3).
    if vector != Vector::Synchronous || frame.had_interrupts_masked() {
        return false;
    }
    let Some(cpu) = Cpu::this() else {
        return false;
    };
    let Some(fiber) = cpu.mortal() else {
        return false;
    };
    // Only an abort says where; after another exception the register holds what the abort before it left.
    let is_abort = matches!(esr >> 26 & 0x3f, DATA_ABORT | INSTRUCTION_ABORT);
    let is_overflow = is_abort && fiber.context.stack().guard().contains(&(far as usize));
    let cause = if is_overflow {
        Cause::StackOverflow
    } else {
        Cause::Exception
    };
    cpu.bury(fiber, cause, |obituary| {
        obituary.note_frame(frame);
        (obituary.esr, obituary.far) = (esr, if is_abort { far } else { 0 });
    });
    cpu.abandon(frame);
    true
}

/// Ends the running fiber after a panic. Returns if the image is to die of it.
pub(in crate::kernel) fn die_after_panic(info: &PanicInfo<'_>) {
    if cpu::are_interrupts_masked() {
        // In the scheduler, or in a handler.
        return;
    }
    let Some(scheduler) = Cpu::this() else {
        return;
    };
    if scheduler.mortal().is_none() {
        return;
    }
    cpu::mask_interrupts();
    scheduler.die(Cause::Panic, |obituary| {
        // Text that does not fit is cut.
        let _ = write!(Cut(&mut obituary.message), "{}", info.message());
        if let Some(location) = info.location() {
            let _ = write!(Cut(&mut obituary.location), "{location}");
        }
    })
}
