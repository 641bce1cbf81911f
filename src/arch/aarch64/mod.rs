//! aarch64: entry, exception vectors, stack switch, translation tables, generic timer, PSCI, semihosting.
//!
//! Each register or barrier that another floor needs is behind a function with a name; no assembly and
//! no `cfg(target_arch)` stands anywhere else. Runs at EL1 on an identity map; ordinary code uses SP_EL0,
//! exceptions switch to SP_EL1, so an overflown stack can still be reported.
#![allow(
    unsafe_code,
    reason = "registers, page tables and exception entry are the hardware's own"
)]

pub mod backtrace;
pub mod cache;
pub mod cpu;
pub mod cpu_block;
pub mod crc;
mod entry;
pub mod exceptions;
pub mod fiber;
mod memory_functions;
pub mod mmu;
pub mod preemption;
pub mod psci;
#[cfg(feature = "alloc-trace")]
pub mod retired;
pub mod secondary;
pub mod semihosting;
pub mod timer;

pub use entry::{BootInfo, EMERGENCY_CONSOLE, ImageLayout};
