//! The ready word of a subsystem: one bit for each of its tasks and each of its doors (mailboxes), set by
//! whoever has something for it, taken as a whole by its executor.
//!
//! Setting a bit and ringing the [`Bell`] is all that waking costs: nothing is allocated, nothing is locked, and
//! any CPU may do it. The word outlives the subsystem (the composition root makes it), and a task's bit is set
//! only by who names the incarnation that runs now: a waker kept from an earlier one does nothing.
//!
//! No wake is lost: a bit is set before the bell rings, and the executor takes the word after the bell woke
//! it. Every set rings, also when bits were set before: who set those may have been preempted before it rang.
//! A sender may put several sets, or a set and its own sleep, together into one ring: then it owes that ring.

use super::sync::{Acquire, AtomicU64, Relaxed, Release};
use alloc::sync::Arc;

/// Tasks that one executor holds at most: bits 0 and up of the ready word.
pub const TASKS_MAX: usize = 48;
/// Doors of one subsystem: the bits above the tasks'.
pub const DOORS_MAX: usize = 16;

const TASK_BITS: u64 = (1 << TASKS_MAX) - 1;
const _: () = assert!(TASKS_MAX + DOORS_MAX == 64, "one word holds both");

/// Wakes a subsystem's fiber, wherever it runs; the kernel implements it, tests count.
///
/// Ringing never blocks, allocates or fails; ringing for one that is awake or dead does no harm.
pub trait Bell: Send + Sync {
    /// Makes the fiber run its executor once more, soon.
    fn ring(&self);
}

impl<B: Bell + ?Sized> Bell for &B {
    #[inline(always)]
    fn ring(&self) {
        (**self).ring();
    }
}

impl<B: Bell + ?Sized> Bell for Arc<B> {
    fn ring(&self) {
        (**self).ring();
    }
}

/// A bell that nobody hears: for a subsystem that is polled anyway.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mute;

impl Bell for Mute {
    fn ring(&self) {}
}

/// The bit of a door, so that a sender need not make it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Knock(u64);

impl Knock {
    /// A knock on the door of that number.
    pub(super) const fn on(door: u8) -> Self {
        Self(1 << TASKS_MAX << door)
    }
}

/// Which executor's bits became ready: tasks in the low part, doors in the high part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ready(u64);

impl Ready {
    pub(super) fn tasks(self) -> u64 {
        self.0 & TASK_BITS
    }

    pub(super) fn doors(self) -> u64 {
        self.0 >> TASKS_MAX
    }
}

/// The word, the incarnation that it is for, and the bell.
pub(super) struct ReadyWord<B: ?Sized> {
    word: AtomicU64,
    incarnation: AtomicU64,
    bell: B,
}

impl<B: Bell> ReadyWord<B> {
    pub(super) fn new(bell: B) -> Self {
        Self {
            word: AtomicU64::new(0),
            incarnation: AtomicU64::new(0),
            bell,
        }
    }

    pub(super) fn incarnation(&self) -> u64 {
        self.incarnation.load(Acquire)
    }

    /// Ends the incarnation: wakers of it do nothing from now on.
    pub(super) fn next_incarnation(&self) -> u64 {
        // One writer: the supervisor, while the fiber is stopped.
        let next = self.incarnation.load(Relaxed) + 1;
        self.incarnation.store(next, Release);
        next
    }

    /// What wakers remember of the incarnation: its low bits.
    pub(super) fn tag(&self) -> u16 {
        self.incarnation() as u16
    }

    /// Wakes a task of the incarnation with that tag; of another one, does nothing and says so.
    pub(super) fn wake(&self, task: u8, tag: u16) -> bool {
        let alive = self.tag() == tag;
        if alive {
            self.raise(1 << task);
        }
        alive
    }

    /// Tells the subsystem to look behind a door.
    #[inline(always)]
    pub(super) fn knock(&self, door: Knock) {
        self.raise(door.0);
    }

    /// As [`ReadyWord::knock`], for one who rings later.
    #[inline(always)]
    pub(super) fn leave(&self, door: Knock) {
        // Release: pairs with the Acquire in `take`: what was written before is seen by the task.
        self.word.fetch_or(door.0, Release);
    }

    /// Rings for all that was left.
    #[inline(always)]
    pub(super) fn ring(&self) {
        self.bell.ring();
    }

    #[inline(always)]
    fn raise(&self, bits: u64) {
        self.leave(Knock(bits));
        self.ring();
    }

    /// What became ready since the last take.
    #[inline(always)]
    pub(super) fn take(&self) -> Ready {
        if self.word.load(Relaxed) == 0 {
            return Ready(0);
        }
        // Acquire: pairs with the Release in `raise`.
        Ready(self.word.swap(0, Acquire))
    }
}
