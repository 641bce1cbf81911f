//! The CPU this runs on, as the memory manager asks for it.
//!
//! Sections are not masked: handlers neither allocate nor lock, so it is enough that no other fiber runs.

use crate::arch::aarch64::cpu_block::CpuBlock;
use crate::arch::aarch64::{cpu, preemption, timer};
use crate::memory::accounts::Owner;
use crate::memory::{LocalCpu, PreemptionState};
use crate::platform::interrupts;
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
        PreemptionState(preemption::enter())
    }

    #[inline]
    fn restore_preemption(&self, PreemptionState(before): PreemptionState) {
        preemption::leave_to(before);
    }

    #[inline]
    fn ticks(&self) -> u64 {
        timer::ticks_about_now()
    }

    fn ask(&self, cpu: usize, _: &dyn Fn()) {
        // It looks what is asked when it is interrupted, or before it sleeps again.
        interrupts::wake(cpu);
    }

    #[cfg(feature = "alloc-trace")]
    fn retired(&self) -> u32 {
        crate::arch::aarch64::retired::retired()
    }

    fn nanos(&self, ticks: u64) -> u64 {
        ticks.saturating_mul(NANOS_PER_SEC) / timer::frequency().max(1)
    }
}
