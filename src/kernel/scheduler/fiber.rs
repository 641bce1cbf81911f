//! One fiber: its stack, where it begins, what the scheduler counts of it.
//!
//! Fields that say so are touched by the fiber's own CPU alone; they are atomics so that a scrape may read them.
//! A fiber is made once and lives for ever; deaths and restarts change its state:
//! new or dead → alive ([`super::Fibers::restart`]) → dead ([`super::death`]).
#![allow(
    unsafe_code,
    reason = "stacks are painted; what the dead left is read once they are dead"
)]

use super::death::{Cause, Obituary};
use super::lock::Held;
use super::{FiberId, FiberSpec, NEVER, Spared};
use crate::arch::aarch64::cpu_block::Stack;
use crate::arch::aarch64::fiber::Context;
use core::cell::UnsafeCell;
use core::sync::atomic::{
    AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{self, Relaxed},
};
use heapless::Vec;
use spin::Once;

/// What a stack is filled with before it is used.
const PAINT: u64 = 0x5ca1_ab1e_0ddb_a115;
/// Locks that a fiber holds at a time.
pub(super) const LOCKS_MAX: usize = 4;

/// What a fiber runs, with its argument.
pub type Entry = fn(usize);

/// Whether a fiber may be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Made, and not started yet.
    New = 0,
    /// Being set up to run.
    Starting = 1,
    /// It runs, is ready, or is parked.
    Alive = 2,
    /// It died and has to be restarted.
    Dead = 3,
}

/// A word that one CPU writes and all may read.
#[derive(Debug, Default)]
pub(super) struct Own(AtomicU64);

impl Own {
    pub(super) const fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    #[inline]
    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    #[inline]
    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// As [`Own::set`]; who sees it by [`Own::published`] sees all that was written before.
    #[inline]
    pub(super) fn publish(&self, value: u64) {
        // Release: pairs with the Acquire in `published`.
        self.0.store(value, Ordering::Release);
    }

    pub(super) fn published(&self) -> u64 {
        // Acquire: pairs with the Release in `publish`.
        self.0.load(Ordering::Acquire)
    }

    /// Adds; no other CPU writes, and no handler of this one does between the load and the store.
    #[inline]
    pub(super) fn add(&self, value: u64) {
        self.set(self.get().wrapping_add(value));
    }
}

pub(super) struct Fiber {
    pub(super) context: Context,
    pub(super) id: FiberId,
    pub(super) name: &'static str,
    pub(super) owner: u8,
    /// Ticks of CPU time without a beat after which it hangs; [`NEVER`] for never.
    pub(super) hang_ticks: u64,
    state: AtomicU8,
    entry: AtomicPtr<()>,
    argument: AtomicUsize,
    /// Times it was started.
    pub(super) incarnation: AtomicU32,
    /// Ticks at which it is to be woken; its own CPU's, as all that follow.
    pub(super) deadline: Own,
    /// Ticks when it became ready; written by whoever wakes it.
    pub(super) ready_at: Own,
    /// Ticks that it ran, up to the last switch.
    pub(super) cpu_ticks: Own,
    /// Times that it came back to its executor.
    pub(super) beats: Own,
    /// The watchdog's last look: beats and CPU time then, and how many looks saw no new beat.
    pub(super) seen_beats: Own,
    pub(super) seen_ticks: Own,
    pub(super) stale_looks: Own,
    /// Why it is to die when it drops its last guard, if it is to.
    doom: AtomicU8,
    /// Where it is not to be killed.
    pub(super) spared: Once<&'static dyn Spared>,
    /// Locks that it holds or waits for.
    held: UnsafeCell<Vec<&'static dyn Held, LOCKS_MAX>>,
    /// Of its last death; whole once the state says dead.
    obituary: UnsafeCell<Obituary>,
}

// SAFETY: `held` is touched by the fiber itself, and after its death by its own CPU; `obituary` by the fiber's
// CPU before the state says dead (Release) and by the one supervisor after (Acquire), until the restart. All
// else is atomic.
unsafe impl Sync for Fiber {}
// SAFETY: as above; a fiber's stack is only an address here.
unsafe impl Send for Fiber {}

impl Fiber {
    /// A fiber on `stack`, which is painted.
    ///
    /// # Safety
    /// The stack must be mapped and used by nothing else, for ever.
    pub(super) unsafe fn new(id: FiberId, spec: &FiberSpec, stack: Stack, hang_ticks: u64) -> Self {
        let range = stack.range();
        let words = range.len() / size_of::<u64>();
        // SAFETY: our caller promises the stack; it is whole pages.
        unsafe { core::slice::from_raw_parts_mut(range.start as *mut u64, words) }.fill(PAINT);
        Self {
            context: Context::new(stack),
            id,
            name: spec.name,
            owner: spec.owner,
            hang_ticks,
            state: AtomicU8::new(State::New as u8),
            entry: AtomicPtr::new(core::ptr::null_mut()),
            argument: AtomicUsize::new(0),
            incarnation: AtomicU32::new(0),
            deadline: Own::new(NEVER),
            ready_at: Own::default(),
            cpu_ticks: Own::default(),
            beats: Own::default(),
            seen_beats: Own::default(),
            seen_ticks: Own::default(),
            stale_looks: Own::default(),
            doom: AtomicU8::new(0),
            spared: Once::new(),
            held: UnsafeCell::new(Vec::new()),
            obituary: UnsafeCell::new(Obituary::new(id)),
        }
    }

