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

/// Goes on with a CRC-32C over eight bytes, before its last inversion. [`is_there`] said yes.
#[inline(always)]
pub fn word(mut crc: u32, word: u64) -> u32 {
    // SAFETY: computes on registers; the caller made sure that the CPU has the instruction.
    unsafe {
        asm!(".arch_extension crc", "crc32cx {crc:w}, {crc:w}, {word}",
            crc = inout(reg) crc, word = in(reg) word, options(pure, nomem, nostack, preserves_flags))
    };
    crc
}

/// Goes on with a CRC-32C over `bytes[LEAD..]` in words of eight bytes, zeros behind them, before its last inversion.
/// [`is_there`] said yes. The bytes of `LEAD`, eight at least, come before the run in memory.
///
/// Written out: it is part of each GET, and as a loop of the language's it takes half as many instructions more.
#[inline(always)]
pub fn run<const LEAD: usize>(mut crc: u32, bytes: &[u8]) -> u32 {
    const { assert!(LEAD >= 8) };
    let Some(run) = bytes.get(LEAD..) else {
        return crc;
    };
    // SAFETY: reads `run` and up to seven bytes before it, which are `bytes` as well; the caller made sure that the CPU has
    // the instruction.
    unsafe {
        asm!(".arch_extension crc",
            "lsr {a}, {len}, #6",
            "cbz {a}, 3f",
            "2:",
            "ldp {b}, {c}, [{at}], #64",
            "sub {a}, {a}, #1",
            "crc32cx {crc:w}, {crc:w}, {b}", "crc32cx {crc:w}, {crc:w}, {c}",
            "ldp {b}, {c}, [{at}, #-48]",
            "crc32cx {crc:w}, {crc:w}, {b}", "crc32cx {crc:w}, {crc:w}, {c}",
            "ldp {b}, {c}, [{at}, #-32]",
            "crc32cx {crc:w}, {crc:w}, {b}", "crc32cx {crc:w}, {crc:w}, {c}",
            "ldp {b}, {c}, [{at}, #-16]",
            "crc32cx {crc:w}, {crc:w}, {b}", "crc32cx {crc:w}, {crc:w}, {c}",
            "cbnz {a}, 2b",
            "3:",
            "tbz {len}, #5, 4f",
            "ldp {b}, {c}, [{at}], #32",
            "crc32cx {crc:w}, {crc:w}, {b}", "crc32cx {crc:w}, {crc:w}, {c}",
            "ldp {b}, {c}, [{at}, #-16]",
            "crc32cx {crc:w}, {crc:w}, {b}", "crc32cx {crc:w}, {crc:w}, {c}",
            "4:",
            "tbz {len}, #4, 5f",
            "ldp {b}, {c}, [{at}], #16",
            "crc32cx {crc:w}, {crc:w}, {b}", "crc32cx {crc:w}, {crc:w}, {c}",
            "5:",
            "tbz {len}, #3, 6f",
            "ldr {b}, [{at}], #8",
            "crc32cx {crc:w}, {crc:w}, {b}",
            "6:",
            "ands {a}, {len}, #7",
            "b.eq 7f",
            "add {at}, {at}, {a}",
            "ldur {b}, [{at}, #-8]",
            // A shift takes the last six bits: 64 - 8 * rest.
            "neg {a}, {a}, lsl #3",
            "lsr {b}, {b}, {a}",
            "crc32cx {crc:w}, {crc:w}, {b}",
            "7:",
            crc = inout(reg) crc, at = inout(reg) run.as_ptr() => _, len = in(reg) run.len(),
            a = out(reg) _, b = out(reg) _, c = out(reg) _, options(pure, readonly, nostack))
    };
    crc
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
