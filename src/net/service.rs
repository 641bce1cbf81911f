//! What serves a TCP port: the [`Service`] trait, and the [`Output`] its replies go to.
//!
//! The stack owns connections, windows and timers; a service owns what a connection means. The stack
//! calls the service with all bytes that have not been consumed, contiguous, and sends what the service
//! wrote before it calls again: a peer that does not read stops being read from. Bytes a service leaves
//! unconsumed are shown again, with more behind them. Everything runs to completion on one CPU.

use crate::error::{Grow, Result};
use crate::memory::copy_short;
use crate::platform::time::Instant;
use alloc::vec::Vec;
use core::net::SocketAddrV4;

/// Names a connection from `open` to `close`; never reused while the image runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// The slot, below the connection limit of the stack: an index for per-connection state.
    pub slot: u32,
    /// Counts the connections that had this slot before.
    pub generation: u32,
}

/// Serves one TCP port.
pub trait Service {
    /// The port it listens on.
    fn port(&self) -> u16;

    /// Whether peers always speak first, so that the service has nothing to do before: then a connection is opened with its
    /// first request, or a second later if none comes. By default not.
    fn awaits_request(&self) -> bool {
        false
    }

    /// A peer connected. What is written to `output` is sent to it.
    fn open(
        &mut self,
        id: ConnectionId,
        peer: SocketAddrV4,
        now: Instant,
        output: &mut Output,
    ) -> Next;

    /// Bytes are there to be read, or the backlog of an earlier call has been sent.
    fn receive(&mut self, turn: Turn<'_>) -> Progress;

    /// Serves a connection that has just opened and has said `turn.input`, if that can be answered now and the connection
    /// is to be closed after that: true, and the service hears no more of it. False, and nothing is done, if not: then
    /// it is opened. For who can tell cheaply; by default never.
    fn serve_at_once(&mut self, turn: Turn<'_>) -> bool {
        let _ = turn;
        false
    }

    /// The connection that [`Service::take_doomed`] named is about to be ended: what is written to `output` is the last
    /// that is sent to it. By default nothing is.
    fn farewell(&mut self, id: ConnectionId, output: &mut Output) {
        let _ = (id, output);
    }

    /// The connection is gone, whoever ended it.
    fn close(&mut self, id: ConnectionId);

    /// A deadline told by [`Service::deadline`] has come, or came earlier.
    fn tick(&mut self, now: Instant);

    /// Memory is short: gives back about `bytes` of what can be spared, if there is something. False if there is
    /// nothing; by default there is not.
    fn relieve(&mut self, bytes: u64, now: Instant) -> bool {
        let _ = (bytes, now);
        false
    }

    /// There is no memory for more of what this connection's peer sends, or for an answer to it, and the connection is
    /// about to be ended: what is written to `output` is the last that is sent to it, in the place of that answer. By
    /// default nothing is, and the connection is reset.
    fn refuse(&mut self, id: ConnectionId, output: &mut Output) {
        let _ = (id, output);
    }

    /// When [`Service::tick`] is to be called next, if ever.
    fn deadline(&self) -> Option<Instant>;

    /// What the service has for the stack, in one call. Asked at the end of each poll: keep it cheap. By default there
    /// may be something.
    fn agenda(&mut self) -> Agenda {
        Agenda {
            deadline: self.deadline().unwrap_or(Instant::NEVER),
            has_news: true,
        }
    }

    /// Takes the next connection that the service wants ended though no call for it is under way (an idle
    /// or slow client, a client that another one killed). Asked when there is news ([`Agenda::has_news`]).
    fn take_doomed(&mut self) -> Option<ConnectionId>;

    /// Takes the next connection that the service has something for though nothing came from its peer: its
    /// next turn shows it what has not been consumed. Asked as often as [`Service::take_doomed`]; by default
    /// there is none.
    fn take_ready(&mut self) -> Option<ConnectionId> {
        None
    }

    /// Whether the service has yet to answer something that this connection's peer sent. Asked when the peer has
    /// ended its side: the connection is kept until the answer has been sent. By default each turn answers all.
    fn is_busy(&self, id: ConnectionId) -> bool {
        let _ = id;
        false
    }
}

/// What a service has for the stack though nothing came for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agenda {
    /// [`Service::deadline`]; [`Instant::NEVER`] for none.
    pub deadline: Instant,
    /// False if neither [`Service::take_doomed`] nor [`Service::take_ready`] would name a connection.
    pub has_news: bool,
}

/// One call of a service for one connection.
pub struct Turn<'a> {
    /// The connection.
    pub id: ConnectionId,
    /// The time now.
    pub now: Instant,
    /// All bytes received and not yet consumed.
    pub input: &'a [u8],
    /// Where replies go.
    pub output: &'a mut Output,
}

/// What a service did with its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that are done with.
    pub consumed: usize,
    /// What is to happen next.
    pub next: Next,
}

/// What is to happen with a connection after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait for more bytes, of which at least so many must be unconsumed before the next call (a hint
    /// for room; 0 for any). Also said when the service stopped because the output is full: the stack
    /// calls again as soon as that has been sent, with the same bytes if no new ones came.
    Wait {
        /// Unconsumed bytes needed before another call makes sense.
        until_bytes: usize,
    },
    /// Send what was written, then close in good order.
    Close,
    /// Drop the connection with a reset, and what was written with it.
    Abort,
}

