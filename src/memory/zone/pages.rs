//! Blocks by the batch: a page cache's visit to the zone.
//!
//! A batch costs few instructions a frame where frames lie together: a block is taken whole instead of split down
//! frame by frame, and the sets are touched once a pageblock; frames of one word of the tree that come back together
//! are merged first, in whatever order they come. The owner map is written here as well, many frames at once.
//!
//! A visit ends when it has taken its time: what it moves is counted in steps of about 20 instructions, and the caller is
//! told how far it came.

use super::owners::NOT_IN_HAND;
use super::state::set_of;
use super::tree::{PAGEBLOCK_FRAMES, Tree, node_for, order_of, start_of};
use super::{Zone, in_two_places};
use crate::memory::frames::{Mobility, Order, Pfn};

/// A visit ends after so many steps: what it then has under way ends before 5,000 instructions.
const STEPS_MAX: usize = 120;
/// Steps to find a pageblock and to leave it, and for each block taken out of it.
const STEPS_A_PAGEBLOCK: usize = 8;
const STEPS_A_TAKEN_BLOCK: usize = 3;
/// Most blocks of more than one frame that are taken at once, for the same reason.
const BLOCKS_MAX: usize = 24;
/// Steps for a frame or a block of a word that comes back, and for a block that comes back alone.
const STEPS_A_FRAME: usize = 3;
const STEPS_A_BLOCK: usize = 6;
/// No block is split for less than this part of a batch, or as much.
const SPLIT_DIVISOR: usize = 2;
/// Of a batch smaller than this every frame is fetched.
const SPLIT_MIN: usize = 32;
/// A batch ends where so many frames end, if the next come with the next batch.
const ALIGNMENT: usize = 16;
/// Frames whose nodes lie in one word.
const WORD_FRAMES: u64 = 64;

impl Zone {
    /// Takes single frames into `pages`, from its start, and says `mark` of each in the owner map; answers how many. If
    /// there is one it takes one, but it may take fewer than there are: not more than a visit has time for, and no block
    /// is split for the last half, lest every batch begin and end with small pieces.
    pub(in crate::memory) fn take_pages(
        &mut self,
        mobility: Mobility,
        pages: &mut [Pfn],
        mark: u8,
    ) -> usize {
        let few = match pages.len() {
            0..SPLIT_MIN => 0,
            many => many / SPLIT_DIVISOR,
        };
        let mut taken = 0;
        let mut steps = 0;
        while taken < pages.len() && steps < STEPS_MAX {
            let rest = &mut pages[taken..];
            let is_partial = self.sets.filled() & 1 << set_of(mobility, 0) != 0;
            if rest.len() <= few && !is_partial {
                // A free pageblock is not begun for so few.
                break;
            }
            let Some(pageblock) = self.find(0, mobility) else {
                break;
            };
            steps += STEPS_A_PAGEBLOCK;
            let more = self.take_pages_of(pageblock, rest, mark, few, &mut steps);
            if more == 0 {
                break;
            }
            taken += more;
        }
        self.counts.took(0, taken as u64);
        taken
    }

    /// Takes frames of one pageblock, which has a free one: the smallest blocks first, then the lowest. No block is split
    /// for a `few`.
    #[inline]
    fn take_pages_of(
        &mut self,
        pageblock: usize,
        pages: &mut [Pfn],
        mark: u8,
        few: usize,
        steps: &mut usize,
    ) -> usize {
        let start = self.frame(pageblock, 0);
        let mut tree = Tree::of(&mut self.trees[pageblock]);
        let before = tree.state;
        let mut taken = 0;
        while taken < pages.len()
            && *steps < STEPS_MAX
            && let Some(mut node) = tree.first_fit(0)
        {
            *steps += STEPS_A_TAKEN_BLOCK;
            let pages = &mut pages[taken..];
            let mut order = order_of(node);
            if order == 0 {
                let more = tree.take_frames(node, start, pages);
                self.owners.say_of_pages(pageblock, &pages[..more], mark);
                taken += more;
                continue;
            }
            if pages.len() <= few && pages.len() >> order == 0 {
                break;
            }
            tree.remove(node);
            while pages.len() >> order == 0 {
                self.counts.splits.add(order, 1);
                order -= 1;
                node *= 2;
                tree.insert(node + 1);
            }
            self.counts.left_as_frames.add(order, 1);
            let offset = start_of(node, order);
            self.owners
                .say_of_run(pageblock * PAGEBLOCK_FRAMES + offset, order, mark);
            write_run(Pfn(start.0 + offset as u64), &mut pages[..1 << order]);
            taken += 1 << order;
        }
        tree.state.add_used(taken);
        tree.state = tree.state.with_above_largest(tree.find_above_largest());
        let after = tree.state;
        self.settle(pageblock, before, after);
        taken
    }

    /// Takes blocks into `places`, from its start; answers how many, which may be fewer than there are, as for single frames.
    pub(in crate::memory) fn take_blocks(
        &mut self,
        order: Order,
        mobility: Mobility,
        places: &mut [Pfn],
    ) -> usize {
        let mut taken = 0;
        for place in places.iter_mut().take(BLOCKS_MAX) {
            let Some(first) = self.take(order, mobility) else {
                break;
            };
            *place = first;
            taken += 1;
        }
        taken
    }

