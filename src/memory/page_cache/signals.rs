//! What CPUs say to each other about a page cache, which its own CPU alone touches: what others ask of it, and
//! whether it serves. Lock-free, and checked by loom in every order of the CPUs' steps ([`model`]).
//!
//! An ask is a bit that is set by who asks and cleared by the cache's CPU when it has done that: so who sees it
//! cleared sees what was done, and one that comes meanwhile is not lost.
//!
//! A cache *serves* until somebody dies in the middle of an operation on it. Then its CPU *closes* it, with the number of
//! pages that it held; who clears away reads that on any CPU, gives the pages back and says that it is *emptied*; and the
//! cache's CPU finds it so and begins anew. Each step hands the cache on to who makes the next.

use core::marker::PhantomData;
use core::sync::atomic::Ordering::{self, Acquire, Relaxed, Release};
#[cfg(not(all(test, loom)))]
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};
#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// In which order one CPU's accesses are seen by the others. The models leave each out.
pub(super) trait Orders {
    /// Of a store: what came before it is seen by who sees it.
    const RELEASE: Ordering = Release;
    /// Of a load: what came before the store that it sees is seen.
    const ACQUIRE: Ordering = Acquire;
}

/// Those of the image.
#[derive(Debug)]
pub(super) struct InOrder;

impl Orders for InOrder {}

/// What others ask of a cache: bits.
#[derive(Debug)]
pub(super) struct Asked<O = InOrder> {
    bits: AtomicU32,
    orders: PhantomData<O>,
}

impl<O: Orders> Asked<O> {
    /// Nothing.
    pub(super) fn new() -> Self {
        Self {
            bits: AtomicU32::new(0),
            orders: PhantomData,
        }
    }

    /// Asks for `what`. From any CPU.
    pub(super) fn ask(&self, what: u32) {
        // Release: pairs with the Acquire in `open`.
        self.bits.fetch_or(what, O::RELEASE);
    }

    /// What was asked and is not answered. From any CPU.
    #[inline]
    pub(super) fn open(&self) -> u32 {
        // Acquire: pairs with the Releases in `ask` and in `answer`.
        self.bits.load(O::ACQUIRE)
    }

    /// Notes that this has been done.
    pub(super) fn answer(&self, what: u32) {
        // Release: pairs with the Acquire in `open`.
        self.bits.fetch_and(!what, O::RELEASE);
    }
}

/// It serves.
const OPEN: u8 = 0;
/// Somebody died in the middle of an operation.
const CLOSED: u8 = 1;
/// What it held has been given back.
const EMPTIED: u8 = 2;

/// Whether a cache serves.
#[derive(Debug)]
pub(super) struct Service<O = InOrder> {
    state: AtomicU8,
    /// Pages that were held when it was closed.
    left: AtomicU64,
    orders: PhantomData<O>,
}

impl<O: Orders> Service<O> {
    /// Of a cache that does.
    pub(super) fn new() -> Self {
        Self {
            state: AtomicU8::new(OPEN),
            left: AtomicU64::new(0),
            orders: PhantomData,
        }
    }

    /// True if it serves. On its CPU; where it does not, [`Service::is_resumed`] is to be asked.
    #[inline(always)]
    pub(super) fn is_open(&self) -> bool {
        self.state.load(Relaxed) == OPEN
    }

    /// Has `begin` make it serve again if it has been emptied; false if not. On its CPU.
    pub(super) fn is_resumed(&self, begin: impl FnOnce()) -> bool {
        // Acquire: pairs with the Release in `empty`.
        let is_emptied = self.state.load(O::ACQUIRE) == EMPTIED;
        if is_emptied {
            begin();
            self.state.store(OPEN, Relaxed);
        }
        is_emptied
    }

    /// Closes it. On its CPU.
    pub(super) fn close(&self, left: u64) {
        self.left.store(left, Relaxed);
        // Release: pairs with the Acquire in `left`.
        self.state.store(CLOSED, O::RELEASE);
    }

    /// The pages it held when it was closed; none if it serves. From any CPU.
    pub(super) fn left(&self) -> Option<u64> {
        // Acquire: pairs with the Release in `close`.
        let is_closed = self.state.load(O::ACQUIRE) == CLOSED;
        is_closed.then(|| self.left.load(Relaxed))
    }

    /// Notes that what it held when it was closed has been given back. From any CPU.
    pub(super) fn empty(&self) {
        // Release: pairs with the Acquire in `is_open`.
        self.state.store(EMPTIED, O::RELEASE);
    }
}

#[cfg(all(test, loom))]
mod model;
