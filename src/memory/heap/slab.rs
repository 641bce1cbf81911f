//! Slabs: blocks of frames cut into objects of one class.
//!
//! A slab begins with a header; the rest is objects. An object's slab is found by rounding its address down to
//! the slab's size, which its class says. Objects given back form a list through themselves; those never used yet
//! are counted instead, so a new slab costs a few words. The slabs of a class with room form a list, the one that was
//! full last first: so the fullest are filled up, and the others get empty. An empty one is kept as the class's spare if
//! it is small and there is none yet, else it goes back.
//!
//! Always true: a slab is in its class's list exactly if it has room and something out; `out` objects of it are in
//! hands, in the class's list of free objects, or on their way back. A free of what is no object of the class, or of
//! one in a slab that was abandoned with its owner's arena, is seen by the header's stamp; not so a late free of an
//! object whose frames have become a slab of the same class and owner again.
#![allow(unsafe_code, reason = "headers and free lists lie in raw frames")]

use super::super::manager::ChargedFrames;
use super::class::Class;
use super::classes::{bytes_of, first_object};
use super::hardening;
use crate::memory::accounts::Owner;
use crate::memory::frames::{Order, PAGE_SIZE, Pfn};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// High half of a stamp. Below it: generation of the arena, class, owner.
const STAMP: u64 = 0x6e6f_735f << 32;
/// Spares are not above this order.
const SPARE_ORDER_MAX: Order = Order::new(1).expect("an order");

/// The start of a slab.
pub(super) struct Header {
    stamp: u64,
    next: Option<NonNull<Header>>,
    previous: Option<NonNull<Header>>,
    /// Objects given back, each holding the next.
    free: Option<NonNull<FreeObject>>,
    /// Offset of the first object that was never handed out.
    fresh: u32,
    /// Objects that are not the slab's.
    out: u16,
    is_listed: bool,
}

/// What a free object holds.
pub(super) struct FreeObject {
    pub(super) next: Option<NonNull<FreeObject>>,
}

/// The stamp of the first slabs of class `index` in the arena of `owner`.
pub(super) const fn first_stamp(owner: Owner, index: usize) -> u64 {
    STAMP | (index as u64) << 8 | owner.get() as u64
}

/// The stamp of a class after its arena was abandoned once more.
pub(super) const fn next_stamp(stamp: u64) -> u64 {
    let generation = (stamp as u32 >> 16).wrapping_add(1) as u16;
    stamp & !(0xffff << 16) | (generation as u64) << 16
}

/// The owner that a stamp names.
#[inline]
pub(super) const fn owner_of(stamp: u64) -> Owner {
    Owner::from_low_bits(stamp as u8)
}

/// True if `stamp` is that of some slab, of whatever generation.
pub(super) const fn is_stamp(stamp: u64) -> bool {
    stamp >> 32 == STAMP >> 32
}

/// True if both stamps are of slabs in use in one arena.
pub(super) const fn is_same_generation(stamp: u64, other: u64) -> bool {
    stamp >> 16 == other >> 16
}

/// What is where the slab around `object` has its stamp, if it lies in one of that mask.
///
/// # Safety
/// The object was handed out by the heap.
#[inline(always)]
pub(super) unsafe fn stamp_around(object: *mut u8, slab_mask: usize) -> u64 {
    let stamp = object.map_addr(|address| address & slab_mask).cast::<u64>();
    // SAFETY: an object comes from a slab, from a block, or from the boot arena: a slab of its mask begins in RAM that the
    // frame source manages, or no further before the arena than `init_boot` was promised to be readable, and stays so for
    // ever. Atomic, since what is read may be somebody's data; it is compared and nothing else.
    unsafe { AtomicU64::from_ptr(stamp) }.load(Relaxed)
}

/// Takes an object from a slab of the class; without one a slab is taken from `frames`.
#[inline]
pub(super) fn take(class: &Class, frames: &dyn ChargedFrames) -> Option<NonNull<u8>> {
    let mut slab = match class.with_room.get() {
        Some(slab) => slab,
        None => next_slab(class, frames)?,
    };
    let index = class.index();
    // SAFETY: slabs in the list are live blocks with a header, written by `new_slab`, and whoever calls has the class
    // to itself: no other reference to this header exists during the call.
    let header = unsafe { slab.as_mut() };
    let object = match header.free {
        Some(object) => {
            // SAFETY: objects in the free list are in nobody's hands, and `put` wrote the link.
            header.free = unsafe { object.read() }.next;
            object.cast()
        }
        None => {
            let offset = header.fresh as usize;
            header.fresh += bytes_of(index) as u32;
            // SAFETY: a slab with room and no freed object has a fresh one, which ends within the block.
            unsafe { slab.cast::<u8>().add(offset) }
        }
    };
    header.out += 1;
    class.count_out(1);
    if header.free.is_none() && header.fresh as usize + bytes_of(index) > class.slab_bytes() {
        unlink(class, slab);
    }
    Some(object)
}

