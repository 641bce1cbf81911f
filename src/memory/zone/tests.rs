//! Tests of the zone with its owner map, against a plain model of the frames. The zone never touches the
//! frames, so their addresses are made up.
#![expect(
    clippy::single_range_in_vec_init,
    reason = "a list of one range is what is meant"
)]

mod churn;
mod compaction;
mod cuts;
mod zero;

use super::*;
use crate::memory::accounts::Owner;
use crate::memory::lock::Verdict;
use crate::memory::test_support::{Random, atomic_bytes, model_steps, order, size};
use core::ops::Range;
use core::sync::atomic::AtomicU32;
use owners::{NOT_IN_HAND, OwnerStorage, Use};
use std::vec;
use std::vec::Vec;

const CHUNK: u64 = Order::MAX.frames();

/// Steps of the random run between two checks of the sets.
const SETS_EVERY: usize = 32;
/// Steps of the random run between two checks of every frame.
const FRAME_BY_FRAME_EVERY: usize = 8_192;

/// A zone and its owner map, as the memory manager uses them, but without page caches.
struct Bare {
    zone: Zone,
    owners: OwnerMap,
    spans: Vec<Range<u64>>,
}

impl Bare {
    /// Metadata starts as garbage, as RAM does.
    fn new(spans: &[Range<u64>]) -> Self {
        let geometry = Geometry::covering(spans.iter().cloned()).expect("few banks");
        let (marks, frames) = OwnerMap::storage_counts(&geometry);
        let marks = (0..marks).map(|_| AtomicU32::new(u32::MAX));
        let owner_storage = OwnerStorage {
            marks: marks.collect::<Vec<_>>().leak(),
            frames: atomic_bytes(frames, 0x5a),
        };
        let owners = OwnerMap::new(geometry.clone(), owner_storage);
        let storage = vec![u64::MAX; Zone::storage_words(&geometry)].leak();
        let zone = Zone::new(geometry, owners.clone(), storage, spans.iter().cloned());
        Self {
            zone,
            owners,
            spans: spans.to_vec(),
        }
    }

    fn allocate(&mut self, order: Order) -> Option<Pfn> {
        self.allocate_as(Mobility::Immovable, order)
    }

    fn allocate_as(&mut self, mobility: Mobility, order: Order) -> Option<Pfn> {
        let first = self.zone.take(order, mobility)?;
        self.owners.claim(first, order, Use::Block, Owner::KERNEL);
        Some(first)
    }

    fn allocate_pages(&mut self, mobility: Mobility, wanted: usize) -> Vec<Pfn> {
        let mut pages = vec![Pfn(0); wanted];
        let mut taken = self.zone.take_pages(mobility, &mut pages, NOT_IN_HAND);
        // More than a batch are several.
        while wanted > 64 && taken < wanted {
            let more = &mut pages[taken..];
            match self.zone.take_pages(mobility, more, NOT_IN_HAND) {
                0 => break,
                more => taken += more,
            }
        }
        pages.truncate(taken);
        for &page in &pages {
            self.owners
                .claim(page, Order::ZERO, Use::Block, Owner::KERNEL);
        }
        pages
    }

    fn free_pages(&mut self, pages: &[Pfn]) {
        for &page in pages {
            self.owners
                .release(page, Order::ZERO, Use::Block)
                .expect("a frame in hand");
        }
        self.zone.give_back_all(pages);
    }

    fn free(&mut self, first: Pfn, order: Order) -> crate::error::Result<()> {
        self.owners.release(first, order, Use::Block)?;
        self.zone.give_back(first, order);
        Ok(())
    }

    fn managed_frames(&self) -> u64 {
        self.spans.iter().map(|span| span.end - span.start).sum()
    }

