//! The [`MemoryManager`]: the zone and the page caches in front of it, as the image's one [`FrameSource`].
//!
//! Flow: a request for a small block is met from the page cache of the CPU ([`FrameSource::allocate`]), by the owner's
//! stock there; what cannot be met so, and larger blocks, go to `requests`. A block that comes back is looked up in the
//! owner map first: a bad free changes nothing.
//!
//! Always true: blocks in owners' hands are exactly those marked in the owner map; caches and zone are touched with
//! preemption disabled, and no visit to the zone moves more than one batch. What the accounts say is what is in
//! owners' hands and in stocks.
//!
//! Limits: [`FrameSource::free_frames`] adds up the caches one after another, so pages that move meanwhile may
//! be missed or counted twice; a request may be refused though another CPU that does not come to look holds a block.
#![allow(unsafe_code, reason = "carves its metadata from the memory it manages")]

mod charges;
mod compaction;
mod demand;
mod movable;
mod pressure;
mod recovery;
mod requests;
mod room;
mod zeroed;

pub use charges::Account;
pub(super) use charges::ChargedFrames;
use compaction::CompactionCounts;
pub use movable::Mover;
use zeroed::ZeroingCounts;

use super::accounts::{Accounts, Owner};
use super::frames::{FrameSource, Order, PAGE_SIZE, Pfn};
use super::local_cpu::LocalCpu;
use super::lock::Lock;
use super::page_cache::{Bounds, CacheStats, Class, CpuCache, PageCachePolicy, Rhythm};
use super::pressure::{PressureGauge, Watermarks};
use super::zone::geometry::Geometry;
use super::zone::owners::{OwnerMap, OwnerStorage, Use, code, holder_of};
use super::zone::spans::FreeSpans;
use super::zone::{Zone, ZoneStats};
use crate::error::{Error, Grow, Kind, Result, Subsystem, try_box};
use crate::metrics::{Counter, Histogram};
use crate::platform::time::NANOS_PER_MILLI;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use spin::Once;

/// Of the allocations that visit the zone, one in about so many is timed: one that begins when the tick count is a
/// multiple of it. The clock has no part in when frames are asked for, so these are as long as the others. A power of
/// two.
const TIMED_ONE_IN: u64 = 64;

/// All frames of the machine, with a page cache for each CPU.
pub struct MemoryManager<C: 'static> {
    zone: Lock<Zone>,
    owners: OwnerMap,
    accounts: Accounts,
    caches: Vec<&'static CpuCache>,
    /// A view for each owner, made when one is first asked for.
    views: Once<[Account<C>; Owner::COUNT]>,
    /// What each movable page is used for, by the index of its frame; of others it means nothing.
    tags: &'static [AtomicU32],
    movers: [Once<&'static dyn Mover>; Owner::COUNT],
    has_movers: AtomicBool,
    compaction: CompactionCounts,
    zeroing: ZeroingCounts,
    cpu: C,
    refusals: [Counter; Order::COUNT],
    duration: Histogram,
    pressure: PressureGauge,
    total_frames: u64,
    reserved_bytes: u64,
}

impl<C: LocalCpu> MemoryManager<C> {
    /// Takes charge of the RAM in `ram` (byte addresses) but for what `reserved` touches, on a machine with
    /// `cpus` CPUs, numbered from 0 by `cpu`.
    ///
    /// The ranges may come in any order, unaligned and overlapping: RAM is rounded inwards to frames,
    /// reservations outwards. The metadata (0.13 % of memory, and for each CPU at most 22 KiB for the blocks in its page
    /// cache) is carved from the lowest run of free frames that holds it.
    ///
    /// # Errors
    /// `TooLittleMemory` if no run of free frames holds the metadata; `LimitReached` for more than 16
    /// separate banks; `OutOfMemory` if the heap has no room for the page caches.
    ///
    /// # Safety
    /// Every whole frame of `ram` outside `reserved` is readable and writable memory at that address, for ever,
    /// and nothing but this manager and those it hands frames to uses it. `cpu` says of no two that are in sections at
    /// one time that they are the same CPU, and names none from `cpus` on.
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
        let bounds = policy.bounds(free.clone().map(|span| span.end - span.start).sum(), cpus);
        let places = cpus * bounds.places_of_all();
        let words_bytes = (zone_words + places) * size_of::<u64>();
        let metadata = find_room(
            free,
            words_bytes + frames + (marks + frames) * size_of::<u32>(),
        )?;

