//! Per-CPU page caches: a short stack of free blocks of each common kind, in front of the zone.
//!
//! Most requests want one page, or the two or four of a socket buffer, and every CPU shares the zone. Each CPU keeps
//! a few blocks of its own, so the zone is visited once for a batch instead of once for a block.
//! The last block in is the first out: it is the one most likely still in the CPU's data cache. How many there may be
//! follows demand (`demand`), by [`crate::cache::sizing`].
//!
//! With the blocks a cache holds what has been charged for them in advance, as Linux' memory controller does: an
//! owner's stock. To take a block takes one from the stock, to give one back adds to it; the accounts, which
//! all CPUs share, are visited when a stock is empty and when blocks leave.
//!
//! Always true: a block is in one place only, a cache, the zone's trees or an owner's hands; to the zone a cached
//! block is handed out, and the owner map says in whose cache it is. A cache is touched by its own CPU alone, with
//! preemption disabled, and without a lock. Others ask it to give back what it has ([`CpuCache::ask`]); it does so when
//! it next looks.
//!
//! Who dies in the middle leaves its CPU's cache half changed. The cache is closed at once ([`CpuCache::close`]): it
//! neither gives nor takes until everything the owner map says is in it has been given back to the zone.
#![allow(unsafe_code, reason = "hands on what its stacks ask of their callers")]

mod demand;
mod policy;
mod signals;
mod stack;

pub(super) use demand::Rhythm;
pub(super) use policy::Bounds;
pub use policy::PageCachePolicy;
pub(super) use stack::Stack;

use super::accounts::{Accounts, Owner};
use super::frames::{Mobility, Order, Pfn};
use super::zone::Zone;
use super::zone::owners::{CACHING_CPUS, OwnerMap, Use, cached_by, cached_zero_by};
use crate::cache::sizing::Sizing;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use signals::{Asked, Service};
use stack::{STACK_BLOCKS_MAX, Visit, count};

/// Kinds of blocks that are cached.
pub(super) const CLASSES: usize = 4;
/// Orders that are cached: 0, 1 and 2, up to the 16 KiB of a socket buffer.
const CACHED_ORDERS: u8 = 3;

/// Most blocks that move between cache and zone at once. A visit moves fewer if it would take more than 5,000
/// instructions: the zone says how many it took.
const BATCH_MAX: usize = 64;
/// A full stack gives up this part of its limit, or a batch: half stays, so that neither the next allocation nor the
/// next free visits the zone again.
const OVERFLOW_DIVISOR: usize = 2;

/// No tick: it does not come.
const NEVER: u64 = u64::MAX;

/// Give back what owners are charged for in advance.
pub(super) const ASK_STOCKS: u32 = 1;
/// Give back all blocks.
pub(super) const ASK_BLOCKS: u32 = 2;
/// Bring all limits to their floors, and give back all blocks by and by.
pub(super) const ASK_FLOOR: u32 = 4;
/// Go on giving back.
pub(super) const ASK_MORE: u32 = 8;

/// A kind of blocks: their order, and whether they can be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class(u8);

impl Class {
    /// Movable pages.
    const MOVABLE: Self = Self(CACHED_ORDERS);

    /// The class of such blocks, if they are cached.
    #[inline(always)]
    pub(super) const fn of(order: Order, of: Use) -> Option<Self> {
        match of {
            Use::Movable => Some(Self::MOVABLE),
            _ if order.get() < CACHED_ORDERS => Some(Self(order.get())),
            _ => None,
        }
    }

    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..CLASSES as u8).map(Self)
    }

    const fn index(self) -> usize {
        self.0 as usize % CLASSES
    }

    pub(super) fn order(self) -> Order {
        match self {
            Self::MOVABLE => Order::ZERO,
            Self(order) => Order::new(order).unwrap_or(Order::ZERO),
        }
    }

    fn mobility(self) -> Mobility {
        match self {
            Self::MOVABLE => Mobility::Movable,
            _ => Mobility::Immovable,
        }
    }
}

/// What a cache has done since boot, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CacheStats {
    /// Requests met without the zone.
    pub(super) hits: u64,
    /// Requests that asked the zone for a batch.
    pub(super) misses: u64,
    /// Batches given back to the zone.
    pub(super) drains: u64,
    /// Pages held now.
    pub(super) pages: u64,
    /// Most pages it may hold now.
    pub(super) capacity_pages: u64,
    /// How often the capacity grew, and shrank.
    pub(super) resizes: [u64; 2],
}

