//! The zone as boot makes it: all frames of the spans free, whole chunks of them hardly looked at.

use super::geometry::Geometry;
use super::owners::OwnerMap;
use super::pageblock_sets::PageblockSets;
use super::state::{SETS, State};
use super::stats::ZoneCounts;
use super::tree::{NODE_WORDS, ROOT, STATE, TREE_WORDS};
use super::verify::blocks_of;
use super::{PAIR_ORDER, Zone};
use crate::memory::frames::{Order, Pfn};
use core::ops::Range;

impl Zone {
    /// Words of storage for the trees and sets of `geometry`.
    pub(in crate::memory) fn storage_words(geometry: &Geometry) -> usize {
        let pageblocks = 2 * geometry.chunks();
        pageblocks * TREE_WORDS + PageblockSets::<SETS>::storage_words(pageblocks)
    }

    /// A zone over the frames of `spans`, all of them free.
    ///
    /// `geometry` covers the spans, `owners` was made for it, and `storage` has [`Zone::storage_words`] words
    /// of any content.
    pub(in crate::memory) fn new(
        geometry: Geometry,
        owners: OwnerMap,
        storage: &'static mut [u64],
        spans: impl Iterator<Item = Range<u64>>,
    ) -> Self {
        let pageblocks = 2 * geometry.chunks();
        assert_eq!(
            geometry.chunks(),
            owners.chunks(),
            "they are for one memory"
        );
        let (trees, sets) = storage.split_at_mut(pageblocks * TREE_WORDS);
        let (trees, _) = trees.as_chunks_mut();
        for tree in trees.iter_mut() {
            tree[0] = 0;
            tree[STATE] = State::FULL.0;
        }
        let mut zone = Self {
            geometry,
            owners,
            trees,
            sets: PageblockSets::new(pageblocks, sets),
            isolated: None,
            counts: ZoneCounts::default(),
        };
        for span in spans {
            zone.add(span);
        }
        // What boot does is no merging.
        let found = zone.stats().free_blocks;
        zone.counts = ZoneCounts::default();
        for (order, blocks) in found.into_iter().enumerate() {
            zone.counts.found(order, blocks);
        }
        zone
    }

    /// Adds a run of frames as the largest blocks it is made of; whole chunks stay closed.
    fn add(&mut self, span: Range<u64>) {
        let chunk = Order::MAX.frames();
        let whole = span.start.next_multiple_of(chunk)..span.end / chunk * chunk;
        if whole.is_empty() {
            return self.add_partial(span);
        }
        self.add_partial(span.start..whole.start);
        // A span lies within one bank, where the pageblocks are numbered without gaps.
        let (first, _) = self.locate(Pfn(whole.start));
        let count = 2 * ((whole.end - whole.start) / chunk) as usize;
        for pageblock in first..first + count {
            self.trees[pageblock][0] = 1 << ROOT;
            self.set_state(pageblock, State::FREE_PAIR);
        }
        self.counts.found(PAIR_ORDER, count as u64 / 2);
        self.add_partial(whole.end..span.end);
    }

    /// Adds frames that make up no whole chunk.
    fn add_partial(&mut self, span: Range<u64>) {
        for (first, order) in blocks_of(span.start, span.end) {
            let first = Pfn(first);
            let (pageblock, offset) = self.locate(first);
            if !self.owners.is_open(pageblock / 2) {
                self.clear_trees(pageblock / 2);
                self.owners.open_as_hole(pageblock / 2);
            }
            self.owners.manage(first, order);
            let order = usize::from(order.get());
            self.counts.found(order, 1);
            self.insert_block(pageblock, offset, order);
        }
    }

    /// Writes what was left as it was at boot of a chunk's metadata.
    pub(super) fn open(&mut self, chunk: usize) {
        if !self.owners.is_open(chunk) {
            self.clear_trees(chunk);
            self.owners.open(chunk);
        }
    }

    fn clear_trees(&mut self, chunk: usize) {
        for tree in &mut self.trees[2 * chunk..][..2] {
            tree[1..NODE_WORDS].fill(0);
        }
    }
}
