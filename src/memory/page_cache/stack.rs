//! A stack of free blocks of one kind, and how many of them each owner is charged for already.
//!
//! Always true, between two operations of its CPU: the blocks are those from `top` to before `end`, and all stocks
//! together are as many but for `spare`. So who finds a stock that is not empty finds a block, and need not ask.
//!
//! The blocks lie anywhere in the stack's places: those that leave from below make `end` fall, and when there is no room
//! above for as many as the limit allows, all are moved together to the bottom ([`Stack::settle`]).
//!
//! A stack *sleeps* that is empty and has no room: the next block is not taken in but by a slow path, which wakes it.
//! So somebody knows when there is something to give back again.
//!
//! Only its CPU changes a stack, one section at a time with preemption disabled; any other may read the figures. They
//! are atomics for that alone: no operation is atomic as a whole.
#![allow(unsafe_code, reason = "the blocks lie behind pointers")]

use super::super::accounts::Owner;
use super::super::frames::Pfn;
use crate::cache::sizing::{Sizing, SizingPolicy};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

/// Most blocks that a stack may hold: a stock counts in twelve bits.
pub(super) const STACK_BLOCKS_MAX: u32 = STOCK_MASK as u32;

/// Of a word of [`Stack::stocks`], the blocks in stock; the bits above count the hits.
const STOCK_MASK: u64 = 0xfff;
/// One block less in stock, and one hit more: one addition.
const HIT: u64 = STOCK_MASK;

/// A visit to the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Visit {
    /// There was no block.
    Refill,
    /// There was no room for one more.
    Drain,
}

/// The stack. No two CPUs share a line of it (two lines: they are fetched in pairs).
#[repr(C, align(128))]
pub(in crate::memory) struct Stack {
    /// By owner: the blocks here that it is charged for, and above [`STOCK_MASK`] its hits since boot.
    stocks: [AtomicU64; Owner::COUNT],
    /// The block that came last; `end` if there is none.
    top: AtomicPtr<Pfn>,
    /// As far down as `top` may go.
    floor: AtomicPtr<Pfn>,
    end: AtomicPtr<Pfn>,
    /// Blocks that nobody is charged for. It changes only when the accounts or the zone are visited, as a hit takes
    /// a block and one of a stock.
    spare: AtomicU64,
    /// The first of all places, and how many there are.
    start: *mut Pfn,
    places: usize,
    /// The last [`Visit`].
    last_visit: AtomicU8,
    /// Requests that found no block here.
    pub(super) misses: AtomicU64,
    /// Batches given back to the zone.
    pub(super) drains: AtomicU64,
    sizing: UnsafeCell<Sizing>,
    /// What `sizing` says, for others to read.
    limit: AtomicU32,
    resizes: [AtomicU32; 2],
    /// Blocks that are to be given back, a batch at a time.
    surplus: AtomicU32,
}

// SAFETY: what lies behind the pointers, and the cell, is touched by the stack's own CPU alone, as the callers of its
// unsafe functions promise.
unsafe impl Sync for Stack {}
// SAFETY: as above; the blocks are numbers.
unsafe impl Send for Stack {}

impl Stack {
    /// An empty stack that sleeps and never holds more blocks than there are `places`, some more if they are not to
    /// be moved together too often.
    pub(super) fn new(policy: SizingPolicy, places: &'static mut [Pfn]) -> Self {
        debug_assert!(policy.ceiling as usize <= places.len());
        let (start, places) = (places.as_mut_ptr(), places.len());
        // SAFETY: one past the last of as many.
        let end = unsafe { start.add(places) };
        Self {
            stocks: Default::default(),
            top: AtomicPtr::new(end),
            floor: AtomicPtr::new(end),
            end: AtomicPtr::new(end),
            spare: AtomicU64::new(0),
            start,
            places,
            last_visit: AtomicU8::new(Visit::Drain as u8),
            misses: AtomicU64::new(0),
            drains: AtomicU64::new(0),
            sizing: UnsafeCell::new(Sizing::new(policy)),
            limit: AtomicU32::new(policy.floor),
            resizes: Default::default(),
            surplus: AtomicU32::new(0),
        }
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
        self.add_spare(got as u64);
        got
    }

