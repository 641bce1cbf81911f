//! The slow half of the heap's calls: an empty or a full list, objects of other arenas, of the boot arena and of blocks,
//! and what is refused.
#![allow(unsafe_code, reason = "a global allocator deals in raw memory")]

use super::super::accounts::Owner;
use super::super::frames::{BlockWord, Contents, Order, Pfn};
use super::super::local_cpu::LocalCpu;
use super::super::manager::ChargedFrames;
use super::arena::Arena;
use super::classes::{Room, bytes_of};
use super::{KernelHeap, boot, hardening, slab};
use crate::error::note_refused;
use core::alloc::Layout;
use core::ptr::{self, NonNull, null_mut};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Objects from the inbox that are put into their slabs in one call: what keeps a call short.
const TAKEN_IN_AT_ONCE: usize = 32;

impl<C: LocalCpu> KernelHeap<C> {
    /// [`super::GlobalAlloc::alloc`], if the class's list is empty. Size and alignment are those of a layout, in the order
    /// in which the language's allocator has them in registers.
    #[cold]
    #[inline(never)]
    pub(super) fn alloc_slowly(&self, size: usize, align: usize) -> *mut u8 {
        let layout = Layout::from_size_align(size, align).expect("taken from a layout");
        let object = match self.frames.get() {
            None => self.pinned(|runner| self.boot.allocate(runner, layout)),
            Some(&frames) => self.take(frames, layout),
        };
        self.answer(object, size)
    }

    /// A block of zeroes from the frame source.
    pub(super) fn alloc_zeroed_block(&self, frames: &dyn ChargedFrames, order: Order) -> *mut u8 {
        let take = || self.take_large(frames, order, Contents::Zero);
        let object = take().or_else(|| {
            self.give_back();
            take()
        });
        self.answer(object, order.bytes())
    }

    /// What a request for so many bytes is answered; a refusal is counted.
    fn answer(&self, object: Option<NonNull<u8>>, bytes: usize) -> *mut u8 {
        match object {
            Some(object) => object.as_ptr(),
            None => {
                self.failures.increment();
                note_refused(bytes);
                null_mut()
            }
        }
    }

    fn take(&self, frames: &dyn ChargedFrames, layout: Layout) -> Option<NonNull<u8>> {
        let room = self.room(layout)?;
        self.take_from(frames, room, layout).or_else(|| {
            self.give_back();
            self.take_from(frames, room, layout)
        })
    }

    fn take_from(
        &self,
        frames: &dyn ChargedFrames,
        room: Room,
        layout: Layout,
    ) -> Option<NonNull<u8>> {
        match room {
            Room::Slab(index) => {
                let object = self.in_own_arena(frames, |arena| arena.allocate(index, frames))?;
                self.handed_out(object, layout);
                Some(object)
            }
            Room::Block(order) => self.take_large(frames, order, Contents::Any),
        }
    }

    fn take_large(
        &self,
        frames: &dyn ChargedFrames,
        order: Order,
        contents: Contents,
    ) -> Option<NonNull<u8>> {
        let first = match contents {
            Contents::Any => frames.allocate(order).ok()?,
            Contents::Zero => {
                let place = AtomicU64::new(0);
                frames.allocate_zeroed_into(order, &place).ok()?;
                BlockWord(place.into_inner()).block()?.0
            }
        };
        let arena = self.arena(self.cpu.owner());
        arena.large_allocations.increment();
        arena.large_bytes.add(order.bytes() as u64);
        NonNull::new(ptr::with_exposed_provenance_mut(first.address()))
    }

    /// An object of a slab, looked at in debug builds as it is handed out.
    #[inline(always)]
    pub(super) fn handed_out(&self, object: NonNull<u8>, layout: Layout) -> *mut u8 {
        if cfg!(debug_assertions)
            && let Some(Room::Slab(index)) = self.room(layout)
        {
            // SAFETY: it was just taken, from a class that `layout` says.
            unsafe { hardening::hand_out(object, index, layout.size()) };
        }
        object.as_ptr()
    }

