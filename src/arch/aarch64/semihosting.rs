//! Semihosting: how a test binary ends QEMU with a true exit status. Never used by the image.
//!
//! Source: Arm "Semihosting for AArch32 and AArch64", SYS_EXIT_EXTENDED.

use core::arch::asm;

const SYS_EXIT_EXTENDED: u64 = 0x20;
const ADP_STOPPED_APPLICATION_EXIT: u64 = 0x20026;

/// Ends the emulator with `code` (its low 8 bits). Without semihosting on, this is an undefined
/// instruction and so a reported fault.
pub fn exit(code: u8) -> ! {
    let block = [ADP_STOPPED_APPLICATION_EXIT, u64::from(code)];
    // SAFETY: SYS_EXIT_EXTENDED reads the two words that x1 points at and does not return.
    unsafe {
        asm!("hlt #0xf000", in("x0") SYS_EXIT_EXTENDED, in("x1") block.as_ptr(), options(nostack));
    }
    super::cpu::halt()
}
