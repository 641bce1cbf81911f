//! What lies where on the disk: the label, the headers, where the slots begin, and the notes.
//!
//! Both are the first bytes of a block of their own, the rest of which is zero; numbers are little-endian. Each has its
//! magic first and its checksum last, so that a block torn at any byte is never taken for a whole one.

use crate::platform::crc32c::Crc32c;
use crate::storage::{BLOCK_BYTES, BUFFER_BYTES};

/// The version of the format: of label, headers and records together.
pub const VERSION: u32 = 1;

const LABEL_MAGIC: [u8; 8] = *b"nos-disk";
const HEADER_MAGIC: [u8; 8] = *b"nos-ckpt";
/// What a note's header begins with.
pub(super) const NOTE_MAGIC: [u8; 8] = *b"nos-note";
/// Blocks that a note has for itself: one buffer.
pub(super) const NOTE_BLOCKS: u64 = (BUFFER_BYTES / BLOCK_BYTES) as u64;
/// Notes that there is room for, written in turns.
const NOTES: u64 = 2;
/// A disk of fewer blocks has none: they would be more than a thirtieth of it.
const NOTED_BLOCKS_MIN: u64 = 4096;
/// Blocks that a label or a header has for itself: a sector of disks with large ones.
const HEAD_BLOCKS: u64 = 8;
/// Data of a slot, at least: a disk with less is of no use.
const DATA_BLOCKS_MIN: u64 = 8;

const LABEL_BYTES: usize = 28;
const HEADER_BYTES: usize = 48;

/// A block.
pub(super) type Block = [u8; BLOCK_BYTES];

/// Where the slots are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    slot_blocks: u64,
    /// Blocks of the disk.
    blocks: u64,
}

impl Geometry {
    /// That of a disk with so many blocks; `None` if they are too few.
    pub(super) fn of(blocks: u64) -> Option<Self> {
        let notes = match blocks >= NOTED_BLOCKS_MIN {
            true => NOTES * NOTE_BLOCKS,
            false => 0,
        };
        let slot_blocks = blocks.checked_sub(HEAD_BLOCKS + notes)? / 2 / HEAD_BLOCKS * HEAD_BLOCKS;
        let own = Self {
            slot_blocks,
            blocks,
        };
        (slot_blocks >= HEAD_BLOCKS + DATA_BLOCKS_MIN).then_some(own)
    }

    /// The first block of the notes, behind the slots, if there is room for them.
    pub(super) fn notes(self) -> Option<u64> {
        let first = self.header(2);
        let end = first + NOTES * NOTE_BLOCKS;
        (end <= self.blocks).then_some(first)
    }

    /// The header that is wiped out as that one where the disk is formatted: the slots', then the notes'.
    pub(super) fn wiped(self, number: u64) -> Option<u64> {
        match number {
            0 | 1 => Some(self.header(number as usize)),
            _ if number < 2 + NOTES => Some(self.notes()? + (number - 2) * NOTE_BLOCKS),
            _ => None,
        }
    }

    /// The block of a slot's header.
    pub(super) fn header(self, slot: usize) -> u64 {
        HEAD_BLOCKS + slot as u64 * self.slot_blocks
    }

    /// The first block of a slot's data.
    pub(super) fn data(self, slot: usize) -> u64 {
        self.header(slot) + HEAD_BLOCKS
    }

    /// Bytes of data that a slot holds.
    pub(super) fn data_bytes(self) -> u64 {
        (self.slot_blocks - HEAD_BLOCKS) * BLOCK_BYTES as u64
    }

    /// The label of a disk with these slots.
    pub(super) fn label(self) -> Block {
        let mut block = [0; BLOCK_BYTES];
        block[..8].copy_from_slice(&LABEL_MAGIC);
        block[8..12].copy_from_slice(&VERSION.to_le_bytes());
        block[16..24].copy_from_slice(&self.slot_blocks.to_le_bytes());
        seal(&mut block, LABEL_BYTES);
        block
    }
}

/// What a label says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// Nothing was ever written there, or the writing of the label was cut off.
    Absent,
    /// It is a disk of nos'.
    Whole(Geometry),
    /// It is one of a version that is not read here.
    OfVersion(u32),
    /// It was a label, and is damaged.
    Damaged,
    /// It is none.
    Foreign,
}

