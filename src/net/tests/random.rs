//! Seeded random numbers for tests.

/// A source of numbers that are the same for the same seed (splitmix64).
pub(in crate::net) struct Random(u64);

impl Random {
    pub(in crate::net) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any 64-bit number.
    pub(in crate::net) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`.
    pub(in crate::net) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// That many random bytes.
    pub(in crate::net) fn bytes(&mut self, len: usize) -> std::vec::Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}
