//! A block device in memory, for tests and for images without a disk.
//!
//! It can lose its power: what was not flushed is then lost, as the device's contract allows.

use super::{BLOCK_BYTES, BlockDevice};
use crate::error::{Error, Grow, Result};
use crate::platform::block_device::check_range;
use alloc::vec::Vec;
use core::ops::Range;

/// The device.
pub struct MemoryDevice {
    /// As it is read.
    bytes: Vec<u8>,
    /// As it survives.
    durable: Vec<u8>,
}

impl MemoryDevice {
    /// A device of that many blocks of zeros.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(blocks: usize) -> Result<Self> {
        let zeros = || {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(blocks * BLOCK_BYTES)?;
            bytes.resize_reserved(blocks * BLOCK_BYTES, 0);
            Ok::<_, Error>(bytes)
        };
        Ok(Self {
            bytes: zeros()?,
            durable: zeros()?,
        })
    }

    /// Forgets what was not flushed.
    pub fn lose_power(&mut self) {
        self.bytes.copy_from_slice(&self.durable);
    }

    fn range(&self, first: u64, len: usize) -> Result<Range<usize>> {
        assert_eq!(len % BLOCK_BYTES, 0, "whole blocks only");
        check_range(first, (len / BLOCK_BYTES) as u64, self.blocks())?;
        let start = first as usize * BLOCK_BYTES;
        Ok(start..start + len)
    }
}

impl BlockDevice for MemoryDevice {
    fn blocks(&self) -> u64 {
        (self.bytes.len() / BLOCK_BYTES) as u64
    }

    fn read(&mut self, first: u64, into: &mut [u8]) -> Result<()> {
        let range = self.range(first, into.len())?;
        into.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    fn write(&mut self, first: u64, from: &[u8]) -> Result<()> {
        let range = self.range(first, from.len())?;
        self.bytes[range].copy_from_slice(from);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.durable.copy_from_slice(&self.bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn what_is_written_is_read_and_only_what_is_flushed_survives() {
        let mut device = MemoryDevice::new(4).expect("memory");
        let (ones, twos) = ([1; 2 * BLOCK_BYTES], [2; BLOCK_BYTES]);
        device.write(1, &ones).expect("there");
        device.flush().expect("it does not fail");
        device.write(2, &twos).expect("there");
        let mut read = [0; 3 * BLOCK_BYTES];
        device.read(1, &mut read).expect("there");
        assert_eq!(
            (read[0], read[BLOCK_BYTES], read[2 * BLOCK_BYTES]),
            (1, 2, 0)
        );
        device.lose_power();
        device.read(1, &mut read).expect("there");
        assert_eq!((read[0], read[BLOCK_BYTES]), (1, 1));
    }

    #[test]
    fn blocks_beyond_the_last_are_refused() {
        let mut device = MemoryDevice::new(2).expect("memory");
        let limit = Kind::LimitReached {
            what: "blocks of the device",
            limit: 2,
        };
        for first in [1, 2, u64::MAX] {
            let error = device
                .write(first, &[0; 2 * BLOCK_BYTES])
                .expect_err("beyond");
            assert_eq!(error.kind(), limit);
        }
        device.write(0, &[0; 2 * BLOCK_BYTES]).expect("there");
    }
}
