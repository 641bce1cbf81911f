//! Storage: what the parts of the image ask of a block device, and one that lives in memory.
//!
//! Nothing in the image uses one yet: the linker leaves all of this out, so it is no feature of its own.

mod memory_device;

pub use memory_device::MemoryDevice;

use crate::error::Result;

/// Bytes of a block, the unit of reading and writing.
pub const BLOCK_BYTES: usize = 512;

/// A device of numbered blocks of [`BLOCK_BYTES`].
///
/// What was written is read back at once; it survives a loss of power once [`BlockDevice::flush`] returned, and
/// before that each block is there as it was or as it was written, in any order.
pub trait BlockDevice: Send {
    /// Blocks that it has.
    fn blocks(&self) -> u64;

    /// Reads the blocks from `first` on into `into`, whole blocks only.
    ///
    /// # Errors
    /// `LimitReached` beyond the last block; `Device` if the device fails: `into` is then undefined.
    fn read(&mut self, first: u64, into: &mut [u8]) -> Result<()>;

    /// Writes `from`, whole blocks only, over the blocks from `first` on.
    ///
    /// # Errors
    /// `LimitReached` beyond the last block, and nothing is written; `Device` if the device fails: any of these
    /// blocks may then be written or not.
    fn write(&mut self, first: u64, from: &[u8]) -> Result<()>;

    /// Returns once all that was written survives a loss of power.
    ///
    /// # Errors
    /// `Device` if the device fails.
    fn flush(&mut self) -> Result<()>;
}