    /// Checks the bits against each other and against the counts; returns the free frames.
    fn check(&mut self) -> u64 {
        let mut free_blocks = PerOrder::default();
        for pageblock in 0..self.zone.trees.len() {
            let words = &self.zone.trees[pageblock];
            let state = self.zone.state(pageblock);
            let is_open = self.zone.owners.is_open(pageblock / 2);
            let valid = if is_open { tree::NODE_WORDS } else { 1 };
            let (mut filled, mut free_frames, mut largest) = (0, 0, 0);
            for (i, &word) in words[..valid].iter().enumerate() {
                // Bit 0 of word 0 is no node and never set, so it is nobody's buddy.
                let both = word & (word >> 1) & 0x5555_5555_5555_5555;
                assert_eq!(both, 0, "unmerged buddies in {pageblock} word {i}");
                filled |= u64::from(word != 0) << i;
                let mut nodes = word;
                while nodes != 0 {
                    let order = order_of(i * 64 + nodes.trailing_zeros() as usize);
                    free_blocks[order] += 1;
                    free_frames += 1 << order;
                    largest = largest.max(order + 1);
                    nodes &= nodes - 1;
                }
            }
            assert_eq!(state.0 & 0xffff, filled, "pageblock {pageblock}");
            assert_eq!(state.used(), PAGEBLOCK_FRAMES - free_frames);
            let buddy = self.zone.state(pageblock ^ 1);
            let isolated = state.is_isolated() || buddy.is_isolated();
            assert_eq!(state.is_isolated(), self.zone.isolated == Some(pageblock));
            if free_frames == PAGEBLOCK_FRAMES && buddy.used() == 0 && !isolated {
                largest = PAIR_ORDER + 1;
                if pageblock % 2 == 1 {
                    free_blocks[ROOT_ORDER] -= 2;
                    free_blocks[PAIR_ORDER] += 1;
                }
            }
            assert_eq!(state.above_largest(), largest, "pageblock {pageblock}");
        }
        assert_eq!(self.zone.stats().free_blocks, free_blocks);
        let free_frames = self.zone.stats().free_frames();
        assert_eq!(self.zone.free_frames(), free_frames);
        free_frames
    }

    /// Checks that every pageblock is in its sets and in no others.
    fn check_sets(&mut self) {
        assert_eq!(self.zone.verify_sets(), Verdict::Intact);
    }

    /// Checks frame by frame that exactly those the model calls free are covered by a free block, once.
    fn check_frames(&mut self, is_owned: impl Fn(u64) -> bool) {
        for span in self.spans.clone() {
            for frame in span.step_by(size(1, 61)) {
                let (pageblock, offset) = self.zone.locate(Pfn(frame));
                let is_open = self.zone.owners.is_open(pageblock / 2);
                let tree = Tree::of(&mut self.zone.trees[pageblock]);
                let covering = (0..=ROOT_ORDER).filter(|&order| {
                    let node = node_for(offset, order);
                    (node < 64 || is_open) && tree.is_free(node)
                });
                let expected = usize::from(!is_owned(frame));
                assert_eq!(covering.count(), expected, "frame {frame}");
            }
        }
    }

    fn allocate_all(&mut self, order: Order) -> Vec<Pfn> {
        core::iter::from_fn(|| self.allocate(order)).collect()
    }
}

/// Which frames are in hands, and by which blocks.
struct Model {
    owned: Vec<bool>,
    base: u64,
    blocks: Vec<(Pfn, Order, Mobility)>,
    owned_frames: u64,
}

impl Model {
    fn new(bare: &Bare) -> Self {
        let base = bare
            .spans
            .iter()
            .map(|span| span.start)
            .min()
            .expect("a span");
        let end = bare
            .spans
            .iter()
            .map(|span| span.end)
            .max()
            .expect("a span");
        let mut owned = vec![true; (end - base) as usize];
        for span in &bare.spans {
            owned[(span.start - base) as usize..(span.end - base) as usize].fill(false);
        }
        Self {
            owned,
            base,
            blocks: Vec::new(),
            owned_frames: 0,
        }
    }

    /// Notes a block handed out, every frame of which must have been free.
    fn take(&mut self, first: Pfn, order: Order, mobility: Mobility) {
        assert!(first.0.is_multiple_of(order.frames()), "misaligned block");
        for owned in self.frames(first, order) {
            assert!(!*owned, "a frame in two hands, or of a hole");
            *owned = true;
        }
        self.blocks.push((first, order, mobility));
        self.owned_frames += order.frames();
    }

