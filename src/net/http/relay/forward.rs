//! The relay's sending half: bytes and news to HTTP, as far as its mailbox and the connection's share have room.

use super::counters::RelayEvent;
use super::message::{Load, Piece, ToHttp};
use super::network::Relay;
use super::peer::Peer;
use super::table::Index;
use super::{NEWS_AFTER, RETRY_AFTER, UNSEEN_BYTES};
use crate::error::Grow;
use crate::net::service::ConnectionId;
use crate::platform::time::Instant;

impl Relay {
    pub(super) fn has_room(&self) -> bool {
        // Nobody else sends to HTTP, so what is free now is free when the message is sent.
        !self.wires.to_http.is_full()
    }

    /// Sends bytes, and what news there is; false if HTTP takes no messages any more.
    #[inline]
    pub(super) fn send(&mut self, id: ConnectionId, at: Index, load: Load<'_>) -> bool {
        let len = load.len();
        if len > 0 {
            self.await_http();
        }
        let peer = self.peers.at(at);
        let is_known = core::mem::replace(&mut peer.is_known, true);
        let is_first = |&(first, _): &(ConnectionId, Instant)| first == id;
        if !is_known && self.unannounced.front().is_some_and(is_first) {
            self.unannounced.pop_front();
        }
        peer.unseen += len;
        self.unseen += len;
        peer.owes_taken = false;
        let (session, opened) = (self.session, (!is_known).then_some(peer.address));
        let (closed, taken) = (self.gone.pop(), core::mem::take(&mut peer.taken));
        let is_queued = self.wires.to_http.send_in_place(
            &self.wires.network,
            || ToHttp {
                session,
                connection: id,
                opened,
                closed,
                taken,
                bytes: Piece::Empty,
            },
            |message| load.put(&mut message.bytes),
        );
        if !is_queued {
            self.end_known(RelayEvent::PeerDown);
        }
        is_queued
    }

    /// Passes on as much of `input` as HTTP may have; returns how much that was.
    pub(super) fn forward(&mut self, id: ConnectionId, at: Index, input: &[u8]) -> usize {
        let mut passed = 0;
        loop {
            let peer = self.peers.at(at);
            let allowed = UNSEEN_BYTES - peer.unseen;
            let rest = &input[passed..];
            let rest = &rest[..rest.len().min(allowed)];
            peer.holds_back = passed < input.len();
            if rest.is_empty() && !peer.owes_taken {
                break;
            }
            if !self.has_room() {
                self.block(id);
                break;
            }
            let load = Load::first_of(rest, &self.parcels);
            let len = load.len();
            if !self.send(id, at, load) {
                break;
            }
            passed += len;
        }
        passed
    }

    /// Lets a connection wait for room in HTTP's mailbox.
    pub(super) fn block(&mut self, id: ConnectionId) {
        if let Some(peer) = self.peers.get_mut(id)
            && !core::mem::replace(&mut peer.is_blocked, true)
        {
            if self.blocked.is_empty() {
                self.retry_at = self.now + RETRY_AFTER;
                self.tick_by(self.retry_at);
            }
            self.blocked.push_reserved(id);
            self.await_http();
        }
    }

    /// Gives those that wait for room a turn.
    pub(super) fn unblock(&mut self) {
        while let Some(&id) = self.blocked.last() {
            if let Some(peer) = self.peers.get_mut(id) {
                // It may be in the list from before, and then has two turns; without memory it waits on.
                if self.again.try_push(id).is_err() {
                    return;
                }
                peer.is_blocked = false;
            }
            self.blocked.pop();
        }
    }

    /// Tells HTTP of the connections that opened first, while `is_enough` does not hold for when that was; false if
    /// there was no room.
    pub(super) fn announce(&mut self, is_enough: impl Fn(Instant, usize) -> bool) -> bool {
        while let Some(&(id, at)) = self.unannounced.front() {
            let is_pending = |peer: &mut Peer| !peer.is_known && !peer.is_over;
            if let Some(place) = self.peers.find(id)
                && is_pending(self.peers.at(place))
            {
                if is_enough(at, self.unannounced.len()) {
                    return true;
                }
                if !self.has_room() {
                    return false;
                }
                // That takes it off the list.
                self.send(id, place, Load::EMPTY);
                continue;
            }
            self.unannounced.pop_front();
        }
        true
    }

    /// Tells HTTP of those that are gone, as far as there is room.
    pub(super) fn tell_gone(&mut self) {
        while self.has_room()
            && let Some(id) = self.gone.pop()
        {
            let session = self.session;
            let is_queued = self.wires.to_http.send_in_place(
                &self.wires.network,
                || ToHttp {
                    session,
                    connection: id,
                    opened: None,
                    closed: Some(id),
                    taken: 0,
                    bytes: Piece::Empty,
                },
                |_| {},
            );
            if !is_queued {
                self.gone.clear();
                self.end_known(RelayEvent::PeerDown);
            }
        }
        // What is left is tried again.
        self.gone_since = self.now;
        if !self.gone.is_empty() {
            self.tick_by(self.now + NEWS_AFTER);
        }
    }
}
