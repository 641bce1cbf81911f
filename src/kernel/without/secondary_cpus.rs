//! In place of the secondary CPUs, where the image is built without them: the CPU that boots is the only one.
#![allow(unsafe_code, reason = "the interface is that of `secondary_cpus`")]

use crate::arch::aarch64::cpu_block::CpuBlock;
use crate::error::{Result, try_collect};
use crate::kernel::ground::Ground;
use crate::platform::memory_map::Ranges;
use alloc::vec::Vec;
use core::iter;
use core::ops::Range;

/// Stacks of secondary CPUs: there never are any.
#[derive(Clone, Debug)]
pub enum StackSlots {}

impl StackSlots {
    /// Takes no room.
    pub(in crate::kernel) fn place(_: usize, _: &Ranges, _: &Ranges) -> Option<Self> {
        None
    }

    /// All of it.
    pub(in crate::kernel) fn range(&self) -> Range<usize> {
        match *self {}
    }

    /// The stacks of each CPU.
    pub fn stacks(&self) -> impl Iterator<Item = [Range<usize>; 2]> {
        iter::empty()
    }
}

/// Answers the block of this CPU, and starts none.
///
/// # Errors
/// `OutOfMemory` if there is no room for the list.
///
/// # Safety
/// There is nothing to promise.
pub unsafe fn start_all(
    _: &Ground,
    _: impl Fn(&'static CpuBlock),
    _: fn() -> !,
) -> Result<Vec<&'static CpuBlock>> {
    try_collect([CpuBlock::current()])
}
