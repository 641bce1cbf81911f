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
//! are in owners' hands. A free with the wrong class, or of what is no object, is seen by the header's stamp and
//! stops the image; a double free is not seen yet.
//!
//! Costs: allocation and free are a few steps each, whatever is live; up to half an object is lost to
//! rounding, and one object in eight at worst to the header.
#![allow(unsafe_code, reason = "headers and free lists lie in raw frames")]

use crate::memory::frames::{FrameSource, Order, PAGE_SIZE, Pfn};
use core::alloc::Layout;
use core::ptr::{self, NonNull};

/// Sizes of the classes in bytes. Each is a multiple of every power of two it is used to align to; sizes
/// between the powers are where small structures cluster (a guess until part 3 measures the image).
pub(super) const CLASS_BYTES: [usize; 10] = [16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048];

/// Largest object that comes from a slab.
const MAX_BYTES: usize = CLASS_BYTES[CLASS_BYTES.len() - 1];
/// All classes are multiples of this, and objects aligned to at least this.
const GRAIN: usize = 16;
/// Classes by size in grains, rounded up.
const CLASS_BY_GRAINS: [u8; MAX_BYTES / GRAIN + 1] = class_by_grains();
/// Marks a header; xored with the class, so that a wrong class is seen too.
const STAMP: usize = 0x6e6f_735f_736c_6162;

/// The start of a slab.
struct Header {
    stamp: usize,
    next: Option<NonNull<Header>>,
    previous: Option<NonNull<Header>>,
    /// Objects given back, each holding the next.
    free: Option<NonNull<FreeObject>>,
    /// Offset of the first object that was never handed out.
    fresh: usize,
    /// Objects in owners' hands.
    live: usize,
}

/// What a free object holds.
struct FreeObject {
    next: Option<NonNull<FreeObject>>,
}

/// All slabs of one class.
pub(super) struct Class {
    index: usize,
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
    /// The class of that index in [`CLASS_BYTES`], without slabs.
    pub(super) const fn new(index: usize) -> Self {
        Self {
            index,
            with_room: None,
            spare: None,
            live: 0,
            slabs: 0,
            allocations: 0,
        }
    }

