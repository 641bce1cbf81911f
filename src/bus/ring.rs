//! A bounded ring that any number of senders push into, from any CPU, without a lock.
//!
//! Each slot carries a sequence number that says whose turn it is (Vyukov's bounded queue): equal to a
//! position, the slot is free for the push of that position; one more, it holds what was pushed there. A sender
//! claims its position by one compare-and-exchange of the tail, writes, and publishes by the sequence number.
//! The tail's highest bit says that the ring is closed: no slot's sequence number is equal to such a tail, so a
//! push after `close` fails by the same comparison and exchange, and an open ring pays nothing for it.
//!
//! Pops claim the head in the same way, because a sender that makes room by dropping the oldest pops as well.
//!
//! Always true: a value is pushed once and popped once; a position is below the tail exactly when it is claimed.
//!
//! Who is killed between claim and publication leaves a slot that stops all pops: whoever pushes or pops must
//! not be killed meanwhile (see [`super::port::Section`]); being preempted only delays what comes behind.
//!
//! Slots are made once and fill whole cache lines; nothing allocates afterwards.
#![allow(
    unsafe_code,
    reason = "a slot's value is written and read by whoever its sequence number says"
)]

use super::sync::{Acquire, AtomicUsize, Relaxed, Release, UnsafeCell, can_look};
use crate::error::{Result, try_boxed_slice};
use alloc::boxed::Box;
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::AtomicU64;

/// On a cache line of its own: senders write the tail, the reader the head.
#[repr(align(64))]
struct Padded<T>(T);

/// The sequence number first: exclusive and ordered accesses of aarch64 take no offset.
#[repr(C, align(64))]
struct Slot<T> {
    sequence: AtomicUsize,
    /// What the last one to take a value out noted of it. Not one of the models' atomics: nothing hangs on its order.
    note: AtomicU64,
    value: UnsafeCell<MaybeUninit<T>>,
}

/// What a sender gets when it asks for a place.
pub(super) enum Claim<'r, T> {
    Place(Place<'r, T>),
    Full,
    Closed,
}

/// A slot that is its holder's alone; pops stop there until it is filled.
#[must_use = "a place that is not filled stops the ring"]
pub(super) struct Place<'r, T> {
    slot: &'r Slot<T>,
    /// What says that the slot is filled.
    next: usize,
}

impl<T> Place<'_, T> {
    /// Fills the place: the value may be popped from now on.
    #[inline(always)]
    pub(super) fn fill(self, value: T) {
        self.fill_and(value, |_| {});
    }

    /// As [`Place::fill`], with what is left to do to the value done where it lies.
    #[inline(always)]
    pub(super) fn fill_and(self, value: T, finish: impl FnOnce(&mut T)) {
        // SAFETY: `claim` made this place by the one exchange that gave out its position, after it saw by the
        // sequence number that the slot's last value was taken out; filling consumes it.
        self.slot
            .value
            .with_mut(|place| finish(unsafe { (*place).write(value) }));
        // Release: pairs with the Acquire in `find`.
        self.slot.sequence.store(self.next, Release);
    }
}

/// What a look at the oldest place of a ring finds.
enum Look<'a, T> {
    /// A value, which is ours.
    Found(Find<'a, T>),
    /// None.
    Empty,
    /// Another was there meanwhile.
    Moved,
}

/// A value that is its finder's alone; its slot is not free until it is taken out.
#[must_use = "a value that is not taken out stops the ring"]
pub(super) struct Find<'r, T> {
    slot: &'r Slot<T>,
    /// Whose turn the slot is then: the push one round later.
    next: usize,
}

