//! The zone: all frames the image manages, as a buddy system over bitmaps.
//!
//! Blocks of 2^0 to 2^10 frames are split on demand and merged as soon as both halves are free. All metadata
//! is out of line, 0.031 % of memory: free frames are never touched, so they can be unmapped, reported to the
//! host or left cold, and a stray write cannot damage the allocator.
//!
//! Memory is cut into chunks of 4 MiB ([`geometry`]), and these into two pageblocks of 2 MiB. A pageblock has a tree of
//! bits ([`tree`]) and stands in sets ([`pageblock_sets`]): by what its largest free block serves, and by what it
//! is used for. A partly free pageblock is movable or immovable, as the block was for which it was first split, until
//! all of it is free again. A request is met from a pageblock of its kind, the lowest that serves, and there from the
//! smallest, lowest block; large blocks come from the highest that serves. If there is none, it is met from one that is
//! free; then from the other kind ([`Zone::find_elsewhere`]). Every search is a few find-first-set steps, whatever memory
//! looks like. A block of 4 MiB is two free pageblocks that are buddies.
//!
//! The pageblock is chosen by address and not by the smallest largest block, because that left more of memory in
//! 2 MiB blocks after churn at 80 % full, orders 0 to 9 mixed: 84 % against 76 % on the mean of 16 runs.
//!
//! Always true: every managed frame is in exactly one free block, page cache or owner's hands; two free
//! buddies are merged; the counts agree with the bits. Every immovable block in use lies in an immovable pageblock, and
//! so does every frame that is not managed. Of untouched chunks only two words a pageblock are written at boot ("closed"):
//! a chunk is opened when its first block is split off or handed out.
//!
//! Flow: [`super::manager`] calls with the zone locked and preemption disabled, and keeps the [`owners`] map,
//! so a block that comes to [`Zone::give_back`] is known to have been taken. Limits: 16 separate banks; the
//! time of an allocation is not measured (`nos_buddy_allocation_seconds` would read a clock on every call).

pub(super) mod geometry;
mod isolation;
pub(super) mod owners;
mod pageblock_sets;
mod pages;
mod pairs;
#[allow(missing_docs)]
mod setup;
pub(super) mod spans;
mod state;
mod stats;
mod tree;
mod verify;

#[cfg(test)]
mod tests;

pub(super) use stats::{PerOrder, ZoneStats};

use super::frames::{Mobility, Order, Pfn};
use core::hint::assert_unchecked;
use geometry::Geometry;
use owners::OwnerMap;
use pageblock_sets::PageblockSets;
use state::{PAIR_SET, SETS, State, set_of};
use stats::ZoneCounts;
use tree::{PAGEBLOCK_FRAMES, ROOT_ORDER, STATE, TREE_WORDS, Tree, node_for, order_of, start_of};

/// The order of a pageblock.
pub(super) const PAGEBLOCK_ORDER: u8 = ROOT_ORDER as u8;
/// The number of the largest order.
const PAIR_ORDER: usize = ROOT_ORDER + 1;
const _: () = assert!(PAIR_ORDER == Order::MAX.get() as usize);

/// Blocks of this order and above are taken from the highest pageblocks, smaller ones from the lowest: so the holes
/// that large blocks leave are not filled with small ones. Found by trying with the churn tests' load.
const LARGE_ORDER: usize = 6;

/// Steps, of about 20 instructions, that a pageblock takes to leave and enter sets; and if it becomes free.
const STEPS_ELSEWHERE: usize = 4;
const STEPS_WHEN_FREE: usize = 16;

/// The zone.
pub(super) struct Zone {
    geometry: Geometry,
    owners: OwnerMap,
    trees: &'static mut [[u64; TREE_WORDS]],
    sets: PageblockSets<SETS>,
    /// The pageblock that is isolated.
    isolated: Option<usize>,
    counts: ZoneCounts,
}

impl Zone {
    /// Takes a free block, if there is one.
    pub(super) fn take(&mut self, order: Order, mobility: Mobility) -> Option<Pfn> {
        let wanted = usize::from(order.get());
        if wanted == PAIR_ORDER {
            return self.take_pair(mobility);
        }
        let pageblock = self.find(wanted, mobility)?;
        Some(self.take_of(pageblock, wanted))
    }

