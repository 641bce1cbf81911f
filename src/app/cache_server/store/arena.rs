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
//! What is live is told by the first words of slots alone, at any step: all else (counts, lists, free
//! slots) is made again from them by [`Arena::rebuild`] when an operation was cut short.
//!
//! Limits: 2^23 slabs of at least 16 KiB; one entry is at most [`MAX_BYTES`].

mod rebuild;
#[cfg(test)]
mod tests;

use super::blocks::{BlockVec, Held, Plain, in_order};
use super::budget::{Budget, out_of_memory};
use super::size_classes::{CLASSES, LARGEST, SMALLEST, class_of};
use crate::error::Result;
use crate::memory::frames::Order;
use core::hint::assert_unchecked;

/// The largest entry: the largest block.
pub(super) const MAX_BYTES: usize = Order::MAX.bytes();

const SLOT_BITS: u32 = 9;
/// Chunks of the directory: 2^23 slabs, 2^17 in a chunk.
const SLAB_CHUNKS: usize = (1 << (32 - SLOT_BITS)) / (Order::MAX.bytes() / size_of::<Slab>());
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

    #[inline(always)]
    fn slot(self) -> usize {
        (self.0 & ((1 << SLOT_BITS) - 1)) as usize
    }
}

/// A block and how it is cut; vacant without a block.
#[repr(C)]
struct Slab {
    block: Held,
    slot_bytes: u32,
    slots: u16,
    used: u16,
    /// Slots from here on were never used.
    fresh: u16,
    free: u16,
    /// Neighbours on the class's list of slabs with a free slot; 0 for none. A vacant slab names the next.
    previous: u32,
    next: u32,
    class: u8,
}

const _: () = assert!(size_of::<Slab>() == 32);

// SAFETY: numbers and a `Held`, 32 bytes in all; 0 is a vacant slab.
#[expect(unsafe_code, reason = "says that a slab is plain")]
unsafe impl Plain for Slab {}

impl Slab {
    fn is_full(&self) -> bool {
        self.used == self.slots
    }

    /// Sets how it is cut, and that no slot is in use. It is vacant still.
    fn cut(&mut self, class: u8, slot_bytes: usize, slots: u16) {
        self.slot_bytes = slot_bytes as u32;
        self.class = class;
        self.slots = slots;
        self.used = 0;
        self.fresh = 0;
        self.free = NO_SLOT;
        self.previous = 0;
        self.next = 0;
        in_order();
    }

    /// The bytes of a slot.
    #[inline(always)]
    fn slot(&self, slot: usize) -> &[u8] {
        assert!(self.block.is_some(), "a slot's slab has a block");
        let bytes = self.slot_bytes as usize;
        &self.block.bytes()[slot * bytes..slot * bytes + bytes]
    }

    /// The bytes of a slot, to write.
    #[inline(always)]
    fn slot_mut(&mut self, slot: usize) -> &mut [u8] {
        assert!(self.block.is_some(), "a slot's slab has a block");
        let bytes = self.slot_bytes as usize;
        &mut self.block.bytes_mut()[slot * bytes..slot * bytes + bytes]
    }

    /// The free slot that follows one on the list, [`NO_SLOT`] at its end; nothing if that is not as it was written.
    #[inline]
    fn next_free(&self, slot: u16) -> Option<u16> {
        let link = *self.slot(usize::from(slot))[4..].first_chunk::<4>()?;
        let link = u32::from_le_bytes(link);
        (link as u16 == !(link >> 16) as u16).then_some(link as u16)
    }

    /// Makes the list of free slots but `without` again; the first one.
    #[cold]
    fn list_free(&mut self, without: u16) -> u16 {
        let mut first = NO_SLOT;
        for slot in (0..self.fresh).rev() {
            if slot != without && !self.is_live(slot) {
                set_next_free(self.slot_mut(usize::from(slot)), first);
                first = slot;
            }
        }
        first
    }

