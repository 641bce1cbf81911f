//! What the heap does after an owner's death: releases what the dead one held the lock of, and forgets its arena.
//!
//! There is little to put right. Nobody but its owner is ever inside an arena, and the kernel, whose arena takes a lock, does
//! not die: what a death can cut short in somebody else's memory is a free into an inbox, and a visit to the boot arena.
#![allow(unsafe_code, reason = "its caller promises that an owner is dead")]

use super::super::accounts::Owner;
use super::super::local_cpu::LocalCpu;
use super::super::lock::Verdict;
use super::KernelHeap;

impl<C: LocalCpu> KernelHeap<C> {
    /// Releases the locks of inboxes that `dead` held.
    ///
    /// # Safety
    /// Nothing runs as `dead`, nor will before this returns.
    pub(in crate::memory) unsafe fn recover(&self, dead: Owner) -> Verdict {
        let mut verdict = self.boot.verify(dead);
        for arena in &self.arenas {
            // SAFETY: this function's contract is the one asked for.
            verdict = verdict.max(self.cpu.pinned(|| unsafe { arena.inbox.recover(dead) }));
        }
        verdict
    }

    /// Forgets the arena of `dead`. Its frames stay charged to it, for the frame source to free.
    ///
    /// # Safety
    /// Nothing runs as `dead`, nor will before this returns.
    ///
    /// # Panics
    /// If it is the kernel's.
    pub(in crate::memory) unsafe fn abandon(&self, dead: Owner) {
        assert_ne!(dead, Owner::KERNEL, "the kernel's arena is never abandoned");
        self.abandonments.increment();
        let arena = self.arena(dead);
        // SAFETY: this function's contract is the one asked for.
        self.cpu
            .pinned(|| unsafe { arena.inbox.abandon(dead, || arena.abandon()) });
    }
}
