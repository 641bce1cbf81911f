//! Zeroes on request: blocks that are asked for with all bytes 0, and blocks that come back so.
//!
//! What is known to be zero is not written again, frame by frame ([`super::super::zone::owners::KnownZero`]): whoever gives
//! back a block of which it knows that says so. The rest is zeroed outside of the zone and of sections, by `memset`, which
//! is the CPU's own block zeroing (`DC ZVA`) where that is allowed.
//!
//! The first try is made here, where what is known of the frames is still there to be seen; what it does not find is a
//! request like any other, of whose block nothing is known.
#![allow(unsafe_code, reason = "writes the blocks that it gives out")]

use super::super::accounts::Owner;
use super::super::frames::{BlockWord, Order, PAGE_SIZE, Pfn, free_and_forget};
use super::super::local_cpu::LocalCpu;
use super::super::page_cache::Class;
#[cfg(feature = "alloc-trace")]
use super::super::trace;
use super::super::zone::owners::{KnownZero, Use, is_known_zero};
use super::MemoryManager;
use super::requests::Taken;
use crate::error::Result;
use crate::metrics::Counter;
use core::ptr::with_exposed_provenance_mut;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Frames that were asked for as zero, since boot.
#[derive(Default)]
pub(in crate::memory) struct ZeroingCounts {
    /// Those that were zeroed for it.
    pub(in crate::memory) zeroed: Counter,
    /// Those that were known to be.
    pub(in crate::memory) known: Counter,
}

impl<C: LocalCpu> MemoryManager<C> {
    /// Gives out a block of zeroes at the expense of `owner`, of the running one if that is none, and writes its
    /// [`BlockWord`] to `place` in one step with taking it.
    pub(super) fn allocate_zeroed_into_as(
        &self,
        owner: Option<Owner>,
        order: Order,
        place: &AtomicU64,
    ) -> Result<()> {
        let mut known = KnownZero::NONE;
        let taken = self.pinned(|runner| {
            let taken = match self.take_knowing(runner, owner, order, &mut known) {
                Some(first) => Ok(first),
                None => self.allocate_slowly(None, owner, order, Use::Block),
            };
            taken.inspect(|&first| place.store(BlockWord::new(first, order).0, Relaxed))
        });
        self.zero_others(taken?, order, &known);
        Ok(())
    }

    /// A block of the cache; or one of the zone, if it is too large for the cache, or that is empty and a batch for it
    /// would not be had for much less. In a section.
    fn take_knowing(
        &self,
        runner: Owner,
        owner: Option<Owner>,
        order: Order,
        known: &mut KnownZero,
    ) -> Option<Pfn> {
        let owner = owner.unwrap_or(runner);
        let serves = |class: &Class| order == Order::ZERO || self.cache().stack(*class).len() > 0;
        let Some(class) = Class::of(order, Use::Block).filter(serves) else {
            let taken = self.take_from_zone(runner, owner, order, Use::Block, Some(known));
            return match taken {
                Taken::Block(first) => Some(first),
                Taken::Nothing | Taken::BeyondQuota => None,
            };
        };
        // SAFETY: this is the cache's CPU, in the section that alone uses it.
        let first = unsafe { self.cache().stack(class).pop(owner) }?;
        // SAFETY: it was in a cache.
        let bytes = unsafe { self.owners.cached(first, order) };
        if is_known_zero(bytes[0].load(Relaxed)) {
            *known = KnownZero::ALL;
        }
        self.hand_out(first, order, Use::Block, owner);
        Some(first)
    }

    /// Zeroes the frames of a block that was just given out, but for those that are known to be zero.
    fn zero_others(&self, first: Pfn, order: Order, known: &KnownZero) {
        let start = with_exposed_provenance_mut::<u8>(first.address());
        let mut zeroed = order.frames();
        if known.is_none() {
            // SAFETY: the block was given out just now, to the caller alone.
            unsafe { start.write_bytes(0, order.bytes()) };
        } else {
            for frame in 0..order.frames() as usize {
                if known.is_known(frame) {
                    zeroed -= 1;
                } else {
                    // SAFETY: as above, and the frame lies within it.
                    unsafe { start.add(frame * PAGE_SIZE).write_bytes(0, PAGE_SIZE) };
                }
            }
        }
        self.zeroing.zeroed.add(zeroed);
        self.zeroing.known.add(order.frames() - zeroed);
    }

    /// Takes back the block of zeroes at `place`, in one step with forgetting it there, and remembers what it is.
    pub(super) fn free_zeroed_block_from(&self, place: &AtomicU64) -> Result<()> {
        self.pinned(|runner| {
            free_and_forget(place, |first, order| {
                #[cfg(feature = "alloc-trace")]
                trace::note(&self.cpu, trace::Event::Freed, first, order);
                if let Some(bytes) = self.owners.cacheable(first, order)
                    && Class::of(order, Use::Block).is_some()
                {
                    self.free_slowly(None, first, order, Use::Block)?;
                    // Nobody took it from this CPU's cache since, if it is there.
                    self.cache().note_zero(bytes);
                    return Ok(());
                }
                self.visit(runner, |zone| {
                    let owner = self.owners.release(first, order, Use::Block)?;
                    self.accounts.discharge(owner, order.frames());
                    self.owners.note_zero(first, order);
                    zone.give_back(first, order);
                    Ok(())
                })
            })
        })
    }

    /// What was asked for as zero.
    pub(in crate::memory) fn zeroing(&self) -> &ZeroingCounts {
        &self.zeroing
    }
}
