//! The secondary CPUs: room for their stacks, found before memory is mapped, and their start.
//!
//! Each gets a stack for ordinary code and one for exceptions, with an unmapped page below each, at the end
//! of the first bank of RAM that has the room. Started CPUs go to the scheduler. One that cannot be started is
//! logged and left off; nothing depends on it yet. With one CPU nothing of this takes anything.
#![allow(unsafe_code, reason = "stacks become those of CPUs here, once")]

use super::ground::Ground;
use crate::arch::aarch64::cpu;
use crate::arch::aarch64::cpu_block::{CpuBlock, GUARD_BYTES, Stack};
use crate::arch::aarch64::secondary::start;
use crate::error::{Grow, Result, try_box};
use crate::memory::frames::PAGE_SIZE;
use crate::platform::memory_map::{Ranges, last_room};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

/// Bytes of each of a CPU's two stacks: no fiber runs on them; the report of a crash takes 8 KiB.
const STACK_BYTES: usize = 16 << 10;
/// Bytes of a CPU's slot: two stacks with their guards.
const SLOT_BYTES: usize = 2 * (GUARD_BYTES + STACK_BYTES);

const _: () = assert!(
    SLOT_BYTES.is_multiple_of(PAGE_SIZE),
    "slots are whole pages"
);

/// Where the secondary CPUs' stacks are.
#[derive(Clone, Debug)]
pub struct StackSlots {
    range: Range<usize>,
}

impl StackSlots {
    /// Takes room for `cpus` CPUs from RAM outside `taken`; none if there is none, or no CPU.
    pub(super) fn place(cpus: usize, ram: &Ranges, taken: &Ranges) -> Option<Self> {
        (cpus > 0)
            .then(|| last_room(cpus * SLOT_BYTES, ram, taken))
            .flatten()
            .map(|range| Self { range })
    }

    /// All of it, guards included.
    pub(super) fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// The stacks of each CPU: for ordinary code and for exceptions.
    pub fn stacks(&self) -> impl Iterator<Item = [Range<usize>; 2]> {
        self.range.clone().step_by(SLOT_BYTES).map(|slot| {
            let first = slot + GUARD_BYTES;
            let second = first + STACK_BYTES + GUARD_BYTES;
            [first..first + STACK_BYTES, second..second + STACK_BYTES]
        })
    }
}

/// Starts every CPU of the machine but this one: `prepare` is shown its block, then it goes to `main`. Answers
/// the blocks of all CPUs, this one's first; those that could not be started are never ready.
///
/// # Errors
/// `OutOfMemory` if there is no room for a block.
///
/// # Safety
/// Called once.
pub unsafe fn start_all(
    ground: &Ground,
    prepare: impl Fn(&'static CpuBlock),
    main: fn() -> !,
) -> Result<Vec<&'static CpuBlock>> {
    let mut blocks = Vec::new();
    blocks.try_reserve_exact(ground.machine.cpus.len().max(1))?;
    blocks.push_reserved(CpuBlock::current());
    let this = cpu::affinity();
    let others = ground.machine.cpus.iter().filter(|&&other| other != this);
    let stacks = ground.slots.iter().flat_map(StackSlots::stacks);
    for (&affinity, [stack, fault_stack]) in others.zip(stacks) {
        let block: &'static CpuBlock = Box::leak(try_box(CpuBlock::new(
            blocks.len(),
            affinity,
            [Stack::new(stack), Stack::new(fault_stack)],
            ground.translation_root,
            main,
        ))?);
        prepare(block);
        // SAFETY: the CPU is off: this is called once and the loader starts one CPU; its stacks were mapped
        // and set aside by `bring_up`, a pair for each CPU; the root is that of the tables in use.
        let started = ground
            .conduit
            .map(|conduit| unsafe { start(block, conduit) });
        match started {
            Some(Ok(())) => {}
            Some(Err(error)) => log::warn!("CPU {affinity:#x} does not start: {error}"),
            None => log::warn!("CPU {affinity:#x} is left off: no PSCI in the device tree"),
        }
        blocks.push_reserved(block);
    }
    Ok(blocks)
}
