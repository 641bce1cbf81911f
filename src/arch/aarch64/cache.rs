//! Data caches: making memory right for those who look past them.
//!
//! Source: Arm ARM D7.5 (cache maintenance), CTR_EL0.

use aarch64_cpu::asm::barrier;
use core::arch::asm;

/// Writes what caches hold of `value` back to memory, where a CPU without MMU, or the one after a reset,
/// reads it.
pub fn clean<T: ?Sized>(value: &T) {
    let type_register: u64;
    // SAFETY: only reads a register.
    unsafe {
        asm!("mrs {}, ctr_el0", out(reg) type_register, options(nomem, nostack, preserves_flags))
    };
    let line_bytes = 4usize << ((type_register >> 16) & 0xf);
    let start = (&raw const *value).cast::<u8>().addr();
    for line in (start & !(line_bytes - 1)..start + size_of_val(value)).step_by(line_bytes) {
        // SAFETY: cleaning a line changes no memory that a CPU sees; the line holds part of `value`.
        unsafe { asm!("dc cvac, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // The lines are in memory before anything that follows, device or firmware call.
    barrier::dsb(barrier::SY);
}
