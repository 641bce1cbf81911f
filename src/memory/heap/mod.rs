//! The kernel heap: the image's global allocator.
//!
//! Small objects (up to 2 KiB) come from slabs, one size a slab (`slab`); larger ones are whole blocks of frames.
//! Until frames are there, everything comes from the boot arena, a stretch of the image's own memory run by the
//! crate buddy_system_allocator; boot objects go back there whenever they are freed, told by their address.
//! The crate stays out of the long run because its free walks a list as long as there are free objects.
//!
//! Each owner has an arena of its own (`arena`): classes, slabs, large blocks. An allocation is made in the arena of
//! the owner that runs; a free goes to the arena that the object's slab names, whoever runs. When an owner dies
//! its arena is forgotten as a whole and the frames are freed by those who count them ([`super::reclaim()`]).
//!
//! Always true: an object's place follows from its address (boot arena or not) and its layout (class or
//! order), so nothing is stored about it; exhaustion is a null pointer and a count, never a panic. A slab and the
//! large objects of an arena are charged to its owner.
//!
//! Flow: `alloc` picks the class, takes its lock with preemption disabled and pops an object; an empty class takes a
//! slab from the frame source. Interrupt handlers must not allocate, nor code that runs because a panic
//! interrupted the heap.
//!
//! Limits: no object above 4 MiB, the largest block; a block's unused end is lost to its owner. A late free into an
//! abandoned arena is refused and counted as long as the object's frames have not been given out again as what
//! the free would be right for: an address does not say which of two owners it was given to.
#![allow(unsafe_code, reason = "a global allocator deals in raw memory")]

mod arena;
mod boot;
mod recovery;
mod report;
mod slab;
#[cfg(test)]
mod tests;

use super::accounts::Owner;
use super::frames::{Order, Pfn};
use super::local_cpu::LocalCpu;
use super::manager::{ChargedFrames, MemoryManager};
use crate::metrics::Counter;
use arena::Arena;
use boot::BootArena;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull, null_mut};
use slab::{CLASS_BYTES, Class};
use spin::Once;

/// The heap. The image declares one as its `#[global_allocator]`.
pub struct KernelHeap<C> {
    boot: BootArena,
    frames: Once<&'static dyn ChargedFrames>,
    arenas: [Arena; Owner::COUNT],
    failures: Counter,
    abandonments: Counter,
    late_frees: Counter,
    cpu: C,
}

/// Where an object of some layout lives, once frames are there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    /// In a slab of that class.
    Slab(usize),
    /// In a block of its own.
    Block(Order),
}

