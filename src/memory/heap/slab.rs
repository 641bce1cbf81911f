//! Slabs: blocks of frames cut into objects of one size, a few sizes ("classes") in all.
//!
//! A slab is a block of 4, 8 or 16 KiB with a header in its first bytes; the rest is objects. An object's
//! slab is found by rounding its address down to the slab's size, which its class says. Free objects form a
//! list through themselves; those never used yet are counted instead, so a new slab costs a few words. Slabs
//! with room form a list per class; full ones are in none. A slab whose last object goes becomes
//! the class's spare, or is given back if there is one: so a class at a border does not fetch and give back in
//! turns. The spares go back too before a request is refused.
//!
//! Always true: a slab is in its class's list exactly if it has room and a live object; `live` objects of it
//! are in owners' hands. A free with the wrong class, of what is no object, or into a slab that was abandoned with
//! its owner's arena is seen by the header's stamp and refused; a double free is not seen yet, nor is a late
//! free of an object whose frames have become a slab of the same size again.
//!
//! Each arena has classes of its own; a slab's stamp names the owner of its arena. Steps are kept in an order
//! (`in_order`) in which a free cut short anywhere leaves what [`verify`] can put right.
//!
//! Costs: allocation and free are a few steps each, whatever is live; up to half an object is lost to
//! rounding, and one object in eight at worst to the header.
#![allow(unsafe_code, reason = "headers and free lists lie in raw frames")]

mod verify;

use super::super::manager::ChargedFrames;
use crate::memory::accounts::Owner;
use crate::memory::frames::{Order, PAGE_SIZE, Pfn};
use core::alloc::Layout;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::Release, compiler_fence};

/// Sizes of the classes in bytes. Each is a multiple of every power of two it is used to align to; sizes
/// between the powers are where small structures cluster (a guess until part 3 measures the image).
pub(super) const CLASS_BYTES: [usize; 10] = [16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048];

/// Largest object that comes from a slab.
const MAX_BYTES: usize = CLASS_BYTES[CLASS_BYTES.len() - 1];
/// All classes are multiples of this, and objects aligned to at least this.
const GRAIN: usize = 16;
/// Classes by size in grains, rounded up.
const CLASS_BY_GRAINS: [u8; MAX_BYTES / GRAIN + 1] = class_by_grains();
/// High half of a stamp. Below it: generation of the arena, class, owner.
const STAMP: u64 = 0x6e6f_735f << 32;

/// What leaves the address of a slab of an address in it, by class.
const SLAB_MASKS: [usize; CLASS_BYTES.len()] = {
    let mut masks = [0; CLASS_BYTES.len()];
    let mut index = 0;
    while index < masks.len() {
        masks[index] = !(order_of_class(index).bytes() - 1);
        index += 1;
    }
    masks
};

/// The start of a slab.
pub(super) struct Header {
    stamp: u64,
    next: Option<NonNull<Header>>,
    previous: Option<NonNull<Header>>,
    /// Objects given back, each holding the next.
    free: Option<NonNull<FreeObject>>,
    /// Offset of the first object that was never handed out.
    fresh: u32,
    /// Objects in owners' hands.
    live: u16,
    /// 1 if the slab is in its class's list.
    is_listed: u16,
}

/// What a free object holds.
struct FreeObject {
    next: Option<NonNull<FreeObject>>,
}

/// All slabs of one size in one arena.
pub(super) struct Class {
    /// What the headers of its slabs begin with.
    stamp: u64,
    bytes: usize,
    slab_bytes: usize,
    /// First of the slabs that have room.
    with_room: Option<NonNull<Header>>,
    /// A slab without live objects, in no list.
    spare: Option<NonNull<Header>>,
    live: u64,
    slabs: u64,
    allocations: u64,
}

// SAFETY: the pointers lead to slabs that belong to this class alone, whichever CPU holds it.
unsafe impl Send for Class {}

