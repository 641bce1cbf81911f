//! Connections that are over, of which the peer may not know yet: TIME-WAIT (RFC 9293 3.6).
//!
//! Such a connection needs no socket: that its last acknowledgement can be said again takes two sequence numbers. So
//! its flow ends when that acknowledgement has been sent, and an entry here remains for ten seconds, smoltcp's time.
//! A segment is looked for here only when it belongs to no flow.
//!
//! Usually the segment that brings a flow here is the peer's FIN, alone, with the acknowledgement of ours. There is
//! one answer to that, so it is given without smoltcp (`end_with_ack`). Any other goes through the socket.
//!
//! Rules for a segment of a connection that is here: a SYN beyond what was received opens a new connection (RFC 9293
//! 3.6.1, RFC 6191), a reset is ignored (RFC 1337), what takes sequence numbers gets the acknowledgement again, and a
//! bare acknowledgement gets nothing, lest two hosts answer one another for ever. The time does not start anew.
//!
//! Invariants: entries are numbered as they come, and entry `n` is in place `n % limit`, so they expire in order; a
//! new one takes the oldest's place when all are taken. Each place is a hash bucket as well, and holds the number of
//! the newest entry there; a number that has expired ends the chain, so that nothing needs to be unlinked.

use super::frame::{FlowKey, Segment, control};
use super::link::Moment;
use super::stack::Stack;
use crate::error::{Grow, Result};
use crate::platform::network_device::NetworkDevice;
use crate::platform::time::{Duration, Instant};
use alloc::vec::Vec;
use core::hash::BuildHasher;
use foldhash::fast::FixedState;
use smoltcp::socket::tcp::State;

/// How long an entry stays: as long as smoltcp keeps a socket in TIME-WAIT.
const STAY: Duration = Duration::from_secs(10);

/// A connection that is over.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// `None` once its 4-tuple is in use again.
    key: Option<FlowKey>,
    /// Our next sequence number, and the peer's.
    numbers: (u32, u32),
    until: Instant,
    /// The entry before it in its bucket.
    before: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    entry: Entry,
    /// The newest entry in this place's bucket.
    newest: u64,
}

/// The connections that are over.
#[derive(Debug)]
pub(super) struct TimeWait {
    places: Vec<Place>,
    hash: FixedState,
    /// Number of the oldest entry, and of the next one; the first is 1.
    oldest: u64,
    next: u64,
    /// Entries whose 4-tuple is not in use again.
    live: usize,
    /// When the oldest expires.
    deadline: Instant,
}

impl TimeWait {
    /// A table for `limit` entries, but at least for one.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn new(limit: u32, seed: u64) -> Result<Self> {
        let entry = Entry {
            key: None,
            numbers: (0, 0),
            until: Instant::ZERO,
            before: 0,
        };
        let limit = limit.max(1) as usize;
        let mut places = Vec::new();
        places.try_reserve_exact(limit)?;
        places.resize_reserved(limit, Place { entry, newest: 0 });
        Ok(Self {
            places,
            hash: FixedState::with_seed(seed),
            oldest: 1,
            next: 1,
            live: 0,
            deadline: Instant::NEVER,
        })
    }

    /// When the oldest entry expires; [`Instant::NEVER`] if there is none.
    #[inline]
    pub(super) fn next_deadline(&self) -> Instant {
        self.deadline
    }

    /// Connections that are here.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    fn is_full(&self) -> bool {
        self.next - self.oldest == self.places.len() as u64
    }

    fn place(&mut self, number: u64) -> &mut Place {
        let at = number % self.places.len() as u64;
        &mut self.places[at as usize]
    }

    fn bucket(&mut self, key: FlowKey) -> &mut Place {
        self.place(self.hash.hash_one(key.word()))
    }

    /// Appends a connection. There must be room.
    fn push(&mut self, key: FlowKey, numbers: (u32, u32), now: Instant) {
        assert!(!self.is_full(), "the oldest made room");
        let number = self.next;
        self.next += 1;
        self.live += 1;
        let before = core::mem::replace(&mut self.bucket(key).newest, number);
        let until = now + STAY;
        self.place(number).entry = Entry {
            key: Some(key),
            numbers,
            until,
            before,
        };
        self.deadline = self.deadline.min(until);
    }

    /// Forgets the oldest entry; true if its 4-tuple was not in use again.
    fn pop(&mut self) -> bool {
        self.oldest += 1;
        let is_any = self.oldest < self.next;
        self.deadline = match is_any {
            true => self.place(self.oldest).entry.until,
            false => Instant::NEVER,
        };
        let is_live = self.place(self.oldest - 1).entry.key.is_some();
        self.live -= usize::from(is_live);
        is_live
    }

    /// The entry of that connection.
    fn find(&mut self, key: FlowKey) -> Option<&mut Entry> {
        let mut number = self.bucket(key).newest;
        while number >= self.oldest {
            let entry = self.place(number).entry;
            if entry.key == Some(key) {
                return Some(&mut self.place(number).entry);
            }
            number = entry.before;
        }
        None
    }

    /// Forgets the entry of that connection.
    fn remove(&mut self, key: FlowKey) {
        if let Some(entry) = self.find(key) {
            entry.key = None;
            self.live -= 1;
        }
    }
}

