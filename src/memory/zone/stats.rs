//! What the zone counts.

use super::PAIR_ORDER;
use crate::memory::frames::Order;

/// A number for each order.
pub(in crate::memory) type PerOrder = [u64; Order::COUNT];

/// What the zone has done since boot, and the free blocks it has now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::memory) struct ZoneStats {
    /// Blocks that left the zone.
    pub(in crate::memory) allocations: PerOrder,
    /// Blocks that came back.
    pub(in crate::memory) frees: PerOrder,
    /// Blocks of that order split.
    pub(in crate::memory) splits: PerOrder,
    /// Blocks of that order formed by merging.
    pub(in crate::memory) merges: PerOrder,
    /// Free blocks now.
    pub(in crate::memory) free_blocks: PerOrder,
}

/// A count for each order, by its number modulo 16.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts([u64; 16]);

impl Counts {
    #[inline(always)]
    pub(super) fn add(&mut self, order: usize, count: u64) {
        let place = &mut self.0[order % 16];
        *place = place.wrapping_add(count);
    }

    pub(super) fn get(&self, order: usize) -> u64 {
        self.0[order % 16]
    }

    fn per_order(&self) -> PerOrder {
        core::array::from_fn(|order| self.0[order])
    }

    /// Of blocks taken to pieces of one frame, or made of such: how many of an order were split, or formed.
    fn down_to_frames(&self, order: usize) -> u64 {
        let from = (order..Order::COUNT).map(|above| self.get(above) << (above - order));
        if order == 0 {
            0
        } else {
            from.fold(0, u64::wrapping_add)
        }
    }
}

/// What is counted as it is done. The free blocks follow from it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ZoneCounts {
    pub(super) allocations: Counts,
    pub(super) frees: Counts,
    pub(super) splits: Counts,
    pub(super) merges: Counts,
    /// Blocks that left as single frames, and that came back so: the splits and merges of that are not counted above.
    pub(super) left_as_frames: Counts,
    pub(super) came_as_frames: Counts,
    /// Free blocks that came from nowhere, modulo 2^64: at boot, or found by a verification.
    pub(super) found: Counts,
    /// Frames in the free blocks, which follow from the others too: the watermarks look at it in each visit.
    pub(super) free_frames: u64,
}

impl ZoneCounts {
    /// Counts blocks that leave.
    #[inline(always)]
    pub(super) fn took(&mut self, order: usize, blocks: u64) {
        self.allocations.add(order, blocks);
        self.free_frames = self.free_frames.wrapping_sub(blocks << order);
    }

    /// Counts blocks that come back.
    #[inline(always)]
    pub(super) fn came_back(&mut self, order: usize, blocks: u64) {
        self.frees.add(order, blocks);
        self.free_frames = self.free_frames.wrapping_add(blocks << order);
    }

    /// Counts free blocks that came from nowhere.
    pub(super) fn found(&mut self, order: usize, blocks: u64) {
        self.found.add(order, blocks);
        self.free_frames = self.free_frames.wrapping_add(blocks << order);
    }

    /// Free blocks of an order now.
    pub(super) fn free_blocks(&self, order: usize) -> u64 {
        // A split takes one block and gives two of the order below; a merge is its opposite.
        let balance = |order| self.splits(order).wrapping_sub(self.merges(order));
        let came = self.found.get(order).wrapping_add(self.frees.get(order));
        let made = balance(order + 1).wrapping_mul(2);
        came.wrapping_sub(self.allocations.get(order))
            .wrapping_add(made)
            .wrapping_sub(balance(order))
    }

    fn splits(&self, order: usize) -> u64 {
        let splits = self.splits.get(order);
        splits.wrapping_add(self.left_as_frames.down_to_frames(order))
    }

    fn merges(&self, order: usize) -> u64 {
        let merges = self.merges.get(order);
        merges.wrapping_add(self.came_as_frames.down_to_frames(order))
    }

    /// All words, to damage.
    #[cfg(test)]
    pub(super) fn words_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        [
            &mut self.allocations,
            &mut self.frees,
            &mut self.splits,
            &mut self.merges,
            &mut self.left_as_frames,
            &mut self.came_as_frames,
        ]
        .into_iter()
        .flat_map(|counts| &mut counts.0)
        .chain([&mut self.free_frames])
    }

    pub(super) fn stats(&self) -> ZoneStats {
        ZoneStats {
            allocations: self.allocations.per_order(),
            frees: self.frees.per_order(),
            splits: core::array::from_fn(|order| self.splits(order)),
            merges: core::array::from_fn(|order| self.merges(order)),
            free_blocks: core::array::from_fn(|order| self.free_blocks(order)),
        }
    }
}

const _: () = assert!(PAIR_ORDER + 1 < 16);

impl ZoneStats {
    /// Frames in the free blocks.
    pub(in crate::memory) fn free_frames(&self) -> u64 {
        self.free_frames_below(Order::COUNT)
    }

    /// Of the free frames, how many parts in a million lie in blocks smaller than `order`; 0 if none is free.
    pub(in crate::memory) fn fragmentation_millionths(&self, order: Order) -> u64 {
        let too_small = self.free_frames_below(order.get().into());
        (too_small * 1_000_000)
            .checked_div(self.free_frames())
            .unwrap_or(0)
    }

    fn free_frames_below(&self, order: usize) -> u64 {
        let blocks = self.free_blocks[..order].iter().enumerate();
        blocks.map(|(order, blocks)| blocks << order).sum()
    }
}
