//! The arena: slots for entries, carved from blocks of frames and named by 32-bit handles.
//!
//! A slab is a block cut into slots of one size class; classes rise by at most an eighth (in steps of 8
//! bytes below 128), so a slot wastes little. What is larger than the largest class has a block of its own.
//! A slab whose last slot is freed goes back to the frame source.
//!
//! Always true: a handle names a live slot from `allocate` to `free`. The first word of a live slot is
//! not 0 once its owner wrote it; that of a free slot is 0, and its second word links the slab's free list.
//! Slabs with a free slot are on their class's list, and no others are.
//!
//! Limits: 2^23 slabs of at least 16 KiB; one entry is at most [`MAX_BYTES`].

use super::budget::{Budget, out_of_memory};
use super::size_classes::{CLASSES, LARGEST, SMALLEST, class_of};
use crate::error::Result;
use crate::memory::frames::{Block, Order};
use alloc::vec::Vec;

/// The largest entry: the largest block.
pub(super) const MAX_BYTES: usize = Order::MAX.bytes();

const SLOT_BITS: u32 = 9;
const SLAB_COUNT_MAX: usize = 1 << (32 - SLOT_BITS);
/// The class of a slab that is one slot with a block of its own.
const OWN_BLOCK: u8 = u8::MAX;
/// The smallest slab: 16 KiB, so that the smallest slots still fit `SLOT_BITS`.
const SLAB_ORDER_MIN: u8 = 2;
/// Slots in a slab, at least: what is left over at its end is then below an eighth.
const SLOTS_MIN: usize = 8;
const NO_SLOT: u16 = u16::MAX;

const _: () = assert!((4096 << SLAB_ORDER_MIN) / SMALLEST <= 1 << SLOT_BITS);

/// Names a slot of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle(u32);

impl Handle {
    /// The handle of that number, unless it is 0: no slot has that.
    #[inline]
    pub(super) fn from_raw(raw: u32) -> Option<Self> {
        (raw != 0).then_some(Self(raw))
    }

    /// Its number, never 0.
    #[inline]
    pub(super) fn raw(self) -> u32 {
        self.0
    }

    #[inline]
    fn slab(self) -> usize {
        (self.0 >> SLOT_BITS) as usize
    }

    #[inline]
    fn slot(self) -> usize {
        (self.0 & ((1 << SLOT_BITS) - 1)) as usize
    }
}

/// A block and how it is cut.
struct Slab {
    block: Option<Block>,
    slot_bytes: u32,
    class: u8,
    slots: u16,
    used: u16,
    /// Slots from here on were never used.
    fresh: u16,
    free: u16,
    /// Neighbours on the class's list of slabs with a free slot; 0 for none.
    previous: u32,
    next: u32,
}

impl Slab {
    const VACANT: Self = Self {
        block: None,
        slot_bytes: 0,
        class: OWN_BLOCK,
        slots: 0,
        used: 0,
        fresh: 0,
        free: NO_SLOT,
        previous: 0,
        next: 0,
    };

    #[inline]
    fn bytes(&self) -> &[u8] {
        self.block
            .as_deref()
            .expect("a handle names a slab that is held")
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.block
            .as_deref_mut()
            .expect("a handle names a slab that is held")
    }

    fn is_full(&self) -> bool {
        self.used == self.slots
    }
}

/// What a class holds.
#[derive(Clone, Copy, Default)]
struct Class {
    /// The first slab with a free slot; 0 for none.
    partial: u32,
    free_slots: u32,
}

/// Slots for entries.
pub(super) struct Arena {
    /// Slab 0 is never used, so that no handle is 0.
    slabs: Vec<Slab>,
    vacant: Vec<u32>,
    classes: [Class; CLASSES],
    live_bytes: u64,
}

impl Arena {
    /// An empty arena.
    pub(super) fn new() -> Self {
        Self {
            slabs: Vec::new(),
            vacant: Vec::new(),
            classes: [Class::default(); CLASSES],
            live_bytes: 0,
        }
    }

    /// Bytes of all live slots.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// The bytes of a slot.
    #[inline]
    pub(super) fn slot(&self, handle: Handle) -> &[u8] {
        let slab = &self.slabs[handle.slab()];
        let bytes = slab.slot_bytes as usize;
        let start = handle.slot() * bytes;
        &slab.bytes()[start..start + bytes]
    }

