//! The heap of host tests: the host's own, which counts what each thread asks of it and refuses what it is told to.
#![allow(
    unsafe_code,
    reason = "a heap promises memory, and takes it from the host"
)]

use super::note_refused;
use core::cell::Cell;
use std::alloc::{GlobalAlloc, Layout, System};
use std::thread_local;

thread_local! {
    static REQUESTS: Cell<usize> = const { Cell::new(0) };
    static LARGEST_BYTES: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// What this thread asked of the heap so far.
pub(crate) fn heap_requests() -> usize {
    REQUESTS.get()
}

/// Runs what the test's own means ask of the heap.
pub(crate) fn uncounted<T>(run: impl FnOnce() -> T) -> T {
    let before = REQUESTS.get();
    let value = run();
    REQUESTS.set(before);
    value
}

/// Refuses this thread every block of more than `bytes` bytes from now on.
pub(crate) fn refuse_blocks_above(bytes: usize) {
    LARGEST_BYTES.set(bytes);
}

struct TestHeap;

#[global_allocator]
static HEAP: TestHeap = TestHeap;

// SAFETY: the host's heap does the work.
unsafe impl GlobalAlloc for TestHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        REQUESTS.set(REQUESTS.get() + 1);
        if layout.size() > LARGEST_BYTES.get() {
            note_refused(layout.size());
            return core::ptr::null_mut();
        }
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(start, layout) }
    }
}
