//! A network of byte queues, which drives a service as the stack's flows and conversations do.

use crate::net::service::{ConnectionId, Next, Output, Service, Turn};
use crate::platform::time::Instant;
use core::net::{Ipv4Addr, SocketAddrV4};
use std::vec::Vec;

/// Bytes that a connection takes from a peer before they are consumed.
const RING_BYTES: usize = 8 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// In good order, when what was written has been read.
    Closed,
    /// By a reset.
    Reset,
}

/// A peer, and the connection that it has.
pub(super) struct Client {
    pub(super) id: ConnectionId,
    /// What it has still to send.
    pub(super) rest: Vec<u8>,
    /// What it has received.
    pub(super) received: Vec<u8>,
    pub(super) end: Option<End>,
    /// It has sent its FIN, once `rest` is sent.
    pub(super) is_half_closed: bool,
    ring: Vec<u8>,
    wake_at: usize,
    backlog: Vec<u8>,
}

impl Client {
    /// Nothing is under way in either direction but what it has not read.
    pub(super) fn is_quiet(&self) -> bool {
        self.rest.is_empty() && self.backlog.is_empty()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.end == Some(End::Closed) && self.backlog.is_empty()
    }
}

pub(super) struct Network<S> {
    pub(super) service: S,
    pub(super) clients: Vec<Client>,
    /// Connections that each slot has had.
    generations: Vec<u32>,
    output: Output,
    now: Instant,
}

impl<S: Service> Network<S> {
    pub(super) fn new(service: S) -> Self {
        Self {
            service,
            clients: Vec::new(),
            generations: Vec::new(),
            output: Output::new(),
            now: Instant::ZERO,
        }
    }

    /// A client that will send `bytes`; its slot is the first free one.
    pub(super) fn connect(&mut self, bytes: &[u8], now: Instant) -> usize {
        self.now = now;
        let is_used = |slot: usize| {
            let mut open = self.clients.iter().filter(|client| client.end.is_none());
            open.any(|client| client.id.slot as usize == slot)
        };
        let slot = (0..).find(|&slot| !is_used(slot)).expect("a free slot");
        self.generations
            .resize(self.generations.len().max(slot + 1), 0);
        self.generations[slot] += 1;
        let id = ConnectionId {
            slot: slot as u32,
            generation: self.generations[slot],
        };
        self.clients.push(Client {
            id,
            rest: bytes.to_vec(),
            received: Vec::new(),
            end: None,
            is_half_closed: false,
            ring: Vec::new(),
            wake_at: 1,
            backlog: Vec::new(),
        });
        let peer = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 40_000);
        let client = self.clients.len() - 1;
        self.output.clear();
        let next = self.service.open(id, peer, now, &mut self.output);
        self.put(client, next);
        client
    }

    /// Brings at most so many of a client's bytes as its window allows.
    pub(super) fn deliver(&mut self, client: usize, most: usize) {
        let client = &mut self.clients[client];
        let room = RING_BYTES.saturating_sub(client.ring.len());
        let len = client.rest.len().min(room).min(most);
        client.ring.extend(client.rest.drain(..len));
    }

    /// Lets a client read at most so many bytes.
    pub(super) fn read(&mut self, client: usize, most: usize) {
        let client = &mut self.clients[client];
        let len = client.backlog.len().min(most);
        client.received.extend(client.backlog.drain(..len));
        if len > 0 && client.backlog.is_empty() {
            client.wake_at = 0;
        }
    }

    /// The client goes away, without a word.
    pub(super) fn disconnect(&mut self, client: usize) {
        self.end(client, End::Reset);
    }

    /// One poll of the stack: turns, then what the service wants of itself.
    pub(super) fn poll(&mut self, now: Instant) {
        self.now = now;
        for client in 0..self.clients.len() {
            self.turn(client);
        }
        if self.service.deadline().is_some_and(|at| at <= now) {
            self.service.tick(now);
        }
        while let Some(id) = self.service.take_doomed() {
            if let Some(client) = self.find(id) {
                self.clients[client].backlog.clear();
                self.output.clear();
                self.service.farewell(id, &mut self.output);
                self.put(client, Next::Close);
            }
        }
        let mut ready = Vec::new();
        while let Some(id) = self.service.take_ready() {
            ready.extend(self.find(id));
        }
        for client in ready {
            self.clients[client].wake_at = 0;
            self.turn(client);
        }
    }

    fn find(&self, id: ConnectionId) -> Option<usize> {
        let is_it = |client: &Client| client.id == id && client.end.is_none();
        self.clients.iter().position(is_it)
    }

    fn turn(&mut self, client: usize) {
        loop {
            let now = self.now;
            let it = &mut self.clients[client];
            if it.end.is_some() || !it.backlog.is_empty() {
                return;
            }
            if it.ring.len() < it.wake_at {
                break;
            }
            self.output.clear();
            let progress = self.service.receive(Turn {
                id: it.id,
                now,
                input: &it.ring,
                output: &mut self.output,
            });
            it.ring.drain(..progress.consumed);
            if let Next::Wait { until_bytes } = progress.next {
                it.wake_at = match self.output.is_full() {
                    true => 0,
                    false => until_bytes.max(it.ring.len() + 1),
                };
                // The stack gathers what a service waits for outside the ring.
                let more = until_bytes.saturating_sub(RING_BYTES);
                assert!(more == 0 || until_bytes == usize::MAX || more < 128 * 1024);
                if more > 0 && until_bytes != usize::MAX {
                    let len = it.rest.len().min(until_bytes);
                    it.ring.extend(it.rest.drain(..len));
                }
            }
            self.put(client, progress.next);
        }
        let it = &self.clients[client];
        let is_ended = it.is_half_closed && it.rest.is_empty();
        if is_ended && !self.service.is_busy(it.id) {
            self.end(client, End::Closed);
        }
    }

    fn put(&mut self, client: usize, next: Next) {
        let it = &mut self.clients[client];
        if next != Next::Abort {
            it.backlog.extend_from_slice(self.output.as_slice());
        }
        match next {
            Next::Wait { .. } => {}
            Next::Close => self.end(client, End::Closed),
            Next::Abort => self.end(client, End::Reset),
        }
    }

    fn end(&mut self, client: usize, end: End) {
        let it = &mut self.clients[client];
        if it.end.is_none() {
            it.end = Some(end);
            let id = it.id;
            self.service.close(id);
        }
    }
}