    /// The bytes of a slot, to write.
    #[inline]
    pub(super) fn slot_mut(&mut self, handle: Handle) -> &mut [u8] {
        let slab = &mut self.slabs[handle.slab()];
        let bytes = slab.slot_bytes as usize;
        let start = handle.slot() * bytes;
        &mut slab.bytes_mut()[start..start + bytes]
    }

    /// The bytes of a slot, if the handle still names a live one: for handles kept as hints.
    pub(super) fn live_slot(&self, handle: Handle) -> Option<&[u8]> {
        let slab = self.slabs.get(handle.slab())?;
        let bytes = slab.block.as_deref()?;
        if handle.slot() >= usize::from(slab.fresh) {
            return None;
        }
        let start = handle.slot() * slab.slot_bytes as usize;
        let slot = &bytes[start..start + slab.slot_bytes as usize];
        (slot[..4] != [0; 4]).then_some(slot)
    }

    /// Copies `len` bytes at `from_at` of one slot to `to_at` of another.
    pub(super) fn copy(&mut self, from: (Handle, usize), to: (Handle, usize), len: usize) {
        let start = |slab: &Slab, (handle, at): (Handle, usize)| {
            assert!(
                at + len <= slab.slot_bytes as usize,
                "a copy stays within its slot"
            );
            handle.slot() * slab.slot_bytes as usize + at
        };
        let (source, target) = (from.0.slab(), to.0.slab());
        if source == target {
            let slab = &mut self.slabs[source];
            let (source, target) = (start(slab, from), start(slab, to));
            slab.bytes_mut().copy_within(source..source + len, target);
            return;
        }
        let [source, target] = self
            .slabs
            .get_disjoint_mut([source, target])
            .expect("two handles name two slabs");
        let (source_at, target_at) = (start(source, from), start(target, to));
        target.bytes_mut()[target_at..target_at + len]
            .copy_from_slice(&source.bytes()[source_at..source_at + len]);
    }

    /// Takes a slot for `bytes`.
    ///
    /// # Errors
    /// `OutOfMemory` if that takes a block that the budget does not give.
    #[inline]
    pub(super) fn allocate(&mut self, bytes: usize, budget: &mut Budget) -> Result<Handle> {
        if bytes > LARGEST {
            return self.allocate_own_block(bytes, budget);
        }
        let (class, slot_bytes) = class_of(bytes);
        let mut index = self.classes[usize::from(class)].partial as usize;
        if index == 0 {
            index = self.add_slab(class, slot_bytes, budget)?;
        }
        let slab = &mut self.slabs[index];
        let slot = if slab.free == NO_SLOT {
            slab.fresh += 1;
            slab.fresh - 1
        } else {
            let slot = slab.free;
            let at = usize::from(slot) * slot_bytes + 4;
            let next = slab.bytes()[at..at + 2]
                .first_chunk()
                .expect("a slice of two bytes");
            slab.free = u16::from_le_bytes(*next);
            slot
        };
        slab.used += 1;
        let is_full = slab.is_full();
        self.classes[usize::from(class)].free_slots -= 1;
        self.live_bytes += slot_bytes as u64;
        if is_full {
            self.unlink(index);
        }
        Ok(Handle((index as u32) << SLOT_BITS | u32::from(slot)))
    }

    /// Gives a slot back; its slab follows when it was the last.
    #[inline]
    pub(super) fn free(&mut self, handle: Handle, budget: &mut Budget) {
        let index = handle.slab();
        let slab = &mut self.slabs[index];
        let slot_bytes = slab.slot_bytes as usize;
        self.live_bytes -= slot_bytes as u64;
        if slab.class == OWN_BLOCK {
            self.remove_slab(index, budget);
            return;
        }
        let was_full = slab.is_full();
        let next = slab.free;
        let start = handle.slot() * slot_bytes;
        let slot = &mut slab.bytes_mut()[start..start + slot_bytes];
        slot[..4].fill(0);
        slot[4..6].copy_from_slice(&next.to_le_bytes());
        slab.free = handle.slot() as u16;
        slab.used -= 1;
        let is_empty = slab.used == 0;
        self.classes[usize::from(slab.class)].free_slots += 1;
        if was_full {
            self.link(index);
        }
        if is_empty {
            self.unlink(index);
            let slab = &self.slabs[index];
            self.classes[usize::from(slab.class)].free_slots -= u32::from(slab.slots);
            self.remove_slab(index, budget);
        }
    }

