//! The connections of the server: what is known of each, and when each has waited long enough.
//!
//! A wait is of one of a few kinds, and all waits of a kind are equally long, so each kind keeps its
//! connections in a list in the order of their deadlines: to begin a wait, to end one, and to ask for the
//! nearest deadline cost the same with one connection and with a thousand.
//!
//! Always true: a connection is in at most one list, the one of its wait; a list's deadlines rise.
//! The caller brings times that never fall.

use super::body::ChunkedBody;
use crate::error::{Error, Grow, Kind, Result, Subsystem};
use crate::net::service::ConnectionId;
use crate::platform::time::Instant;
use alloc::vec::Vec;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The first byte of a request, or the peer to read a reply.
    Idle,
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body,
    /// The stack, to end it.
    End,
}

impl Wait {
    const COUNT: usize = Self::End as usize + 1;
    /// Those that a deadline ends.
    const TIMED: [Self; 3] = [Self::Idle, Self::Head, Self::Body];
}

/// How much of the request under way has been seen.
#[derive(Debug)]
pub(super) enum Phase {
    /// So many bytes of the head, with no end of it among them.
    Head { scanned: usize },
    /// The head, and a body that is whole when so many bytes are there.
    Body { needed: usize },
    /// The head, and a part of a chunked body; there is more to decode when so many bytes are there.
    Chunked { body: ChunkedBody, needed: usize },
}

impl Phase {
    /// Before the first byte of a request.
    pub(super) const START: Self = Self::Head { scanned: 0 };

    /// True after the first byte of a request.
    #[inline]
    pub(super) fn is_begun(&self) -> bool {
        !matches!(self, Self::Head { scanned: 0 })
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) phase: Phase,
    /// When the first byte of the request under way came.
    pub(super) started: Instant,
    pub(super) wait: Option<Wait>,
    pub(super) deadline: Instant,
    previous: u16,
    next: u16,
}

impl Connection {
    /// True if the deadline of a request under way has passed.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        matches!(self.wait, Some(Wait::Head | Wait::Body)) && self.deadline <= now
    }
}

/// Ends a list.
const NONE: u16 = u16::MAX;

/// The two ends of a list.
#[derive(Clone, Copy, Debug)]
struct List {
    first: u16,
    last: u16,
}

/// All connections of the server.
#[derive(Debug)]
pub(super) struct Connections {
    entries: Vec<Connection>,
    vacant: Vec<u16>,
    /// The entry of each slot of the stack; slots are shared by all services, entries are not.
    entry_of_slot: Vec<u16>,
    lists: [List; Wait::COUNT],
    /// Connections that wait to be ended, and so hold no place.
    ending: usize,
}

