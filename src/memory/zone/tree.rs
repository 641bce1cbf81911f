//! The free blocks of one chunk (4 MiB, 1,024 frames) as a binary tree of bits.
//!
//! Node 1 is the whole chunk, the children of node `n` are `2n` and `2n + 1`, its buddy is `n ^ 1`; the blocks
//! of order `o` are the nodes from `2^(10 - o)` to `2^(11 - o) - 1`, in the order of their addresses. A set bit
//! is a free block. The nodes fill 32 words (bit 0 is no node); a 33rd has a bit for each word that is not 0,
//! so the first free block of an order is found by a few bit operations whatever the chunk looks like.
//!
//! Always true: no set node has a set ancestor or a set buddy; the 33rd word agrees with the other 32.

use crate::memory::frames::Order;

/// Words of nodes.
pub(in crate::memory) const NODE_WORDS: usize = 2 * Order::MAX.frames() as usize / 64;
/// Words of a tree: the nodes, and the word that says which of them are not 0.
pub(in crate::memory) const TREE_WORDS: usize = NODE_WORDS + 1;
/// The node of the whole chunk.
pub(in crate::memory) const ROOT: usize = 1;

/// Index of the word that says which words of nodes are not 0.
const FILLED: usize = NODE_WORDS;
/// Bits 2^depth to 2^(depth + 1) - 1, by depth: a level of nodes within word 0, or of words within `FILLED`.
const LEVEL: [u64; 6] = [0x2, 0xc, 0xf0, 0xff00, 0xffff_0000, 0xffff_ffff_0000_0000];
/// Orders from this one up have all their nodes in word 0.
const FIRST_ORDER_OF_WORD_0: usize = Order::MAX.get() as usize - 5;

/// One chunk's tree, looked at and changed in place.
pub(in crate::memory) struct Tree<'a>(pub(in crate::memory) &'a mut [u64; TREE_WORDS]);

impl Tree<'_> {
    /// Makes the tree empty without writing the words that [`Tree::open`] will.
    pub(super) fn close_empty(&mut self) {
        self.0[0] = 0;
        self.0[FILLED] = 0;
    }

    /// Writes the words that [`Tree::close_empty`] left as they were.
    pub(super) fn open(&mut self) {
        self.0[1..NODE_WORDS].fill(0);
    }

    pub(in crate::memory) fn is_free(&self, node: usize) -> bool {
        self.0[node / 64] & bit(node) != 0
    }

    pub(super) fn insert(&mut self, node: usize) {
        self.0[node / 64] |= bit(node);
        self.0[FILLED] |= bit(node / 64);
    }

    pub(super) fn remove(&mut self, node: usize) {
        let word = &mut self.0[node / 64];
        *word &= !bit(node);
        if *word == 0 {
            self.0[FILLED] &= !bit(node / 64);
        }
    }

    /// The order of the largest free block: a larger block has a smaller node.
    pub(in crate::memory) fn largest_order(&self) -> Option<usize> {
        if self.0[0] != 0 {
            return Some(order_of(first(self.0[0])));
        }
        (self.0[FILLED] != 0).then(|| order_of(first(self.0[FILLED]) * 64))
    }

    /// The smallest free block of at least `order`, the lowest in memory of that size.
    pub(super) fn first_fit(&self, order: usize) -> Option<usize> {
        (order..Order::COUNT).find_map(|order| self.first_of(order))
    }

    fn first_of(&self, order: usize) -> Option<usize> {
        if order >= FIRST_ORDER_OF_WORD_0 {
            let nodes = self.0[0] & LEVEL[Order::COUNT - 1 - order];
            return (nodes != 0).then(|| first(nodes));
        }
        let words = self.0[FILLED] & LEVEL[FIRST_ORDER_OF_WORD_0 - 1 - order];
        (words != 0).then(|| first(words) * 64 + first(self.0[first(words)]))
    }
}

/// The node of the block of `order` that starts `offset` frames into its chunk.
pub(in crate::memory) fn node_at(offset: u64, order: Order) -> usize {
    ((Order::MAX.frames() + offset) >> order.get()) as usize
}

/// The order of the block that `node` stands for.
pub(in crate::memory) fn order_of(node: usize) -> usize {
    Order::COUNT - 1 - node.ilog2() as usize
}

/// How many frames into its chunk the block of `node` starts.
pub(in crate::memory) fn offset_of(node: usize) -> u64 {
    ((node as u64) << order_of(node)) - Order::MAX.frames()
}

fn bit(index: usize) -> u64 {
    1 << (index % 64)
}

fn first(word: u64) -> usize {
    word.trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(number: usize) -> Order {
        Order::new(number as u8).expect("an order")
    }

    #[test]
    fn a_node_names_one_block_and_its_order_and_offset_lead_back_to_it() {
        for node in ROOT..64 * NODE_WORDS {
            assert_eq!(node_at(offset_of(node), order(order_of(node))), node);
        }
        assert_eq!(node_at(0, Order::MAX), ROOT);
        assert_eq!(node_at(1023, Order::ZERO), 2047);
    }

    #[test]
    fn the_first_fit_is_the_smallest_block_that_serves_then_the_lowest() {
        let mut words = [0; TREE_WORDS];
        let mut tree = Tree(&mut words);
        for (offset, of) in [(512, 9), (96, 4), (80, 4), (7, 0), (5, 0)] {
            tree.insert(node_at(offset, order(of)));
        }
        let fit = |tree: &Tree<'_>, order| tree.first_fit(order).map(offset_of);
        assert_eq!(fit(&tree, 0), Some(5));
        assert_eq!(fit(&tree, 1), Some(80));
        assert_eq!(fit(&tree, 5), Some(512));
        assert_eq!(fit(&tree, 10), None);
        assert_eq!(tree.largest_order(), Some(9));
    }

    #[test]
    fn every_block_put_in_alone_is_found_and_gone_once_removed() {
        let mut words = [0; TREE_WORDS];
        for node in ROOT..64 * NODE_WORDS {
            let mut tree = Tree(&mut words);
            tree.insert(node);
            assert_eq!(tree.first_fit(0), Some(node));
            assert_eq!(tree.first_fit(order_of(node)), Some(node));
            assert_eq!(tree.first_fit(order_of(node) + 1), None);
            assert_eq!(tree.largest_order(), Some(order_of(node)));
            tree.remove(node);
            assert_eq!(words, [0; TREE_WORDS]);
        }
    }
}
