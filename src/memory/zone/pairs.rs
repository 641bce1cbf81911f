//! Blocks of 4 MiB: pageblocks that are buddies and both free.
//!
//! Always true: two buddies that are free are a pair, counted as one block, and both stand in its set and in no
//! other; unless one is isolated.

use super::state::{PAIR_SET, State};
use super::tree::ROOT;
use super::{PAIR_ORDER, Zone, in_two_places};
use crate::memory::frames::{Mobility, Pfn};

impl Zone {
    /// Takes a pair, if there is one.
    #[inline(never)]
    pub(super) fn take_pair(&mut self, mobility: Mobility) -> Option<Pfn> {
        if self.sets.first(PAIR_SET).is_none() {
            // The isolated pageblock may be free, and half of one.
            self.end_isolation(Mobility::Movable);
        }
        let first = self.sets.first(PAIR_SET)?;
        self.open(first / 2);
        for pageblock in [first, first + 1] {
            self.trees[pageblock][0] = 0;
            self.set_state(pageblock, State::FULL.of(mobility));
        }
        self.counts.took(PAIR_ORDER, 1);
        Some(self.frame(first, 0))
    }

    /// Frees a pair, of which this is the first pageblock.
    #[inline(never)]
    pub(super) fn insert_pair(&mut self, first: usize) {
        for pageblock in [first, first + 1] {
            let nodes = &mut self.trees[pageblock][0];
            if *nodes != 0 {
                in_two_places(pageblock, ROOT);
            }
            *nodes = 1 << ROOT;
            self.set_state(pageblock, State::FREE_PAIR);
        }
    }

    /// Notes that a pageblock, whose state was `before`, became free.
    #[inline(never)]
    pub(super) fn became_free(&mut self, pageblock: usize, before: State) {
        if before.is_isolated() {
            self.settle(pageblock, before, State::FREE.isolated(true));
            return;
        }
        self.join_free(pageblock, before);
    }

    /// Makes a pageblock, whose state was `before`, a free one: one block with its buddy if that is free too.
    pub(super) fn join_free(&mut self, pageblock: usize, before: State) {
        let buddy = self.state(pageblock ^ 1);
        if buddy != State::FREE {
            self.settle(pageblock, before, State::FREE);
            return;
        }
        self.settle(pageblock, before, State::FREE_PAIR);
        self.settle(pageblock ^ 1, buddy, State::FREE_PAIR);
        self.counts.merges.add(PAIR_ORDER, 1);
    }

    /// Makes a pair two blocks.
    pub(super) fn split_pair(&mut self, first: usize) {
        self.open(first / 2);
        for pageblock in [first, first + 1] {
            self.set_state(pageblock, State::FREE);
        }
        self.counts.splits.add(PAIR_ORDER, 1);
    }
}
