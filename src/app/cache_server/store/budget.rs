//! The memory budget: where every block of the keyspace comes from, and the count of what is held.
//!
//! Always true: `held_bytes` is the sum of the sizes of all blocks taken and not yet given back, so
//! `maxmemory` is held against what the keyspace really occupies, slack and all.

use crate::error::{Error, Kind, Result, Subsystem};
use crate::memory::frames::{Block, FrameSource, Order};

/// Takes blocks from a frame source up to a limit.
pub(super) struct Budget {
    source: &'static dyn FrameSource,
    held_bytes: u64,
    peak_bytes: u64,
    limit_bytes: u64,
}

impl Budget {
    /// A budget of `limit_bytes` from `source`.
    pub(super) fn new(source: &'static dyn FrameSource, limit_bytes: u64) -> Self {
        Self {
            source,
            held_bytes: 0,
            peak_bytes: 0,
            limit_bytes,
        }
    }

    /// Takes a block.
    ///
    /// # Errors
    /// `OutOfMemory` if the limit would be passed or the source has none.
    pub(super) fn take(&mut self, order: Order) -> Result<Block> {
        let bytes = order.bytes() as u64;
        if self.held_bytes + bytes > self.limit_bytes {
            return Err(out_of_memory(order.bytes()));
        }
        let block =
            Block::allocate(self.source, order).map_err(|_| out_of_memory(order.bytes()))?;
        self.held_bytes += bytes;
        self.peak_bytes = self.peak_bytes.max(self.held_bytes);
        Ok(block)
    }

    /// Gives a block back.
    pub(super) fn give(&mut self, block: Block) {
        self.held_bytes -= block.order().bytes() as u64;
    }

    /// Bytes held now.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// The most bytes held so far.
    pub(super) fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    /// Starts the peak anew.
    pub(super) fn reset_peak(&mut self) {
        self.peak_bytes = self.held_bytes;
    }

    /// The limit.
    pub(super) fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Changes the limit; what is held beyond it stays until it is evicted.
    pub(super) fn set_limit(&mut self, limit_bytes: u64) {
        self.limit_bytes = limit_bytes;
    }

    /// True when more is held than the limit allows.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.held_bytes > self.limit_bytes
    }
}

/// The error for a request of the keyspace that found no memory.
pub(super) const fn out_of_memory(requested_bytes: usize) -> Error {
    Error::new(Subsystem::Cache, Kind::OutOfMemory { requested_bytes })
}
