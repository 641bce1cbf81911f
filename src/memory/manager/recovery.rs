//! What the manager does after an owner's death: puts right what the dead one left half done, and frees what is
//! still charged to it.
//!
//! While the zone is held no frame becomes free or ceases to be, whatever other CPUs do; and the frames in the cache of
//! the CPU on which somebody died in a section are known by their marks. So that much is exact. What other owners are
//! charged with is exact too unless other CPUs allocate for them all the time that it is counted: then it is left.

use super::super::accounts::Owner;
use super::super::frames::Order;
use super::super::local_cpu::LocalCpu;
use super::super::lock::Verdict;
use super::super::zone::owners::Holding;
#[cfg(test)]
use super::{Accounts, CpuCache, OwnerMap};
use super::{MemoryManager, Zone};
use core::array;

/// How often memory is counted until two counts agree: other CPUs may allocate meanwhile.
const COUNTS_MAX: usize = 4;

impl<C: LocalCpu> MemoryManager<C> {
    /// Closes the page cache of the CPU this is called on, where somebody died in a section, before anything else runs
    /// there. It takes and gives nothing until [`MemoryManager::recover`] has emptied it.
    pub fn cut(&self) {
        self.caches[self.cpu.current()].close(&self.accounts);
    }

    /// Verifies zone and accounts if `dead` held the zone or died in a section, and gives back what was in the page cache
    /// of its CPU then.
    ///
    /// # Safety
    /// Nothing runs as `dead`, nor will before this returns.
    pub(in crate::memory) unsafe fn recover(&self, dead: Owner) -> Verdict {
        let is_cut = self.caches.iter().any(|cache| cache.left().is_some());
        if !is_cut && !self.zone.is_held_by(dead) {
            return Verdict::Intact;
        }
        self.cpu.pinned(|| {
            // SAFETY: this function's contract is the one asked for.
            let mut zone = unsafe { self.zone.seize(dead) };
            let verdict = zone.verify();
            if verdict == Verdict::Lost {
                return verdict;
            }
            let caches = self.caches.iter().enumerate();
            let emptied = caches.filter_map(|(cpu, cache)| {
                let left = cache.left()?;
                let found = self.empty(cpu, &mut zone);
                cache.reopen();
                Some(if found == left {
                    Verdict::Intact
                } else {
                    Verdict::Rebuilt
                })
            });
            let verdict = emptied.fold(verdict, Verdict::max);
            verdict.max(self.verify_accounts())
        })
    }

    /// Gives every page that is marked as in the cache of `cpu`, which is closed, back to the zone; answers how many
    /// there were.
    fn empty(&self, cpu: usize, zone: &mut Zone) -> u64 {
        let pages = self.owners.in_cache_of(cpu);
        let give_back = |page| {
            self.owners.forget_cached(page);
            zone.give_back(page, Order::ZERO);
        };
        pages.map(give_back).count() as u64
    }

    /// Counts what every owner is charged with. The caller holds the zone; other CPUs may move pages between their owners
    /// and their caches, so a count is believed if the next is the same.
    fn verify_accounts(&self) -> Verdict {
        let said: [u64; Owner::COUNT] =
            array::from_fn(|owner| self.accounts.frames(Owner::from_low_bits(owner as u8)));
        let mut counted = self.count_frames();
        for _ in 1..COUNTS_MAX {
            let before: [u64; Owner::COUNT] = counted;
            counted = self.count_frames();
            if counted == before {
                let wrong = Owner::all().filter(|&owner| {
                    let index = usize::from(owner.get());
                    self.accounts.correct(owner, said[index], counted[index])
                });
                return match wrong.count() {
                    0 => Verdict::Intact,
                    _ => Verdict::Rebuilt,
                };
            }
        }
        Verdict::Intact
    }

    /// Frames in the hands of each owner, and in its stocks.
    fn count_frames(&self) -> [u64; Owner::COUNT] {
        let mut frames = array::from_fn(|index| {
            let owner = Owner::from_low_bits(index as u8);
            self.caches.iter().map(|cache| cache.stock(owner)).sum()
        });
        for chunk in 0..self.owners.chunks() {
            for holding in self.owners.holdings(chunk) {
                frames[holding.owner.index()] += holding.order.frames();
            }
        }
        frames
    }

    /// Frees every block that is still charged to `owner`, into the zone; answers how many frames that were.
    ///
    /// # Panics
    /// If the owner is the kernel.
    pub(in crate::memory) fn abandon(&self, owner: Owner) -> u64 {
        assert_ne!(
            owner,
            Owner::KERNEL,
            "the kernel's memory is never abandoned"
        );
        let held = self.owners.charged_to(owner);
        held.map(|holding| self.free_held(holding)).sum()
    }

    /// Frees a block if it is still in hand.
    fn free_held(
        &self,
        Holding {
            first, order, of, ..
        }: Holding,
    ) -> u64 {
        self.in_zone(|zone| {
            let Ok(owner) = self.owners.release(first, order, of) else {
                return 0;
            };
            self.accounts.discharge(owner, order.frames());
            zone.give_back(first, order);
            order.frames()
        })
    }
}

#[cfg(test)]
impl<C: LocalCpu> MemoryManager<C> {
    /// Runs `section` with the first CPU's cache and the zone, as `runner`.
    pub(in crate::memory) fn with_both(
        &self,
        runner: Owner,
        section: impl FnOnce(&CpuCache, &mut Zone, (&OwnerMap, &Accounts)),
    ) {
        let cache = &self.caches[0];
        let shared = (&self.owners, &self.accounts);
        self.zone.with(runner, |zone| section(cache, zone, shared));
    }

    /// The first half of an allocation.
    pub(in crate::memory) fn charge_without_block(&self, owner: Owner, frames: u64) {
        self.accounts.charge_beyond_quota(owner, frames);
    }
}