    /// Takes a block of a pageblock, which has one.
    #[inline(never)]
    fn take_of(&mut self, pageblock: usize, wanted: usize) -> Pfn {
        let mut tree = Tree::of(&mut self.trees[pageblock]);
        let before = tree.state;
        let mut node = tree
            .first_fit(wanted)
            .expect("the pageblock has a block of its largest order");
        tree.remove(node);
        let found = order_of(node);
        for split in (wanted + 1..=found).rev() {
            node *= 2;
            tree.insert(node + 1);
            self.counts.splits.add(split, 1);
        }
        tree.state.add_used(1 << wanted);
        if before.above_largest() == found + 1 {
            tree.state = tree.state.with_above_largest(tree.find_above_largest());
        }
        let after = tree.state;
        self.counts.took(wanted, 1);
        self.settle(pageblock, before, after);
        self.frame(pageblock, start_of(node, wanted))
    }

    /// Takes a block back that [`Zone::take`] gave out with the same order.
    ///
    /// # Panics
    /// If it never did, as far as that is seen: the owner map is broken.
    pub(super) fn give_back(&mut self, first: Pfn, order: Order) {
        let (pageblock, offset) = self.locate(first);
        let order = usize::from(order.get());
        self.counts.came_back(order, 1);
        if order == PAIR_ORDER {
            return self.insert_pair(pageblock);
        }
        self.insert_block(pageblock, offset, order);
    }

    /// Frames in its free blocks.
    #[inline(always)]
    pub(super) fn free_frames(&self) -> u64 {
        self.counts.free_frames
    }

    /// Frames in its free blocks that are smaller than a pageblock.
    pub(super) fn scattered_frames(&self) -> u64 {
        let whole = |order| self.counts.free_blocks(order) << order;
        self.free_frames() - whole(ROOT_ORDER) - whole(PAIR_ORDER)
    }

    /// True if all of some pageblock is free.
    pub(super) fn has_free_pageblock(&self) -> bool {
        self.sets.filled() & (1 << PAIR_SET | 1 << (PAIR_SET - 1)) != 0
    }

    /// Counters and free blocks.
    pub(super) fn stats(&self) -> ZoneStats {
        self.counts.stats()
    }

    /// A pageblock with a free block of at least `wanted`, which is no pair, that becomes or stays of that mobility.
    #[inline(always)]
    fn find(&mut self, wanted: usize, mobility: Mobility) -> Option<usize> {
        let set = set_of(mobility, wanted);
        if wanted < LARGE_ORDER && self.sets.filled() & 1 << set != 0 {
            return self.sets.first(set);
        }
        self.find_elsewhere(wanted, mobility)
    }

    /// For a large block, or where no pageblock of the kind serves.
    #[inline(never)]
    fn find_elsewhere(&mut self, wanted: usize, mobility: Mobility) -> Option<usize> {
        let found = self.find_anywhere(wanted, mobility);
        if found.is_some() || self.isolated.is_none() {
            return found;
        }
        self.end_isolation(Mobility::Movable);
        self.find_anywhere(wanted, mobility)
    }

    /// A pageblock of the kind; or one that is free, of a pair only if there is no other; or one of the other kind.
    ///
    /// An immovable block makes a movable pageblock immovable, so it goes where the largest block is free, and
    /// those after it go there too; a movable one goes anywhere and changes nothing.
    fn find_anywhere(&mut self, wanted: usize, mobility: Mobility) -> Option<usize> {
        let at_its_end = |set| {
            if wanted < LARGE_ORDER {
                self.sets.first(set)
            } else {
                self.sets.last(set)
            }
        };
        if wanted < ROOT_ORDER
            && let Some(pageblock) = at_its_end(set_of(mobility, wanted))
        {
            return Some(pageblock);
        }
        let (alone, pair) = (at_its_end(PAIR_SET - 1), at_its_end(PAIR_SET));
        let pageblock = if let Some(free) = alone.or(pair) {
            if alone.is_none() {
                self.split_pair(free & !1);
            }
            free
        } else if wanted == ROOT_ORDER {
            return None;
        } else if mobility == Mobility::Movable {
            return at_its_end(set_of(Mobility::Immovable, wanted));
        } else {
            let sets = wanted..ROOT_ORDER;
            let mut sets = sets.rev().map(|order| set_of(Mobility::Movable, order));
            sets.find_map(|set| self.sets.first(set))?
        };
        self.set_state(pageblock, self.state(pageblock).of(mobility));
        Some(pageblock)
    }

