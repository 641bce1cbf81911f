//! Per-CPU page caches: a short stack of free blocks of each small order, in front of the zone.
//!
//! Most requests want one page, or the two or four of a socket buffer, and every CPU shares the zone lock.
//! Each CPU keeps a few blocks of its own, so the zone is visited once for a batch instead of once for a block.
//! The last block in is the first out: it is the one most likely still in the CPU's data cache.
//!
//! Always true: a block is in one place only, a cache, the zone's trees or an owner's hands; to the zone a cached
//! block is handed out, to the owner map it is not. No stack holds more than its limit, and none ever grows.
//!
//! Flow: [`super::manager`] asks here first; a miss refills a batch from the zone, a full stack drains one to it.
//! Each cache has a lock, taken with preemption disabled and nearly always by its own CPU; the zone's comes after it.

use super::frames::{Mobility, Order, Pfn};
use super::lock::Verdict;
use super::zone::Zone;
use crate::error::{Grow, Result};
use alloc::vec::Vec;

/// Orders that are cached: 0, 1 and 2, up to the 16 KiB of a socket buffer.
pub(super) const CACHED_ORDERS: usize = 3;

/// The share of a cache's capacity that each order may fill, as a divisor of pages.
const SHARE_DIVISOR: [usize; CACHED_ORDERS] = [2, 4, 4];

/// A batch is this fraction of a stack's limit: half stays, so that neither the next allocation nor the next
/// free visits the zone again.
const BATCH_DIVISOR: usize = 2;

/// How much a page cache may hold. It is fixed at boot for now.
///
/// Too small costs visits to the zone, about 60 instructions a block; too large keeps memory from merging, and
/// from the other CPUs until a request fails and drains all caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCachePolicy {
    /// Fewest pages a CPU may hold; at least 16, so that each order has room for a batch.
    pub floor_pages: usize,
    /// Most pages a CPU may hold.
    pub ceiling_pages: usize,
    /// All caches together may hold one page of so many.
    pub memory_divisor: u64,
}

impl PageCachePolicy {
    /// The image's policy: a 512th of memory, 32 to 512 pages a CPU (a guess until part 3 measures demand).
    pub const DEFAULT: Self = Self {
        floor_pages: 32,
        ceiling_pages: 512,
        memory_divisor: 512,
    };

    /// Pages that each of `cpus` CPUs may hold of `total_frames`.
    pub fn capacity_pages(&self, total_frames: u64, cpus: usize) -> usize {
        let fair = total_frames / self.memory_divisor / cpus as u64;
        (fair as usize)
            .min(self.ceiling_pages)
            .max(self.floor_pages)
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
    /// Most pages it may hold.
    pub(super) capacity_pages: u64,
}

/// The free blocks of one order; it never grows past the capacity it was made with.
struct Stack {
    blocks: Vec<Pfn>,
    limit: usize,
}

/// One CPU's cache. Aligned so that no two CPUs share a line (two lines: they are fetched in pairs).
#[repr(align(128))]
pub(super) struct CpuCache {
    stacks: [Stack; CACHED_ORDERS],
    stats: CacheStats,
}

impl CpuCache {
    /// An empty cache for `capacity_pages` pages.
    ///
    /// # Errors
    /// `OutOfMemory` if the heap has no room for its stacks.
    pub(super) fn new(capacity_pages: usize) -> Result<Self> {
        let stack = |order: usize| -> Result<Stack> {
            let limit = (capacity_pages / SHARE_DIVISOR[order]) >> order;
            let mut blocks = Vec::new();
            blocks.try_reserve_exact(limit)?;
            Ok(Stack { blocks, limit })
        };
        let stacks = [stack(0)?, stack(1)?, stack(2)?];
        let capacity = stacks
            .iter()
            .enumerate()
            .map(|(order, stack)| stack.limit << order);
        let stats = CacheStats {
            capacity_pages: capacity.sum::<usize>() as u64,
            ..CacheStats::default()
        };
        Ok(Self { stacks, stats })
    }

    /// A block that is here already.
    pub(super) fn take(&mut self, order: Order) -> Option<Pfn> {
        let block = self.stack(order).blocks.pop()?;
        self.stats.hits += 1;
        self.stats.pages -= order.frames();
        Some(block)
    }

