//! A connection as the host knows it, and how its output is sent.

use super::PIECES_UNDER_WAY;
use super::counters::RelayEvent;
use super::host::Host;
use super::message::{Load, Piece, SHORT_BYTES, Then, ToNetwork};
use super::table::Place;
use crate::error::{Grow, Result};
use crate::net::service::{ConnectionId, Next, Output, Service, Turn};
use crate::platform::time::Instant;
use alloc::vec::Vec;

/// A connection as the host knows it.
pub(super) struct Talk {
    /// Input that the service has not consumed.
    pub(super) held: Vec<u8>,
    /// Unconsumed bytes needed for the next call; 0 for a call without any.
    pub(super) wake_at: usize,
    /// Output that is not sent, and how much of it is.
    pub(super) backlog: Vec<u8>,
    pub(super) backlog_sent: usize,
    /// Messages with output that the relay has not handed to the stack.
    pub(super) under_way: usize,
    /// Bytes that came and that the relay does not know to be dealt with.
    pub(super) unreported: u32,
    /// The service waits for more, having been shown all of them.
    pub(super) is_settled: bool,
    /// How it ends once the backlog is sent; the service has forgotten it.
    pub(super) ending: Option<Then>,
    /// It is among those that wait for room in the relay's mailbox.
    pub(super) is_stalled: bool,
}

impl Place for Talk {
    const VACANT: Self = Self {
        held: Vec::new(),
        wake_at: 1,
        backlog: Vec::new(),
        backlog_sent: 0,
        under_way: 0,
        unreported: 0,
        is_settled: true,
        ending: None,
        is_stalled: false,
    };

    #[inline]
    fn vacate(&mut self) {
        if self.held.capacity() > 0 {
            self.held = Vec::new();
        }
        if self.backlog.capacity() > 0 {
            self.backlog = Vec::new();
        }
        (self.wake_at, self.backlog_sent, self.under_way) = (1, 0, 0);
        (self.unreported, self.ending) = (0, None);
        (self.is_settled, self.is_stalled) = (true, false);
    }
}

impl Talk {
    pub(super) fn hold(&mut self, fresh: &[u8]) -> Result<()> {
        self.held.try_reserve(fresh.len())?;
        self.held.append_reserved(fresh);
        Ok(())
    }
}

impl<S: Service> Host<S> {
    /// Sends what the service wrote, does what it wants next, and keeps what cannot be sent yet.
    pub(super) fn put(&mut self, id: ConnectionId, next: Next) {
        let output = core::mem::take(&mut self.output);
        let ending = match next {
            _ if output.check().is_err() => Some(Then::Abort),
            Next::Wait { .. } => None,
            Next::Close => Some(Then::Close),
            Next::Abort => Some(Then::Abort),
        };
        if ending.is_some() {
            self.service.close(id);
        }
        self.say(id, ending, output);
    }

    /// Sends `output` and how the connection ends, if it does, and keeps what cannot be sent yet.
    fn say(&mut self, id: ConnectionId, ending: Option<Then>, mut output: Output) {
        if let Some(talk) = self.talks.get_mut(id) {
            talk.ending = ending;
        }
        if ending == Some(Then::Abort) {
            output.clear();
        }
        let sent = self.send(id, output.as_slice());
        if sent < output.len()
            && let Some(talk) = self.talks.get_mut(id)
        {
            talk.backlog = output.take();
            talk.backlog_sent = sent;
        }
        self.output = output;
    }

    /// Has the service answer a connection that has said all it wants to at once; such a one needs no entry, if its answer
    /// is short. False if the service wants it opened.
    pub(super) fn serve_at_once(&mut self, id: ConnectionId, input: &[u8], now: Instant) -> bool {
        self.output.clear();
        let output = &mut self.output;
        if !self.service.serve_at_once(Turn {
            id,
            now,
            input,
            output,
        }) {
            return false;
        }
        let seen = input.len() as u32;
        if self.output.len() > SHORT_BYTES || self.output.check().is_err() {
            self.say_at_length(id, seen);
            return true;
        }
        let load = Load::Short(self.output.as_slice());
        // There is room: without, no message is received. A mailbox that is closed has nobody to be told.
        self.leave(id, seen, Then::Close, false, load);
        self.owes_ring = true;
        true
    }