    /// A slab that could be emptied by moving its entries to free slots of other slabs of its class,
    /// the class with the most to gain first. Tells the handles of its slots by [`Arena::live_slots`].
    pub(super) fn compactable(&self) -> Option<usize> {
        let (_, class) = self
            .classes
            .iter()
            .filter(|class| class.partial != 0)
            .map(|class| (class, &self.slabs[class.partial as usize]))
            .filter(|(class, slab)| class.free_slots >= u32::from(slab.slots))
            .map(|(class, slab)| {
                (
                    u64::from(class.free_slots) * u64::from(slab.slot_bytes),
                    class,
                )
            })
            .max_by_key(|&(free_bytes, _)| free_bytes)?;
        // The list is short of an order; a bounded walk finds an empty enough slab.
        let mut best = class.partial as usize;
        let mut index = best;
        for _ in 0..COMPACTION_LOOKS {
            index = self.slabs[index].next as usize;
            if index == 0 {
                break;
            }
            if self.slabs[index].used < self.slabs[best].used {
                best = index;
            }
        }
        Some(best)
    }

    /// Takes a slab off its class's list, so that no new slot comes from it while it is emptied.
    pub(super) fn close(&mut self, index: usize) {
        self.unlink(index);
    }

    /// The handle of the first live slot of slab `index`, if any is left and the slab is still held.
    pub(super) fn first_live_slot(&self, index: usize, from: u16) -> Option<(Handle, u16)> {
        let slab = &self.slabs[index];
        let bytes = slab.block.as_deref()?;
        (from..slab.fresh).find_map(|slot| {
            let start = usize::from(slot) * slab.slot_bytes as usize;
            let is_live = bytes[start..start + 4] != [0; 4];
            is_live.then_some((
                Handle((index as u32) << SLOT_BITS | u32::from(slot)),
                slot + 1,
            ))
        })
    }

    /// Gives back every slab: all handles end.
    pub(super) fn clear(&mut self, budget: &mut Budget) {
        for slab in &mut self.slabs {
            if let Some(block) = slab.block.take() {
                budget.give(block);
            }
        }
        *self = Self::new();
    }

    /// Bytes of the arena's own tables.
    pub(super) fn table_bytes(&self) -> u64 {
        (self.slabs.capacity() * size_of::<Slab>() + self.vacant.capacity() * 4) as u64
    }

    #[cold]
    fn allocate_own_block(&mut self, bytes: usize, budget: &mut Budget) -> Result<Handle> {
        let order = Order::for_bytes(bytes).ok_or(out_of_memory(bytes))?;
        let index = self.reserve_index()?;
        let block = budget.take(order)?;
        self.live_bytes += order.bytes() as u64;
        self.place(
            index,
            Slab {
                block: Some(block),
                slot_bytes: order.bytes() as u32,
                slots: 1,
                used: 1,
                fresh: 1,
                ..Slab::VACANT
            },
        );
        Ok(Handle((index as u32) << SLOT_BITS))
    }

    #[cold]
    fn add_slab(&mut self, class: u8, slot_bytes: usize, budget: &mut Budget) -> Result<usize> {
        let order = Order::for_bytes(slot_bytes * SLOTS_MIN)
            .and_then(|order| Order::new(order.get().max(SLAB_ORDER_MIN)))
            .expect("eight slots of the largest class fit a block");
        let index = self.reserve_index()?;
        let block = budget.take(order)?;
        let slots = (order.bytes() / slot_bytes) as u16;
        self.classes[usize::from(class)].free_slots += u32::from(slots);
        self.place(
            index,
            Slab {
                block: Some(block),
                slot_bytes: slot_bytes as u32,
                class,
                slots,
                ..Slab::VACANT
            },
        );
        self.link(index);
        Ok(index)
    }

