//! The CPU this runs on, as the memory manager asks for it.

use crate::arch::aarch64::cpu;
use crate::memory::{InterruptState, LocalCpu};

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
        InterruptState(usize::from(cpu::mask_interrupts()))
    }

    #[inline]
    fn restore_interrupts(&self, before: InterruptState) {
        if before.0 != 0 {
            cpu::unmask_interrupts();
        }
    }
}
