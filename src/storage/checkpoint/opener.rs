//! Finding out what is on a disk: whose it is, and which checkpoints.
//!
//! A disk is blank, and may be taken, if all is zero where file systems, partition tables and volume managers have
//! what names them: its first 128 KiB and its last 64 KiB, and where our own headers would be.

use super::layout::{Geometry, Header, Label, is_blank};
use super::{Lanes, VERSION};
use crate::storage::{BLOCK_BYTES, BUFFER_BYTES, BlockQueue, Operation};

/// Blocks of one look.
const LOOK_BLOCKS: u64 = (BUFFER_BYTES / BLOCK_BYTES) as u64;
/// Looks at the start of a disk,
const LOOKS_AT_START: u64 = 4;
/// and at its end.
const LOOKS_AT_END: u64 = 2;

/// What is on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Nothing: it can be taken.
    Blank(Volume),
    /// It is nos' own.
    Ours(Volume),
    /// It is someone else's.
    Foreign,
    /// It was nos' own, and its label is damaged or no header is whole.
    Damaged,
    /// It is nos' own, of a version that is not read here.
    OfVersion(u32),
    /// It has too few blocks to be of use.
    TooSmall,
    /// It cannot be read.
    Unreadable,
}

/// A disk that holds checkpoints, or may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    pub(super) geometry: Geometry,
    pub(super) is_labelled: bool,
    /// What is in the slots is to be wiped out before the next checkpoint.
    pub(super) is_wiped_first: bool,
    headers: [Option<Header>; 2],
    /// Slots where something is that is no whole header.
    torn: [bool; 2],
}

impl Volume {
    fn new(geometry: Geometry, is_labelled: bool) -> Self {
        Self {
            geometry,
            is_labelled,
            is_wiped_first: false,
            headers: [None; 2],
            torn: [false; 2],
        }
    }

    /// A disk of so many blocks whose contents are given up; `None` if they are too few.
    pub fn format(blocks: u64) -> Option<Self> {
        let geometry = Geometry::of(blocks)?;
        let is_wiped_first = true;
        Some(Self {
            is_wiped_first,
            ..Self::new(geometry, false)
        })
    }

    /// The checkpoints that have a whole header and their slots, the newest first.
    pub fn checkpoints(&self) -> impl Iterator<Item = (usize, Header)> {
        let mut slots = [0, 1].map(|slot| self.headers[slot].map(|header| (slot, header)));
        slots.sort_by_key(|slot| core::cmp::Reverse(slot.map(|(_, header)| header.sequence)));
        slots.into_iter().flatten()
    }

    /// True if nothing was ever written there, or what was is given up.
    pub fn is_fresh(&self) -> bool {
        !self.is_labelled
    }

    /// True if a slot has something that is no whole header.
    pub fn is_torn(&self) -> bool {
        self.torn.contains(&true)
    }

    /// The header of a slot is not believed any more: its data was not what it says.
    pub fn distrust(&mut self, slot: usize) {
        self.headers[slot] = None;
        self.torn[slot] = true;
    }

    /// Where the next checkpoint goes, and its number: never over the newest one that is whole.
    pub(super) fn next(&self) -> (usize, u64) {
        let newest = self.checkpoints().next();
        let slot = match newest {
            Some((slot, _)) => 1 - slot,
            // One that is torn is where the first of all was cut off: the other stays as it is, so that a second cut is
            // not taken for damage.
            None => usize::from(self.torn[1] && !self.torn[0]),
        };
        (slot, newest.map_or(0, |(_, header)| header.sequence) + 1)
    }

    /// A checkpoint was written.
    pub(super) fn note(&mut self, slot: usize, header: Header) {
        self.headers[slot] = Some(header);
        self.torn[slot] = false;
        self.is_labelled = true;
        self.is_wiped_first = false;
    }

    /// Bytes that a checkpoint may have.
    pub fn capacity_bytes(&self) -> u64 {
        self.geometry.data_bytes()
    }
}

/// Reads what tells what is on a disk.
#[derive(Debug)]
pub struct Opener {
    blocks: u64,
    lanes: Lanes,
    /// The look that is under way.
    look: u64,
    /// What the label said, once it was read.
    label: Label,
    volume: Volume,
}

