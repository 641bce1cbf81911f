//! The kernel heap: the image's global allocator.
//!
//! Small objects (up to 4,080 bytes) come from slabs, one size a slab (`classes`, `slab`); larger ones are whole blocks of
//! frames. Until frames are there, everything comes from the boot arena, a stretch of the image's own memory run by the
//! crate buddy_system_allocator; boot objects go back there whenever they are freed, told by their address.
//! The crate stays out of the long run because its free walks a list as long as there are free objects.
//!
//! Each owner has an arena of its own (`arena`): classes, slabs, large blocks. An allocation is made in the arena of
//! the owner that runs; a free goes to the arena that the object's slab names, whoever runs: through its `inbox`, if that is
//! another's. When an owner dies its arena is forgotten as a whole and the frames are freed by those who count them
//! ([`super::reclaim()`]).
//!
//! Always true: an object's place follows from its address (boot arena or not) and its layout (class or
//! order), so nothing is stored about it; exhaustion is a null pointer and a count, never a panic. A slab and the
//! large objects of an arena are charged to its owner. Before a request is refused, the arena has given back what
//! none of its objects needs.
//!
//! Flow: `alloc` finds the class and takes the object that was freed last, `dealloc` puts it there, without a lock; all
//! else is in the slow half of either. Interrupt handlers must not allocate, nor code that runs because a panic
//! interrupted the heap.
//!
//! Limits: no object above 4 MiB, the largest block; a block's unused end is lost to its owner. A late free into an
//! abandoned arena is refused and counted as long as the object's frames have not been given out again as what
//! the free would be right for: an address does not say which of two owners it was given to. A second free is seen by
//! debug builds alone (`hardening`).
#![allow(unsafe_code, reason = "a global allocator deals in raw memory")]

mod arena;
mod boot;
mod class;
mod classes;
mod hardening;
mod inbox;
mod recovery;
mod report;
mod slab;
mod slow;
#[cfg(test)]
mod tests;

use super::accounts::Owner;
use super::frames::PAGE_SIZE;
use super::local_cpu::LocalCpu;
use super::lock::Lock;
use super::manager::{ChargedFrames, MemoryManager};
use crate::metrics::Counter;
use arena::Arena;
use boot::BootArena;
use class::Class;
use classes::{CLASSES, GRAIN, GRAINS, Room, room_for};
use core::alloc::{GlobalAlloc, Layout};
use core::ptr;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use hardening::RED_ZONE;
use spin::Once;

/// The heap. The image declares one as its `#[global_allocator]`.
// In this order: what every call looks at lies where the heap does.
#[repr(C)]
pub struct KernelHeap<C> {
    arenas: [Arena; Owner::COUNT],
    /// Classes by size in grains, rounded up. Written once, with the first memory.
    class_by_grains: [AtomicU8; GRAINS],
    /// Held by whoever is in the kernel's arena.
    kernel: Lock<()>,
    boot: BootArena,
    frames: Once<&'static dyn ChargedFrames>,
    failures: Counter,
    abandonments: Counter,
    late_frees: Counter,
    cpu: C,
}

impl<C: LocalCpu> KernelHeap<C> {
    /// A heap without memory, on the CPUs that `cpu` speaks for.
    pub const fn new(cpu: C) -> Self {
        Self {
            arenas: [const { Arena::empty() }; Owner::COUNT],
            class_by_grains: [const { AtomicU8::new(0) }; GRAINS],
            kernel: Lock::new(()),
            boot: BootArena::new(),
            frames: Once::new(),
            failures: Counter::new(),
            abandonments: Counter::new(),
            late_frees: Counter::new(),
            cpu,
        }
    }

    /// Hands over the memory that serves until [`KernelHeap::install`]: `len` bytes at `start`.
    ///
    /// # Panics
    /// If it was called before.
    ///
    /// # Safety
    /// The memory is readable and writable, and nothing else uses it from now on. It is not among the
    /// frames of the source that is installed later. Its page-aligned start has as much before it that can be read as the
    /// largest slab has bytes, or is aligned to that.
    pub unsafe fn init_boot(&self, start: usize, len: usize) {
        // SAFETY: this function's contract is the one asked for.
        self.pinned(|runner| unsafe { self.boot.init(runner, start, len) });
        let mut class = 0;
        for (grains, place) in self.class_by_grains.iter().enumerate() {
            if grains * GRAIN > classes::bytes_of(class) {
                class += 1;
            }
            place.store(class as u8, Relaxed);
        }
        // So that a free as the kernel, whose list is always full, takes the slow way from now on.
        self.arena(Owner::KERNEL).begin(Owner::KERNEL, 0);
    }

    /// Takes all further memory from `frames`; what the boot arena has given out stays there until freed.
    ///
    /// # Panics
    /// If it was called before, or [`KernelHeap::init_boot`] was not.
    pub fn install<M: LocalCpu>(&self, frames: &'static MemoryManager<M>) {
        self.install_frames(frames);
    }

    fn install_frames(&self, frames: &'static dyn ChargedFrames) {
        assert!(
            !self.frames.is_completed(),
            "the heap has a frame source already"
        );
        assert!(!self.boot.is_empty(), "boot memory comes first");
        // Until now all objects came from the boot arena.
        let bytes = frames.total_frames() * PAGE_SIZE as u64;
        for owner in Owner::all() {
            self.arena(owner).begin(owner, bytes);
        }
        self.frames.call_once(|| frames);
    }