impl Label {
    /// Reads a label of a disk with so many blocks.
    pub(super) fn read(block: &[u8], blocks: u64) -> Self {
        let fresh = Geometry::of(blocks).map_or([0; BLOCK_BYTES], Geometry::label);
        if is_cut_short(block, &fresh) {
            return Self::Absent;
        }
        if block[..8] != LABEL_MAGIC {
            return Self::Foreign;
        }
        if !is_sealed(block, LABEL_BYTES) {
            return Self::Damaged;
        }
        let version = u32_at(block, 8);
        if version != VERSION {
            return Self::OfVersion(version);
        }
        let slot_blocks = u64_at(block, 16);
        let geometry = Geometry {
            slot_blocks,
            blocks,
        };
        let fits = slot_blocks >= HEAD_BLOCKS + DATA_BLOCKS_MIN
            && slot_blocks <= blocks / 2
            && HEAD_BLOCKS + 2 * slot_blocks <= blocks;
        match fits {
            true => Self::Whole(geometry),
            false => Self::Damaged,
        }
    }
}

/// A slot's header: its checkpoint is whole if its data has that checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Counts the checkpoints of a disk, from 1: the highest is the newest.
    pub sequence: u64,
    /// Bytes of data.
    pub bytes: u64,
    /// The moment that it is of, in milliseconds since the Unix epoch.
    pub saved_at_ms: u64,
    /// CRC-32C of the data.
    pub crc: u32,
}

impl Header {
    /// As it is written.
    pub(super) fn to_block(self) -> Block {
        self.to_block_as(HEADER_MAGIC)
    }

    /// As it is written before what has that magic.
    pub(super) fn to_block_as(self, magic: [u8; 8]) -> Block {
        let mut block = [0; BLOCK_BYTES];
        block[..8].copy_from_slice(&magic);
        block[8..12].copy_from_slice(&VERSION.to_le_bytes());
        block[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        block[24..32].copy_from_slice(&self.bytes.to_le_bytes());
        block[32..40].copy_from_slice(&self.saved_at_ms.to_le_bytes());
        block[40..44].copy_from_slice(&self.crc.to_le_bytes());
        seal(&mut block, HEADER_BYTES);
        block
    }

    /// The header in a block, if it is a whole one of a slot with these slots.
    pub(super) fn read(block: &[u8], geometry: Geometry) -> Option<Self> {
        Self::read_as(HEADER_MAGIC, block, geometry.data_bytes())
    }

    /// The header with that magic in a block, if it is a whole one of so many bytes at most.
    pub(super) fn read_as(magic: [u8; 8], block: &[u8], bytes_max: u64) -> Option<Self> {
        let header = Self {
            sequence: u64_at(block, 16),
            bytes: u64_at(block, 24),
            saved_at_ms: u64_at(block, 32),
            crc: u32_at(block, 40),
        };
        let is_whole = block[..8] == magic
            && is_sealed(block, HEADER_BYTES)
            && u32_at(block, 8) == VERSION
            && header.bytes <= bytes_max;
        is_whole.then_some(header)
    }
}

/// True if a block is all zeros.
pub(super) fn is_blank(block: &[u8]) -> bool {
    block.iter().all(|&byte| byte == 0)
}

/// True if `found` is the start of `wanted` and zeros behind it, as a write onto zeros is that was cut off.
fn is_cut_short(found: &[u8], wanted: &Block) -> bool {
    let differs = found
        .iter()
        .zip(wanted)
        .position(|(one, other)| one != other);
    differs.is_some_and(|at| is_blank(&found[at..]))
}

/// Puts the checksum of what is before them into the last four of the first `len` bytes.
fn seal(block: &mut Block, len: usize) {
    let crc = Crc32c::of(&block[..len - 4]);
    block[len - 4..len].copy_from_slice(&crc.to_le_bytes());
}

fn is_sealed(block: &[u8], len: usize) -> bool {
    u32_at(block, len - 4) == Crc32c::of(&block[..len - 4]) && is_blank(&block[len..BLOCK_BYTES])
}

#[inline(always)]
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let word = bytes[at..].first_chunk().expect("a word is left at `at`");
    u32::from_le_bytes(*word)
}

#[inline(always)]
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let word = bytes[at..].first_chunk().expect("a word is left at `at`");
    u64::from_le_bytes(*word)
}
