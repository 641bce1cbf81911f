//! The allocators that nos's memory manager is measured against, each behind a spin lock, as a kernel needs at least.
//!
//! Heaps get one stretch of memory; the frame allocator keeps frame numbers in the global heap's nodes. Each call is a
//! call: nothing of them is compiled into the loop that measures.
#![no_std]

use buddy_system_allocator::{FrameAllocator, Heap};
use core::alloc::Layout;
use core::ops::Range;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use dlmalloc::Dlmalloc;
use rlsf::Tlsf;
use spin::Mutex;
use talc::base::Talc;
use talc::{DefaultBinning, source::Manual};

/// Blocks of the buddy heap up to 2^31 bytes, and of the buddy frames up to 2^31 frames.
const ORDERS: usize = 32;

/// A heap that is measured.
pub trait PeerHeap: Sized {
    /// A heap over that memory.
    ///
    /// # Safety
    /// The memory is readable and writable, and nothing else uses it as long as the heap is there.
    unsafe fn new(memory: Range<usize>) -> Self;

    /// Memory for an object, or null.
    fn allocate(&self, layout: Layout) -> *mut u8;

    /// Takes an object back.
    ///
    /// # Safety
    /// It came from this heap, with this layout.
    unsafe fn free(&self, object: *mut u8, layout: Layout);
}

/// `buddy_system_allocator::Heap`, the plan's baseline.
pub struct BuddyHeap(Mutex<Heap<ORDERS>>);

impl PeerHeap for BuddyHeap {
    unsafe fn new(memory: Range<usize>) -> Self {
        let mut heap = Heap::new();
        // SAFETY: our caller gives the memory.
        unsafe { heap.init(memory.start, memory.len()) };
        Self(Mutex::new(heap))
    }

    #[inline(never)]
    fn allocate(&self, layout: Layout) -> *mut u8 {
        let object = self.0.lock().alloc(layout);
        object.map_or(null_mut(), NonNull::as_ptr)
    }

    #[inline(never)]
    unsafe fn free(&self, object: *mut u8, layout: Layout) {
        // SAFETY: our caller's promise, so it is not null.
        unsafe { self.0.lock().dealloc(NonNull::new_unchecked(object), layout) }
    }
}

/// `talc`, with its usual bins.
pub struct TalcHeap(Mutex<Talc<Manual, DefaultBinning>>);

impl PeerHeap for TalcHeap {
    unsafe fn new(memory: Range<usize>) -> Self {
        let mut talc = Talc::new(Manual);
        // SAFETY: our caller gives the memory.
        let claimed = unsafe { talc.claim(memory.start as *mut u8, memory.len()) };
        claimed.expect("it is large enough");
        Self(Mutex::new(talc))
    }

    #[inline(never)]
    fn allocate(&self, layout: Layout) -> *mut u8 {
        // SAFETY: no layout that is measured is of size zero.
        let object = unsafe { self.0.lock().allocate(layout) };
        object.map_or(null_mut(), NonNull::as_ptr)
    }

    #[inline(never)]
    unsafe fn free(&self, object: *mut u8, layout: Layout) {
        // SAFETY: our caller's promise.
        unsafe { self.0.lock().deallocate(object, layout) }
    }
}

/// `dlmalloc`, which gets all of its memory at once.
pub struct DlmallocHeap(Mutex<Dlmalloc<OneStretch>>);

/// Memory for [`DlmallocHeap`]: from `next` on, until it ends.
struct OneStretch {
    next: AtomicUsize,
    end: usize,
}

// SAFETY: each byte of the stretch is given out once.
unsafe impl dlmalloc::Allocator for OneStretch {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        let start = self.next.load(Relaxed);
        if self.end - start < size {
            return (null_mut(), 0, 0);
        }
        self.next.store(start + size, Relaxed);
        (start as *mut u8, size, 0)
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        null_mut()
    }

    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }

    fn free(&self, _: *mut u8, _: usize) -> bool {
        false
    }

    fn can_release_part(&self, _: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        false
    }

    fn page_size(&self) -> usize {
        4096
    }
}

impl PeerHeap for DlmallocHeap {
    unsafe fn new(memory: Range<usize>) -> Self {
        let stretch = OneStretch {
            next: AtomicUsize::new(memory.start),
            end: memory.end,
        };
        Self(Mutex::new(Dlmalloc::new_with_allocator(stretch)))
    }

    #[inline(never)]
    fn allocate(&self, layout: Layout) -> *mut u8 {
        // SAFETY: an allocation has no precondition but a valid layout.
        unsafe { self.0.lock().malloc(layout.size(), layout.align()) }
    }

    #[inline(never)]
    unsafe fn free(&self, object: *mut u8, layout: Layout) {
        // SAFETY: our caller's promise.
        unsafe { self.0.lock().free(object, layout.size(), layout.align()) }
    }
}

/// `rlsf`: two levels of free lists, 16 to a power of two.
pub struct RlsfHeap(Mutex<Tlsf<'static, u32, u16, 28, 16>>);

impl PeerHeap for RlsfHeap {
    unsafe fn new(memory: Range<usize>) -> Self {
        let mut tlsf = Tlsf::new();
        let start = NonNull::new(memory.start as *mut u8).expect("memory does not start at 0");
        let block = NonNull::slice_from_raw_parts(start, memory.len());
        // SAFETY: our caller gives the memory.
        let used = unsafe { tlsf.insert_free_block_ptr(block) };
        used.expect("it is large enough");
        Self(Mutex::new(tlsf))
    }

    #[inline(never)]
    fn allocate(&self, layout: Layout) -> *mut u8 {
        let object = self.0.lock().allocate(layout);
        object.map_or(null_mut(), NonNull::as_ptr)
    }

    #[inline(never)]
    unsafe fn free(&self, object: *mut u8, layout: Layout) {
        // SAFETY: our caller's promise, so it is not null.
        unsafe {
            let object = NonNull::new_unchecked(object);
            self.0.lock().deallocate(object, layout.align());
        }
    }
}

/// `buddy_system_allocator::FrameAllocator`: frame numbers alone, in trees.
pub struct BuddyFrames(Mutex<FrameAllocator<ORDERS>>);

impl BuddyFrames {
    /// An allocator of these frames.
    pub fn new(frames: Range<usize>) -> Self {
        let mut allocator = FrameAllocator::new();
        allocator.add_frame(frames.start, frames.end);
        Self(Mutex::new(allocator))
    }

    /// The first of so many frames.
    #[inline(never)]
    pub fn allocate(&self, count: usize) -> Option<usize> {
        self.0.lock().alloc(count)
    }

    /// Takes so many frames back.
    #[inline(never)]
    pub fn free(&self, first: usize, count: usize) {
        self.0.lock().dealloc(first, count);
    }
}
