//! Random numbers that peers cannot foretell: where they come from is the kernel's matter, who needs some asks here.
//!
//! Keys of sequence numbers and of hashes are drawn from one [`KeyedCounter`]: SipHash-2-4 of a counter, under a key
//! of 128 bits, gives numbers from which neither the key nor any other number can be computed.

use core::hash::Hasher;
#[expect(
    deprecated,
    reason = "the only SipHash-2-4 in core; std's default hasher is not there"
)]
use core::hash::SipHasher;

/// A source of random numbers.
pub trait Entropy {
    /// The next number.
    fn next(&mut self) -> u64;
}

/// Random numbers that follow from a key, which must be secret if they are to be.
pub struct KeyedCounter {
    key: [u64; 2],
    drawn: u64,
}

impl KeyedCounter {
    /// A source that draws with `key`.
    pub const fn new(key: u128) -> Self {
        Self {
            key: [(key >> 64) as u64, key as u64],
            drawn: 0,
        }
    }
}

impl Entropy for KeyedCounter {
    fn next(&mut self) -> u64 {
        #[expect(deprecated, reason = "as at the import")]
        let mut hash = SipHasher::new_with_keys(self.key[0], self.key[1]);
        hash.write_u64(self.drawn);
        self.drawn += 1;
        hash.finish()
    }
}

/// Folds random bytes to a key: each byte counts, wherever it stands.
pub fn fold(key: u128, bytes: &[u8]) -> u128 {
    bytes.chunks(16).fold(key, |key, chunk| {
        let mut word = [0; 16];
        word[..chunk.len()].copy_from_slice(chunk);
        key.rotate_left(47) ^ u128::from_le_bytes(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn numbers(key: u128) -> Vec<u64> {
        let mut source = KeyedCounter::new(key);
        (0..1_000).map(|_| source.next()).collect()
    }

    #[test]
    fn one_key_gives_the_same_numbers_again_and_none_twice() {
        let mut drawn = numbers(7);
        assert_eq!(drawn, numbers(7));
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 1_000);
    }

    #[test]
    fn every_bit_of_the_key_changes_every_number_by_about_half_its_bits() {
        let base = numbers(7);
        for bit in 0..128 {
            let other = numbers(7 ^ 1 << bit);
            let differing: u32 = base
                .iter()
                .zip(&other)
                .map(|(a, b)| (a ^ b).count_ones())
                .sum();
            assert!(
                (30_000..34_000).contains(&differing),
                "bit {bit}: {differing}"
            );
        }
    }

    #[test]
    fn every_byte_that_is_folded_counts() {
        let bytes: Vec<u8> = (0..40).collect();
        let whole = fold(0, &bytes);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert_ne!(fold(0, &changed), whole, "byte {at}");
        }
    }
}
