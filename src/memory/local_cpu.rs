//! What the memory manager asks of the CPU it runs on: its number, the time, and to keep interrupts away for
//! a while.
//!
//! The page caches are per CPU and every lock of the memory manager may be taken in an interrupt handler, so
//! each critical section runs masked: a handler on the same CPU could otherwise wait for a lock that the code
//! it interrupted holds. The kernel implements this over the CPU's registers, tests over thread-local numbers.

/// The interrupt mask as it was, to be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptState(pub usize);

/// The CPU that runs the caller.
pub trait LocalCpu: Sync {
    /// Its number: below the count of CPUs that the memory manager was built for, and the same from
    /// [`LocalCpu::mask_interrupts`] to the matching restore.
    fn current(&self) -> usize;

    /// Masks interrupts on this CPU and returns the mask as it was before. Calls nest.
    fn mask_interrupts(&self) -> InterruptState;

    /// Puts back the mask that the matching [`LocalCpu::mask_interrupts`] returned.
    fn restore_interrupts(&self, before: InterruptState);

    /// Ticks of a counter that runs at one speed, on every CPU the same; as cheap as it can be read.
    fn ticks(&self) -> u64;

    /// How long so many ticks are, in nanoseconds.
    fn nanos(&self, ticks: u64) -> u64;

    /// Runs `section` with interrupts masked.
    fn masked<R>(&self, section: impl FnOnce() -> R) -> R
    where
        Self: Sized,
    {
        let before = self.mask_interrupts();
        let result = section();
        self.restore_interrupts(before);
        result
    }
}