/// Puts an object back into its slab; the slab may go back to `frames`.
///
/// # Safety
/// It came from [`take`] with this class, and nobody uses it any more.
#[inline]
pub(super) unsafe fn put(class: &Class, object: NonNull<FreeObject>, frames: &dyn ChargedFrames) {
    let mask = class.slab_mask();
    let address = object.as_ptr().map_addr(|address| address & mask);
    // SAFETY: frame 0 is never given out, so no object lies at the start of memory.
    let mut slab = unsafe { NonNull::new_unchecked(address.cast::<Header>()) };
    // SAFETY: as in `take`.
    let header = unsafe { slab.as_mut() };
    // SAFETY: the object is the heap's again, at least a pointer long and aligned to that.
    unsafe { object.write(FreeObject { next: header.free }) };
    header.free = Some(object);
    header.out -= 1;
    class.count_out(-1);
    if header.out == 0 {
        retire(class, slab, frames);
    } else if !header.is_listed {
        link(class, slab);
    }
}

/// Gives the spare slab, if there is one, back to `frames`.
pub(super) fn give_back_spare(class: &Class, frames: &dyn ChargedFrames) {
    if let Some(spare) = class.spare.take() {
        give_back(class, spare, frames);
    }
}

/// A slab without objects out is the spare from now on, or goes back.
#[cold]
#[inline(never)]
fn retire(class: &Class, slab: NonNull<Header>, frames: &dyn ChargedFrames) {
    // SAFETY: as in `take`.
    if unsafe { slab.as_ref() }.is_listed {
        unlink(class, slab);
    }
    if class.spare.get().is_none() && class.order() <= SPARE_ORDER_MAX {
        class.spare.set(Some(slab));
    } else {
        give_back(class, slab, frames);
    }
}

/// A slab with room, in the list: the spare or a new one.
#[cold]
#[inline(never)]
fn next_slab(class: &Class, frames: &dyn ChargedFrames) -> Option<NonNull<Header>> {
    let slab = class.spare.take().or_else(|| new_slab(class, frames))?;
    link(class, slab);
    Some(slab)
}

/// A slab in no list, all of it fresh.
fn new_slab(class: &Class, frames: &dyn ChargedFrames) -> Option<NonNull<Header>> {
    let index = class.index();
    let first = frames.allocate_slab(class.order()).ok()?;
    let slab = NonNull::new(ptr::with_exposed_provenance_mut::<Header>(first.address()))?;
    let fresh = first_object(index, size_of::<Header>());
    let header = Header {
        stamp: class.stamp(),
        next: None,
        previous: None,
        free: None,
        fresh: fresh as u32,
        out: 0,
        is_listed: false,
    };
    // SAFETY: the block was just handed to us, is larger than a header and aligned to a frame.
    unsafe { slab.write(header) };
    class.count_slabs(1);
    if cfg!(debug_assertions) {
        let last = class.slab_bytes() - bytes_of(index);
        for offset in (fresh..=last).step_by(bytes_of(index)) {
            // SAFETY: an object of the slab, all of which is ours.
            unsafe { hardening::poison(slab.cast::<u8>().add(offset), index) };
        }
    }
    Some(slab)
}

/// Gives a slab back that has no object out and is neither in the list nor the spare.
fn give_back(class: &Class, mut slab: NonNull<Header>, frames: &dyn ChargedFrames) {
    // SAFETY: `slab` is still ours; without the stamp, a late free of one of its objects is seen.
    unsafe { slab.as_mut() }.stamp = 0;
    class.count_slabs(-1);
    let first = Pfn::containing(slab.addr().get());
    let freed = frames.free_slab(first, class.order());
    freed.expect("a slab is given back once, with the order it was taken with");
}

/// Puts a slab at the head of the list.
fn link(class: &Class, mut slab: NonNull<Header>) {
    let first = class.with_room.get();
    // SAFETY: as in `take`.
    let header = unsafe { slab.as_mut() };
    header.previous = None;
    header.next = first;
    header.is_listed = true;
    if let Some(mut next) = first {
        // SAFETY: slabs in the list are live, and `next` is not `slab`, which was in no list.
        unsafe { next.as_mut() }.previous = Some(slab);
    }
    class.with_room.set(Some(slab));
}

/// Takes a slab out of the list.
fn unlink(class: &Class, mut slab: NonNull<Header>) {
    // SAFETY: as in `take`.
    let header = unsafe { slab.as_mut() };
    header.is_listed = false;
    let (previous, next) = (header.previous, header.next);
    match previous {
        // SAFETY: neighbours in the list are live slabs other than `slab`.
        Some(mut previous) => unsafe { previous.as_mut() }.next = next,
        None => class.with_room.set(next),
    }
    if let Some(mut next) = next {
        // SAFETY: as above.
        unsafe { next.as_mut() }.previous = previous;
    }
}

const _: () = assert!(
    4 * size_of::<Header>() < PAGE_SIZE && size_of::<FreeObject>() <= bytes_of(0),
    "a header leaves room for objects, and a link fits the smallest of them"
);
