//! SHA-256 (FIPS 180-4), under whose name ACL shows a password. Nothing is secured by it here.

/// The hash of something, in hexadecimal digits.
pub(super) struct Sha256Text([u8; 64]);

const BLOCK_BYTES: usize = 64;

/// The first 32 bits of the fractional part of a root of `prime`: of the square root (2), or the cube root (3).
const fn root_bits(prime: u128, degree: u32) -> u32 {
    // The largest x with x^degree <= prime * 2^(32 * degree): its low 32 bits are the fraction.
    let target = prime << (32 * degree);
    let (mut low, mut high) = (0_u128, 1 << 40);
    while high - low > 1 {
        let middle = (low + high) / 2;
        let power = if degree == 2 {
            middle * middle
        } else {
            middle * middle * middle
        };
        if power <= target {
            low = middle;
        } else {
            high = middle;
        }
    }
    low as u32
}

/// The roots of the first `N` primes.
const fn roots<const N: usize>(degree: u32) -> [u32; N] {
    let mut words = [0; N];
    let (mut found, mut candidate) = (0, 2);
    while found < N {
        let mut divisor = 2;
        while candidate % divisor != 0 {
            divisor += 1;
        }
        if divisor == candidate {
            words[found] = root_bits(candidate, degree);
            found += 1;
        }
        candidate += 1;
    }
    words
}

const START: [u32; 8] = roots(2);
static ROUND: [u32; 64] = roots(3);

impl Sha256Text {
    /// The hash of `bytes`.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut state = START;
        let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
        blocks.iter().for_each(|block| mix(&mut state, block));
        let mut last = [0; 2 * BLOCK_BYTES];
        last[..rest.len()].copy_from_slice(rest);
        last[rest.len()] = 0x80;
        let end = if rest.len() + 9 > BLOCK_BYTES { 2 } else { 1 } * BLOCK_BYTES;
        last[end - 8..end].copy_from_slice(&(bytes.len() as u64 * 8).to_be_bytes());
        let blocks = last[..end].as_chunks::<BLOCK_BYTES>().0;
        blocks.iter().for_each(|block| mix(&mut state, block));
        let nibbles = state
            .into_iter()
            .flat_map(|word| (0..8).rev().map(move |at| (word >> (4 * at)) & 15));
        let mut text = [0; 64];
        for (digit, nibble) in text.iter_mut().zip(nibbles) {
            *digit = b"0123456789abcdef"[nibble as usize];
        }
        Self(text)
    }

    /// Its digits.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn mix(state: &mut [u32; 8], block: &[u8; BLOCK_BYTES]) {
    let mut words = [0; 64];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    for at in 16..64 {
        let (one, other) = (words[at - 15], words[at - 2]);
        let small = one.rotate_right(7) ^ one.rotate_right(18) ^ (one >> 3);
        let large = other.rotate_right(17) ^ other.rotate_right(19) ^ (other >> 10);
        words[at] = [words[at - 16], small, words[at - 7], large]
            .into_iter()
            .fold(0, u32::wrapping_add);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for (word, constant) in words.into_iter().zip(ROUND) {
        let choice = (e & f) ^ (!e & g);
        let turned = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let first = [h, turned, choice, constant, word]
            .into_iter()
            .fold(0, u32::wrapping_add);
        let majority = (a & b) ^ (a & c) ^ (b & c);
        let turned = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        (h, g, f, e) = (g, f, e, d.wrapping_add(first));
        (d, c, b, a) = (c, b, a, first.wrapping_add(turned).wrapping_add(majority));
    }
    for (word, mixed) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(mixed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_standard() {
        for (text, hash) in [
            (
                "",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            (
                "abc",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
        ] {
            assert_eq!(Sha256Text::of(text.as_bytes()).as_bytes(), hash.as_bytes());
        }
    }
}
