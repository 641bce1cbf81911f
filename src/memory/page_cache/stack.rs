//! A stack of free blocks of one kind, and how many of them each owner is charged for already.
//!
//! Always true, between two operations of its CPU: the blocks are those from `top` to before `end`, and all stocks
//! together are at most as many. So who finds a stock that is not empty finds a block, and need not ask.
//!
//! Only its CPU changes a stack, one section at a time with preemption disabled; any other may read the figures. They
//! are atomics for that alone: no operation is atomic as a whole.
#![allow(unsafe_code, reason = "the blocks lie behind two pointers")]

use super::super::accounts::Owner;
use super::super::frames::Pfn;
use crate::error::{Grow, Result};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

/// Most blocks that a stack may have room for: a stock counts in twelve bits.
pub(in crate::memory) const ROOM_MAX: usize = STOCK_MASK as usize;

/// Of a word of [`Stack::stocks`], the blocks in stock; the bits above count the hits.
const STOCK_MASK: u64 = 0xfff;
/// One block less in stock, and one hit more: one addition.
const HIT: u64 = STOCK_MASK;

/// The stack. No two CPUs share a line of it (two lines: they are fetched in pairs).
#[repr(C, align(128))]
pub(in crate::memory) struct Stack {
    /// By owner: the blocks here that it is charged for, and above [`STOCK_MASK`] its hits since boot.
    stocks: [AtomicU64; Owner::COUNT],
    /// The block that came last; `end` if there is none.
    top: AtomicPtr<Pfn>,
    /// As far down as `top` may go: [`Stack::limit`] blocks below `end`.
    floor: AtomicPtr<Pfn>,
    end: *mut Pfn,
    /// Requests that found no block here.
    pub(super) misses: AtomicU64,
    /// Batches given back to the zone.
    pub(super) drains: AtomicU64,
    /// Changes of the limit: it grew, it shrank.
    pub(super) resizes: [AtomicU64; 2],
}

// SAFETY: what lies behind the pointers is touched by the stack's own CPU alone, as the callers of its unsafe
// functions promise.
unsafe impl Sync for Stack {}
// SAFETY: as above; the blocks are numbers.
unsafe impl Send for Stack {}

impl Stack {
    /// An empty stack that may hold `limit` blocks now, and at most as many as there is room for.
    ///
    /// # Errors
    /// `OutOfMemory` if the heap has not the room.
    pub(super) fn new(limit: usize) -> Result<Self> {
        let room = limit.min(ROOM_MAX);
        let mut blocks = Vec::new();
        blocks.try_reserve_exact(room)?;
        blocks.resize_reserved(room, Pfn(0));
        // For as long as the image runs.
        let blocks: *mut [Pfn] = blocks.leak();
        let floor = blocks.cast::<Pfn>();
        // SAFETY: one past the last of as many.
        let end = unsafe { floor.add(room) };
        Ok(Self {
            stocks: Default::default(),
            top: AtomicPtr::new(end),
            floor: AtomicPtr::new(floor),
            end,
            misses: AtomicU64::new(0),
            drains: AtomicU64::new(0),
            resizes: Default::default(),
        })
    }

    /// The last block that came, if `owner` is charged for one more than it has; a hit.
    ///
    /// # Safety
    /// The caller runs on the stack's CPU, in the section that alone uses it.
    #[inline(always)]
    pub(in crate::memory) unsafe fn pop(&self, owner: Owner) -> Option<Pfn> {
        let stock = &self.stocks[owner.index()];
        let word = stock.load(Relaxed);
        if word & STOCK_MASK == 0 {
            return None;
        }
        stock.store(word + HIT, Relaxed);
        let top = self.top.load(Relaxed);
        // SAFETY: a stock that is not empty says that there is a block: `top` is below `end`.
        let (block, next) = unsafe { (top.read(), top.add(1)) };
        self.top.store(next, Relaxed);
        Some(block)
    }

    /// True if there is no room for one block more.
    pub(in crate::memory) fn is_full(&self) -> bool {
        self.top.load(Relaxed) == self.floor.load(Relaxed)
    }

    /// Keeps a block that `owner` goes on being charged for; false if there is no room.
    ///
    /// # Safety
    /// As [`Stack::pop`].
    #[inline(always)]
    pub(in crate::memory) unsafe fn push(&self, block: Pfn, owner: Owner) -> bool {
        let top = self.top.load(Relaxed);
        if top == self.floor.load(Relaxed) {
            return false;
        }
        // SAFETY: `top` is above `floor`, so the place below it is the stack's.
        let top = unsafe { top.sub(1) };
        // SAFETY: as above.
        unsafe { top.write(block) };
        self.top.store(top, Relaxed);
        let stock = &self.stocks[owner.index()];
        stock.store(stock.load(Relaxed) + 1, Relaxed);
        true
    }