impl<T> Find<'_, T> {
    /// Looks at the value where it is.
    #[inline(always)]
    pub(super) fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        // SAFETY: as in `take`, which has not been: that consumes this.
        self.slot
            .value
            .with_mut(|place| look(unsafe { (*place).assume_init_ref() }))
    }

    /// Notes something of the value, to be found by [`Ring::notes`] until the slot's next value is taken out.
    #[inline(always)]
    pub(super) fn note(&self, note: u64) {
        self.slot.note.store(note, Relaxed);
    }

    /// Takes a part of the value out, to `to`, in one move; what is left of the value is forgotten, and never dropped.
    #[inline(always)]
    pub(super) fn take_part<P>(self, part: impl FnOnce(&mut T) -> &mut P, to: &mut Option<P>) {
        *to = None;
        self.slot.value.with_mut(|place| {
            // SAFETY: as in `take`.
            let part = part(unsafe { (*place).assume_init_mut() });
            // SAFETY: `to` is borrowed for this alone, and holds nothing to be dropped. The part is read once: the value
            // that it is of counts as taken out from now on, as this is consumed.
            unsafe { ptr::write(to, Some(ptr::read(part))) };
        });
        // Release: pairs with the Acquire in `claim`, one round later.
        self.slot.sequence.store(self.next, Release);
    }

    /// Takes the value out: the slot is free from now on.
    #[inline(always)]
    pub(super) fn take(self) -> T {
        // SAFETY: `find` made this by the one exchange that gave out its position, after it saw by the sequence
        // number that the value was written; taking consumes it.
        let value = self
            .slot
            .value
            .with_mut(|place| unsafe { (*place).assume_init_read() });
        // Release: pairs with the Acquire in `claim`, one round later.
        self.slot.sequence.store(self.next, Release);
        value
    }
}

/// The ring.
pub(super) struct Ring<T> {
    slots: Box<[Slot<T>]>,
    mask: usize,
    /// The next position to push to, and [`CLOSED`].
    tail: Padded<AtomicUsize>,
    /// The next position to pop from.
    head: Padded<AtomicUsize>,
}

/// Above all positions: at one message a nanosecond they get there in 292 years.
const CLOSED: usize = 1 << (usize::BITS - 1);