    /// The index the next slab will have; `place` cannot fail after it.
    fn reserve_index(&mut self) -> Result<usize> {
        if let Some(&index) = self.vacant.last() {
            return Ok(index as usize);
        }
        self.slabs.try_reserve(2)?;
        // Each slab may become vacant; freeing must not allocate.
        self.vacant
            .try_reserve(self.slabs.capacity() - self.vacant.len())?;
        if self.slabs.is_empty() {
            self.slabs.push(Slab::VACANT);
        }
        if self.slabs.len() == SLAB_COUNT_MAX {
            return Err(out_of_memory(0));
        }
        Ok(self.slabs.len())
    }

    fn place(&mut self, index: usize, slab: Slab) {
        if index == self.slabs.len() {
            self.slabs.push(slab);
        } else {
            self.slabs[index] = slab;
            self.vacant.pop();
        }
    }

    #[cold]
    fn remove_slab(&mut self, index: usize, budget: &mut Budget) {
        let slab = core::mem::replace(&mut self.slabs[index], Slab::VACANT);
        budget.give(slab.block.expect("a slab that is removed is held"));
        self.vacant.push(index as u32);
    }

    fn link(&mut self, index: usize) {
        let class = usize::from(self.slabs[index].class);
        let next = core::mem::replace(&mut self.classes[class].partial, index as u32);
        self.slabs[index].previous = 0;
        self.slabs[index].next = next;
        if next != 0 {
            self.slabs[next as usize].previous = index as u32;
        }
    }

    /// Takes a slab off its list; one that is on none stays so.
    fn unlink(&mut self, index: usize) {
        let Slab {
            class,
            previous,
            next,
            ..
        } = self.slabs[index];
        if previous != 0 {
            self.slabs[previous as usize].next = next;
        } else if self.classes[usize::from(class)].partial as usize == index {
            self.classes[usize::from(class)].partial = next;
        }
        if next != 0 {
            self.slabs[next as usize].previous = previous;
        }
        self.slabs[index].previous = 0;
        self.slabs[index].next = 0;
    }
}

/// Slabs looked at for one compaction: a guess between finding the emptiest and a bounded pause.
const COMPACTION_LOOKS: usize = 32;

#[cfg(test)]
mod tests {
    use super::super::testing::host_frames;
    use super::*;
    use crate::cache::random::Random;
    use std::vec::Vec;

    #[test]
    fn slots_never_overlap_and_all_memory_goes_back() {
        let frames = host_frames(64 << 20);
        for seed in 0..20 {
            let mut budget = Budget::new(frames, 64 << 20);
            let mut arena = Arena::new();
            let mut random = Random::new(seed);
            let mut live: Vec<(Handle, u8, usize)> = Vec::new();
            for step in 0..3000_u32 {
                if random.below(5) < 3 {
                    let bytes = match random.below(20) {
                        0 => 9000 + random.below(60_000) as usize,
                        1..4 => 8 + random.below(8000) as usize,
                        _ => 8 + random.below(200) as usize,
                    };
                    let handle = arena
                        .allocate(bytes, &mut budget)
                        .expect("64 MiB are enough");
                    let fill = (step % 255 + 1) as u8;
                    arena.slot_mut(handle)[..bytes].fill(fill);
                    live.push((handle, fill, bytes));
                } else if !live.is_empty() {
                    let at = random.below(live.len() as u32) as usize;
                    let (handle, fill, bytes) = live.swap_remove(at);
                    let slot = &arena.slot(handle)[..bytes];
                    assert!(slot.iter().all(|&b| b == fill), "seed {seed} step {step}");
                    arena.free(handle, &mut budget);
                }
            }
            for (handle, ..) in live {
                arena.free(handle, &mut budget);
            }
            assert_eq!(
                (budget.held_bytes(), arena.live_bytes()),
                (0, 0),
                "seed {seed}"
            );
        }
    }

    #[test]
    fn a_request_beyond_the_limit_is_refused_and_changes_nothing() {
        let mut budget = Budget::new(host_frames(1 << 20), 20 << 10);
        let mut arena = Arena::new();
        let first = arena.allocate(100, &mut budget).expect("one slab fits");
        assert!(arena.allocate(2000, &mut budget).is_err());
        assert!(arena.allocate(5 << 20, &mut budget).is_err());
        assert_eq!(budget.held_bytes(), 16 << 10);
        arena.free(first, &mut budget);
        assert_eq!(budget.held_bytes(), 0);
    }
}
