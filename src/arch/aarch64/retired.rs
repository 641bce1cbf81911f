//! Instructions that this CPU has retired, by its performance monitor: exact under QEMU's `-icount`. For traces alone.
//!
//! Source: Arm Architecture Reference Manual, D13 "The Performance Monitors Extension".

use core::arch::asm;

/// The event INST_RETIRED, on counter 0.
const EVENT: u64 = 8;

/// Instructions that this CPU has retired since it was first asked, modulo 2^32.
pub fn retired() -> u32 {
    let enabled: u64;
    // SAFETY: only reads a register.
    unsafe { asm!("mrs {}, pmcntenset_el0", out(reg) enabled, options(nomem, nostack)) };
    if enabled & 1 == 0 {
        // SAFETY: sets up a counter that nothing else in the image uses, and lets it count.
        unsafe {
            asm!(
                "msr pmevtyper0_el0, {event}",
                "msr pmcntenset_el0, {one}",
                "mrs {control}, pmcr_el0",
                "orr {control}, {control}, #1",
                "msr pmcr_el0, {control}",
                "isb",
                event = in(reg) EVENT,
                one = in(reg) 1u64,
                control = out(reg) _,
                options(nomem, nostack),
            );
        }
    }
    let count: u64;
    // SAFETY: only reads a register.
    unsafe { asm!("mrs {}, pmevcntr0_el0", out(reg) count, options(nomem, nostack)) };
    count as u32
}
