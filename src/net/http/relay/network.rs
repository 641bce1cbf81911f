//! The network's side: a service that passes on what peers say, and writes to them what HTTP answers.
//!
//! Runs in the data plane, in the stack's polls. A poll without messages costs it a few loads.

use super::counters::RelayEvent;
use super::message::{Parcels, Session, Then};
use super::peer::Peer;
use super::table::Table;
use super::{NEWS_AFTER, PATIENCE, RETRY_AFTER, Wires};
use crate::error::{Grow, HttpFault, Result};
use crate::net::http::fault::fault;
use crate::net::http::response::{Content, Persistence, Response};
use crate::net::service::{Agenda, ConnectionId, Next, Output, Progress, Service, Turn};
use crate::platform::time::Instant;
use alloc::vec::Vec;
use core::net::SocketAddrV4;
use heapless::Deque;

/// News of one kind that may wait; with more, they travel at once (a guess).
pub(super) const NEWS_MAX: usize = 16;

/// The service of HTTP's port while HTTP is a subsystem of its own.
pub struct Relay {
    pub(super) wires: Wires,
    pub(super) parcels: Parcels,
    pub(super) port: u16,
    pub(super) session: Session,
    pub(super) peers: Table<Peer>,
    /// The time of the last call that told it.
    pub(super) now: Instant,
    /// Bytes of all connections that HTTP has and has not dealt with.
    pub(super) unseen: usize,
    /// Since when HTTP owes a sign of life, if it does.
    waiting_since: Option<Instant>,
    /// Something came from HTTP after that.
    has_heard: bool,
    /// Connections that HTTP has not been told of, and when they opened; in that order.
    pub(super) unannounced: Deque<(ConnectionId, Instant), NEWS_MAX>,
    /// Connections that are gone and that HTTP still knows. Here and in the next three there is always room for all.
    pub(super) gone: Vec<ConnectionId>,
    pub(super) gone_since: Instant,
    /// Connections that wait for room in HTTP's mailbox, and when to try again; never set back.
    pub(super) blocked: Vec<ConnectionId>,
    pub(super) retry_at: Instant,
    /// Connections that are to have a turn.
    pub(super) again: Vec<ConnectionId>,
    /// Connections to be ended.
    pub(super) doomed: Vec<ConnectionId>,
    /// When to look at what waits for a time, or earlier: set back by a tick alone, as most of it is done in time.
    deadline: Instant,
}

impl Relay {
    /// A relay of what comes to `port`, for the incarnation of the network's side that runs now.
    pub fn new(wires: &Wires, parcels: Parcels, port: u16) -> Self {
        Self {
            wires: wires.clone(),
            parcels,
            port,
            session: wires.session(),
            peers: Table::new(),
            now: Instant::ZERO,
            unseen: 0,
            waiting_since: None,
            has_heard: false,
            unannounced: Deque::new(),
            gone: Vec::new(),
            gone_since: Instant::ZERO,
            blocked: Vec::new(),
            retry_at: Instant::ZERO,
            again: Vec::new(),
            doomed: Vec::new(),
            deadline: Instant::NEVER,
        }
    }

    /// Ends the connections that HTTP's last incarnation knew, and drops what it left. Seen to whenever HTTP's
    /// incarnation has changed: nobody needs to call it but who knows earlier.
    #[cold]
    pub fn peer_died(&mut self) {
        self.session = self.wires.session();
        self.gone.clear();
        self.end_known(RelayEvent::PeerDied);
        self.peers
            .iter_mut()
            .for_each(|(_, peer)| peer.is_known = false);
    }

    /// Sees to it that nothing is meant for an incarnation that has died.
    #[inline]
    fn look_after_http(&mut self) {
        if !self.session.is_with_http(self.wires.http.incarnation()) {
            self.peer_died();
        }
    }

    /// Has a tick come at `at`, or earlier.
    #[inline]
    pub(super) fn tick_by(&mut self, at: Instant) {
        self.deadline = self.deadline.min(at);
    }

    /// HTTP owes a sign of life from now on, if it did not yet.
    #[inline]
    pub(super) fn await_http(&mut self) {
        if self.has_heard || self.waiting_since.is_none() {
            self.has_heard = false;
            self.waiting_since = Some(self.now);
            self.tick_by(self.now + PATIENCE);
        }
    }

    fn is_waiting(&self) -> bool {
        self.unseen > 0 || !self.blocked.is_empty()
    }

