//! A block device that fails, tears, changes, forgets or delays.

use super::group::Group;
use super::point::Declaration;
use crate::error::Result;
use crate::platform::block_device::{BLOCK_BYTES, BlockQueue, Operation, check_range};
use crate::platform::time::{Clock, Duration, Instant};
use alloc::boxed::Box;

/// What a block device can be made to do. Space is in bytes.
pub const BLOCK_POINTS: &[Declaration] = &[
    Declaration::new("block-read-error"),
    Declaration::new("block-read-corrupt"),
    Declaration::new("block-write-error"),
    Declaration::new("block-write-torn"),
    Declaration::new("block-write-corrupt"),
    Declaration::new("block-flush-error"),
    Declaration::new("block-flush-lost"),
    Declaration::new("block-slow").with_amount("microseconds", 10_000),
];

const READ_ERROR: usize = 0;
const READ_CORRUPT: usize = 1;
const WRITE_ERROR: usize = 2;
const WRITE_TORN: usize = 3;
const WRITE_CORRUPT: usize = 4;
const FLUSH_ERROR: usize = 5;
const FLUSH_LOST: usize = 6;
const SLOW: usize = 7;
const _: () = assert!(BLOCK_POINTS.len() == SLOW + 1);

/// Slots that are used of a device, at most.
const SLOTS_MAX: usize = 8;

/// Where a slot's request is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// There is none.
    Free,
    /// With the device.
    Asked,
    /// It is done, as asked or not.
    Done(bool),
}

/// A slot's request.
#[derive(Clone, Copy)]
struct Request {
    stage: Stage,
    operation: Operation,
    bytes: usize,
    /// It is not done as asked, whatever the device says.
    is_torn: bool,
    /// It is not done before.
    until: Instant,
}

/// The device.
pub struct FaultyBlockQueue {
    inner: Box<dyn BlockQueue>,
    group: &'static Group,
    clock: &'static dyn Clock,
    requests: [Request; SLOTS_MAX],
}

impl FaultyBlockQueue {
    /// A device that hands on what it is asked to `inner`, with the points of `group`, which are [`BLOCK_POINTS`]. While
    /// requests are slow it says early that some are done: nobody interrupts when they are.
    pub fn new(
        inner: Box<dyn BlockQueue>,
        group: &'static Group,
        clock: &'static dyn Clock,
    ) -> Self {
        let none = Request {
            stage: Stage::Free,
            operation: Operation::Flush,
            bytes: 0,
            is_torn: false,
            until: Instant::ZERO,
        };
        Self {
            inner,
            group,
            clock,
            requests: [none; SLOTS_MAX],
        }
    }

    /// Whether the call fails at `point`.
    fn fires(&self, point: usize, bytes: usize) -> bool {
        self.group.is_armed() && self.group.fires_for(point, bytes as u64)
    }

    fn flip(&mut self, point: usize, slot: usize, bytes: usize) {
        let bit = self.group.draw(point) as usize % (bytes * 8);
        self.inner.buffer(slot)[bit / 8] ^= 1 << (bit % 8);
    }

    /// Decides what becomes of a request. What is done at once is not handed on.
    fn begin(&mut self, slot: usize, operation: Operation, bytes: usize) -> Request {
        let mut request = Request {
            stage: Stage::Asked,
            operation,
            bytes,
            is_torn: false,
            until: Instant::ZERO,
        };
        if self.fires(SLOW, 1) {
            let micros = self.group.amount(SLOW);
            request.until = self.clock.now() + Duration::from_nanos(micros.saturating_mul(1_000));
        }
        match operation {
            Operation::Read if self.fires(READ_ERROR, bytes) => request.stage = Stage::Done(false),
            Operation::Write if self.fires(WRITE_ERROR, bytes) => {
                request.stage = Stage::Done(false);
            }
            Operation::Write if bytes > 0 && self.fires(WRITE_TORN, bytes) => {
                // Some of the first blocks, and of the next a part, as power that fails would leave them.
                let draw = self.group.draw(WRITE_TORN) as usize;
                let whole = draw % (bytes / BLOCK_BYTES) * BLOCK_BYTES;
                let part = (draw >> 32) % BLOCK_BYTES;
                self.inner.buffer(slot)[whole + part..][..BLOCK_BYTES - part].fill(0);
                request.bytes = whole + BLOCK_BYTES;
                request.is_torn = true;
            }
            Operation::Write if bytes > 0 && self.fires(WRITE_CORRUPT, bytes) => {
                self.flip(WRITE_CORRUPT, slot, bytes);
            }
            Operation::Flush if self.fires(FLUSH_ERROR, 1) => request.stage = Stage::Done(false),
            Operation::Flush if self.fires(FLUSH_LOST, 1) => request.stage = Stage::Done(true),
            _ => {}
        }
        request
    }
}

impl BlockQueue for FaultyBlockQueue {
    fn blocks(&self) -> u64 {
        self.inner.blocks()
    }

    fn is_read_only(&self) -> bool {
        self.inner.is_read_only()
    }

    fn slots(&self) -> usize {
        self.inner.slots().min(SLOTS_MAX)
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        self.inner.buffer(slot)
    }

    fn submit(
        &mut self,
        slot: usize,
        operation: Operation,
        first: u64,
        blocks: usize,
    ) -> Result<()> {
        assert!(
            self.requests[slot].stage == Stage::Free,
            "slot {slot} is under way"
        );
        check_range(first, blocks as u64, self.blocks())?;
        let request = self.begin(slot, operation, blocks * BLOCK_BYTES);
        if request.stage == Stage::Asked {
            let blocks = request.bytes / BLOCK_BYTES;
            self.inner.submit(slot, operation, first, blocks)?;
        }
        self.requests[slot] = request;
        Ok(())
    }

    fn has_done(&self) -> bool {
        let is_done = |request: &Request| matches!(request.stage, Stage::Done(_));
        self.inner.has_done() || self.requests.iter().any(is_done)
    }

    fn take_done(&mut self) -> Option<(usize, bool)> {
        while let Some((slot, is_done_as_asked)) = self.inner.take_done() {
            let Request {
                operation,
                bytes,
                is_torn,
                ..
            } = self.requests[slot];
            let is_read = is_done_as_asked && operation == Operation::Read && bytes > 0;
            if is_read && self.fires(READ_CORRUPT, bytes) {
                self.flip(READ_CORRUPT, slot, bytes);
            }
            self.requests[slot].stage = Stage::Done(is_done_as_asked && !is_torn);
        }
        let now = self.clock.now();
        for (slot, request) in self.requests.iter_mut().enumerate() {
            if let Stage::Done(is_done_as_asked) = request.stage
                && request.until <= now
            {
                request.stage = Stage::Free;
                return Some((slot, is_done_as_asked));
            }
        }
        None
    }
}