/// One CPU's cache.
#[repr(C)]
pub(super) struct CpuCache {
    stacks: [Stack; CLASSES],
    /// What the owner map says of frames that are here, and of those that are zero.
    mark: u8,
    zero_mark: u8,
    service: Service,
    asked: Asked,
    ceiling_pages: u32,
    rhythm: Rhythm,
    /// The tick at which the period ends that is under way; [`NEVER`] if none is.
    period_end: AtomicU64,
}

impl CpuCache {
    /// An empty cache of CPU number `cpu`, which keeps its blocks in [`Bounds::places_of_all`] places; one that never holds
    /// anything if the owner map cannot say that number.
    pub(super) fn new(
        cpu: usize,
        bounds: Bounds,
        rhythm: Rhythm,
        mut places: &'static mut [Pfn],
    ) -> Self {
        let bounds = if cpu < CACHING_CPUS {
            bounds
        } else {
            bounds.none()
        };
        let stack = |index| {
            let class = Class(index as u8);
            let own = places.split_off_mut(..bounds.places(class));
            Stack::new(bounds.classes[index], own.unwrap_or_default())
        };
        Self {
            stacks: core::array::from_fn(stack),
            mark: cached_by(cpu),
            zero_mark: cached_zero_by(cpu),
            service: Service::new(),
            asked: Asked::new(),
            ceiling_pages: bounds.ceiling_pages,
            rhythm,
            period_end: AtomicU64::new(NEVER),
        }
    }

    /// The blocks of that class.
    #[inline(always)]
    pub(super) fn stack(&self, class: Class) -> &Stack {
        &self.stacks[class.index()]
    }

    /// How many blocks to fetch now that there is none: a batch, or two if nothing was given back since the last, even if
    /// that is more than the limit.
    ///
    /// # Safety
    /// As [`CpuCache::refill`].
    pub(super) unsafe fn batch_to_fetch(&self, class: Class, owners: &OwnerMap) -> usize {
        let stack = self.stack(class);
        // SAFETY: by this function's contract.
        let batch = unsafe { stack.batch() };
        let is_again = stack.is_again(Visit::Refill);
        if !owners.is_one_bank() {
            // One at a time, as it may not be one that is cached.
            return 1;
        }
        let batch = if is_again { twice(batch) } else { batch };
        whole(batch.min(stack.places()))
    }

    /// Counts a miss and fetches up to `batch` blocks from `zone`, charged to nobody yet; answers how many.
    ///
    /// # Safety
    /// The caller runs on the cache's CPU, in the section that alone uses it, and the stack is empty. So it is with all that
    /// follow but where they say otherwise, if not with the stack.
    pub(super) unsafe fn refill(
        &self,
        class: Class,
        batch: usize,
        zone: &mut Zone,
        owners: &OwnerMap,
    ) -> usize {
        let stack = self.stack(class);
        count(&stack.misses);
        // SAFETY: by this function's contract.
        unsafe {
            if !zone.has_free_pageblock() {
                // As in `overflow`.
                stack.resize(Sizing::pressed);
            }
            self.note_miss(class);
        }
        let take = |places: &mut [Pfn]| match class.order() {
            Order::ZERO => {
                let taken = zone.take_pages(class.mobility(), places, self.mark);
                let is_cacheable =
                    owners.is_one_bank() || owners.cacheable(places[0], Order::ZERO).is_some();
                if is_cacheable {
                    return taken;
                }
                zone.give_back_some(&places[..taken], Order::ZERO);
                0
            }
            order => {
                let taken = zone.take_blocks(order, class.mobility(), places);
                let note = |&first| self.note(first, class, owners).is_some();
                if places[..taken].iter().all(note) {
                    return taken;
                }
                zone.give_back(places[0], order);
                0
            }
        };
        // SAFETY: by this function's contract; it is empty, as this is a miss, and has as many places.
        let fetched = unsafe { stack.put(batch, take) };
        if fetched > stack.limit() {
            // SAFETY: as above.
            unsafe { stack.settle(false) };
        }
        fetched
    }

    /// Notes that a block is here; none if no cache may hold it.
    fn note(&self, first: Pfn, class: Class, owners: &OwnerMap) -> Option<()> {
        let bytes = owners.cacheable(first, class.order())?;
        bytes.iter().for_each(|byte| byte.store(self.mark, Relaxed));
        Some(())
    }

    /// Keeps a block that comes back, with these bytes in the owner map; `owner` goes on being charged for it. False if
    /// there is no room.
    ///
    /// # Safety
    /// As [`CpuCache::refill`].
    #[inline(always)]
    pub(super) unsafe fn keep(
        &self,
        first: Pfn,
        class: Class,
        bytes: &[AtomicU8],
        owner: Owner,
    ) -> bool {
        // SAFETY: by this function's contract.
        let is_kept = unsafe { self.stack(class).push(first, owner) };
        if is_kept {
            bytes.iter().for_each(|byte| byte.store(self.mark, Relaxed));
        }
        is_kept
    }