impl<C: LocalCpu> KernelHeap<C> {
    /// A heap without memory, on the CPUs that `cpu` speaks for.
    pub const fn new(cpu: C) -> Self {
        Self {
            boot: BootArena::new(),
            frames: Once::new(),
            arenas: [const { Arena::empty() }; Owner::COUNT],
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
    /// frames of the source that is installed later.
    pub unsafe fn init_boot(&self, start: usize, len: usize) {
        // SAFETY: this function's contract is the one asked for.
        self.pinned(|runner| unsafe { self.boot.init(runner, start, len) });
    }

    /// Takes all further memory from `frames`; what the boot arena has given out stays there until freed.
    ///
    /// # Panics
    /// If it was called before.
    pub fn install<M: LocalCpu>(&self, frames: &'static MemoryManager<M>) {
        self.install_frames(frames);
    }

    fn install_frames(&self, frames: &'static dyn ChargedFrames) {
        assert!(
            !self.frames.is_completed(),
            "the heap has a frame source already"
        );
        // Until now all objects came from the boot arena.
        for owner in Owner::all() {
            self.pinned(|runner| self.arena(owner).begin(runner, owner));
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
        self.sum_of(owner, Class::used_bytes) + self.arena(owner).large_bytes.get()
    }

    /// Bytes of frames taken from the frame source: slabs and large blocks.
    pub fn committed_bytes(&self) -> u64 {
        let arenas = Owner::all().map(|owner| {
            self.sum_of(owner, Class::committed_bytes) + self.arena(owner).large_bytes.get()
        });
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

    /// The sum over the classes of an arena.
    fn sum_of(&self, owner: Owner, value: fn(&Class) -> u64) -> u64 {
        if !self.is_in_use(owner) {
            return 0;
        }
        let classes = 0..CLASS_BYTES.len();
        classes
            .map(|class| self.value_of(owner, class, value))
            .sum()
    }

    fn value_of(&self, owner: Owner, class: usize, value: fn(&Class) -> u64) -> u64 {
        let class = &self.arena(owner).classes[class];
        self.pinned(|runner| class.with(runner, |class| value(class)))
    }

    /// False if the arena of `owner` never had anything.
    fn is_in_use(&self, owner: Owner) -> bool {
        self.frames
            .get()
            .is_some_and(|frames| frames.was_ever_charged(owner))
    }

    #[inline]
    fn arena(&self, owner: Owner) -> &Arena {
        &self.arenas[owner.index()]
    }

    /// Runs `section` with preemption disabled, and the owner that runs.
    #[inline(always)]
    fn pinned<R>(&self, section: impl FnOnce(Owner) -> R) -> R {
        self.cpu.pinned(|| section(self.cpu.owner()))
    }

    /// An object of `layout`, if there is memory for it.
    #[inline]
    fn take(&self, layout: Layout) -> Option<NonNull<u8>> {
        let Some(&frames) = self.frames.get() else {
            return self.pinned(|runner| self.boot.allocate(runner, layout));
        };
        if let Some(class) = slab::class_for(layout) {
            return self
                .take_small(frames, class)
                .or_else(|| self.take_after_giving_back(frames, Room::Slab(class)));
        }
        let order = order_for(layout)?;
        self.take_large(frames, order)
            .or_else(|| self.take_after_giving_back(frames, Room::Block(order)))
    }

    /// An object that is there only once the empty slabs that the classes keep are given back.
    #[cold]
    #[inline(never)]
    fn take_after_giving_back(
        &self,
        frames: &dyn ChargedFrames,
        room: Room,
    ) -> Option<NonNull<u8>> {
        self.give_back_spares(frames);
        match room {
            Room::Slab(class) => self.take_small(frames, class),
            Room::Block(order) => self.take_large(frames, order),
        }
    }

    #[inline(always)]
    fn take_small(&self, frames: &dyn ChargedFrames, class: usize) -> Option<NonNull<u8>> {
        self.pinned(|runner| {
            let class = &self.arena(runner).classes[class];
            class.with(runner, |class| class.allocate(frames))
        })
    }

    fn take_large(&self, frames: &dyn ChargedFrames, order: Order) -> Option<NonNull<u8>> {
        let first = frames.allocate(order).ok()?;
        let arena = self.arena(self.cpu.owner());
        arena.large_allocations.increment();
        arena.large_bytes.add(order.bytes() as u64);
        NonNull::new(ptr::with_exposed_provenance_mut(first.address()))
    }

    /// Gives the empty slabs that the classes keep, of the running owner and of the kernel, back to the frame source.
    #[cold]
    fn give_back_spares(&self, frames: &dyn ChargedFrames) {
        for owner in [self.cpu.owner(), Owner::KERNEL] {
            for class in &self.arena(owner).classes {
                self.pinned(|runner| class.with(runner, |class| class.give_back_spare(frames)));
            }
        }
    }

    /// Refuses the free of an object that lies in no slab of the class; `stamp` is what was found.
    #[cold]
    fn refuse_small(&self, object: *mut u8, class: usize, stamp: u64) {
        let arena = self.arena(slab::owner_of(stamp));
        let is_other_size = slab::is_stamp(stamp)
            && self.pinned(|runner| {
                arena.classes[class].with(runner, |class| class.is_of_this_generation(stamp))
            });
        self.refuse(object, CLASS_BYTES[class], is_other_size);
    }

    /// Refuses a free that fits nothing. It came too late if an owner's arena was abandoned; else it is a bug.
    ///
    /// # Panics
    /// If it is a bug.
    #[cold]
    fn refuse(&self, object: *mut u8, what: usize, is_bug: bool) {
        assert!(
            !is_bug && self.abandonments.get() > 0,
            "{object:p} is no object of {what} bytes"
        );
        self.late_frees.increment();
    }

    /// True if an object of `layout` at `object` may become `new_size` bytes long where it is.
    fn has_room(&self, object: *mut u8, layout: Layout, new_size: usize) -> bool {
        let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else {
            return false;
        };
        if self.boot.contains(object) {
            return boot::taken_by(layout) == boot::taken_by(new_layout);
        }
        room_for(layout) == room_for(new_layout)
    }
}

// SAFETY: objects are disjoint: the boot arena's crate heap, each slab and the frame source see to that for
// their own memory, and the three do not overlap by the contracts of `init_boot` and `FrameSource`. Each is as
// large and aligned as its layout asks: `room_for` and `boot::taken_by` round up to that. Nothing unwinds
// but on a bug, which stops the image.
unsafe impl<C: LocalCpu> GlobalAlloc for KernelHeap<C> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            Some(object) => object.as_ptr(),
            None => {
                self.failures.increment();
                null_mut()
            }
        }
    }

    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        if self.boot.contains(object) {
            // SAFETY: the caller had this object from `alloc` with this layout, and its address says it came
            // from the boot arena.
            return self.pinned(|runner| unsafe { self.boot.free(runner, object, layout) });
        }
        let frames = *self
            .frames
            .get()
            .expect("objects outside the boot arena come from frames");
        match room_for(layout).expect("an object of this layout was handed out") {
            Room::Slab(class) => {
                // SAFETY: the caller had this object from `alloc`.
                let slab = unsafe { slab::slab_around(object, class) };
                // SAFETY: an object comes from a frame, and frames stay readable for ever.
                let stamp = unsafe { slab::stamp_at(slab) };
                let arena = self.arena(slab::owner_of(stamp));
                let is_freed = self.pinned(|runner| {
                    arena.classes[class].with(runner, |class| {
                        // SAFETY: the caller had this object from `alloc` with this layout, so from a slab of `class`.
                        unsafe { class.free(slab, object, runner, frames) }
                    })
                });
                if !is_freed {
                    self.refuse_small(object, class, stamp);
                }
            }
            Room::Block(order) => match frames.free_block(Pfn::containing(object.addr()), order) {
                Ok(owner) => self.arena(owner).large_bytes.sub(order.bytes() as u64),
                Err(_) => self.refuse(object, order.bytes(), false),
            },
        }
    }

    unsafe fn realloc(&self, object: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if self.has_room(object, layout, new_size) {
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

/// Where an object of `layout` lives; `None` if no block is large enough.
fn room_for(layout: Layout) -> Option<Room> {
    if let Some(class) = slab::class_for(layout) {
        return Some(Room::Slab(class));
    }
    order_for(layout).map(Room::Block)
}

/// The order of a block for `layout`: a block is aligned to its size.
fn order_for(layout: Layout) -> Option<Order> {
    Order::for_bytes(layout.size().max(layout.align()))
}
