//! Walks frame records: what called what, from x29 upwards.
//!
//! The image is built with frame pointers. A record is (caller's x29, return address) at x29; the chain
//! ends at 0. Every record is checked to lie on a known stack and above the one before it, so a
//! corrupted chain ends the walk and does not fault.
//!
//! Source: AAPCS64, 6.4.6 "The Frame Pointer".

use super::ImageLayout;
use super::cpu_block::CpuBlock;
use core::arch::asm;

/// Return addresses shown at most.
pub const DEPTH_MAX: usize = 32;

/// The return addresses above a frame, innermost first.
pub struct Backtrace {
    record: usize,
    layout: ImageLayout,
}

impl Backtrace {
    /// From the frame record at `frame_pointer` upwards.
    pub fn from_frame(frame_pointer: u64) -> Self {
        Self {
            record: frame_pointer as usize,
            layout: ImageLayout::current(),
        }
    }

    /// From the caller upwards.
    #[inline(always)]
    pub fn here() -> Self {
        let frame_pointer: u64;
        // SAFETY: only reads a register.
        unsafe { asm!("mov {}, x29", out(reg) frame_pointer, options(nomem, nostack)) };
        Self::from_frame(frame_pointer)
    }
}

impl Iterator for Backtrace {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let record = self.record;
        let on_a_stack = CpuBlock::current()
            .stacks_in_use()
            .any(|stack| stack.range().contains(&record) && record <= stack.range().end - 16);
        if !record.is_multiple_of(16) || !on_a_stack {
            return None;
        }
        // SAFETY: the record lies in a stack of this CPU, which is mapped and readable; reading torn data is
        // harmless.
        let (caller, return_address) = unsafe {
            (
                (record as *const usize).read_volatile(),
                (record as *const usize).add(1).read_volatile(),
            )
        };
        // Stacks grow down: callers' records are above, or on the other stack.
        self.record = if caller > record { caller } else { 0 };
        (self.layout.start..self.layout.text_end)
            .contains(&return_address)
            .then_some(return_address)
    }
}
