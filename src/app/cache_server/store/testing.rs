//! A frame source for host tests: blocks from the host's allocator, up to a limit.
#![expect(
    unsafe_code,
    reason = "a frame source promises memory, and takes it from the host"
)]

use super::budget::out_of_memory;
use crate::error::test_heap::uncounted;
use crate::error::{Error, Kind, Result, Subsystem};
use crate::memory::frames::{FrameSource, Order, PAGE_SIZE, Pfn};
use std::alloc::{GlobalAlloc as _, Layout, System};
use std::boxed::Box;
use std::collections::HashMap;
use std::sync::Mutex;

pub(in crate::app) use crate::error::test_heap::heap_requests;

struct HostFrames {
    frames: u64,
    live: Mutex<HashMap<u64, u8>>,
}

/// What blocks hold when they are given out.
pub(in crate::app) const STALE: u8 = 0xa5;

/// A source of `bytes` in all, leaked for the test's life.
pub(in crate::app) fn host_frames(bytes: u64) -> &'static dyn FrameSource {
    let frames = bytes / PAGE_SIZE as u64;
    Box::leak(Box::new(HostFrames {
        frames,
        live: Mutex::new(HashMap::new()),
    }))
}

fn layout(order: Order) -> Layout {
    Layout::from_size_align(order.bytes(), order.bytes()).expect("a power of two")
}

// SAFETY: each block is a live allocation of the host's, of the order's size and alignment, which nothing
// else uses until `free` finds it in `live` with the same order.
unsafe impl FrameSource for HostFrames {
    fn allocate(&self, order: Order) -> Result<Pfn> {
        let free = self.free_frames();
        let mut live = self.live.lock().expect("no test panics with the lock held");
        if order.frames() > free {
            return Err(out_of_memory(order.bytes()));
        }
        // SAFETY: the layout's size is not 0. Past the counting heap: it is not asked for by the tested.
        let start = unsafe { System.alloc(layout(order)) };
        // SAFETY: it was just given out, of that size. What it held before is the same in each run.
        unsafe { start.write_bytes(STALE, order.bytes()) };
        let first = Pfn::containing(start as usize);
        uncounted(|| live.insert(first.0, order.get()));
        Ok(first)
    }

    fn free(&self, first: Pfn, order: Order) -> Result<()> {
        let mut live = self.live.lock().expect("no test panics with the lock held");
        if live.remove(&first.0) != Some(order.get()) {
            let kind = Kind::BadFree {
                frame: first.0,
                order: order.get(),
            };
            return Err(Error::new(Subsystem::Memory, kind));
        }
        // SAFETY: `live` held it, so `allocate` got it from the host with this layout.
        unsafe { System.dealloc(first.address() as *mut u8, layout(order)) };
        Ok(())
    }

    fn free_frames(&self) -> u64 {
        let live = self.live.lock().expect("no test panics with the lock held");
        self.frames - live.values().map(|&order| 1 << order).sum::<u64>()
    }

    fn total_frames(&self) -> u64 {
        self.frames
    }
}
