//! Holds clients up: all of them, or their writes, while CLIENT PAUSE says so; one of them while its WAIT lasts.
//!
//! A request that is held stays unconsumed in its connection: nothing is queued here. When a pause or a
//! wait is over, the stack is told to call the service again for the connections it concerns
//! ([`CacheServer::next_released`]).
//!
//! Where clients track keys, each request is looked at as well: what it changed is told behind it ([`tracking`]).
//!
//! Always true: while the gate is open, nobody waits and nobody tracks, requests run without a look at this
//! module but for one test a turn.
//!
//! [`tracking`]: super::tracking

use super::commands::{find, is_write};
use super::resp::{Limits, Parsed, Parser};
use super::session::{Fate, Session};
use super::tracking::hand_over;
use super::{CacheServer, Step};
use crate::net::service::{ConnectionId, Next, Progress, Turn};
use crate::platform::time::Instant;

/// The answer to a WAIT that is over, in both protocols: no replica has acknowledged.
pub(super) const NOBODY_ACKNOWLEDGED: &[u8] = b":0\r\n";

/// What a pause holds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paused {
    /// Every command.
    Everything,
    /// Commands that may change keys.
    Writes,
}

/// Whether a client is held up, and by what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Held {
    /// It is not.
    #[default]
    Free,
    /// By a pause.
    Paused,
    /// By a command of its own, until then, or for ever.
    Waiting(Option<Instant>),
    /// Until a checkpoint is written.
    Saving {
        /// The machine is to be turned off then.
        is_last: bool,
    },
    /// Its wait is over, and the reply to be written.
    Released {
        /// The reply.
        answer: &'static [u8],
    },
}

impl Held {
    /// True while a command of the client's own lasts.
    pub(super) fn is_waiting(self) -> bool {
        matches!(self, Self::Waiting(_) | Self::Saving { .. })
    }

    /// True if it is counted among those that wait.
    fn is_counted(self) -> bool {
        self.is_waiting() || matches!(self, Self::Released { .. })
    }
}

/// The gate.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pause: Option<(Paused, Instant)>,
    /// Clients that wait, or are released and have no reply yet.
    waiting: usize,
    /// Reasons to look at each request though it is not held: clients that track, and clients with messages queued.
    watchers: usize,
    /// The slot at which to go on looking for clients that are free again.
    wake_from: Option<usize>,
    /// What the two asked for most come to: [`Gate::settle`].
    is_attentive: bool,
    has_news: bool,
}

impl Gate {
    /// True if requests have to pass [`CacheServer::receive_closely`].
    #[inline]
    pub(super) fn is_attentive(&self) -> bool {
        self.is_attentive
    }

    #[inline(never)]
    fn settle(&mut self) {
        self.is_attentive = self.is_shut() || self.watchers > 0;
    }

    /// True if requests may be held.
    pub(super) fn is_shut(&self) -> bool {
        self.pause.is_some() || self.waiting > 0
    }

    /// Begins a pause; one that is under way is never made shorter, nor milder.
    pub(super) fn pause(&mut self, paused: Paused, until: Instant) {
        self.pause = Some(match self.pause {
            Some((Paused::Everything, end)) => (Paused::Everything, end.max(until)),
            Some((Paused::Writes, end)) => (paused, end.max(until)),
            None => (paused, until),
        });
        self.settle();
    }

    /// Ends a pause.
    pub(super) fn unpause(&mut self) {
        self.pause = None;
        self.settle();
        self.wake();
    }

    /// Has the clients looked at that may be free again.
    pub(super) fn wake(&mut self) {
        self.wake_from = Some(0);
        self.has_news = true;
    }

    /// Counts a client that begins to wait.
    pub(super) fn note_waiting(&mut self) {
        self.waiting += 1;
        self.settle();
    }

    /// Has each request looked at, for one more reason.
    pub(super) fn attend(&mut self) {
        self.watchers += 1;
        self.settle();
    }

    /// Takes back one [`Gate::attend`].
    pub(super) fn end_attention(&mut self) {
        self.watchers -= 1;
        self.settle();
    }

    /// Has the stack ask which client is ready.
    pub(super) fn note_news(&mut self) {
        self.has_news = true;
    }

    /// True once a client that is ready has to be told.
    #[inline]
    pub(super) fn has_news(&self) -> bool {
        self.has_news
    }

    /// Forgets a client that is gone.
    pub(super) fn forget(&mut self, held: Held) {
        self.waiting -= usize::from(held.is_counted());
        self.settle();
    }
}

impl CacheServer {
    /// A turn while the gate is shut, or clients track keys.
    #[cold]
    pub(super) fn receive_closely(
        &mut self,
        session: &mut Session,
        parser: &mut Parser,
        turn: &mut Turn<'_>,
    ) -> Progress {
        hand_over(&mut self.server.gate, session, turn.output);
        let mut progress = self.serve_closely(session, parser, turn);
        self.tell_all(Some(session));
        if !hand_over(&mut self.server.gate, session, turn.output) {
            progress.next = Next::Abort;
        }
        parser.trim();
        progress
    }

