//! A hierarchical timer wheel: one deadline for each flow, kept in O(1).
//!
//! Time is cut into ticks of [`TICK`]. A deadline within the current 64 ticks lies in a slot of its own
//! on level 0; one within the current 64² ticks on level 1, and so on: the level is told by the highest
//! bit in which deadline and present differ, so an earlier level always holds earlier deadlines. When time
//! reaches a slot of a higher level its entries are spread over the levels below.
//!
//! Invariants: a key is in at most one list. No key fires before its deadline, or later than one tick
//! after it when [`TimerWheel::pop_due`] is called. Lists are linked by index, through one node a key.
//!
//! Flow: the stack arms a flow when it falls silent, sleeps until [`TimerWheel::next_deadline`], and takes
//! what is due at the start of each poll. Every [`Instant`] fits: the levels span more than 2^64 ns.

use crate::error::{Grow, Result};
use crate::platform::time::{Duration, Instant};
use alloc::vec::Vec;

/// Length of a tick: finer than any timer of TCP (the shortest is the delayed ACK's 10 ms).
pub(super) const TICK: Duration = Duration::from_millis(1);

const LEVELS: usize = 8;
const SLOTS: usize = 64;
const SLOT_BITS: u32 = SLOTS.trailing_zeros();
const _: () = assert!(
    u64::MAX / TICK.as_nanos() < 1 << (SLOT_BITS * LEVELS as u32),
    "the levels span every instant"
);
/// No node.
const NIL: u32 = u32::MAX;

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In no list.
    Nowhere,
    /// In the list of that slot; level in the high bits.
    Slot(u16),
    /// In the list of those that are due.
    Due,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    previous: u32,
    next: u32,
    place: Place,
    deadline: u64,
}

/// One level: its lists, which of them have entries, and the earliest deadline that each may have.
#[derive(Debug)]
struct Level {
    occupied: u64,
    heads: [u32; SLOTS],
    /// Never later than the earliest deadline in the list; exact unless an entry was disarmed.
    earliest: [u64; SLOTS],
}

/// The wheel.
#[derive(Debug)]
pub(super) struct TimerWheel {
    /// Ticks that have passed: everything at or before has been moved to `due`.
    elapsed: u64,
    levels: [Level; LEVELS],
    due: u32,
    nodes: Vec<Node>,
    /// Nothing is due before this time; `u64::MAX` ns when the wheel is empty.
    quiet_until: Instant,
}

/// A time that never comes.
const NEVER: Instant = Instant::NEVER;