    /// True if the slot is live.
    fn is_live(&self, slot: u16) -> bool {
        slot < self.fresh && self.slot(usize::from(slot))[..4] != [0; 4]
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
    slabs: BlockVec<Slab, SLAB_CHUNKS>,
    /// The first vacant slab, each naming the next; 0 for none.
    vacant: u32,
    /// Slabs with a block.
    held: usize,
    classes: [Class; CLASSES],
    live_bytes: u64,
}

impl Arena {
    /// An empty arena.
    pub(super) const fn new() -> Self {
        Self {
            slabs: BlockVec::new(),
            vacant: 0,
            held: 0,
            classes: [Class {
                partial: 0,
                free_slots: 0,
            }; CLASSES],
            live_bytes: 0,
        }
    }

    /// Bytes of all live slots.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// The bytes of a slot.
    #[inline(always)]
    pub(super) fn slot(&self, handle: Handle) -> &[u8] {
        self.slabs[handle.slab()].slot(handle.slot())
    }

    /// The bytes of a slot, to write.
    #[inline(always)]
    pub(super) fn slot_mut(&mut self, handle: Handle) -> &mut [u8] {
        self.slabs[handle.slab()].slot_mut(handle.slot())
    }

    /// The bytes of a slot, to write, if there is one of that handle: for handles nobody vouches for.
    #[inline(always)]
    #[expect(unsafe_code, reason = "a slab's slots lie in its block")]
    pub(super) fn slot_if(&mut self, handle: Handle) -> Option<&mut [u8]> {
        let slab = self.slabs.get_mut(handle.slab())?;
        if handle.slot() >= usize::from(slab.slots) {
            return None;
        }
        let bytes = slab.slot_bytes as usize;
        // SAFETY: `cut` made so many slots of so many bytes, the smallest at least, of a block that is as large; who gives
        // the block back leaves none.
        unsafe {
            assert_unchecked(bytes >= SMALLEST);
            slab.block.part_mut(handle.slot() * bytes, bytes)
        }
    }

    /// The bytes of a slot, if the handle still names a live one: for handles kept as hints.
    pub(super) fn live_slot(&self, handle: Handle) -> Option<&[u8]> {
        let slab = self.slabs.get(handle.slab())?;
        let is_live = slab.block.is_some() && slab.is_live(handle.slot() as u16);
        is_live.then(|| slab.slot(handle.slot()))
    }

    /// Copies `len` bytes at `from_at` of one slot to `to_at` of another.
    pub(super) fn copy(&mut self, from: (Handle, usize), to: (Handle, usize), len: usize) {
        let ((source, from_at), (target, to_at)) = (from, to);
        if source.slab() == target.slab() {
            let slab = &mut self.slabs[source.slab()];
            let slot_bytes = slab.slot_bytes as usize;
            assert!(
                from_at + len <= slot_bytes && to_at + len <= slot_bytes,
                "a copy stays within its slot"
            );
            let start = source.slot() * slot_bytes + from_at;
            let to = target.slot() * slot_bytes + to_at;
            slab.block.bytes_mut().copy_within(start..start + len, to);
            return;
        }
        let (from, to) = self
            .slabs
            .pair_mut(source.slab(), target.slab())
            .expect("two handles name two slabs");
        to.slot_mut(target.slot())[to_at..to_at + len]
            .copy_from_slice(&from.slot(source.slot())[from_at..from_at + len]);
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
            let slot = slab.fresh;
            slab.slot_mut(usize::from(slot))[..4].fill(0);
            in_order();
            slab.fresh += 1;
            slot
        } else {
            let slot = slab.free;
            slab.free = slab.next_free(slot).unwrap_or_else(|| slab.list_free(slot));
            slot
        };
        slab.used += 1;
        let is_full = slab.is_full();
        self.classes[usize::from(class)].free_slots -= 1;
        self.live_bytes += slot_bytes as u64;
        if is_full {
            self.unlink(index);
        }
        Ok(handle_of(index, slot))
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
        let slot = slab.slot_mut(handle.slot());
        slot[..4].fill(0);
        in_order();
        set_next_free(slot, next);
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
        let slab = self.slabs.get(index).filter(|slab| slab.block.is_some())?;
        let slot = (from..slab.fresh).find(|&slot| slab.is_live(slot))?;
        Some((handle_of(index, slot), slot + 1))
    }

    /// Gives back every slab: all handles end.
    pub(super) fn clear(&mut self, budget: &mut Budget) {
        for index in 0..self.slabs.len() {
            budget.give(&mut self.slabs[index].block);
        }
        self.slabs.clear(budget);
        *self = Self::new();
    }

