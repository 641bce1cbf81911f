//! A large body: a block of frames whose charge travels with the message.
//!
//! While a message waits in a mailbox its parcel is charged to [`Owner::KERNEL`], as the mailbox is: so neither
//! the death of the sender nor that of the receiver frees frames that the queue still holds. Whoever receives
//! it is charged. A charge that arrives may take the receiver over its quota; its next own request is refused.

use crate::error::Result;
use crate::memory::frames::{Block, FrameSource, Order};
use core::ops::{Deref, DerefMut};

/// Whom memory is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(pub u8);

impl Owner {
    /// The image itself, and what it holds for all.
    pub const KERNEL: Self = Self(0);
}

/// Moves charges for memory; the memory manager's accounts implement it.
pub trait Charge: Send + Sync {
    /// Charges the block to `to`, whoever was charged before. Never refuses.
    fn recharge(&self, block: &Block, to: Owner);
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
