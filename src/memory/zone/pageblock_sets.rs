//! Sets of pageblocks, by number, each of which finds its lowest and highest member in a few steps.
//!
//! Two levels of bits a set: one a pageblock, and one a word of the first level that is not 0. A word of the second
//! level covers 8 GiB, so a search reads one or two words on any machine this image will meet. One word more says
//! which sets are not empty.

use core::ops::Range;

/// `SETS` sets, at most 64; their words live in the zone's metadata, those of the second level of each set first.
#[derive(Debug)]
pub(super) struct PageblockSets<const SETS: usize> {
    /// The second level: words of each set, set after set.
    second: &'static mut [u64],
    /// Words of a set in that.
    second_words: usize,
    /// The first level: of each 64 pageblocks the word of each set, so that sets which follow each other lie together.
    first: &'static mut [[u64; SETS]],
    /// A bit for each set that is not empty.
    filled: u64,
}

impl<const SETS: usize> PageblockSets<SETS> {
    /// Words of storage for sets of numbers below `pageblocks`.
    pub(super) const fn storage_words(pageblocks: usize) -> usize {
        let first_level = pageblocks.div_ceil(64);
        SETS * (first_level + first_level.div_ceil(64))
    }

    /// Empty sets over `storage`, which has [`Self::storage_words`] words of any content.
    pub(super) fn new(pageblocks: usize, storage: &'static mut [u64]) -> Self {
        storage.fill(0);
        let second_words = pageblocks.div_ceil(64).div_ceil(64);
        let (second, first) = storage.split_at_mut(SETS * second_words);
        let (first, _) = first.as_chunks_mut();
        Self {
            second,
            second_words,
            first,
            filled: 0,
        }
    }

    /// Which sets are not empty, a bit each.
    #[inline(always)]
    pub(super) fn filled(&self) -> u64 {
        self.filled
    }

    /// Puts a pageblock into sets that follow each other, of which each holds all members of the next.
    #[inline(always)]
    pub(super) fn enter(&mut self, pageblock: usize, sets: Range<usize>) {
        let words = &mut self.first[pageblock / 64][sets.clone()];
        let is_first = words.last() == Some(&0);
        for word in words {
            *word |= 1 << (pageblock % 64);
        }
        if is_first {
            self.begin_word(pageblock / 64, sets);
        }
    }

    /// Takes a pageblock out of sets that follow each other, of which each holds all members of the next.
    #[inline(always)]
    pub(super) fn leave(&mut self, pageblock: usize, sets: Range<usize>) {
        let words = &mut self.first[pageblock / 64][sets.clone()];
        for word in &mut *words {
            *word &= !(1 << (pageblock % 64));
        }
        if words.last() == Some(&0) {
            self.end_word(pageblock / 64, sets);
        }
    }

    /// Notes in the second level that a word of these sets is not 0.
    #[inline(never)]
    fn begin_word(&mut self, word: usize, sets: Range<usize>) {
        for set in sets {
            self.second[set * self.second_words + word / 64] |= 1 << (word % 64);
            self.filled |= 1 << set;
        }
    }

    /// Notes in the second level of which of these sets a word is 0.
    #[inline(never)]
    fn end_word(&mut self, word: usize, sets: Range<usize>) {
        for set in sets.rev() {
            if self.first[word][set] != 0 {
                break;
            }
            let above = &mut self.second[set * self.second_words + word / 64];
            *above &= !(1 << (word % 64));
            if *above == 0 && (self.second_words == 1 || self.is_empty(set)) {
                self.filled &= !(1 << set);
            }
        }
    }

    /// The lowest member of a set.
    #[inline(always)]
    pub(super) fn first(&self, set: usize) -> Option<usize> {
        let start = set * self.second_words;
        let mut i = 0;
        while self.second[start + i] == 0 {
            i += 1;
            if i == self.second_words {
                return None;
            }
        }
        let word = i * 64 + self.second[start + i].trailing_zeros() as usize;
        Some(word * 64 + self.first[word][set % SETS].trailing_zeros() as usize)
    }