impl<D: NetworkDevice> Stack<D> {
    /// Acknowledges the peer's FIN, which is all that is left to do for the flow in `slot`, and ends it.
    #[inline(never)]
    pub(super) fn end_with_ack(&mut self, slot: u32, segment: &Segment, at: Moment) {
        let Some(flow) = self.flows.get_mut(slot) else {
            return;
        };
        let numbers = flow.last_numbers();
        self.send_ack(segment, numbers);
        self.enter_time_wait(slot, at.now);
    }

    /// Ends the flow in `slot`, which has sent its last acknowledgement.
    pub(super) fn enter_time_wait(&mut self, slot: u32, now: Instant) {
        let Some(flow) = self.flows.get_mut(slot) else {
            return;
        };
        let (key, numbers) = (flow.key, flow.last_numbers());
        self.remove(slot);
        if self.time_wait.is_full() {
            self.forget_oldest();
        }
        self.time_wait.push(key, numbers, now);
        self.link.counters.moved(State::Closed, State::TimeWait);
    }

    fn forget_oldest(&mut self) {
        if self.time_wait.pop() {
            self.link.counters.moved(State::TimeWait, State::Closed);
        }
    }

    /// Forgets the connections whose time in TIME-WAIT is over.
    #[cold]
    pub(super) fn end_time_wait(&mut self, now: Instant) {
        while self.time_wait.next_deadline() <= now && self.time_wait.oldest < self.time_wait.next {
            self.forget_oldest();
        }
    }

    /// Deals with a segment of a connection in TIME-WAIT; false if it is of no such connection, or opens a new one.
    pub(super) fn is_for_time_wait(&mut self, segment: &Segment) -> bool {
        let Some(entry) = self.time_wait.find(segment.key) else {
            return false;
        };
        let numbers = entry.numbers;
        let is_beyond = segment.sequence.wrapping_sub(numbers.1) as i32 >= 0;
        if segment.opens() && is_beyond {
            self.time_wait.remove(segment.key);
            self.link.counters.moved(State::TimeWait, State::Closed);
            return false;
        }
        if segment.control & control::RST == 0 && !segment.is_bare_ack() {
            self.send_ack(segment, numbers);
        }
        true
    }

    /// Answers `segment`, of a connection that is over, with an acknowledgement. There is room: no frame is taken
    /// without.
    fn send_ack(&mut self, segment: &Segment, numbers: (u32, u32)) {
        if let Some(address) = self.system.address() {
            let window = self.config.receive_ring_bytes.min(u16::MAX.into());
            self.link.send_ack(segment, address, numbers, window as u16);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::random::Random;
    use core::net::{Ipv4Addr, SocketAddrV4};
    use std::collections::VecDeque;

    #[test]
    fn random_connections_are_found_until_they_expire_or_make_room() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let limit = 1 + random.below(9) as usize;
            let mut table = TimeWait::new(limit as u32, seed).expect("the host has memory");
            // Keys, numbers and times of those that take a place; a key that is in use again is `None`.
            let mut model: VecDeque<(Option<FlowKey>, u32, Instant)> = VecDeque::new();
            let mut now = Instant::ZERO;
            for step in 0..500 {
                now = now + Duration::from_millis(random.below(3_000).into());
                while table.next_deadline() <= now {
                    let (key, ..) = model.pop_front().expect("something expires");
                    assert_eq!(table.pop(), key.is_some(), "seed {seed}");
                }
                assert!(model.iter().all(|&(.., until)| until > now), "seed {seed}");
                let peer = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1 + random.below(12) as u16);
                let key = FlowKey::new(peer, 6379);
                let known = model.iter_mut().find(|(other, ..)| *other == Some(key));
                let found = table.find(key).map(|entry| entry.numbers.0);
                assert_eq!(found, known.as_ref().map(|&&mut (_, number, _)| number));
                if let Some(known) = known {
                    known.0 = None;
                    table.remove(key);
                    assert!(table.find(key).is_none(), "seed {seed}");
                } else {
                    if model.len() == limit {
                        let (oldest, ..) = model.pop_front().expect("the limit is not 0");
                        assert_eq!(table.pop(), oldest.is_some(), "seed {seed}");
                    }
                    model.push_back((Some(key), step, now + STAY));
                    table.push(key, (step, 0), now);
                }
                let live = model.iter().filter(|(key, ..)| key.is_some()).count();
                assert_eq!(table.len(), live, "seed {seed}");
            }
        }
    }
}
