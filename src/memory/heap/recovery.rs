//! What the heap does after an owner's death: puts right what the dead one held the lock of, and forgets its arena.

use super::super::accounts::Owner;
use super::super::local_cpu::LocalCpu;
use super::super::lock::Verdict;
use super::KernelHeap;

impl<C: LocalCpu> KernelHeap<C> {
    /// Verifies the classes of other arenas that `dead` held the locks of, and releases these.
    ///
    /// # Safety
    /// Nothing runs as `dead`, nor will before this returns. The frame source has been recovered.
    pub(in crate::memory) unsafe fn recover(&self, dead: Owner) -> Verdict {
        let mut verdict = self.boot.verify(dead);
        let Some(&frames) = self.frames.get() else {
            return verdict;
        };
        for class in Owner::all()
            .filter(|&owner| owner != dead)
            .flat_map(|owner| &self.arena(owner).classes)
            .filter(|class| class.is_held_by(dead))
        {
            // SAFETY: this function's contract is the one asked for.
            let verify = || unsafe { class.seize(dead) }.verify(frames);
            verdict = verdict.max(self.cpu.pinned(verify));
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
        for class in &arena.classes {
            // SAFETY: this function's contract is the one asked for.
            self.cpu.pinned(|| unsafe { class.seize(dead) }.abandon());
        }
        arena.large_bytes.set(0);
    }
}
