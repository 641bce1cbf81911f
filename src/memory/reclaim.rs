//! Taking back what a dead owner held: its locks, its arena, its frames.
//!
//! Flow: the supervisor calls [`reclaim`] once the owner's code is stopped for good and its devices are quiet. Locks
//! come first, from the bottom up (frames, then heap), so that what verifies a structure can use those below
//! it; then the arena is forgotten, and every frame still charged to the owner is freed.
//!
//! Always true after it: the owner is charged for nothing, and every frame it was charged for is free. What it had
//! handed on was charged to others ([`MemoryManager::recharge`]) and is theirs.
//!
//! Costs: about two instructions for each frame of the chunks the owner ever had blocks in, and a visit to the
//! zone for each block. With a lock to take from the dead one, all memory's bytes are read once.
#![allow(unsafe_code, reason = "its caller promises that an owner is dead")]

use super::accounts::Owner;
use super::heap::KernelHeap;
use super::local_cpu::LocalCpu;
use super::lock::Verdict;
use super::manager::MemoryManager;

/// What came of a [`reclaim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reclaimed {
    /// The worst that was found in what the dead owner held the lock of. If something is lost nothing was freed, and
    /// the memory manager is not to be used any more.
    pub verdict: Verdict,
    /// Frames freed.
    pub frames: u64,
}

/// Takes back what `dead` held. `heap` takes its frames from `frames`.
///
/// # Panics
/// If the owner is the kernel.
///
/// # Safety
/// Nothing runs as `dead`, nor will before this returns; no device writes to memory charged to it, and nobody uses
/// that memory any more.
pub unsafe fn reclaim<C: LocalCpu, M: LocalCpu>(
    heap: &KernelHeap<C>,
    frames: &MemoryManager<M>,
    dead: Owner,
) -> Reclaimed {
    // SAFETY: this function's contract is the one asked for.
    let verdict = unsafe { frames.recover(dead) };
    // SAFETY: as above; the frame source has been recovered.
    let verdict = verdict.max(unsafe { heap.recover(dead) });
    if verdict == Verdict::Lost {
        return Reclaimed { verdict, frames: 0 };
    }
    // SAFETY: as above.
    unsafe { heap.abandon(dead) };
    Reclaimed {
        verdict,
        frames: frames.abandon(dead),
    }
}