    /// Frees a block as [`Zone::insert`] does, where a call costs little.
    #[inline(never)]
    fn insert_block(&mut self, pageblock: usize, offset: usize, order: usize) -> usize {
        self.insert(pageblock, node_for(offset, order), order)
    }

    /// Frees a block: merges it with its buddy as long as that is free too. Answers the steps that it took beside those
    /// of any block: one a merge, more if the pageblock changed its sets or became free.
    #[inline(always)]
    fn insert(&mut self, pageblock: usize, mut node: usize, order: usize) -> usize {
        let mut tree = Tree::of(&mut self.trees[pageblock]);
        let before = tree.state;
        if tree.is_free(node) {
            in_two_places(pageblock, node);
        }
        let mut merged = order;
        // The root's buddy is no node and never free.
        while tree.is_free(node ^ 1) {
            tree.remove(node ^ 1);
            node /= 2;
            merged += 1;
            self.counts.merges.add(merged, 1);
        }
        tree.insert(node);
        tree.state.sub_used(1 << order);
        let mut after = tree.state;
        if merged >= before.above_largest() {
            if merged == ROOT_ORDER {
                self.became_free(pageblock, before);
                return ROOT_ORDER - order + STEPS_WHEN_FREE;
            }
            after = after.with_largest(merged);
        }
        merged - order + self.settle(pageblock, before, after)
    }

    /// Writes the state of a pageblock and moves it into the sets where it now belongs. Answers the steps of that.
    #[inline(always)]
    fn settle(&mut self, pageblock: usize, before: State, after: State) -> usize {
        self.trees[pageblock][STATE] = after.0;
        if after.is_elsewhere(before) {
            self.move_to_other_sets(pageblock, before, after);
            return STEPS_ELSEWHERE;
        }
        0
    }

    #[inline(never)]
    fn move_to_other_sets(&mut self, pageblock: usize, before: State, after: State) {
        if before.is_plainly_immovable() && after.is_plainly_immovable() {
            // Most often.
            let first = set_of(Mobility::Immovable, 0);
            let (was, is) = (before.above_largest(), after.above_largest());
            return self.change_run(pageblock, first + was, first + is);
        }
        self.move_to_any_sets(pageblock, before, after);
    }

    #[inline(never)]
    fn move_to_any_sets(&mut self, pageblock: usize, before: State, after: State) {
        let (from, to) = (before.serving_sets(), after.serving_sets());
        if from.start == to.start {
            self.change_run(pageblock, from.end, to.end);
        } else {
            self.sets.leave(pageblock, from);
            self.sets.enter(pageblock, to);
        }
        let (from, to) = (before.sets_of_use(), after.sets_of_use());
        if from != to {
            self.sets.leave(pageblock, from);
            self.sets.enter(pageblock, to);
        }
    }

    /// Has a pageblock be in the same sets that follow each other up to before `to`, instead of `from`.
    #[inline(always)]
    fn change_run(&mut self, pageblock: usize, from: usize, to: usize) {
        if from < to {
            self.sets.enter(pageblock, from..to);
        } else {
            self.sets.leave(pageblock, to..from);
        }
    }

    fn state(&self, pageblock: usize) -> State {
        State(self.trees[pageblock][STATE])
    }

    fn set_state(&mut self, pageblock: usize, after: State) {
        self.settle(pageblock, self.state(pageblock), after);
    }

    /// The pageblock of a frame, and how far into it the frame is.
    #[inline(always)]
    #[expect(
        unsafe_code,
        reason = "every frame that comes back is located, and the checks would be a tenth of what that takes"
    )]
    fn locate(&self, frame: Pfn) -> (usize, usize) {
        let index = self.geometry.index_of_managed(frame);
        // SAFETY: the index is one of those of all chunks' frames, of which the map has a byte each; and `Zone::new` has
        // made a tree for each pageblock of these.
        unsafe {
            self.owners.assume_index(index);
            assert_unchecked(index / PAGEBLOCK_FRAMES < self.trees.len());
        }
        (index / PAGEBLOCK_FRAMES, index % PAGEBLOCK_FRAMES)
    }

    #[inline(always)]
    fn frame(&self, pageblock: usize, offset: usize) -> Pfn {
        self.geometry
            .frame_at(pageblock * PAGEBLOCK_FRAMES + offset)
    }
}

#[cold]
#[inline(never)]
fn in_two_places(pageblock: usize, node: usize) -> ! {
    panic!("a block in hand is marked free: {pageblock}/{node}")
}
