//! Writing a checkpoint: data, flush, header, flush.
//!
//! The caller fills a buffer whenever the writer has one to fill, and says when there is no more. Buffers are written
//! side by side; each step after the data begins when all before it is done.

use super::layout::{Block, Header, is_blank};
use super::{Lanes, Volume};
use crate::error::{Error, Kind, Result, Subsystem};
use crate::platform::crc32c::Crc32c;
use crate::storage::{BLOCK_BYTES, BUFFER_BYTES, BlockQueue, Operation};

/// What comes next, once all requests before it are done but for more `Data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Wiping one header after the other, where the disk is formatted.
    Wipe(u64),
    WipeFlush,
    Label,
    LabelFlush,
    Data,
    DataFlush,
    Header,
    HeaderFlush,
    Done,
}

/// What a writer wants.
#[derive(Debug)]
pub enum WriteStep {
    /// [`Writer::write`] with data in the buffer of that slot, or [`Writer::finish`].
    Data(usize),
    /// To be asked again when a request is done.
    Wait,
    /// It has ended: the checkpoint is the newest now, and all of it survives; or there is none.
    End(Result<Header>),
}

/// Writes one checkpoint.
#[derive(Debug)]
pub struct Writer {
    volume: Volume,
    slot: usize,
    sequence: u64,
    saved_at_ms: u64,
    stage: Stage,
    lanes: Lanes,
    bytes: u64,
    crc: Crc32c,
    is_abandoned: bool,
}

impl Writer {
    /// Begins one that is of that moment.
    pub fn new(volume: &Volume, saved_at_ms: u64) -> Self {
        let (slot, sequence) = volume.next();
        Self {
            volume: *volume,
            slot,
            sequence,
            saved_at_ms,
            stage: match (volume.is_wiped_first, volume.is_labelled) {
                (true, _) => Stage::Wipe(0),
                (false, false) => Stage::Label,
                (false, true) => Stage::Data,
            },
            lanes: Lanes::default(),
            bytes: 0,
            crc: Crc32c::new(),
            is_abandoned: false,
        }
    }

    /// Goes on.
    pub fn step(&mut self, queue: &mut dyn BlockQueue) -> WriteStep {
        self.lanes.reap(queue, |_| {});
        loop {
            if self.is_abandoned || self.lanes.has_failed {
                return match self.lanes.are_idle() {
                    true => WriteStep::End(Err(self.failure())),
                    false => WriteStep::Wait,
                };
            }
            // The first data waits for the label to be flushed: without one, they would be a stranger's.
            if self.stage == Stage::Data && (self.bytes > 0 || self.lanes.are_idle()) {
                return match self.lanes.free(queue) {
                    Some(slot) => WriteStep::Data(slot),
                    None => WriteStep::Wait,
                };
            }
            if !self.lanes.are_idle() {
                return WriteStep::Wait;
            }
            if self.stage == Stage::Done {
                return WriteStep::End(Ok(self.header()));
            }
            self.begin(queue);
        }
    }

    /// Begins the one request of a stage that is not about data.
    fn begin(&mut self, queue: &mut dyn BlockQueue) {
        let geometry = self.volume.geometry;
        let flush = (Operation::Flush, 0, 0);
        let mut content: Option<Block> = None;
        let mut write = |first, block| {
            content = Some(block);
            (Operation::Write, first, 1)
        };
        let (request, next) = match self.stage {
            Stage::Wipe(number) => {
                let next = match geometry.wiped(number + 1) {
                    Some(_) => Stage::Wipe(number + 1),
                    None => Stage::WipeFlush,
                };
                let place = geometry.wiped(number).expect("asked for before");
                (write(place, [0; BLOCK_BYTES]), next)
            }
            Stage::WipeFlush => (flush, Stage::Label),
            Stage::Label => (write(0, geometry.label()), Stage::LabelFlush),
            Stage::LabelFlush => (flush, Stage::Data),
            Stage::Data | Stage::DataFlush => (flush, Stage::Header),
            Stage::Header => {
                let block = self.header().to_block();
                (write(geometry.header(self.slot), block), Stage::HeaderFlush)
            }
            Stage::HeaderFlush | Stage::Done => (flush, Stage::Done),
        };
        if let Some(block) = content {
            debug_assert!(self.stage != Stage::Header || !is_blank(&block));
            queue.buffer(0)[..BLOCK_BYTES].copy_from_slice(&block);
        }
        self.lanes.submit(queue, 0, request);
        self.stage = next;
    }

    fn header(&self) -> Header {
        Header {
            sequence: self.sequence,
            bytes: self.bytes,
            saved_at_ms: self.saved_at_ms,
            crc: self.crc.value(),
        }
    }

    /// Writes the first `len` bytes of the buffer that [`WriteStep::Data`] named: all of it, but for the last one.
    pub fn write(&mut self, queue: &mut dyn BlockQueue, slot: usize, len: usize) {
        assert!(
            len <= BUFFER_BYTES && self.bytes.is_multiple_of(BUFFER_BYTES as u64),
            "only the last piece is short"
        );
        if len == 0 {
            return;
        }
        if self.bytes + len as u64 > self.volume.capacity_bytes() {
            self.is_abandoned = true;
            return;
        }
        let blocks = len.div_ceil(BLOCK_BYTES);
        let buffer = queue.buffer(slot);
        self.crc.add(&buffer[..len]);
        buffer[len..blocks * BLOCK_BYTES].fill(0);
        let first = self.volume.geometry.data(self.slot) + self.bytes / BLOCK_BYTES as u64;
        self.lanes
            .submit(queue, slot, (Operation::Write, first, blocks));
        self.bytes += len as u64;
    }

    /// Says that all data was written.
    pub fn finish(&mut self) {
        self.stage = Stage::DataFlush;
    }

    /// Gives the checkpoint up: it ends with an error once nothing is under way any more.
    pub fn abandon(&mut self) {
        self.is_abandoned = true;
    }

    /// The volume as it is once this ended well.
    pub fn volume_after(&self) -> Volume {
        let mut volume = self.volume;
        volume.note(self.slot, self.header());
        volume
    }

    /// Bytes of data so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn failure(&self) -> Error {
        let what = match self.lanes.has_failed {
            true => "writing a checkpoint",
            false => "a checkpoint that does not fit, or was given up",
        };
        Error::new(Subsystem::Storage, Kind::Device { what })
    }
}
