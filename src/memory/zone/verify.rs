//! The zone after its holder died in the middle of an operation: what is free is worked out anew.
//!
//! A frame is free exactly if it is managed, in nobody's hands and in no page cache, and the owner map and the
//! caches say so: the trees, the sets and the counts of free blocks follow. A block that the dead holder had taken out
//! and not yet handed over is in none of these places, so it is free again.
//!
//! The counts of what was done since boot (allocations, splits) are left as they are: the operation cut short
//! may be missing in some of them.

use super::tree::{NODE_WORDS, ROOT, TREE_WORDS, Tree, node_at, order_of};
use super::{ChunkSet, PerOrder, Zone};
use crate::memory::frames::Order;
use crate::memory::lock::Verdict;

const CHUNK_FRAMES: u64 = Order::MAX.frames();

impl Zone {
    /// Puts trees, sets and counts right. The caller holds the locks of all page caches and has marked what they
    /// hold in the owner map.
    pub(in crate::memory) fn verify(&mut self) -> Verdict {
        let mut verdict = Verdict::Intact;
        let mut free_blocks = PerOrder::default();
        for chunk in 0..self.geometry.chunks() {
            let Some(expected) = self.expected_tree(chunk) else {
                return Verdict::Lost;
            };
            let valid = if self.owners.is_open(chunk) {
                0..TREE_WORDS
            } else {
                0..1
            };
            let tree = &mut self.trees[chunk];
            if tree[valid.clone()] != expected[valid.clone()]
                || tree[NODE_WORDS] != expected[NODE_WORDS]
            {
                verdict = Verdict::Rebuilt;
                tree[valid.clone()].copy_from_slice(&expected[valid]);
                tree[NODE_WORDS] = expected[NODE_WORDS];
            }
            count_blocks(&expected, &mut free_blocks);
        }
        if self.stats.free_blocks != free_blocks {
            verdict = Verdict::Rebuilt;
            self.stats.free_blocks = free_blocks;
        }
        verdict.max(self.verify_sets())
    }

    /// The tree that a chunk must have.
    fn expected_tree(&self, chunk: usize) -> Option<[u64; TREE_WORDS]> {
        let mut words = [0; TREE_WORDS];
        let mut tree = Tree(&mut words);
        if !self.owners.is_open(chunk) {
            tree.insert(ROOT);
            return Some(words);
        }
        let free = self.owners.free_frames(chunk)?;
        let is_free = |frame: u64| free[frame as usize / 64] & 1 << (frame % 64) != 0;
        let mut first = 0;
        while let Some(start) = (first..CHUNK_FRAMES).find(|&frame| is_free(frame)) {
            let end = (start..CHUNK_FRAMES).find(|&frame| !is_free(frame));
            first = end.unwrap_or(CHUNK_FRAMES);
            for (offset, order) in blocks_of(start, first) {
                tree.insert(node_at(offset, order));
            }
        }
        Some(words)
    }

    /// Puts each chunk into the set of its largest free block, and into no other.
    fn verify_sets(&mut self) -> Verdict {
        let chunks = self.geometry.chunks();
        let mut filled_sets = 0;
        let mut agrees = self.by_largest.iter().all(ChunkSet::is_consistent);
        for chunk in 0..chunks {
            let largest = Tree(&mut self.trees[chunk]).largest_order();
            filled_sets |= largest.map_or(0, |order| 1 << order);
            agrees &= self
                .by_largest
                .iter()
                .enumerate()
                .all(|(order, set)| set.contains(chunk) == (largest == Some(order)));
        }
        if agrees && filled_sets == self.filled_sets {
            return Verdict::Intact;
        }
        self.filled_sets = filled_sets;
        self.by_largest.iter_mut().for_each(ChunkSet::clear);
        for chunk in 0..chunks {
            if let Some(order) = Tree(&mut self.trees[chunk]).largest_order() {
                self.by_largest[order].insert(chunk);
            }
        }
        Verdict::Rebuilt
    }
}

/// The largest aligned blocks that the frames from `first` to before `end` are made of.
pub(super) fn blocks_of(mut first: u64, end: u64) -> impl Iterator<Item = (u64, Order)> {
    core::iter::from_fn(move || {
        if first >= end {
            return None;
        }
        let alignment = first.trailing_zeros().min(Order::MAX.get().into());
        let order = Order::new(alignment.min((end - first).ilog2()) as u8)?;
        let block = (first, order);
        first += order.frames();
        Some(block)
    })
}

fn count_blocks(tree: &[u64; TREE_WORDS], blocks: &mut PerOrder) {
    for (i, &word) in tree[..NODE_WORDS].iter().enumerate() {
        let mut word = word;
        while word != 0 {
            blocks[order_of(i * 64 + word.trailing_zeros() as usize)] += 1;
            word &= word - 1;
        }
    }
}