    /// Notes that a block with these bytes in the owner map, which was just given back, is zero, if it is here. In a section
    /// of its CPU.
    pub(super) fn note_zero(&self, bytes: &[AtomicU8]) {
        if bytes[0].load(Relaxed) == self.mark {
            bytes
                .iter()
                .for_each(|byte| byte.store(self.zero_mark, Relaxed));
        }
    }

    /// True if neither a block nor a charge is here. From any CPU.
    pub(super) fn is_empty(&self) -> bool {
        self.left().is_some() || self.stacks.iter().all(|stack| stack.len() == 0)
    }

    /// Blocks that move at once.
    ///
    /// # Safety
    /// As [`CpuCache::refill`].
    pub(super) unsafe fn batch(&self, class: Class) -> usize {
        // SAFETY: by this function's contract.
        unsafe { self.stack(class).batch() }.min(BATCH_MAX)
    }

    /// Gives the blocks that have lain here longest back, up to `count` and not more than a visit to the zone has time for.
    /// Answers how many. The stack sleeps if it is empty then and `may_sleep`.
    ///
    /// # Safety
    /// As [`CpuCache::refill`].
    pub(super) unsafe fn drain(
        &self,
        class: Class,
        count: usize,
        may_sleep: bool,
        zone: &mut Zone,
        accounts: &Accounts,
    ) -> usize {
        let stack = self.stack(class);
        let leaving = count.min(stack.len()).min(BATCH_MAX);
        if leaving == 0 {
            return 0;
        }
        // SAFETY: by this function's contract.
        let oldest = unsafe { stack.oldest(leaving) };
        let left = zone.give_back_some(oldest, class.order());
        // SAFETY: by this function's contract; what is charged for too much is cut before anybody looks.
        unsafe { stack.drop_oldest(left) };
        self.keep_charged(class, stack.len(), accounts);
        self::count(&stack.drains);
        // SAFETY: by this function's contract.
        unsafe { stack.settle(may_sleep) };
        left
    }

    /// Takes those of the `newest` blocks out of which `leaves` says so, as many as there are places for. The caller gives
    /// them back to the zone at once: the owner map goes on saying that they are here. Answers how many.
    ///
    /// # Safety
    /// As [`CpuCache::refill`].
    pub(super) unsafe fn take_out(
        &self,
        class: Class,
        newest: usize,
        places: &mut [Pfn],
        leaves: impl FnMut(Pfn) -> bool,
        accounts: &Accounts,
    ) -> usize {
        let stack = self.stack(class);
        // SAFETY: by this function's contract; what is charged for too much is cut before anybody looks.
        let taken = unsafe { stack.take_some(newest, places, leaves) };
        if taken > 0 {
            self.keep_charged(class, stack.len(), accounts);
            count(&stack.drains);
            // SAFETY: as above.
            unsafe { stack.settle(true) };
        }
        taken
    }

    /// Gives back what owners are charged for in advance, until that is at most `blocks`.
    #[inline(never)]
    pub(super) fn keep_charged(&self, class: Class, blocks: usize, accounts: &Accounts) {
        let stack = self.stack(class);
        let mut excess = stack.stocked().saturating_sub(blocks as u64);
        let mut owners = Owner::all();
        while excess > 0
            && let Some(owner) = owners.next()
        {
            excess -= self.cut_stock(class, owner, excess, accounts);
        }
    }

    /// Gives back up to `most` of what `owner` is charged for in advance; answers how much.
    fn cut_stock(&self, class: Class, owner: Owner, most: u64, accounts: &Accounts) -> u64 {
        let stack = self.stack(class);
        let cut = most.min(stack.stock(owner));
        if cut > 0 {
            stack.cut_stock(owner, cut);
            accounts.discharge(owner, cut << class.order().get());
        }
        cut
    }

    /// Blocks here that nobody is charged for.
    pub(super) fn spare(&self, class: Class) -> u64 {
        self.stack(class).spare()
    }

    /// Gives all stocks back to the accounts.
    #[inline(never)]
    pub(super) fn flush(&self, accounts: &Accounts) {
        for class in Class::all() {
            // Whatever was under way: it may not be known how many are charged for.
            for owner in Owner::all() {
                self.cut_stock(class, owner, u64::MAX, accounts);
            }
        }
    }

