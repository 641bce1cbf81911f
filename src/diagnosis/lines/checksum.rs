//! The checksum of a line table.

/// Adds bytes to a checksum, by words. What is changed in one word, or stands in another order, changes it: each step can
/// be undone.
pub(super) fn checksum(sum: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mix = |sum: u32, word: u32| (sum ^ word).wrapping_mul(0x9e37_79b1).rotate_left(15);
    let sum = words
        .iter()
        .fold(sum, |sum, &word| mix(sum, u32::from_le_bytes(word)));
    rest.iter().fold(sum, |sum, &byte| mix(sum, byte.into()))
}
