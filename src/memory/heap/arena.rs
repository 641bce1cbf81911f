//! Arenas: each owner's own classes of slabs and count of large objects, so that all of it can be forgotten at once.
//!
//! Exactly one fiber runs for an owner, but for the kernel (the scheduler refuses a second one), so an owner's arena
//! is touched by that fiber alone: it takes no lock, and may be preempted or killed anywhere, since an arena whose owner
//! is dead is forgotten whole. What others free into it goes through its [`Inbox`]. The kernel's arena is touched
//! with a lock held, by code that does not die: an end of the kernel's own code is the end of the image.
//!
//! Always true: what is in an arena is charged to its owner, and is reached through it alone.
#![allow(
    unsafe_code,
    reason = "what one fiber touches is handed to others once that is dead"
)]

use super::super::accounts::Owner;
use super::super::manager::ChargedFrames;
use super::class::{Class, LIST_MAX};
use super::classes::{CLASSES, order_of};
use super::inbox::Inbox;
use super::slab;
use crate::metrics::{Counter, Gauge};
use core::mem::size_of;
use core::ptr::NonNull;

/// Bytes of the objects in a list at most, where memory is not short. A guess: a few slabs.
const LIST_BYTES_MAX: usize = 8 << 10;
/// A list may hold one byte in so many of the machine's memory.
const LIST_SHARE: u64 = 4096;

/// One owner's part of the heap.
#[repr(C, align(64))]
pub(super) struct Arena {
    classes: [Class; CLASSES],
    pub(super) inbox: Inbox,
    pub(super) large_allocations: Counter,
    pub(super) large_bytes: Gauge,
    // A power of two: an arena's place is found by a shift.
    _rest: [u64; REST],
}

/// Bytes of an arena.
const ARENA_BYTES: usize = 4096;
const REST: usize = (ARENA_BYTES
    - CLASSES * size_of::<Class>()
    - size_of::<Inbox>()
    - size_of::<Counter>()
    - size_of::<Gauge>())
    / size_of::<u64>();
const _: () = assert!(size_of::<Class>() == 64 && size_of::<Arena>() == ARENA_BYTES);

// SAFETY: what is not atomic is touched by the owner's one fiber, which stays on its CPU, or for the kernel by whoever
// holds its lock; before the first and after the last of that, by the one that begins or abandons the arena. The stamps
// are read by others too, under the inbox's lock, with which they are changed.
unsafe impl Sync for Arena {}
// SAFETY: the pointers lead to slabs that belong to the arena alone.
unsafe impl Send for Arena {}

impl Arena {
    /// An arena of nobody's. All of it is zeros, so that an image need not hold it.
    pub(super) const fn empty() -> Self {
        Self {
            classes: [const { Class::empty() }; CLASSES],
            inbox: Inbox::new(),
            large_allocations: Counter::new(),
            large_bytes: Gauge::new(),
            _rest: [0; REST],
        }
    }

    /// Makes it the arena of `owner`, before it has anything, on a machine of so many bytes.
    pub(super) fn begin(&self, owner: Owner, memory_bytes: u64) {
        let list_bytes = (memory_bytes / LIST_SHARE).min(LIST_BYTES_MAX as u64) as usize;
        for (index, class) in self.classes.iter().enumerate() {
            class.begin(owner, index, order_of(index, memory_bytes), list_bytes);
        }
    }

    /// The classes, in their order.
    pub(super) fn classes(&self) -> impl Iterator<Item = &Class> {
        self.classes.iter()
    }

    /// The class of that index.
    #[inline(always)]
    pub(super) fn class(&self, index: usize) -> &Class {
        &self.classes[index]
    }

    /// An object of a class whose list is empty. By whoever the arena belongs to.
    #[inline(never)]
    pub(super) fn allocate(&self, index: usize, frames: &dyn ChargedFrames) -> Option<NonNull<u8>> {
        let class = self.class(index);
        // Taking in what others freed may have filled the list; and a class of another alignment comes here with objects in
        // its list.
        class.pop().or_else(|| class.refill(frames))
    }

    /// Takes an object back that lies in a slab of that stamp; false if it is none of ours. By whoever the arena belongs to.
    ///
    /// # Safety
    /// As [`Class::push`].
    #[inline(never)]
    pub(super) unsafe fn free(
        &self,
        index: usize,
        object: NonNull<u8>,
        size: usize,
        stamp: u64,
        frames: &dyn ChargedFrames,
    ) -> bool {
        let class = self.class(index);
        let is_ours = stamp == class.stamp();
        if is_ours {
            // SAFETY: the stamp says that it is of this class; the rest is this function's contract.
            unsafe { class.free(object, size, frames) };
        }
        is_ours
    }

    /// Gives back what no object needs: lists and spare slabs. By whoever the arena belongs to.
    pub(super) fn give_back(&self, frames: &dyn ChargedFrames) {
        for class in &self.classes {
            class.flush(LIST_MAX, frames);
            slab::give_back_spare(class, frames);
        }
    }

    /// Forgets all objects, because the owner is dead. With the inbox's lock held.
    pub(super) fn abandon(&self) {
        self.classes.iter().for_each(Class::abandon);
        self.large_bytes.set(0);
    }
}
