//! What the manager does after an owner's death: puts right what the dead one held the lock of, and frees what is
//! still charged to it.

use super::super::accounts::Owner;
use super::super::local_cpu::LocalCpu;
use super::super::lock::Verdict;
use super::super::zone::owners::Holding;
use super::MemoryManager;
#[cfg(test)]
use super::{CpuCache, Zone};

impl<C: LocalCpu> MemoryManager<C> {
    /// Verifies page caches, zone and accounts if `dead` held the lock of one of them, and releases the lock.
    ///
    /// # Safety
    /// Nothing runs as `dead`, nor will before this returns.
    pub(in crate::memory) unsafe fn recover(&self, dead: Owner) -> Verdict {
        let holds_one =
            self.zone.is_held_by(dead) || self.caches.iter().any(|cache| cache.is_held_by(dead));
        if !holds_one {
            return Verdict::Intact;
        }
        // SAFETY: this function's contract is the one asked for.
        self.cpu.pinned(|| unsafe { self.verify_from(0, dead) })
    }

    /// Seizes the cache of `cpu` and all after it, then the zone, and verifies them all.
    ///
    /// # Safety
    /// As [`MemoryManager::recover`].
    unsafe fn verify_from(&self, cpu: usize, dead: Owner) -> Verdict {
        let Some(cache) = self.caches.get(cpu) else {
            // SAFETY: this function's contract is the one asked for.
            let mut zone = unsafe { self.zone.seize(dead) };
            return zone.verify().max(self.verify_accounts());
        };
        // SAFETY: as above.
        let mut cache = unsafe { cache.seize(dead) };
        let verdict = cache.verify(|first, order| self.owners.mark_cached(first, order));
        // SAFETY: as above.
        let verdict = verdict.max(unsafe { self.verify_from(cpu + 1, dead) });
        for (first, order) in cache.blocks() {
            self.owners.unmark_cached(first, order);
        }
        verdict
    }

    /// Counts what every owner is charged with. The caller holds all locks.
    fn verify_accounts(&self) -> Verdict {
        let mut frames = [0; Owner::COUNT];
        for chunk in 0..self.owners.chunks() {
            for holding in self.owners.holdings(chunk) {
                frames[holding.owner.index()] += holding.order.frames();
            }
        }
        let mut verdict = Verdict::Intact;
        for owner in Owner::all() {
            if self.accounts.correct(owner, frames[owner.index()]) {
                verdict = Verdict::Rebuilt;
            }
        }
        verdict
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
        let freed = self
            .owners
            .charged_to(owner)
            .map(|holding| self.free_held(holding))
            .sum();
        self.owners.forget(owner);
        freed
    }

    /// Frees a block if it is still in hand.
    fn free_held(
        &self,
        Holding {
            first, order, of, ..
        }: Holding,
    ) -> u64 {
        self.pinned(|runner| {
            self.zone.with(runner, |zone| {
                let Ok(owner) = self.owners.release(first, order, of) else {
                    return 0;
                };
                self.accounts.discharge(owner, order.frames());
                zone.give_back(first, order);
                order.frames()
            })
        })
    }
}

#[cfg(test)]
impl<C: LocalCpu> MemoryManager<C> {
    /// Runs `section` with the first CPU's cache and the zone, as `runner`.
    pub(in crate::memory) fn in_both_locks(
        &self,
        runner: Owner,
        section: impl FnOnce(&mut CpuCache, &mut Zone),
    ) {
        let in_zone = |cache: &mut CpuCache| self.zone.with(runner, |zone| section(cache, zone));
        self.caches[0].with(runner, in_zone);
    }

    /// The first half of an allocation.
    pub(in crate::memory) fn charge_without_block(&self, owner: Owner, frames: u64) {
        self.accounts.charge_beyond_quota(owner, frames);
    }
}
