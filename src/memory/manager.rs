//! The [`MemoryManager`]: the zone and the page caches in front of it, as the image's one [`FrameSource`].
//!
//! Flow: an owner's request for a small block is met from the page cache of its CPU, a larger one from the
//! zone. When neither has a block, all caches are drained, so that their pages merge, and the zone is asked once
//! more; a request beyond the owner's quota is refused at once. A block that comes back is looked up in the owner map
//! first: a bad free changes nothing.
//!
//! Always true: blocks in owners' hands are exactly those marked in the owner map; every lock is taken with
//! preemption disabled, a cache's before the zone's, and no visit moves more than one batch. A block, its mark and
//! its charge change hands within one visit: with all locks held they agree.
//!
//! Limits: [`FrameSource::free_frames`] adds up the caches one after another, so pages that move meanwhile may
//! be missed or counted twice; a request made just before another CPU's free may be refused.
#![allow(unsafe_code, reason = "carves its metadata from the memory it manages")]

mod charges;
mod recovery;

pub use charges::Account;
pub(super) use charges::ChargedFrames;

use super::accounts::{Accounts, Owner};
use super::frames::{FrameSource, Mobility, Order, PAGE_SIZE, Pfn};
use super::local_cpu::LocalCpu;
use super::lock::Lock;
use super::page_cache::{CACHED_ORDERS, CacheStats, CpuCache, PageCachePolicy};
use super::zone::geometry::Geometry;
use super::zone::owners::{OwnerMap, OwnerStorage, Use};
use super::zone::spans::FreeSpans;
use super::zone::{Zone, ZoneStats};
use crate::error::{Error, Grow, Kind, Result, Subsystem};
use crate::metrics::{Counter, Histogram};
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicU8, AtomicU32};
use spin::Once;

/// One allocation in about so many is timed: one that begins when the tick count is a multiple of it. The clock
/// has no part in when frames are asked for, so these are as long as the others; that saves the rest of them
/// the counting. A power of two.
pub(super) const TIMED_ONE_IN: u64 = 64;

/// All frames of the machine, with a page cache for each CPU.
pub struct MemoryManager<C: 'static> {
    zone: Lock<Zone>,
    owners: OwnerMap,
    accounts: Accounts,
    caches: Vec<Lock<CpuCache>>,
    /// A view for each owner, made when one is first asked for.
    views: Once<[Account<C>; Owner::COUNT]>,
    cpu: C,
    refusals: [Counter; Order::COUNT],
    duration: Histogram,
    total_frames: u64,
    reserved_bytes: u64,
}

/// What came of a request.
enum Taken {
    Block(Pfn),
    /// There is none.
    Nothing,
    /// The owner may not have it.
    BeyondQuota,
}

impl<C: LocalCpu> MemoryManager<C> {
    /// Takes charge of the RAM in `ram` (byte addresses) but for what `reserved` touches, on a machine with
    /// `cpus` CPUs, numbered from 0 by `cpu`.
    ///
    /// The ranges may come in any order, unaligned and overlapping: RAM is rounded inwards to frames,
    /// reservations outwards. The metadata (0.031 % of memory) is carved from the lowest run of free
    /// frames that holds it, and the page caches' stacks come from the heap: at most 3 KiB a CPU.
    ///
    /// # Errors
    /// `TooLittleMemory` if no run of free frames holds the metadata; `LimitReached` for more than 16
    /// separate banks; `OutOfMemory` if the heap has no room for the page caches.
    ///
    /// # Safety
    /// Every whole frame of `ram` outside `reserved` is readable and writable memory at that address, for ever,
    /// and nothing but this manager and those it hands frames to uses it.
    pub unsafe fn new(
        ram: &[Range<usize>],
        reserved: &[Range<usize>],
        cpus: usize,
        policy: PageCachePolicy,
        cpu: C,
    ) -> Result<Self> {
        let free = FreeSpans::new(ram, reserved, 0..0);
        let geometry = Geometry::covering(free.clone())?;
        let zone_words = Zone::storage_words(&geometry);
        let (marks, frames) = OwnerMap::storage_counts(&geometry);
        let zone_bytes = zone_words * size_of::<u64>();
        let metadata = find_room(free, zone_bytes + marks * size_of::<u32>() + frames)?;

        // SAFETY: `find_room` chose whole frames of `ram` outside `reserved`, so by this function's contract
        // they are memory that nobody else uses; `free` below leaves them out, so nobody ever will. They are
        // aligned to a frame, hold `zone_words` words, and any bits are a valid `u64`.
        let storage = unsafe {
            core::slice::from_raw_parts_mut(Pfn(metadata.start).address() as *mut u64, zone_words)
        };
        // SAFETY: as above; the marks follow the words of `storage`, the bytes the marks, and they end before
        // `metadata` does.
        let owner_storage = unsafe {
            let start = (Pfn(metadata.start).address() + zone_bytes) as *const AtomicU32;
            OwnerStorage {
                marks: core::slice::from_raw_parts(start, marks),
                frames: core::slice::from_raw_parts(start.add(marks).cast::<AtomicU8>(), frames),
            }
        };

        let free = FreeSpans::new(ram, reserved, metadata);
        let owners = OwnerMap::new(geometry.clone(), owner_storage);
        let zone = Zone::new(geometry, owners.clone(), storage, free);
        let total_frames = zone.stats().free_frames();
        let ram_frames: u64 = FreeSpans::new(ram, &[], 0..0)
            .map(|span| span.end - span.start)
            .sum();
        Ok(Self {
            zone: Lock::new(zone),
            owners,
            accounts: Accounts::new(),
            views: Once::new(),
            caches: caches(cpus, policy.capacity_pages(total_frames, cpus))?,
            cpu,
            refusals: Default::default(),
            duration: Histogram::new(),
            total_frames,
            reserved_bytes: (ram_frames - total_frames) * PAGE_SIZE as u64,
        })
    }

