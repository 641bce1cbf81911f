//! What the scheduler does at interrupts: serve them, expire deadlines, look for fibers that hang, preempt.

use super::cpu::Cpu;
use super::death::Cause;
use super::fiber::Fiber;
use super::{NEVER, SCHEDULER_STACK_BYTES};
use crate::arch::aarch64::exceptions::Frame;
use crate::arch::aarch64::{preemption, timer};
use crate::platform::interrupts;
use core::sync::atomic::Ordering::Relaxed;

/// Looks without a beat in between after which a fiber hangs: two, half a limit apart, and the first comes at
/// most half a limit after the last beat.
const STALE_LOOKS: u64 = 2;

/// Serves an interrupt that came while something ran. The time is nobody's but the interrupt's.
pub(super) fn on_interrupt(frame: &mut Frame) {
    let began = timer::ticks_about_now();
    interrupts::serve();
    let Some(cpu) = Cpu::this() else {
        return;
    };
    let spent = timer::ticks() - began;
    cpu.irq_ticks.add(spent);
    cpu.slice_start.add(spent);
    if let Some(fiber) = cpu.current() {
        cpu.after_interrupt(fiber, frame);
    }
}

/// Makes the switch that was pending when the last guard was dropped.
pub(super) fn pending_switch() {
    if let Some(cpu) = Cpu::this() {
        cpu.give_way();
    }
}

/// Where a preempted fiber goes first, on its own stack and with interrupts masked: it comes back when it is
/// run again.
extern "C" fn preempted() {
    let cpu = Cpu::this().expect("the scheduler preempted it");
    let fiber = cpu.current().expect("it runs");
    cpu.let_higher_run(fiber);
}

impl Cpu {
    fn after_interrupt(&self, fiber: &'static Fiber, frame: &mut Frame) {
        if self.ticked.load(Relaxed) {
            self.ticked.store(false, Relaxed);
            let now = timer::ticks();
            self.expire(now);
            if self.hangs(fiber, now) && self.kill_interrupted(frame, Cause::Hang) {
                return;
            }
            self.arm_for(fiber, now);
        }
        if self.reap() && self.kill_interrupted(frame, Cause::Stopped) {
            return;
        }
        if preemption::depth() == 0 {
            self.common().obey();
        }
        if !self.higher_than(fiber.id.rank.into()) {
            return;
        }
        if preemption::depth() > 0 {
            preemption::request_switch();
        } else if !frame.divert(fiber.context.stack(), SCHEDULER_STACK_BYTES, preempted)
            && !self.kill_interrupted(frame, Cause::StackOverflow)
        {
            // Nobody would bury it: it goes on, and is asked again when it parks or is interrupted.
            preemption::request_switch();
        }
    }

    /// Looks at `fiber`, which runs: true if it did not come back to its executor for as much CPU time as it may.
    ///
    /// Looks are counted, half a limit apart, and not the time alone: a machine that stood still for long, as
    /// virtual ones do, is seen as one look.
    fn hangs(&self, fiber: &Fiber, now: u64) -> bool {
        if fiber.hang_ticks == NEVER {
            return false;
        }
        let spent = fiber.cpu_ticks.get() + (now - self.slice_start.get());
        let beats = fiber.beats.get();
        if beats != fiber.seen_beats.get() {
            fiber.seen_beats.set(beats);
            fiber.seen_ticks.set(spent);
            fiber.stale_looks.set(0);
        } else if spent - fiber.seen_ticks.get() >= fiber.hang_ticks / 2 {
            fiber.seen_ticks.set(spent);
            fiber.stale_looks.add(1);
        }
        fiber.stale_looks.get() >= STALE_LOOKS
    }
}
