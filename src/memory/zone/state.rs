//! What there is to know of a pageblock without a look at its tree, in one word, and which sets it stands in for that.

use super::tree::{PAGEBLOCK_FRAMES, ROOT_ORDER};
use crate::memory::frames::Mobility;

/// The word. Bits 32 to 37 together are the number of the pageblock's set.
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

/// How many sets there are by the order of the largest free block: those of pageblocks that are movable or free, then
/// those of immovable ones. A pageblock with nothing free, or isolated, is in none.
pub(super) const SETS: usize = 32;
/// How many sets of movable pageblocks there are by use.
pub(super) const USE_SETS: usize = (PAGEBLOCK_FRAMES >> USE_STEP_SHIFT) + 1;
/// The set of pageblocks that are free with their buddies.
pub(super) const PAIR_SET: usize = ROOT_ORDER + 2;
/// Of the sets, a bit each, those of pageblocks that are free.
pub(super) const FREE_SETS: u64 = 0b11 << (PAIR_SET - 1);

/// Of the `filled` sets, a bit each, those of partly free pageblocks of that mobility with a free block of at least
/// `order`.
#[inline(always)]
pub(super) fn serving(filled: u64, mobility: Mobility, order: usize) -> u64 {
    let first = match mobility {
        Mobility::Movable => 0,
        Mobility::Immovable => (IMMOVABLE >> SET_SHIFT) as usize,
    };
    let all = ((1 << (ROOT_ORDER + 1)) - 1) << first;
    let too_small = first + order + 1;
    (filled & all) >> too_small << too_small
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

    /// True if it may belong into other sets than `other`.
    #[inline(always)]
    pub(super) fn is_elsewhere(self, other: Self) -> bool {
        (self.0 ^ other.0) >> (USED_SHIFT + USE_STEP_SHIFT) != 0
    }

    /// The set that the pageblock belongs into; none if that is no number of a set.
    #[inline(always)]
    pub(super) fn set(self) -> usize {
        if self.0 & LARGEST == 0 {
            return SETS;
        }
        (self.0 >> SET_SHIFT) as usize
    }

    /// The set by use that it belongs into; none if that is no number of a set.
    #[inline(always)]
    pub(super) fn use_set(self) -> usize {
        if self.0 & (IMMOVABLE | ISOLATED) != 0 {
            return USE_SETS;
        }
        (self.0 >> (USED_SHIFT + USE_STEP_SHIFT) & 0x1f) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pageblock_is_in_the_set_of_its_largest_block_and_if_movable_in_that_of_its_use() {
        let mut state = State::FREE_PAIR;
        assert_eq!((state.set(), state.use_set(), state.used()), (11, 0, 0));
        state = state.with_above_largest(4);
        state.add_used(33);
        assert_eq!((state.set(), state.use_set(), state.used()), (4, 2, 33));
        state.sub_used(32);
        assert_eq!((state.set(), state.use_set(), state.used()), (4, 1, 1));
        state = state.of(Mobility::Immovable);
        assert_eq!((state.set(), state.use_set()), (20, USE_SETS));
        assert_eq!(state.isolated(true).use_set(), USE_SETS);
        assert!(state.isolated(true).set() >= SETS);
        let full = State::FULL.of(Mobility::Movable);
        assert_eq!((full.set(), full.use_set()), (SETS, USE_SETS - 1));
    }

    #[test]
    fn sets_serve_by_mobility_and_order() {
        let all = (1 << SETS) - 1;
        assert_eq!(serving(all, Mobility::Movable, 0), 0b11_1111_1110);
        assert_eq!(serving(all, Mobility::Movable, 9), 0);
        assert_eq!(serving(all, Mobility::Immovable, 7), 0b11_0000_0000 << 16);
        assert_eq!(serving(all, Mobility::Immovable, 8), 1 << 25);
    }
}
