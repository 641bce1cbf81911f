//! A block device that is done when it returns, as one that is asked later: for tests, and for wrappers of devices.

use super::{BLOCK_BYTES, BUFFER_BYTES, BlockDevice, BlockQueue, Operation};
use crate::error::{Grow, GrowQueue, Result};
use crate::platform::block_device::check_range;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Slots: more than one, so that who uses it cannot count on an order.
const SLOTS: usize = 3;

/// The device as a queue.
pub struct Immediate<D> {
    device: D,
    buffers: Vec<Vec<u8>>,
    /// Slots that are done, and how.
    done: VecDeque<(usize, bool)>,
}

impl<D: BlockDevice> Immediate<D> {
    /// `device` as a queue.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(device: D) -> Result<Self> {
        let mut buffers = Vec::new();
        for _ in 0..SLOTS {
            let mut buffer = Vec::new();
            buffer.try_resize(BUFFER_BYTES, 0)?;
            buffers.try_push(buffer)?;
        }
        let mut done = VecDeque::new();
        done.try_reserve(SLOTS)?;
        Ok(Self {
            device,
            buffers,
            done,
        })
    }

    /// The device.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// The device alone.
    pub fn into_device(self) -> D {
        self.device
    }
}

impl<D: BlockDevice> BlockQueue for Immediate<D> {
    fn blocks(&self) -> u64 {
        self.device.blocks()
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn slots(&self) -> usize {
        SLOTS
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        assert!(self.done.iter().all(|(other, _)| *other != slot));
        &mut self.buffers[slot]
    }

    fn submit(
        &mut self,
        slot: usize,
        operation: Operation,
        first: u64,
        blocks: usize,
    ) -> Result<()> {
        assert!(self.done.iter().all(|(other, _)| *other != slot));
        check_range(first, blocks as u64, self.device.blocks())?;
        let buffer = &mut self.buffers[slot][..blocks * BLOCK_BYTES];
        let outcome = match operation {
            Operation::Read => self.device.read(first, buffer),
            Operation::Write => self.device.write(first, buffer),
            Operation::Flush => self.device.flush(),
        };
        self.done.push_back_reserved((slot, outcome.is_ok()));
        Ok(())
    }

    fn has_done(&self) -> bool {
        !self.done.is_empty()
    }

    fn take_done(&mut self) -> Option<(usize, bool)> {
        // The last first: any order is right.
        self.done.pop_back()
    }
}
