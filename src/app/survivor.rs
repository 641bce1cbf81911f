//! What outlives the data plane: lent to one incarnation of it at a time.
//!
//! A fault ends the data plane's stack wherever it is. No destructor runs, so a borrow that the dead
//! incarnation held would last for ever; only the kernel knows that nobody uses it any more. It says so by
//! making the next [`Incarnation`], and a [`Survivor`] may then be lent anew.
#![expect(unsafe_code, reason = "a borrow ends with its borrower's stack")]

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One incarnation of the data plane, the only one that runs.
#[derive(Debug)]
pub struct Incarnation {
    /// Counts from 1.
    number: u64,
}

impl Incarnation {
    /// Incarnation `number`, from 1.
    ///
    /// # Safety
    /// Each number is made once, in rising order, and only when all code of every incarnation with a lower
    /// number has run for the last time: its stack is abandoned, and what it left behind is not called.
    pub const unsafe fn new(number: u64) -> Self {
        assert!(number > 0, "incarnations count from 1");
        Self { number }
    }

    /// Its number: 1 for the first, more after a death.
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// A value that outlives its borrowers.
///
/// What a dead incarnation was doing to the value is cut off where it was: who borrows it next has to put
/// it in order first. And it must hold nothing on the heap of an incarnation, which is gone by then.
#[derive(Debug)]
pub struct Survivor<T> {
    value: UnsafeCell<T>,
    /// The number of the incarnation that has it; 0 for none yet.
    lent: AtomicU64,
}

// SAFETY: `lend` gives the value to one incarnation at a time, on whatever CPU that runs: the value is
// moved between CPUs, never shared, so `Send` is enough.
unsafe impl<T: Send> Sync for Survivor<T> {}

impl<T> Survivor<T> {
    /// Keeps `value`.
    pub const fn new(value: T) -> Self {
        Self {
            value: UnsafeCell::new(value),
            lent: AtomicU64::new(0),
        }
    }

    /// Lends the value to an incarnation for the rest of its life.
    ///
    /// # Panics
    /// If it was lent to this incarnation or a later one already.
    #[expect(
        clippy::mut_from_ref,
        reason = "the count of incarnations allows one borrow at a time"
    )]
    pub fn lend(&'static self, incarnation: &Incarnation) -> &'static mut T {
        let number = incarnation.number;
        // Relaxed: the kernel's start of an incarnation orders it after the last one.
        let last = self.lent.fetch_max(number, Relaxed);
        assert!(
            last < number,
            "lent to incarnation {last}, asked for by {number}"
        );
        // SAFETY: 1. no other borrow is in use: `fetch_max` let this number pass once, and those with
        // lower numbers belong to incarnations that have run for the last time (`Incarnation::new`).
        // 2. the value is a valid `T` for ever: it is never moved out or dropped (`&'static self`).
        unsafe { &mut *self.value.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incarnation(number: u64) -> Incarnation {
        // SAFETY: the tests use no borrow of an incarnation after they made the next.
        unsafe { Incarnation::new(number) }
    }

    #[test]
    fn each_incarnation_finds_what_the_last_one_left() {
        static COUNT: Survivor<u64> = Survivor::new(7);
        for number in 1..4 {
            let count = COUNT.lend(&incarnation(number));
            assert_eq!(*count, 6 + number);
            *count += 1;
        }
    }

    #[test]
    #[should_panic(expected = "lent to incarnation 2, asked for by 2")]
    fn one_incarnation_borrows_once() {
        static VALUE: Survivor<u64> = Survivor::new(0);
        let own = incarnation(2);
        VALUE.lend(&own);
        VALUE.lend(&own);
    }

    #[test]
    #[should_panic(expected = "lent to incarnation 2, asked for by 1")]
    fn a_dead_incarnation_borrows_no_more() {
        static VALUE: Survivor<u64> = Survivor::new(0);
        let dead = incarnation(1);
        VALUE.lend(&incarnation(2));
        VALUE.lend(&dead);
    }
}
