//! The memory manager: frames, the per-CPU page cache in front of them, the heap.

pub mod frames;