    fn give_back(&mut self, index: usize) -> (Pfn, Order) {
        let (first, order, _) = self.blocks.swap_remove(index);
        self.frames(first, order).fill(false);
        self.owned_frames -= order.frames();
        (first, order)
    }

    fn frames(&mut self, first: Pfn, order: Order) -> &mut [bool] {
        &mut self.owned[(first.0 - self.base) as usize..][..order.frames() as usize]
    }
}

/// Five chunks in two banks, with ragged ends and holes.
fn with_holes() -> Bare {
    let base = 64 * CHUNK;
    Bare::new(&[
        base + 3..base + 900,
        base + 901..base + CHUNK + 512,
        base + 2 * CHUNK..base + 3 * CHUNK + 1,
        base + 20 * CHUNK + 37..base + 21 * CHUNK - 1,
    ])
}

/// A step of a random run: allocates (rather if `fills`) or frees, one block or a batch of frames.
fn step(bare: &mut Bare, model: &mut Model, random: &mut Random, fills: bool) {
    let mobility = [Mobility::Immovable, Mobility::Movable][random.below(2)];
    let allocates = random.below(100) < if fills { 60 } else { 40 };
    let is_batch = random.below(8) == 0;
    match random.below(50) {
        0 => drop(bare.zone.isolate_emptiest(400)),
        1 => drop(bare.zone.end_isolation(mobility)),
        _ => {}
    }
    if model.blocks.is_empty() || allocates && !is_batch {
        let wanted = order(match random.below(10) {
            0 => random.below(Order::COUNT),
            _ => random.below(3),
        } as u8);
        let before = bare.zone.stats().free_blocks;
        match bare.allocate_as(mobility, wanted) {
            Some(first) => model.take(first, wanted, mobility),
            None => assert!(
                before[usize::from(wanted.get())..].iter().all(|&n| n == 0),
                "refused for nothing"
            ),
        }
    } else if allocates {
        let free = bare.zone.stats().free_frames();
        let pages = bare.allocate_pages(mobility, 1 + random.below(100));
        assert_eq!(pages.is_empty(), free == 0);
        for page in pages {
            model.take(page, Order::ZERO, mobility);
        }
    } else if is_batch {
        // Neighbours in allocation often are neighbours in memory.
        let start = random.below(model.blocks.len());
        let mut pages = Vec::new();
        for index in (start..model.blocks.len().min(start + 70)).rev() {
            if model.blocks[index].1 == Order::ZERO {
                pages.push(model.give_back(index).0);
            }
        }
        if random.below(2) == 0 {
            pages.sort_unstable();
        }
        bare.free_pages(&pages);
    } else {
        let (first, order) = model.give_back(random.below(model.blocks.len()));
        bare.free(first, order).expect("a block in hand");
    }
}

#[test]
fn random_requests_agree_with_a_plain_model_after_each_step() {
    for seed in [1, 0x00de_cade] {
        let mut random = Random::new(seed);
        let mut bare = with_holes();
        let mut model = Model::new(&bare);
        let managed = bare.managed_frames();
        for number in 0..model_steps(100_000) {
            // Fills and empties in turns, so that both ends are met.
            let fills = number / 4_096 % 2 == 0;
            step(&mut bare, &mut model, &mut random, fills);
            assert_eq!(bare.check(), managed - model.owned_frames);
            if number % SETS_EVERY == 0 {
                bare.check_sets();
            }
            if number % FRAME_BY_FRAME_EVERY == 0 {
                bare.check_frames(|frame| model.owned[(frame - model.base) as usize]);
                for &(first, _, mobility) in &model.blocks {
                    let state = bare.zone.state(bare.zone.locate(first).0);
                    assert!(mobility == Mobility::Movable || state.is_immovable());
                }
            }
        }
        bare.zone.end_isolation(Mobility::Movable);
        while !model.blocks.is_empty() {
            let (first, order) = model.give_back(0);
            bare.free(first, order).expect("a block in hand");
        }
        assert_eq!(bare.check(), managed);
        assert_eq!(
            bare.zone.stats().free_blocks,
            with_holes().zone.stats().free_blocks
        );
    }
}

