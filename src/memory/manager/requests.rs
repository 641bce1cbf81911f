//! Requests that a CPU's cache does not meet by itself: they visit the accounts, the zone, and at last ask the other
//! CPUs for what they hold.
//!
//! A stock that is empty is filled again for a batch, from blocks that lie in the cache or from the zone. When neither
//! has a block, the CPU's cache gives back what is missing of one ([`super::room`]), all others give back all that they
//! hold, for a large one memory is compacted ([`super::compaction`]), and the zone is asked once more after each; when a
//! charge is refused, all stocks are given back first. Another CPU is asked to do it: it looks before it sleeps, when it is
//! interrupted, and when it gets here itself.
//!
//! No call takes more than 5,000 instructions, waiting for another CPU and compaction aside, nor does a visit to the zone.
#![allow(unsafe_code, reason = "uses the cache of the CPU it runs on")]

use super::super::accounts::Owner;
use super::super::frames::{Mobility, Order, Pfn};
use super::super::local_cpu::{LocalCpu, PreemptionState};
use super::super::page_cache::{ASK_BLOCKS, ASK_MORE, ASK_STOCKS, Class, CpuCache};
#[cfg(feature = "alloc-trace")]
use super::super::trace;
use super::super::zone::owners::{KnownZero, Use, holder_of};
use super::{MemoryManager, TIMED_ONE_IN, out_of_memory};
use crate::error::Result;
use crate::platform::spin_once;
use core::mem::take;

/// How often a request that was refused is tried again: after what this CPU holds was given back, and what others do.
const RETRIES: usize = 2;
/// The part of a batch that an owner is charged for in advance when blocks lie in the cache that nobody is charged for.
const RESTOCK_DIVISOR: usize = 4;
/// Blocks that a free gives back which has ended a period as well: that takes as long as half a batch.
const FEW: usize = 8;
/// Looks at another CPU's answer before a request goes on without it: about a tenth of a millisecond.
const PATIENCE: usize = 20_000;

/// What came of a request.
pub(super) enum Taken {
    Block(Pfn),
    /// There is none.
    Nothing,
    /// The owner may not have it.
    BeyondQuota,
}

impl<C: LocalCpu> MemoryManager<C> {
    /// Gives out a block at the expense of `owner`, of the running one if that is none; ends the section first that the
    /// caller began, if it says what was before.
    #[cold]
    #[inline(never)]
    pub(super) fn allocate_slowly(
        &self,
        before: Option<PreemptionState>,
        owner: Option<Owner>,
        order: Order,
        of: Use,
    ) -> Result<Pfn> {
        self.end_section(before);
        let began = self.cpu.ticks();
        let owner = owner.unwrap_or_else(|| self.cpu.owner());
        let request = || self.pinned(|runner| self.request(began, runner, owner, order, of));
        let mut taken = request();
        let (mut looks_here, mut flushes) = (true, true);
        for _ in 0..RETRIES {
            let is_worth_it = match taken {
                Taken::Block(_) => false,
                Taken::Nothing => self.make_room(order, take(&mut looks_here)),
                Taken::BeyondQuota if take(&mut flushes) => {
                    self.flush_all();
                    true
                }
                Taken::BeyondQuota => false,
            };
            if !is_worth_it {
                break;
            }
            taken = request();
        }
        match taken {
            Taken::Block(first) => {
                if began.is_multiple_of(TIMED_ONE_IN) {
                    let ticks = self.cpu.ticks().saturating_sub(began);
                    self.duration.observe_nanos(self.cpu.nanos(ticks));
                }
                return Ok(first);
            }
            Taken::Nothing => self.refusals[usize::from(order.get())].increment(),
            Taken::BeyondQuota => self.accounts.refuse(owner),
        }
        Err(out_of_memory(order))
    }

    #[inline]
    fn end_section(&self, before: Option<PreemptionState>) {
        if let Some(before) = before {
            self.cpu.restore_preemption(before);
        }
    }

    fn request(&self, now: u64, runner: Owner, owner: Owner, order: Order, of: Use) -> Taken {
        let cache = self.cache();
        self.answer(cache);
        match Class::of(order, of) {
            Some(class) if cache.is_open() && cache.stack(class).limit() > 0 => {
                cache.begin_period(now);
                self.restock(cache, class, runner, owner, of)
            }
            _ => self.take_from_zone(runner, owner, order, of, None),
        }
    }

