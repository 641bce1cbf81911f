//! Classes: one size of one arena, its list of free objects and its slabs.
//!
//! An object that is freed is the next to be handed out, whatever slab it is of: a list of such objects stands in front of
//! the slabs. An empty list is filled half from the slabs, a full one emptied half into them. The kernel's classes have
//! no such list: their limit is 0.
//!
//! Always true: the count and the list of a class agree between two calls. What readers of the metrics see of a class in the
//! middle of one is off by the objects under way. All is done by whoever the arena belongs to, but where a function says
//! otherwise.
#![allow(unsafe_code, reason = "free objects link to each other")]

use super::super::accounts::Owner;
use super::super::manager::ChargedFrames;
use super::classes::{CLASSES, bytes_of};
use super::hardening;
use super::slab::{self, FreeObject, Header};
use crate::memory::frames::Order;
use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// In the count of a class: one more allocation.
const ALLOCATION: u64 = 1 << 12;
/// In the count of a class: its list is full. Below it: so many objects are in the list, and as many again as the limit
/// is short of this.
const FULL: u64 = 1 << 11;
/// Objects in a list at most.
pub(super) const LIST_MAX: usize = 64;
/// Objects in a list at most at least, however large they are: with two, every second free went on to the slabs.
const LIST_MIN: usize = 4;
/// One size of one arena.
#[repr(C, align(64))]
pub(super) struct Class {
    /// Free objects, the last one freed first.
    free: Cell<Option<NonNull<FreeObject>>>,
    /// Allocations since boot, and what is in the list. Written by the owner alone, read by anybody.
    count: AtomicU64,
    /// What the headers of its slabs begin with.
    stamp: Cell<u64>,
    /// What leaves the address of a slab of an address in it.
    slab_mask: Cell<usize>,
    /// First of the slabs that have room.
    pub(super) with_room: Cell<Option<NonNull<Header>>>,
    /// A slab without objects out, in no list.
    pub(super) spare: Cell<Option<NonNull<Header>>>,
    /// Objects that are not in a slab. As `count`.
    out: AtomicU32,
    /// Slabs. As `count`.
    slabs: AtomicU32,
    /// Objects that others have freed and that are not back in their slabs yet.
    pub(super) pending: AtomicU32,
    index: Cell<u8>,
    /// Objects in its list at most.
    limit: Cell<u8>,
}

impl Class {
    /// A class of no arena's: all zeros.
    pub(super) const fn empty() -> Self {
        Self {
            free: Cell::new(None),
            count: AtomicU64::new(0),
            stamp: Cell::new(0),
            slab_mask: Cell::new(0),
            with_room: Cell::new(None),
            spare: Cell::new(None),
            out: AtomicU32::new(0),
            slabs: AtomicU32::new(0),
            pending: AtomicU32::new(0),
            index: Cell::new(0),
            limit: Cell::new(0),
        }
    }

    /// Makes it the class of that index in the arena of `owner`, without slabs, which are to be of that order, with up to
    /// `list_bytes` in its list.
    pub(super) fn begin(&self, owner: Owner, index: usize, order: Order, list_bytes: usize) {
        let limit = match owner {
            Owner::KERNEL => 0,
            _ => (list_bytes / bytes_of(index)).clamp(LIST_MIN, LIST_MAX),
        };
        self.limit.set(limit as u8);
        self.index.set(index as u8);
        self.slab_mask.set(!(order.bytes() - 1));
        self.stamp.set(slab::first_stamp(owner, index));
        self.count.store(self.empty_list(), Relaxed);
    }

    /// An object from the list.
    #[inline(always)]
    pub(super) fn pop(&self) -> Option<NonNull<u8>> {
        let object = self.free.get()?;
        // SAFETY: objects in the list are nobody's, and `push` wrote the link.
        self.free.set(unsafe { object.read() }.next);
        // One allocation more, one object less.
        let count = self.count.load(Relaxed) + (ALLOCATION - 1);
        self.count.store(count, Relaxed);
        Some(object.cast())
    }

    /// Takes `object` into the list; false if it is no object of this class, or the list is full.
    ///
    /// # Safety
    /// It was handed out by the heap and is not used any more. `size` bytes were asked for.
    #[inline(always)]
    pub(super) unsafe fn push(&self, object: *mut u8, size: usize) -> bool {
        let count = self.count.load(Relaxed);
        if count & FULL != 0 {
            return false;
        }
        // SAFETY: this function's contract.
        if unsafe { slab::stamp_around(object, self.slab_mask.get()) } != self.stamp.get() {
            return false;
        }
        // SAFETY: the stamp says that it lies in a slab, so it is not null.
        let object = unsafe { NonNull::new_unchecked(object) };
        // SAFETY: the stamp says that it is of this class.
        unsafe { self.retire(object, size) };
        // SAFETY: as above.
        unsafe { self.insert(object.cast(), count + 1) };
        true
    }

    /// Puts an object at the head of the list, which makes `count` right.
    ///
    /// # Safety
    /// It is one of this class, and nobody's.
    #[inline(always)]
    unsafe fn insert(&self, object: NonNull<FreeObject>, count: u64) {
        let next = self.free.get();
        // SAFETY: this function's contract; it is at least a pointer long and aligned to that.
        unsafe { object.write(FreeObject { next }) };
        self.free.set(Some(object));
        self.count.store(count, Relaxed);
    }