    /// Takes the last of these blocks back, which a page cache held, as many as a visit has time for; of frames that are more
    /// than a few and do not end where a larger block does, all but the first. Answers how many. The owner map says of
    /// them that they are free.
    ///
    /// # Panics
    /// As [`Zone::give_back`].
    pub(in crate::memory) fn give_back_some(&mut self, blocks: &[Pfn], order: Order) -> usize {
        let rest = match order {
            Order::ZERO => self.give_back_pages(blocks),
            _ => self.give_back_blocks(blocks, order),
        };
        let taken = blocks.len() - rest;
        self.counts.came_back(order.get().into(), taken as u64);
        taken
    }

    /// Takes the last of these frames back; answers how many are left.
    fn give_back_pages(&mut self, pages: &[Pfn]) -> usize {
        let mut rest = pages;
        let mut steps = 0;
        while steps < STEPS_MAX
            && let [others @ .., last] = rest
        {
            let (pageblock, offset) = self.locate(*last);
            let word = last.0 / WORD_FRAMES;
            if !matches!(others, [.., next] if next.0 / WORD_FRAMES == word) {
                self.owners
                    .say_of_run(pageblock * PAGEBLOCK_FRAMES + offset, 0, NOT_IN_HAND);
                steps += STEPS_A_FRAME + self.insert(pageblock, node_for(offset, 0), 0);
                rest = others;
                continue;
            }
            let (mut frames, mut left) = last_of_word(rest, *last);
            if frames.count_ones() as usize != rest.len() - left {
                in_two_places(pageblock, node_for(offset, 0));
            }
            let may_go_on = left == 0 && rest.len() > ALIGNMENT;
            if may_go_on {
                // Where they end that came last, whether the numbers rise or fall.
                let [end, from] = [rest[0].0 as usize, last.0 as usize];
                left = if end > from {
                    end + 1
                } else {
                    end.wrapping_neg()
                } % ALIGNMENT;
                for page in &rest[..left] {
                    frames &= !(1 << (page.0 % WORD_FRAMES));
                }
            }
            let runs = (frames & !(frames << 1)).count_ones() as usize;
            if steps > 0 && steps + STEPS_A_FRAME * runs > STEPS_MAX {
                break;
            }
            steps += self.insert_word(pageblock, offset / 64 * 64, frames);
            rest = &rest[..left];
            if may_go_on {
                break;
            }
        }
        rest.len()
    }

    /// Frees frames of one word, whose first is `offset` frames into the pageblock, as the largest blocks that they are made
    /// of; answers the steps.
    #[inline(never)]
    fn insert_word(&mut self, pageblock: usize, offset: usize, mut frames: u64) -> usize {
        let mut steps = 0;
        while frames != 0 {
            let start = frames.trailing_zeros();
            let run = (!(frames >> start)).trailing_zeros();
            let alignment = (start | 64).trailing_zeros();
            let order = alignment.min(run.ilog2()) as usize;
            frames &= !(u64::MAX >> (64 - (1 << order)) << start);
            let offset = offset + start as usize;
            self.owners
                .say_of_run(pageblock * PAGEBLOCK_FRAMES + offset, order, NOT_IN_HAND);
            self.counts.came_as_frames.add(order, 1);
            steps += STEPS_A_FRAME + self.insert_block(pageblock, offset, order);
        }
        steps
    }

    /// As [`Zone::give_back_pages`], for blocks that are no single frames.
    fn give_back_blocks(&mut self, blocks: &[Pfn], order: Order) -> usize {
        let mut rest = blocks;
        let mut steps = 0;
        while steps < STEPS_MAX
            && let [others @ .., last] = rest
        {
            let (pageblock, offset) = self.locate(*last);
            let order = usize::from(order.get());
            self.owners
                .say_of_run(pageblock * PAGEBLOCK_FRAMES + offset, order, NOT_IN_HAND);
            steps += STEPS_A_BLOCK + self.insert_block(pageblock, offset, order);
            rest = others;
        }
        rest.len()
    }
}

#[cfg(test)]
impl Zone {
    /// Takes all these frames back.
    pub(super) fn give_back_all(&mut self, pages: &[Pfn]) {
        let mut rest = pages;
        while !rest.is_empty() {
            rest = &rest[..rest.len() - self.give_back_some(rest, Order::ZERO)];
        }
    }
}

/// Of frames the last that lie in one word with `last`, a bit each, and how many come before them.
#[inline(always)]
fn last_of_word(pages: &[Pfn], last: Pfn) -> (u64, usize) {
    let beyond = |page: &Pfn| page.0 ^ last.0;
    let bit = |page: &Pfn| 1 << (page.0 % WORD_FRAMES);
    let mut frames = 0;
    let mut rest = pages;
    // Four at a time, as most often all of a batch do.
    while let [before @ .., a, b, c, d] = rest
        && beyond(a) | beyond(b) | beyond(c) | beyond(d) < WORD_FRAMES
    {
        frames |= bit(a) | bit(b) | bit(c) | bit(d);
        rest = before;
    }
    while let [before @ .., page] = rest
        && beyond(page) < WORD_FRAMES
    {
        frames |= bit(page);
        rest = before;
    }
    (frames, rest.len())
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
