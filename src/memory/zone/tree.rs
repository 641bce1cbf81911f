//! The free blocks of one pageblock (2 MiB, 512 frames) as a binary tree of bits, and what there is to know of it.
//!
//! Node 1 is the whole pageblock, the children of node `n` are `2n` and `2n + 1`, its buddy is `n ^ 1`; the blocks
//! of order `o` are the nodes from `2^(9 - o)` to `2^(10 - o) - 1`, in the order of their addresses. A set bit is a
//! free block. The nodes fill 16 words (bit 0 is no node). A 17th, the [`State`], has a bit for each word that is
//! not 0, so the best block is found by a few bit operations whatever the pageblock looks like.
//!
//! Always true: no set node has a set ancestor or a set buddy; the state agrees with the nodes.

use super::state::{FILLED, State};
use crate::memory::frames::{Order, Pfn};

/// Words of nodes.
pub(super) const NODE_WORDS: usize = 16;
/// Words of a tree: the nodes and the state.
pub(super) const TREE_WORDS: usize = NODE_WORDS + 1;
/// The node of the whole pageblock.
pub(super) const ROOT: usize = 1;
/// Its order.
pub(super) const ROOT_ORDER: usize = 9;
/// Frames in a pageblock.
pub(super) const PAGEBLOCK_FRAMES: usize = 1 << ROOT_ORDER;

/// Index of the [`State`].
pub(super) const STATE: usize = NODE_WORDS;

/// One pageblock's tree, changed in place; its state is a copy, to be written back.
pub(super) struct Tree<'a> {
    nodes: &'a mut [u64; NODE_WORDS],
    pub(super) state: State,
}

impl<'a> Tree<'a> {
    #[inline(always)]
    pub(super) fn of([nodes @ .., state]: &'a mut [u64; TREE_WORDS]) -> Self {
        Self {
            nodes,
            state: State(*state),
        }
    }

    /// True if that very block is free; false if it is part of a free one.
    #[inline(always)]
    pub(super) fn is_free(&self, node: usize) -> bool {
        self.nodes[node / 64 % NODE_WORDS] & bit(node) != 0
    }

    #[inline(always)]
    pub(super) fn insert(&mut self, node: usize) {
        self.nodes[node / 64 % NODE_WORDS] |= bit(node);
        self.state.0 |= bit(node / 64);
    }

    #[inline(always)]
    pub(super) fn remove(&mut self, node: usize) {
        let word = &mut self.nodes[node / 64 % NODE_WORDS];
        *word &= !bit(node);
        if *word == 0 {
            self.state.0 &= !bit(node / 64);
        }
    }

    /// The order of the largest free block and one, or 0: a larger block has a smaller node.
    #[inline(always)]
    pub(super) fn find_above_largest(&self) -> usize {
        let filled = self.state.0 & FILLED;
        if filled & 1 != 0 {
            return order_of(first(self.nodes[0])) + 1;
        }
        if filled == 0 {
            return 0;
        }
        order_of(first(filled) * 64) + 1
    }

    /// The smallest free block of at least `order`, the lowest in memory of that size.
    #[inline(always)]
    pub(super) fn first_fit(&self, order: usize) -> Option<usize> {
        // The nodes of a larger block come first: those that serve are below this.
        let end = (2 * PAGEBLOCK_FRAMES) >> order;
        let words = self.state.0 & FILLED & !1 & ((1 << (end / 64)) - 1);
        if words != 0 {
            let word = first(last_level(words));
            return Some(word * 64 + first(self.nodes[word % NODE_WORDS]));
        }
        let nodes = if end < 64 {
            self.nodes[0] & ((1 << end) - 1)
        } else {
            self.nodes[0]
        };
        (nodes != 0).then(|| first(last_level(nodes)))
    }

    /// Takes single frames out of the word of `node`, which is free: the lowest of them, as many as `pages` has room
    /// for. The pageblock starts at `start`. Answers how many.
    #[inline(always)]
    pub(super) fn take_frames(&mut self, node: usize, start: Pfn, pages: &mut [Pfn]) -> usize {
        let index = node / 64 % NODE_WORDS;
        let start = start.0 + (index * 64 - PAGEBLOCK_FRAMES) as u64;
        let mut word = self.nodes[index];
        let mut taken = 0;
        for page in pages {
            *page = Pfn(start + first(word) as u64);
            taken += 1;
            word &= word - 1;
            if word == 0 {
                self.state.0 &= !bit(index);
                break;
            }
        }
        self.nodes[index] = word;
        taken
    }
}

