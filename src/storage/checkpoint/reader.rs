//! Reading a checkpoint: pieces in their order, several on their way at a time, and the checksum of all in the end.
//!
//! The caller sees each piece before it is known that the whole is sound: what it made of them it has to give up if the
//! end says otherwise.

use super::layout::Header;
use super::{LANES_MAX, Lanes, Volume};
use crate::platform::crc32c::Crc32c;
use crate::storage::{BLOCK_BYTES, BUFFER_BYTES, BlockQueue, Operation};
use heapless::Deque;

/// What a reader has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStep {
    /// The next piece: so many bytes of the buffer of that slot. To be taken, then [`Reader::release`]d.
    Piece(usize, usize),
    /// Nothing before a request is done.
    Wait,
    /// All was read, and is what was written.
    Sound,
    /// It cannot be read, or is not what was written.
    Broken,
}

/// Reads one checkpoint.
#[derive(Debug)]
pub struct Reader {
    header: Header,
    first: u64,
    lanes: Lanes,
    /// Slots of pieces that were asked for and not yet released, in their order.
    order: Deque<usize, LANES_MAX>,
    /// Slots whose piece has come.
    arrived: u32,
    requested: u64,
    delivered: u64,
    crc: Crc32c,
}

impl Reader {
    /// Begins to read the checkpoint of a slot.
    pub fn new(volume: &Volume, slot: usize, header: Header) -> Self {
        Self {
            header,
            first: volume.geometry.data(slot),
            lanes: Lanes::default(),
            order: Deque::new(),
            arrived: 0,
            requested: 0,
            delivered: 0,
            crc: Crc32c::new(),
        }
    }

    /// Goes on.
    pub fn step(&mut self, queue: &mut dyn BlockQueue) -> ReadStep {
        let arrived = &mut self.arrived;
        self.lanes.reap(queue, |slot| *arrived |= 1 << slot);
        if self.lanes.has_failed {
            return match self.lanes.are_idle() {
                true => ReadStep::Broken,
                false => ReadStep::Wait,
            };
        }
        self.request(queue);
        let left = self.header.bytes - self.delivered;
        if left == 0 {
            return match self.crc.value() == self.header.crc {
                true => ReadStep::Sound,
                false => ReadStep::Broken,
            };
        }
        match self.order.front() {
            Some(&slot) if self.arrived & 1 << slot != 0 => {
                ReadStep::Piece(slot, left.min(BUFFER_BYTES as u64) as usize)
            }
            _ => ReadStep::Wait,
        }
    }

    /// True if the device failed a read.
    pub fn has_failed(&self) -> bool {
        self.lanes.has_failed
    }

    /// Asks for as many pieces as there are slots.
    fn request(&mut self, queue: &mut dyn BlockQueue) {
        while self.requested < self.header.bytes {
            let held = self.order.iter().fold(0, |held, slot| held | 1 << slot);
            let slots = queue.slots().min(LANES_MAX);
            let Some(slot) = (0..slots).find(|slot| held & 1 << slot == 0) else {
                return;
            };
            let bytes = (self.header.bytes - self.requested).min(BUFFER_BYTES as u64);
            let first = self.first + self.requested / BLOCK_BYTES as u64;
            let blocks = (bytes as usize).div_ceil(BLOCK_BYTES);
            self.lanes
                .submit(queue, slot, (Operation::Read, first, blocks));
            self.order.push_back(slot).expect("as many slots as places");
            self.arrived &= !(1 << slot);
            self.requested += bytes;
        }
    }

    /// The piece was taken: counts it, and lets its slot be used for another.
    pub fn release(&mut self, queue: &mut dyn BlockQueue, (slot, len): (usize, usize)) {
        self.crc.add(&queue.buffer(slot)[..len]);
        self.order.pop_front();
        self.delivered += len as u64;
    }
}