#[test]
#[cfg_attr(
    miri,
    ignore = "takes Miri minutes, and has no other unsafe code than the rest"
)]
fn memory_is_given_out_to_the_last_frame_and_merges_when_it_all_comes_back() {
    let mut bare = with_holes();
    let before = bare.zone.stats().free_blocks;
    let mut frames = bare.allocate_all(Order::ZERO);
    assert_eq!(frames.len() as u64, bare.managed_frames());
    assert_eq!((bare.allocate(Order::ZERO), bare.check()), (None, 0));
    frames.sort_unstable();
    assert!(
        frames.windows(2).all(|pair| pair[0] < pair[1]),
        "a frame was given out twice"
    );
    let in_spans = |pfn: &Pfn| bare.spans.iter().any(|span| span.contains(&pfn.0));
    assert!(
        frames.iter().all(in_spans),
        "a frame of a hole was given out"
    );
    let mut random = Random::new(7);
    while !frames.is_empty() {
        let first = frames.swap_remove(random.below(frames.len()));
        bare.free(first, Order::ZERO).expect("a frame in hand");
    }
    assert_eq!(bare.zone.stats().free_blocks, before);
}

#[test]
fn bad_frees_are_refused_with_the_frame_number_and_change_nothing() {
    let mut bare = with_holes();
    let base = 64 * CHUNK;
    let pair = bare.allocate(order(1)).expect("memory");
    let gone = bare.allocate(Order::ZERO).expect("memory");
    bare.free(gone, Order::ZERO).expect("a frame in hand");
    let before = bare.zone.stats();
    for (why, first, order) in [
        ("twice", gone, 0),
        ("wrong order, smaller", pair, 0),
        ("wrong order, second half", Pfn(pair.0 + 1), 0),
        ("wrong order, larger", Pfn(pair.0 & !3), 2),
        ("misaligned", Pfn(pair.0 + 1), 1),
        ("never handed out", Pfn(base + CHUNK + 100), 0),
        ("a closed chunk", Pfn(base + 2 * CHUNK), 10),
        ("a frame of a closed chunk", Pfn(base + 2 * CHUNK + 77), 0),
        ("a hole", Pfn(base + 900), 0),
        ("between the banks", Pfn(base + 10 * CHUNK), 0),
        ("below all RAM", Pfn(0), 0),
        ("above all RAM", Pfn(u64::MAX), 0),
    ] {
        let error = bare
            .free(first, super::super::test_support::order(order))
            .expect_err(why);
        let bad = crate::error::Kind::BadFree {
            frame: first.0,
            order,
        };
        assert_eq!(error.kind(), bad, "{why}");
    }
    assert_eq!(bare.zone.stats(), before);
    bare.free(pair, order(1)).expect("a block in hand");
    bare.check();
}

#[test]
fn the_largest_block_can_be_freed_once_and_with_its_order_only() {
    let mut bare = Bare::new(&[CHUNK..2 * CHUNK]);
    let first = bare.allocate(Order::MAX).expect("a whole chunk");
    assert!(bare.free(first, Order::ZERO).is_err());
    bare.free(first, Order::MAX).expect("a block in hand");
    assert!(bare.free(first, Order::MAX).is_err());
    assert_eq!(bare.check(), CHUNK);
}

#[test]
fn a_whole_chunk_is_split_only_when_no_partial_one_serves() {
    let mut bare = Bare::new(&[CHUNK..4 * CHUNK + 64]);
    for _ in 0..64 {
        let first = bare.allocate(Order::ZERO).expect("memory");
        assert!(
            first.0 >= 4 * CHUNK,
            "frame {} splits a whole chunk",
            first.0
        );
    }
    assert_eq!(
        bare.allocate(Order::ZERO),
        Some(Pfn(CHUNK)),
        "then the lowest"
    );
}