impl Class {
    /// A class of no arena's: all zeros.
    pub(super) const EMPTY: Self = Self {
        stamp: 0,
        bytes: 0,
        slab_bytes: 0,
        with_room: None,
        spare: None,
        live: 0,
        slabs: 0,
        allocations: 0,
    };

    /// The class of that index in [`CLASS_BYTES`] in the arena of `owner`, without slabs.
    pub(super) const fn new(index: usize, owner: Owner) -> Self {
        Self {
            stamp: STAMP | (index as u64) << 8 | owner.get() as u64,
            bytes: CLASS_BYTES[index],
            slab_bytes: order_of_class(index).bytes(),
            with_room: None,
            spare: None,
            live: 0,
            slabs: 0,
            allocations: 0,
        }
    }

    /// An object; a new slab is taken from `frames` if none has room.
    #[inline]
    pub(super) fn allocate(&mut self, frames: &dyn ChargedFrames) -> Option<NonNull<u8>> {
        let mut slab = match self.with_room {
            Some(slab) => slab,
            None => self.next_slab(frames)?,
        };
        // SAFETY: slabs in the list are live blocks with a header, written by `new_slab`, and `&mut self` is the
        // only way to them; no other reference to this header exists during the call.
        let header = unsafe { slab.as_mut() };
        let object = match header.free {
            Some(object) => {
                // SAFETY: objects in the free list are in nobody's hands, and `free` wrote the link.
                header.free = unsafe { object.read() }.next;
                object.cast()
            }
            None => {
                let offset = header.fresh as usize;
                header.fresh += self.bytes as u32;
                // SAFETY: a slab with room and no freed object has a fresh one, which ends within the block.
                unsafe { slab.cast::<u8>().add(offset) }
            }
        };
        header.live += 1;
        if header.free.is_none() && header.fresh as usize + self.bytes > self.slab_bytes {
            self.unlink(slab);
        }
        self.live += 1;
        self.allocations += 1;
        Some(object)
    }

    /// Takes an object back that lies in `slab`, while `runner` runs; the slab too may go back, to `frames`. False if
    /// it is no slab of this class: nothing changes then.
    ///
    /// # Safety
    /// If it is a slab of this class the object came from [`Class::allocate`], and is not used any more. The frame
    /// may be read.
    #[inline]
    pub(super) unsafe fn free(
        &mut self,
        mut slab: NonNull<Header>,
        object: *mut u8,
        runner: Owner,
        frames: &dyn ChargedFrames,
    ) -> bool {
        // SAFETY: this function's caller promises that the frame may be read.
        if unsafe { stamp_at(slab) } != self.stamp {
            return false;
        }
        // SAFETY: the stamp says that it is a slab of this class; `&mut self` is the only way to its header.
        let header = unsafe { slab.as_mut() };
        let link = FreeObject { next: header.free };
        let object = NonNull::new(object.cast::<FreeObject>()).expect("an object in a slab");
        // SAFETY: the object is the heap's again, at least a pointer long and aligned to `GRAIN`.
        unsafe { object.write(link) };
        in_order();
        header.free = Some(object);
        in_order();
        header.live -= 1;
        self.live -= 1;
        if header.is_listed == 0 || header.live == 0 {
            self.settle(slab, runner, frames);
        }
        true
    }

    /// Puts a slab that has just got an object back where it belongs.
    #[inline]
    fn settle(&mut self, mut slab: NonNull<Header>, runner: Owner, frames: &dyn ChargedFrames) {
        // SAFETY: as in `free`, which has no reference to the header any more.
        let (live, is_listed) = unsafe { (slab.as_mut().live, slab.as_mut().is_listed != 0) };
        if live > 0 {
            return self.link(slab);
        }
        if is_listed {
            self.unlink(slab);
        }
        match self.spare {
            None => self.spare = Some(slab),
            Some(surplus) => self.exchange_spare(surplus, slab, runner, frames),
        }
    }

