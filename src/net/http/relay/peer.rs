//! A connection as the relay knows it.

use super::PIECES_UNDER_WAY;
use super::message::{Then, ToNetwork};
use super::table::Place;
use crate::net::service::{Next, Output};
use core::net::{Ipv4Addr, SocketAddrV4};

/// What the relay knows of a connection.
pub(super) struct Peer {
    pub(super) address: SocketAddrV4,
    /// This incarnation of HTTP was told of it.
    pub(super) is_known: bool,
    /// Bytes that HTTP has and has not dealt with.
    pub(super) unseen: usize,
    /// Messages handed to the stack since HTTP was told last.
    pub(super) taken: u8,
    /// HTTP waits to be told.
    pub(super) owes_taken: bool,
    /// Bytes are left with the stack.
    pub(super) holds_back: bool,
    /// It is among those that wait for room in HTTP's mailbox.
    pub(super) is_blocked: bool,
    /// Of an answer that was begun, more is to come.
    pub(super) is_mid_answer: bool,
    /// It is about to be ended; nothing is passed on any more.
    pub(super) is_over: bool,
    /// What came for it and is not yet in the stack's hands.
    pub(super) queue: [Option<ToNetwork>; PIECES_UNDER_WAY],
}

impl Place for Peer {
    const VACANT: Self = Self {
        address: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
        is_known: false,
        unseen: 0,
        taken: 0,
        owes_taken: false,
        holds_back: false,
        is_blocked: false,
        is_mid_answer: false,
        is_over: false,
        queue: [const { None }; PIECES_UNDER_WAY],
    };

    #[inline]
    fn vacate(&mut self) {
        self.queue.iter_mut().for_each(|message| *message = None);
        (self.is_known, self.unseen, self.taken) = (false, 0, 0);
        (self.owes_taken, self.holds_back, self.is_blocked) = (false, false, false);
        (self.is_mid_answer, self.is_over) = (false, false);
    }
}

impl Peer {
    /// Writes what came; tells how the connection ends, if it does.
    #[inline]
    pub(super) fn write_queued(&mut self, output: &mut Output) -> Option<Next> {
        for place in &mut self.queue {
            let Some(message) = place else { break };
            output.write(&message.bytes);
            self.taken += 1;
            self.owes_taken |= message.tells_taken;
            let then = message.then;
            self.is_mid_answer = then == Then::More;
            // Not moved out first: it is large.
            *place = None;
            match then {
                Then::Wait | Then::More => {}
                Then::Close => return Some(Next::Close),
                Then::Abort => return Some(Next::Abort),
            }
        }
        None
    }

    pub(super) fn waits_for_answer(&self) -> bool {
        self.unseen > 0 || self.holds_back
    }
}
