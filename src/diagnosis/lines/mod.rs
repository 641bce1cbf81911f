//! The line table of an image: of which functions, files and lines an instruction is, inlined ones included.
//!
//! `scripts/tables` makes it from the image's DWARF, and it lies beside the image: the loader hands it over as the
//! initial RAM disk. Numbers are little-endian, places are bytes from the image's start:
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | `nLIN` |
//! | 2 | the version of this form: 1 |
//! | 2 | number of rules |
//! | 4 | bytes of the whole table |
//! | 4 each | number of files, of functions, of blocks |
//! | 4 | where the text ends |
//! | 8 | the identity of the image it is of |
//! | 4 | the checksum of all that follows, and then of all before |
//! | 4 each | a rule, as in the [symbol table](super::symbols) |
//! | 4 each | of every 8th file: where it is told in what follows the indices |
//! | 4 each | of every 8th function: the same |
//! | 8 each | of every block of 32 runs: where its first run starts, and where it is told |
//! | rest | files: name; functions: file, least line, name; blocks |
//!
//! A run of instructions has one chain of frames: the function that the linker knows, and what is inlined there, each in
//! the one before. Of a run is told (numbers that need not be small as LEB128) by how many 4-byte words it starts behind
//! the one before, how many frames the chain loses at its inner end, by how much the line of the frame that is then the
//! innermost changes, and the frames that it gains: function, and line above the function's least. `word`, `lost` and
//! `gained` share a byte with a bit that says whether a line changes ([`Step`]). The first chain of a block is told whole.
//!
//! It is read by a dying image: it takes no memory, no lock and little stack, and whatever the bytes are, the worst that
//! comes of them is a wrong line.

mod checksum;
#[cfg(test)]
mod pack;
#[cfg(test)]
mod tests;

use super::symbols::{Name, RULE_BYTES, half, leb128, word};
use checksum::checksum;
use core::fmt;

/// What a table begins with.
const MAGIC: [u8; 4] = *b"nLIN";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 40;
/// Where the header holds its checksum.
const CHECKSUM_AT: usize = HEADER_BYTES - 4;
/// Files and functions from one entry of their index to the next.
const STRIDE: u32 = 8;
const ENTRY_BYTES: usize = 4;
const BLOCK_ENTRY_BYTES: usize = 8;
/// Runs of a block.
const BLOCK_RUNS: u32 = 32;
/// Frames of a chain.
const DEPTH_MAX: usize = 40;

/// What an image is known by.
pub type Identity = [u8; 8];

/// A table of lines.
#[derive(Clone, Copy, Debug)]
pub struct Lines<'a> {
    bytes: &'a [u8],
    rules: &'a [u8],
    files: &'a [u8],
    functions: &'a [u8],
    blocks: &'a [u8],
    told: &'a [u8],
    end: u32,
}

/// The frames of one instruction.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a> {
    lines: Lines<'a>,
    /// Function, and line above its least; the outermost first.
    frames: [(u32, u32); DEPTH_MAX],
    len: usize,
}

/// One function at work: where it is.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The function.
    pub function: Name<'a>,
    /// The file.
    pub file: Name<'a>,
    /// The line, from 1; 0 if it is not known.
    pub line: u32,
}

/// What a run begins with: bits 0 to 2 the words, bits 3 and 4 the frames lost, bits 5 and 6 those gained, bit 7 whether a
/// line changes. What does not fit follows: all ones stand for one number more.
#[derive(Clone, Copy, Debug)]
struct Step(u8);

impl Step {
    const WORDS_MAX: u8 = 7;
    const FRAMES_MAX: u8 = 3;

    /// Takes words, frames lost, frames gained.
    fn take(self, rest: &mut &[u8]) -> Option<[u32; 3]> {
        let parts = [
            (self.0 & Self::WORDS_MAX, Self::WORDS_MAX),
            (self.0 >> 3 & Self::FRAMES_MAX, Self::FRAMES_MAX),
            (self.0 >> 5 & Self::FRAMES_MAX, Self::FRAMES_MAX),
        ];
        let mut numbers = [0; 3];
        for (number, (part, most)) in numbers.iter_mut().zip(parts) {
            *number = u32::from(part);
            if part == most {
                *number = number.checked_add(leb128(rest)?)?;
            }
        }
        Some(numbers)
    }

    fn has_line(self) -> bool {
        self.0 & 0x80 != 0
    }
}