impl Connections {
    /// Room for none yet.
    pub(super) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            vacant: Vec::new(),
            entry_of_slot: Vec::new(),
            lists: [List {
                first: NONE,
                last: NONE,
            }; Wait::COUNT],
            ending: 0,
        }
    }

    /// Connections that hold a place.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.vacant.len() - self.ending
    }

    /// Takes in a connection and returns its entry.
    ///
    /// # Errors
    /// `OutOfMemory`; `LimitReached` beyond 65,535 at once, those about to be ended counted.
    pub(super) fn insert(&mut self, id: ConnectionId, now: Instant) -> Result<usize> {
        let slot = id.slot as usize;
        if self.entry_of_slot.len() <= slot {
            self.entry_of_slot
                .try_reserve(slot + 1 - self.entry_of_slot.len())?;
            self.entry_of_slot.resize_reserved(slot + 1, NONE);
        }
        let connection = Connection {
            id,
            phase: Phase::START,
            started: now,
            wait: None,
            deadline: now,
            previous: NONE,
            next: NONE,
        };
        let index = match self.vacant.pop() {
            Some(index) => {
                self.entries[usize::from(index)] = connection;
                index
            }
            None => {
                let limit = Kind::LimitReached {
                    what: "connections",
                    limit: u64::from(NONE),
                };
                let index = u16::try_from(self.entries.len())
                    .ok()
                    .filter(|&index| index != NONE)
                    .ok_or(Error::new(Subsystem::Http, limit))?;
                self.entries.try_reserve(1)?;
                // An entry can always be given back: room for it is taken now.
                self.vacant.try_reserve(self.entries.len() + 1)?;
                self.entries.push_reserved(connection);
                index
            }
        };
        self.entry_of_slot[slot] = index;
        Ok(usize::from(index))
    }

    /// The entry of a connection, if it is one of these.
    #[inline]
    pub(super) fn find(&self, id: ConnectionId) -> Option<usize> {
        let index = usize::from(*self.entry_of_slot.get(id.slot as usize)?);
        (self.entries.get(index)?.id == id).then_some(index)
    }

    /// The connection of an entry.
    #[inline]
    pub(super) fn get(&self, index: usize) -> &Connection {
        &self.entries[index]
    }

    /// The connection of an entry, to be changed.
    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> &mut Connection {
        &mut self.entries[index]
    }

    /// Forgets a connection.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        let Some(index) = self.find(id) else { return };
        self.unlink(index);
        let entry = &mut self.entries[index];
        if entry.wait == Some(Wait::End) {
            self.ending -= 1;
        }
        entry.phase = Phase::START;
        self.entry_of_slot[id.slot as usize] = NONE;
        self.vacant.push_reserved(index as u16);
    }

    /// Begins a wait of that kind, in place of the one before.
    pub(super) fn wait(&mut self, index: usize, wait: Wait, deadline: Instant) {
        self.unlink(index);
        let list = &mut self.lists[wait as usize];
        let last = list.last;
        list.last = index as u16;
        match last {
            NONE => list.first = index as u16,
            last => self.entries[usize::from(last)].next = index as u16,
        }
        let entry = &mut self.entries[index];
        if wait == Wait::End && entry.wait != Some(Wait::End) {
            self.ending += 1;
        }
        (entry.previous, entry.next) = (last, NONE);
        (entry.wait, entry.deadline) = (Some(wait), deadline);
    }

    /// The nearest deadline of all waits.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        Wait::TIMED
            .into_iter()
            .filter_map(|wait| Some(self.first(wait)?.deadline))
            .min()
    }

    /// Lets the connection that has been idle longest be ended; false if none is idle.
    pub(super) fn end_longest_idle(&mut self) -> bool {
        let index = self.lists[Wait::Idle as usize].first;
        let is_there = index != NONE;
        if is_there {
            self.wait(usize::from(index), Wait::End, Instant::ZERO);
        }
        is_there
    }

    /// Lets each connection whose deadline has come be ended, and tells `expired` what it waited for.
    pub(super) fn expire(&mut self, now: Instant, mut expired: impl FnMut(Wait)) {
        for wait in Wait::TIMED {
            while let Some(first) = self.first(wait).filter(|first| first.deadline <= now) {
                let index = self
                    .find(first.id)
                    .expect("a listed connection is among the entries");
                self.wait(index, Wait::End, now);
                expired(wait);
            }
        }
    }

    /// Whether one is to be ended.
    #[inline]
    pub(super) fn has_ending(&self) -> bool {
        self.lists[Wait::End as usize].first != NONE
    }

    /// Takes the next connection that is to be ended; it stays known until it is removed.
    pub(super) fn take_ending(&mut self) -> Option<ConnectionId> {
        let index = self.lists[Wait::End as usize].first;
        let id = self.first(Wait::End)?.id;
        self.unlink(usize::from(index));
        Some(id)
    }

    fn first(&self, wait: Wait) -> Option<&Connection> {
        self.entries
            .get(usize::from(self.lists[wait as usize].first))
    }

    /// Takes an entry out of its list; its wait stays written in it.
    fn unlink(&mut self, index: usize) {
        let Connection {
            wait,
            previous,
            next,
            ..
        } = self.entries[index];
        let Some(wait) = wait else { return };
        let list = &mut self.lists[wait as usize];
        if previous == NONE && list.first != index as u16 {
            // Taken out before.
            return;
        }
        match previous {
            NONE => list.first = next,
            previous => self.entries[usize::from(previous)].next = next,
        }
        match next {
            NONE => list.last = previous,
            next => self.entries[usize::from(next)].previous = previous,
        }
        (self.entries[index].previous, self.entries[index].next) = (NONE, NONE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(slot: u32) -> ConnectionId {
        ConnectionId {
            slot,
            generation: 1,
        }
    }

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn the_nearest_deadline_of_all_kinds_is_told_and_moves_with_its_connection() {
        let mut connections = Connections::new();
        let a = connections.insert(id(7), at(0)).expect("room");
        let b = connections.insert(id(3), at(0)).expect("room");
        assert_eq!(connections.next_deadline(), None);
        connections.wait(a, Wait::Idle, at(60));
        connections.wait(b, Wait::Idle, at(61));
        connections.wait(b, Wait::Head, at(12));
        assert_eq!(connections.next_deadline(), Some(at(12)));
        connections.wait(b, Wait::Idle, at(70));
        assert_eq!(connections.next_deadline(), Some(at(60)));
        connections.remove(id(7));
        assert_eq!(connections.next_deadline(), Some(at(70)));
        connections.remove(id(3));
        assert_eq!(connections.next_deadline(), None);
    }

    #[test]
    fn a_connection_past_its_deadline_is_taken_once_and_known_until_removed() {
        let mut connections = Connections::new();
        for slot in 0..3 {
            let index = connections.insert(id(slot), at(0)).expect("room");
            connections.wait(index, Wait::Head, at(10 + u64::from(slot)));
        }
        let mut expired = 0;
        connections.expire(at(11), |wait| {
            assert_eq!(wait, Wait::Head);
            expired += 1;
        });
        assert_eq!((expired, connections.len()), (2, 1));
        assert_eq!(connections.take_ending(), Some(id(0)));
        assert_eq!(connections.take_ending(), Some(id(1)));
        assert_eq!(connections.take_ending(), None);
        assert_eq!(connections.find(id(0)), Some(0));
        connections.remove(id(0));
        connections.remove(id(1));
        assert_eq!((connections.find(id(0)), connections.len()), (None, 1));
        assert_eq!(connections.next_deadline(), Some(at(12)));
    }

    #[test]
    fn a_name_from_before_does_not_find_who_has_the_slot_now() {
        let mut connections = Connections::new();
        connections.insert(id(5), at(0)).expect("room");
        connections.remove(id(5));
        let newer = ConnectionId {
            slot: 5,
            generation: 2,
        };
        connections.insert(newer, at(0)).expect("room");
        assert_eq!(connections.find(id(5)), None);
        connections.remove(id(5));
        assert!(connections.find(newer).is_some());
        assert_eq!(connections.find(id(1 << 20)), None);
    }

    #[test]
    fn lists_and_reality_agree_through_a_random_run() {
        let mut random = 0x2545_F491_4F6C_DD1D_u64;
        let mut connections = Connections::new();
        let mut model: std::collections::BTreeMap<u32, u64> = std::collections::BTreeMap::new();
        for step in 1..20_000_u64 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let slot = (random >> 32) as u32 % 64;
            match (random % 3, model.contains_key(&slot)) {
                (0, true) => {
                    connections.remove(id(slot));
                    model.remove(&slot);
                }
                (_, true) => {
                    let index = connections.find(id(slot)).expect("the model has it");
                    let wait = Wait::TIMED[(random >> 8) as usize % 3];
                    connections.wait(index, wait, at(step + 1000));
                    model.insert(slot, step + 1000);
                }
                (_, false) => {
                    let index = connections.insert(id(slot), at(step)).expect("room");
                    connections.wait(index, Wait::Idle, at(step + 1000));
                    model.insert(slot, step + 1000);
                }
            }
            let nearest = model.values().min().map(|&nanos| at(nanos));
            assert_eq!(connections.next_deadline(), nearest, "step {step}");
            assert_eq!(connections.len(), model.len(), "step {step}");
        }
    }
}
