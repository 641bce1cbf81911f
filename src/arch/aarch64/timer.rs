//! The generic timer: the virtual counter as clock, the virtual timer as the one deadline.
//!
//! Source: Arm ARM D11. Reading the counter needs an ISB, else it may be read early.

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{
    CNTFRQ_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTVCT_EL0, Readable, Writeable,
};

/// Ticks of the counter in a second.
pub fn frequency() -> u64 {
    CNTFRQ_EL0.get()
}

/// Ticks since reset.
#[inline]
pub fn ticks() -> u64 {
    barrier::isb(barrier::SY);
    CNTVCT_EL0.get()
}

/// Ticks since reset, give or take the instructions around the call: no ISB, so it costs one instruction.
#[inline]
pub fn ticks_about_now() -> u64 {
    CNTVCT_EL0.get()
}

/// Raises the timer interrupt once the counter reaches `deadline_ticks`; at once if it has.
pub fn arm(deadline_ticks: u64) {
    CNTV_CVAL_EL0.set(deadline_ticks);
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::SET + CNTV_CTL_EL0::IMASK::CLEAR);
    barrier::isb(barrier::SY);
}

/// Takes the deadline back; a pending timer interrupt goes away.
pub fn disarm() {
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::CLEAR);
    barrier::isb(barrier::SY);
}
