//! The bytes of one connection, between its socket and its service.
//!
//! Input is shown to the service where smoltcp keeps it, in the socket's ring, as long as it lies there in
//! one piece. What a service leaves unconsumed stays in the ring too, until it is cut by the ring's end
//! or fills the ring; then it moves to a buffer of its own, and goes back to the ring when all is consumed.
//!
//! Output goes into the socket's ring; what does not fit is the backlog. While there is a backlog the
//! service is not called and nothing is read, so the window closes on a peer that does not read.
//!
//! Limits: the buffers are as large as the service lets them become: it says how many bytes it waits for,
//! and it is the service that closes on a peer which asks for too much.

use super::flow::Visit;
use super::service::{Next, Output, Turn};
use crate::error::{Grow, Result};
use alloc::vec::Vec;
use smoltcp::socket::tcp::Socket;

/// Bytes reserved at once for a peer that has only announced them. Beyond, what is reserved is at most
/// [`TRUST`] times what has come: a peer has to send memory to take memory.
const RESERVED_ON_WORD: usize = 64 * 1024;
const TRUST: usize = 4;
/// Times that the service is asked to give something back for one piece of input: at about a hundred microseconds each,
/// others wait for as long as a large request takes them anyway.
const RELIEFS: usize = 16;

/// The bytes of one connection that are under way.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// Input that is no longer in the socket's ring, all of it before what is there.
    held: Vec<u8>,
    /// Unconsumed bytes needed for the next call; 0 for a call without any.
    wake_at: usize,
    /// Output that is not yet in the socket's ring.
    backlog: Vec<u8>,
    /// Bytes of the backlog that are.
    backlog_sent: usize,
}

impl Conversation {
    /// A connection that has just opened.
    pub(super) fn new() -> Self {
        Self {
            wake_at: 1,
            ..Self::default()
        }
    }

    /// True while output waits for room in the socket's ring.
    #[inline]
    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Forgets the output that is not in the socket's ring yet.
    pub(super) fn drop_backlog(&mut self) {
        self.backlog = Vec::new();
    }

    /// Forgets the input that is not in the socket's ring any more.
    pub(super) fn drop_input(&mut self) {
        self.held = Vec::new();
    }

    /// Has the service called as soon as there is no backlog, with or without input.
    pub(super) fn call_again(&mut self) {
        self.wake_at = 0;
    }

    /// Takes over what a service wrote.
    ///
    /// # Errors
    /// `OutOfMemory` if the output is not whole.
    #[inline]
    pub(super) fn send(&mut self, socket: &mut Socket<'_>, output: &mut Output) -> Result<()> {
        output.check()?;
        if output.is_empty() {
            return Ok(());
        }
        let sent = enqueue(socket, output.as_slice());
        let rest = &output.as_slice()[sent..];
        if rest.is_empty() {
            return Ok(());
        }
        // The output keeps the memory that it needs again in the next turn, but not that of a large value.
        let is_usual = output.len() <= 2 * Output::FULL;
        if is_usual && self.backlog.try_reserve_exact(rest.len()).is_ok() {
            self.backlog.append_reserved(rest);
            self.backlog_sent = 0;
        } else {
            self.backlog = output.take();
            self.backlog_sent = sent;
        }
        Ok(())
    }

    /// Moves backlog into the socket's ring; returns the bytes moved.
    #[inline(always)]
    pub(super) fn flush(&mut self, socket: &mut Socket<'_>) -> usize {
        match self.has_backlog() {
            true => self.flush_backlog(socket),
            false => 0,
        }
    }

    #[inline(never)]
    fn flush_backlog(&mut self, socket: &mut Socket<'_>) -> usize {
        let rest = &self.backlog[self.backlog_sent..];
        let sent = enqueue(socket, rest);
        self.backlog_sent += sent;
        if self.backlog_sent == self.backlog.len() {
            self.backlog = Vec::new();
            self.wake_at = 0;
        }
        sent
    }

