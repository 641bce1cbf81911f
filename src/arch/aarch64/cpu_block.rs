//! What each CPU knows of itself: its number and its stacks, found by TPIDR_EL1.
//!
//! The boot CPU's block is a static that the entry code names; the others' are made by whoever starts them
//! ([`super::secondary`]). A block is never freed. The exception vectors and the entry of secondary CPUs
//! read it by fixed offsets.

use super::timer;
use core::arch::asm;
use core::mem::offset_of;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

/// Bytes of the unmapped page below each stack.
pub const GUARD_BYTES: usize = 4096;

unsafe extern "C" {
    static __stack_bottom: u8;
    static __stack_top: u8;
    static __fault_stack_bottom: u8;
    static __fault_stack_top: u8;
}

/// A stack, from its lowest byte to one past its highest; the page below it is not mapped.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Stack {
    bottom: *const u8,
    top: *const u8,
}

/// One CPU's block.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct CpuBlock {
    stack: Stack,
    fault_stack: Stack,
    /// TTBR0_EL1: only a secondary CPU's entry code reads it.
    root: u64,
    number: usize,
    affinity: u64,
    /// Ticks when it was ready; 0 before.
    ready_at: AtomicU64,
}

/// Offsets that assembly uses.
pub(super) const STACK_TOP: usize = offset_of!(CpuBlock, stack) + offset_of!(Stack, top);
pub(super) const FAULT_STACK_BOTTOM: usize =
    offset_of!(CpuBlock, fault_stack) + offset_of!(Stack, bottom);
pub(super) const FAULT_STACK_TOP: usize =
    offset_of!(CpuBlock, fault_stack) + offset_of!(Stack, top);
pub(super) const ROOT: usize = offset_of!(CpuBlock, root);

// SAFETY: the pointers are addresses to compare with; nothing is reached through them.
unsafe impl Sync for CpuBlock {}
// SAFETY: as above.
unsafe impl Send for CpuBlock {}

/// The boot CPU's: it is ready as soon as anybody can ask.
pub(super) static BOOT_CPU: CpuBlock = CpuBlock {
    stack: Stack {
        bottom: &raw const __stack_bottom,
        top: &raw const __stack_top,
    },
    fault_stack: Stack {
        bottom: &raw const __fault_stack_bottom,
        top: &raw const __fault_stack_top,
    },
    root: 0,
    number: 0,
    affinity: 0,
    ready_at: AtomicU64::new(1),
};

impl Stack {
    /// The stack in `range`.
    pub fn new(range: Range<usize>) -> Self {
        Self {
            bottom: ptr::without_provenance(range.start),
            top: ptr::without_provenance(range.end),
        }
    }

    /// Its bytes.
    pub fn range(&self) -> Range<usize> {
        self.bottom.addr()..self.top.addr()
    }

    /// The unmapped page below it.
    pub fn guard(&self) -> Range<usize> {
        self.bottom.addr() - GUARD_BYTES..self.bottom.addr()
    }
}

impl CpuBlock {
    /// The block of a CPU that is to be started: its number from 1 on, its affinity, its stacks.
    pub fn new(number: usize, affinity: u64, stack: Stack, fault_stack: Stack, root: u64) -> Self {
        Self {
            stack,
            fault_stack,
            root,
            number,
            affinity,
            ready_at: AtomicU64::new(0),
        }
    }

    /// That of the CPU this runs on.
    #[inline]
    pub fn current() -> &'static Self {
        let block: *const Self;
        // SAFETY: only reads a register.
        unsafe {
            asm!("mrs {}, tpidr_el1", out(reg) block, options(nomem, nostack, preserves_flags))
        };
        // SAFETY: the entry code of each CPU puts the address of its block there before any Rust runs, and
        // blocks are never freed.
        unsafe { &*block }
    }

    /// The CPU's number: 0 for the boot CPU.
    #[inline]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Its affinity; not known of the boot CPU.
    pub fn affinity(&self) -> u64 {
        self.affinity
    }

    /// The stack of ordinary code and that of exceptions.
    pub fn stacks(&self) -> [Stack; 2] {
        [self.stack, self.fault_stack]
    }

    /// True if `address` lies in the unmapped page below one of its stacks.
    pub fn is_guard(&self, address: usize) -> bool {
        self.stacks()
            .iter()
            .any(|stack| stack.guard().contains(&address))
    }

    /// Ticks of the counter when the CPU was ready for work; none if it never was.
    pub fn ready_at(&self) -> Option<u64> {
        // Acquire: pairs with the Release in `set_ready`.
        Some(self.ready_at.load(Ordering::Acquire)).filter(|&ticks| ticks != 0)
    }

    /// Notes that the CPU is ready for work.
    pub(super) fn set_ready(&self) {
        // Release: pairs with the Acquire in `ready_at`.
        self.ready_at
            .store(timer::ticks().max(1), Ordering::Release);
    }
}
