//! The CPU this runs on, as the memory manager asks for it.
//!
//! Sections are not masked: handlers neither allocate nor lock, so it is enough that no other fiber runs.

use crate::arch::aarch64::cpu_block::CpuBlock;
use crate::arch::aarch64::{cpu, preemption, timer};
use crate::memory::accounts::Owner;
use crate::memory::{LocalCpu, PreemptionState};
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
    #[expect(unsafe_code, reason = "every allocation asks")]
    fn owner(&self) -> Owner {
        // SAFETY: it is that of a fiber, which `Fibers::create` checked, or 0 where none runs.
        unsafe { Owner::new_unchecked(CpuBlock::current().owner()) }
    }

    #[inline]
    fn disable_preemption(&self) -> PreemptionState {
        preemption::enter();
        PreemptionState(0)
    }

    #[inline]
    fn restore_preemption(&self, _: PreemptionState) {
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