    /// Gives the spare slab back and keeps another in its place.
    #[inline(never)]
    fn exchange_spare(
        &mut self,
        surplus: NonNull<Header>,
        slab: NonNull<Header>,
        runner: Owner,
        frames: &dyn ChargedFrames,
    ) {
        // Should the one that runs die before it is freed, then it is among what that one leaves.
        if runner != self.owner() {
            let taken_over = frames.take_over_slab(first_frame(surplus), self.order());
            taken_over.expect("a spare slab is charged to its arena's owner");
        }
        in_order();
        self.spare = Some(slab);
        self.give_back(surplus, frames);
    }

    /// Gives the spare slab, if there is one, back to `frames`.
    pub(super) fn give_back_spare(&mut self, frames: &dyn ChargedFrames) {
        if let Some(spare) = self.spare.take() {
            self.give_back(spare, frames);
        }
    }

    /// Forgets all slabs, because the arena's owner is dead: their frames are freed by whoever counts them. What was
    /// handed out since boot stays counted.
    pub(super) fn abandon(&mut self) {
        let generation = (self.stamp as u32 >> 16).wrapping_add(1) as u16;
        self.stamp = self.stamp & !(0xffff << 16) | u64::from(generation) << 16;
        self.with_room = None;
        self.spare = None;
        self.live = 0;
        self.slabs = 0;
    }

    /// Bytes of live objects.
    pub(super) fn used_bytes(&self) -> u64 {
        self.live * self.bytes as u64
    }

    /// Bytes of slabs.
    pub(super) fn committed_bytes(&self) -> u64 {
        self.slabs * self.slab_bytes as u64
    }

    /// Objects handed out since boot.
    pub(super) fn allocations(&self) -> u64 {
        self.allocations
    }

    /// True if `stamp` is that of a slab in use, of this or another class of the arena.
    pub(super) fn is_of_this_generation(&self, stamp: u64) -> bool {
        stamp >> 16 == self.stamp >> 16
    }

    /// Whose arena the class belongs to.
    fn owner(&self) -> Owner {
        owner_of(self.stamp)
    }

    /// The order of this class's slabs.
    fn order(&self) -> Order {
        Order::for_bytes(self.slab_bytes).expect("a slab has an order")
    }

    /// A slab with room, in the list: the spare or a new one.
    #[inline]
    fn next_slab(&mut self, frames: &dyn ChargedFrames) -> Option<NonNull<Header>> {
        let slab = self.spare.take().or_else(|| self.new_slab(frames))?;
        self.link(slab);
        Some(slab)
    }

    /// A slab in no list, all of it fresh.
    #[inline(never)]
    fn new_slab(&mut self, frames: &dyn ChargedFrames) -> Option<NonNull<Header>> {
        let first = frames.allocate_slab(self.order()).ok()?;
        let slab = NonNull::new(ptr::with_exposed_provenance_mut::<Header>(first.address()))?;
        let header = Header {
            stamp: self.stamp,
            next: None,
            previous: None,
            free: None,
            fresh: self.first_object() as u32,
            live: 0,
            is_listed: 0,
        };
        // SAFETY: the block was just handed to us, is larger than a header and aligned to a frame.
        unsafe { slab.write(header) };
        self.slabs += 1;
        Some(slab)
    }

    /// Offset of a slab's first object: after the header, aligned as the size of objects allows.
    fn first_object(&self) -> usize {
        size_of::<Header>().next_multiple_of(1 << self.bytes.trailing_zeros())
    }

    /// Gives a slab back that has no live object and is neither in the list nor the spare.
    fn give_back(&mut self, mut slab: NonNull<Header>, frames: &dyn ChargedFrames) {
        // SAFETY: `slab` is still ours; without the stamp, a late free of one of its objects is seen.
        unsafe { slab.as_mut() }.stamp = 0;
        self.slabs -= 1;
        let freed = frames.free_slab(first_frame(slab), self.order());
        freed.expect("a slab is given back once, with the order it was taken with");
    }

