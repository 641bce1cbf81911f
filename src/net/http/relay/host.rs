//! HTTP's side: drives a service from messages as the stack's conversations would.
//!
//! Runs as HTTP's own subsystem. The service sees no difference: it is called with all that is not consumed, never
//! while output of an earlier call waits, and told of the end of each connection once.

use super::counters::RelayEvent;
use super::message::{Parcels, Session, ToHttp};
use super::table::Table;
use super::talk::Talk;
use super::{RETRY_AFTER, Wires};
use crate::error::Result;
use crate::net::service::{ConnectionId, Next, Output, Service, Turn};
use crate::platform::time::Instant;
use alloc::vec::Vec;
use core::net::SocketAddrV4;

/// Drives a service on HTTP's side.
pub struct Host<S> {
    pub(super) service: S,
    pub(super) wires: Wires,
    pub(super) parcels: Parcels,
    pub(super) session: Session,
    pub(super) talks: Table<Talk>,
    pub(super) output: Output,
    /// Connections that wait for room in the relay's mailbox; there is always room for all.
    pub(super) stalled: Vec<ConnectionId>,
    /// Messages were left that the network's side has not been rung for.
    pub(super) owes_ring: bool,
}

impl<S: Service> Host<S> {
    /// A host of `service`, for the incarnation of HTTP that runs now.
    pub fn new(wires: &Wires, parcels: Parcels, service: S) -> Self {
        Self {
            service,
            wires: wires.clone(),
            parcels,
            session: wires.session(),
            talks: Table::new(),
            output: Output::new(),
            stalled: Vec::new(),
            owes_ring: false,
        }
    }

    /// Does what is to be done now. Call it when its bell has rung, and at the time it returns, if any.
    pub fn run(&mut self, now: Instant) -> Option<Instant> {
        let next = self.step(now);
        self.ring();
        next
    }

    /// As [`Host::run`], for one who calls [`Host::ring`] when it is about to sleep: the network's side, which may rank
    /// higher, then takes its place once, and not at each message. All but the last messages are rung for at once.
    pub fn step(&mut self, now: Instant) -> Option<Instant> {
        let network = self.wires.network.incarnation();
        if !self.session.is_with_network(network) {
            self.network_died();
        }
        // Bounded, so that messages which keep coming do not look like a hang.
        let mut message = None;
        for _ in 0..self.wires.to_http.capacity() {
            if self.is_full() {
                break;
            }
            if !self.wires.to_http.receive_to(|_| &mut message) {
                break;
            }
            // What comes may take long: nothing waits for that.
            self.ring();
            if let Some(message) = &message {
                self.accept(message, now);
            }
            if self.wires.to_http.is_surely_empty() {
                break;
            }
        }
        if !self.stalled.is_empty() {
            self.retry_stalled(now);
        }
        let next = self.heed_service(now);
        let next = match self.is_full() {
            true => next.min(now + RETRY_AFTER),
            false if !self.wires.to_http.is_surely_empty() => now,
            false if !self.stalled.is_empty() => next.min(now + RETRY_AFTER),
            false => next,
        };
        Some(next).filter(|&next| next != Instant::NEVER)
    }

    /// Does what the service wants though nothing came for it; returns its deadline.
    #[inline]
    fn heed_service(&mut self, now: Instant) -> Instant {
        let mut agenda = self.service.agenda();
        if agenda.deadline <= now {
            self.service.tick(now);
            agenda = self.service.agenda();
        }
        if agenda.has_news {
            while let Some(id) = self.service.take_doomed() {
                self.cut(id);
            }
            while let Some(id) = self.service.take_ready() {
                self.ring();
                self.call_again(id);
                self.converse(id, &[], now);
            }
            agenda = self.service.agenda();
        }
        agenda.deadline
    }

    /// Rings for the messages that were left.
    #[inline]
    pub fn ring(&mut self) {
        if core::mem::take(&mut self.owes_ring) {
            self.wires.to_network.ring();
        }
    }

    /// Forgets all connections. Seen to whenever the incarnation of the network's side has changed.
    pub fn network_died(&mut self) {
        self.session = self.wires.session();
        let (service, counters) = (&mut self.service, &self.wires.counters);
        self.talks.clear(|id, talk| {
            if talk.ending.is_none() {
                service.close(id);
            }
            counters.count(RelayEvent::NetworkDied);
        });
        self.stalled.clear();
    }

    /// The service.
    pub fn service(&self) -> &S {
        &self.service
    }

