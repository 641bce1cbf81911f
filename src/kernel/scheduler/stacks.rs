//! Stacks for fibers: placed in RAM before it is mapped, as those of the CPUs are.
//!
//! The page below each stack is never mapped at all, so no mapping in use is ever changed or broken up, and the
//! memory taken is what the composition root's table of stacks says and no more. What is taken stays the
//! fiber's for good: a restart uses it again.

use crate::arch::aarch64::cpu_block::{GUARD_BYTES, Stack};
use crate::error::{Error, Grow, Kind, Result, Subsystem};
use crate::memory::frames::PAGE_SIZE;
use crate::platform::memory_map::{Ranges, last_room};
use alloc::vec::Vec;
use core::ops::Range;
use spin::Mutex;

/// The stacks that no fiber has yet.
#[derive(Debug)]
pub struct FiberStacks {
    range: Range<usize>,
    free: Mutex<Vec<Range<usize>>>,
}

impl FiberStacks {
    /// Takes room for stacks of these sizes from RAM outside `taken`, at the end of the first bank that has it.
    /// Sizes are rounded up to whole pages.
    ///
    /// # Errors
    /// `OutOfMemory` if there is no room for the table, `TooLittleMemory` if there is none for the stacks.
    pub(in crate::kernel) fn place(
        stack_bytes: &[usize],
        ram: &Ranges,
        taken: &Ranges,
    ) -> Result<Self> {
        let size = |bytes: &usize| bytes.next_multiple_of(PAGE_SIZE);
        let total: usize = stack_bytes
            .iter()
            .map(|bytes| size(bytes) + GUARD_BYTES)
            .sum();
        let kind = Kind::TooLittleMemory {
            available_bytes: 0,
            required_bytes: total as u64,
        };
        let range = last_room(total, ram, taken).ok_or(Error::new(Subsystem::Memory, kind))?;
        let mut free = Vec::new();
        free.try_reserve_exact(stack_bytes.len())?;
        let mut at = range.start;
        for bytes in stack_bytes {
            let start = at + GUARD_BYTES;
            at = start + size(bytes);
            free.push_reserved(start..at);
        }
        Ok(Self {
            range,
            free: Mutex::new(free),
        })
    }

    /// All of it, guards included; empty if there are no stacks.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// The stacks that nobody took yet.
    pub fn free(&self) -> Vec<Range<usize>> {
        self.free.lock().clone()
    }

    /// Takes the smallest stack of at least `bytes`.
    pub(super) fn take(&self, bytes: usize) -> Option<Stack> {
        let mut free = self.free.lock();
        let fits = free.iter().enumerate();
        let fits = fits.filter(|(_, stack)| stack.len() >= bytes);
        let (place, _) = fits.min_by_key(|(_, stack)| stack.len())?;
        Some(Stack::new(free.swap_remove(place)))
    }
}
