//! What there is to know of a pageblock without a look at its tree, in one word, and which sets it stands in for that.

use super::tree::{PAGEBLOCK_FRAMES, ROOT_ORDER};
use crate::memory::frames::Mobility;
use core::ops::Range;

/// The word.
///
/// | bits | |
/// | --- | --- |
/// | 0 to 15 | which words of nodes are not 0 |
/// | 16 to 25 | frames in use, those that are not managed among them, plus 31 |
/// | 32 to 35 | one more than the order of the largest free block, 0 if there is none; 11 if free with the buddy |
/// | 36 | immovable; never if all of it is free |
/// | 37 | isolated |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State(pub(super) u64);

/// Which words of nodes are not 0.
pub(super) const FILLED: u64 = 0xffff;
const USED_SHIFT: u32 = 16;
/// Pageblocks are told apart by so many frames in use, as a power of two, to find the emptiest.
const USE_STEP_SHIFT: u32 = 5;
/// What is added to the frames in use, so that 0 is a step of its own.
const USE_BIAS: u64 = (1 << USE_STEP_SHIFT) - 1;
const SET_SHIFT: u32 = 32;
const LARGEST: u64 = 0xf << SET_SHIFT;
const IMMOVABLE: u64 = 1 << 36;
const ISOLATED: u64 = 1 << 37;

/// How many sets there are. By the free blocks: sets 1 to 9 are those of movable pageblocks, partly free, with a block of
/// at least order 0 to 8; 10 and 11 those of free pageblocks, alone and in pairs; 17 to 25 those of immovable ones. By
/// use, of movable pageblocks: set 32 is that of free ones, each of the next has 32 frames more in use.
pub(super) const SETS: usize = USE_SET + (PAGEBLOCK_FRAMES >> USE_STEP_SHIFT) + 1;
/// The first set by use.
pub(super) const USE_SET: usize = 32;
/// The set of pageblocks that are free with their buddies.
pub(super) const PAIR_SET: usize = ROOT_ORDER + 2;
/// The set of partly free pageblocks of that mobility with a free block of at least `order`; those that follow, up to
/// that of order 8, are parts of it.
#[inline(always)]
pub(super) fn set_of(mobility: Mobility, order: usize) -> usize {
    let before = match mobility {
        Mobility::Movable => 0,
        Mobility::Immovable => (IMMOVABLE >> SET_SHIFT) as usize,
    };
    before + order + 1
}

impl State {
    /// Nothing is free, nor managed.
    pub(super) const FULL: Self =
        Self((PAGEBLOCK_FRAMES as u64 + USE_BIAS) << USED_SHIFT | IMMOVABLE);
    /// The pageblock is free, its buddy is not.
    pub(super) const FREE: Self = Self(1 | USE_BIAS << USED_SHIFT).with_largest(ROOT_ORDER);
    /// The pageblock is free, and so is its buddy.
    pub(super) const FREE_PAIR: Self = Self::FREE.with_largest(ROOT_ORDER + 1);

    /// Frames in use.
    pub(super) fn used(self) -> usize {
        ((self.0 >> USED_SHIFT & 0x3ff) - USE_BIAS) as usize
    }

    #[inline(always)]
    pub(super) fn add_used(&mut self, frames: usize) {
        self.0 += (frames as u64) << USED_SHIFT;
    }

    #[inline(always)]
    pub(super) fn sub_used(&mut self, frames: usize) {
        self.0 -= (frames as u64) << USED_SHIFT;
    }

    /// The order of the largest free block and one, or 0.
    #[inline(always)]
    pub(super) fn above_largest(self) -> usize {
        ((self.0 & LARGEST) >> SET_SHIFT) as usize
    }

    /// The same, with a largest free block of that order.
    #[inline(always)]
    pub(super) const fn with_largest(self, order: usize) -> Self {
        self.with_above_largest(order + 1)
    }

    /// The same, with that for [`State::above_largest`].
    #[inline(always)]
    pub(super) const fn with_above_largest(self, above: usize) -> Self {
        Self(self.0 & !LARGEST | (above as u64) << SET_SHIFT)
    }

    pub(super) fn is_immovable(self) -> bool {
        self.0 & IMMOVABLE != 0
    }

    /// The same, used for blocks of that mobility.
    pub(super) fn of(self, mobility: Mobility) -> Self {
        Self(match mobility {
            Mobility::Movable => self.0 & !IMMOVABLE,
            Mobility::Immovable => self.0 | IMMOVABLE,
        })
    }