        // SAFETY: `find_room` chose whole frames of `ram` outside `reserved`, so by this function's contract
        // they are memory that nobody else uses; `free` below leaves them out, so nobody ever will. They are
        // aligned to a frame, hold `zone_words` words, and any bits are a valid `u64`.
        let storage = unsafe {
            core::slice::from_raw_parts_mut(Pfn(metadata.start).address() as *mut u64, zone_words)
        };
        // SAFETY: as above; the places follow those words.
        let places = unsafe {
            let start = (Pfn(metadata.start).address() as *mut u64).add(zone_words);
            core::slice::from_raw_parts_mut(start.cast::<Pfn>(), places)
        };
        // SAFETY: as above; the bytes follow the words and the places, a multiple of 1,024, then the marks, then the tags,
        // which end where the room does that was looked for.
        let (owner_storage, tags) = unsafe {
            let start = (Pfn(metadata.start).address() + words_bytes) as *const AtomicU8;
            let words = start.add(frames).cast::<AtomicU32>();
            let owner_storage = OwnerStorage {
                frames: core::slice::from_raw_parts(start, frames),
                marks: core::slice::from_raw_parts(words, marks),
            };
            let tags = core::slice::from_raw_parts(words.add(marks), frames);
            (owner_storage, tags)
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
            caches: caches(cpus, bounds, rhythm(&policy, &cpu), places)?,
            tags,
            movers: [const { Once::new() }; Owner::COUNT],
            has_movers: AtomicBool::new(false),
            compaction: CompactionCounts::default(),
            zeroing: ZeroingCounts::default(),
            cpu,
            refusals: Default::default(),
            duration: Histogram::new(),
            pressure: PressureGauge::new(Watermarks::of(total_frames)),
            total_frames,
            reserved_bytes: (ram_frames - total_frames) * PAGE_SIZE as u64,
        })
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

    /// What compaction has done.
    pub(super) fn compaction(&self) -> &CompactionCounts {
        &self.compaction
    }

    /// The zone's counters and free blocks now.
    pub(super) fn zone_stats(&self) -> ZoneStats {
        self.in_zone(|zone| zone.stats())
    }

    /// Runs `section` with the zone.
    fn in_zone<R>(&self, section: impl FnOnce(&mut Zone) -> R) -> R {
        self.pinned(|runner| self.visit(runner, section))
    }

    /// The counters and contents of each CPU's cache now, in the order of the CPUs.
    pub(super) fn cache_stats(&self) -> impl Iterator<Item = CacheStats> {
        self.cache_stats_from(0)
    }

    /// The same without the first `cpus`.
    pub(super) fn cache_stats_from(&self, cpus: usize) -> impl Iterator<Item = CacheStats> {
        self.caches.iter().skip(cpus).map(|cache| cache.stats())
    }

    /// The cache of the CPU this runs on, in a section.
    #[inline(always)]
    fn cache(&self) -> &CpuCache {
        // SAFETY: there is one for each CPU, by the contract of `new`.
        unsafe { self.caches.get_unchecked(self.cpu.current()) }
    }

    /// Runs `section` with preemption disabled, and the owner that runs.
    #[inline(always)]
    fn pinned<R>(&self, section: impl FnOnce(Owner) -> R) -> R {
        self.cpu.pinned(|| section(self.cpu.owner()))
    }

    /// Gives out a block at the expense of `owner`, of the running one if that is none.
    #[inline(always)]
    fn allocate_as(&self, owner: Option<Owner>, order: Order, of: Use) -> Result<Pfn> {
        let Some(class) = Class::of(order, of) else {
            return self.allocate_slowly(None, owner, order, of);
        };
        let before = self.cpu.disable_preemption();
        let charged = owner.unwrap_or_else(|| self.cpu.owner());
        // SAFETY: this is the cache's CPU, in the section that alone uses it.
        let Some(first) = (unsafe { self.cache().stack(class).pop(charged) }) else {
            return self.allocate_slowly(Some(before), owner, order, of);
        };
        self.hand_out(first, order, of, charged);
        self.cpu.restore_preemption(before);
        Ok(first)
    }

    /// Notes that a block has left a cache for its owner's hands.
    #[inline(always)]
    fn hand_out(&self, first: Pfn, order: Order, of: Use, owner: Owner) {
        #[cfg(feature = "alloc-trace")]
        super::trace::note(&self.cpu, super::trace::Event::Allocated(of), first, order);
        // SAFETY: it was in a cache.
        let bytes = unsafe { self.owners.cached(first, order) };
        bytes[0].store(code(of, order, owner), Relaxed);
        // The rest of the block is in no cache any more.
        bytes[1..].iter().for_each(|byte| byte.store(0, Relaxed));
    }

    /// Gives out a block from the cache, or else from where it is found.
    #[inline(never)]
    fn allocate_larger(&self, order: Order) -> Result<Pfn> {
        self.allocate_as(None, order, Use::Block)
    }

    #[inline(never)]
    fn free_larger(&self, first: Pfn, order: Order) -> Result<()> {
        self.free_as(first, order, Use::Block).map(drop)
    }

    /// Takes a block back that was given out for that; answers who was charged for it.
    #[inline(always)]
    fn free_as(&self, first: Pfn, order: Order, of: Use) -> Result<Owner> {
        #[cfg(feature = "alloc-trace")]
        super::trace::note(&self.cpu, super::trace::Event::Freed, first, order);
        let (Some(class), Some(bytes)) =
            (Class::of(order, of), self.owners.cacheable(first, order))
        else {
            return self.free_slowly(None, first, order, of);
        };
        let before = self.cpu.disable_preemption();
        let Some(owner) = holder_of(bytes, order, of) else {
            return self.free_slowly(Some(before), first, order, of);
        };
        // SAFETY: this is the cache's CPU, in the section that alone uses it.
        if !unsafe { self.cache().keep(first, class, bytes, owner) } {
            return self.free_slowly(Some(before), first, order, of);
        }
        self.cpu.restore_preemption(before);
        Ok(owner)
    }
}

