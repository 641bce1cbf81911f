//! The boot arena: the heap's memory until there are frames, run by the crate buddy_system_allocator.
//!
//! Always true: the crate is given each layout rounded up to the power of two it takes anyway, so an object may
//! grow within that without the crate's books going wrong. Its free walks the list of free objects of that
//! size, which is short: only boot allocates here.
#![allow(unsafe_code, reason = "hands raw memory to the crate and back")]

use super::super::accounts::Owner;
use super::super::lock::{Lock, Verdict};
use buddy_system_allocator::Heap;
use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Orders of the crate's heap: blocks up to 2^30 bytes, more than any boot arena.
const ORDERS: usize = 31;

/// The arena, empty and at no address until [`BootArena::init`].
pub(super) struct BootArena {
    heap: Lock<(Heap<ORDERS>, BootStats)>,
    start: AtomicUsize,
    len: AtomicUsize,
}

/// What the arena has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BootStats {
    /// Bytes of live objects, as rounded up.
    pub(super) used_bytes: u64,
    /// Objects handed out since boot.
    pub(super) allocations: u64,
}

impl BootArena {
    pub(super) const fn new() -> Self {
        let stats = BootStats {
            used_bytes: 0,
            allocations: 0,
        };
        Self {
            heap: Lock::new((Heap::new(), stats)),
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
        }
    }

    /// Hands the arena its memory.
    ///
    /// # Panics
    /// If it has some already.
    ///
    /// # Safety
    /// The memory is readable and writable, and nothing else uses it from now on.
    pub(super) unsafe fn init(&self, runner: Owner, start: usize, len: usize) {
        self.heap.with(runner, |heap| {
            assert_eq!(
                self.len.load(Relaxed),
                0,
                "the boot arena is handed over once"
            );
            // SAFETY: this function's contract is what the crate asks, and nothing was added before.
            unsafe { heap.0.init(start, len) };
        });
        // Relaxed: other CPUs start after this, and see objects only through what hands them over.
        self.start.store(start, Relaxed);
        self.len.store(len, Relaxed);
    }

    /// True if it was handed no memory.
    pub(super) fn is_empty(&self) -> bool {
        self.len.load(Relaxed) == 0
    }

    /// True if `object` lies in the arena.
    pub(super) fn contains(&self, object: *mut u8) -> bool {
        object.addr().wrapping_sub(self.start.load(Relaxed)) < self.len.load(Relaxed)
    }

    /// An object of `layout`, if there is room.
    pub(super) fn allocate(&self, runner: Owner, layout: Layout) -> Option<NonNull<u8>> {
        let layout = taken_by(layout)?;
        self.heap.with(runner, |heap| {
            let object = heap.0.alloc(layout).ok()?;
            heap.1.used_bytes += layout.size() as u64;
            heap.1.allocations += 1;
            Some(object)
        })
    }

    /// Takes an object back.
    ///
    /// # Safety
    /// It came from [`BootArena::allocate`] with a layout that takes the same, and is not used any more.
    pub(super) unsafe fn free(&self, runner: Owner, object: *mut u8, layout: Layout) {
        let layout = taken_by(layout).expect("an object of this layout was handed out");
        let object = NonNull::new(object).expect("an object in the arena");
        self.heap.with(runner, |heap| {
            // SAFETY: by this function's contract the crate gave the object out, with this rounded layout.
            unsafe { heap.0.dealloc(object, layout) };
            heap.1.used_bytes -= layout.size() as u64;
        });
    }

    /// Lost if `dead` died inside: nobody but the crate knows its lists.
    pub(super) fn verify(&self, dead: Owner) -> Verdict {
        if self.heap.is_held_by(dead) {
            return Verdict::Lost;
        }
        Verdict::Intact
    }

    #[cfg(test)]
    pub(super) fn die_inside(&self, runner: Owner) {
        self.heap.with(runner, |_| panic!("dies here"));
    }

    pub(super) fn stats(&self, runner: Owner) -> BootStats {
        self.heap.with(runner, |heap| heap.1)
    }
}

/// What the crate takes for an object of `layout`: a power of two, aligned to itself.
pub(super) fn taken_by(layout: Layout) -> Option<Layout> {
    let size = layout
        .size()
        .max(layout.align())
        .max(size_of::<usize>())
        .checked_next_power_of_two()?;
    Layout::from_size_align(size, size).ok()
}