    /// Charges `owner` for a batch, of what lies in the cache or is fetched from the zone, and gives out its first block.
    fn restock(
        &self,
        cache: &CpuCache,
        class: Class,
        runner: Owner,
        owner: Owner,
        of: Use,
    ) -> Taken {
        let (stack, order) = (cache.stack(class), class.order());
        let is_miss = stack.len() == 0;
        if is_miss && self.is_kept_off(owner, order) {
            return Taken::Nothing;
        }
        // SAFETY: this is the cache's CPU, in the section that alone uses it.
        let batch = unsafe { cache.batch(class) };
        let batch = if is_miss {
            // SAFETY: as above.
            unsafe { cache.batch_to_fetch(class, &self.owners) }
        } else if cache.spare(class) == 0 {
            cache.keep_charged(class, stack.len() / 2, &self.accounts);
            batch.min(cache.spare(class) as usize)
        } else {
            // Less than a batch: what is not asked for in this period is to be known.
            let part = batch.div_ceil(RESTOCK_DIVISOR);
            part.min(cache.spare(class) as usize)
        };
        let mut charged = self.accounts.charge(owner, order.frames(), batch as u64);
        if charged == 0 {
            return Taken::BeyondQuota;
        }
        if is_miss {
            // SAFETY: as above.
            let fetch = |zone: &mut _| unsafe { cache.refill(class, batch, zone, &self.owners) };
            let fetched = charged.min(self.visit(runner, fetch) as u64);
            if fetched < charged {
                let excess = (charged - fetched) * order.frames();
                self.accounts.discharge(owner, excess);
                charged = fetched;
            }
        }
        stack.add_stock(owner, charged);
        // SAFETY: as above.
        let Some(first) = (unsafe { stack.pop(owner) }) else {
            // There is none, or it lies where no cache may hold it.
            return self.take_from_zone(runner, owner, order, of, None);
        };
        if is_miss {
            stack.uncount_hit(owner);
        }
        self.hand_out(first, order, of, owner);
        Taken::Block(first)
    }

    /// Gives out a block past the cache; says in `known` which of its frames are zero, if that is asked.
    pub(super) fn take_from_zone(
        &self,
        runner: Owner,
        owner: Owner,
        order: Order,
        of: Use,
        known: Option<&mut KnownZero>,
    ) -> Taken {
        let mobility = match of {
            Use::Movable => Mobility::Movable,
            Use::Block | Use::Slab => Mobility::Immovable,
        };
        self.visit(runner, |zone| {
            if self.pressure.keeps_off(owner, order, zone.free_frames()) {
                return Taken::Nothing;
            }
            if self.accounts.charge(owner, order.frames(), 1) == 0 {
                return Taken::BeyondQuota;
            }
            let Some(first) = zone.take(order, mobility) else {
                self.accounts.discharge(owner, order.frames());
                return Taken::Nothing;
            };
            if let Some(known) = known {
                self.owners.note_known(first, order, known);
            }
            self.owners.claim(first, order, of, owner);
            #[cfg(feature = "alloc-trace")]
            trace::note(&self.cpu, trace::Event::Allocated(of), first, order);
            Taken::Block(first)
        })
    }

    /// Takes a block back that was given out for that; answers who was charged for it. Ends a section as
    /// [`MemoryManager::allocate_slowly`] does.
    #[cold]
    #[inline(never)]
    pub(super) fn free_slowly(
        &self,
        before: Option<PreemptionState>,
        first: Pfn,
        order: Order,
        of: Use,
    ) -> Result<Owner> {
        self.end_section(before);
        self.pinned(|runner| {
            let cache = self.cache();
            let now = self.cpu.ticks();
            self.answer(cache);
            let is_period_over = self.end_periods(cache, now);
            if is_period_over {
                cache.ask(ASK_MORE);
            }
            let most = if is_period_over { FEW } else { usize::MAX };
            if let Some(class) = Class::of(order, of)
                && let Some(bytes) = self.owners.cacheable(first, order)
                && let Some(owner) = holder_of(bytes, order, of)
                && cache.is_open()
            {
                // SAFETY: this is the cache's CPU, in the section that alone uses it.
                if cache.stack(class).is_full() && !unsafe { cache.wake(class, now) } {
                    // SAFETY: as above.
                    let overflow =
                        |zone: &mut _| unsafe { cache.overflow(class, most, zone, &self.accounts) };
                    self.visit(runner, overflow);
                }
                // SAFETY: as above.
                if unsafe { cache.keep(first, class, bytes, owner) } {
                    return Ok(owner);
                }
            }
            self.visit(runner, |zone| {
                let owner = self.owners.release(first, order, of)?;
                self.accounts.discharge(owner, order.frames());
                zone.give_back(first, order);
                Ok(owner)
            })
        })
    }

