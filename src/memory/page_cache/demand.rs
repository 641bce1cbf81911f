//! How a CPU's cache follows demand: what happens is told to the control law of each stack, and what that says is done.
//!
//! A miss and an overflow are told when they happen. A period ends when its CPU next looks after it has: before it sleeps, after
//! it was interrupted, or in a free that its stacks do not meet. What nobody took in a period is known without a
//! count at each request: all stocks are given back when it begins, so the blocks that nobody is charged for when it ends
//! have lain below the lowest level of the stack.
//!
//! A CPU that sleeps is woken some periods later to end those, until its cache is empty: then all its stacks sleep, no period
//! ends, and none is begun until a slow path wakes one.

use super::super::accounts::Accounts;
use super::super::zone::Zone;
use super::stack::{Stack, Visit};
use super::{BATCH_MAX, Class, CpuCache, NEVER, OVERFLOW_DIVISOR, twice, whole};
use crate::cache::sizing::Sizing;
use core::sync::atomic::Ordering::Relaxed;

/// How often a cache is looked at, in ticks; 0 for never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::memory) struct Rhythm {
    pub(in crate::memory) period_ticks: u64,
    /// A CPU that sleeps wakes so long after a period.
    pub(in crate::memory) idle_ticks: u64,
}

impl CpuCache {
    /// Notes that a request found no block of `class`.
    ///
    /// # Safety
    /// As [`CpuCache::refill`]. So it is with all others here but where they say otherwise.
    pub(super) unsafe fn note_miss(&self, class: Class) {
        let stack = self.stack(class);
        // SAFETY: by this function's contract.
        if !unsafe { stack.has_regret() } {
            // SAFETY: as above.
            return unsafe { stack.settle(false) };
        }
        let pages = |class: Class| (self.stack(class).limit() as u64) << class.order().get();
        // Those that sleep hold nothing.
        let is_awake = |class: &Class| !self.stack(*class).is_asleep();
        let allowed: u64 = Class::all().filter(is_awake).map(pages).sum();
        let room = u64::from(self.ceiling_pages).saturating_sub(allowed) >> class.order().get();
        // SAFETY: as above.
        unsafe {
            stack.resize(|sizing| sizing.missed(room as u32));
            stack.settle(false);
        }
    }

    /// Begins a period at tick `now` unless one is under way: the cache is about to hold something.
    pub(in crate::memory) fn begin_period(&self, now: u64) {
        if self.period_end.load(Relaxed) == NEVER && self.rhythm.period_ticks > 0 {
            let end = now.saturating_add(self.rhythm.period_ticks);
            self.period_end.store(end, Relaxed);
        }
    }

    /// Wakes the stack of `class` at tick `now`; false if it does not sleep.
    ///
    /// # Safety
    /// As [`CpuCache::note_miss`].
    pub(in crate::memory) unsafe fn wake(&self, class: Class, now: u64) -> bool {
        let stack = self.stack(class);
        if !stack.is_asleep() || stack.limit() == 0 {
            return false;
        }
        self.begin_period(now);
        // SAFETY: by this function's contract.
        unsafe { stack.settle(false) };
        true
    }

    /// Gives a batch back, or half of what may be here, since the stack of `class` is full; twice as much if nothing was
    /// fetched since the last, but not more than `most`. Where no pageblock is free the limit falls to the floor: large blocks form only of what
    /// caches give back then, and a request for one that is refused looks at each block here.
    ///
    /// # Safety
    /// As [`CpuCache::note_miss`].
    pub(in crate::memory) unsafe fn overflow(
        &self,
        class: Class,
        most: usize,
        zone: &mut Zone,
        accounts: &Accounts,
    ) {
        let stack = self.stack(class);
        let half = stack.limit().div_ceil(OVERFLOW_DIVISOR);
        // SAFETY: by this function's contract.
        unsafe {
            let batch = self.batch(class).min(half);
            let count = if stack.is_again(Visit::Drain) {
                whole(twice(batch))
            } else {
                batch
            };
            let given = self.drain(class, count.min(most), false, zone, accounts);
            if zone.has_free_pageblock() {
                stack.resize(|sizing| sizing.overflowed(given as u32));
            } else {
                stack.resize(Sizing::pressed);
                stack.settle(false);
            }
        }
    }

    /// True if a period has ended by tick `now`. From any section of its CPU, or none.
    #[inline]
    pub(in crate::memory) fn is_due(&self, now: u64) -> bool {
        now >= self.period_end.load(Relaxed)
    }

    /// The tick at which its CPU is to wake for it; `u64::MAX` for none. As [`CpuCache::is_due`].
    #[inline]
    pub(in crate::memory) fn wakes_at(&self) -> u64 {
        let end = self.period_end.load(Relaxed);
        end.saturating_add(self.rhythm.idle_ticks)
    }

    /// Ends the periods that have by tick `now`, and begins one: what then is [`CpuCache::surplus`] is to be given back.
    ///
    /// # Safety
    /// As [`CpuCache::note_miss`].
    pub(in crate::memory) unsafe fn end_periods(&self, now: u64, accounts: &Accounts) {
        if !self.is_due(now) {
            return;
        }
        let late = now - self.period_end.load(Relaxed);
        let periods = late / self.rhythm.period_ticks + 1;
        let periods = periods.min(u32::MAX.into()) as u32;
        self.period_end.store(NEVER, Relaxed);
        self.begin_period(now);
        for class in Class::all() {
            let stack = self.stack(class);
            let (held, unused) = (stack.len() as u32, self.spare(class) as u32);
            // SAFETY: by this function's contract.
            let surplus =
                unsafe { stack.resize(|sizing| sizing.periods_ended(periods, held, unused)) };
            stack.set_surplus(surplus as usize);
            self.keep_charged(class, 0, accounts);
            // SAFETY: as above.
            unsafe { stack.settle(true) };
        }
    }

    /// Brings all limits to their floors; what is here is surplus then.
    ///
    /// # Safety
    /// As [`CpuCache::note_miss`].
    pub(in crate::memory) unsafe fn press(&self) {
        for stack in &self.stacks {
            stack.set_surplus(stack.len());
            // SAFETY: by this function's contract.
            unsafe {
                stack.resize(Sizing::pressed);
                stack.settle(true);
            }
        }
    }

    /// The classes of which there is something to be given back.
    pub(in crate::memory) fn surplus(&self) -> impl Iterator<Item = Class> {
        Class::all().filter(|&class| self.stack(class).surplus() > 0)
    }

    /// Gives a batch of the surplus of `class` back.
    ///
    /// # Safety
    /// As [`CpuCache::note_miss`].
    pub(in crate::memory) unsafe fn give_surplus(
        &self,
        class: Class,
        zone: &mut Zone,
        accounts: &Accounts,
    ) {
        let stack = self.stack(class);
        let surplus = stack.surplus();
        // SAFETY: by this function's contract.
        let given = unsafe { self.drain(class, surplus.min(BATCH_MAX), true, zone, accounts) };
        stack.set_surplus(surplus - given);
    }

    /// Ends no more periods if all stacks sleep, or the cache does not serve.
    pub(in crate::memory) fn rest(&self) {
        if !self.is_open() || self.stacks.iter().all(Stack::is_asleep) {
            self.period_end.store(NEVER, Relaxed);
        }
    }
}