    /// The blocks that have been here longest, `count` of them, the oldest last.
    ///
    /// # Safety
    /// As [`Stack::pop`], and none is taken or put while they are looked at; there are as many.
    pub(super) unsafe fn oldest(&self, count: usize) -> &[Pfn] {
        // SAFETY: the blocks from `top` to `end` are the stack's and valid, and there are `count` by this function's
        // contract.
        unsafe { core::slice::from_raw_parts(self.end.load(Relaxed).sub(count), count) }
    }

    /// The blocks that came last, up to `count` of them, the newest first.
    ///
    /// # Safety
    /// As [`Stack::pop`], and none is taken or put while they are looked at.
    pub(in crate::memory) unsafe fn newest(&self, count: usize) -> &[Pfn] {
        // SAFETY: the blocks from `top` to `end` are the stack's and valid.
        unsafe { core::slice::from_raw_parts(self.top.load(Relaxed), self.len().min(count)) }
    }

    /// Notes that so many of those have left; then it is to be settled.
    ///
    /// # Safety
    /// As [`Stack::pop`]; there are as many. If less are left than are charged for, the caller cuts a stock at once.
    pub(super) unsafe fn drop_oldest(&self, count: usize) {
        self.add_spare(0_u64.wrapping_sub(count as u64));
        // SAFETY: by this function's contract as many lie before `end`.
        let end = unsafe { self.end.load(Relaxed).sub(count) };
        self.end.store(end, Relaxed);
    }

    /// Takes those of the `newest` out of which `leaves` says so, the oldest of them first, as long as there are places.
    /// They are charged to nobody; the others stay in their order. Answers how many.
    ///
    /// # Safety
    /// As [`Stack::pop`]; if less are left than are charged for, the caller cuts a stock at once.
    pub(super) unsafe fn take_some(
        &self,
        newest: usize,
        places: &mut [Pfn],
        mut leaves: impl FnMut(Pfn) -> bool,
    ) -> usize {
        let len = self.len().min(newest);
        let top = self.top.load(Relaxed);
        // SAFETY: the blocks from `top` to `end` are the stack's and valid, and nobody else looks at them.
        let blocks = unsafe { core::slice::from_raw_parts_mut(top, len) };
        let mut taken = 0;
        let mut kept_from = len;
        for at in (0..len).rev() {
            let block = blocks[at];
            if taken < places.len() && leaves(block) {
                places[taken] = block;
                taken += 1;
            } else {
                kept_from -= 1;
                blocks[kept_from] = block;
            }
        }
        self.add_spare(0_u64.wrapping_sub(taken as u64));
        // SAFETY: so many less are left, at the end.
        self.top.store(unsafe { top.add(taken) }, Relaxed);
        taken
    }

    /// Makes room for as many blocks as the limit says, or for those that are here if there are more; for none if
    /// there are none and `may_sleep`.
    ///
    /// # Safety
    /// As [`Stack::pop`].
    pub(super) unsafe fn settle(&self, may_sleep: bool) {
        let len = self.len();
        let room = match len {
            0 if may_sleep => 0,
            _ => len.max(self.limit()),
        };
        let end = self.end.load(Relaxed);
        if len == 0 || self.start.addr() + room * size_of::<Pfn>() > end.addr() {
            // SAFETY: there are as many places as any limit is high, and so many before the last.
            unsafe {
                let bottom = self.start.add(self.places);
                let top = bottom.sub(len);
                top.copy_from(self.top.load(Relaxed), len);
                self.top.store(top, Relaxed);
                self.end.store(bottom, Relaxed);
            }
        }
        // SAFETY: as above.
        let floor = unsafe { self.end.load(Relaxed).sub(room) };
        self.floor.store(floor, Relaxed);
    }

    /// True if it sleeps.
    pub(super) fn is_asleep(&self) -> bool {
        self.floor.load(Relaxed) == self.end.load(Relaxed)
    }