    fn accept(&mut self, message: &ToHttp, now: Instant) {
        if message.session != self.session {
            self.wires.counters.count(RelayEvent::LateMessage);
            return;
        }
        if let Some(id) = message.closed {
            self.forget(id);
        }
        let id = message.connection;
        if let Some(peer) = message.opened {
            // That one is gone, though its end was not told yet.
            if let Some(earlier) = self.talks.occupant(id.slot) {
                self.forget(earlier);
            }
            if !message.bytes.is_empty() && self.serve_at_once(id, &message.bytes, now) {
                return;
            }
            self.open(id, peer, now);
        }
        let Some(talk) = self.talks.get_mut(id) else {
            if !message.bytes.is_empty() {
                self.wires.counters.count(RelayEvent::LateMessage);
            }
            return;
        };
        talk.unreported += message.bytes.len() as u32;
        if message.taken > 0 {
            talk.under_way = talk.under_way.saturating_sub(usize::from(message.taken));
            self.flush(id);
        }
        self.converse(id, &message.bytes, now);
    }

    fn open(&mut self, id: ConnectionId, peer: SocketAddrV4, now: Instant) {
        if self.admit(id).is_err() {
            return self.turn_away(id);
        }
        self.output.clear();
        let next = self.service.open(id, peer, now, &mut self.output);
        // Most say nothing yet, and wait.
        if next != Next::MORE || !self.output.is_empty() || self.output.check().is_err() {
            self.put(id, next);
        }
    }

    /// Makes an entry for a connection.
    pub(super) fn admit(&mut self, id: ConnectionId) -> Result<&mut Talk> {
        self.stalled.try_reserve(self.talks.len() + 1)?;
        self.talks.insert(id)
    }

    /// The connection is gone.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        if self.talks.remove(id, |talk| talk.ending.is_none()) == Some(true) {
            self.service.close(id);
        }
    }

    /// Ends a connection that the service does not want any more; it may say a last word.
    fn cut(&mut self, id: ConnectionId) {
        let talk = self.talks.get_mut(id);
        let Some(talk) = talk.filter(|talk| talk.ending.is_none()) else {
            return;
        };
        talk.backlog = Vec::new();
        self.output.clear();
        self.service.farewell(id, &mut self.output);
        self.put(id, Next::Close);
    }

    fn call_again(&mut self, id: ConnectionId) {
        if let Some(talk) = self.talks.get_mut(id) {
            talk.wake_at = 0;
        }
    }

    /// Calls the service as often as there is something new for it, and sends what it writes.
    fn converse(&mut self, id: ConnectionId, mut fresh: &[u8], now: Instant) {
        while let Some(talk) = self.talks.get_mut(id) {
            if talk.ending.is_some() {
                return;
            }
            let has_backlog = !talk.backlog.is_empty();
            if has_backlog || talk.held.len() + fresh.len() < talk.wake_at {
                // What has come since is not dealt with before the next call.
                talk.is_settled &= !has_backlog || fresh.is_empty();
                break;
            }
            if !talk.held.is_empty() && !fresh.is_empty() {
                if talk.hold(fresh).is_err() {
                    return self.abort(id);
                }
                fresh = &[];
            }
            let is_held = !talk.held.is_empty();
            let input = if is_held { &talk.held } else { fresh };
            self.output.clear();
            let progress = self.service.receive(Turn {
                id,
                now,
                input,
                output: &mut self.output,
            });
            let left = input.len() - progress.consumed;
            if !is_held {
                fresh = &fresh[progress.consumed..];
            } else if left == 0 {
                talk.held = Vec::new();
            } else {
                talk.held.drain(..progress.consumed);
            }
            talk.is_settled = !self.output.is_full();
            talk.wake_at = match progress.next {
                Next::Wait { .. } if self.output.is_full() => 0,
                Next::Wait { until_bytes } => until_bytes.max(left + 1),
                Next::Close | Next::Abort => usize::MAX,
            };
            self.put(id, progress.next);
            if !matches!(progress.next, Next::Wait { .. }) {
                return;
            }
        }
        let Some(talk) = self.talks.get_mut(id) else {
            return;
        };
        if !fresh.is_empty() && talk.hold(fresh).is_err() {
            return self.abort(id);
        }
        if talk.unreported > 0 && talk.backlog.is_empty() {
            self.send(id, &[]);
        }
    }

    /// There is no memory for the connection.
    #[cold]
    fn abort(&mut self, id: ConnectionId) {
        self.wires.counters.count(RelayEvent::OutOfMemory);
        self.put(id, Next::Abort);
    }

    /// Tries again those that found the relay's mailbox full.
    fn retry_stalled(&mut self, now: Instant) {
        for _ in 0..self.stalled.len() {
            if self.is_full() {
                break;
            }
            // In turn; who finds it full again is put behind the others.
            let id = self.stalled.remove(0);
            if let Some(talk) = self.talks.get_mut(id) {
                talk.is_stalled = false;
                self.flush(id);
                self.converse(id, &[], now);
            }
        }
    }
}
