//! A spin lock that outlives whoever died with it: who holds it is one word, taken and told in one step.
//!
//! Its guard holds the CPU (a [`PreemptionGuard`]), so no fiber is ever preempted inside, and the lock is on the
//! fiber's list from before it is taken. After a death the supervisor breaks the locks on that list
//! ([`super::Obituary::break_locks`]): one that the dead fiber held is verified by the function that it was made
//! with, and released; one that it only waited for is left alone.
//!
//! Fibers only: code that runs outside any fiber (boot) may take it too, but its death is the image's.
#![allow(unsafe_code, reason = "the value is reached through the lock word")]

use super::FiberId;
use super::cpu::Cpu;
use super::fiber::Fiber;
use crate::arch::aarch64::preemption::PreemptionGuard;
pub use crate::memory::Verdict;
use crate::platform::spin_once;
use core::cell::UnsafeCell;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering};

/// A lock as the supervisor sees it.
pub trait Held: Sync {
    /// Releases it if that fiber, which is dead, holds it, after it was verified.
    fn release_of(&self, dead: FiberId) -> Verdict;
}

impl fmt::Debug for dyn Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Locked")
    }
}

/// Nobody holds it.
const FREE: u32 = 0;
/// Code outside any fiber holds it.
const OUTSIDE: u32 = u32::MAX;

/// A value behind a spin lock.
pub struct Locked<T> {
    holder: AtomicU32,
    verify: fn(&mut T) -> Verdict,
    value: UnsafeCell<T>,
}

/// The value, as long as it is held.
pub struct LockedGuard<T: 'static> {
    lock: &'static Locked<T>,
    fiber: Option<&'static Fiber>,
    /// Dropped last: a switch that is pending finds the lock released.
    _guard: PreemptionGuard,
}

// SAFETY: the value is reached by one holder at a time, and by the supervisor when the holder is dead.
unsafe impl<T: Send> Sync for Locked<T> {}

fn word(id: FiberId) -> u32 {
    1 + u32::from(id.word())
}

impl<T> Locked<T> {
    /// A lock on `value`; `verify` looks at what a dead holder left, and may rebuild it.
    pub const fn new(value: T, verify: fn(&mut T) -> Verdict) -> Self {
        Self {
            holder: AtomicU32::new(FREE),
            verify,
            value: UnsafeCell::new(value),
        }
    }
}

impl<T: Send + 'static> Locked<T> {
    /// Takes it.
    ///
    /// # Panics
    /// If the fiber holds it already, or holds as many locks as can be noted.
    pub fn lock(&'static self) -> LockedGuard<T> {
        let guard = PreemptionGuard::new();
        let fiber = Cpu::this().and_then(Cpu::current);
        if let Some(fiber) = fiber {
            // SAFETY: this is the fiber, and it holds a guard.
            unsafe { fiber.push_lock(self) };
        }
        let own = fiber.map_or(OUTSIDE, |fiber| word(fiber.id));
        // Acquire: pairs with the Release of the holder before, or of the supervisor.
        while let Err(holder) =
            self.holder
                .compare_exchange_weak(FREE, own, Ordering::Acquire, Ordering::Relaxed)
        {
            assert!(
                holder != own || own == OUTSIDE,
                "a lock is taken twice by one fiber"
            );
            spin_once();
        }
        LockedGuard {
            lock: self,
            fiber,
            _guard: guard,
        }
    }
}

impl<T: Send> Held for Locked<T> {
    fn release_of(&self, dead: FiberId) -> Verdict {
        // Acquire: sees what the dead one wrote.
        if self.holder.load(Ordering::Acquire) != word(dead) {
            return Verdict::Intact;
        }
        // SAFETY: its holder is dead, and only the supervisor that calls this comes after it.
        let verdict = (self.verify)(unsafe { &mut *self.value.get() });
        if verdict != Verdict::Lost {
            // Release: pairs with the Acquire in `lock`.
            self.holder.store(FREE, Ordering::Release);
        }
        verdict
    }
}

impl<T> Drop for LockedGuard<T> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `lock`.
        self.lock.holder.store(FREE, Ordering::Release);
        if let Some(fiber) = self.fiber {
            // SAFETY: this is the fiber that took the lock: guards stay on their fiber. It still holds one.
            unsafe { fiber.pop_lock() };
        }
    }
}

impl<T> Deref for LockedGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this guard's fiber holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for LockedGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and the guard is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}