    /// Tells the control law what happened, and does what it says but for giving blocks back; the stack is to
    /// be settled.
    ///
    /// # Safety
    /// As [`Stack::pop`].
    #[inline]
    pub(super) unsafe fn resize<R>(&self, event: impl FnOnce(&mut Sizing) -> R) -> R {
        // SAFETY: by this function's contract nobody else has it; an event knows no stack.
        let sizing = unsafe { &mut *self.sizing.get() };
        let result = event(sizing);
        self.limit.store(sizing.limit(), Relaxed);
        for (told, resizes) in self.resizes.iter().zip(sizing.resizes()) {
            told.store(resizes, Relaxed);
        }
        result
    }

    /// Blocks that move at once.
    ///
    /// # Safety
    /// As [`Stack::pop`].
    pub(super) unsafe fn batch(&self) -> usize {
        // SAFETY: by this function's contract nobody changes it.
        unsafe { (*self.sizing.get()).batch() as usize }
    }

    /// True if a larger stack would have met a request that finds nothing here.
    ///
    /// # Safety
    /// As [`Stack::pop`].
    pub(super) unsafe fn has_regret(&self) -> bool {
        // SAFETY: as in `batch`.
        unsafe { (*self.sizing.get()).has_regret() }
    }

    /// Blocks that are to be given back.
    pub(super) fn surplus(&self) -> usize {
        (self.surplus.load(Relaxed) as usize).min(self.len())
    }

    /// Says how many blocks are to be given back.
    pub(super) fn set_surplus(&self, blocks: usize) {
        self.surplus.store(blocks as u32, Relaxed);
    }

    /// Most blocks that there are places for.
    pub(super) fn places(&self) -> usize {
        self.places
    }

    /// Blocks held.
    pub(in crate::memory) fn len(&self) -> usize {
        let (top, end) = (self.top.load(Relaxed), self.end.load(Relaxed));
        // Another CPU may see one of them before it moved.
        end.addr().saturating_sub(top.addr()) / size_of::<Pfn>()
    }

    /// Most blocks that may be held now.
    pub(in crate::memory) fn limit(&self) -> usize {
        self.limit.load(Relaxed) as usize
    }

    /// How often the limit grew, and shrank.
    pub(super) fn resizes(&self) -> [u64; 2] {
        self.resizes
            .each_ref()
            .map(|count| count.load(Relaxed).into())
    }

    /// Blocks here that `owner` is charged for.
    pub(in crate::memory) fn stock(&self, owner: Owner) -> u64 {
        self.stocks[owner.index()].load(Relaxed) & STOCK_MASK
    }

    /// Blocks here that nobody is charged for.
    #[inline]
    pub(in crate::memory) fn spare(&self) -> u64 {
        self.spare.load(Relaxed)
    }

    /// Blocks here that somebody is charged for.
    pub(in crate::memory) fn stocked(&self) -> u64 {
        (self.len() as u64).wrapping_sub(self.spare())
    }

    /// Notes a visit; true if the last one was of the same kind.
    pub(super) fn is_again(&self, visit: Visit) -> bool {
        let last = self.last_visit.load(Relaxed);
        self.last_visit.store(visit as u8, Relaxed);
        last == visit as u8
    }

    fn add_spare(&self, blocks: u64) {
        let spare = self.spare.load(Relaxed).wrapping_add(blocks);
        self.spare.store(spare, Relaxed);
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
        self.add_spare(0_u64.wrapping_sub(blocks));
    }

    /// Notes that `owner` is charged for `blocks` less.
    pub(super) fn cut_stock(&self, owner: Owner, blocks: u64) {
        let stock = &self.stocks[owner.index()];
        stock.store(stock.load(Relaxed) - blocks, Relaxed);
        self.add_spare(blocks);
    }

    /// Says that there is a block for nobody and room for none, whatever was under way. Answers the blocks it held.
    pub(super) fn close(&self) -> usize {
        let len = self.len();
        self.top.store(self.floor.load(Relaxed), Relaxed);
        len
    }