    /// Gives every cached page back to the zone, where it merges, as far as the other CPUs come to look. A batch at a
    /// time.
    pub fn drain_all(&self) {
        let drain = |runner| {
            // SAFETY: this is the cache's CPU, in the section that alone uses it.
            let drain = |zone: &mut _| unsafe { self.cache().drain_some(zone, &self.accounts) };
            self.visit(runner, drain)
        };
        while self.pinned(drain) {}
        self.ask_others(ASK_BLOCKS | ASK_STOCKS);
    }

    /// Gives back what owners are charged for in advance, as far as the other CPUs come to look.
    pub(super) fn flush_all(&self) {
        self.pinned(|_| self.cache().flush(&self.accounts));
        self.ask_others(ASK_STOCKS);
    }

    /// Asks the other CPUs that hold something for `what`, and waits a little for the answers; false if none does.
    pub(super) fn ask_others(&self, what: u32) -> bool {
        let mut has_asked = false;
        for (cpu, cache) in self.caches.iter().enumerate() {
            if cpu == self.cpu.current() || cache.is_empty() {
                continue;
            }
            has_asked = true;
            cache.ask(what);
            self.cpu.ask(cpu, &|| {
                self.obey();
            });
            for _ in 0..PATIENCE {
                if cache.asked() & what == 0 {
                    break;
                }
                // It may be waiting for us.
                self.obey();
                spin_once();
            }
        }
        has_asked
    }

    /// Does what other CPUs ask of this one, as far as it need not wait for that, and what the time has come for; answers
    /// the tick at which that is so again. Called on each CPU before it sleeps and after it was interrupted outside of
    /// sections. Costs about 70 instructions for each block held, if it is asked; else at most so much for a batch of each
    /// class.
    #[inline]
    pub fn obey(&self) -> u64 {
        let cache = self.caches[self.cpu.current()];
        let now = self.cpu.ticks();
        if cache.asked() != 0 || cache.is_due(now) {
            self.pinned(|_| self.give_what_is_asked(cache, now));
        }
        if cache.asked() != 0 {
            return now;
        }
        cache.wakes_at()
    }

    /// Does what other CPUs wait for, in a section. The rest of what [`MemoryManager::obey`] does would make this request
    /// dear.
    #[inline]
    fn answer(&self, cache: &CpuCache) {
        let asked = cache.asked() & (ASK_STOCKS | ASK_BLOCKS);
        if asked != 0 {
            self.give_blocks(cache, asked);
        }
    }

    #[cold]
    #[inline(never)]
    fn give_what_is_asked(&self, cache: &CpuCache, now: u64) {
        let asked = cache.asked();
        if asked & (ASK_STOCKS | ASK_BLOCKS) != 0 {
            self.give_blocks(cache, asked & (ASK_STOCKS | ASK_BLOCKS));
        }
        let asked = asked & !(ASK_STOCKS | ASK_BLOCKS);
        cache.answer(asked);
        self.follow_demand(cache, asked, now);
    }

    #[cold]
    #[inline(never)]
    fn give_blocks(&self, cache: &CpuCache, mut asked: u32) {
        cache.flush(&self.accounts);
        while asked & ASK_BLOCKS != 0 && cache.is_open() {
            // SAFETY: this is the cache's CPU, in the section that alone uses it.
            let drain = |zone: &mut _| unsafe { cache.drain_some(zone, &self.accounts) };
            match self.zone.try_with(Owner::KERNEL, drain) {
                Some(true) => {}
                Some(false) => break,
                // Later.
                None => asked &= !ASK_BLOCKS,
            }
        }
        cache.answer(asked);
    }
}
