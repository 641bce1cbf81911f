//! A block device that fails, tears, changes, forgets or delays.

use super::group::Group;
use super::point::Declaration;
use crate::error::{Error, Grow, Kind, Result, Subsystem};
use crate::platform::spin_once;
use crate::platform::time::{Clock, Duration};
use crate::storage::{BLOCK_BYTES, BlockDevice};
use alloc::vec::Vec;

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

/// The device.
pub struct FaultyBlockDevice<D> {
    inner: D,
    group: &'static Group,
    clock: &'static dyn Clock,
}

impl<D: BlockDevice> FaultyBlockDevice<D> {
    /// A device that hands on what it is asked to `inner`, with the points of `group`, which are [`BLOCK_POINTS`].
    pub const fn new(inner: D, group: &'static Group, clock: &'static dyn Clock) -> Self {
        Self {
            inner,
            group,
            clock,
        }
    }

    /// The device behind it.
    pub const fn inner_mut(&mut self) -> &mut D {
        &mut self.inner
    }

    /// Whether the call fails at `point`; each call may be slow.
    fn fires(&self, point: usize, bytes: usize) -> bool {
        self.group.fires_for(point, bytes as u64)
    }

    fn delay(&self) {
        if self.group.is_armed() && self.group.fires(SLOW) {
            let micros = self.group.amount(SLOW);
            let until = self.clock.now() + Duration::from_nanos(micros.saturating_mul(1_000));
            while self.clock.now() < until {
                spin_once();
            }
        }
    }

    fn flip(&self, point: usize, bytes: &mut [u8]) {
        let bit = self.group.draw(point) as usize % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

fn failed(what: &'static str) -> Error {
    Error::new(Subsystem::Platform, Kind::Device { what })
}

impl<D: BlockDevice> BlockDevice for FaultyBlockDevice<D> {
    fn blocks(&self) -> u64 {
        self.inner.blocks()
    }

    fn read(&mut self, first: u64, into: &mut [u8]) -> Result<()> {
        self.delay();
        if self.group.is_armed() && self.fires(READ_ERROR, into.len()) {
            return Err(failed("a read of blocks, on purpose"));
        }
        self.inner.read(first, into)?;
        if self.group.is_armed() && !into.is_empty() && self.fires(READ_CORRUPT, into.len()) {
            self.flip(READ_CORRUPT, into);
        }
        Ok(())
    }

    fn write(&mut self, first: u64, from: &[u8]) -> Result<()> {
        self.delay();
        if !self.group.is_armed() || from.is_empty() {
            return self.inner.write(first, from);
        }
        if self.fires(WRITE_ERROR, from.len()) {
            return Err(failed("a write of blocks, on purpose"));
        }
        if self.fires(WRITE_TORN, from.len()) {
            // Some of the first blocks, and of the next a part, as power that fails would leave them.
            let draw = self.group.draw(WRITE_TORN) as usize;
            let whole = draw % (from.len() / BLOCK_BYTES) * BLOCK_BYTES;
            self.inner.write(first, &from[..whole])?;
            let mut torn = [0; BLOCK_BYTES];
            let at = first + (whole / BLOCK_BYTES) as u64;
            self.inner.read(at, &mut torn)?;
            let part = (draw >> 32) % BLOCK_BYTES;
            torn[..part].copy_from_slice(&from[whole..][..part]);
            self.inner.write(at, &torn)?;
            return Err(failed("a write of blocks, torn on purpose"));
        }
        if self.fires(WRITE_CORRUPT, from.len()) {
            let mut changed = Vec::new();
            changed.try_append(from)?;
            self.flip(WRITE_CORRUPT, &mut changed);
            return self.inner.write(first, &changed);
        }
        self.inner.write(first, from)
    }

    fn flush(&mut self) -> Result<()> {
        self.delay();
        if self.group.is_armed() && self.fires(FLUSH_ERROR, 1) {
            return Err(failed("a flush, on purpose"));
        }
        if self.group.is_armed() && self.fires(FLUSH_LOST, 1) {
            return Ok(());
        }
        self.inner.flush()
    }
}
