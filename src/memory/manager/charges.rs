//! Charging owners that are named: their accounts as frame sources, changes of who is charged, quotas, and what
//! the heap asks beyond a [`FrameSource`].

use super::super::accounts::{Owner, Usage};
use super::super::frames::{
    FrameSource, Order, PAGE_SIZE, Pfn, allocate_and_note, free_and_forget,
};
use super::super::local_cpu::LocalCpu;
use super::super::zone::owners::Use;
use super::{MemoryManager, out_of_memory};
use crate::error::Result;
use core::array;
use core::sync::atomic::AtomicU64;

/// Frames at the expense of one owner, whoever runs.
pub struct Account<C: 'static> {
    manager: &'static MemoryManager<C>,
    owner: Owner,
}

/// Frames with what the heap must know of who is charged for them.
pub(in crate::memory) trait ChargedFrames: FrameSource {
    /// As [`FrameSource::allocate`], for a slab of order 0 to 4.
    ///
    /// # Errors
    /// `OutOfMemory` if there is no block of that order, or the running owner may not have it.
    fn allocate_slab(&self, order: Order) -> Result<Pfn>;

    /// Takes a slab back.
    ///
    /// # Errors
    /// `BadFree` if this block was not given out as a slab of that order.
    fn free_slab(&self, first: Pfn, order: Order) -> Result<()>;

    /// Takes a block back; answers who was charged for it.
    ///
    /// # Errors
    /// As [`FrameSource::free`].
    fn free_block(&self, first: Pfn, order: Order) -> Result<Owner>;

    /// False if `owner` never was charged for anything.
    fn was_ever_charged(&self, owner: Owner) -> bool;
}

impl<C: LocalCpu> MemoryManager<C> {
    /// Frames at the expense of `owner`, whoever runs.
    pub fn account(&'static self, owner: Owner) -> &'static Account<C> {
        let view = |number| Account {
            manager: self,
            owner: Owner::new(number as u8).unwrap_or(Owner::KERNEL),
        };
        &self.views.call_once(|| array::from_fn(view))[owner.index()]
    }

    /// Charges `to` for a block from now on, instead of whoever was charged.
    ///
    /// # Errors
    /// `BadFree` if nobody holds this block; `OutOfMemory` if it is beyond the quota of `to`. Nothing changes then.
    pub fn recharge(&self, first: Pfn, order: Order, to: Owner) -> Result<()> {
        if let Some(result) = self.try_recharge(first, order, to) {
            return result;
        }
        self.flush_all();
        self.try_recharge(first, order, to).unwrap_or_else(|| {
            self.accounts.refuse(to);
            Err(out_of_memory(order))
        })
    }

    /// None if it is beyond the quota.
    fn try_recharge(&self, first: Pfn, order: Order, to: Owner) -> Option<Result<()>> {
        // The zone's lock keeps a verification from counting in between.
        self.in_zone(|_| {
            if self.owners.charged(first, order, Use::Block) == Some(to) {
                return Some(Ok(()));
            }
            if self.accounts.charge(to, order.frames(), 1) == 0 {
                return None;
            }
            let from = self.owners.recharge(first, order, Use::Block, to);
            let from = from.inspect_err(|_| self.accounts.discharge(to, order.frames()));
            Some(from.map(|from| self.accounts.discharge(from, order.frames())))
        })
    }

    /// Limits what `owner` may have to `bytes`, in whole frames; `None` lifts the limit. What it has it keeps: if that is
    /// more, it may even use again what it gives back, until a CPU gives back what is charged in advance.
    pub fn set_quota(&self, owner: Owner, bytes: Option<u64>) {
        self.accounts.set_quota(owner, bytes);
        self.flush_all();
    }

    /// What `owner` is charged with.
    pub fn usage(&self, owner: Owner) -> Usage {
        let in_stock = self.caches.iter().map(|cache| cache.stock(owner)).sum();
        self.accounts.usage(owner, in_stock)
    }
}

// SAFETY: blocks come from the manager, which is a frame source.
unsafe impl<C: LocalCpu> FrameSource for Account<C>
where
    C: Send + Sync,
{
    fn allocate(&self, order: Order) -> Result<Pfn> {
        self.manager
            .allocate_as(Some(self.owner), order, Use::Block)
    }

    fn free(&self, first: Pfn, order: Order) -> Result<()> {
        self.manager.free(first, order)
    }

    // One step: who is to be killed in between is killed after it.
    fn allocate_into(&self, order: Order, place: &AtomicU64) -> Result<()> {
        let cpu = &self.manager.cpu;
        cpu.pinned(|| allocate_and_note(self, order, place))
    }

    fn free_from(&self, place: &AtomicU64) -> Result<()> {
        let free = |first, order| self.free(first, order);
        self.manager.cpu.pinned(|| free_and_forget(place, free))
    }

    fn allocate_zeroed_into(&self, order: Order, place: &AtomicU64) -> Result<()> {
        let owner = Some(self.owner);
        self.manager.allocate_zeroed_into_as(owner, order, place)
    }

    unsafe fn free_zeroed_from(&self, place: &AtomicU64) -> Result<()> {
        self.manager.free_zeroed_block_from(place)
    }

    /// Frames that the owner may still have, at most those that are free.
    fn free_frames(&self) -> u64 {
        let usage = self.manager.usage(self.owner);
        let allowed = usage.quota_bytes.map_or(u64::MAX, |quota| {
            quota.saturating_sub(usage.used_bytes) / PAGE_SIZE as u64
        });
        self.manager.free_frames().min(allowed)
    }

    /// Frames that the owner may have in all.
    fn total_frames(&self) -> u64 {
        let quota = self.manager.usage(self.owner).quota_bytes;
        let allowed = quota.map_or(u64::MAX, |quota| quota / PAGE_SIZE as u64);
        self.manager.total_frames().min(allowed)
    }
}

impl<C: LocalCpu> ChargedFrames for MemoryManager<C> {
    fn allocate_slab(&self, order: Order) -> Result<Pfn> {
        self.allocate_as(None, order, Use::Slab)
    }

    fn free_slab(&self, first: Pfn, order: Order) -> Result<()> {
        self.free_as(first, order, Use::Slab).map(drop)
    }

    fn free_block(&self, first: Pfn, order: Order) -> Result<Owner> {
        self.free_as(first, order, Use::Block)
    }

    fn was_ever_charged(&self, owner: Owner) -> bool {
        self.accounts.usage(owner, 0).peak_bytes > 0
    }
}