// SAFETY: a value goes from the pushing to the popping thread once (its slot's sequence number hands it over by
// Release and Acquire), so it need only be `Send`; everything else in the ring is atomic or never written.
unsafe impl<T: Send> Sync for Ring<T> {}
// SAFETY: as above; the values inside are owned by the ring.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T> Ring<T> {
    /// A ring of at least `capacity` slots: the next power of two, two or more.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn new(capacity: usize) -> Result<Self> {
        let capacity = capacity.max(2).next_power_of_two();
        let slots = try_boxed_slice(capacity, |position| Slot {
            sequence: AtomicUsize::new(position),
            note: AtomicU64::new(0),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        })?;
        Ok(Self {
            slots,
            mask: capacity - 1,
            tail: Padded(AtomicUsize::new(0)),
            head: Padded(AtomicUsize::new(0)),
        })
    }

    pub(super) fn capacity(&self) -> usize {
        self.mask + 1
    }

    #[inline(always)]
    fn slot(&self, position: usize) -> &Slot<T> {
        // SAFETY: the mask is the number of slots, a power of two, less one.
        unsafe { self.slots.get_unchecked(position & self.mask) }
    }

    /// Takes the next position for one value, which must be put there at once.
    ///
    /// Apart from the writing, so that a value that is not taken is never moved.
    #[inline(always)]
    pub(super) fn claim(&self) -> Claim<'_, T> {
        let mut tail = self.tail.0.load(Relaxed);
        loop {
            let slot = self.slot(tail);
            // Acquire: pairs with the Release in `take` that freed the slot, so its reading is over.
            let sequence = slot.sequence.load(Acquire);
            if sequence == tail {
                // Relaxed: the tail only says who may write; the value is handed over by the sequence number.
                // The value that it found instead is not used: with it this compiles to four instructions more.
                let next = tail + 1;
                let exchanged = self.tail.0.compare_exchange(tail, next, Relaxed, Relaxed);
                if exchanged.is_ok() {
                    return Claim::Place(Place { slot, next });
                }
            } else if tail & CLOSED != 0 {
                return Claim::Closed;
            } else if sequence < tail {
                return Claim::Full;
            }
            tail = self.tail.0.load(Relaxed);
        }
    }

    /// The oldest value; none if the ring is empty, or its oldest push is not finished.
    #[inline(always)]
    pub(super) fn pop(&self) -> Option<T> {
        self.find().map(Find::take)
    }

    /// The place of the oldest value, which must be taken out at once.
    ///
    /// Apart from the reading, so that the value is moved once.
    #[inline(always)]
    pub(super) fn find(&self) -> Option<Find<'_, T>> {
        match self.look() {
            Look::Found(found) => Some(found),
            Look::Empty => None,
            Look::Moved => self.find_again(),
        }
    }

    /// As [`Ring::find`], when another has taken the place that was looked at.
    #[cold]
    #[inline(never)]
    fn find_again(&self) -> Option<Find<'_, T>> {
        loop {
            match self.look() {
                Look::Found(found) => return Some(found),
                Look::Empty => return None,
                Look::Moved => {}
            }
        }
    }

    /// One look at the oldest place.
    #[inline(always)]
    fn look(&self) -> Look<'_, T> {
        let head = &self.head.0;
        let position = head.load(Relaxed);
        let slot = self.slot(position);
        // Acquire: pairs with the Release in `fill`.
        let sequence = slot.sequence.load(Acquire);
        if sequence != position + 1 {
            return match sequence <= position {
                true => Look::Empty,
                false => Look::Moved,
            };
        }
        match head.compare_exchange_weak(position, sequence, Relaxed, Relaxed) {
            Ok(_) => Look::Found(Find {
                slot,
                next: sequence + self.mask,
            }),
            Err(_) => Look::Moved,
        }
    }

    /// What was noted of the values taken out last, the last one first. Right while nobody takes any out.
    pub(super) fn notes(&self) -> impl Iterator<Item = u64> {
        let head = self.head.0.load(Relaxed);
        let last = (0..head).rev().take(self.capacity());
        last.map(|position| self.slot(position).note.load(Relaxed))
    }

    /// Values in the ring, those being pushed counted. Exact while nobody pushes or pops.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        let head = self.head.0.load(Relaxed);
        (self.tail.0.load(Relaxed) & !CLOSED).saturating_sub(head)
    }

    /// Whether there is surely nothing to pop: false of a closed ring. Cheaper than to try.
    #[inline(always)]
    pub(super) fn is_surely_empty(&self) -> bool {
        self.head.0.load(Relaxed) == self.tail.0.load(Relaxed)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.tail.0.load(Relaxed) & CLOSED != 0
    }

    /// Refuses every push from now on; pops go on.
    pub(super) fn close(&self) {
        self.tail.0.fetch_or(CLOSED, Relaxed);
    }

    pub(super) fn reopen(&self) {
        self.tail.0.fetch_and(!CLOSED, Relaxed);
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        while can_look() && self.pop().is_some() {}
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;
    use std::vec::Vec;

    fn pushed<T>(ring: &Ring<T>, value: T) -> bool {
        match ring.claim() {
            Claim::Place(place) => {
                place.fill(value);
                true
            }
            _ => false,
        }
    }

    #[test]
    fn values_come_out_in_the_order_they_went_in_over_many_rounds() {
        let ring = Ring::new(3).expect("memory");
        assert_eq!(ring.capacity(), 4);
        for round in 0..10 {
            for i in 0..4 {
                assert!(pushed(&ring, round * 4 + i));
            }
            assert!(matches!(ring.claim(), Claim::Full));
            assert_eq!(ring.len(), 4);
            for i in 0..4 {
                assert_eq!(ring.pop(), Some(round * 4 + i));
            }
            assert_eq!(ring.pop(), None);
        }
    }

    #[test]
    fn a_closed_ring_gives_the_value_back_and_lets_the_rest_out() {
        let ring = Ring::new(2).expect("memory");
        assert!(pushed(&ring, 1));
        ring.close();
        assert!(ring.is_closed());
        assert!(matches!(ring.claim(), Claim::Closed));
        assert_eq!((ring.pop(), ring.pop()), (Some(1), None));
        ring.reopen();
        assert!(pushed(&ring, 3));
        assert_eq!(ring.pop(), Some(3));
    }

    #[test]
    fn what_is_left_is_dropped_with_the_ring() {
        let value = Arc::new(());
        let ring = Ring::new(4).expect("memory");
        for _ in 0..3 {
            assert!(pushed(&ring, value.clone()));
        }
        drop(ring.pop());
        drop(ring);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn threads_that_push_at_once_lose_and_double_nothing() {
        const SENDERS: u64 = 3;
        let each: u64 = if cfg!(miri) { 50 } else { 20_000 };
        let ring = Arc::new(Ring::new(8).expect("memory"));
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let ring = ring.clone();
                thread::spawn(move || {
                    for i in 0..each {
                        while !pushed(&ring, sender * each + i) {
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let mut next = [0; SENDERS as usize];
        let mut received = 0;
        while received < SENDERS * each {
            match ring.pop() {
                Some(value) => {
                    let (sender, i) = ((value / each) as usize, value % each);
                    // Of one sender each value once, in its order.
                    assert_eq!(i, next[sender]);
                    next[sender] += 1;
                    received += 1;
                }
                None => thread::yield_now(),
            }
        }
        for sender in senders {
            sender.join().expect("no assertion failed");
        }
        assert_eq!(ring.pop(), None);
    }
}