    /// The highest member of a set.
    #[inline(always)]
    pub(super) fn last(&self, set: usize) -> Option<usize> {
        let start = set * self.second_words;
        let mut i = self.second_words;
        loop {
            i = i.checked_sub(1)?;
            let above = self.second[start + i];
            if above != 0 {
                let word = i * 64 + (63 - above.leading_zeros()) as usize;
                let members = self.first[word][set % SETS];
                return Some(word * 64 + (63 - members.leading_zeros()) as usize);
            }
        }
    }

    /// The sets that the pageblock is in, a bit each.
    pub(super) fn sets_of(&self, pageblock: usize) -> u64 {
        let words = self.first[pageblock / 64].iter().enumerate();
        words.fold(0, |sets, (set, word)| {
            sets | (word >> (pageblock % 64) & 1) << set
        })
    }

    #[inline(always)]
    fn is_empty(&self, set: usize) -> bool {
        self.second_level(set).iter().all(|&word| word == 0)
    }

    fn second_level(&self, set: usize) -> &[u64] {
        &self.second[set * self.second_words..][..self.second_words]
    }

    /// Takes all members out of all sets.
    pub(super) fn clear(&mut self) {
        self.first.as_flattened_mut().fill(0);
        self.second.fill(0);
        self.filled = 0;
    }

    /// True if the second levels agree with the first, and what is said of the sets with those.
    pub(super) fn is_consistent(&self) -> bool {
        (0..SETS).all(|set| {
            let second_level = self.second_level(set);
            let has_member = |word: usize| second_level[word / 64] & 1 << (word % 64) != 0;
            let mut words = self.first.iter().enumerate();
            words.all(|(word, sets)| has_member(word) == (sets[set] != 0))
                && self.is_empty(set) == (self.filled & 1 << set == 0)
        })
    }

    /// All words, to damage.
    #[cfg(test)]
    pub(super) fn words_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        let words = self.second.iter_mut();
        words
            .chain(self.first.as_flattened_mut())
            .chain([&mut self.filled])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn the_lowest_member_is_found_across_words_and_levels() {
        const PAGEBLOCKS: usize = 10_000;
        let storage = vec![u64::MAX; PageblockSets::<8>::storage_words(PAGEBLOCKS)].leak();
        let mut sets = PageblockSets::<8>::new(PAGEBLOCKS, storage);
        assert_eq!((sets.filled(), sets.first(7)), (0, None));
        sets.enter(0, 6..7);
        for pageblock in [9_999, 4_096, 64, 63] {
            sets.enter(pageblock, 7..8);
            assert_eq!(
                (sets.first(7), sets.last(7)),
                (Some(pageblock), Some(9_999))
            );
        }
        for (pageblock, next) in [
            (63, Some(64)),
            (64, Some(4_096)),
            (4_096, Some(9_999)),
            (9_999, None),
        ] {
            assert!(sets.sets_of(pageblock) == 1 << 7 && sets.is_consistent());
            sets.leave(pageblock, 7..8);
            sets.enter(pageblock, 5..6);
            assert_eq!((sets.first(7), sets.last(7)), (next, next.map(|_| 9_999)));
            assert_eq!(sets.last(5), Some(pageblock));
            assert_eq!(sets.filled() & 1 << 7 == 0, next.is_none());
        }
        assert_eq!(sets.filled(), 1 << 6 | 1 << 5);
        assert_eq!(sets.last(4), None);
    }

    #[test]
    fn a_run_of_sets_is_entered_and_left_at_its_end() {
        let storage = vec![u64::MAX; PageblockSets::<8>::storage_words(300)].leak();
        let mut sets = PageblockSets::<8>::new(300, storage);
        for (pageblock, run) in [(70, 1..3), (80, 1..6), (299, 1..2)] {
            sets.enter(pageblock, run);
            assert!(sets.is_consistent());
        }
        sets.enter(70, 3..5);
        sets.leave(80, 2..6);
        assert!(sets.is_consistent() && sets.filled() == 0b1_1110);
        let members = |set| (sets.first(set), sets.last(set));
        assert_eq!(members(1), (Some(70), Some(299)));
        for set in 2..5 {
            assert_eq!(members(set), (Some(70), Some(70)));
        }
        assert_eq!([70, 80, 299].map(|one| sets.sets_of(one)), [0b1_1110, 2, 2]);
        sets.leave(70, 1..5);
        assert!(sets.is_consistent() && sets.filled() == 2);
    }
}
