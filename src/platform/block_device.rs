//! What storage needs of a block device that works while its user does something else, so that it runs on a host
//! without one.
//!
//! A device has a few slots, each a fixed buffer and at most one request at a time. Who uses it fills a slot's
//! buffer, submits, and asks later which slots are done: nobody ever waits for a disk. An interrupt wakes whoever
//! the device was bound to, so that asking is not polling.

use crate::error::{Error, Kind, Result, Subsystem};

/// Bytes of a block, the unit of addresses.
pub const BLOCK_BYTES: usize = 512;
/// Bytes of a slot's buffer.
pub const BUFFER_BYTES: usize = 32 << 10;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Read blocks into the slot's buffer.
    Read,
    /// Write them from it.
    Write,
    /// Make all writes that were done before survive a loss of power.
    Flush,
}

/// Refuses a request for `blocks` blocks from `first` on if a device of `limit` blocks has not all of them.
///
/// # Errors
/// `LimitReached`.
pub fn check_range(first: u64, blocks: u64, limit: u64) -> Result<()> {
    if first.checked_add(blocks).is_none_or(|end| end > limit) {
        let what = "blocks of the device";
        let kind = Kind::LimitReached { what, limit };
        return Err(Error::new(Subsystem::Platform, kind));
    }
    Ok(())
}

/// A block device with slots for requests.
///
/// Requests under way may be done in any order. A write survives a loss of power once a [`Operation::Flush`] that was
/// submitted after the write was done is done itself; before that each of its blocks is there as it was or as it was
/// written.
pub trait BlockQueue {
    /// Blocks that it has.
    fn blocks(&self) -> u64;

    /// True if it takes no writes.
    fn is_read_only(&self) -> bool;

    /// How many slots it has, at least one.
    fn slots(&self) -> usize;

    /// The buffer of a slot, [`BUFFER_BYTES`] long.
    ///
    /// # Panics
    /// If the slot's request is under way.
    fn buffer(&mut self, slot: usize) -> &mut [u8];

    /// Begins a request for `blocks` blocks from `first` on, between the device and the start of the slot's buffer; a
    /// flush is about no blocks.
    ///
    /// # Errors
    /// `LimitReached` beyond the last block, and nothing is begun.
    ///
    /// # Panics
    /// If the slot's request is under way, or for more blocks than the buffer holds.
    fn submit(
        &mut self,
        slot: usize,
        operation: Operation,
        first: u64,
        blocks: usize,
    ) -> Result<()>;

    /// True if a request is done that was not taken back. A device may say so early: nothing is then taken back yet.
    fn has_done(&self) -> bool;

    /// The next slot whose request is done, and whether it was done as asked: if not, any of its blocks may be
    /// written, and a buffer read into is undefined.
    fn take_done(&mut self) -> Option<(usize, bool)>;
}