    /// Puts a slab at the head of the list.
    fn link(&mut self, mut slab: NonNull<Header>) {
        // SAFETY: `slab` is a live slab of this class; `&mut self` is the only way to it.
        let header = unsafe { slab.as_mut() };
        header.previous = None;
        header.next = self.with_room;
        header.is_listed = 1;
        if let Some(mut next) = self.with_room {
            // SAFETY: slabs in the list are live, and `next` is not `slab`, which was in no list.
            unsafe { next.as_mut() }.previous = Some(slab);
        }
        self.with_room = Some(slab);
    }

    /// Takes a slab out of the list.
    fn unlink(&mut self, mut slab: NonNull<Header>) {
        // SAFETY: `slab` is a live slab of this class; `&mut self` is the only way to it.
        let header = unsafe { slab.as_mut() };
        header.is_listed = 0;
        let (previous, next) = (header.previous, header.next);
        match previous {
            // SAFETY: neighbours in the list are live slabs other than `slab`.
            Some(mut previous) => unsafe { previous.as_mut() }.next = next,
            None => self.with_room = next,
        }
        if let Some(mut next) = next {
            // SAFETY: as above.
            unsafe { next.as_mut() }.previous = previous;
        }
    }
}

/// The slab that `object` lies in if it is one of class `index`.
///
/// # Safety
/// The object was handed out by an allocator.
#[inline]
pub(super) unsafe fn slab_around(object: *mut u8, index: usize) -> NonNull<Header> {
    let slab = object
        .map_addr(|address| address & SLAB_MASKS[index])
        .cast();
    // SAFETY: frame 0 is never given out, so no object lies at the start of memory.
    unsafe { NonNull::new_unchecked(slab) }
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

/// What is where a slab has its stamp.
///
/// # Safety
/// The frame may be read.
#[inline]
pub(super) unsafe fn stamp_at(slab: NonNull<Header>) -> u64 {
    // SAFETY: this function's contract; atomic, since a late free may read what is written as somebody's data.
    unsafe { AtomicU64::from_ptr(slab.cast().as_ptr()) }.load(Relaxed)
}

fn first_frame(slab: NonNull<Header>) -> Pfn {
    Pfn::containing(slab.addr().get())
}

/// Keeps the steps before it before the steps after it, as one that looks after this CPU has stopped here sees
/// them. No instruction.
#[inline]
fn in_order() {
    compiler_fence(Release);
}

/// The order of a class's slabs: a frame, or what holds at least seven objects.
const fn order_of_class(index: usize) -> Order {
    match CLASS_BYTES[index] {
        0..=256 => const { Order::new(0).expect("an order") },
        257..=512 => const { Order::new(1).expect("an order") },
        _ => const { Order::new(2).expect("an order") },
    }
}

/// The class for `layout`, if it is small enough.
pub(super) fn class_for(layout: Layout) -> Option<usize> {
    // A class is aligned to the largest power of two that divides it: only powers of two serve large alignments.
    let bytes = if layout.align() <= GRAIN {
        layout.size()
    } else {
        layout.size().max(layout.align()).next_power_of_two()
    };
    (bytes <= MAX_BYTES).then(|| CLASS_BY_GRAINS[bytes.div_ceil(GRAIN)].into())
}

const fn class_by_grains() -> [u8; MAX_BYTES / GRAIN + 1] {
    let mut table = [0; MAX_BYTES / GRAIN + 1];
    let mut grains = 0;
    let mut class = 0;
    while grains < table.len() {
        if grains * GRAIN > CLASS_BYTES[class] {
            class += 1;
        }
        table[grains] = class as u8;
        grains += 1;
    }
    table
}

const _: () = {
    let mut i = 0;
    while i < CLASS_BYTES.len() {
        assert!(
            CLASS_BYTES[i].is_multiple_of(GRAIN),
            "classes are whole grains"
        );
        i += 1;
    }
    assert!(
        size_of::<FreeObject>() <= CLASS_BYTES[0],
        "a link fits the smallest object"
    );
    assert!(
        4 * size_of::<Header>() < PAGE_SIZE,
        "a header leaves room for objects"
    );
};