impl TimerWheel {
    /// An empty wheel whose present is `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            elapsed: now.as_nanos() / TICK.as_nanos(),
            levels: core::array::from_fn(|_| Level {
                occupied: 0,
                heads: [NIL; SLOTS],
                earliest: [u64::MAX; SLOTS],
            }),
            due: NIL,
            nodes: Vec::new(),
            quiet_until: NEVER,
        }
    }

    /// Makes room for keys below `keys`.
    ///
    /// # Errors
    /// `OutOfMemory`; the wheel is as it was.
    pub(super) fn grow(&mut self, keys: usize) -> Result<()> {
        let missing = keys.saturating_sub(self.nodes.len());
        self.nodes.try_reserve(missing)?;
        self.nodes.resize_reserved(
            self.nodes.len() + missing,
            Node {
                previous: NIL,
                next: NIL,
                place: Place::Nowhere,
                deadline: 0,
            },
        );
        Ok(())
    }

    /// Sets the deadline of `key`, in place of any it had.
    pub(super) fn arm(&mut self, key: u32, at: Instant) {
        self.disarm(key);
        // Rounded up: a timer that fires early would find nothing to do and be armed again at once.
        let deadline = at.as_nanos().div_ceil(TICK.as_nanos());
        self.nodes[key as usize].deadline = deadline;
        self.quiet_until = self.quiet_until.min(start_of(deadline));
        self.place(key);
    }

    /// Forgets the deadline of `key`, if it has one.
    pub(super) fn disarm(&mut self, key: u32) {
        let node = self.nodes[key as usize];
        match node.place {
            Place::Nowhere => return,
            Place::Due if node.previous == NIL => self.due = node.next,
            Place::Slot(slot) if node.previous == NIL => {
                let (level, slot) = (usize::from(slot) / SLOTS, usize::from(slot) % SLOTS);
                let level = &mut self.levels[level];
                level.heads[slot] = node.next;
                if node.next == NIL {
                    level.occupied &= !(1 << slot);
                    level.earliest[slot] = u64::MAX;
                }
            }
            Place::Due | Place::Slot(_) => self.nodes[node.previous as usize].next = node.next,
        }
        if node.next != NIL {
            self.nodes[node.next as usize].previous = node.previous;
        }
        self.nodes[key as usize].place = Place::Nowhere;
        let was_first = node.place == Place::Due || start_of(node.deadline) <= self.quiet_until;
        if was_first && self.due == NIL {
            self.quiet_until = self.earliest();
        }
    }

    /// Takes a key whose deadline has come by `now`, if there is one; its deadline is forgotten.
    #[inline]
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        match now < self.quiet_until {
            true => None,
            false => self.pop_due_now(now),
        }
    }

    fn pop_due_now(&mut self, now: Instant) -> Option<u32> {
        if self.due == NIL {
            self.advance(now.as_nanos() / TICK.as_nanos());
        }
        let key = self.due;
        if key == NIL {
            self.quiet_until = self.earliest();
            return None;
        }
        self.disarm(key);
        Some(key)
    }

    /// When [`TimerWheel::pop_due`] will have something: never later than the earliest deadline (rounded
    /// up to a tick), and earlier only after a disarming; [`Instant::NEVER`] for an empty wheel.
    #[inline]
    pub(super) fn next_deadline(&self) -> Instant {
        self.quiet_until
    }

    /// The earliest deadline of those that are not due.
    fn earliest(&self) -> Instant {
        match self.first_slot() {
            Some((level, slot)) => start_of(self.levels[level].earliest[slot]),
            None => NEVER,
        }
    }

    /// The slot that is reached first. Lower levels come first, and so do, within a level, lower slots:
    /// all entries of a level share the present's higher bits.
    fn first_slot(&self) -> Option<(usize, usize)> {
        self.levels
            .iter()
            .position(|level| level.occupied != 0)
            .map(|level| (level, self.levels[level].occupied.trailing_zeros() as usize))
    }

    /// Moves the present to `tick` and everything due by then to the list of due keys.
    fn advance(&mut self, tick: u64) {
        while let Some((level, slot)) = self.first_slot() {
            let shift = SLOT_BITS * level as u32;
            let block = self.elapsed >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
            let reached = block + ((slot as u64) << shift);
            if reached > tick {
                break;
            }
            self.elapsed = self.elapsed.max(reached);
            self.spread(level, slot);
        }
        self.elapsed = self.elapsed.max(tick);
    }

    /// Places the entries of a slot that has been reached anew.
    fn spread(&mut self, level: usize, slot: usize) {
        let mut key = self.levels[level].heads[slot];
        self.levels[level].heads[slot] = NIL;
        self.levels[level].earliest[slot] = u64::MAX;
        self.levels[level].occupied &= !(1 << slot);
        while key != NIL {
            let next = self.nodes[key as usize].next;
            self.place(key);
            key = next;
        }
    }

    /// Links `key`, which is in no list, into the list where its deadline belongs.
    fn place(&mut self, key: u32) {
        let deadline = self.nodes[key as usize].deadline;
        if deadline <= self.elapsed {
            let head = core::mem::replace(&mut self.due, key);
            return self.link(key, head, Place::Due);
        }
        let differing = (self.elapsed ^ deadline).ilog2();
        let level = (differing / SLOT_BITS) as usize;
        let slot = (deadline >> (SLOT_BITS * level as u32)) as usize % SLOTS;
        let lists = &mut self.levels[level];
        lists.occupied |= 1 << slot;
        lists.earliest[slot] = lists.earliest[slot].min(deadline);
        let head = core::mem::replace(&mut lists.heads[slot], key);
        self.link(key, head, Place::Slot((level * SLOTS + slot) as u16));
    }

    #[inline]
    fn link(&mut self, key: u32, head: u32, place: Place) {
        let node = &mut self.nodes[key as usize];
        (node.previous, node.next, node.place) = (NIL, head, place);
        if head != NIL {
            self.nodes[head as usize].previous = key;
        }
    }
}