    /// A block from `zone`, and a batch to keep.
    pub(super) fn refill(&mut self, order: Order, zone: &mut Zone) -> Option<Pfn> {
        self.stats.misses += 1;
        let wanted = zone.take(order, Mobility::Immovable)?;
        let stack = self.stack(order);
        let batch = stack.limit.div_ceil(BATCH_DIVISOR);
        // Highest address at the bottom: the next requests then get neighbours in rising order.
        let empty = stack.blocks.len();
        while stack.blocks.len() < batch
            && let Some(block) = zone.take(order, Mobility::Immovable)
        {
            stack.blocks.push_reserved(block);
        }
        stack.blocks[empty..].reverse();
        let kept = (stack.blocks.len() - empty) as u64;
        self.stats.pages += kept * order.frames();
        Some(wanted)
    }

    /// Keeps a block; false if its stack is full.
    pub(super) fn put(&mut self, block: Pfn, order: Order) -> bool {
        let stack = self.stack(order);
        if stack.blocks.len() == stack.limit {
            return false;
        }
        stack.blocks.push_reserved(block);
        self.stats.pages += order.frames();
        true
    }

    /// Gives the batch of `order` that has lain here longest back to `zone`; false if there was none.
    pub(super) fn drain_batch(&mut self, order: Order, zone: &mut Zone) -> bool {
        let stack = self.stack(order);
        let batch = stack.limit.div_ceil(BATCH_DIVISOR).min(stack.blocks.len());
        if batch == 0 {
            return false;
        }
        for block in stack.blocks.drain(..batch) {
            zone.give_back(block, order);
        }
        self.stats.pages -= batch as u64 * order.frames();
        self.stats.drains += 1;
        true
    }

    /// Drops what cannot be here after a holder died in the middle of an operation, and counts anew; `mark` notes a
    /// block as cached and says no if that cannot be. What the cache has lost is found when the zone is verified.
    pub(super) fn verify(&mut self, mut mark: impl FnMut(Pfn, Order) -> bool) -> Verdict {
        let listed: usize = self.stacks.iter().map(|stack| stack.blocks.len()).sum();
        let mut kept = 0;
        let mut pages = 0;
        for (order, stack) in Order::all().zip(&mut self.stacks) {
            stack.blocks.retain(|&first| mark(first, order));
            kept += stack.blocks.len();
            pages += stack.blocks.len() as u64 * order.frames();
        }
        if kept == listed && pages == self.stats.pages {
            return Verdict::Intact;
        }
        self.stats.pages = pages;
        Verdict::Rebuilt
    }

    /// The blocks held.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (Pfn, Order)> {
        let stacks = Order::all().zip(&self.stacks);
        stacks.flat_map(|(order, stack)| stack.blocks.iter().map(move |&first| (first, order)))
    }

    /// Counters and contents.
    pub(super) fn stats(&self) -> CacheStats {
        self.stats
    }

    fn stack(&mut self, order: Order) -> &mut Stack {
        &mut self.stacks[usize::from(order.get())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capacity_is_a_share_of_memory_between_floor_and_ceiling() {
        let policy = PageCachePolicy::DEFAULT;
        let pages_of = |mib: u64, cpus| policy.capacity_pages(mib * 256, cpus);
        assert_eq!(pages_of(8, 1), 32);
        assert_eq!(pages_of(512, 1), 256);
        assert_eq!(pages_of(512, 4), 64);
        assert_eq!(pages_of(16 << 10, 4), 512);
    }

    #[test]
    fn the_orders_share_the_capacity_and_a_full_stack_refuses() {
        let mut cache = CpuCache::new(32).expect("the host has memory");
        assert_eq!(cache.stats().capacity_pages, 32);
        let two = Order::new(2).expect("an order");
        for (order, limit) in [(Order::ZERO, 16), (two, 2)] {
            for i in 0..limit {
                assert!(cache.put(Pfn(4 * i), order));
            }
            assert!(!cache.put(Pfn(1 << 20), order));
        }
        assert_eq!(cache.stats().pages, 16 + 8);
        assert_eq!(
            cache.take(two),
            Some(Pfn(4)),
            "the last in is the first out"
        );
        assert_eq!((cache.stats().hits, cache.stats().pages), (1, 16 + 4));
    }
}