    /// Leaves a message for the network's side; false if it takes none any more.
    #[inline(never)]
    fn leave(
        &self,
        connection: ConnectionId,
        seen: u32,
        then: Then,
        tells_taken: bool,
        load: Load<'_>,
    ) -> bool {
        let session = self.session;
        self.wires.to_network.leave_in_place(
            &self.wires.http,
            || ToNetwork {
                session,
                connection,
                seen,
                then,
                tells_taken,
                bytes: Piece::Empty,
            },
            |message| load.put(&mut message.bytes),
        )
    }

    /// Sends an answer that takes several messages, and after which the connection is closed.
    fn say_at_length(&mut self, id: ConnectionId, seen: u32) {
        let output = core::mem::take(&mut self.output);
        let ending = match output.check() {
            Ok(()) => Then::Close,
            Err(_) => Then::Abort,
        };
        match self.admit(id) {
            Ok(talk) => {
                talk.unreported = seen;
                self.say(id, Some(ending), output);
            }
            Err(_) => self.turn_away(id),
        }
    }

    /// Sends what waits, as far as there is room for it.
    pub(super) fn flush(&mut self, id: ConnectionId) {
        let Some(talk) = self.talks.get_mut(id) else {
            return;
        };
        let backlog = core::mem::take(&mut talk.backlog);
        let before = talk.backlog_sent;
        let sent = before + self.send(id, backlog.get(before..).unwrap_or_default());
        let Some(talk) = self.talks.get_mut(id) else {
            return;
        };
        if sent < backlog.len() {
            (talk.backlog, talk.backlog_sent) = (backlog, sent);
        } else if !backlog.is_empty() {
            talk.backlog_sent = 0;
            talk.wake_at = 0;
        }
    }

    /// Sends as much of `bytes` as there is room for, which is all that is to be sent now, and behind the last of them
    /// how the connection ends or what is dealt with; returns how much was sent.
    pub(super) fn send(&mut self, id: ConnectionId, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while let Some(talk) = self.talks.get_mut(id) {
            let rest = &bytes[sent..];
            let takes_place = !rest.is_empty() || talk.ending.is_some();
            let is_told = !talk.is_settled || talk.unreported == 0;
            if !takes_place && is_told || takes_place && talk.under_way == PIECES_UNDER_WAY {
                return sent;
            }
            if self.wires.to_network.is_full() {
                if !core::mem::replace(&mut talk.is_stalled, true) {
                    self.stalled.push_reserved(id);
                }
                return sent;
            }
            let load = Load::first_of(rest, &self.parcels);
            sent += load.len();
            let is_last = sent == bytes.len();
            talk.under_way += usize::from(takes_place);
            let seen = match is_last && talk.is_settled {
                true => core::mem::take(&mut talk.unreported),
                false => 0,
            };
            let then = match talk.ending {
                _ if !is_last => Then::More,
                Some(ending) => ending,
                None => Then::Wait,
            };
            let tells_taken = talk.under_way == PIECES_UNDER_WAY;
            if is_last && talk.ending.is_some() {
                self.talks.remove(id, |_| {});
            }
            let is_queued = self.leave(id, seen, then, tells_taken, load);
            self.owes_ring = true;
            if !is_last {
                self.ring();
            }
            // The mailbox is closed only when the network's side has stopped for good.
            if !is_queued {
                self.forget(id);
            }
            if is_last {
                break;
            }
        }
        bytes.len()
    }

    /// Ends a connection that there is no memory for.
    #[cold]
    pub(super) fn turn_away(&mut self, id: ConnectionId) {
        self.wires.counters.count(RelayEvent::OutOfMemory);
        // There is room: without, no message is received. A mailbox that is closed has nobody to be told.
        self.leave(id, 0, Then::Abort, false, Load::EMPTY);
        self.owes_ring = true;
    }

    /// Whether the relay's mailbox is. Nobody else sends to it, so what is free now is free when a message is sent.
    pub(super) fn is_full(&self) -> bool {
        self.wires.to_network.is_full()
    }
}