impl Opener {
    /// For a disk of so many blocks; `None` if they are too few.
    pub fn new(blocks: u64) -> Option<Self> {
        let geometry = Geometry::of(blocks)?;
        Some(Self {
            blocks,
            lanes: Lanes::default(),
            look: 0,
            label: Label::Absent,
            volume: Volume::new(geometry, false),
        })
    }

    /// Goes on, and answers once all is known. To be called again when a request is done.
    pub fn step(&mut self, queue: &mut dyn BlockQueue) -> Option<Contents> {
        let mut arrived = None;
        let was_idle = self.lanes.are_idle();
        self.lanes.reap(queue, |slot| arrived = Some(slot));
        if self.lanes.has_failed {
            return Some(Contents::Unreadable);
        }
        if let Some(slot) = arrived {
            let (_, blocks) = self.place()?;
            let bytes = blocks as usize * BLOCK_BYTES;
            let found = self.see(&queue.buffer(slot)[..bytes]);
            if found.is_some() {
                return found;
            }
            self.look += 1;
        } else if !was_idle {
            return None;
        }
        let Some((first, blocks)) = self.place() else {
            return Some(self.conclude());
        };
        let request = (Operation::Read, first, blocks as usize);
        self.lanes.submit(queue, 0, request);
        self.lanes.has_failed.then_some(Contents::Unreadable)
    }

    /// What is looked at now: first block, and how many.
    fn place(&self) -> Option<(u64, u64)> {
        let headers = self.look.checked_sub(1);
        if let (Label::Whole(geometry), Some(slot)) = (self.label, headers) {
            return (slot < 2).then(|| (geometry.header(slot as usize), 1));
        }
        // The start, the end, both headers.
        let last = self.blocks.saturating_sub(LOOK_BLOCKS);
        let from_end = LOOKS_AT_START + LOOKS_AT_END - self.look.min(LOOKS_AT_START + LOOKS_AT_END);
        let first = match self.look {
            look @ 0..LOOKS_AT_START => (look * LOOK_BLOCKS).min(last),
            _ if from_end > 0 => self.blocks.saturating_sub(from_end * LOOK_BLOCKS),
            look => {
                let slot = look - LOOKS_AT_START - LOOKS_AT_END;
                return (slot < 2).then(|| (self.volume.geometry.header(slot as usize), 1));
            }
        };
        Some((first, LOOK_BLOCKS.min(self.blocks)))
    }

    /// Sees what was read; answers if that says all.
    fn see(&mut self, bytes: &[u8]) -> Option<Contents> {
        if self.look == 0 {
            self.label = Label::read(&bytes[..BLOCK_BYTES], self.blocks);
            match self.label {
                Label::Absent => {}
                Label::Whole(geometry) => {
                    self.volume = Volume::new(geometry, true);
                    return None;
                }
                Label::OfVersion(version) => return Some(Contents::OfVersion(version)),
                Label::Damaged => return Some(Contents::Damaged),
                Label::Foreign => return Some(Contents::Foreign),
            }
            return (!is_blank(&bytes[BLOCK_BYTES..])).then_some(Contents::Foreign);
        }
        if let Label::Whole(geometry) = self.label {
            let slot = self.look as usize - 1;
            self.volume.headers[slot] = Header::read(bytes, geometry);
            self.volume.torn[slot] = self.volume.headers[slot].is_none() && !is_blank(bytes);
            return None;
        }
        // The last look at the end of a short disk may begin at the label, which was seen.
        let label = self.place().is_some_and(|(first, _)| first == 0);
        let seen = if label { BLOCK_BYTES } else { 0 };
        (!is_blank(&bytes[seen..])).then_some(Contents::Foreign)
    }

    fn conclude(&self) -> Contents {
        match (self.label, self.volume.torn) {
            (Label::Whole(_), [true, true]) => Contents::Damaged,
            (Label::Whole(_), _) => Contents::Ours(self.volume),
            _ => Contents::Blank(self.volume),
        }
    }
}

const _: () = assert!(VERSION == 1, "a new version says how the old one is read");
