//! Compaction of what the manager holds: movable pages go where others lie, so that blocks of 2 MiB form again.
//!
//! It runs for a request of such a block that was refused ([`MemoryManager::make_room`]), and when
//! [`MemoryManager::compact`] is called. The page caches are drained first, as what lies there is in nobody's hands and
//! cannot be moved. In the background ([`MemoryManager::compact_in_background`]) they are left alone: no CPU is
//! interrupted for it, and those that are idle have drained theirs.
//!
//! Limits: with two runs at once one ends the isolation of the other, which then stops. A pair of pageblocks (4 MiB)
//! forms only if the two that are emptiest happen to be buddies.

use super::super::compaction::{Compacted, Compactible, CompactionPolicy, Move, compact};
use super::super::frames::{Mobility, Order, Pfn};
use super::super::local_cpu::LocalCpu;
use super::super::page_cache::{ASK_BLOCKS, ASK_STOCKS};
use super::super::zone::PAGEBLOCK_ORDER;
use super::MemoryManager;
use crate::metrics::Counter;
use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

/// What compaction has done since boot.
#[derive(Default)]
pub(in crate::memory) struct CompactionCounts {
    /// Runs.
    pub(in crate::memory) runs: Counter,
    /// Pageblocks that became free by them.
    pub(in crate::memory) pageblocks: Counter,
    /// Pages moved.
    pub(in crate::memory) moves: Counter,
    /// Pageblocks found to hold what could not be moved.
    pub(in crate::memory) stuck: Counter,
}

impl<C: LocalCpu> MemoryManager<C> {
    /// Recovers `wanted` pageblocks of 2 MiB, or as many as can be had within `policy` and before `is_busy`.
    pub fn compact(
        &self,
        policy: CompactionPolicy,
        wanted: usize,
        is_busy: &dyn Fn() -> bool,
    ) -> Compacted {
        if !self.has_movers() {
            return Compacted::default();
        }
        self.drain_all();
        self.run(policy, wanted, is_busy)
    }

    /// Recovers one pageblock, if more of free memory lies scattered than `policy` bears, and `is_busy` leaves the time.
    pub(in crate::memory) fn compact_in_background(
        &self,
        policy: CompactionPolicy,
        is_busy: &dyn Fn() -> bool,
    ) -> Compacted {
        let (scattered, free) = self.in_zone(|zone| (zone.scattered_frames(), zone.free_frames()));
        if !self.has_movers() || scattered * 100 <= free * policy.scattered_max_percent {
            return Compacted::default();
        }
        self.run(policy, 1, is_busy)
    }

    fn run(
        &self,
        policy: CompactionPolicy,
        wanted: usize,
        is_busy: &dyn Fn() -> bool,
    ) -> Compacted {
        let done = compact(&mut Drained(self), policy, wanted, is_busy);
        self.compaction.runs.increment();
        for (counter, count) in [
            (&self.compaction.pageblocks, done.pageblocks),
            (&self.compaction.moves, done.moves),
            (&self.compaction.stuck, done.stuck),
        ] {
            counter.add(count as u64);
        }
        done
    }

    /// Does what there is to do for a request of that order that was refused: compacts for a large one, else has this CPU,
    /// if it `looks_here`, or the others give cached blocks back. False if nothing has changed by that.
    pub(super) fn make_room(&self, order: Order, looks_here: bool) -> bool {
        match order.get().checked_sub(PAGEBLOCK_ORDER) {
            Some(beyond) if self.has_movers() => {
                self.compact(CompactionPolicy::DEFAULT, 1 << beyond, &|| false);
                true
            }
            _ => {
                (looks_here && self.give_back_for(order))
                    || self.ask_others(ASK_BLOCKS | ASK_STOCKS)
            }
        }
    }

    /// Whether there is an owner that moves its pages: anything that compaction could move.
    pub fn has_movers(&self) -> bool {
        self.has_movers.load(Relaxed)
    }
}

/// A manager whose caches have been drained, or are empty enough.
struct Drained<'a, C: 'static>(&'a MemoryManager<C>);

impl<C: LocalCpu> Compactible for Drained<'_, C> {
    fn isolate_emptiest(&mut self, used_max: usize) -> Option<Range<u64>> {
        self.0.in_zone(|zone| zone.isolate_emptiest(used_max))
    }

    fn next_block(&mut self, within: Range<u64>, order: Order) -> Option<(Pfn, Order)> {
        // Movable blocks are single pages, and no other lies in a movable pageblock.
        let mut frames = within.filter(|_| order == Order::ZERO).map(Pfn);
        let page = frames.find(|&frame| self.0.movable(frame).is_some())?;
        Some((page, Order::ZERO))
    }

    fn move_away(&mut self, first: Pfn, order: Order) -> Move {
        let moved = self
            .0
            .relocate(first, |zone| zone.take_instead_of(first, order));
        match moved {
            Move::Refused if self.0.movable(first).is_none() => Move::Done,
            moved => moved,
        }
    }

    fn end_isolation(&mut self, stuck: bool) -> bool {
        let holds = if stuck {
            Mobility::Immovable
        } else {
            Mobility::Movable
        };
        self.0.in_zone(|zone| zone.end_isolation(holds))
    }
}
