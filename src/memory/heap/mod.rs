//! The kernel heap: the image's global allocator.
//!
//! Small objects (up to 2 KiB) come from slabs, one size a slab (`slab`); larger ones are whole blocks of frames.
//! Until frames are there, everything comes from the boot arena, a stretch of the image's own memory run by the
//! crate buddy_system_allocator; boot objects go back there whenever they are freed, told by their address.
//! The crate stays out of the long run because its free walks a list as long as there are free objects.
//!
//! Always true: an object's place follows from its address (boot arena or not) and its layout (class or
//! order), so nothing is stored about it; exhaustion is a null pointer and a count, never a panic.
//!
//! Flow: `alloc` picks the class, takes its lock with interrupts masked and pops an object; an empty class takes a
//! slab from the [`FrameSource`]. So interrupt handlers may allocate, though they should not: a slab may have
//! to be fetched. Code that runs because a panic interrupted the heap must not allocate at all.
//!
//! Limits: no object above 4 MiB, the largest block; a block's unused end is lost to its owner.
#![allow(unsafe_code, reason = "a global allocator deals in raw memory")]

mod boot;
mod report;
mod slab;
#[cfg(test)]
mod tests;

use super::frames::{FrameSource, Order, Pfn};
use super::local_cpu::LocalCpu;
use crate::metrics::{Counter, Gauge};
use boot::BootArena;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull, null_mut};
use slab::{CLASS_BYTES, Class};
use spin::{Mutex, Once};

/// The heap. The image declares one as its `#[global_allocator]`.
pub struct KernelHeap<C> {
    boot: BootArena,
    frames: Once<&'static dyn FrameSource>,
    classes: [Mutex<Class>; CLASS_BYTES.len()],
    large_allocations: Counter,
    large_bytes: Gauge,
    failures: Counter,
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
        let mut classes = [const { Mutex::new(Class::new(0)) }; CLASS_BYTES.len()];
        let mut i = 0;
        while i < classes.len() {
            classes[i] = Mutex::new(Class::new(i));
            i += 1;
        }
        Self {
            boot: BootArena::new(),
            frames: Once::new(),
            classes,
            large_allocations: Counter::new(),
            large_bytes: Gauge::new(),
            failures: Counter::new(),
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
        self.cpu.masked(|| unsafe { self.boot.init(start, len) });
    }

    /// Takes all further memory from `frames`; what the boot arena has given out stays there until freed.
    ///
    /// # Panics
    /// If it was called before.
    pub fn install(&self, frames: &'static dyn FrameSource) {
        assert!(
            !self.frames.is_completed(),
            "the heap has a frame source already"
        );
        self.frames.call_once(|| frames);
    }

    /// Bytes of live objects, rounded up to what each takes: all classes, large blocks and the boot arena.
    pub fn used_bytes(&self) -> u64 {
        let classes = self
            .classes
            .iter()
            .map(|class| self.cpu.masked(|| class.lock().used_bytes()));
        classes.sum::<u64>() + self.large_bytes.get() + self.boot_stats().used_bytes
    }

    /// Bytes of frames taken from the frame source: slabs and large blocks.
    pub fn committed_bytes(&self) -> u64 {
        let classes = self
            .classes
            .iter()
            .map(|class| self.cpu.masked(|| class.lock().committed_bytes()));
        classes.sum::<u64>() + self.large_bytes.get()
    }

    /// Requests refused.
    pub fn failures(&self) -> u64 {
        self.failures.get()
    }

    fn boot_stats(&self) -> boot::BootStats {
        self.cpu.masked(|| self.boot.stats())
    }

    /// An object of `layout`, if there is memory for it.
    fn take(&self, layout: Layout) -> Option<NonNull<u8>> {
        let Some(&frames) = self.frames.get() else {
            return self.cpu.masked(|| self.boot.allocate(layout));
        };
        let room = room_for(layout)?;
        self.take_from(frames, room).or_else(|| {
            self.give_back_spares(frames);
            self.take_from(frames, room)
        })
    }

    fn take_from(&self, frames: &dyn FrameSource, room: Room) -> Option<NonNull<u8>> {
        match room {
            Room::Slab(class) => self
                .cpu
                .masked(|| self.classes[class].lock().allocate(frames)),
            Room::Block(order) => {
                let first = frames.allocate(order).ok()?;
                self.large_allocations.increment();
                self.large_bytes.add(order.bytes() as u64);
                NonNull::new(ptr::with_exposed_provenance_mut(first.address()))
            }
        }
    }

    /// Gives the empty slabs that the classes keep back to the frame source.
    fn give_back_spares(&self, frames: &dyn FrameSource) {
        for class in &self.classes {
            self.cpu.masked(|| class.lock().give_back_spare(frames));
        }
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
            return self
                .cpu
                .masked(|| unsafe { self.boot.free(object, layout) });
        }
        let frames = *self
            .frames
            .get()
            .expect("objects outside the boot arena come from frames");
        match room_for(layout).expect("an object of this layout was handed out") {
            Room::Slab(class) => {
                // SAFETY: the caller had this object from `alloc` with this layout, so from a slab of `class`.
                self.cpu
                    .masked(|| unsafe { self.classes[class].lock().free(object, frames) });
            }
            Room::Block(order) => {
                self.large_bytes.sub(order.bytes() as u64);
                frames
                    .free(Pfn::containing(object.addr()), order)
                    .expect("a large object is freed once, with the layout it was allocated with");
            }
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
    // A block is aligned to its size.
    Order::for_bytes(layout.size().max(layout.align())).map(Room::Block)
}
