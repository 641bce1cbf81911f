//! A large body: a block of frames whose charge travels with the message.
//!
//! While a message waits in a mailbox its parcel is charged to [`Owner::KERNEL`], as the mailbox is: so neither
//! the death of the sender nor that of the receiver frees frames that the queue still holds. Whoever receives
//! it is charged. A charge that arrives may take the receiver over its quota; its next own request is refused.

use crate::error::Result;
pub use crate::memory::accounts::Owner;
use crate::memory::frames::Pfn;
use crate::memory::frames::{Block, FrameSource, Order};
use crate::memory::{LocalCpu, MemoryManager};
use core::ops::{Deref, DerefMut};

/// Moves charges for memory; the memory manager's accounts implement it.
pub trait Charge: Send + Sync {
    /// Charges the block to `to`, whoever was charged before. Never refuses.
    fn recharge(&self, block: &Block, to: Owner);
}

impl<C: LocalCpu + Send> Charge for MemoryManager<C> {
    fn recharge(&self, block: &Block, to: Owner) {
        let first = Pfn::containing(block.as_ptr().addr());
        Self::recharge(self, first, block.order(), to)
            .expect("a block that somebody holds can be charged to another");
    }
}

/// Frames with a length, owned by whoever holds it.
pub struct Parcel {
    block: Block,
    len: usize,
    charge: &'static dyn Charge,
}

impl core::fmt::Debug for Parcel {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Parcel({} bytes)", self.len)
    }
}

impl Parcel {
    /// A parcel of `len` bytes of whatever the frames held, charged to `owner`.
    ///
    /// # Errors
    /// `OutOfMemory` if the source has no block that large.
    pub fn allocate(
        source: &'static dyn FrameSource,
        charge: &'static dyn Charge,
        owner: Owner,
        len: usize,
    ) -> Result<Self> {
        let order = Order::for_bytes(len).ok_or(crate::error::Error::new(
            crate::error::Subsystem::Bus,
            crate::error::Kind::OutOfMemory {
                requested_bytes: len,
            },
        ))?;
        let block = Block::allocate(source, order)?;
        charge.recharge(&block, owner);
        Ok(Self { block, len, charge })
    }

    /// Charges it to `to`.
    pub fn recharge(&mut self, to: Owner) {
        self.charge.recharge(&self.block, to);
    }
}

impl Deref for Parcel {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.block[..self.len]
    }
}

impl DerefMut for Parcel {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.block[..self.len]
    }
}
