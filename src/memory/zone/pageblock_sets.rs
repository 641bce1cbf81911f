//! Sets of pageblocks, by number, each of which finds its lowest and highest member in a few steps.
//!
//! Two levels of bits a set: one a pageblock, and one a word of the first level that is not 0. A word of the second
//! level covers 8 GiB, so a search reads one or two words on any machine this image will meet. One word more says
//! which sets are not empty.

/// `SETS` sets, at most 64; their words live in the zone's metadata, those of the second level of each set first.
#[derive(Debug)]
pub(super) struct PageblockSets<const SETS: usize> {
    words: &'static mut [u64],
    /// Words of a set.
    stride: usize,
    /// Of these, words of the second level.
    second_level: usize,
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
        Self {
            stride: storage.len() / SETS,
            words: storage,
            second_level: pageblocks.div_ceil(64).div_ceil(64),
            filled: 0,
        }
    }

    /// Which sets are not empty, a bit each.
    #[inline(always)]
    pub(super) fn filled(&self) -> u64 {
        self.filled
    }

    /// Moves a pageblock from sets to others, a bit each.
    #[inline(always)]
    pub(super) fn change(&mut self, pageblock: usize, from: u64, to: u64) {
        let mut changed = from ^ to;
        while changed != 0 {
            let set = changed.trailing_zeros() as usize;
            changed &= changed - 1;
            if to & 1 << set != 0 {
                self.insert(set, pageblock);
            } else {
                self.remove(set, pageblock);
            }
        }
    }

    #[inline(always)]
    fn insert(&mut self, set: usize, pageblock: usize) {
        let start = set * self.stride;
        self.words[start + self.second_level + pageblock / 64] |= 1 << (pageblock % 64);
        self.words[start + pageblock / 64 / 64] |= 1 << (pageblock / 64 % 64);
        self.filled |= 1 << set;
    }

    #[inline(always)]
    fn remove(&mut self, set: usize, pageblock: usize) {
        let start = set * self.stride;
        let word = &mut self.words[start + self.second_level + pageblock / 64];
        *word &= !(1 << (pageblock % 64));
        if *word != 0 {
            return;
        }
        let word = &mut self.words[start + pageblock / 64 / 64];
        *word &= !(1 << (pageblock / 64 % 64));
        if *word == 0 && (self.second_level == 1 || self.is_empty(set)) {
            self.filled &= !(1 << set);
        }
    }

    /// The lowest member of a set.
    #[inline(always)]
    pub(super) fn first(&self, set: usize) -> Option<usize> {
        let start = set * self.stride;
        let mut i = 0;
        while self.words[start + i] == 0 {
            i += 1;
            if i == self.second_level {
                return None;
            }
        }
        let j = i * 64 + self.words[start + i].trailing_zeros() as usize;
        let word = self.words[start + self.second_level + j];
        Some(j * 64 + word.trailing_zeros() as usize)
    }

    /// The highest member of a set.
    #[inline(always)]
    pub(super) fn last(&self, set: usize) -> Option<usize> {
        let start = set * self.stride;
        let mut i = self.second_level;
        loop {
            i = i.checked_sub(1)?;
            let word = self.words[start + i];
            if word != 0 {
                let j = i * 64 + (63 - word.leading_zeros()) as usize;
                let word = self.words[start + self.second_level + j];
                return Some(j * 64 + (63 - word.leading_zeros()) as usize);
            }
        }
    }

    /// The sets that the pageblock is in, a bit each.
    pub(super) fn sets_of(&self, pageblock: usize) -> u64 {
        (0..SETS).fold(0, |sets, set| {
            let word = self.words[set * self.stride + self.second_level + pageblock / 64];
            sets | (word >> (pageblock % 64) & 1) << set
        })
    }

    #[inline(never)]
    fn is_empty(&self, set: usize) -> bool {
        self.second_level(set).iter().all(|&word| word == 0)
    }

    fn second_level(&self, set: usize) -> &[u64] {
        &self.words[set * self.stride..][..self.second_level]
    }

    /// Takes all members out of all sets.
    pub(super) fn clear(&mut self) {
        self.words.fill(0);
        self.filled = 0;
    }

    /// True if the second levels agree with the first, and what is said of the sets with those.
    pub(super) fn is_consistent(&self) -> bool {
        (0..SETS).all(|set| {
            let second_level = self.second_level(set);
            let has_member = |word: usize| second_level[word / 64] & 1 << (word % 64) != 0;
            let first_level = &self.words[set * self.stride..][self.second_level..self.stride];
            let mut words = first_level.iter().enumerate();
            words.all(|(word, &bits)| has_member(word) == (bits != 0))
                && self.is_empty(set) == (self.filled & 1 << set == 0)
        })
    }

    /// All words, to damage.
    #[cfg(test)]
    pub(super) fn words_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        self.words.iter_mut().chain([&mut self.filled])
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
        sets.change(0, 0, 1 << 6);
        for pageblock in [9_999, 4_096, 64, 63] {
            sets.change(pageblock, 0, 1 << 7);
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
            sets.change(pageblock, 1 << 7, 1 << 5);
            assert_eq!((sets.first(7), sets.last(7)), (next, next.map(|_| 9_999)));
            assert_eq!(sets.last(5), Some(pageblock));
            assert_eq!(sets.filled() & 1 << 7 == 0, next.is_none());
        }
        assert_eq!(sets.filled(), 1 << 6 | 1 << 5);
        assert_eq!(sets.last(4), None);
    }
}