#[test]
fn the_kinds_are_kept_apart_until_no_other_memory_is_left() {
    let mut bare = Bare::new(&[CHUNK..3 * CHUNK]);
    let pageblock = |bare: &Bare, first: Pfn| bare.zone.locate(first).0;
    let mut taken = [Vec::new(), Vec::new()];
    for number in 0..1_024 {
        let mobility = [Mobility::Immovable, Mobility::Movable][number % 2];
        let first = bare
            .allocate_as(mobility, Order::ZERO)
            .expect("half is free");
        taken[number % 2].push(pageblock(&bare, first));
    }
    assert_eq!(taken, [[0; 512], [1; 512]], "each filled one of the two");
    // The other two are movable now, the last of them with most left.
    for _ in 0..600 {
        bare.allocate_as(Mobility::Movable, Order::ZERO)
            .expect("half is free");
    }
    let stolen = bare.allocate(Order::ZERO).expect("some is free");
    assert_eq!(pageblock(&bare, stolen), 3);
    let state = bare.zone.state(3);
    assert!(state.is_immovable() && state.used() == 89);
    // What is movable is met there as well in the end.
    let rest = bare.allocate_pages(Mobility::Movable, 39);
    assert_eq!((pageblock(&bare, rest[0]), rest.len()), (3, 39));
    bare.check();
}

#[test]
fn a_batch_is_the_lowest_frames_of_the_smallest_blocks_and_its_blocks_come_back_merged() {
    let mut bare = Bare::new(&[CHUNK..2 * CHUNK]);
    let pages = bare.allocate_pages(Mobility::Immovable, 64);
    let in_order: Vec<_> = (CHUNK..CHUNK + 64).map(Pfn).collect();
    assert_eq!(pages, in_order);
    let stats = bare.zone.stats();
    assert_eq!(stats.splits[6..], [1, 1, 1, 1, 1]);
    assert_eq!(stats.splits[1..6], [32, 16, 8, 4, 2], "as if one by one");
    assert_eq!(stats.allocations[0], 64);
    for hole in [5, 9, 10] {
        bare.free(pages[hole], Order::ZERO)
            .expect("a frame in hand");
    }
    let again = bare.allocate_pages(Mobility::Immovable, 5);
    let frames: Vec<_> = again.iter().map(|page| page.0 - CHUNK).collect();
    assert_eq!(frames, [5, 9, 10, 64, 65]);
    bare.free_pages(&in_order);
    assert_eq!(bare.zone.stats().merges[1..7], [32, 16, 8, 4, 2, 1]);
    bare.free_pages(&again[3..]);
    assert_eq!(bare.check(), CHUNK);
    assert_eq!(bare.zone.stats().free_blocks[10], 1);
    assert_eq!(bare.zone.stats().frees[0], 69);
}

#[test]
fn a_batch_ends_before_a_block_is_split_for_the_last_few() {
    let mut bare = Bare::new(&[CHUNK..2 * CHUNK]);
    let taken = |bare: &mut Bare| bare.allocate_pages(Mobility::Immovable, 32).len();
    let odd = bare.allocate(Order::ZERO).expect("memory");
    // Blocks of 1, 2, 4, 8 and 16 are left of the first 32: no other is split for the last frame.
    assert_eq!(taken(&mut bare), 31);
    assert_eq!(taken(&mut bare), 32);
    assert_eq!(
        bare.zone.stats().splits[6],
        1,
        "the next block of 32 is there, and taken whole"
    );
    bare.free(odd, Order::ZERO).expect("a frame in hand");
    bare.check();
}

#[test]
fn frames_of_one_word_come_back_merged_in_whatever_order_and_the_rest_of_a_word_waits() {
    let mut random = Random::new(7);
    let mut bare = Bare::new(&[CHUNK..2 * CHUNK]);
    let mut pages = bare.allocate_pages(Mobility::Immovable, 64);
    for last in (1..pages.len()).rev() {
        pages.swap(last, random.below(last + 1));
    }
    for &page in &pages {
        bare.owners
            .release(page, Order::ZERO, Use::Block)
            .expect("a frame in hand");
    }
    // The batch's last are taken first, and not all of what may go on in the next.
    let before = bare.zone.stats().merges;
    let taken = bare.zone.give_back_some(&pages[14..], Order::ZERO);
    assert!((35..=50).contains(&taken), "{taken}");
    bare.check_sets();
    bare.zone.give_back_all(&pages[..64 - taken]);
    assert_eq!(bare.check(), CHUNK);
    let after = bare.zone.stats().merges;
    let merges: Vec<_> = after.iter().zip(before).map(|(a, b)| a - b).collect();
    assert_eq!(merges[1..7], [32, 16, 8, 4, 2, 1]);
}