    /// Looks at an object that is freed, in debug builds.
    ///
    /// # Safety
    /// It is one of this class that was handed out, for `size` bytes.
    #[inline(always)]
    pub(super) unsafe fn retire(&self, object: NonNull<u8>, size: usize) {
        if cfg!(debug_assertions) {
            // SAFETY: this function's contract.
            unsafe { hardening::check_red_zone(object, self.index(), size) };
            // SAFETY: as above.
            unsafe { hardening::poison(object, self.index()) };
        }
    }

    /// An object from the slabs, and with it half a list of them.
    pub(super) fn refill(&self, frames: &dyn ChargedFrames) -> Option<NonNull<u8>> {
        let object = slab::take(self, frames)?;
        self.count
            .store(self.count.load(Relaxed) + ALLOCATION, Relaxed);
        // Never more than are there: another slab is fetched when somebody waits for it.
        for _ in 1..self.batch() {
            if self.with_room.get().is_none() {
                break;
            }
            let Some(object) = slab::take(self, frames) else {
                break;
            };
            // SAFETY: it was just taken.
            unsafe { self.insert(object.cast(), self.count.load(Relaxed) + 1) };
        }
        Some(object)
    }

    /// Puts up to so many objects of the list back into their slabs.
    pub(super) fn flush(&self, objects: usize, frames: &dyn ChargedFrames) {
        for _ in 0..objects {
            let Some(object) = self.free.get() else {
                return;
            };
            // SAFETY: as in `pop`.
            self.free.set(unsafe { object.read() }.next);
            self.count.store(self.count.load(Relaxed) - 1, Relaxed);
            // SAFETY: objects in the list are of this class, and nobody's.
            unsafe { slab::put(self, object, frames) };
        }
    }

    /// Takes an object back that is one of this class.
    ///
    /// # Safety
    /// It was handed out for `size` bytes and is not used any more.
    pub(super) unsafe fn free(&self, object: NonNull<u8>, size: usize, frames: &dyn ChargedFrames) {
        // SAFETY: this function's contract.
        unsafe { self.retire(object, size) };
        if self.limit.get() == 0 {
            // SAFETY: as above.
            return unsafe { slab::put(self, object.cast(), frames) };
        }
        if self.count.load(Relaxed) & FULL != 0 {
            self.flush(self.batch(), frames);
        }
        // SAFETY: as above.
        unsafe { self.insert(object.cast(), self.count.load(Relaxed) + 1) };
    }

    /// Forgets all slabs and objects, because the arena's owner is dead: their frames are freed by whoever counts them.
    /// What was handed out since boot stays counted.
    pub(super) fn abandon(&self) {
        self.stamp.set(slab::next_stamp(self.stamp.get()));
        self.free.set(None);
        let allocations = self.allocations() * ALLOCATION;
        self.count.store(allocations | self.empty_list(), Relaxed);
        self.with_room.set(None);
        self.spare.set(None);
        for number in [&self.out, &self.slabs, &self.pending] {
            number.store(0, Relaxed);
        }
    }

    /// Notes that so many more objects are not in a slab.
    #[inline]
    pub(super) fn count_out(&self, more: i32) {
        let out = self.out.load(Relaxed).wrapping_add_signed(more);
        self.out.store(out, Relaxed);
    }

    /// Notes so many more slabs.
    pub(super) fn count_slabs(&self, more: i32) {
        let slabs = self.slabs.load(Relaxed).wrapping_add_signed(more);
        self.slabs.store(slabs, Relaxed);
    }

    /// Bytes of live objects.
    pub(super) fn used_bytes(&self) -> u64 {
        let elsewhere = (self.count.load(Relaxed) & (ALLOCATION - 1)) - self.empty_list()
            + u64::from(self.pending.load(Relaxed));
        let live = u64::from(self.out.load(Relaxed)).saturating_sub(elsewhere);
        live * bytes_of(self.index()) as u64
    }

    /// Bytes of slabs.
    pub(super) fn committed_bytes(&self) -> u64 {
        u64::from(self.slabs.load(Relaxed)) * self.slab_bytes() as u64
    }

    /// Objects handed out since boot.
    pub(super) fn allocations(&self) -> u64 {
        self.count.load(Relaxed) / ALLOCATION
    }

    /// Its place in [`super::classes::CLASS_BYTES`].
    #[inline]
    pub(super) fn index(&self) -> usize {
        usize::from(self.index.get()) % CLASSES
    }

    /// What its slabs begin with.
    #[inline]
    pub(super) fn stamp(&self) -> u64 {
        self.stamp.get()
    }

    /// What leaves the address of a slab of an address in it.
    #[inline]
    pub(super) fn slab_mask(&self) -> usize {
        self.slab_mask.get()
    }

    /// Bytes of a slab.
    #[inline]
    pub(super) fn slab_bytes(&self) -> usize {
        self.slab_mask().wrapping_neg()
    }

    /// The order of its slabs.
    pub(super) fn order(&self) -> Order {
        Order::for_bytes(self.slab_bytes()).expect("set from an order")
    }

    /// The count of an empty list.
    fn empty_list(&self) -> u64 {
        FULL - u64::from(self.limit.get())
    }

    /// Objects that the list and the slabs exchange at a time.
    fn batch(&self) -> usize {
        usize::from(self.limit.get()) / 2
    }
}
