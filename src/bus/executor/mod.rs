//! The cooperative executor of one subsystem: a fixed number of tasks, polled in turn on the subsystem's fiber.
//!
//! What makes a task ready: its bit in the port's ready word (its waker, from any CPU), a knock on a door it
//! watches (a mailbox got a message), or its deadline. Waking allocates nothing. The fiber's whole life is
//! `loop { park_until(executor.run(clock)) }`: the ready word is taken again after each bell, so no wake is lost.
//!
//! The tasks live and die with the incarnation; the [`Port`] outlives it. A fault leaves them where they are,
//! undropped, and the next incarnation makes an executor of its own.
//!
//! Tasks are polled with wakers that name the task. A future that polls its parts under wakers of its own
//! is told of wakes only through those; the bus's own futures must be polled by the task itself.
#![allow(
    unsafe_code,
    reason = "a box that may fail to be made, and one conversion of it"
)]

mod local;
#[cfg(all(test, not(loom)))]
mod tests;
mod waker;

pub(super) use local::Local;
pub use local::{Sleep, YieldNow};
pub(super) use waker::Token;

use super::envelope::NEVER;
use super::port::Port;
use super::ready::TASKS_MAX;
use crate::error::{Error, Kind, Result, Subsystem, try_box, try_boxed_slice};
use crate::platform::time::{Clock, Instant};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// What one step of an executor did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Polled that task once.
    Polled(usize),
    /// Found nothing ready; the next deadline, [`NEVER`] if there is none.
    Idle(Instant),
}

/// The executor.
pub struct Executor {
    port: Arc<Port>,
    tasks: Box<[Option<Task>]>,
    /// Tasks to poll, one bit each.
    ready: u64,
    last: usize,
    tag: u16,
}

impl Executor {
    /// An executor for the incarnation of `port`'s subsystem that runs now, with room for `capacity` tasks.
    ///
    /// # Errors
    /// `OutOfMemory`; `LimitReached` beyond [`TASKS_MAX`].
    pub fn new(port: Arc<Port>, capacity: usize) -> Result<Self> {
        if capacity > TASKS_MAX {
            return Err(too_many(TASKS_MAX));
        }
        let tasks = try_boxed_slice(capacity, |_| None)?;
        Ok(Self {
            tag: port.ready.tag(),
            port,
            tasks,
            ready: 0,
            last: 0,
        })
    }

    /// The port of its subsystem.
    pub fn port(&self) -> &Arc<Port> {
        &self.port
    }

    /// Takes a task; it is polled in the next step or soon after.
    ///
    /// # Errors
    /// `OutOfMemory`; `LimitReached` if all places are taken.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + 'static) -> Result<()> {
        let place = self.tasks.iter().position(Option::is_none);
        let place = place.ok_or(too_many(self.tasks.len()))?;
        let task: Box<dyn Future<Output = ()>> = try_box(task)?;
        self.tasks[place] = Some(Box::into_pin(task));
        self.ready |= 1 << place;
        Ok(())
    }

    /// Tasks that are not done.
    pub fn tasks(&self) -> usize {
        self.tasks.iter().flatten().count()
    }

    /// Polls one ready task, in turn, if there is one.
    pub fn step(&mut self, now: Instant) -> Step {
        self.collect(now);
        if self.ready == 0 {
            return Step::Idle(self.port.local.next_deadline());
        }
        // In turn: the first ready one behind the last, or else the first.
        let behind = self.ready & (u64::MAX << 1 << self.last);
        let task = if behind == 0 { self.ready } else { behind }.trailing_zeros() as usize;
        self.ready &= !(1 << task);
        self.last = task;
        self.poll(task);
        Step::Polled(task)
    }

    /// Polls until nothing is ready; returns the next deadline, [`NEVER`] if there is none.
    pub fn run(&mut self, clock: &dyn Clock) -> Instant {
        loop {
            if let Step::Idle(deadline) = self.step(clock.now()) {
                return deadline;
            }
        }
    }

    fn collect(&mut self, now: Instant) {
        let local = &self.port.local;
        local.begin_step(now);
        let ready = self.port.ready.take();
        self.ready |= ready.tasks() | local.take_again();
        let mut doors = ready.doors();
        while doors != 0 {
            self.ready |= local.take_watchers(doors.trailing_zeros() as usize);
            doors &= doors - 1;
        }
        self.ready |= local.take_due(now);
    }

    fn poll(&mut self, number: usize) {
        // A bit for a task that is done already: a waker of it was left somewhere.
        let Some(task) = self.tasks.get_mut(number).and_then(Option::as_mut) else {
            return;
        };
        self.port.local.begin_task(number);
        let waker = waker::borrowed(&self.port, number as u8, self.tag);
        let polled = task.as_mut().poll(&mut Context::from_waker(&waker));
        self.port.local.end_task();
        if polled == Poll::Ready(()) {
            self.tasks[number] = None;
        }
    }
}

fn too_many(limit: usize) -> Error {
    let (what, limit) = ("tasks of one executor", limit as u64);
    Error::new(Subsystem::Bus, Kind::LimitReached { what, limit })
}

impl Port {
    /// Waits until that time.
    pub fn sleep_until(&self, until: Instant) -> Sleep<'_> {
        Sleep::new(&self.local, until)
    }

    /// Lets the other ready tasks of the subsystem go first, once.
    pub fn yield_now(&self) -> YieldNow<'_> {
        YieldNow::new(&self.local)
    }

    /// The task that is polled now, as others may wake it.
    pub(super) fn current_task(&self) -> Token {
        Token::new(self.id(), self.local.current(), self.ready.tag())
    }
}

const _: () = assert!(NEVER.as_nanos() == u64::MAX, "no deadline is later");
