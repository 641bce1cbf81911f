//! Movable pages: single frames whose owner moves what lies in them when asked, so that large blocks form again.
//!
//! A page is charged to its owner, kept apart from what cannot be moved, and has a tag by which the owner finds what it is
//! used for. What the compactor moves goes on being charged to the same owner: nothing but the page changes.

use super::super::accounts::Owner;
use super::super::compaction::Move;
use super::super::frames::{Order, Pfn};
use super::super::local_cpu::LocalCpu;
use super::super::zone::Zone;
use super::super::zone::owners::Use;
use super::MemoryManager;
use crate::error::Result;
use core::sync::atomic::Ordering::Relaxed;

/// Moves what lies in the movable pages of one owner.
pub trait Mover: Sync {
    /// Copies the page `from` to `to` and uses that from now on: `from` is then freed for it. False if it is not to be
    /// moved now, or not used any more. `tag` is what the owner said of the page: a hint, as another CPU may free the page
    /// meanwhile. It may be called on any CPU, and neither allocates nor frees movable pages.
    fn relocate(&self, from: Pfn, to: Pfn, tag: u32) -> bool;
}

impl<C: LocalCpu> MemoryManager<C> {
    /// Says who moves the pages of `owner`. Said once: who says it again is not heard.
    pub fn set_mover(&self, owner: Owner, mover: &'static dyn Mover) {
        self.movers[owner.index()].call_once(|| mover);
        self.has_movers.store(true, Relaxed);
    }

    /// Gives out a movable page at the expense of `owner`.
    ///
    /// # Errors
    /// As [`FrameSource::allocate`](super::FrameSource::allocate).
    pub fn allocate_movable(&self, owner: Owner, tag: u32) -> Result<Pfn> {
        let page = self.allocate_as(Some(owner), Order::ZERO, Use::Movable)?;
        self.set_tag(page, tag);
        Ok(page)
    }

    /// Takes a movable page back.
    ///
    /// # Errors
    /// `BadFree` if it was not given out as such; nothing changes.
    pub fn free_movable(&self, page: Pfn) -> Result<()> {
        self.free_as(page, Order::ZERO, Use::Movable).map(drop)
    }

    /// Says what a movable page is used for from now on.
    pub fn set_tag(&self, page: Pfn, tag: u32) {
        if let Some(place) = self.owners.index(page) {
            self.tags[place].store(tag, Relaxed);
        }
    }

    /// The owner of a movable page and its tag; none if it is none now.
    pub fn movable(&self, page: Pfn) -> Option<(Owner, u32)> {
        let owner = self.owners.charged(page, Order::ZERO, Use::Movable)?;
        let tag = self.tags[self.owners.index(page)?].load(Relaxed);
        Some((owner, tag))
    }

    /// Has the owner of the movable page `from` move it to the page that `take` finds in the zone; one of the two goes
    /// back there. Who dies in the middle leaves the second page with the owner, uncharged, until that dies as well.
    pub(in crate::memory) fn relocate(
        &self,
        from: Pfn,
        take: impl FnOnce(&mut Zone) -> Option<Pfn>,
    ) -> Move {
        let Some((owner, tag)) = self.movable(from) else {
            return Move::Refused;
        };
        let Some(mover) = self.movers[owner.index()].get() else {
            return Move::Refused;
        };
        let claim = |zone: &mut Zone| {
            let to = take(zone)?;
            self.owners.claim(to, Order::ZERO, Use::Movable, owner);
            Some(to)
        };
        let Some(to) = self.in_zone(claim) else {
            return Move::NoRoom;
        };
        self.set_tag(to, tag);
        let is_moved = mover.relocate(from, to, tag);
        self.in_zone(|zone| {
            // The owner is charged for one of them before and after.
            let left = if is_moved { from } else { to };
            if self.owners.release(left, Order::ZERO, Use::Movable).is_ok() {
                zone.give_back(left, Order::ZERO);
            }
        });
        if is_moved { Move::Done } else { Move::Refused }
    }
}
