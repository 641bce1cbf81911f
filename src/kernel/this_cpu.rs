//! The CPU this runs on, as the memory manager asks for it.
//!
//! Sections are not masked: handlers neither allocate nor lock, so it is enough that no other fiber runs.

use crate::arch::aarch64::{cpu, preemption, timer};
use crate::memory::{InterruptState, LocalCpu};
use crate::platform::time::NANOS_PER_SEC;

/// The CPU this runs on.
#[derive(Clone, Copy, Debug)]
pub struct ThisCpu;

impl LocalCpu for ThisCpu {
    #[inline]
    fn current(&self) -> usize {
        cpu::current()
    }

    #[inline]
    fn mask_interrupts(&self) -> InterruptState {
        preemption::enter();
        InterruptState(0)
    }

    #[inline]
    fn restore_interrupts(&self, _: InterruptState) {
        preemption::leave();
    }

    #[inline]
    fn ticks(&self) -> u64 {
        timer::ticks_about_now()
    }

    fn nanos(&self, ticks: u64) -> u64 {
        ticks.saturating_mul(NANOS_PER_SEC) / timer::frequency().max(1)
    }
}