// SAFETY: a block given out is memory by the contract of `MemoryManager::new`, in one place only (the zone's
// trees and the stacks hold disjoint blocks, and `claim` would stop at one handed out twice), and aligned
// to its size because it is a node of a chunk's tree.
unsafe impl<C: LocalCpu> FrameSource for MemoryManager<C> {
    #[inline(always)]
    fn allocate(&self, order: Order) -> Result<Pfn> {
        if order == Order::ZERO {
            return self.allocate_as(None, Order::ZERO, Use::Block);
        }
        self.allocate_larger(order)
    }

    #[inline(always)]
    fn free(&self, first: Pfn, order: Order) -> Result<()> {
        if order == Order::ZERO {
            return self.free_as(first, Order::ZERO, Use::Block).map(drop);
        }
        self.free_larger(first, order)
    }

    fn allocate_zeroed_into(&self, order: Order, place: &AtomicU64) -> Result<()> {
        self.allocate_zeroed_into_as(None, order, place)
    }

    unsafe fn free_zeroed_from(&self, place: &AtomicU64) -> Result<()> {
        self.free_zeroed_block_from(place)
    }

    fn free_frames(&self) -> u64 {
        let cached: u64 = self.caches.iter().map(|cache| cache.pages()).sum();
        self.in_zone(|zone| zone.free_frames()) + cached
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

fn caches(
    cpus: usize,
    bounds: Bounds,
    rhythm: Rhythm,
    mut places: &'static mut [Pfn],
) -> Result<Vec<&'static CpuCache>> {
    assert!(cpus > 0, "a machine has a CPU");
    let mut caches = Vec::new();
    caches.try_reserve_exact(cpus)?;
    for cpu in 0..cpus {
        let own = places.split_off_mut(..bounds.places_of_all());
        let cache = CpuCache::new(cpu, bounds, rhythm, own.unwrap_or_default());
        caches.push_reserved(&*Box::leak(try_box(cache)?));
    }
    Ok(caches)
}

/// The policy's times in ticks of `cpu`.
fn rhythm(policy: &PageCachePolicy, cpu: &impl LocalCpu) -> Rhythm {
    // About a second of any clock.
    let ticks: u64 = 1 << 24;
    let nanos = cpu.nanos(ticks).max(1);
    let of = |millis: u32| (u64::from(millis) * NANOS_PER_MILLI).saturating_mul(ticks) / nanos;
    Rhythm {
        period_ticks: of(policy.period_ms),
        idle_ticks: of(policy.idle_ms),
    }
}

fn out_of_memory(order: Order) -> Error {
    let requested_bytes = order.bytes();
    Error::new(Subsystem::Memory, Kind::OutOfMemory { requested_bytes })
}
