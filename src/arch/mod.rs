//! The machine's architecture: the only assembly in the image, and the one instruction that host tests cannot do without.

#[cfg(target_os = "none")]
pub mod aarch64;
#[cfg(all(not(target_os = "none"), target_arch = "x86_64", not(miri)))]
pub mod x86_64;

/// The checksum instructions of the CPU that this runs on, if it is one whose instructions are known.
#[cfg(target_os = "none")]
pub use aarch64::crc;
#[cfg(all(not(target_os = "none"), any(not(target_arch = "x86_64"), miri)))]
pub mod crc {
    //! None are known: the same bit by bit, for tests on such a machine.

    /// True.
    pub fn is_there() -> bool {
        true
    }

    /// Goes on with a CRC-32C over eight bytes, before its last inversion.
    pub fn word(crc: u32, word: u64) -> u32 {
        let step = |rest: u64, _| rest >> 1 ^ (0x82f6_3b78 * (rest & 1));
        (0..64).fold(u64::from(crc) ^ word, step) as u32
    }
}
#[cfg(all(not(target_os = "none"), target_arch = "x86_64", not(miri)))]
pub use x86_64 as crc;