    /// Puts up to `count` blocks, in rising order, which `take` writes to the places it is shown; nobody is charged
    /// for them yet. Answers how many.
    ///
    /// # Safety
    /// As [`Stack::pop`]; `count` is at most what the stack has room for.
    pub(super) unsafe fn put(&self, count: usize, take: impl FnOnce(&mut [Pfn]) -> usize) -> usize {
        let top = self.top.load(Relaxed);
        // SAFETY: there is room for `count` below `top`, and nobody else looks at these places.
        let places = unsafe { core::slice::from_raw_parts_mut(top.sub(count), count) };
        let got = take(places);
        places.copy_within(..got, count - got);
        // SAFETY: as above, and there are `got` blocks at the end of the places.
        self.top.store(unsafe { top.sub(got) }, Relaxed);
        got
    }

    /// Takes the blocks out that have been here longest, as many as there are places for. They are charged to nobody.
    ///
    /// # Safety
    /// As [`Stack::pop`]; all stocks together are at most what remains.
    pub(super) unsafe fn take_oldest(&self, places: &mut [Pfn]) -> usize {
        let len = self.len();
        let count = len.min(places.len());
        let top = self.top.load(Relaxed);
        // SAFETY: the blocks from `top` to `end` are the stack's and valid.
        let blocks = unsafe { core::slice::from_raw_parts_mut(top, len) };
        places[..count].copy_from_slice(&blocks[len - count..]);
        blocks.copy_within(..len - count, count);
        // SAFETY: there are `count` at least.
        self.top.store(unsafe { top.add(count) }, Relaxed);
        count
    }

    /// Blocks held.
    pub(in crate::memory) fn len(&self) -> usize {
        self.blocks_above(self.top.load(Relaxed))
    }

    /// Most blocks that may be held now.
    pub(in crate::memory) fn limit(&self) -> usize {
        self.blocks_above(self.floor.load(Relaxed))
    }

    fn blocks_above(&self, place: *mut Pfn) -> usize {
        (self.end.addr() - place.addr()) / size_of::<Pfn>()
    }

    /// Blocks here that `owner` is charged for.
    pub(in crate::memory) fn stock(&self, owner: Owner) -> u64 {
        self.stocks[owner.index()].load(Relaxed) & STOCK_MASK
    }

    /// Blocks here that somebody is charged for.
    pub(in crate::memory) fn stocked(&self) -> u64 {
        self.words().map(|word| word & STOCK_MASK).sum()
    }

    /// Requests met from here since boot.
    pub(super) fn hits(&self) -> u64 {
        self.words().map(|word| word / (STOCK_MASK + 1)).sum()
    }

    fn words(&self) -> impl Iterator<Item = u64> {
        self.stocks.iter().map(|stock| stock.load(Relaxed))
    }

    /// Takes the last hit of `owner` back: it was a miss.
    pub(in crate::memory) fn uncount_hit(&self, owner: Owner) {
        let stock = &self.stocks[owner.index()];
        stock.store(stock.load(Relaxed) - (STOCK_MASK + 1), Relaxed);
    }

    /// Notes that `owner` is charged for `blocks` more of those held.
    pub(in crate::memory) fn add_stock(&self, owner: Owner, blocks: u64) {
        let stock = &self.stocks[owner.index()];
        stock.store(stock.load(Relaxed) + blocks, Relaxed);
    }

    /// Notes that `owner` is charged for `blocks` less.
    pub(super) fn cut_stock(&self, owner: Owner, blocks: u64) {
        let stock = &self.stocks[owner.index()];
        stock.store(stock.load(Relaxed) - blocks, Relaxed);
    }

    /// Says that there is a block for nobody and room for none, whatever was under way. Answers the blocks it held.
    pub(super) fn close(&self) -> usize {
        let len = self.len();
        self.top.store(self.floor.load(Relaxed), Relaxed);
        len
    }

    /// Makes a stack that was closed an empty one.
    pub(super) fn reopen(&self) {
        self.top.store(self.end, Relaxed);
    }
}

#[cfg(test)]
impl Stack {
    /// The blocks held.
    pub(in crate::memory) fn blocks(&self) -> Vec<Pfn> {
        let top = self.top.load(Relaxed);
        // SAFETY: the blocks from `top` to `end` are valid, and the tests that ask are alone.
        unsafe { core::slice::from_raw_parts(top, self.len()) }.to_vec()
    }
}

/// Counts one, on the only CPU that writes this.
pub(super) fn count(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}