    /// Calls `service` as often as there is something new for it, and sends what it writes.
    ///
    /// # Errors
    /// `OutOfMemory` if input or output could not be kept.
    #[inline]
    pub(super) fn run(&mut self, socket: &mut Socket<'_>, visit: &mut Visit<'_>) -> Result<Next> {
        loop {
            self.flush(socket);
            if self.has_backlog() {
                return Ok(Next::MORE);
            }
            let available = self.held.len() + socket.recv_queue();
            if available < self.wake_at {
                break;
            }
            self.gather_if_cut(socket, visit)?;
            visit.output.clear();
            let next = self.call(socket, visit);
            if next != Next::Abort {
                self.send(socket, visit.output)?;
            }
            if !matches!(next, Next::Wait { .. }) {
                return Ok(next);
            }
        }
        // A service that paused wants no more than it was shown.
        if self.wake_at == usize::MAX {
            return Ok(Next::MORE);
        }
        // A ring that is half full of what the service cannot use yet is a small window.
        let half = socket.recv_capacity() / 2;
        let queued = socket.recv_queue();
        if queued > 0 && (queued > half || self.wake_at > half) {
            self.gather(socket, visit)?;
        }
        Ok(Next::MORE)
    }

    /// One call of the service, with as much input as lies in one piece.
    #[inline]
    fn call(&mut self, socket: &mut Socket<'_>, visit: &mut Visit<'_>) -> Next {
        let mut ask = |input: &[u8]| {
            let progress = visit.service.receive(Turn {
                id: visit.id,
                now: visit.now,
                input,
                output: visit.output,
            });
            (
                progress.consumed,
                (progress, input.len() - progress.consumed),
            )
        };
        let (progress, left) = if !self.held.is_empty() {
            let (consumed, answer) = ask(&self.held);
            if answer.1 == 0 {
                self.held = Vec::new();
            } else {
                self.held.drain(..consumed);
            }
            answer
        } else {
            match socket.recv(|input| ask(input)) {
                Ok(answer) => answer,
                // The peer has closed and all has been read: a call that continues an answer.
                Err(_) => ask(&[]).1,
            }
        };
        self.wake_at = match progress.next {
            Next::Wait { .. } if visit.output.is_full() => 0,
            Next::Wait { until_bytes } => until_bytes.max(left + 1),
            Next::Close | Next::Abort => usize::MAX,
        };
        progress.next
    }

    /// Joins input that the ring's end cuts in two so early that the first part alone is of no use.
    #[inline]
    fn gather_if_cut(&mut self, socket: &mut Socket<'_>, visit: &mut Visit<'_>) -> Result<()> {
        if !self.held.is_empty() {
            return self.gather(socket, visit);
        }
        // A single byte cannot be cut; this is the usual case.
        if self.wake_at <= 1 {
            return Ok(());
        }
        let queued = socket.recv_queue();
        let in_one_piece = socket.peek(queued).map_or(0, <[u8]>::len);
        match in_one_piece < self.wake_at.min(queued) {
            true => self.gather(socket, visit),
            false => Ok(()),
        }
    }

    /// Reserves room for so many bytes more than are held. If there is none, the service gives back what it can spare.
    fn reserve(&mut self, more: usize, visit: &mut Visit<'_>) -> Result<()> {
        for _ in 0..RELIEFS {
            if self.held.try_reserve_exact(more).is_ok() {
                return Ok(());
            }
            if !visit.service.relieve(more as u64, visit.now) {
                break;
            }
        }
        Ok(self.held.try_reserve_exact(more)?)
    }

    /// Moves what is in the ring behind what is held.
    fn gather(&mut self, socket: &mut Socket<'_>, visit: &mut Visit<'_>) -> Result<()> {
        let total = self.held.len() + socket.recv_queue();
        if self.held.capacity() < total {
            let trusted = RESERVED_ON_WORD.max(total.saturating_mul(TRUST));
            let wanted = self.wake_at.min(trusted).max(total);
            self.reserve(wanted - self.held.len(), visit)?;
        }
        while socket.recv_queue() > 0 {
            let moved = socket.recv(|input| {
                self.held.append_reserved(input);
                (input.len(), input.len())
            });
            debug_assert!(
                moved.is_ok_and(|moved| moved > 0),
                "a queue that is not empty can be read"
            );
        }
        Ok(())
    }
}

/// Puts as much of `bytes` into the socket's ring as fits; returns how much that was. A socket that cannot
/// send any more has lost its peer, and takes it all: it has nowhere to go.
#[inline]
fn enqueue(socket: &mut Socket<'_>, bytes: &[u8]) -> usize {
    let mut sent = 0;
    // Twice, as the ring's free part may be cut in two; the first is usually enough.
    for _ in 0..2 {
        let rest = &bytes[sent..];
        let taken = socket.send(|room| {
            let len = room.len().min(rest.len());
            room[..len].copy_from_slice(&rest[..len]);
            (len, len)
        });
        sent += taken.unwrap_or(rest.len());
        if sent == bytes.len() {
            break;
        }
    }
    sent
}
