//! Frames from the host's heap, counted, and refused when a test says so.
#![allow(unsafe_code, reason = "test memory from the host's allocator")]

use super::Parcels;
use crate::bus::{Charge, Owner};
use crate::error::{Error, Kind, Result, Subsystem};
use crate::memory::frames::{Block, FrameSource, Order, Pfn};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::alloc::Layout;

#[derive(Default)]
pub(in crate::net) struct TestFrames {
    out: AtomicU64,
    taken: AtomicU64,
    is_exhausted: AtomicBool,
}

impl TestFrames {
    /// Blocks in somebody's hands.
    pub(in crate::net) fn out(&self) -> u64 {
        self.out.load(Relaxed)
    }

    /// Blocks ever given out.
    pub(in crate::net) fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    pub(in crate::net) fn exhaust(&self, is_exhausted: bool) {
        self.is_exhausted.store(is_exhausted, Relaxed);
    }

    pub(in crate::net) fn parcels(&'static self, owner: u8) -> Parcels {
        Parcels {
            frames: self,
            charge: self,
            owner: Owner::from_low_bits(owner),
        }
    }
}

/// Parcels of frames that nobody counts.
pub(in crate::net) fn parcels() -> Parcels {
    let frames: &'static TestFrames = std::boxed::Box::leak(std::boxed::Box::default());
    frames.parcels(0)
}

fn layout(order: Order) -> Layout {
    Layout::from_size_align(order.bytes(), order.bytes()).expect("a power of two")
}

// SAFETY: each block is an allocation of its own, aligned to its size, until it is freed.
unsafe impl FrameSource for TestFrames {
    fn allocate(&self, order: Order) -> Result<Pfn> {
        if self.is_exhausted.load(Relaxed) {
            let requested_bytes = order.bytes();
            let kind = Kind::OutOfMemory { requested_bytes };
            return Err(Error::new(Subsystem::Memory, kind));
        }
        self.out.fetch_add(1, Relaxed);
        self.taken.fetch_add(1, Relaxed);
        // SAFETY: the layout is not empty.
        let start = unsafe { std::alloc::alloc_zeroed(layout(order)) };
        Ok(Pfn::containing(start.expose_provenance()))
    }

    fn free(&self, first: Pfn, order: Order) -> Result<()> {
        self.out.fetch_sub(1, Relaxed);
        let start = std::ptr::with_exposed_provenance_mut(first.address());
        // SAFETY: `allocate` gave it out with the same layout.
        unsafe { std::alloc::dealloc(start, layout(order)) };
        Ok(())
    }

    fn free_frames(&self) -> u64 {
        0
    }

    fn total_frames(&self) -> u64 {
        0
    }
}

impl Charge for TestFrames {
    fn recharge(&self, _: &Block, _: Owner) {}
}