    /// Makes a stack that was closed an empty one, which sleeps.
    ///
    /// # Safety
    /// As [`Stack::pop`].
    pub(super) unsafe fn reopen(&self) {
        self.top.store(self.end.load(Relaxed), Relaxed);
        self.spare.store(0, Relaxed);
        self.set_surplus(0);
        // SAFETY: by this function's contract.
        unsafe {
            self.resize(Sizing::pressed);
            self.settle(true);
        }
    }
}

#[cfg(test)]
impl Stack {
    /// The blocks held.
    pub(in crate::memory) fn blocks(&self) -> std::vec::Vec<Pfn> {
        let top = self.top.load(Relaxed);
        // SAFETY: the blocks from `top` to `end` are valid, and the tests that ask are alone.
        unsafe { core::slice::from_raw_parts(top, self.len()) }.to_vec()
    }
}

/// Counts one, on the only CPU that writes this.
pub(super) fn count(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::test_support::{Random, steps};
    use std::collections::VecDeque;
    use std::vec;

    #[test]
    fn blocks_leave_on_both_sides_in_the_order_in_which_they_came_however_often_they_are_moved_together()
     {
        let policy = SizingPolicy {
            floor: 4,
            ceiling: 40,
            batch: 3,
            growth: 2,
            decay: 8,
        };
        let stack = Stack::new(policy, vec![Pfn(0); 41].leak());
        let mut random = Random::new(7);
        // The newest is the last.
        let mut model = VecDeque::new();
        let mut longest = 0;
        for next in 0..steps(100_000) as u64 {
            let pushes = if next / 512 % 2 == 0 { 20 } else { 12 };
            // SAFETY: this thread alone uses it.
            unsafe {
                match random.below(40) {
                    choice if choice < pushes => {
                        stack.settle(false);
                        while stack.is_full() {
                            let leaving = 1 + random.below(model.len());
                            stack.cut_stock(Owner::KERNEL, leaving as u64);
                            let gone = stack.oldest(leaving).to_vec();
                            stack.drop_oldest(leaving);
                            assert!(gone.into_iter().rev().eq(model.drain(..leaving)));
                            stack.resize(|sizing| sizing.overflowed(leaving as u32));
                            stack.settle(false);
                        }
                        assert!(stack.push(Pfn(next), Owner::KERNEL));
                        model.push_back(Pfn(next));
                    }
                    0..35 => {
                        let popped = stack.pop(Owner::KERNEL);
                        assert_eq!(popped, model.pop_back());
                        if popped.is_none() {
                            stack.resize(|sizing| sizing.missed(u32::MAX));
                            stack.settle(false);
                            let got = stack.put(2, |places| {
                                places.copy_from_slice(&[Pfn(next), Pfn(next + 1)]);
                                2
                            });
                            stack.add_stock(Owner::KERNEL, got as u64);
                            model.extend([Pfn(next + 1), Pfn(next)]);
                        }
                    }
                    35 if random.below(20) == 0 => {
                        let held = stack.len() as u32;
                        stack.resize(|sizing| sizing.periods_ended(1, held, 0));
                        stack.settle(true);
                    }
                    36 => {
                        stack.settle(true);
                        assert_eq!(stack.is_asleep(), model.is_empty());
                    }
                    37 => {
                        let mut places = [Pfn(0); 5];
                        let leaves = |block: Pfn| block.0 % 3 == 0;
                        let newest = random.below(45);
                        let taken = stack.take_some(newest, &mut places, leaves);
                        stack.cut_stock(Owner::KERNEL, taken as u64);
                        stack.settle(false);
                        let looked_at = model.iter().skip(model.len().saturating_sub(newest));
                        let gone = looked_at.copied().filter(|&block| leaves(block));
                        let gone: VecDeque<_> = gone.take(5).collect();
                        assert!(gone.iter().eq(&places[..taken]));
                        model.retain(|block| !gone.contains(block));
                    }
                    _ if random.below(50) == 0 => stack.resize(Sizing::pressed),
                    _ => {}
                }
            }
            assert!(stack.blocks().iter().rev().eq(&model));
            assert_eq!((stack.spare(), stack.stocked()), (0, model.len() as u64));
            longest = longest.max(model.len());
        }
        assert_eq!(longest, 40, "it grew to its ceiling");
    }
}
