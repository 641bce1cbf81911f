//! All flows: slots that they live in, and the hash table that finds the slot of a 4-tuple.
//!
//! Invariants: each flow is in exactly one slot and, by its key, once in the table; a slot's generation
//! grows each time a flow leaves it, so a [`ConnectionId`] names one connection for ever. Slots are below
//! the connection limit. Whatever grows here grows fallibly, before anything is changed.
//!
//! Keys are hashed with a secret seed: a peer chooses ports, and must not choose collisions.
//!
//! Half-open flows stand in a queue, oldest first, so that the oldest can make room. An entry whose flow has moved
//! on is left behind and skipped.

use super::flow::{Flow, Seat};
use super::frame::FlowKey;
use super::service::ConnectionId;
use crate::error::{Error, Grow, GrowQueue, Kind, Result, Subsystem};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

struct Slot {
    generation: u32,
    flow: Option<Flow>,
}

/// All flows.
pub(super) struct FlowTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_key: HashTable<u32>,
    hash: FixedState,
    limit: u32,
    spare: Vec<Seat>,
    spare_limit: usize,
}

impl FlowTable {
    /// An empty table for `limit` flows that keeps `spare_limit` sockets for reuse.
    pub(super) fn new(limit: u32, spare_limit: usize, seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_key: HashTable::new(),
            hash: FixedState::with_seed(seed),
            limit,
            spare: Vec::new(),
            spare_limit,
        }
    }

    /// The slot of the flow with that key.
    #[inline]
    pub(super) fn find(&self, key: FlowKey) -> Option<u32> {
        let slots = &self.slots;
        let is_it = |&slot: &u32| {
            let flow = slots[slot as usize].flow.as_ref();
            flow.is_some_and(|flow| flow.key == key)
        };
        self.by_key
            .find(self.hash.hash_one(key.word()), is_it)
            .copied()
    }

    /// The flow in `slot`, if there is one.
    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Flow> {
        self.slots[slot as usize].flow.as_mut()
    }

    /// The name of the connection in `slot`, or of the next one there.
    #[inline]
    pub(super) fn id(&self, slot: u32) -> ConnectionId {
        let generation = self.slots[slot as usize].generation;
        ConnectionId { slot, generation }
    }

    /// The flow of that name, if it is still there.
    #[inline]
    pub(super) fn named_mut(&mut self, id: ConnectionId) -> Option<&mut Flow> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        slot.flow
            .as_mut()
            .filter(|_| slot.generation == id.generation)
    }

    /// Slots there are, with a flow or without.
    pub(super) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Flows there are.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Makes sure that a flow can be inserted, and returns the slot that it will get.
    ///
    /// # Errors
    /// `LimitReached`, or `OutOfMemory`.
    pub(super) fn reserve(&mut self) -> Result<u32> {
        let (slots, hash) = (&self.slots, &self.hash);
        let rehash = |&slot: &u32| {
            let flow = slots[slot as usize].flow.as_ref();
            let key = flow.expect("every slot in the table has a flow").key;
            hash.hash_one(key.word())
        };
        self.by_key.try_reserve(1, rehash).map_err(|_| {
            let requested_bytes = self.by_key.len() * size_of::<u32>();
            Error::new(Subsystem::Network, Kind::OutOfMemory { requested_bytes })
        })?;
        if let Some(&slot) = self.free.last() {
            return Ok(slot);
        }
        let slot = self.slots.len() as u32;
        if slot >= self.limit {
            let limit = u64::from(self.limit);
            let what = "connections";
            return Err(Error::new(
                Subsystem::Network,
                Kind::LimitReached { what, limit },
            ));
        }
        self.slots.try_reserve(1)?;
        // Room for every slot to become free: giving one back never allocates.
        self.free.try_reserve(self.slots.len() + 1)?;
        self.slots.push_reserved(Slot {
            generation: 0,
            flow: None,
        });
        self.free.push_reserved(slot);
        Ok(slot)
    }

    /// Puts `flow` into the slot that [`FlowTable::reserve`] has returned.
    pub(super) fn insert(&mut self, flow: Flow) {
        let slot = self.free.pop().expect("reserve() left a free slot");
        let (slots, hash) = (&mut self.slots, &self.hash);
        let hashed = hash.hash_one(flow.key.word());
        slots[slot as usize].flow = Some(flow);
        self.by_key.insert_unique(hashed, slot, |_| {
            unreachable!("reserve() made room, so nothing is hashed anew")
        });
    }

    /// Takes the flow out of `slot`.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Flow> {
        let place = &mut self.slots[slot as usize];
        let flow = place.flow.take()?;
        place.generation = place.generation.wrapping_add(1);
        let hashed = self.hash.hash_one(flow.key.word());
        if let Ok(entry) = self.by_key.find_entry(hashed, |&other| other == slot) {
            entry.remove();
        }
        self.free.push_reserved(slot);
        Some(flow)
    }

    /// A socket that was kept for reuse.
    pub(super) fn take_spare(&mut self) -> Option<Seat> {
        self.spare.pop()
    }

    /// Frees the sockets kept for reuse; false if there are none.
    pub(super) fn give_up_spare(&mut self) -> bool {
        !core::mem::take(&mut self.spare).is_empty()
    }

    /// Keeps a socket for reuse, or frees it when there are enough.
    pub(super) fn keep_spare(&mut self, seat: Seat) {
        if self.spare.len() < self.spare_limit && self.spare.try_reserve(1).is_ok() {
            self.spare.push_reserved(seat);
        }
    }
}

/// Connections in the order in which they came, of which the oldest makes room.
#[derive(Debug, Default)]
pub(super) struct Queue {
    names: VecDeque<ConnectionId>,
    /// Entries whose flows have not moved on.
    live: u32,
}

impl Queue {
    /// Appends a name. One for which there is no memory is not kept: its flow does not make room early.
    pub(super) fn push(&mut self, id: ConnectionId) {
        let names = &mut self.names;
        // Without a call, mostly.
        if names.len() < names.capacity() || names.try_reserve(1).is_ok() {
            names.push_back_reserved(id);
        }
        self.live += 1;
    }

    /// Takes the oldest name, of a flow that has moved on or not.
    pub(super) fn pop(&mut self) -> Option<ConnectionId> {
        self.names.pop_front()
    }

    /// One of the flows has moved on; its name may be left behind.
    pub(super) fn left(&mut self) {
        self.live -= 1;
    }

    /// Flows that have not moved on.
    pub(super) fn live(&self) -> u32 {
        self.live
    }

    /// True when most names are of flows that have moved on, and it is time to forget them.
    pub(super) fn is_stale(&self) -> bool {
        const SLACK: usize = 64;
        self.names.len() > 2 * self.live as usize + SLACK
    }

    /// Forgets the names that `is_live` does not know.
    pub(super) fn retain(&mut self, is_live: impl FnMut(&ConnectionId) -> bool) {
        self.names.retain(is_live);
    }
}