#[test]
fn a_visit_ends_when_it_has_taken_its_time() {
    let mut bare = Bare::new(&[CHUNK..9 * CHUNK]);
    let all = bare.allocate_all(Order::ZERO);
    // One frame of each pageblock is left: each that comes back makes its pageblock free.
    let (last, others): (Vec<_>, Vec<_>) = all.iter().partition(|page| page.0 % 512 == 77);
    for page in others {
        bare.free(page, Order::ZERO).expect("a frame in hand");
    }
    for &page in &last {
        bare.owners
            .release(page, Order::ZERO, Use::Block)
            .expect("a frame in hand");
    }
    assert_eq!(last.len(), 16);
    let taken = bare.zone.give_back_some(&last, Order::ZERO);
    assert!((2..12).contains(&taken), "{taken} at once");
    bare.zone.give_back_all(&last[..16 - taken]);
    assert_eq!(bare.check(), 8 * CHUNK);
}

#[test]
#[should_panic(expected = "is marked free")]
fn a_frame_twice_in_a_batch_is_refused() {
    let mut bare = Bare::new(&[CHUNK..2 * CHUNK]);
    let pages = bare.allocate_pages(Mobility::Immovable, 3);
    bare.zone.give_back_all(&[pages[0], pages[2], pages[0]]);
}

#[test]
fn splits_and_merges_are_counted_by_the_order_split_and_the_order_formed() {
    let mut bare = Bare::new(&[CHUNK..CHUNK + 8]);
    assert_eq!(
        bare.zone.stats().merges,
        PerOrder::default(),
        "building merges nothing"
    );
    let first = bare.allocate(order(1)).expect("memory");
    assert_eq!(bare.zone.stats().splits[..5], [0, 0, 1, 1, 0]);
    assert_eq!(bare.zone.stats().free_blocks[..5], [0, 1, 1, 0, 0]);
    bare.free(first, order(1)).expect("a block in hand");
    assert_eq!(bare.zone.stats().merges[..5], [0, 0, 1, 1, 0]);
    assert_eq!(bare.zone.stats().free_blocks[..5], [0, 0, 0, 1, 0]);
    assert_eq!(
        (bare.zone.stats().allocations[1], bare.zone.stats().frees[1]),
        (1, 1)
    );
}

#[test]
fn fragmentation_is_the_share_of_free_memory_in_smaller_blocks() {
    let stats = |free: &[(usize, u64)]| {
        let mut stats = ZoneStats::default();
        free.iter()
            .for_each(|&(order, blocks)| stats.free_blocks[order] = blocks);
        stats
    };
    let mixed = stats(&[(0, 4), (2, 1), (10, 1)]);
    assert_eq!(mixed.free_frames(), 1_032);
    assert_eq!(mixed.fragmentation_millionths(order(0)), 0);
    assert_eq!(mixed.fragmentation_millionths(order(1)), 4_000_000 / 1_032);
    assert_eq!(mixed.fragmentation_millionths(order(10)), 8_000_000 / 1_032);
    assert_eq!(
        stats(&[]).fragmentation_millionths(order(10)),
        0,
        "none free, none too small"
    );
}

#[test]
#[cfg_attr(
    miri,
    ignore = "takes Miri minutes, and has no other unsafe code than the rest"
)]
fn sixteen_gibibytes_are_managed_and_the_metadata_is_a_three_thousandth() {
    let frames = 4 << 20;
    let mut bare = Bare::new(&[CHUNK..CHUNK + frames]);
    let geometry = &bare.zone.geometry;
    let (marks, bytes) = OwnerMap::storage_counts(geometry);
    let bytes = Zone::storage_words(geometry) * 8 + marks * 4 + bytes;
    assert!(bytes as u64 <= frames * 4096 / 3_000, "{bytes} bytes");
    assert_eq!(bare.zone.stats().free_blocks[10], 4096);
    assert_eq!(bare.allocate_all(Order::MAX).len(), 4096);
    assert_eq!(bare.check(), 0);
}
