//! The zone: all frames the image manages, as a buddy system over bitmaps.
//!
//! Blocks of 2^0 to 2^10 frames are split on demand and merged as soon as both halves are free. All metadata
//! is out of line, 0.031 % of memory: free frames are never touched, so they can be unmapped, reported to the
//! host or left cold, and a stray write cannot damage the allocator.
//!
//! Memory is cut into chunks of 4 MiB ([`geometry`]), and these into two pageblocks of 2 MiB. A pageblock has a tree of
//! bits ([`tree`]) and stands in sets ([`pageblock_sets`]): by the order of its largest free block, and by what it
//! is used for. A partly free pageblock is movable or immovable, as the block was for which it was first split, until
//! all of it is free again. A request is met from a pageblock of its kind, the lowest of those with the smallest largest
//! block that serves (best fit), and there from the smallest, lowest block; if there is none, from one that is free;
//! then from the other kind ([`Zone::find_elsewhere`]). Every search is a few find-first-set steps, whatever memory
//! looks like. A block of 4 MiB is two free pageblocks that are buddies.
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
pub(super) mod owners;
mod pageblock_sets;
mod pages;
mod pairs;
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
use geometry::Geometry;
use owners::OwnerMap;
use pageblock_sets::PageblockSets;
use state::{FREE_SETS, PAIR_SET, SETS, State, USE_SETS, serving};
use stats::ZoneCounts;
use tree::{PAGEBLOCK_FRAMES, ROOT_ORDER, STATE, TREE_WORDS, Tree, node_for, order_of, start_of};

/// The number of the largest order.
const PAIR_ORDER: usize = ROOT_ORDER + 1;
const _: () = assert!(PAIR_ORDER == Order::MAX.get() as usize);

/// The zone.
pub(super) struct Zone {
    geometry: Geometry,
    owners: OwnerMap,
    trees: &'static mut [[u64; TREE_WORDS]],
    /// By the order of the largest free block and by mobility.
    sets: PageblockSets<SETS>,
    /// By use, of movable pageblocks alone.
    by_use: PageblockSets<USE_SETS>,
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
        self.counts.allocations.add(wanted, 1);
        self.settle(pageblock, before, after);
        Some(self.frame(pageblock, start_of(node, wanted)))
    }

    /// Takes a block back that [`Zone::take`] gave out with the same order.
    ///
    /// # Panics
    /// If it never did, as far as that is seen: the owner map is broken.
    pub(super) fn give_back(&mut self, first: Pfn, order: Order) {
        let (pageblock, offset) = self.locate(first);
        let order = usize::from(order.get());
        self.counts.frees.add(order, 1);
        if order == PAIR_ORDER {
            return self.insert_pair(pageblock);
        }
        let _merges = self.insert(pageblock, node_for(offset, order), order);
    }

    /// Counters and free blocks.
    pub(super) fn stats(&self) -> ZoneStats {
        self.counts.stats()
    }

    /// A pageblock with a free block of at least `wanted`, which is no pair, that becomes or stays of that mobility.
    #[inline(always)]
    fn find(&mut self, wanted: usize, mobility: Mobility) -> Option<usize> {
        let serving = serving(self.sets.filled(), mobility, wanted);
        if serving == 0 {
            return self.find_elsewhere(wanted, mobility);
        }
        self.sets.first(serving.trailing_zeros() as usize)
    }

    /// Where no pageblock of the kind serves: one that is free, of a pair only if there is no other, or one of the other
    /// kind.
    ///
    /// An immovable block makes a movable pageblock immovable, so it goes where the largest block is free, and
    /// those after it go there too; a movable one goes where it fits best and changes nothing.
    #[inline(never)]
    fn find_elsewhere(&mut self, wanted: usize, mobility: Mobility) -> Option<usize> {
        let filled = self.sets.filled();
        let free = filled & FREE_SETS;
        if free == 0 && mobility == Mobility::Movable {
            let serving = serving(filled, Mobility::Immovable, wanted);
            let set = (serving != 0).then(|| serving.trailing_zeros() as usize)?;
            return self.sets.first(set);
        }
        let pageblock = if free == 0 {
            let set = serving(filled, Mobility::Movable, wanted).checked_ilog2()?;
            self.sets.first(set as usize)?
        } else {
            let set = free.trailing_zeros() as usize;
            let pageblock = self.sets.first(set)?;
            if set == PAIR_SET {
                self.split_pair(pageblock);
            }
            pageblock
        };
        self.set_state(pageblock, self.state(pageblock).of(mobility));
        Some(pageblock)
    }

    /// Frees a block: merges it with its buddy as long as that is free too. Answers how often.
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
        let after = tree.state;
        if merged < before.above_largest() {
            self.settle(pageblock, before, after);
        } else if merged < ROOT_ORDER {
            self.settle(pageblock, before, after.with_largest(merged));
        } else {
            self.became_free(pageblock, before);
        }
        merged - order
    }

    /// Writes the state of a pageblock and moves it into the sets where it now belongs.
    #[inline(always)]
    fn settle(&mut self, pageblock: usize, before: State, after: State) {
        self.trees[pageblock][STATE] = after.0;
        if after.is_elsewhere(before) {
            self.move_to_other_sets(pageblock, before, after);
        }
    }

    #[inline(never)]
    fn move_to_other_sets(&mut self, pageblock: usize, before: State, after: State) {
        if after.set() != before.set() {
            self.sets.remove(before.set(), pageblock);
            self.sets.insert(after.set(), pageblock);
        }
        if after.use_set() != before.use_set() {
            self.by_use.remove(before.use_set(), pageblock);
            self.by_use.insert(after.use_set(), pageblock);
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
    fn locate(&self, frame: Pfn) -> (usize, usize) {
        let index = self.geometry.index(frame);
        let index = index.expect("a block that was handed out is managed");
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