/// The node that a block of `order` would be, `offset` frames into its chunk, if a tree covered a whole chunk.
pub(in crate::memory) fn node_at(offset: u64, order: Order) -> usize {
    ((Order::MAX.frames() + offset) >> order.get()) as usize
}

/// How many frames into its chunk the block of such a node starts.
pub(in crate::memory) fn offset_of(node: usize) -> u64 {
    let order = Order::MAX.frames().ilog2() - node.ilog2();
    ((node as u64) << order) - Order::MAX.frames()
}

/// The node of the block of `order` that starts `offset` frames into its pageblock.
#[inline(always)]
pub(super) fn node_for(offset: usize, order: usize) -> usize {
    (PAGEBLOCK_FRAMES + offset) >> order
}

/// The order of the block that `node` stands for.
#[inline(always)]
pub(super) fn order_of(node: usize) -> usize {
    ROOT_ORDER - last(node as u64)
}

/// How many frames into its pageblock the block of `node`, which has `order`, starts.
#[inline(always)]
pub(super) fn start_of(node: usize, order: usize) -> usize {
    (node << order) - PAGEBLOCK_FRAMES
}

/// Of a level that begins with bit 2^depth: those of the deepest level that has any. `bits` is not 0, bit 0 is.
#[inline(always)]
fn last_level(bits: u64) -> u64 {
    let start = 1 << last(last(bits) as u64);
    bits >> start << start
}

#[inline(always)]
fn bit(index: usize) -> u64 {
    1 << (index % 64)
}

#[inline(always)]
fn first(word: u64) -> usize {
    word.trailing_zeros() as usize
}

#[inline(always)]
fn last(word: u64) -> usize {
    (u64::BITS - 1 - word.leading_zeros()) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(node: usize) -> usize {
        start_of(node, order_of(node))
    }

    #[test]
    fn a_node_names_one_block_and_its_order_and_offset_lead_back_to_it() {
        for node in ROOT..64 * NODE_WORDS {
            assert_eq!(node_for(offset(node), order_of(node)), node);
        }
        assert_eq!(node_for(0, ROOT_ORDER), ROOT);
        assert_eq!(node_for(511, 0), 1023);
    }

    #[test]
    fn the_first_fit_is_the_smallest_block_that_serves_then_the_lowest() {
        let mut words = [0; TREE_WORDS];
        let mut tree = Tree::of(&mut words);
        for (offset, order) in [(256, 8), (96, 4), (80, 4), (7, 0), (5, 0)] {
            tree.insert(node_for(offset, order));
        }
        let fit = |order| tree.first_fit(order).map(offset);
        assert_eq!(fit(0), Some(5));
        assert_eq!(fit(1), Some(80));
        assert_eq!(fit(5), Some(256));
        assert_eq!(fit(9), None);
        assert_eq!(tree.find_above_largest(), 9);
    }

    #[test]
    fn every_block_put_in_alone_is_found_and_gone_once_removed() {
        let mut words = [0; TREE_WORDS];
        for node in ROOT..64 * NODE_WORDS {
            let mut tree = Tree::of(&mut words);
            tree.insert(node);
            assert_eq!(tree.first_fit(0), Some(node));
            assert_eq!(tree.first_fit(order_of(node)), Some(node));
            if node != ROOT {
                assert_eq!(tree.first_fit(order_of(node) + 1), None);
            }
            assert_eq!(tree.find_above_largest(), order_of(node) + 1);
            tree.remove(node);
            assert_eq!(tree.state, State(0));
            assert_eq!(words, [0; TREE_WORDS]);
        }
    }

    #[test]
    fn frames_are_taken_from_one_word_lowest_first() {
        let mut words = [0; TREE_WORDS];
        let mut tree = Tree::of(&mut words);
        for offset in [70, 65, 127, 128] {
            tree.insert(node_for(offset, 0));
        }
        let mut pages = [Pfn(0); 2];
        let node = tree.first_fit(0).expect("four are free");
        assert_eq!(tree.take_frames(node, Pfn(1024), &mut pages), 2);
        assert_eq!(pages, [Pfn(1089), Pfn(1094)]);
        assert_eq!(tree.take_frames(node, Pfn(1024), &mut pages), 1);
        assert_eq!(pages[0], Pfn(1024 + 127));
        assert_eq!(tree.first_fit(0), Some(node_for(128, 0)));
    }
}