    /// Dooms each connection that HTTP knows, or ought to know.
    #[cold]
    pub(super) fn end_known(&mut self, why: RelayEvent) {
        let counters = &self.wires.counters;
        for (id, peer) in self.peers.iter_mut() {
            let is_waiting = why == RelayEvent::PeerDown && peer.holds_back;
            if peer.is_over || !peer.is_known && !is_waiting {
                continue;
            }
            peer.is_over = true;
            for message in &mut peer.queue {
                if message.take().is_some() {
                    counters.count(RelayEvent::OrphanedMessage);
                }
            }
            counters.count(why);
            self.doomed.push_reserved(id);
        }
        self.waiting_since = None;
        self.rearm();
    }

    /// The next connection that has something to do.
    fn next_ready(&mut self) -> Option<ConnectionId> {
        while let Some(whose) = self.accept() {
            self.has_heard = true;
            if whose.is_some() {
                return whose;
            }
        }
        // HTTP has worked, so there may be room.
        if !self.blocked.is_empty() {
            self.unblock();
        }
        self.again.pop()
    }

    /// Takes a message in, if there is one; tells whose turn it makes, if anybody's.
    #[inline]
    fn accept(&mut self) -> Option<Option<ConnectionId>> {
        let Self {
            wires,
            session,
            peers,
            unseen,
            doomed,
            ..
        } = self;
        let (mut nobody, mut whose) = (None, None);
        // It goes from the mailbox to its place in one move: it is large.
        let is_any = wires.to_network.receive_to(|message| {
            let id = message.connection;
            let is_ours = message.session == *session;
            let peer = peers.get_mut(id);
            let Some(peer) = peer.filter(|peer| is_ours && !peer.is_over) else {
                wires.counters.count(RelayEvent::LateMessage);
                return &mut nobody;
            };
            let seen = peer.unseen.min(message.seen as usize);
            peer.unseen -= seen;
            *unseen -= seen;
            whose = Some(id);
            if message.then == Then::Wait && message.bytes.is_empty() {
                return &mut nobody;
            }
            if let Some(place) = peer.queue.iter_mut().find(|place| place.is_none()) {
                return place;
            }
            // HTTP sent more than is agreed: only its own connection suffers.
            peer.is_over = true;
            whose = None;
            doomed.push_reserved(id);
            &mut nobody
        });
        is_any.then_some(whose)
    }

    /// Sets the deadline anew.
    fn rearm(&mut self) {
        if core::mem::take(&mut self.has_heard) {
            self.waiting_since = None;
        }
        self.waiting_since = match self.is_waiting() {
            true => self.waiting_since.or(Some(self.now)),
            false => None,
        };
        let silent = self.waiting_since.map(|since| since + PATIENCE);
        let opened = self
            .unannounced
            .front()
            .map(|&(_, at)| (at + NEWS_AFTER).max(self.retry_at));
        let gone = (!self.gone.is_empty()).then_some(self.gone_since + NEWS_AFTER);
        let retry = (!self.blocked.is_empty()).then_some(self.retry_at);
        let all = [silent, opened, gone, retry].into_iter().flatten();
        self.deadline = all.min().unwrap_or(Instant::NEVER);
    }

    /// Makes room for one more connection in the lists that must never lack it.
    #[inline]
    fn reserve(&mut self) -> Result<()> {
        let more = self.peers.len() + 1;
        let lacks = |list: &Vec<ConnectionId>| list.capacity() - list.len() < more;
        match lacks(&self.gone) || lacks(&self.blocked) || lacks(&self.again) || lacks(&self.doomed)
        {
            true => self.make_room(more),
            false => Ok(()),
        }
    }

    #[cold]
    fn make_room(&mut self, more: usize) -> Result<()> {
        for list in [
            &mut self.gone,
            &mut self.blocked,
            &mut self.again,
            &mut self.doomed,
        ] {
            list.try_reserve(more)?;
        }
        Ok(())
    }

    fn admit(&mut self, id: ConnectionId, peer: SocketAddrV4) -> Result<()> {
        let unavailable = Err(fault(HttpFault::Unavailable));
        if self.wires.to_http.is_closed() {
            self.wires.counters.count(RelayEvent::PeerDown);
            return unavailable;
        }
        if self.unannounced.is_full() && !self.announce(|_, waiting| waiting < NEWS_MAX) {
            self.wires.counters.count(RelayEvent::PeerDown);
            return unavailable;
        }
        let inserted = self
            .reserve()
            .and_then(|()| self.peers.insert(id))
            .map(|place| place.address = peer);
        if inserted.is_err() {
            self.wires.counters.count(RelayEvent::OutOfMemory);
        }
        inserted
    }
}

