//! The CPU's checksum instructions, which ARMv8.0 leaves to the maker and ARMv8.1 asks for.
//!
//! Source: Arm ARM C6.2 (CRC32CB, CRC32CX), ID_AA64ISAR0_EL1.

use core::arch::asm;

/// True if this CPU has them.
pub fn is_there() -> bool {
    let features: u64;
    // SAFETY: only reads a register.
    unsafe {
        asm!("mrs {}, id_aa64isar0_el1", out(reg) features, options(pure, nomem, nostack, preserves_flags))
    };
    features >> 16 & 0xf != 0
}

/// Goes on with a CRC-32C over `bytes`, before its last inversion. [`is_there`] said yes.
pub fn crc32c(mut crc: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    let (lines, words) = words.as_chunks::<4>();
    // Four at a time: a loop takes as much as two of them.
    for [one, two, three, four] in lines {
        // SAFETY: computes on registers; the caller made sure that the CPU has the instruction.
        unsafe {
            asm!(".arch_extension crc",
                "crc32cx {crc:w}, {crc:w}, {one}", "crc32cx {crc:w}, {crc:w}, {two}",
                "crc32cx {crc:w}, {crc:w}, {three}", "crc32cx {crc:w}, {crc:w}, {four}",
                crc = inout(reg) crc,
                one = in(reg) u64::from_le_bytes(*one), two = in(reg) u64::from_le_bytes(*two),
                three = in(reg) u64::from_le_bytes(*three), four = in(reg) u64::from_le_bytes(*four),
                options(pure, nomem, nostack, preserves_flags))
        };
    }
    for byte in words.as_flattened().iter().chain(rest) {
        // SAFETY: as above.
        unsafe {
            asm!(".arch_extension crc", "crc32cb {crc:w}, {crc:w}, {byte:w}",
                crc = inout(reg) crc, byte = in(reg) u32::from(*byte), options(pure, nomem, nostack, preserves_flags))
        };
    }
    crc
}
