//! A global allocator that refuses some.
#![allow(
    unsafe_code,
    reason = "it hands on what another global allocator gives out"
)]

use super::group::Group;
use crate::error::note_refused;
use core::alloc::{GlobalAlloc, Layout};
use core::ops::Deref;
use core::ptr;
use spin::Once;

/// What an allocator asks before it gives memory out.
pub struct HeapFaults {
    /// Its points: the first is that of an allocation, with space in bytes.
    pub group: &'static Group,
    /// Which of the point's targets runs; any other number for none.
    pub target: fn() -> usize,
}

/// The allocator. A global, as the language's has to be: its points come to it later ([`FaultyHeap::attach`]).
pub struct FaultyHeap<H> {
    faults: Once<HeapFaults>,
    inner: H,
}

impl<H> FaultyHeap<H> {
    /// An allocator that hands on what `inner` gives out.
    pub const fn new(inner: H) -> Self {
        Self {
            faults: Once::new(),
            inner,
        }
    }

    /// Has it ask `faults` from now on. Called once.
    pub fn attach(&self, faults: HeapFaults) {
        self.faults.call_once(|| faults);
    }

    #[inline(always)]
    fn refuses(&self, bytes: usize) -> bool {
        match self.faults.get() {
            Some(faults) if faults.group.is_armed() => faults.refuse(bytes),
            _ => false,
        }
    }
}

impl HeapFaults {
    #[cold]
    #[inline(never)]
    fn refuse(&self, bytes: usize) -> bool {
        let fires = self.group.fires_at(0, (self.target)(), bytes as u64);
        if fires {
            note_refused(bytes);
        }
        fires
    }
}

/// What else there is to ask of the allocator behind it.
impl<H> Deref for FaultyHeap<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.inner
    }
}

// SAFETY: memory comes from a global allocator and goes back there; a refusal is a null pointer.
unsafe impl<H: GlobalAlloc> GlobalAlloc for FaultyHeap<H> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.refuses(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: our caller's promises are those asked for.
        unsafe { self.inner.alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        // SAFETY: as above; the object came from there.
        unsafe { self.inner.dealloc(object, layout) };
    }

    #[inline]
    unsafe fn realloc(&self, object: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if new_size > layout.size() && self.refuses(new_size) {
            return ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { self.inner.realloc(object, layout, new_size) }
    }
}