    fn serve_closely(
        &mut self,
        session: &mut Session,
        parser: &mut Parser,
        turn: &mut Turn<'_>,
    ) -> Progress {
        let mut consumed = 0;
        if self.server.gate.is_shut() {
            // A request that was begun may be held when it is whole: it is read afresh then.
            *parser = Parser::default();
        }
        self.end_waits(turn.now);
        if let Held::Released { answer } = session.held {
            self.server.gate.forget(session.held);
            session.held = Held::Free;
            turn.output.write(answer);
        }
        let next = loop {
            let input = &turn.input[consumed..];
            if turn.output.is_full() {
                break Next::MORE;
            }
            if self.holds(session, input) {
                if input.len() as u64 > self.server.config.query_bytes_max {
                    break Next::Close;
                }
                let until_bytes = input.len() + 1;
                break Next::Wait { until_bytes };
            }
            match self.serve_one(session, parser, input, turn.output) {
                Step::Done(bytes) | Step::Yields(bytes) => {
                    self.after_request(session, parser.args(input), turn.output);
                    consumed += bytes;
                }
                Step::Waits(next) => break next,
                Step::Ends(bytes) => {
                    consumed += bytes;
                    break Next::Close;
                }
            }
        };
        Progress { consumed, next }
    }

    /// True if the request at the start of `input` has to wait.
    fn holds(&mut self, session: &mut Session, input: &[u8]) -> bool {
        if session.held.is_waiting() {
            return true;
        }
        let is_paused = match self.server.gate.pause {
            None => false,
            Some((Paused::Everything, _)) => !input.is_empty(),
            Some((Paused::Writes, _)) => self.is_write_at_start(session, input),
        };
        session.held = if is_paused { Held::Paused } else { Held::Free };
        is_paused
    }

    fn is_write_at_start(&self, session: &Session, input: &[u8]) -> bool {
        let limits = Limits {
            bulk_bytes_max: self.server.config.argument_bytes_max(),
            is_authenticated: session.is_authenticated,
        };
        let mut parser = Parser::default();
        match parser.parse(input, limits) {
            Ok(Parsed::Request { .. }) => {
                let args = parser.args(input);
                args.get(0).and_then(find).is_some_and(is_write)
            }
            _ => false,
        }
    }

    /// Goes on where a turn was left because its command shut the gate.
    #[cold]
    pub(super) fn yield_turn(&mut self, session: &mut Session) {
        session.fate = Fate::Open;
        let deadline = self.gate_deadline(session.held);
        self.client_check = self.client_check.into_iter().chain(deadline).min();
    }

    /// When the gate is to be looked at next; `own` holds the client whose turn it is.
    pub(super) fn gate_deadline(&self, own: Held) -> Option<Instant> {
        if !self.server.gate.is_shut() {
            return None;
        }
        let others = self.server.sessions.iter().map(|session| session.held);
        let ends = others.chain([own]).filter_map(|held| match held {
            Held::Waiting(until) => until,
            _ => None,
        });
        let pause = self.server.gate.pause.map(|(_, until)| until);
        ends.chain(pause).min()
    }

    /// Ends the pause and the waits whose time is over.
    pub(super) fn end_waits(&mut self, now: Instant) {
        let server = &mut self.server;
        if !server.gate.is_shut() {
            return;
        }
        if server.gate.pause.is_some_and(|(_, until)| until <= now) {
            server.gate.unpause();
        }
        for session in server.sessions.iter_mut() {
            if matches!(session.held, Held::Waiting(Some(until)) if until <= now) {
                let answer = NOBODY_ACKNOWLEDGED;
                session.held = Held::Released { answer };
                server.gate.wake();
            }
        }
    }

    /// The next client that has something to go on with.
    #[cold]
    pub(super) fn next_released(&mut self) -> Option<ConnectionId> {
        let server = &mut self.server;
        let Some(from) = server.gate.wake_from else {
            server.gate.has_news = false;
            return None;
        };
        let is_paused = server.gate.pause.is_some();
        let sessions = server.sessions.iter_mut();
        let mut later = sessions.filter(|session| session.connection.slot as usize >= from);
        let found = later.find(|session| match session.held {
            Held::Paused => !is_paused,
            Held::Released { .. } => true,
            Held::Free | Held::Waiting(_) | Held::Saving { .. } => session.mail.is_any(),
        });
        if let Some(session) = &found {
            server.gate.wake_from = Some(session.connection.slot as usize + 1);
        } else {
            server.gate.wake_from = None;
            server.gate.has_news = false;
        }
        found.map(|session| {
            if session.held == Held::Paused {
                session.held = Held::Free;
            }
            session.connection
        })
    }
}