    pub(super) fn state(&self) -> State {
        // Acquire: pairs with the Release in `set_state`; the dead one's obituary is whole.
        match self.state.load(Ordering::Acquire) {
            0 => State::New,
            1 => State::Starting,
            2 => State::Alive,
            _ => State::Dead,
        }
    }

    pub(super) fn set_state(&self, state: State) {
        // Release: pairs with the Acquire in `state`.
        self.state.store(state as u8, Ordering::Release);
    }

    /// Claims a fiber that does not run, to start it; false if it runs or somebody else is at it.
    pub(super) fn claim(&self) -> bool {
        let claim = |from: State| {
            let (from, to) = (from as u8, State::Starting as u8);
            // Acquire: as in `state`.
            self.state
                .compare_exchange(from, to, Ordering::Acquire, Relaxed)
                .is_ok()
        };
        claim(State::Dead) || claim(State::New)
    }

    /// Sets up a claimed fiber to run `entry` on its empty stack. It counts as alive from now on.
    pub(super) fn set_up(&self, entry: Entry, argument: usize, begin: extern "C" fn() -> !) {
        assert!(self.state() == State::Starting, "{} was claimed", self.name);
        self.entry.store(entry as *mut (), Relaxed);
        self.argument.store(argument, Relaxed);
        self.doom.store(0, Relaxed);
        self.deadline.set(NEVER);
        self.seen_ticks.set(self.cpu_ticks.get());
        self.stale_looks.set(0);
        self.incarnation.fetch_add(1, Relaxed);
        // SAFETY: a fiber that is being started does not run and never goes on where it was: its stack, which
        // is its own, is free.
        unsafe { self.context.prepare(begin) };
        self.set_state(State::Alive);
    }

    /// Runs what it was set up to run.
    pub(super) fn call_entry(&self) {
        let entry = self.entry.load(Relaxed);
        // SAFETY: `set_up` stored an `Entry` before the fiber could be switched to.
        let entry: Entry = unsafe { core::mem::transmute(entry) };
        entry(self.argument.load(Relaxed));
    }

    /// Why it is to die when it drops its last guard.
    pub(super) fn doom(&self) -> Option<Cause> {
        match self.doom.load(Relaxed) {
            0 => None,
            1 => Some(Cause::Hang),
            _ => Some(Cause::Stopped),
        }
    }

    /// Has it die when it drops its last guard.
    pub(super) fn set_doom(&self, cause: Cause) {
        let doom = if cause == Cause::Hang { 1 } else { 2 };
        self.doom.store(doom, Relaxed);
    }

    /// True while it is not to be killed: it leaves that section soon, by itself.
    pub(super) fn is_spared(&self) -> bool {
        self.spared
            .get()
            .is_some_and(|spared| spared.is_in_section())
    }

    /// Bytes of its stack that were ever used.
    pub(super) fn stack_high_water(&self) -> usize {
        let range = self.context.stack().range();
        let is_painted = |word: &usize| {
            // SAFETY: in the stack, which is mapped; its user may write it now, then either value will do.
            unsafe { (*word as *const u64).read_volatile() == PAINT }
        };
        let words = range.clone().step_by(size_of::<u64>());
        range.len() - words.take_while(is_painted).count() * size_of::<u64>()
    }

    /// Notes a lock that it is about to take.
    ///
    /// # Safety
    /// Called by the fiber itself, under a guard.
    ///
    /// # Panics
    /// If it holds as many as can be noted.
    pub(super) unsafe fn push_lock(&self, lock: &'static dyn Held) {
        // SAFETY: only the fiber itself touches the list while it lives, and our caller is the fiber.
        let held = unsafe { &mut *self.held.get() };
        assert!(
            held.push(lock).is_ok(),
            "{} holds {LOCKS_MAX} locks",
            self.name
        );
    }

    /// Forgets the lock that was noted last.
    ///
    /// # Safety
    /// As [`Fiber::push_lock`].
    pub(super) unsafe fn pop_lock(&self) {
        // SAFETY: as in `push_lock`.
        unsafe { &mut *self.held.get() }.pop();
    }

    /// Writes its obituary, with the locks it left.
    ///
    /// # Safety
    /// Called by its own CPU, when it does not run any more and before its state says dead.
    pub(super) unsafe fn write_obituary(&self, write: impl FnOnce(&mut Obituary)) {
        // SAFETY: our caller promises that neither the fiber nor a supervisor touches it now.
        let (obituary, held) = unsafe { (&mut *self.obituary.get(), &mut *self.held.get()) };
        obituary.clear();
        obituary.locks = core::mem::take(held);
        write(obituary);
    }

    /// Its obituary, if it is dead.
    pub(super) fn obituary(&self) -> Option<Obituary> {
        // SAFETY: once the state says dead, the obituary is whole and nobody writes it before a restart, which
        // the same supervisor makes.
        (self.state() == State::Dead).then(|| unsafe { (*self.obituary.get()).clone() })
    }
}
