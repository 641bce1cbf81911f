//! What compaction asks of the zone: to set the emptiest movable pageblock aside while it is emptied, and places for
//! what was in it.
//!
//! Always true: at most one pageblock is isolated. It is in no set, so nothing is taken from it; what is given back
//! there stays there, merged, in no pair. A request that finds nothing else ends the isolation.

use super::Zone;
use super::state::{USE_SET, set_of};
use super::tree::{PAGEBLOCK_FRAMES, ROOT_ORDER};
use crate::memory::frames::{Mobility, Order, Pfn};
use core::ops::Range;

impl Zone {
    /// Isolates the emptiest partly used movable pageblock, if it has at most `used_max` frames in use: its frames.
    pub(in crate::memory) fn isolate_emptiest(&mut self, used_max: usize) -> Option<Range<u64>> {
        self.end_isolation(Mobility::Movable);
        // The first set by use is that of pageblocks that are free.
        let partly_used = self.sets.filled() >> (USE_SET + 1);
        let set = (partly_used != 0).then(|| partly_used.trailing_zeros() as usize)?;
        let pageblock = self.sets.first(USE_SET + 1 + set)?;
        let state = self.state(pageblock);
        if state.used() > used_max {
            return None;
        }
        self.isolated = Some(pageblock);
        self.set_state(pageblock, state.isolated(true));
        let first = self.frame(pageblock, 0).0;
        Some(first..first + PAGEBLOCK_FRAMES as u64)
    }

    /// Takes a block in place of `from`, which lies in the isolated pageblock; but not of a free pageblock, as nothing
    /// would be won by that. None as well if its pageblock is not isolated any more.
    pub(in crate::memory) fn take_instead_of(&mut self, from: Pfn, order: Order) -> Option<Pfn> {
        let wanted = usize::from(order.get());
        if wanted >= ROOT_ORDER || self.isolated != Some(self.locate(from).0) {
            return None;
        }
        let pageblock = [Mobility::Movable, Mobility::Immovable]
            .into_iter()
            .find_map(|mobility| self.sets.first(set_of(mobility, wanted)))?;
        Some(self.take_of(pageblock, wanted))
    }

    /// Ends the isolation, if there is one. True if the pageblock is free.
    ///
    /// If it turned out to hold what is [`Mobility::Immovable`], it counts as immovable until it is free, so that it is
    /// not tried again before.
    pub(in crate::memory) fn end_isolation(&mut self, holds: Mobility) -> bool {
        let Some(pageblock) = self.isolated.take() else {
            return false;
        };
        let state = self.state(pageblock);
        if state.used() == 0 {
            self.join_free(pageblock, state);
            return true;
        }
        self.set_state(pageblock, state.isolated(false).of(holds));
        false
    }
}
