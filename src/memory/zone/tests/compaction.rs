//! The zone's part in compaction, with owners that move their blocks when asked.

use super::churn::{Churn, Load, Start};
use super::*;
use crate::memory::compaction::{Compacted, Compactible, CompactionPolicy, Move, compact};
use core::cell::Cell;

impl Zone {
    /// Checks sets and counts against the trees.
    fn verify_as_is(&mut self) {
        assert_eq!(self.isolated, None);
        assert_eq!(self.verify_sets(), Verdict::Intact);
        let free: usize = (0..self.trees.len())
            .map(|pageblock| PAGEBLOCK_FRAMES - self.state(pageblock).used())
            .sum();
        assert_eq!(self.stats().free_frames(), free as u64);
    }
}

/// Blocks under churn as their owners see them: each moves when asked, unless it is immovable.
struct Owners {
    churn: Churn,
    /// Which of the held blocks starts at a frame, from the first of memory on; `u32::MAX` if none.
    at: Vec<u32>,
}

impl Owners {
    fn of(churn: Churn) -> Self {
        let mut at = vec![u32::MAX; churn.frames as usize];
        for (index, (first, ..)) in churn.held.iter().enumerate() {
            at[(first.0 - CHUNK) as usize] = index as u32;
        }
        Self { churn, at }
    }

    fn index(&mut self, frame: Pfn) -> &mut u32 {
        &mut self.at[(frame.0 - CHUNK) as usize]
    }

    fn zone(&mut self) -> &mut Zone {
        &mut self.churn.bare.zone
    }
}

impl Compactible for Owners {
    fn isolate_emptiest(&mut self, used_max: usize) -> Option<Range<u64>> {
        self.zone().isolate_emptiest(used_max)
    }

    fn next_block(&mut self, within: Range<u64>, order: Order) -> Option<(Pfn, Order)> {
        let mut frames = within.map(Pfn);
        frames.find_map(|frame| {
            let index = *self.index(frame);
            let held = self.churn.held.get(index as usize)?;
            (held.1 >= order).then_some((frame, held.1))
        })
    }

    fn move_away(&mut self, first: Pfn, order: Order) -> Move {
        let index = *self.index(first);
        if self.churn.held[index as usize].2 == Mobility::Immovable {
            return Move::Refused;
        }
        let Some(to) = self.zone().take_instead_of(first, order) else {
            return Move::NoRoom;
        };
        *self.index(to) = index;
        *self.index(first) = u32::MAX;
        self.churn.held[index as usize].0 = to;
        self.zone().give_back(first, order);
        Move::Done
    }

    fn end_isolation(&mut self, stuck: bool) -> bool {
        let holds = [Mobility::Movable, Mobility::Immovable][usize::from(stuck)];
        self.zone().end_isolation(holds)
    }
}

/// Compacts as far as the policy lets it.
fn compact_all(owners: &mut Owners) -> Compacted {
    compact(owners, CompactionPolicy::DEFAULT, usize::MAX, &|| false)
}

/// Seeds of the churn that is compacted; what compaction reaches is the mean, as runs differ.
const SEEDS: u64 = 4;

#[test]
fn after_churn_most_free_memory_is_in_2_mib_and_after_compaction_nearly_all() {
    for (start, load, least) in [
        (Start::Easy, Load::Frames, 90),
        (Start::Hard, Load::Frames, 90),
        (Start::Easy, Load::Mixed, 75),
        (Start::Hard, Load::Mixed, 75),
        (Start::Easy, Load::SomeImmovable, 75),
        (Start::Hard, Load::SomeImmovable, 75),
    ] {
        let (mut sum, mut pageblocks, mut moves) = (0, 0, 0);
        for seed in 1..=SEEDS {
            let mut owners = Owners::of(Churn::run(start, load, seed));
            let before = owners.churn.delivered();
            let with_immovable = owners.churn.with_immovable();
            let done = compact_all(&mut owners);
            let after = owners.churn.delivered();
            std::println!("{before} % to {after} %, {with_immovable} % immovable: {done:?}");
            owners.zone().verify_as_is();
            let zone = owners.zone();
            let taken = core::iter::from_fn(|| zone.take(order(9), Mobility::Movable)).count();
            let free = owners.churn.frames - owners.churn.used;
            assert_eq!(100 * taken as u64 * CHUNK / 2 / free, after);
            assert!(before >= least || cfg!(miri), "{before} %, seed {seed}");
            assert!(with_immovable <= 20);
            sum += after;
            pageblocks += done.pageblocks;
            moves += done.moves;
        }
        assert!(sum >= 95 * SEEDS || cfg!(miri), "{sum} / {SEEDS} %");
        assert!(moves <= CompactionPolicy::DEFAULT.moves_max * pageblocks);
    }
}

