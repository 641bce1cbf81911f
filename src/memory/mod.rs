//! The memory manager: frames, the per-CPU page cache in front of them, the heap.
//!
//! From the bottom up: `zone` is the buddy system over all of RAM, `page_cache` keeps a few blocks a CPU,
//! `manager` joins them into the image's [`frames::FrameSource`], and [`heap`] is the global allocator, which takes
//! its memory from there. [`accounts`] says which owner is charged for what, and [`reclaim()`] takes from a dead owner
//! what it still has. Boot calls [`heap::KernelHeap::init_boot`] first, since building a
//! [`MemoryManager`] allocates, then [`MemoryManager::new`], then [`heap::KernelHeap::install`].

pub mod accounts;
pub mod compaction;
mod copy;
pub mod frames;
pub mod heap;
mod local_cpu;
mod lock;
mod manager;
mod page_cache;
mod pressure;
mod reclaim;
mod report;
mod status;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;
#[cfg(feature = "alloc-trace")]
mod trace;
mod zone;

pub use copy::copy_short;
pub use local_cpu::{LocalCpu, PreemptionState};
pub use lock::Verdict;
pub use manager::{Account, MemoryManager, Mover};
pub use page_cache::PageCachePolicy;
pub use pressure::{Pressure, PressureListener, Watermarks};
pub use reclaim::{Reclaimed, reclaim};
