//! Storage: what the parts of the image ask of a block device, one that lives in memory, and checkpoints.
//!
//! Two traits: [`BlockDevice`] is done when it returns, for tests and for what may wait; [`BlockQueue`] is asked later,
//! and is what drivers are and what a fiber that must not wait uses. [`Immediate`] makes the second of the first.
//! [`WatchedQueue`] tells a [`DiskWitness`] what a device fails to do.

pub mod checkpoint;
mod immediate;
mod memory_device;
mod watched;

pub use crate::platform::block_device::{BLOCK_BYTES, BUFFER_BYTES, BlockQueue, Operation};
pub use immediate::Immediate;
pub use memory_device::MemoryDevice;
pub use watched::{DiskEvent, DiskWitness, Unheard, WatchedQueue};

use crate::error::Result;
use alloc::boxed::Box;
use checkpoint::Notebook;

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

/// The image's disk, as it is handed to who uses it.
pub struct Disk {
    /// The device.
    pub queue: Box<dyn BlockQueue>,
    /// What is on it may be overwritten, whatever it is: the operator said so.
    pub may_format: bool,
    /// Who is told what becomes of what is on it.
    pub witness: &'static dyn DiskWitness,
    /// What is kept on it beside checkpoints.
    pub notebook: &'static dyn Notebook,
}

/// Where the disk is got from.
pub trait DiskBay: Sync {
    /// Takes the disk into use, if there is one: afresh, whatever was under way with it is forgotten.
    ///
    /// # Errors
    /// `Device` if it cannot be used; `OutOfMemory`.
    fn open(&self) -> Result<Option<Disk>>;
}

/// A bay without a disk.
#[derive(Clone, Copy, Debug)]
pub struct NoDisk;

impl DiskBay for NoDisk {
    fn open(&self) -> Result<Option<Disk>> {
        Ok(None)
    }
}