    /// Gives every cached page back to the zone, where it merges. From any CPU, a batch at a time.
    pub fn drain_all(&self) {
        for cache in &self.caches {
            for order in Order::all().take(CACHED_ORDERS) {
                let drain = |runner| {
                    cache.with(runner, |cache| {
                        self.zone
                            .with(runner, |zone| cache.drain_batch(order, zone))
                    })
                };
                while self.pinned(drain) {}
            }
        }
    }

    /// Requests that the page caches of all CPUs have met themselves, and those that asked the zone, since boot.
    pub fn page_cache_requests(&self) -> (u64, u64) {
        self.cache_stats().fold((0, 0), |(hits, misses), stats| {
            (hits + stats.hits, misses + stats.misses)
        })
    }

    /// Bytes of RAM that are not managed: the image, tables, rings, the device tree, this manager's metadata.
    pub fn reserved_bytes(&self) -> u64 {
        self.reserved_bytes
    }

    /// Requests refused, by order.
    pub(super) fn refusals(&self) -> &[Counter; Order::COUNT] {
        &self.refusals
    }

    /// How long the allocations took that were timed.
    pub(super) fn duration(&self) -> &Histogram {
        &self.duration
    }

    #[cold]
    fn observe_duration(&self, began: u64) {
        let ticks = self.cpu.ticks().saturating_sub(began);
        self.duration.observe_nanos(self.cpu.nanos(ticks));
    }

    /// The zone's counters and free blocks now.
    pub(super) fn zone_stats(&self) -> ZoneStats {
        self.pinned(|runner| self.zone.with(runner, |zone| zone.stats()))
    }

    /// The counters and contents of each CPU's cache now, in the order of the CPUs.
    pub(super) fn cache_stats(&self) -> impl Iterator<Item = CacheStats> {
        self.caches
            .iter()
            .map(|cache| self.pinned(|runner| cache.with(runner, |cache| cache.stats())))
    }

    /// Runs `section` with preemption disabled, and the owner that runs.
    #[inline(always)]
    fn pinned<R>(&self, section: impl FnOnce(Owner) -> R) -> R {
        self.cpu.pinned(|| section(self.cpu.owner()))
    }

    /// Gives out a block at the expense of `owner`.
    #[inline]
    fn allocate_for(&self, owner: Owner, order: Order, of: Use) -> Result<Pfn> {
        match self.take(owner, order, of) {
            Taken::Block(first) => Ok(first),
            Taken::Nothing => self.allocate_after_drain(owner, order, of),
            Taken::BeyondQuota => Err(out_of_memory(order)),
        }
    }

    /// A block that is there only once the caches have given theirs back.
    #[cold]
    fn allocate_after_drain(&self, owner: Owner, order: Order, of: Use) -> Result<Pfn> {
        self.drain_all();
        match self.pinned(|runner| self.take_from_zone(runner, owner, order, of)) {
            Taken::Block(first) => Ok(first),
            Taken::BeyondQuota => Err(out_of_memory(order)),
            Taken::Nothing => {
                self.refusals[usize::from(order.get())].increment();
                Err(out_of_memory(order))
            }
        }
    }

