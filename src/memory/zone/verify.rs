//! The zone after its holder died in the middle of an operation: what is free is worked out anew.
//!
//! A frame is free exactly if it is managed, in nobody's hands and in no page cache, and the owner map and the
//! caches say so: the trees, their states, the sets and the counts of free blocks follow. A block that the dead holder
//! had taken out and not yet handed over is in none of these places, so it is free again. No pageblock is isolated
//! afterwards. Whether one is movable is left as it is: that is written before a block is handed out.
//!
//! The counts of what was done since boot (allocations, splits) are left as they are: the operation cut short
//! may be missing in some of them.

use super::state::State;
use super::tree::{
    NODE_WORDS, PAGEBLOCK_FRAMES, ROOT, STATE, TREE_WORDS, Tree, node_for, order_of,
};
use super::{PAIR_ORDER, PerOrder, Zone};
use crate::memory::frames::{Mobility, Order};
use crate::memory::lock::Verdict;

/// Words of a bit a frame of a pageblock.
const FRAME_WORDS: usize = PAGEBLOCK_FRAMES / 64;

impl Zone {
    /// Puts trees, sets and counts right. The caller holds the locks of all page caches and has marked what they
    /// hold in the owner map.
    pub(in crate::memory) fn verify(&mut self) -> Verdict {
        let mut verdict = match self.isolated.take() {
            Some(_) => Verdict::Rebuilt,
            None => Verdict::Intact,
        };
        let mut free_blocks = PerOrder::default();
        for chunk in 0..self.geometry.chunks() {
            let Some(expected) = self.expected_trees(chunk) else {
                return Verdict::Lost;
            };
            // Of a closed chunk only the first word of nodes and the state mean something.
            let valid = if self.owners.is_open(chunk) {
                NODE_WORDS
            } else {
                1
            };
            for (tree, expected) in self.trees[2 * chunk..].iter_mut().zip(&expected) {
                if tree[..valid] != expected[..valid] || tree[STATE] != expected[STATE] {
                    verdict = Verdict::Rebuilt;
                    tree[..valid].copy_from_slice(&expected[..valid]);
                    tree[STATE] = expected[STATE];
                }
            }
            count_blocks(&expected, &mut free_blocks);
        }
        for (order, blocks) in free_blocks.into_iter().enumerate() {
            let missing = blocks.wrapping_sub(self.counts.free_blocks(order));
            if missing != 0 {
                verdict = Verdict::Rebuilt;
                self.counts.found(order, missing);
            }
        }
        let free_frames = self.stats().free_frames();
        if self.counts.free_frames != free_frames {
            verdict = Verdict::Rebuilt;
            self.counts.free_frames = free_frames;
        }
        verdict.max(self.verify_sets())
    }

    /// The trees that a chunk must have.
    fn expected_trees(&self, chunk: usize) -> Option<[[u64; TREE_WORDS]; 2]> {
        let free = if self.owners.is_open(chunk) {
            self.owners.free_frames(chunk)?
        } else {
            [!0; 2 * FRAME_WORDS]
        };
        let (halves, _) = free.as_chunks::<FRAME_WORDS>();
        let mut trees = [0, 1].map(|half| expected_tree(&halves[half]));
        let is_pair = trees.iter().all(|tree| tree[0] == 1 << ROOT);
        for (half, tree) in trees.iter_mut().enumerate() {
            let mut state = State(tree[STATE]);
            if is_pair {
                state = State::FREE_PAIR;
            }
            // Of what is free none is immovable.
            if state.used() != 0 && self.state(2 * chunk + half).is_immovable() {
                state = state.of(Mobility::Immovable);
            }
            tree[STATE] = state.0;
        }
        Some(trees)
    }

    /// Puts each pageblock into the sets that its state says, and into no others.
    pub(super) fn verify_sets(&mut self) -> Verdict {
        let pageblocks = self.trees.len();
        let mut agrees = self.sets.is_consistent();
        for pageblock in 0..pageblocks {
            agrees &= self.sets.sets_of(pageblock) == self.state(pageblock).sets();
        }
        if agrees {
            return Verdict::Intact;
        }
        self.sets.clear();
        for pageblock in 0..pageblocks {
            let state = self.state(pageblock);
            self.sets.enter(pageblock, state.serving_sets());
            self.sets.enter(pageblock, state.sets_of_use());
        }
        Verdict::Rebuilt
    }
}

/// The tree of a pageblock with these frames free, movable and in no pair.
fn expected_tree(free: &[u64; FRAME_WORDS]) -> [u64; TREE_WORDS] {
    let mut words = [0; TREE_WORDS];
    let mut tree = Tree::of(&mut words);
    let is_free = |frame: &usize| free[frame / 64] & 1 << (frame % 64) != 0;
    tree.state = State::FULL.of(Mobility::Movable);
    let mut first = 0;
    while let Some(start) = (first..PAGEBLOCK_FRAMES).find(is_free) {
        first = (start..PAGEBLOCK_FRAMES)
            .find(|frame| !is_free(frame))
            .unwrap_or(PAGEBLOCK_FRAMES);
        for (offset, order) in blocks_of(start as u64, first as u64) {
            tree.insert(node_for(offset as usize, order.get().into()));
        }
        tree.state.sub_used(first - start);
    }
    tree.state = tree.state.with_above_largest(tree.find_above_largest());
    let state = tree.state;
    words[STATE] = state.0;
    words
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

/// Adds the free blocks of a chunk.
fn count_blocks(trees: &[[u64; TREE_WORDS]; 2], blocks: &mut PerOrder) {
    if State(trees[0][STATE]).above_largest() > PAIR_ORDER {
        blocks[PAIR_ORDER] += 1;
        return;
    }
    for tree in trees {
        for (i, &word) in tree[..NODE_WORDS].iter().enumerate() {
            let mut word = word;
            while word != 0 {
                blocks[order_of(i * 64 + word.trailing_zeros() as usize)] += 1;
                word &= word - 1;
            }
        }
    }
}
