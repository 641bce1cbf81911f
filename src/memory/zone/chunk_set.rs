//! A set of chunks, by number, that finds its lowest member in a few steps.
//!
//! Two levels of bits: one a chunk, and one a word of the first level that is not 0. A word of the second
//! level covers 16 GiB, so the search reads one or two words on any machine this image will meet.

/// The set; its words live in the zone's metadata.
#[derive(Debug)]
pub(super) struct ChunkSet {
    chunks: &'static mut [u64],
    words: &'static mut [u64],
}

impl ChunkSet {
    /// Words of storage for a set of numbers below `chunks`.
    pub(super) const fn storage_words(chunks: usize) -> usize {
        let first_level = chunks.div_ceil(64);
        first_level + first_level.div_ceil(64)
    }

    /// An empty set over `storage`, which has [`ChunkSet::storage_words`] words of any content.
    pub(super) fn new(chunks: usize, storage: &'static mut [u64]) -> Self {
        storage.fill(0);
        let (chunks, words) = storage.split_at_mut(chunks.div_ceil(64));
        Self { chunks, words }
    }

    pub(super) fn insert(&mut self, chunk: usize) {
        self.chunks[chunk / 64] |= 1 << (chunk % 64);
        self.words[chunk / 64 / 64] |= 1 << (chunk / 64 % 64);
    }

    /// Takes `chunk` out; true if the set is empty now.
    pub(super) fn remove(&mut self, chunk: usize) -> bool {
        let bits = &mut self.chunks[chunk / 64];
        *bits &= !(1 << (chunk % 64));
        if *bits != 0 {
            return false;
        }
        self.words[chunk / 64 / 64] &= !(1 << (chunk / 64 % 64));
        self.words.iter().all(|&word| word == 0)
    }

    /// The lowest member.
    pub(super) fn first(&self) -> Option<usize> {
        let (i, word) = self
            .words
            .iter()
            .enumerate()
            .find(|&(_, &word)| word != 0)?;
        let j = i * 64 + word.trailing_zeros() as usize;
        Some(j * 64 + self.chunks[j].trailing_zeros() as usize)
    }

    /// Takes all members out.
    pub(super) fn clear(&mut self) {
        self.chunks.fill(0);
        self.words.fill(0);
    }

    /// True if the second level agrees with the first.
    pub(super) fn is_consistent(&self) -> bool {
        let has_member = |word: usize| self.words[word / 64] & 1 << (word % 64) != 0;
        let mut first_level = self.chunks.iter().enumerate();
        first_level.all(|(word, &bits)| has_member(word) == (bits != 0))
    }

    /// All words, to damage.
    #[cfg(test)]
    pub(super) fn words_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        self.chunks.iter_mut().chain(self.words.iter_mut())
    }

    pub(super) fn contains(&self, chunk: usize) -> bool {
        self.chunks[chunk / 64] & (1 << (chunk % 64)) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn the_lowest_member_is_found_across_words_and_levels() {
        const CHUNKS: usize = 10_000;
        let storage = vec![u64::MAX; ChunkSet::storage_words(CHUNKS)].leak();
        let mut set = ChunkSet::new(CHUNKS, storage);
        assert_eq!(set.first(), None);
        for chunk in [9_999, 4_096, 64, 63] {
            set.insert(chunk);
            assert_eq!(set.first(), Some(chunk));
        }
        for (chunk, next) in [
            (63, Some(64)),
            (64, Some(4_096)),
            (4_096, Some(9_999)),
            (9_999, None),
        ] {
            assert_eq!(set.remove(chunk), next.is_none());
            assert_eq!(set.first(), next);
        }
    }
}