    /// A block from the CPU's cache or the zone.
    #[inline]
    fn take(&self, owner: Owner, order: Order, of: Use) -> Taken {
        self.pinned(|runner| {
            if usize::from(order.get()) >= CACHED_ORDERS {
                return self.take_from_zone(runner, owner, order, of);
            }
            self.caches[self.cpu.current()].with(runner, |cache| {
                self.charged(owner, order, of, || {
                    cache
                        .take(order)
                        .or_else(|| self.zone.with(runner, |zone| cache.refill(order, zone)))
                })
            })
        })
    }

    fn take_from_zone(&self, runner: Owner, owner: Owner, order: Order, of: Use) -> Taken {
        self.zone.with(runner, |zone| {
            self.charged(owner, order, of, || zone.take(order, Mobility::Immovable))
        })
    }

    /// Charges `owner` for the block that `take` finds, and marks it. The caller holds the lock it comes from.
    #[inline]
    fn charged(
        &self,
        owner: Owner,
        order: Order,
        of: Use,
        take: impl FnOnce() -> Option<Pfn>,
    ) -> Taken {
        if !self.accounts.charge(owner, order.frames()) {
            return Taken::BeyondQuota;
        }
        match take() {
            Some(first) => {
                self.owners.claim(first, order, of, owner);
                self.accounts.note_peak(owner);
                Taken::Block(first)
            }
            None => {
                self.accounts.discharge(owner, order.frames());
                Taken::Nothing
            }
        }
    }

    /// Takes a block back; answers who was charged for it.
    fn free_of(&self, first: Pfn, order: Order, of: Use) -> Result<Owner> {
        let discharge = || -> Result<Owner> {
            let owner = self.owners.release(first, order, of)?;
            self.accounts.discharge(owner, order.frames());
            Ok(owner)
        };
        self.pinned(|runner| {
            if usize::from(order.get()) >= CACHED_ORDERS {
                return self.zone.with(runner, |zone| {
                    let owner = discharge()?;
                    zone.give_back(first, order);
                    Ok(owner)
                });
            }
            self.caches[self.cpu.current()].with(runner, |cache| {
                let owner = discharge()?;
                if !cache.put(first, order) {
                    self.zone.with(runner, |zone| {
                        cache.drain_batch(order, zone);
                        if !cache.put(first, order) {
                            // A policy so small that this order has no stack.
                            zone.give_back(first, order);
                        }
                    });
                }
                Ok(owner)
            })
        })
    }
}

// SAFETY: a block given out is memory by the contract of `MemoryManager::new`, in one place only (the zone's
// trees and the stacks hold disjoint blocks, and `claim` would stop at one handed out twice), and aligned
// to its size because it is a node of a chunk's tree.
unsafe impl<C: LocalCpu> FrameSource for MemoryManager<C> {
    fn allocate(&self, order: Order) -> Result<Pfn> {
        let began = self.cpu.ticks();
        let taken = self.allocate_for(self.cpu.owner(), order, Use::Block);
        if began.is_multiple_of(TIMED_ONE_IN) {
            self.observe_duration(began);
        }
        taken
    }

    fn free(&self, first: Pfn, order: Order) -> Result<()> {
        self.free_of(first, order, Use::Block).map(drop)
    }

    fn free_frames(&self) -> u64 {
        let cached: u64 = self.cache_stats().map(|cache| cache.pages).sum();
        self.zone_stats().free_frames() + cached
    }

    fn total_frames(&self) -> u64 {
        self.total_frames
    }
}

/// The frames for `bytes` of metadata: the start of the first run that is long enough.
fn find_room(free: FreeSpans<'_>, bytes: usize) -> Result<Range<u64>> {
    let frames = bytes.div_ceil(PAGE_SIZE) as u64;
    let available_frames: u64 = free.clone().map(|span| span.end - span.start).sum();
    // One frame more, so that there is something to manage.
    let too_little = Kind::TooLittleMemory {
        available_bytes: available_frames * PAGE_SIZE as u64,
        required_bytes: (frames + 1) * PAGE_SIZE as u64,
    };
    let mut free = free;
    match free.find(|span| span.end - span.start >= frames) {
        Some(span) if available_frames > frames => Ok(span.start..span.start + frames),
        _ => Err(Error::new(Subsystem::Memory, too_little)),
    }
}

fn caches(cpus: usize, capacity_pages: usize) -> Result<Vec<Lock<CpuCache>>> {
    assert!(cpus > 0, "a machine has a CPU");
    let mut caches = Vec::new();
    caches.try_reserve_exact(cpus)?;
    for _ in 0..cpus {
        caches.push_reserved(Lock::new(CpuCache::new(capacity_pages)?));
    }
    Ok(caches)
}

fn out_of_memory(order: Order) -> Error {
    let requested_bytes = order.bytes();
    Error::new(Subsystem::Memory, Kind::OutOfMemory { requested_bytes })
}
