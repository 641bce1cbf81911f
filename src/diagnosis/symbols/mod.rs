//! The image's symbol table: which function an address lies in, by name.
//!
//! The linker leaves room for it among the constants; `scripts/image.sh` reads the functions of the linked image and
//! puts them there. Numbers are little-endian:
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | `nSYM` |
//! | 2 | the version of this form: 1 |
//! | 2 | number of rules |
//! | 4 | number of functions |
//! | 4 | where the last function ends, counted from the image's start as all places are |
//! | 4 each | a rule: the two symbols that it stands for, 2 bytes each |
//! | 8 each | of every 16th function: where it starts, and where it is told in what follows |
//! | rest | the functions by their starts: 4-byte words since the start before (LEB128), name, 0 |
//!
//! Names are packed by a grammar (`grammar.rs`): a symbol below 128 is a character, one from there on is that rule. In a name a byte from 32 to 126 is a character, a
//! byte from 127 on one of the first rules, a byte below 32 with the one behind it one of the others. `pack.rs` writes it.
//!
//! It is read by a dying image: it takes no memory, no lock and little stack, and whatever the bytes are, the worst that
//! comes of them is a wrong name.

#[cfg(test)]
mod grammar;
mod name;
#[cfg(test)]
mod pack;
#[cfg(test)]
pub(in crate::diagnosis) mod pack_names;
#[cfg(test)]
mod tests;

pub use name::Name;
pub(in crate::diagnosis) use name::RULE_BYTES;

use core::fmt;

/// What a table begins with.
const MAGIC: [u8; 4] = *b"nSYM";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 8;
/// Functions from one entry of the index to the next.
const STRIDE: u32 = 16;

/// A table of functions.
#[derive(Clone, Copy, Debug)]
pub struct Symbols<'a> {
    rules: &'a [u8],
    index: &'a [u8],
    functions: &'a [u8],
    count: u32,
    end: u32,
}

/// A function of the image.
#[derive(Clone, Copy, Debug)]
pub struct Function<'a> {
    /// Its first instruction, in bytes from the image's start.
    pub start: u32,
    name: Name<'a>,
}

impl<'a> Symbols<'a> {
    /// The table that lies in `bytes`; what is behind it is not looked at. `None` if there is none of this version: a test
    /// binary has none.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(HEADER_BYTES)?;
        if !head.starts_with(&MAGIC) || half(head, 4)? != VERSION {
            return None;
        }
        let (rules, count, end) = (half(head, 6)?, word(head, 8)?, word(head, 12)?);
        let (rules, rest) = rest.split_at_checked(usize::from(rules) * RULE_BYTES)?;
        let entries = count.div_ceil(STRIDE) as usize;
        let (index, functions) = rest.split_at_checked(entries.checked_mul(ENTRY_BYTES)?)?;
        Some(Self {
            rules,
            index,
            functions,
            count,
            end,
        })
    }

    /// The function that the byte at `place` is of.
    pub fn at(&self, place: u32) -> Option<Function<'a>> {
        // The index is in order: the last that starts by then.
        let (entries, _) = self.index.as_chunks::<ENTRY_BYTES>();
        let starts_by_then =
            |entry: &[u8; ENTRY_BYTES]| word(entry, 0).is_some_and(|start| start <= place);
        let entry = entries.partition_point(starts_by_then).checked_sub(1)?;
        let mut start = word(self.index, entry * ENTRY_BYTES)?;
        let mut rest = self
            .functions
            .get(word(self.index, entry * ENTRY_BYTES + 4)? as usize..)?;
        let left = self.count.checked_sub(entry as u32 * STRIDE)?;
        let mut found = None;
        for number in 0..left.min(STRIDE) {
            let words = leb128(&mut rest)?;
            if number > 0 {
                start = start.checked_add(words.checked_mul(4)?)?;
            }
            if start > place {
                return found;
            }
            let name = Name::take(&mut rest, self.rules)?;
            found = Some(Function { start, name });
        }
        // The last one of its stride ends where the next one starts, or the text.
        let next = word(self.index, (entry + 1) * ENTRY_BYTES).unwrap_or(self.end);
        found.filter(|_| place < next)
    }
}

impl fmt::Display for Function<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

pub(in crate::diagnosis) fn leb128(rest: &mut &[u8]) -> Option<u32> {
    let mut value = 0;
    for shift in (0..32).step_by(7) {
        let (&byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

pub(in crate::diagnosis) fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*bytes))
}

pub(in crate::diagnosis) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}
