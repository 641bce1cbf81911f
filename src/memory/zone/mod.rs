//! The zone: all frames the image manages, as a buddy system over bitmaps.
//!
//! Blocks of 2^0 to 2^10 frames are split on demand and merged as soon as both halves are free. All metadata
//! is out of line, 0.031 % of memory: free frames are never touched, so they can be unmapped, reported to the
//! host or left cold, and a stray write cannot damage the allocator.
//!
//! Memory is cut into chunks of 4 MiB ([`geometry`]). Each has a tree of bits ([`tree`]) and stands in one of
//! eleven sets ([`chunk_set`]), by the order of its largest free block. A request is met from the lowest chunk
//! of the smallest largest block that serves (best fit: a whole chunk is split last), and there from the
//! smallest, lowest block. Both searches are a few find-first-set steps, whatever memory looks like.
//!
//! Always true: every managed frame is in exactly one free block, page cache or owner's hands; two free
//! buddies are merged; the counts agree with the bits. The trees of untouched chunks are not written at boot
//! but for three words ("closed"): a chunk is opened when its first block is split off or handed out.
//!
//! Flow: [`super::manager`] calls with the zone locked and preemption disabled, and keeps the [`owners`] map,
//! so a block that comes to [`Zone::give_back`] is known to have been taken. Limits: 16 separate banks; the
//! time of an allocation is not measured (`nos_buddy_allocation_seconds` would read a clock on every call).

pub(super) mod chunk_set;
pub(super) mod geometry;
pub(super) mod owners;
pub(super) mod spans;
pub(super) mod tree;
mod verify;

#[cfg(test)]
mod tests;

use super::frames::{Mobility, Order, Pfn};
use chunk_set::ChunkSet;
use core::ops::Range;
use geometry::{Geometry, Place};
use owners::OwnerMap;
use tree::{ROOT, TREE_WORDS, Tree, order_of};
use verify::blocks_of;

/// A number for each order.
pub(super) type PerOrder = [u64; Order::COUNT];

/// What the zone has done since boot, and the free blocks it has now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ZoneStats {
    /// Blocks that left the zone.
    pub(super) allocations: PerOrder,
    /// Blocks that came back.
    pub(super) frees: PerOrder,
    /// Blocks of that order split.
    pub(super) splits: PerOrder,
    /// Blocks of that order formed by merging.
    pub(super) merges: PerOrder,
    /// Free blocks now.
    pub(super) free_blocks: PerOrder,
}

/// The zone.
pub(super) struct Zone {
    geometry: Geometry,
    owners: OwnerMap,
    trees: &'static mut [[u64; TREE_WORDS]],
    /// Chunks by the order of their largest free block.
    by_largest: [ChunkSet; Order::COUNT],
    /// A bit for each set that is not empty.
    filled_sets: u32,
    stats: ZoneStats,
}

impl Zone {
    /// Words of storage for the trees and sets of `geometry`.
    pub(super) fn storage_words(geometry: &Geometry) -> usize {
        let chunks = geometry.chunks();
        chunks * TREE_WORDS + Order::COUNT * ChunkSet::storage_words(chunks)
    }

    /// A zone over the frames of `spans`, all of them free.
    ///
    /// `geometry` covers the spans, `owners` was made for it, and `storage` has [`Zone::storage_words`] words
    /// of any content.
    pub(super) fn new(
        geometry: Geometry,
        owners: OwnerMap,
        storage: &'static mut [u64],
        spans: impl Iterator<Item = Range<u64>>,
    ) -> Self {
        let chunks = geometry.chunks();
        let (trees, mut sets) = storage.split_at_mut(chunks * TREE_WORDS);
        let (trees, _) = trees.as_chunks_mut();
        for tree in trees.iter_mut() {
            Tree(tree).close_empty();
        }
        let by_largest = core::array::from_fn(|_| {
            let set = sets
                .split_off_mut(..ChunkSet::storage_words(chunks))
                .expect("the storage has room for a set an order");
            ChunkSet::new(chunks, set)
        });
        let mut zone = Self {
            geometry,
            owners,
            trees,
            by_largest,
            filled_sets: 0,
            stats: ZoneStats::default(),
        };
        for span in spans {
            zone.add(span);
        }
        zone.stats.merges = PerOrder::default();
        zone
    }

    /// Takes a free block, if there is one.
    pub(super) fn take(&mut self, order: Order, _mobility: Mobility) -> Option<Pfn> {
        let wanted = usize::from(order.get());
        let serving = self.filled_sets >> wanted << wanted;
        if serving == 0 {
            return None;
        }
        let largest = serving.trailing_zeros() as usize;
        let chunk = self.by_largest[largest]
            .first()
            .expect("the set's bit says it is not empty");
        self.open(chunk);
        let mut tree = Tree(&mut self.trees[chunk]);
        let mut node = tree
            .first_fit(wanted)
            .expect("the chunk has a block of its largest order");
        tree.remove(node);
        let found = order_of(node);
        self.stats.free_blocks[found] -= 1;
        for split in (wanted + 1..=found).rev() {
            node *= 2;
            tree.insert(node + 1);
            self.stats.free_blocks[split - 1] += 1;
            self.stats.splits[split] += 1;
        }
        self.stats.allocations[wanted] += 1;
        let remaining = tree.largest_order();
        self.move_chunk(chunk, Some(largest), remaining);
        Some(self.geometry.frame(Place { chunk, node }))
    }

