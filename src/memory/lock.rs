//! The memory manager's lock: a spin lock that knows who holds it, so that it can be taken from a dead holder.
//!
//! Always true: the word is 0 exactly while nobody holds the lock. The holder has preemption disabled on its CPU.
//! A holder that dies inside never releases it; [`Lock::seize`] then hands what it protects to whoever
//! verifies it.
#![allow(
    unsafe_code,
    reason = "a lock turns a shared reference into a unique one"
)]

use super::accounts::Owner;
use crate::platform::spin_once;
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

/// Nobody holds the lock.
const FREE: u32 = 0;
/// It is held for verification.
const SEIZED: u32 = u32::MAX;

/// What a look at a structure found whose holder had died in the middle of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing was half done.
    Intact,
    /// What was half done is done or undone; the structure is whole.
    Rebuilt,
    /// The structure cannot be trusted any more.
    Lost,
}

/// A value that one holder at a time reaches.
pub(super) struct Lock<T> {
    /// [`FREE`], [`SEIZED`], or one more than the number of the owner that holds it.
    holder: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: `with` and `seize` give out one reference at a time, and the value may go from CPU to CPU.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub(super) const fn new(value: T) -> Self {
        Self {
            holder: AtomicU32::new(FREE),
            value: UnsafeCell::new(value),
        }
    }

    /// Runs `section` with the value, as `runner`, once nobody else holds it.
    ///
    /// A panic in `section` leaves the lock held, as any other death does.
    #[inline(always)]
    pub(super) fn with<R>(&self, runner: Owner, section: impl FnOnce(&mut T) -> R) -> R {
        self.acquire(FREE, word(runner));
        #[cfg(test)]
        super::test_support::note_visit();
        // SAFETY: the word says that we hold the lock; until it is free again nobody else gets here.
        let result = section(unsafe { &mut *self.value.get() });
        // Release: pairs with the Acquire of the next holder.
        self.holder.store(FREE, Release);
        result
    }

    /// Runs `section` as [`Lock::with`] does, if nobody holds the lock.
    pub(super) fn try_with<R>(
        &self,
        runner: Owner,
        section: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        // Acquire: pairs with the Release of the last holder.
        let taken = self
            .holder
            .compare_exchange(FREE, word(runner), Acquire, Relaxed);
        taken.ok()?;
        // SAFETY: as in `with`.
        let result = section(unsafe { &mut *self.value.get() });
        // Release: pairs with the Acquire of the next holder.
        self.holder.store(FREE, Release);
        Some(result)
    }

    /// True if `owner` holds the lock now.
    pub(super) fn is_held_by(&self, owner: Owner) -> bool {
        self.holder.load(Relaxed) == word(owner)
    }

    /// Takes the lock from `dead` if that holds it, else waits for it as anybody does.
    ///
    /// # Safety
    /// Nothing runs as `dead`, nor will before what this returns is dropped.
    pub(super) unsafe fn seize(&self, dead: Owner) -> Seized<'_, T> {
        // Acquire: pairs with what told us that the owner is dead; what it wrote is seen.
        let dead = word(dead);
        let from_dead = self.holder.compare_exchange(dead, SEIZED, Acquire, Relaxed);
        if from_dead.is_err() {
            self.acquire(FREE, SEIZED);
        }
        Seized { lock: self }
    }

    #[inline]
    fn acquire(&self, from: u32, to: u32) {
        // Acquire: pairs with the Release of the last holder.
        while self
            .holder
            .compare_exchange_weak(from, to, Acquire, Relaxed)
            .is_err()
        {
            while self.holder.load(Relaxed) != from {
                spin_once();
            }
        }
    }
}

/// The value of a seized lock, released when this is dropped.
pub(super) struct Seized<'a, T> {
    lock: &'a Lock<T>,
}

impl<T> Deref for Seized<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock is held until this is dropped, and the last holder is dead or gone.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Seized<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and this is the only `Seized` of the lock.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Seized<'_, T> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire of the next holder.
        self.lock.holder.store(FREE, Release);
    }
}

/// What the word of a lock says that `owner` holds.
#[inline]
fn word(owner: Owner) -> u32 {
    u32::from(owner.get()) + 1
}