    /// An object; a new slab is taken from `frames` if none has room.
    pub(super) fn allocate(&mut self, frames: &dyn FrameSource) -> Option<NonNull<u8>> {
        let mut slab = match self.with_room {
            Some(slab) => slab,
            None => {
                let slab = self.spare.take().or_else(|| self.new_slab(frames))?;
                self.link(slab);
                slab
            }
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
                let offset = header.fresh;
                header.fresh += self.bytes();
                // SAFETY: a slab with room and no freed object has a fresh one, which ends within the block.
                unsafe { slab.cast::<u8>().add(offset) }
            }
        };
        header.live += 1;
        if header.free.is_none() && header.fresh + self.bytes() > self.order().bytes() {
            self.unlink(slab);
        }
        self.live += 1;
        self.allocations += 1;
        Some(object)
    }

    /// Takes an object back; its slab too may go back, to `frames`.
    ///
    /// # Panics
    /// If it does not lie in a slab of this class.
    ///
    /// # Safety
    /// It came from [`Class::allocate`] of this class and is not used any more.
    pub(super) unsafe fn free(&mut self, object: *mut u8, frames: &dyn FrameSource) {
        let start = object.addr() & !(self.order().bytes() - 1);
        let slab = NonNull::new(ptr::with_exposed_provenance_mut::<Header>(start));
        let mut slab = slab.expect("an object in a slab");
        // SAFETY: the object came from a slab of this class, which starts there and is given back only
        // when no object of it is live; `&mut self` is the only way to its header.
        let header = unsafe { slab.as_mut() };
        let stamp = STAMP ^ self.index;
        assert_eq!(
            header.stamp,
            stamp,
            "{object:p} is no object of {} bytes",
            self.bytes()
        );
        let was_full = header.free.is_none() && header.fresh + self.bytes() > self.order().bytes();
        let link = FreeObject { next: header.free };
        let object = NonNull::new(object.cast::<FreeObject>()).expect("an object in a slab");
        // SAFETY: the object is the heap's again, at least a pointer long and aligned to `GRAIN`.
        unsafe { object.write(link) };
        header.free = Some(object);
        header.live -= 1;
        self.live -= 1;
        let is_empty = header.live == 0;
        match (was_full, is_empty) {
            (true, false) => self.link(slab),
            (false, true) => self.unlink(slab),
            // A full slab of one object went from no list to none; a partial one stays in its list.
            _ => {}
        }
        if is_empty && let Some(surplus) = self.spare.replace(slab) {
            self.give_back(surplus, frames);
        }
    }

    /// Gives the spare slab, if there is one, back to `frames`.
    pub(super) fn give_back_spare(&mut self, frames: &dyn FrameSource) {
        if let Some(spare) = self.spare.take() {
            self.give_back(spare, frames);
        }
    }

    /// Size of an object.
    pub(super) fn bytes(&self) -> usize {
        CLASS_BYTES[self.index]
    }

    /// Bytes of live objects.
    pub(super) fn used_bytes(&self) -> u64 {
        self.live * self.bytes() as u64
    }

    /// Bytes of slabs.
    pub(super) fn committed_bytes(&self) -> u64 {
        self.slabs * self.order().bytes() as u64
    }

    /// Objects handed out since boot.
    pub(super) fn allocations(&self) -> u64 {
        self.allocations
    }

    /// The order of this class's slabs: a frame, or what holds at least seven objects.
    fn order(&self) -> Order {
        match self.bytes() {
            0..=256 => const { Order::new(0).expect("an order") },
            257..=512 => const { Order::new(1).expect("an order") },
            _ => const { Order::new(2).expect("an order") },
        }
    }

    /// A slab in no list, all of it fresh.
    fn new_slab(&mut self, frames: &dyn FrameSource) -> Option<NonNull<Header>> {
        let first = frames.allocate(self.order()).ok()?;
        let slab = NonNull::new(ptr::with_exposed_provenance_mut::<Header>(first.address()))?;
        // The first place after the header at which objects are aligned as their size allows.
        let alignment = 1 << self.bytes().trailing_zeros();
        let fresh = size_of::<Header>().next_multiple_of(alignment);
        let header = Header {
            stamp: STAMP ^ self.index,
            next: None,
            previous: None,
            free: None,
            fresh,
            live: 0,
        };
        // SAFETY: the block was just handed to us, is larger than a header and aligned to a frame.
        unsafe { slab.write(header) };
        self.slabs += 1;
        Some(slab)
    }

    /// Gives a slab back that has no live object and is neither in the list nor the spare.
    fn give_back(&mut self, mut slab: NonNull<Header>, frames: &dyn FrameSource) {
        // SAFETY: `slab` is still ours; without the stamp, a late free of one of its objects is seen.
        unsafe { slab.as_mut() }.stamp = 0;
        self.slabs -= 1;
        let first = Pfn::containing(slab.addr().get());
        let freed = frames.free(first, self.order());
        freed.expect("a slab is given back once, with the order it was taken with");
    }

    /// Puts a slab at the head of the list.
    fn link(&mut self, mut slab: NonNull<Header>) {
        // SAFETY: `slab` is a live slab of this class; `&mut self` is the only way to it.
        let header = unsafe { slab.as_mut() };
        header.previous = None;
        header.next = self.with_room;
        if let Some(mut next) = self.with_room {
            // SAFETY: slabs in the list are live, and `next` is not `slab`, which was in no list.
            unsafe { next.as_mut() }.previous = Some(slab);
        }
        self.with_room = Some(slab);
    }

    /// Takes a slab out of the list.
    fn unlink(&mut self, slab: NonNull<Header>) {
        // SAFETY: `slab` is a live slab of this class; `&mut self` is the only way to it.
        let (previous, next) = unsafe { ((*slab.as_ptr()).previous, (*slab.as_ptr()).next) };
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
