//! A bounded ring that any number of senders push into, from any CPU, without a lock.
//!
//! Each slot carries a sequence number that says whose turn it is (Vyukov's bounded queue): equal to a
//! position, the slot is free for the push of that position; one more, it holds what was pushed there. A push
//! claims its position by one compare-and-exchange of the tail, writes, and publishes by the sequence number.
//! The tail's lowest bit says that the ring is closed, so a push after `close` fails by the same exchange.
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
use crate::error::Result;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::MaybeUninit;

/// On a cache line of its own: senders write the tail, the reader the head.
#[repr(align(64))]
struct Padded<T>(T);

#[repr(align(64))]
struct Slot<T> {
    sequence: AtomicUsize,
    value: UnsafeCell<MaybeUninit<T>>,
}

/// What became of a push.
pub(super) enum Pushed<T> {
    Done,
    Full(T),
    Closed(T),
}

/// The ring.
pub(super) struct Ring<T> {
    slots: Box<[Slot<T>]>,
    mask: usize,
    /// Twice the next position to push to, plus [`CLOSED`].
    tail: Padded<AtomicUsize>,
    /// The next position to pop from.
    head: Padded<AtomicUsize>,
}

const CLOSED: usize = 1;

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
        let mut slots = Vec::new();
        slots.try_reserve_exact(capacity)?;
        slots.extend((0..capacity).map(|position| Slot {
            sequence: AtomicUsize::new(position),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }));
        Ok(Self {
            slots: slots.into_boxed_slice(),
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

    #[inline(always)]
    pub(super) fn push(&self, value: T) -> Pushed<T> {
        let mut tail = self.tail.0.load(Relaxed);
        loop {
            if tail & CLOSED != 0 {
                return Pushed::Closed(value);
            }
            let position = tail >> 1;
            let slot = self.slot(position);
            // Acquire: pairs with the Release in `pop` that freed the slot, so its reading is over.
            let sequence = slot.sequence.load(Acquire);
            let turn = sequence.wrapping_sub(position) as isize;
            if turn == 0 {
                // Relaxed: the tail only says who may write; the value is handed over by the sequence number.
                match self
                    .tail
                    .0
                    .compare_exchange_weak(tail, tail + 2, Relaxed, Relaxed)
                {
                    Ok(_) => {
                        // SAFETY: the exchange gave `position` to this push alone, and the sequence number
                        // says that the slot's last value was taken out.
                        slot.value
                            .with_mut(|place| unsafe { (*place).write(value) });
                        // Release: pairs with the Acquire in `pop`.
                        slot.sequence.store(position + 1, Release);
                        return Pushed::Done;
                    }
                    Err(now) => tail = now,
                }
            } else if turn < 0 {
                return Pushed::Full(value);
            } else {
                tail = self.tail.0.load(Relaxed);
            }
        }
    }

    /// The oldest value; none if the ring is empty, or its oldest push is not finished.
    #[inline(always)]
    pub(super) fn pop(&self) -> Option<T> {
        let mut position = self.head.0.load(Relaxed);
        loop {
            let slot = self.slot(position);
            // Acquire: pairs with the Release in `push`.
            let sequence = slot.sequence.load(Acquire);
            let turn = sequence.wrapping_sub(position + 1) as isize;
            if turn == 0 {
                match self
                    .head
                    .0
                    .compare_exchange_weak(position, position + 1, Relaxed, Relaxed)
                {
                    Ok(_) => {
                        // SAFETY: the exchange gave `position` to this pop alone, and the sequence number says
                        // that its push has written the value.
                        let value = slot
                            .value
                            .with_mut(|place| unsafe { (*place).assume_init_read() });
                        // Release: pairs with the Acquire in the push one round later.
                        slot.sequence.store(position + self.mask + 1, Release);
                        return Some(value);
                    }
                    Err(now) => position = now,
                }
            } else if turn < 0 {
                return None;
            } else {
                position = self.head.0.load(Relaxed);
            }
        }
    }

    /// Values in the ring, those being pushed counted. Exact while nobody pushes or pops.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        let head = self.head.0.load(Relaxed);
        (self.tail.0.load(Relaxed) >> 1).saturating_sub(head)
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

    fn pushed(ring: &Ring<u64>, value: u64) -> bool {
        matches!(ring.push(value), Pushed::Done)
    }

    #[test]
    fn values_come_out_in_the_order_they_went_in_over_many_rounds() {
        let ring = Ring::new(3).expect("memory");
        assert_eq!(ring.capacity(), 4);
        for round in 0..10 {
            for i in 0..4 {
                assert!(pushed(&ring, round * 4 + i));
            }
            assert!(matches!(ring.push(99), Pushed::Full(99)));
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
        assert!(matches!(ring.push(2), Pushed::Closed(2)));
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
            assert!(matches!(ring.push(value.clone()), Pushed::Done));
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
