//! CRC-32C (Castagnoli) of long runs of bytes: by the CPU's instructions where it has them, else by a table of 64
//! bytes.
//!
//! Source: RFC 3720, 12.1 and appendix B.4 (the test vectors).

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// The polynomial, its bits reversed.
pub const POLYNOMIAL: u32 = 0x82f6_3b78;
/// What the CPU said: whether it has the instruction, or 0 before it was asked. Where there is a hypervisor, asking costs
/// more than a checksum.
static ANSWER: AtomicU8 = AtomicU8::new(0);
const YES: u8 = 1;
const NO: u8 = 2;
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

/// True if [`add_word`] may be called.
#[inline]
pub fn is_computed() -> bool {
    // Relaxed: whoever asks too early gets the same answer from the CPU.
    match ANSWER.load(Relaxed) {
        0 => {
            let is_there = crate::arch::crc::is_there();
            ANSWER.store(if is_there { YES } else { NO }, Relaxed);
            is_there
        }
        answer => answer == YES,
    }
}

/// Goes on with a checksum over eight bytes by one instruction, without inversion: [`is_computed`] said yes.
#[inline(always)]
pub fn add_word(crc: u32, word: u64) -> u32 {
    crate::arch::crc::word(crc, word)
}

/// [`add_word`] over the words of `bytes[LEAD..]`, zeros behind them. The bytes of `LEAD` are eight at least.
#[inline(always)]
pub fn add_run<const LEAD: usize>(crc: u32, bytes: &[u8]) -> u32 {
    #[cfg(target_os = "none")]
    {
        crate::arch::crc::run::<LEAD>(crc, bytes)
    }
    #[cfg(not(target_os = "none"))]
    {
        run_by::<LEAD>(crc, bytes, add_word)
    }
}

/// [`add_run`] for any CPU.
pub fn add_run_by_table<const LEAD: usize>(crc: u32, bytes: &[u8]) -> u32 {
    run_by::<LEAD>(crc, bytes, add_word_by_table)
}

fn run_by<const LEAD: usize>(crc: u32, bytes: &[u8], add: impl Fn(u32, u64) -> u32) -> u32 {
    let Some(run) = bytes.get(LEAD..) else {
        return crc;
    };
    let (words, rest) = run.as_chunks::<8>();
    let add_bytes = |crc, word: &[u8; 8]| add(crc, u64::from_le_bytes(*word));
    let crc = words.iter().fold(crc, add_bytes);
    if rest.is_empty() {
        return crc;
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    add_bytes(crc, &last)
}

/// [`add_word`] for any CPU.
pub fn add_word_by_table(crc: u32, word: u64) -> u32 {
    word.to_le_bytes()
        .iter()
        .fold(crc, |crc, byte| step(crc, *byte))
}

fn step(crc: u32, byte: u8) -> u32 {
    let crc = crc ^ u32::from(byte);
    let crc = crc >> 4 ^ TABLE[(crc & 15) as usize];
    crc >> 4 ^ TABLE[(crc & 15) as usize]
}

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
        self.0 = bytes.iter().fold(self.0, |crc, byte| step(crc, *byte));
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
    fn a_word_counts_as_its_bytes_do_whoever_computes_it() {
        for (crc, word) in [(0, 1), (u32::MAX, 0x0123_4567_89ab_cdef), (7, u64::MAX)] {
            let mut bytes = Crc32c(crc);
            bytes.add(&word.to_le_bytes());
            assert_eq!(add_word_by_table(crc, word), bytes.0);
            if is_computed() {
                assert_eq!(add_word(crc, word), bytes.0);
            }
        }
    }

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
