//! What the memory manager asks of the CPU it runs on: its number, for whom it runs, the time, and not to be
//! preempted for a while.
//!
//! The page caches are per CPU, and code that spins for a lock must not have preempted its holder: so every
//! critical section runs with preemption disabled. Interrupt handlers take no lock and may come. The kernel
//! implements this over the CPU's block, tests over thread-local numbers.

use super::accounts::Owner;

/// Whether preemption was disabled already, to be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreemptionState(pub u32);

/// The CPU that runs the caller.
pub trait LocalCpu: Sync {
    /// Its number: below the count of CPUs that the memory manager was built for, and the same from
    /// [`LocalCpu::disable_preemption`] to the matching restore.
    fn current(&self) -> usize;

    /// The owner of the code that runs on it: who is charged for what is allocated.
    fn owner(&self) -> Owner;

    /// Disables preemption on this CPU and returns the state as it was before. Calls nest.
    fn disable_preemption(&self) -> PreemptionState;

    /// Ticks of a counter that runs at one speed, on every CPU the same; as cheap as it can be read.
    fn ticks(&self) -> u64;

    /// How long so many ticks are, in nanoseconds.
    fn nanos(&self, ticks: u64) -> u64;

    /// Instructions that it has retired, modulo 2^32; 0 where nobody counts them.
    #[cfg(feature = "alloc-trace")]
    fn retired(&self) -> u32 {
        0
    }

    /// Puts back the state that the matching [`LocalCpu::disable_preemption`] returned.
    fn restore_preemption(&self, before: PreemptionState);

    /// Has CPU number `cpu`, another one, call `obey` ([`super::MemoryManager::obey`]) soon, if it is up.
    fn ask(&self, cpu: usize, obey: &dyn Fn());

    /// Runs `section` with preemption disabled.
    #[inline(always)]
    fn pinned<R>(&self, section: impl FnOnce() -> R) -> R
    where
        Self: Sized,
    {
        let before = self.disable_preemption();
        let result = section();
        self.restore_preemption(before);
        result
    }
}