    pub(super) fn is_isolated(self) -> bool {
        self.0 & ISOLATED != 0
    }

    /// The same, isolated or not.
    pub(super) fn isolated(self, isolated: bool) -> Self {
        Self(self.0 & !ISOLATED | if isolated { ISOLATED } else { 0 })
    }

    /// True if it is immovable, and neither isolated nor, on its way to its first block, all free: then its sets are as many
    /// as [`State::above_largest`] says.
    #[inline(always)]
    pub(super) fn is_plainly_immovable(self) -> bool {
        self.0 & (IMMOVABLE | ISOLATED) == IMMOVABLE && self.above_largest() <= ROOT_ORDER
    }

    /// True if it may belong into other sets than `other`: what is in use matters of movable pageblocks alone.
    #[inline(always)]
    pub(super) fn is_elsewhere(self, other: Self) -> bool {
        let same = if self.is_immovable() {
            SET_SHIFT
        } else {
            USED_SHIFT + USE_STEP_SHIFT
        };
        (self.0 ^ other.0) >> same != 0
    }

    /// The sets by free blocks that it belongs into. Those of a pageblock that is partly free begin with that of order 0,
    /// and each holds all members of the next.
    pub(super) fn serving_sets(self) -> Range<usize> {
        let above = self.above_largest();
        let first = ((self.0 & IMMOVABLE) >> SET_SHIFT) as usize + 1;
        if self.is_isolated() {
            0..0
        } else if above > ROOT_ORDER {
            first + above - 1..first + above
        } else {
            first..first + above
        }
    }

    /// The set by use that it belongs into, if it does.
    pub(super) fn sets_of_use(self) -> Range<usize> {
        if self.is_isolated() || self.is_immovable() {
            return 0..0;
        }
        let set = USE_SET + (self.0 >> (USED_SHIFT + USE_STEP_SHIFT) & 0x1f) as usize;
        set..set + 1
    }

    /// The sets that the pageblock belongs into, a bit each.
    pub(super) fn sets(self) -> u64 {
        if self.is_isolated() {
            return 0;
        }
        let above = self.above_largest();
        let serving = if above > ROOT_ORDER {
            1 << above
        } else {
            (2 << above) - 2
        };
        if self.is_immovable() {
            return serving << (IMMOVABLE >> SET_SHIFT);
        }
        serving | 1 << (USE_SET as u64 + (self.0 >> (USED_SHIFT + USE_STEP_SHIFT) & 0x1f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pageblock_is_in_the_sets_that_it_serves_and_if_movable_in_that_of_its_use() {
        let mut state = State::FREE_PAIR;
        assert_eq!((state.sets(), state.used()), (1 << 11 | 1 << 32, 0));
        assert_eq!(State::FREE.sets(), 1 << 10 | 1 << 32);
        state = state.with_largest(3);
        state.add_used(33);
        assert_eq!((state.sets(), state.used()), (0b1_1110 | 1 << 34, 33));
        state.sub_used(32);
        assert_eq!((state.sets(), state.used()), (0b1_1110 | 1 << 33, 1));
        assert_eq!(state.of(Mobility::Immovable).sets(), 0b1_1110 << 16);
        assert_eq!(state.isolated(true).sets(), 0);
        let full = State::FULL;
        assert_eq!(full.sets(), 0);
        assert_eq!(full.of(Mobility::Movable).sets(), 1 << (SETS - 1));
        for (mobility, order) in [(Mobility::Movable, 0), (Mobility::Immovable, 8)] {
            let sets = full.of(mobility).with_largest(order).sets();
            assert_eq!(
                sets as u32,
                sets as u32 & ((2 << set_of(mobility, order)) - 1)
            );
            assert!(sets & 1 << set_of(mobility, order) != 0);
        }
        let full = full.of(Mobility::Movable);
        let partly = (0..ROOT_ORDER).map(|order| full.with_largest(order));
        for state in partly.chain([full, State::FREE, State::FREE_PAIR]) {
            let immovable = state.of(Mobility::Immovable);
            for state in [state, immovable, state.isolated(true)] {
                let sets = state.serving_sets().chain(state.sets_of_use());
                assert_eq!(sets.fold(0, |bits, set| bits | 1 << set), state.sets());
            }
        }
    }
}