    /// Takes a block back that [`Zone::take`] gave out with the same order.
    ///
    /// # Panics
    /// If it never did, as far as that is seen: the owner map is broken.
    pub(super) fn give_back(&mut self, first: Pfn, order: Order) {
        let place = self.geometry.place(first, order);
        self.insert(place.expect("a block that was handed out is managed"));
        self.stats.frees[usize::from(order.get())] += 1;
    }

    /// Takes single frames into `pages`, from its start; answers how many there were.
    pub(super) fn take_pages(&mut self, mobility: Mobility, pages: &mut [Pfn]) -> usize {
        let mut taken = 0;
        while taken < pages.len()
            && let Some(page) = self.take(Order::ZERO, mobility)
        {
            pages[taken] = page;
            taken += 1;
        }
        taken
    }

    /// Takes single frames back that it gave out, in any order.
    ///
    /// # Panics
    /// As [`Zone::give_back`].
    pub(super) fn give_back_pages(&mut self, pages: &[Pfn]) {
        for &page in pages {
            self.give_back(page, Order::ZERO);
        }
    }

    /// Counters and free blocks.
    pub(super) fn stats(&self) -> ZoneStats {
        self.stats
    }

    /// Frees a block: merges it with its buddy as long as that is free too.
    fn insert(&mut self, Place { chunk, mut node }: Place) {
        let mut tree = Tree(&mut self.trees[chunk]);
        assert!(
            !tree.is_free(node),
            "a block in hand is marked free: {chunk}/{node}"
        );
        let before = tree.largest_order();
        let mut order = order_of(node);
        while node != ROOT && tree.is_free(node ^ 1) {
            tree.remove(node ^ 1);
            self.stats.free_blocks[order] -= 1;
            node /= 2;
            order += 1;
            self.stats.merges[order] += 1;
        }
        tree.insert(node);
        self.stats.free_blocks[order] += 1;
        let after = tree.largest_order();
        self.move_chunk(chunk, before, after);
    }

    /// Adds a run of frames as the largest blocks it is made of; whole chunks stay closed.
    fn add(&mut self, span: Range<u64>) {
        let whole_chunks = span.start.next_multiple_of(Order::MAX.frames())
            ..span.end / Order::MAX.frames() * Order::MAX.frames();
        if whole_chunks.is_empty() {
            return self.add_partial(span);
        }
        self.add_partial(span.start..whole_chunks.start);
        let first = self.place(whole_chunks.start, Order::MAX).chunk;
        // A span lies within one bank, where the chunks are numbered without gaps.
        let whole = (whole_chunks.end - whole_chunks.start) / Order::MAX.frames();
        self.add_whole(first..first + whole as usize);
        self.add_partial(whole_chunks.end..span.end);
    }

    /// Adds frames that make up no whole chunk.
    fn add_partial(&mut self, span: Range<u64>) {
        for (first, order) in blocks_of(span.start, span.end) {
            let place = self.place(first, order);
            if !self.owners.is_open(place.chunk) {
                Tree(&mut self.trees[place.chunk]).open();
                self.owners.open_as_hole(place.chunk);
            }
            self.owners.manage(Pfn(first), order);
            self.insert(place);
        }
    }

    fn place(&self, first: u64, order: Order) -> Place {
        let place = self.geometry.place(Pfn(first), order);
        place.expect("the geometry covers the spans")
    }

    /// Makes each of these closed chunks one free block; boot does this for nearly all of memory.
    fn add_whole(&mut self, chunks: Range<usize>) {
        let largest = usize::from(Order::MAX.get());
        self.stats.free_blocks[largest] += chunks.len() as u64;
        self.filled_sets |= 1 << largest;
        for chunk in chunks {
            Tree(&mut self.trees[chunk]).insert(ROOT);
            self.by_largest[largest].insert(chunk);
        }
    }

    /// Writes the bits of a chunk that were left as they were at boot.
    #[inline]
    fn open(&mut self, chunk: usize) {
        if !self.owners.is_open(chunk) {
            self.open_closed(chunk);
        }
    }

    #[cold]
    fn open_closed(&mut self, chunk: usize) {
        Tree(&mut self.trees[chunk]).open();
        self.owners.open(chunk);
    }

    /// Moves a chunk from one set to another; `None` stands for no set, the chunk having no free block.
    #[inline]
    fn move_chunk(&mut self, chunk: usize, from: Option<usize>, to: Option<usize>) {
        if from != to {
            self.move_to_another_set(chunk, from, to);
        }
    }

    #[inline(never)]
    fn move_to_another_set(&mut self, chunk: usize, from: Option<usize>, to: Option<usize>) {
        if let Some(from) = from
            && self.by_largest[from].remove(chunk)
        {
            self.filled_sets &= !(1 << from);
        }
        if let Some(to) = to {
            self.by_largest[to].insert(chunk);
            self.filled_sets |= 1 << to;
        }
    }
}

impl ZoneStats {
    /// Frames in the free blocks.
    pub(super) fn free_frames(&self) -> u64 {
        self.free_frames_below(Order::COUNT)
    }

    /// Of the free frames, how many parts in a million lie in blocks smaller than `order`; 0 if none is free.
    pub(super) fn fragmentation_millionths(&self, order: Order) -> u64 {
        let too_small = self.free_frames_below(order.get().into());
        (too_small * 1_000_000)
            .checked_div(self.free_frames())
            .unwrap_or(0)
    }

    fn free_frames_below(&self, order: usize) -> u64 {
        let blocks = self.free_blocks[..order].iter().enumerate();
        blocks.map(|(order, blocks)| blocks << order).sum()
    }
}
