//! What an executor and the futures it polls say to each other: the time, the task that is polled, its
//! deadline, the doors it watches.
//!
//! It lives in the port, so futures reach it without a global, and is written on the subsystem's fiber alone;
//! its atomics are relaxed loads and stores and cost what plain memory costs.

use crate::bus::port::Door;
use crate::bus::ready::{DOORS_MAX, TASKS_MAX};
use crate::platform::time::Instant;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use core::task::{Context, Poll};

const NO_TASK: u8 = u8::MAX;
const NO_DEADLINE: u64 = u64::MAX;

pub(in crate::bus) struct Local {
    now: AtomicU64,
    current: AtomicU8,
    /// Tasks that asked to be polled again at once.
    again: AtomicU64,
    /// No deadline is before this; it may be too early, then the next look corrects it.
    earliest: AtomicU64,
    /// Tasks that have a deadline.
    timed: AtomicU64,
    deadlines: [AtomicU64; TASKS_MAX],
    /// Tasks that watch each door.
    watchers: [AtomicU64; DOORS_MAX],
}

impl Local {
    pub(in crate::bus) fn new() -> Self {
        Self {
            now: AtomicU64::new(0),
            current: AtomicU8::new(NO_TASK),
            again: AtomicU64::new(0),
            earliest: AtomicU64::new(NO_DEADLINE),
            timed: AtomicU64::new(0),
            deadlines: [const { AtomicU64::new(NO_DEADLINE) }; TASKS_MAX],
            watchers: [const { AtomicU64::new(0) }; DOORS_MAX],
        }
    }

    /// Forgets the incarnation that ended.
    pub(in crate::bus) fn reset(&self) {
        self.current.store(NO_TASK, Relaxed);
        self.again.store(0, Relaxed);
        self.earliest.store(NO_DEADLINE, Relaxed);
        self.timed.store(0, Relaxed);
        for watchers in &self.watchers {
            watchers.store(0, Relaxed);
        }
    }

    #[inline(always)]
    pub(in crate::bus) fn now(&self) -> Instant {
        Instant::from_nanos(self.now.load(Relaxed))
    }

    pub(super) fn begin_step(&self, now: Instant) {
        self.now.store(now.as_nanos(), Relaxed);
    }

    pub(super) fn begin_task(&self, number: usize) {
        self.current.store(number as u8, Relaxed);
        // What it still waits for it says again while it is polled.
        self.timed
            .store(self.timed.load(Relaxed) & !(1 << number), Relaxed);
    }

    pub(super) fn end_task(&self) {
        self.current.store(NO_TASK, Relaxed);
    }

    /// The task that is polled now.
    ///
    /// # Panics
    /// If none is: the bus's futures work on an executor of the bus only.
    pub(in crate::bus) fn current(&self) -> u8 {
        let current = self.current.load(Relaxed);
        assert!(current != NO_TASK, "awaited outside the port's executor");
        current
    }

    /// Polls the current task again when there is a knock on `door`.
    pub(in crate::bus) fn watch(&self, door: Door) {
        let watchers = &self.watchers[usize::from(door.0)];
        let watching = watchers.load(Relaxed) | 1 << self.current();
        watchers.store(watching, Relaxed);
    }

    pub(super) fn take_watchers(&self, door: usize) -> u64 {
        let watching = self.watchers[door].load(Relaxed);
        self.watchers[door].store(0, Relaxed);
        watching
    }

    /// Polls the current task again at `deadline`, or before.
    pub(in crate::bus) fn wake_at(&self, deadline: Instant) {
        let (task, deadline) = (self.current(), deadline.as_nanos());
        let timed = self.timed.load(Relaxed);
        let own = &self.deadlines[usize::from(task)];
        // Of several waits of one task the earliest counts.
        let earlier = if timed & 1 << task == 0 {
            NO_DEADLINE
        } else {
            own.load(Relaxed)
        };
        own.store(deadline.min(earlier), Relaxed);
        self.timed.store(timed | 1 << task, Relaxed);
        let earliest = self.earliest.load(Relaxed).min(deadline);
        self.earliest.store(earliest, Relaxed);
    }

    pub(super) fn take_again(&self) -> u64 {
        let again = self.again.load(Relaxed);
        self.again.store(0, Relaxed);
        again
    }

    /// The tasks whose deadline has come.
    pub(super) fn take_due(&self, now: Instant) -> u64 {
        let now = now.as_nanos();
        if now < self.earliest.load(Relaxed) {
            return 0;
        }
        let due = self
            .timed()
            .filter(|&(_, at)| at <= now)
            .fold(0, |due, (task, _)| due | 1 << task);
        self.timed.store(self.timed.load(Relaxed) & !due, Relaxed);
        self.earliest
            .store(self.next_deadline().as_nanos(), Relaxed);
        due
    }

    pub(super) fn next_deadline(&self) -> Instant {
        let next = self.timed().map(|(_, at)| at).min();
        Instant::from_nanos(next.unwrap_or(NO_DEADLINE))
    }

    /// Tasks that have a deadline, with it.
    fn timed(&self) -> impl Iterator<Item = (usize, u64)> {
        let mut left = self.timed.load(Relaxed);
        core::iter::from_fn(move || {
            let task = left.trailing_zeros() as usize;
            let deadline = self.deadlines.get(task)?.load(Relaxed);
            left &= left - 1;
            Some((task, deadline))
        })
    }
}

/// Waits until a time.
#[must_use = "a future does nothing unless it is awaited"]
pub struct Sleep<'a> {
    local: &'a Local,
    until: Instant,
}

impl<'a> Sleep<'a> {
    pub(super) fn new(local: &'a Local, until: Instant) -> Self {
        Self { local, until }
    }
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.local.now() >= self.until {
            return Poll::Ready(());
        }
        self.local.wake_at(self.until);
        Poll::Pending
    }
}

/// Lets others go first.
#[must_use = "a future does nothing unless it is awaited"]
pub struct YieldNow<'a> {
    local: &'a Local,
    yielded: bool,
}

impl<'a> YieldNow<'a> {
    pub(super) fn new(local: &'a Local) -> Self {
        Self {
            local,
            yielded: false,
        }
    }
}

impl Future for YieldNow<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        let again = self.local.again.load(Relaxed) | 1 << self.local.current();
        self.local.again.store(again, Relaxed);
        Poll::Pending
    }
}