impl Next {
    /// Waits for any further byte.
    pub const MORE: Self = Self::Wait { until_bytes: 0 };
    /// Waits until [`Service::take_ready`] names the connection, or its backlog is sent; nothing is read from its
    /// peer meanwhile, so the peer's window closes.
    pub const PAUSED: Self = Self::Wait {
        until_bytes: usize::MAX,
    };
}

/// Pieces that [`Output::write_pieces`] takes.
const PIECES_MAX: usize = 6;

/// Replies under construction. Memory that runs out is remembered, not told by each write: the stack
/// then ends this connection, and only this one.
#[derive(Debug, Default)]
pub struct Output {
    /// What has been written, and room for more: all of it is initialised, so that writing is copying.
    bytes: Vec<u8>,
    /// Bytes written.
    len: usize,
    overflowed: bool,
}

impl Output {
    /// Bytes after which a service should stop and let the stack send first: enough to fill a window.
    pub const FULL: usize = 64 * 1024;

    /// An empty output.
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            len: 0,
            overflowed: false,
        }
    }

    /// Appends `bytes`. A call of its own, from hundreds of places; what runs most has [`Output::write_pieces`].
    #[inline(never)]
    pub fn write(&mut self, bytes: &[u8]) {
        self.write_pieces([bytes]);
    }

    /// Appends several pieces, up to six, one after the other: all of them, or none.
    #[inline(always)]
    pub fn write_pieces<const N: usize>(&mut self, pieces: [&[u8]; N]) {
        const { assert!(N <= PIECES_MAX) };
        // Written out, as the lengths of most pieces are constants: a loop would stay one where code is kept small.
        let piece = |number| pieces.get(number).copied().unwrap_or_default();
        let (first, second, third) = (piece(0), piece(1), piece(2));
        let (fourth, fifth, sixth) = (piece(3), piece(4), piece(5));
        let len =
            first.len() + second.len() + third.len() + fourth.len() + fifth.len() + sixth.len();
        let room = loop {
            let rest = self.bytes.get_mut(self.len..);
            if let Some(room) = rest.and_then(|rest| rest.get_mut(..len)) {
                break room;
            }
            if !self.grow(len) {
                return;
            }
        };
        let room = put(room, first);
        let room = put(room, second);
        let room = put(room, third);
        let room = put(room, fourth);
        let room = put(room, fifth);
        put(room, sixth);
        self.len += len;
    }

    /// True when a service should stop consuming until this has been sent.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len >= Self::FULL || self.overflowed
    }

    /// What has been written.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Bytes written.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when nothing has been written.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Overwrites bytes written before, from `at`: for a length that is known only after its body.
    ///
    /// # Panics
    /// If `at + bytes.len()` is beyond what was written, unless memory ran out on the way.
    pub fn patch(&mut self, at: usize, bytes: &[u8]) {
        if !self.overflowed {
            self.bytes[..self.len][at..at + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// Forgets what was written after the first `len` bytes.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Empties it and keeps its memory; forgets that memory ran out.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
        self.overflowed = false;
    }

    /// Takes the bytes, or tells that memory ran out while they were written.
    ///
    /// # Errors
    /// `OutOfMemory` if a write since the last [`Output::clear`] did not fit.
    #[inline]
    pub fn check(&self) -> Result<()> {
        if self.overflowed {
            return Err(crate::error::Error::new(
                crate::error::Subsystem::Network,
                crate::error::Kind::OutOfMemory {
                    requested_bytes: self.len,
                },
            ));
        }
        Ok(())
    }

    /// Takes the bytes away, memory and all.
    pub fn take(&mut self) -> Vec<u8> {
        let mut bytes = core::mem::take(&mut self.bytes);
        bytes.truncate(core::mem::take(&mut self.len));
        bytes
    }

    /// Makes room for so many more bytes; false if there is no memory for them.
    #[cold]
    fn grow(&mut self, additional: usize) -> bool {
        // What is only room need not be copied to a larger place.
        self.bytes.truncate(self.len);
        // Room for as much again is more than the largest block where a value is nearly one: then exactly enough.
        self.overflowed = self.overflowed
            || self.bytes.try_reserve(additional).is_err()
                && self.bytes.try_reserve_exact(additional).is_err();
        self.bytes.resize_reserved(self.bytes.capacity(), 0);
        !self.overflowed
    }
}

/// Copies `piece` to the start of `room`; returns what is behind it.
#[inline(always)]
fn put<'a>(room: &'a mut [u8], piece: &[u8]) -> &'a mut [u8] {
    let (place, rest) = room.split_at_mut(piece.len());
    copy_short(place, piece);
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_can_be_patched_in_after_its_body() {
        let mut output = Output::new();
        output.write(b"$0\r\nbody");
        output.patch(1, b"4");
        assert_eq!(output.as_slice(), b"$4\r\nbody");
        assert!(output.check().is_ok());
    }

    #[test]
    fn pieces_are_written_one_after_the_other_over_what_was_taken_back() {
        let mut output = Output::new();
        for len in 0..200 {
            let body = std::vec![b'x'; len];
            output.write(b"start");
            let start = output.len();
            output.write_pieces([b"taken back", &body]);
            output.truncate(start);
            output.write_pieces([b"<", &body[..len / 2], b">"]);
            let expected = [b"start<", &body[..len / 2], b">"].concat();
            assert_eq!(output.as_slice(), expected);
            match len % 3 {
                0 => assert_eq!(output.take(), expected),
                _ => output.clear(),
            }
            assert!(output.is_empty() && output.as_slice().is_empty());
        }
    }
}