fn start_of(tick: u64) -> Instant {
    Instant::from_nanos(tick.saturating_mul(TICK.as_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tests::random::Random;
    use std::collections::BTreeSet;

    const KEYS: u32 = 64;

    fn wheel_at(millis: u64) -> TimerWheel {
        let mut wheel = TimerWheel::new(at(millis));
        wheel.grow(KEYS as usize).expect("the host has memory");
        wheel
    }

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn a_timer_fires_at_its_deadline_and_not_a_nanosecond_before() {
        let mut wheel = wheel_at(5);
        for delay in [1, 63, 64, 65, 4_095, 4_096, 300_000, 10_000_000_000] {
            let deadline = Instant::from_nanos(at(5).as_nanos() + delay * TICK.as_nanos());
            let mut wheel = wheel_at(5);
            wheel.arm(3, deadline);
            assert_eq!(wheel.next_deadline(), deadline);
            assert_eq!(
                wheel.pop_due(deadline - Duration::from_nanos(1)),
                None,
                "{delay}"
            );
            assert_eq!(wheel.pop_due(deadline), Some(3), "{delay}");
            assert_eq!(wheel.pop_due(deadline), None);
            assert_eq!(wheel.next_deadline(), NEVER);
        }
        wheel.arm(1, at(2));
        assert_eq!(
            wheel.pop_due(at(5)),
            Some(1),
            "a deadline that has passed is due at once"
        );
    }

    #[test]
    fn a_timer_disarmed_or_armed_anew_does_not_fire_at_its_old_deadline() {
        let mut wheel = wheel_at(0);
        wheel.arm(1, at(10));
        wheel.arm(2, at(10));
        wheel.arm(1, at(500));
        wheel.disarm(2);
        assert_eq!(wheel.pop_due(at(499)), None);
        assert_eq!(wheel.pop_due(at(500)), Some(1));
    }

    #[test]
    fn random_timers_fire_when_a_sorted_set_says_so() {
        for seed in 0..20 {
            let mut random = Random::new(seed);
            let mut now = random.below(1 << 40);
            let mut wheel = wheel_at(now);
            let mut model = BTreeSet::new();
            let mut deadlines = [0; KEYS as usize];
            for _ in 0..20_000 {
                let key = random.below(u64::from(KEYS)) as u32;
                match random.below(4) {
                    0 | 1 => {
                        let deadline = now + 1 + (random.below(1 << 40) >> random.below(40));
                        model.remove(&(deadlines[key as usize], key));
                        model.insert((deadline, key));
                        deadlines[key as usize] = deadline;
                        wheel.arm(key, at(deadline));
                    }
                    2 => {
                        model.remove(&(deadlines[key as usize], key));
                        wheel.disarm(key);
                    }
                    _ => {
                        now += random.below(1 << 30) >> random.below(30);
                        while let Some(fired) = wheel.pop_due(at(now)) {
                            let known = model.remove(&(deadlines[fired as usize], fired));
                            assert!(known && deadlines[fired as usize] <= now, "seed {seed}");
                        }
                    }
                }
                let first = model.first().map(|&(deadline, _)| at(deadline));
                assert!(
                    first.is_none() || wheel.next_deadline() != NEVER,
                    "seed {seed}"
                );
                if let Some(first) = first.filter(|&first| first > at(now)) {
                    assert!(wheel.next_deadline() <= first, "seed {seed}");
                }
            }
        }
    }
}
