//! The CPU itself: identity, interrupt masking, sleeping, barriers, checks at entry.

use super::cpu_block::CpuBlock;
use aarch64_cpu::asm;
use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{DAIF, MPIDR_EL1, Readable, Writeable};

/// The affinity of the CPU this runs on, as device trees and PSCI name it.
pub fn affinity() -> u64 {
    MPIDR_EL1.get() & 0xff_00ff_ffff
}

/// Stops here for good, sleeping.
pub fn halt() -> ! {
    mask_interrupts();
    loop {
        asm::wfi();
    }
}

/// True if interrupts are masked on this CPU.
#[inline]
pub fn are_interrupts_masked() -> bool {
    DAIF.is_set(DAIF::I)
}

/// Masks interrupts on this CPU; answers whether they were unmasked before.
#[inline]
pub fn mask_interrupts() -> bool {
    let were_unmasked = !are_interrupts_masked();
    // SAFETY: masking interrupts changes no memory; the compiler must not move accesses over it, and
    // the asm is a barrier to it by its implicit memory clobber.
    unsafe { core::arch::asm!("msr daifset, #2", options(nostack)) };
    were_unmasked
}

/// Unmasks interrupts on this CPU.
#[inline]
pub fn unmask_interrupts() {
    // SAFETY: as in `mask_interrupts`; the handlers installed expect to run at any time.
    unsafe { core::arch::asm!("msr daifclr, #2", options(nostack)) };
}

/// Runs `section` with interrupts masked on this CPU.
pub fn without_interrupts<R>(section: impl FnOnce() -> R) -> R {
    let were_unmasked = mask_interrupts();
    let result = section();
    if were_unmasked {
        unmask_interrupts();
    }
    result
}

/// Sleeps until an interrupt is pending, masked or not.
pub fn wait_for_interrupt() {
    // What was written before is visible to devices before the CPU sleeps on their answer.
    barrier::dsb(barrier::SY);
    asm::wfi();
}

/// Lets another CPU go first, in a loop that waits for it.
#[inline]
pub fn give_way() {
    // SAFETY: a hint; it changes nothing.
    unsafe { core::arch::asm!("yield", options(nomem, nostack, preserves_flags)) };
}

/// Completes all stores so far, for other CPUs to see, before anything that follows.
pub fn complete_stores() {
    barrier::dsb(barrier::ISHST);
}

/// Unmasks SError, so that a bus error is reported where it happens.
pub fn unmask_system_errors() {
    DAIF.write(DAIF::D::Masked + DAIF::A::Unmasked + DAIF::I::Masked + DAIF::F::Masked);
}

/// The number of the CPU this runs on: 0 for the boot CPU.
#[inline]
pub fn current() -> usize {
    CpuBlock::current().number()
}