    /// Bytes of live objects, rounded up to what each takes: all classes, large blocks and the boot arena.
    pub fn used_bytes(&self) -> u64 {
        let arenas = Owner::all().map(|owner| self.used_bytes_of(owner));
        arenas.sum::<u64>() + self.boot_stats().used_bytes
    }

    /// Bytes of live objects in the arena of `owner`, rounded up to what each takes.
    pub fn used_bytes_of(&self, owner: Owner) -> u64 {
        self.sum_of(owner, Class::used_bytes)
    }

    /// Bytes of frames taken from the frame source: slabs and large blocks.
    pub fn committed_bytes(&self) -> u64 {
        let arenas = Owner::all().map(|owner| self.sum_of(owner, Class::committed_bytes));
        arenas.sum()
    }

    /// Frees refused because the object had gone with its owner's arena.
    pub fn late_frees(&self) -> u64 {
        self.late_frees.get()
    }

    /// Requests refused.
    pub fn failures(&self) -> u64 {
        self.failures.get()
    }

    fn boot_stats(&self) -> boot::BootStats {
        self.pinned(|runner| self.boot.stats(runner))
    }

    /// The sum over the classes of an arena, with its large objects.
    fn sum_of(&self, owner: Owner, value: fn(&Class) -> u64) -> u64 {
        if !self.is_in_use(owner) {
            return 0;
        }
        let arena = self.arena(owner);
        arena.classes().map(value).sum::<u64>() + arena.large_bytes.get()
    }

    /// False if the arena of `owner` never had anything.
    fn is_in_use(&self, owner: Owner) -> bool {
        self.frames
            .get()
            .is_some_and(|frames| frames.was_ever_charged(owner))
    }

    #[inline(always)]
    fn arena(&self, owner: Owner) -> &Arena {
        &self.arenas[owner.index()]
    }

    /// Runs `section` with preemption disabled, and the owner that runs.
    #[inline(always)]
    fn pinned<R>(&self, section: impl FnOnce(Owner) -> R) -> R {
        self.cpu.pinned(|| section(self.cpu.owner()))
    }

    /// The class of the running owner that objects of `layout` are of, if it is one that needs no search.
    #[inline(always)]
    fn class_of(&self, layout: Layout) -> Option<&Class> {
        let index = self.index_of(layout)?;
        Some(self.arena(self.cpu.owner()).class(index))
    }

    /// The index of that class.
    #[inline(always)]
    fn index_of(&self, layout: Layout) -> Option<usize> {
        if layout.align() > GRAIN {
            return None;
        }
        // A layout is no longer than half the address space: this does not overflow.
        let grains = (layout.size() + RED_ZONE + (GRAIN - 1)) >> GRAIN.ilog2();
        let index = self.class_by_grains.get(grains)?.load(Relaxed).into();
        // SAFETY: the table is written with places of classes alone.
        unsafe { core::hint::assert_unchecked(index < CLASSES) };
        Some(index)
    }

    /// Where an object of `layout` lives; `None` if no block is large enough.
    fn room(&self, layout: Layout) -> Option<Room> {
        match self.index_of(layout) {
            Some(index) => Some(Room::Slab(index)),
            None => room_for(layout),
        }
    }
}

// SAFETY: objects are disjoint: the boot arena's crate heap, each slab and the frame source see to that for
// their own memory, and the three do not overlap by the contracts of `init_boot` and `FrameSource`. Each is as
// large and aligned as its layout asks: `room_for` and `boot::taken_by` round up to that. Nothing unwinds
// but on a bug, which stops the image.
unsafe impl<C: LocalCpu> GlobalAlloc for KernelHeap<C> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.class_of(layout).and_then(Class::pop) {
            Some(object) => self.handed_out(object, layout),
            None => self.alloc_slowly(layout.size(), layout.align()),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        if let Some(class) = self.class_of(layout) {
            // SAFETY: the caller had this object from `alloc` with this layout, and gives it up.
            if unsafe { class.push(object, layout.size()) } {
                return;
            }
        }
        // SAFETY: as above.
        unsafe { self.dealloc_slowly(object, layout.size(), layout.align()) };
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if let (Some(&frames), Some(Room::Block(order))) = (self.frames.get(), self.room(layout)) {
            return self.alloc_zeroed_block(frames, order);
        }
        // SAFETY: the caller's promise, passed on.
        let object = unsafe { self.alloc(layout) };
        if !object.is_null() {
            // SAFETY: it is as long as its layout says, and nobody else's.
            unsafe { object.write_bytes(0, layout.size()) };
        }
        object
    }

    unsafe fn realloc(&self, object: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if self.resize_in_place(object, layout, new_size) {
            return object;
        }
        // SAFETY: the caller promises that `new_size`, rounded up to the alignment, does not overflow `isize`.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: the caller promises that `new_size` is not 0.
        let new = unsafe { self.alloc(new_layout) };
        if !new.is_null() {
            // SAFETY: both are live objects of at least that many bytes, and distinct.
            unsafe { ptr::copy_nonoverlapping(object, new, layout.size().min(new_size)) };
            // SAFETY: the caller had `object` from `alloc` with `layout` and gives it up.
            unsafe { self.dealloc(object, layout) };
        }
        new
    }
}