    /// The live slot that follows `after`, or the first.
    pub(super) fn next_live(&self, after: Option<Handle>) -> Option<Handle> {
        let (start, mut from) = match after {
            None => (0, 0),
            Some(handle) => (handle.slab(), handle.slot() as u16 + 1),
        };
        (start..self.slabs.len()).find_map(|index| {
            let from = core::mem::take(&mut from);
            self.first_live_slot(index, from).map(|(handle, _)| handle)
        })
    }

    /// The bytes of its slots.
    #[cfg(test)]
    pub(super) fn stored(&mut self, see: &mut dyn FnMut(&mut [u8])) {
        (0..self.slabs.len()).for_each(|index| see(self.slabs[index].block.bytes_mut()));
    }

    /// Every place that may hold a block.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &Held> {
        let slabs = self.slabs.iter().map(|slab| &slab.block);
        slabs.chain(self.slabs.chunks())
    }

    #[cold]
    fn allocate_own_block(&mut self, bytes: usize, budget: &mut Budget) -> Result<Handle> {
        let order = Order::for_bytes(bytes).ok_or(out_of_memory(bytes))?;
        let index = self.hold(order, budget, (OWN_BLOCK, order.bytes(), 1))?;
        let slab = &mut self.slabs[index];
        (slab.used, slab.fresh) = (1, 1);
        self.live_bytes += order.bytes() as u64;
        Ok(handle_of(index, 0))
    }

    #[cold]
    fn add_slab(&mut self, class: u8, slot_bytes: usize, budget: &mut Budget) -> Result<usize> {
        let order = Order::for_bytes(slot_bytes * SLOTS_MIN)
            .and_then(|order| Order::new(order.get().max(SLAB_ORDER_MIN)))
            .expect("eight slots of the largest class fit a block");
        let slots = (order.bytes() / slot_bytes) as u16;
        let index = self.hold(order, budget, (class, slot_bytes, slots))?;
        self.classes[usize::from(class)].free_slots += u32::from(slots);
        self.link(index);
        Ok(index)
    }

    /// Takes a block as a slab of so many slots of a class.
    fn hold(
        &mut self,
        order: Order,
        budget: &mut Budget,
        (class, slot_bytes, slots): (u8, usize, u16),
    ) -> Result<usize> {
        if self.slabs.len() == 0 {
            self.slabs.reserve(budget)?;
            self.slabs.push_zeroed();
        }
        if self.vacant == 0 {
            self.slabs.reserve(budget)?;
        }
        if let Err(error) = budget.take(order) {
            self.release_directory(budget);
            return Err(error);
        }
        // The one slot of an own block is not live before its entry is written.
        budget.incoming_mut()[..4].fill(0);
        let index = match self.vacant as usize {
            0 => self.slabs.push_zeroed(),
            index => {
                self.vacant = self.slabs[index].next;
                index
            }
        };
        let slab = &mut self.slabs[index];
        slab.cut(class, slot_bytes, slots);
        budget.attach(&mut slab.block);
        self.held += 1;
        Ok(index)
    }

    #[cold]
    fn remove_slab(&mut self, index: usize, budget: &mut Budget) {
        let slab = &mut self.slabs[index];
        budget.give(&mut slab.block);
        slab.next = core::mem::replace(&mut self.vacant, index as u32);
        self.held -= 1;
        self.release_directory(budget);
    }

    /// The last slab takes the directory with it.
    fn release_directory(&mut self, budget: &mut Budget) {
        if self.held == 0 {
            self.vacant = 0;
            self.slabs.clear(budget);
        }
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

/// Links a free slot to the next, and leaves nothing of the seal of what it was.
#[inline]
fn set_next_free(slot: &mut [u8], next: u16) {
    let link = u32::from(!next) << 16 | u32::from(next);
    slot[4..8].copy_from_slice(&link.to_le_bytes());
    slot[16..20].fill(0);
}

#[inline]
fn handle_of(slab: usize, slot: u16) -> Handle {
    Handle((slab as u32) << SLOT_BITS | u32::from(slot))
}

/// Slabs looked at for one compaction: a guess between finding the emptiest and a bounded pause.
const COMPACTION_LOOKS: usize = 32;