/// Says that nobody can answer now.
fn refuse(output: &mut Output) {
    let mut response = Response::new(output, Persistence::Close, Content::Sent);
    response.fail(&fault(HttpFault::Unavailable));
}

impl Service for Relay {
    fn port(&self) -> u16 {
        self.port
    }

    fn awaits_request(&self) -> bool {
        true
    }

    fn open(
        &mut self,
        id: ConnectionId,
        peer: SocketAddrV4,
        now: Instant,
        output: &mut Output,
    ) -> Next {
        self.now = now;
        match self.admit(id, peer) {
            Ok(()) => {
                let pushed = self.unannounced.push_back((id, now));
                assert!(pushed.is_ok(), "admission left room");
                self.tick_by(now + NEWS_AFTER);
                Next::MORE
            }
            Err(_) => {
                refuse(output);
                Next::Close
            }
        }
    }

    fn receive(&mut self, turn: Turn<'_>) -> Progress {
        let Turn {
            id,
            now,
            input,
            output,
        } = turn;
        self.now = now;
        self.look_after_http();
        let Some(at) = self.peers.find(id) else {
            let (consumed, next) = (input.len(), Next::Close);
            return Progress { consumed, next };
        };
        let peer = self.peers.at(at);
        if peer.is_over {
            let (consumed, next) = (0, Next::PAUSED);
            return Progress { consumed, next };
        }
        if let Some(next) = peer.write_queued(output) {
            // HTTP has forgotten it already.
            peer.is_known = false;
            peer.is_over = true;
            let consumed = input.len();
            return Progress { consumed, next };
        }
        let consumed = self.forward(id, at, input);
        let next = match consumed == input.len() {
            true => Next::MORE,
            false => Next::PAUSED,
        };
        Progress { consumed, next }
    }

    /// 503 if HTTP owed the first byte of an answer; what was cut short is seen to be so by its length.
    fn farewell(&mut self, id: ConnectionId, output: &mut Output) {
        let owes_answer = |peer: &Peer| peer.waits_for_answer() && !peer.is_mid_answer;
        if self.peers.get(id).is_some_and(owes_answer) {
            refuse(output);
        }
    }

    fn close(&mut self, id: ConnectionId) {
        let last = self.peers.remove(id, |peer| (peer.unseen, peer.is_known));
        let Some((unseen, is_known)) = last else {
            return;
        };
        self.unseen -= unseen;
        if unseen > 0 && !self.is_waiting() {
            self.waiting_since = None;
        }
        if is_known {
            if self.gone.is_empty() {
                self.gone_since = self.now;
                self.tick_by(self.now + NEWS_AFTER);
            }
            self.gone.push_reserved(id);
            if self.gone.len() > NEWS_MAX {
                self.tell_gone();
            }
        }
    }

    fn tick(&mut self, now: Instant) {
        self.now = now;
        self.rearm();
        let is_silent = |since: Instant| since + PATIENCE <= now;
        if self.waiting_since.is_some_and(is_silent) {
            self.end_known(RelayEvent::PeerDown);
        }
        if self.retry_at <= now {
            self.unblock();
        }
        if !self.announce(|at, _| at + NEWS_AFTER > now) {
            self.retry_at = now + RETRY_AFTER;
        }
        if !self.gone.is_empty() && self.gone_since + NEWS_AFTER <= now {
            self.tell_gone();
        }
        self.rearm();
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.deadline).filter(|&at| at != Instant::NEVER)
    }

    fn agenda(&mut self) -> Agenda {
        self.look_after_http();
        let has_messages = !self.wires.to_network.is_surely_empty();
        Agenda {
            deadline: self.deadline,
            has_news: has_messages || !self.doomed.is_empty() || !self.again.is_empty(),
        }
    }

    fn take_doomed(&mut self) -> Option<ConnectionId> {
        self.look_after_http();
        self.doomed.pop()
    }

    fn take_ready(&mut self) -> Option<ConnectionId> {
        self.next_ready()
    }

    fn is_busy(&self, id: ConnectionId) -> bool {
        self.peers.get(id).is_some_and(|peer| {
            peer.waits_for_answer() || peer.is_mid_answer || peer.queue[0].is_some()
        })
    }
}
