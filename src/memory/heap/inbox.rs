//! Inboxes: how an object comes back to its arena when another than the arena's owner frees it.
//!
//! Whoever frees it links it to the others in the box, with the box's lock held; the arena's owner takes them all at once
//! when it comes by, and puts some of them into their slabs each time. A look at whether there is something is one load.
//!
//! It is a lock and not an exchange of one word, because the one that frees must not write to an object whose arena is
//! abandoned in the meantime: its frames may be somebody else's by then. What holds the lock can look at the arena's stamp
//! and be sure of it until it has written. Few objects come this way: those handed from one subsystem to another.
//!
//! Always true: each object in the box links to the next, and is counted as pending by its class. A holder that dies inside
//! leaves the box whole; at worst the object it was about to put in is counted and not there: that one is nobody's until
//! the arena goes.
#![allow(unsafe_code, reason = "free objects link to each other")]

use super::super::accounts::Owner;
use super::super::lock::{Lock, Verdict};
use super::class::Class;
use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::sync::atomic::{
    AtomicUsize,
    Ordering::{Relaxed, Release},
    compiler_fence,
};

/// Names an object in one word: its address, and its class in the bits that no address has. 0 for none.
type Link = usize;
/// Where the class begins in a link.
const CLASS_SHIFT: u32 = 56;

/// What others have freed of one arena.
pub(super) struct Inbox {
    lock: Lock<()>,
    /// The last that came. Written with the lock held.
    first: AtomicUsize,
    /// What the arena's owner has taken out and not put into slabs yet. The owner's alone.
    taken: Cell<Link>,
}

impl Inbox {
    /// An empty one.
    pub(super) const fn new() -> Self {
        Self {
            lock: Lock::new(()),
            first: AtomicUsize::new(0),
            taken: Cell::new(0),
        }
    }

    /// Runs `section` while nobody puts something in, nor abandons the arena. As `runner`, with preemption disabled.
    #[inline]
    pub(super) fn closed<R>(&self, runner: Owner, section: impl FnOnce() -> R) -> R {
        self.lock.with(runner, |()| section())
    }

    /// Puts an object of that class in. With the lock held.
    ///
    /// # Safety
    /// It is one of the class's, of this inbox's arena, and nobody uses it any more.
    pub(super) unsafe fn put(&self, class: &Class, object: NonNull<u8>) {
        class.pending.fetch_add(1, Relaxed);
        let link = object.expose_provenance().get() | class.index() << CLASS_SHIFT;
        // SAFETY: this function's contract; it is at least a word long and aligned to that.
        unsafe { object.cast::<Link>().write(self.first.load(Relaxed)) };
        // The link before what leads to it, should this CPU stop here.
        compiler_fence(Release);
        self.first.store(link, Relaxed);
    }

    /// True if there is something to take out.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        // Relaxed: what comes just now is taken out the next time.
        self.taken.get() == 0 && self.first.load(Relaxed) == 0
    }

    /// Takes all out, to be handed over one after another. With the lock held, by the arena's owner.
    pub(super) fn take_all(&self) {
        if self.taken.get() == 0 {
            self.taken.set(self.first.load(Relaxed));
            self.first.store(0, Relaxed);
        }
    }

    /// One of those that were taken out, with its class. By the arena's owner.
    pub(super) fn next(&self) -> Option<(usize, NonNull<u8>)> {
        let link = self.taken.get();
        let address = link & ((1 << CLASS_SHIFT) - 1);
        let object = NonNull::new(ptr::with_exposed_provenance_mut::<u8>(address))?;
        // SAFETY: the object is nobody's, and `put` wrote the link.
        self.taken.set(unsafe { object.cast::<Link>().read() });
        Some((link >> CLASS_SHIFT, object))
    }

    /// Releases the lock if `dead` holds it: what it left is whole.
    ///
    /// # Safety
    /// Nothing runs as `dead`, nor will before this returns.
    pub(super) unsafe fn recover(&self, dead: Owner) -> Verdict {
        if !self.lock.is_held_by(dead) {
            return Verdict::Intact;
        }
        // SAFETY: this function's contract is the one asked for.
        drop(unsafe { self.lock.seize(dead) });
        Verdict::Rebuilt
    }

    /// Forgets what is inside and runs `section` while nobody puts something in: the arena's owner, `dead`, is.
    ///
    /// # Safety
    /// As [`Inbox::recover`]. With preemption disabled.
    pub(super) unsafe fn abandon(&self, dead: Owner, section: impl FnOnce()) {
        // SAFETY: this function's contract is the one asked for.
        let _lock = unsafe { self.lock.seize(dead) };
        self.first.store(0, Relaxed);
        self.taken.set(0);
        section();
    }
}

#[cfg(test)]
impl Inbox {
    /// The link to the last that came.
    pub(super) fn first(&self) -> usize {
        self.first.load(Relaxed)
    }

    /// Has that be the last that came.
    pub(super) fn set_first(&self, link: usize) {
        self.first.store(link, Relaxed);
    }
}
