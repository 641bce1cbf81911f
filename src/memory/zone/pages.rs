//! Single frames by the batch: a page cache's visit to the zone.
//!
//! A batch costs few instructions a frame where frames lie together: a block is taken whole instead of split down
//! frame by frame, and the sets are touched once a pageblock; frames that come back together are merged first.

use super::tree::{Tree, node_for, order_of, start_of};
use super::verify::blocks_of;
use super::{PAIR_ORDER, Zone};
use crate::memory::frames::{Mobility, Pfn};

/// Most pageblocks and blocks that a batch is taken from, so that a visit costs less than 5,000 instructions
/// wherever the frames lie.
const STEPS_MAX: usize = 40;
/// A visit that brings frames back ends after so many steps, for the same reason.
const STEPS_MAX_BACK: usize = 128;
/// Steps for a block that comes back; each merge is one more.
const STEPS_A_BLOCK: usize = 3;

impl Zone {
    /// Takes single frames into `pages`, from its start; answers how many. If there is one it takes one, but it may
    /// take fewer than there are: not more than a visit has time for.
    pub(in crate::memory) fn take_pages(&mut self, mobility: Mobility, pages: &mut [Pfn]) -> usize {
        let mut taken = 0;
        let mut steps = STEPS_MAX;
        while taken < pages.len()
            && steps > 1
            && let Some(pageblock) = self.find(0, mobility)
        {
            steps -= 1;
            taken += self.take_pages_of(pageblock, &mut pages[taken..], &mut steps);
        }
        self.counts.took(0, taken as u64);
        taken
    }

    /// Takes frames of one pageblock, which has a free one: the smallest blocks first, then the lowest.
    #[inline]
    fn take_pages_of(&mut self, pageblock: usize, pages: &mut [Pfn], steps: &mut usize) -> usize {
        let start = self.frame(pageblock, 0);
        let mut tree = Tree::of(&mut self.trees[pageblock]);
        let before = tree.state;
        let mut taken = 0;
        while taken < pages.len()
            && *steps > 0
            && let Some(mut node) = tree.first_fit(0)
        {
            *steps -= 1;
            let pages = &mut pages[taken..];
            let mut order = order_of(node);
            if order == 0 {
                taken += tree.take_frames(node, start, pages);
                continue;
            }
            tree.remove(node);
            while pages.len() >> order == 0 {
                self.counts.splits.add(order, 1);
                order -= 1;
                node *= 2;
                tree.insert(node + 1);
            }
            self.counts.splits.add_all_below(order);
            write_run(
                Pfn(start.0 + start_of(node, order) as u64),
                &mut pages[..1 << order],
            );
            taken += 1 << order;
        }
        tree.state.add_used(taken);
        tree.state = tree.state.with_above_largest(tree.find_above_largest());
        let after = tree.state;
        self.settle(pageblock, before, after);
        taken
    }

    /// Takes single frames back that it gave out, in any order.
    ///
    /// # Panics
    /// As [`Zone::give_back`].
    pub(in crate::memory) fn give_back_pages(&mut self, pages: &[Pfn]) {
        let mut rest = pages;
        while !rest.is_empty() {
            rest = &rest[self.give_back_some(rest)..];
        }
    }

    /// Takes the first of these single frames back, as many as a visit has time for; answers how many. It takes all
    /// if there are at most 32 and each is merged once on the mean.
    ///
    /// # Panics
    /// As [`Zone::give_back`].
    pub(in crate::memory) fn give_back_some(&mut self, pages: &[Pfn]) -> usize {
        let mut rest = pages;
        let mut steps = 0;
        while let [first, after @ ..] = rest
            && steps < STEPS_MAX_BACK
        {
            let follows = |&(page, number): &(&Pfn, u64)| page.0 == first.0 + number;
            let run = 1 + after.iter().zip(1..).take_while(follows).count();
            rest = &rest[run..];
            steps += if run == 1 {
                let (pageblock, offset) = self.locate(*first);
                STEPS_A_BLOCK + self.insert(pageblock, node_for(offset, 0), 0)
            } else {
                self.insert_run(first.0, run as u64)
            };
        }
        let taken = pages.len() - rest.len();
        self.counts.came_back(0, taken as u64);
        taken
    }

    /// Frees frames that follow each other, as the largest blocks that they are made of; answers the steps.
    #[inline(never)]
    fn insert_run(&mut self, first: u64, frames: u64) -> usize {
        let mut steps = 0;
        for (first, order) in blocks_of(first, first + frames) {
            let order = usize::from(order.get());
            self.counts.merges.add_all_below(order);
            let (pageblock, offset) = self.locate(Pfn(first));
            steps += STEPS_A_BLOCK;
            if order == PAIR_ORDER {
                self.insert_pair(pageblock);
            } else {
                steps += self.insert_block(pageblock, offset, order);
            }
        }
        steps
    }
}

/// Writes frames that follow each other.
#[inline(always)]
fn write_run(first: Pfn, pages: &mut [Pfn]) {
    let mut next = first.0;
    let (fours, rest) = pages.as_chunks_mut::<4>();
    for four in fours {
        *four = [Pfn(next), Pfn(next + 1), Pfn(next + 2), Pfn(next + 3)];
        next += 4;
    }
    for page in rest {
        *page = Pfn(next);
        next += 1;
    }
}
