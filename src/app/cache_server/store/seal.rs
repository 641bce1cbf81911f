//! Seals: what tells that bytes of the keyspace are not as they were written, and puts one flipped bit right.
//!
//! A seal is a CRC-32C without inversions, so it is linear: all zeros are sealed by 0, a change of a field changes the seal
//! by the checksum of the change alone, and each single bit has a syndrome of its own. Three or fewer flipped bits are
//! never taken for nothing, nor two for another one (the code's distance is 4 at least up to 2^31 bits: Koopman, "32-bit
//! cyclic redundancy codes for Internet applications", 2002).
//!
//! | sealed | seal | verified | what one bit does not explain |
//! | --- | --- | --- | --- |
//! | entry: header but access bits, key, value | in its header | by whoever finds it by its key, moves, saves, ends it | the entry is dropped |
//! | bucket: links and overflow number | in its last word | when a key is missed, and before each change | the user dies, and recovery makes all links again |
//! | node of an expiry | beside its handle | when read | the same; entries that have lost theirs are dropped |
//! | link of a free slot | its complement | when the slot is taken | that list is made again |

use crate::platform::crc32c::{POLYNOMIAL, add_word, add_word_by_table, is_computed};

/// Goes on with a seal.
#[inline(always)]
pub(super) fn add(seal: u32, word: u64) -> u32 {
    if is_computed() {
        add_word(seal, word)
    } else {
        add_word_by_table(seal, word)
    }
}

/// The seal of so many words.
#[inline]
pub(super) fn of_words(words: &[[u8; 8]], last: u64) -> u32 {
    let add = |seal, word| add(seal, word);
    let seal = words
        .iter()
        .fold(0, |seal, word| add(seal, u64::from_le_bytes(*word)));
    add(seal, last)
}

/// Flips the one bit that makes `bytes` right, if there is one; tells whether it did.
#[cold]
pub(super) fn mend(bytes: &mut [u8], is_right: &dyn Fn(&[u8]) -> bool) -> bool {
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        if is_right(bytes) {
            return true;
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    false
}

/// Which bit of a run of words, followed by `after` more words, changes the seal by `syndrome`: counted from the run's first.
#[cold]
pub(super) fn bit_of(syndrome: u32, words: usize, after: usize) -> Option<usize> {
    let last = add(0, 1 << 63);
    let mut seen = (0..after).fold(last, |seal, _| add(seal, 0));
    // Each bit before is one step of the register more.
    (0..words * 64).rev().find(|_| {
        let is_it = seen == syndrome;
        seen = seen >> 1 ^ (POLYNOMIAL * (seen & 1));
        is_it
    })
}
