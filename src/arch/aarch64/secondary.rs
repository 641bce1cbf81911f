//! Secondary CPUs: from PSCI's hand-over to Rust, with MMU on and stacks of their own.
//!
//! A started CPU is entered as the boot CPU was: MMU off, at EL2 or EL1. It takes the translation tables
//! that the boot CPU runs on, and then everything is shared and coherent. Before that it reads one thing,
//! its block, past the caches: so the block is cleaned to memory first. Then it goes to the block's `main`,
//! with interrupts masked. The entry code has a section of its own: an image that starts no CPU is linked without it.

use super::cpu;
use super::cpu_block::{CpuBlock, FAULT_STACK_TOP, ROOT, STACK_TOP};
use super::psci::Conduit;
use super::{cache, entry};
use crate::error::Result;
use core::arch::global_asm;

unsafe extern "C" {
    fn secondary_entry();
}

/// Starts the CPU that `block` is for; it is ready a little later.
///
/// # Errors
/// `Firmware` with PSCI's code.
///
/// # Safety
/// The block must be of a CPU that is off, with its own number; its stacks must be mapped and used by
/// nothing else, its root the tables in use.
pub unsafe fn start(block: &'static CpuBlock, conduit: Conduit) -> Result<()> {
    cache::clean(block);
    let entry = secondary_entry as *const () as u64;
    let context = (&raw const *block).addr() as u64;
    // SAFETY: `secondary_entry` takes a CPU from reset to `begin` with what our caller promises of the block.
    unsafe { conduit.cpu_on(block.affinity(), entry, context) }
}

extern "C" fn begin(block: &'static CpuBlock) -> ! {
    cpu::unmask_system_errors();
    block.set_ready();
    block.main()()
}

global_asm!(
    r#"
    .pushsection .text.secondary, "ax"
    .global secondary_entry
secondary_entry:
    msr     daifset, #0xf
    mov     x19, x0                     // the block
    bl      drop_to_el1
    mov     x0, #(3 << 20)              // no FP trap
    msr     cpacr_el1, x0
    isb
    ldr     x0, [x19, #{root}]
    ldr     x1, ={system_control}
    bl      enable_mmu
    ldr     x0, [x19, #{fault_stack_top}]
    msr     spsel, #1
    mov     sp, x0
    ldr     x0, [x19, #{stack_top}]
    msr     spsel, #0
    mov     sp, x0
    adrp    x0, vectors
    add     x0, x0, :lo12:vectors
    msr     vbar_el1, x0
    msr     tpidr_el1, x19
    isb
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x19
    bl      {begin}
    b       .
    .ltorg
    .popsection
"#,
    root = const ROOT,
    fault_stack_top = const FAULT_STACK_TOP,
    stack_top = const STACK_TOP,
    system_control = const entry::SYSTEM_CONTROL | entry::WRITABLE_NEVER_EXECUTED,
    begin = sym begin,
);