    /// [`super::GlobalAlloc::dealloc`], if the object does not go into the list of the running owner.
    ///
    /// # Safety
    /// As there.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn dealloc_slowly(&self, object: *mut u8, size: usize, align: usize) {
        let layout = Layout::from_size_align(size, align).expect("taken from a layout");
        if self.boot.contains(object) {
            // SAFETY: the caller had this object from `alloc` with this layout, and its address says it came
            // from the boot arena.
            return self.pinned(|runner| unsafe { self.boot.free(runner, object, layout) });
        }
        let frames = *self
            .frames
            .get()
            .expect("objects outside the boot arena come from frames");
        let object = NonNull::new(object).expect("an object");
        match self
            .room(layout)
            .expect("an object of this layout was handed out")
        {
            // SAFETY: this function's contract is the one asked for.
            Room::Slab(index) => unsafe { self.free_small(frames, object, index, layout.size()) },
            Room::Block(order) => {
                match frames.free_block(Pfn::containing(object.addr().get()), order) {
                    Ok(owner) => self.arena(owner).large_bytes.sub(order.bytes() as u64),
                    Err(_) => self.refuse(object, order.bytes(), false),
                }
            }
        }
    }

    /// # Safety
    /// The object was handed out by the heap, with a layout of that class and size, and is not used any more.
    unsafe fn free_small(
        &self,
        frames: &dyn ChargedFrames,
        object: NonNull<u8>,
        index: usize,
        size: usize,
    ) {
        let mask = self.arena(Owner::KERNEL).class(index).slab_mask();
        // SAFETY: the caller had this object from `alloc`.
        let stamp = unsafe { slab::stamp_around(object.as_ptr(), mask) };
        let owner = slab::owner_of(stamp);
        let is_freed = if owner == self.cpu.owner() {
            // SAFETY: this function's contract.
            let free = |arena: &Arena| unsafe { arena.free(index, object, size, stamp, frames) };
            self.in_own_arena(frames, free)
        } else {
            // SAFETY: as above.
            unsafe { self.free_elsewhere(self.arena(owner), index, object, size, stamp) }
        };
        if !is_freed {
            let arena = self.arena(owner);
            let stamp_of = || arena.class(index).stamp();
            let found = self.pinned(|runner| arena.inbox.closed(runner, stamp_of));
            let is_other_size = slab::is_stamp(stamp) && slab::is_same_generation(stamp, found);
            self.refuse(object, bytes_of(index), is_other_size);
        }
    }

    /// Hands an object that lies in a slab of that stamp to its arena, which is another's; false if it is none of it.
    ///
    /// # Safety
    /// As [`KernelHeap::free_small`].
    unsafe fn free_elsewhere(
        &self,
        arena: &Arena,
        index: usize,
        object: NonNull<u8>,
        size: usize,
        stamp: u64,
    ) -> bool {
        let class = arena.class(index);
        self.pinned(|runner| {
            arena.inbox.closed(runner, || {
                let is_its = class.stamp() == stamp;
                if is_its {
                    // SAFETY: the stamp says that it is of this class; the rest is this function's contract.
                    unsafe { class.retire(object, size) };
                    // SAFETY: as above.
                    unsafe { arena.inbox.put(class, object) };
                }
                is_its
            })
        })
    }

    /// Runs `section` with the arena of the running owner, which nobody else is in meanwhile.
    fn in_own_arena<R>(&self, frames: &dyn ChargedFrames, section: impl FnOnce(&Arena) -> R) -> R {
        let owner = self.cpu.owner();
        let arena = self.arena(owner);
        if owner != Owner::KERNEL {
            self.take_in(arena, frames);
            return section(arena);
        }
        self.pinned(|runner| {
            self.kernel.with(runner, |()| {
                self.take_in(arena, frames);
                section(arena)
            })
        })
    }

    /// Puts some of what others have freed into the slabs of `arena`, the running owner's.
    #[inline(never)]
    fn take_in(&self, arena: &Arena, frames: &dyn ChargedFrames) {
        if arena.inbox.is_empty() {
            return;
        }
        self.pinned(|runner| arena.inbox.closed(runner, || arena.inbox.take_all()));
        for _ in 0..TAKEN_IN_AT_ONCE {
            let Some((index, object)) = arena.inbox.next() else {
                return;
            };
            let class = arena.class(index);
            class.pending.fetch_sub(1, Relaxed);
            // SAFETY: whoever put it in found its slab to be of this class, and gave it up.
            unsafe { slab::put(class, object.cast(), frames) };
        }
    }

    /// Gives back to the frame source what the arena of the running owner holds and none of its objects needs.
    pub fn give_back(&self) {
        let Some(&frames) = self.frames.get() else {
            return;
        };
        self.in_own_arena(frames, |arena| {
            while !arena.inbox.is_empty() {
                self.take_in(arena, frames);
            }
            arena.give_back(frames);
        });
    }

    /// Refuses a free that fits nothing. It came too late if an owner's arena was abandoned; else it is a bug.
    ///
    /// # Panics
    /// If it is a bug.
    fn refuse(&self, object: NonNull<u8>, what: usize, is_bug: bool) {
        assert!(
            !is_bug && self.abandonments.get() > 0,
            "{object:p} is no object of {what} bytes"
        );
        self.late_frees.increment();
    }

    /// Lets an object of `layout` at `object` be `new_size` bytes long, if there is room where it is.
    pub(super) fn resize_in_place(&self, object: *mut u8, layout: Layout, new_size: usize) -> bool {
        let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else {
            return false;
        };
        if self.boot.contains(object) {
            return boot::taken_by(layout) == boot::taken_by(new_layout);
        }
        let room = self.room(layout);
        if room != self.room(new_layout) {
            return false;
        }
        if cfg!(debug_assertions)
            && let (Some(Room::Slab(index)), Some(object)) = (room, NonNull::new(object))
        {
            // SAFETY: the caller's caller owns it, and it is of this class.
            unsafe { hardening::check_red_zone(object, index, layout.size()) };
            // SAFETY: as above.
            unsafe { hardening::lay_red_zone(object, index, new_size) };
        }
        true
    }
}
