//! The checksum instruction of developers' machines: tests that cut the keyspace off at every step would take
//! minutes for what it does in one.
#![allow(unsafe_code, reason = "the instruction is not every CPU's")]

use core::arch::x86_64::{__cpuid, _mm_crc32_u64};

/// True if this CPU has it (SSE 4.2).
pub fn is_there() -> bool {
    __cpuid(1).ecx >> 20 & 1 != 0
}

/// Goes on with a CRC-32C over eight bytes, before its last inversion. [`is_there`] said yes.
#[inline(always)]
pub fn word(crc: u32, word: u64) -> u32 {
    // SAFETY: the caller made sure that the CPU has the instruction.
    unsafe { crc_of(crc, word) }
}

#[target_feature(enable = "sse4.2")]
#[inline]
fn crc_of(crc: u32, word: u64) -> u32 {
    _mm_crc32_u64(crc.into(), word) as u32
}