    /// Gives one batch back to `zone`, as others need it: all limits fall to their floors. False if the cache is empty.
    ///
    /// # Safety
    /// As [`CpuCache::refill`].
    #[inline(never)]
    pub(super) unsafe fn drain_some(&self, zone: &mut Zone, accounts: &Accounts) -> bool {
        if !self.is_open() {
            return false;
        }
        // SAFETY: by this function's contract.
        let drain = |class| unsafe { self.drain(class, BATCH_MAX, true, zone, accounts) } > 0;
        // SAFETY: as above.
        unsafe { self.press() };
        Class::all().any(drain)
    }

    /// Asks its CPU for something. From any CPU.
    pub(super) fn ask(&self, what: u32) {
        self.asked.ask(what);
    }

    /// What others ask and has not been answered. From any CPU.
    #[inline]
    pub(super) fn asked(&self) -> u32 {
        self.asked.open()
    }

    /// Notes that this has been answered.
    pub(super) fn answer(&self, what: u32) {
        self.asked.answer(what);
    }

    /// True if it serves; makes it serve again if what it held when it was closed has been given back. In a section of its
    /// CPU.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.service.is_open() || self.is_resumed()
    }

    #[cold]
    #[inline(never)]
    fn is_resumed(&self) -> bool {
        self.service.is_resumed(|| {
            for stack in &self.stacks {
                // SAFETY: nobody else uses it.
                unsafe { stack.reopen() };
            }
        })
    }

    /// Closes it: called on its CPU after somebody died there, before anything else runs on it.
    pub(super) fn close(&self, accounts: &Accounts) {
        if !self.is_open() {
            return;
        }
        self.flush(accounts);
        let held = |class: Class| (self.stack(class).close() as u64) << class.order().get();
        self.service.close(Class::all().map(held).sum());
    }

    /// The pages it held when it was closed; none if it serves. From any CPU.
    pub(super) fn left(&self) -> Option<u64> {
        self.service.left()
    }

    /// Notes that what it held when it was closed has been given back. From any CPU.
    pub(super) fn reopen(&self) {
        self.service.empty();
    }

    /// Frames here that `owner` is charged for. From any CPU.
    pub(super) fn stock(&self, owner: Owner) -> u64 {
        let of = |class: Class| self.stack(class).stock(owner) << class.order().get();
        Class::all().map(of).sum()
    }

    /// Pages held now.
    pub(super) fn pages(&self) -> u64 {
        if !self.service.is_open() {
            return 0;
        }
        let pages = |class| (self.stack(class).len() as u64) << class.order().get();
        Class::all().map(pages).sum()
    }

    /// Counters and contents. From any CPU.
    pub(super) fn stats(&self) -> CacheStats {
        let mut stats = CacheStats {
            pages: self.pages(),
            ..CacheStats::default()
        };
        for class in Class::all() {
            let stack = self.stack(class);
            stats.hits += stack.hits();
            stats.misses += stack.misses.load(Relaxed);
            stats.drains += stack.drains.load(Relaxed);
            stats.capacity_pages += (stack.limit() as u64) << class.order().get();
            for (sum, resizes) in stats.resizes.iter_mut().zip(stack.resizes()) {
                *sum += resizes;
            }
        }
        stats
    }
}

#[cfg(test)]
impl CpuCache {
    /// Marks a block as being here.
    pub(super) fn note_all(&self, first: Option<Pfn>, class: Class, owners: &OwnerMap) {
        first.and_then(|first| self.note(first, class, owners));
    }
}

/// Twice a batch, unless it is a small one: where memory is small, none is larger than the limit.
fn twice(batch: usize) -> usize {
    if batch < 16 { batch } else { 2 * batch }
}

/// At most a batch, and of many blocks as many as large blocks are made of.
fn whole(blocks: usize) -> usize {
    match blocks.min(BATCH_MAX) {
        few @ 0..32 => few,
        many => many / 16 * 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn a_new_cache_is_at_its_floors_and_no_cpu_beyond_the_last_has_one() {
        let bounds = PageCachePolicy::DEFAULT.bounds(65_536, 1);
        let rhythm = Rhythm {
            period_ticks: 10,
            idle_ticks: 100,
        };
        let places = || vec![Pfn(0); bounds.places_of_all()].leak();
        let cache = CpuCache::new(1, bounds, rhythm, places());
        let limits = Class::all().map(|class| cache.stack(class).limit());
        assert!(limits.eq([32, 8, 8, 32]));
        assert_eq!(cache.stats().capacity_pages, 112);
        let none = CpuCache::new(CACHING_CPUS, bounds, rhythm, places());
        assert_eq!(none.stats().capacity_pages, 0);
    }
}