impl<'a> Lines<'a> {
    /// The table that `bytes` begin with, if it is one of this version and of the image of that `identity`. Looks at the
    /// header alone.
    pub fn read(bytes: &'a [u8], identity: Identity) -> Option<Self> {
        let is_ours = bytes.starts_with(&MAGIC)
            && half(bytes, 4)? == VERSION
            && bytes.get(28..CHECKSUM_AT)? == identity;
        if !is_ours {
            return None;
        }
        let bytes = bytes.get(..word(bytes, 8)? as usize)?;
        let (files, functions, blocks) = (word(bytes, 12)?, word(bytes, 16)?, word(bytes, 20)?);
        let mut rest = bytes.get(HEADER_BYTES..)?;
        let mut take = |count: u32, each: usize| {
            let (part, behind) = rest.split_at_checked((count as usize).checked_mul(each)?)?;
            rest = behind;
            Some(part)
        };
        Some(Self {
            bytes,
            rules: take(half(bytes, 6)?.into(), RULE_BYTES)?,
            files: take(files.div_ceil(STRIDE), ENTRY_BYTES)?,
            functions: take(functions.div_ceil(STRIDE), ENTRY_BYTES)?,
            blocks: take(blocks, BLOCK_ENTRY_BYTES)?,
            told: rest,
            end: word(bytes, 24)?,
        })
    }

    /// Looks at all of it: true if it is as it was made.
    pub fn is_whole(&self) -> bool {
        let (head, rest) = self.bytes.split_at(HEADER_BYTES);
        let sum = checksum(checksum(0, rest), &head[..CHECKSUM_AT]);
        word(head, CHECKSUM_AT) == Some(sum)
    }

    /// The frames of the instruction at `place`; none if it is of none that is known.
    pub fn at(&self, place: u32) -> Option<Chain<'a>> {
        if place >= self.end {
            return None;
        }
        // The index is in order: the last that starts by then.
        let (entries, _) = self.blocks.as_chunks::<BLOCK_ENTRY_BYTES>();
        let starts_by_then =
            |entry: &[u8; BLOCK_ENTRY_BYTES]| word(entry, 0).is_some_and(|start| start <= place);
        let block = entries.partition_point(starts_by_then).checked_sub(1)?;
        let mut start = word(&entries[block], 0)?;
        let mut rest = self.told.get(word(&entries[block], 4)? as usize..)?;
        let mut chain = Chain {
            lines: *self,
            frames: [(0, 0); DEPTH_MAX],
            len: 0,
        };
        for run in 0..BLOCK_RUNS {
            let (&step, mut behind) = rest.split_first()?;
            let [words, lost, gained] = Step(step).take(&mut behind)?;
            start = start.checked_add(words.checked_mul(4)?)?;
            // The last block may have fewer runs: what follows it is never asked for, as `place` is within the text.
            if run > 0 && start > place {
                break;
            }
            chain.change(lost, Step(step).has_line(), gained, &mut behind)?;
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        (chain.len > 0).then_some(chain)
    }

    fn frame(&self, (function, above): (u32, u32)) -> Option<Frame<'a>> {
        let (file, least, function) = self.record(self.functions, function, Self::take_function)?;
        Some(Frame {
            function,
            file: self.record(self.files, file, Self::take_name)?,
            line: least.checked_add(above)?,
        })
    }

    /// The record of that number, by its index.
    fn record<T>(
        &self,
        index: &[u8],
        number: u32,
        take: fn(&Self, &mut &'a [u8]) -> Option<T>,
    ) -> Option<T> {
        let entry = (number / STRIDE) as usize * ENTRY_BYTES;
        let mut rest = self.told.get(word(index, entry)? as usize..)?;
        for _ in 0..number % STRIDE {
            take(self, &mut rest)?;
        }
        take(self, &mut rest)
    }

    fn take_name(&self, rest: &mut &'a [u8]) -> Option<Name<'a>> {
        Name::take(rest, self.rules)
    }

    fn take_function(&self, rest: &mut &'a [u8]) -> Option<(u32, u32, Name<'a>)> {
        Some((leb128(rest)?, leb128(rest)?, self.take_name(rest)?))
    }
}

impl<'a> Chain<'a> {
    fn change(&mut self, lost: u32, has_line: bool, gained: u32, rest: &mut &[u8]) -> Option<()> {
        self.len = self.len.checked_sub(lost as usize)?;
        if has_line {
            let (_, line) = self.frames[..self.len].last_mut()?;
            let change = leb128(rest)?;
            // Zigzag: odd ones are below 0.
            let change = (change >> 1) as i32 ^ -((change & 1) as i32);
            *line = line.checked_add_signed(change)?;
        }
        for _ in 0..gained {
            let frame = (leb128(rest)?, leb128(rest)?);
            *self.frames.get_mut(self.len)? = frame;
            self.len += 1;
        }
        Some(())
    }

    /// Shows the frames, the innermost first: the last is the function that the linker knows.
    pub fn each(&self, show: &mut dyn FnMut(Frame<'a>)) {
        for &frame in self.frames[..self.len].iter().rev() {
            if let Some(frame) = self.lines.frame(frame) {
                show(frame);
            }
        }
    }
}

/// As `function at file:line`.
impl fmt::Display for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}:{}", self.function, self.file, self.line)
    }
}