/// Four pageblocks with 100 movable frames in use in each of the first three, 10 more in the second.
fn sparse() -> Owners {
    let mut bare = Bare::new(&[CHUNK..3 * CHUNK]);
    let pages = bare.allocate_pages(Mobility::Movable, 1_536);
    let is_kept = |page: &&Pfn| {
        let (pageblock, offset) = bare.zone.locate(**page);
        offset % 5 == 0 && offset < 500 || pageblock == 1 && offset % 50 == 1 && offset < 500
    };
    let (kept, freed): (Vec<_>, Vec<_>) = pages.iter().partition(is_kept);
    bare.zone.give_back_all(&freed);
    let held = kept
        .iter()
        .map(|&page| (page, Order::ZERO, Mobility::Movable))
        .collect();
    Owners::of(Churn::of(bare, held, 1))
}

#[test]
fn the_emptiest_is_emptied_first_and_its_pages_go_where_most_are() {
    let mut owners = sparse();
    let done = compact(&mut owners, CompactionPolicy::DEFAULT, 1, &|| false);
    let expected = Compacted {
        pageblocks: 1,
        moves: 100,
        stuck: 0,
    };
    assert_eq!(done, expected);
    assert_eq!(owners.zone().state(0).used(), 0);
    assert_eq!(compact_all(&mut owners).pageblocks, 1);
    assert_eq!(
        compact_all(&mut owners),
        Compacted::default(),
        "one is left"
    );
    owners.zone().verify_as_is();
}

#[test]
fn compaction_stops_when_the_data_plane_is_busy_and_leaves_nothing_isolated() {
    let mut owners = sparse();
    let looks = Cell::new(0);
    let is_busy = || {
        looks.set(looks.get() + 1);
        looks.get() > 30
    };
    let done = compact(&mut owners, CompactionPolicy::DEFAULT, 3, &is_busy);
    assert_eq!((done.moves, done.pageblocks), (30, 0));
    owners.zone().verify_as_is();
    assert_eq!(compact_all(&mut owners).pageblocks, 2);
}

#[test]
fn a_pageblock_with_something_that_stays_is_not_tried_again_until_it_was_free() {
    let mut owners = sparse();
    let last = owners
        .churn
        .held
        .iter_mut()
        .rfind(|held| held.0.0 < CHUNK + 512);
    last.expect("a hundred are held").2 = Mobility::Immovable;
    let done = compact_all(&mut owners);
    assert_eq!((done.stuck, done.pageblocks), (1, 2));
    assert_eq!(
        done.moves,
        99 + 100 + 199 + 110,
        "the last once into the second"
    );
    assert!(owners.zone().state(0).is_immovable());
    assert_eq!(compact_all(&mut owners), Compacted::default());
}

#[test]
fn a_request_that_finds_nothing_else_ends_the_isolation() {
    let mut owners = sparse();
    let frames = owners.isolate_emptiest(512).expect("one has 100 in use");
    assert_eq!(frames, CHUNK..CHUNK + 512);
    let free = owners.zone().stats().free_frames();
    let zone = owners.zone();
    let rest: Vec<_> = core::iter::from_fn(|| zone.take(Order::ZERO, Mobility::Movable)).collect();
    assert_eq!(rest.len() as u64, free);
    assert_eq!(
        rest.iter().filter(|page| frames.contains(&page.0)).count(),
        412
    );
    assert!(!owners.end_isolation(false), "it is over");
    let first = owners.churn.held[0].0;
    assert_eq!(owners.move_away(first, Order::ZERO), Move::NoRoom);
}

#[test]
fn a_pageblock_freed_while_isolated_joins_its_buddy_in_the_end() {
    let mut bare = Bare::new(&[CHUNK..2 * CHUNK]);
    let pages = bare.allocate_pages(Mobility::Movable, 3);
    bare.zone.isolate_emptiest(3).expect("three are in use");
    bare.free_pages(&pages);
    assert_eq!(bare.zone.stats().free_blocks[9..], [2, 0]);
    assert_eq!(bare.zone.verify(), Verdict::Rebuilt, "it ends isolations");
    assert_eq!(bare.zone.stats().free_blocks[9..], [0, 1]);
    let pages = bare.allocate_pages(Mobility::Movable, 3);
    bare.zone.isolate_emptiest(3).expect("three are in use");
    bare.free_pages(&pages);
    assert!(bare.allocate(Order::MAX).is_some(), "ends it as well");
    bare.check();
}
