//! CRC-32C (Castagnoli) of long runs of bytes: by the CPU's instructions where it has them, else by a table of 64
//! bytes.
//!
//! Source: RFC 3720, 12.1 and appendix B.4 (the test vectors).

/// The polynomial, its bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// What each half of a byte does to the checksum.
const TABLE: [u32; 16] = {
    let mut table = [0; 16];
    let mut index = 0;
    while index < table.len() {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 4 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

/// A checksum under way.
#[derive(Clone, Copy, Debug)]
pub struct Crc32c(u32);

impl Crc32c {
    /// That of no bytes.
    pub const fn new() -> Self {
        Self(u32::MAX)
    }

    /// That of some bytes.
    pub fn of(bytes: &[u8]) -> u32 {
        let mut crc = Self::new();
        crc.add(bytes);
        crc.value()
    }

    /// Goes on over `bytes`.
    pub fn add(&mut self, bytes: &[u8]) {
        #[cfg(target_os = "none")]
        if crate::arch::aarch64::crc::is_there() {
            self.0 = crate::arch::aarch64::crc::crc32c(self.0, bytes);
            return;
        }
        self.0 = bytes.iter().fold(self.0, |crc, byte| {
            let crc = crc ^ u32::from(*byte);
            let crc = crc >> 4 ^ TABLE[(crc & 15) as usize];
            crc >> 4 ^ TABLE[(crc & 15) as usize]
        });
    }

    /// The checksum so far.
    pub const fn value(self) -> u32 {
        !self.0
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_rfc_come_out() {
        let rising: [u8; 32] = core::array::from_fn(|byte| byte as u8);
        let mut falling = rising;
        falling.reverse();
        for (bytes, crc) in [
            (&[0; 32][..], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&rising, 0x46dd_794e),
            (&falling, 0x113f_db5c),
            (b"123456789", 0xe306_9283),
            (b"", 0),
        ] {
            assert_eq!(Crc32c::of(bytes), crc);
            for cut in 0..bytes.len() {
                let mut parts = Crc32c::new();
                parts.add(&bytes[..cut]);
                parts.add(&bytes[cut..]);
                assert_eq!(parts.value(), crc);
            }
        }
    }
}
