//! The cache server: the Redis protocol in front of a keyspace in memory of its own.
//!
//! Flow: bytes of a connection -> [`resp`] finds a request in them -> [`commands`] finds its row and runs
//! its handler on the [`store`] -> [`reply`] writes the answer. One call of [`CacheServer::receive`] runs
//! all requests it was given, on one CPU, to completion; the time is read once at its start and once at
//! its end.
//!
//! Always true: a connection's mistakes end that connection at most. What a peer can make the server hold
//! is bounded: by `maxmemory` for keys and by `client-query-buffer-limit` for an unfinished request, and
//! no request is run while the replies of earlier ones fill the output.
//!
//! Keys, settings and counts survive the data plane ([`server`]); connections, parsers and the slow log
//! are on its heap and end with it.
//!
//! With no key about to expire and no `timeout` set there is no deadline: an idle server sleeps.

mod application;
mod checkpointer;
#[cfg(test)]
mod checkpointer_tests;
mod commands;
mod config;
mod counters;
mod gate;
mod glob;
mod head;
#[cfg(test)]
mod hold_tests;
#[cfg(test)]
mod incarnation_tests;
mod inline;
mod number;
mod parameters;
mod persistence;
#[cfg(test)]
mod policy_tests;
mod recent;
mod reply;
#[cfg(test)]
mod reply_tests;
mod resp;
mod restoration;
mod server;
mod session;
mod settings_part;
mod sha256;
mod slowlog;
pub mod store;
#[cfg(test)]
mod tests;
mod tracking;
mod word;

use crate::error::Grow;
use crate::storage::DiskBay;
pub use application::CacheApplication;
pub use config::{CacheConfig, DEFAULT_PORT};
pub use counters::KvCounters;
pub use persistence::{CheckpointCounters, SavePoint};

use crate::net::service::{Agenda, ConnectionId, Next, Output, Progress, Service, Turn};
use crate::platform::time::{Duration, Instant, NANOS_PER_MILLI};
use checkpointer::Checkpointer;
use commands::{Context, can_repeat, execute, execute_repeats};
use core::net::SocketAddrV4;
use gate::Held;
use reply::{OUT_OF_MEMORY, Reply};
use resp::{Limits, Parsed, Parser};
use server::{Runs, Server};
use session::{Fate, Session};

/// Keys expired in one tick: a pause of well under a millisecond.
const EXPIRED_PER_TICK: usize = 500;
/// The time between two ticks that expire keys, at least: keys that end close together end in one tick.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(10);

/// Serves the Redis protocol.
pub struct CacheServer {
    server: &'static mut Server,
    runs: Runs,
    /// When keys are expired next, at the earliest.
    expiry_not_before: Instant,
    /// When clients are looked for next that are idle for too long, or held up for long enough; `None` without any.
    client_check: Option<Instant>,
    checkpointer: Checkpointer,
}

impl CacheServer {
    /// Serves with what survives of the server, put in order after whoever had it before.
    fn new(server: &'static mut Server) -> Self {
        server.begin_incarnation();
        let now = server.now;
        Self {
            server,
            runs: Runs::default(),
            expiry_not_before: now,
            client_check: None,
            checkpointer: Checkpointer::NONE,
        }
    }

    /// Restores from the disk in the bay and saves there, if there is one.
    fn with_disk(mut self, bay: &dyn DiskBay) -> Self {
        self.checkpointer = Checkpointer::new(bay, self.server);
        self
    }

    /// Runs the requests in `turn.input` until it or the room for replies ends.
    #[inline]
    fn serve(
        &mut self,
        session: &mut Session,
        parser: &mut Parser,
        turn: &mut Turn<'_>,
    ) -> Progress {
        let mut consumed = 0;
        let next = loop {
            let input = &turn.input[consumed..];
            let repeated = self.serve_repeats(session, parser, input, turn.output);
            consumed += repeated;
            let input = &input[repeated..];
            if input.is_empty() || turn.output.is_full() {
                break Next::MORE;
            }
            match self.serve_one(session, parser, input, turn.output) {
                Step::Done(bytes) => consumed += bytes,
                Step::Waits(next) => break next,
                Step::Ends(bytes) => {
                    consumed += bytes;
                    break Next::Close;
                }
                Step::Yields(bytes) => {
                    turn.input = &turn.input[consumed + bytes..];
                    let rest = self.receive_closely(session, parser, turn);
                    consumed += bytes + rest.consumed;
                    break rest.next;
                }
            }
        };
        parser.trim();
        Progress { consumed, next }
    }

    /// Runs the requests at the start of `input` that begin as one before them; tells the bytes they took.
    #[inline]
    fn serve_repeats(
        &mut self,
        session: &mut Session,
        parser: &Parser,
        input: &[u8],
        output: &mut Output,
    ) -> usize {
        let Some(head) = parser.known_head(input) else {
            return 0;
        };
        let mut context = Context {
            server: self.server,
            reply: Reply {
                output,
                protocol: session.protocol,
            },
            session,
        };
        let repeats = execute_repeats(&mut context, head, input);
        if repeats.count > 0 {
            self.count_run(head.row(), repeats.count);
        }
        repeats.consumed
    }

    fn serve_one(
        &mut self,
        session: &mut Session,
        parser: &mut Parser,
        input: &[u8],
        output: &mut Output,
    ) -> Step {
        let consumed = match self.parse(session, parser, input, output) {
            Step::Done(consumed) => consumed,
            step => return step,
        };
        let args = parser.args(input);
        if args.is_empty() {
            return Step::Done(consumed);
        }
        let reply = Reply {
            output,
            protocol: session.protocol,
        };
        let mut context = Context {
            server: self.server,
            session,
            reply,
        };
        if let Some(row) = execute(&mut context, args) {
            let count = args.len();
            self.count_run(row, 1);
            if can_repeat(row, count) {
                parser.remember(input, row);
            }
        }
        match session.fate {
            Fate::Open => Step::Done(consumed),
            Fate::Closing => Step::Ends(consumed),
            Fate::Yielding => {
                self.yield_turn(session);
                Step::Yields(consumed)
            }
        }
    }

    /// Finds the request at the start of `input`, and tells the bytes it takes as done; or what to
    /// do without.
    #[inline]
    fn parse(
        &mut self,
        session: &Session,
        parser: &mut Parser,
        input: &[u8],
        output: &mut Output,
    ) -> Step {
        let limits = Limits {
            bulk_bytes_max: self.server.config.argument_bytes_max(),
            is_authenticated: session.is_authenticated,
        };
        match parser.parse(input, limits) {
            Ok(Parsed::Request { consumed }) => Step::Done(consumed),
            Ok(Parsed::Incomplete { until_bytes }) => {
                let is_too_much = until_bytes as u64 > self.server.config.query_bytes_max;
                if is_too_much {
                    Step::Ends(input.len())
                } else {
                    Step::Waits(Next::Wait { until_bytes })
                }
            }
            Err(error) => {
                let mut reply = Reply {
                    output,
                    protocol: session.protocol,
                };
                let start = reply.output.len();
                reply.error(&error, parser.args(input));
                let text = reply.output.as_slice().get(start..);
                self.server.count_error(text.unwrap_or_default());
                Step::Ends(input.len())
            }
        }
    }

    /// Counts a command that was run so many times in a row.
    #[inline]
    fn count_run(&mut self, row: u16, times: u32) {
        if !self.runs.push(row, times) {
            self.close_runs();
            self.runs.push(row, times);
        }
    }

    /// Counts the runs so far and the time since the turn, or the last count, began.
    #[inline]
    fn close_runs(&mut self) {
        let end = self.server.clock.now();
        let nanos = end.since(self.server.now).as_nanos();
        self.server.count_runs(&self.runs, nanos);
        self.runs.clear();
    }

    /// Frees the clients that were held up for long enough, dooms those that were idle for longer than
    /// `timeout`, and finds when to look again.
    fn check_clients(&mut self, now: Instant) {
        self.end_waits(now);
        self.client_check = self.gate_deadline(Held::Free);
        let timeout = Duration::from_secs(self.server.config.timeout_secs);
        if timeout.as_nanos() == 0 {
            return;
        }
        let Server {
            sessions, doomed, ..
        } = &mut *self.server;
        for session in sessions.iter() {
            let ends = session.last_active + timeout;
            if ends > now {
                self.client_check = Some(self.client_check.map_or(ends, |check| check.min(ends)));
            } else if session.held == Held::Free && doomed.try_reserve(1).is_ok() {
                // Without memory for the list they are found again at the next look.
                doomed.push_reserved(session.connection);
            }
        }
    }

    /// When the soonest expiry is to be acted upon.
    #[inline]
    fn expiry_deadline(&self) -> Option<Instant> {
        let at_ms = self.server.store.next_expiry_ms()?;
        // A key has ended in the millisecond after its time.
        let nanos = at_ms.saturating_add(1).saturating_mul(NANOS_PER_MILLI);
        let at = Instant::from_nanos(nanos.saturating_sub(self.server.clock.boot_unix_nanos()));
        Some(at.max(self.expiry_not_before))
    }
}

/// What became of one request.
enum Step {
    /// It was run; so many bytes are done with.
    Done(usize),
    /// It is not complete.
    Waits(Next),
    /// The connection ends; so many bytes are done with.
    Ends(usize),
    /// It was run, and what follows may have to wait; so many bytes are done with.
    Yields(usize),
}

impl Service for CacheServer {
    fn port(&self) -> u16 {
        self.server.config.port
    }

    fn open(
        &mut self,
        id: ConnectionId,
        peer: SocketAddrV4,
        now: Instant,
        output: &mut Output,
    ) -> Next {
        let is_open = !self.server.config.requires_password();
        if self.server.sessions.len() as u64 >= self.server.config.clients_max {
            self.server.totals.connections_rejected += 1;
            self.server.counters.clients_refused.increment();
            output.write(b"-ERR max number of clients reached\r\n");
            return Next::Close;
        }
        if self.server.sessions.open(id, peer, now, is_open).is_err() {
            self.server.totals.connections_rejected += 1;
            self.server.counters.clients_refused.increment();
            return Next::Abort;
        }
        self.server.totals.connections += 1;
        self.server
            .counters
            .clients
            .set(self.server.sessions.len() as u64);
        let timeout_secs = self.server.config.timeout_secs;
        if timeout_secs > 0 && self.client_check.is_none() {
            self.client_check = Some(now + Duration::from_secs(timeout_secs));
        }
        Next::MORE
    }

    fn receive(&mut self, mut turn: Turn<'_>) -> Progress {
        let Some(mut seat) = self.server.sessions.take(turn.id) else {
            return Progress {
                consumed: turn.input.len(),
                next: Next::Close,
            };
        };
        let before = self.server.totals.of_keys();
        let output_before = turn.output.len();
        let timeout_before = self.server.config.timeout_secs;
        self.server.set_time(turn.now);
        let received = turn.input.len();
        let (session, parser) = seat.parts();
        session.last_active = turn.now;
        let mut progress = if self.server.gate.is_attentive() {
            self.receive_closely(session, parser, &mut turn)
        } else {
            self.serve(session, parser, &mut turn)
        };
        session.query_bytes = received - progress.consumed;
        self.server.sessions.put_back(seat);
        if self.server.config.timeout_secs != timeout_before {
            // CONFIG SET: the clients that are there already are looked at by the new one.
            self.client_check = Some(turn.now);
        }
        self.close_runs();
        self.server.totals.input_bytes += progress.consumed as u64;
        let output_bytes = turn.output.len() - output_before;
        self.server.totals.output_bytes += output_bytes as u64;
        self.server.totals.turns += 1;
        self.server.recent.note(received, output_bytes);
        if self.server.config.output_limit.is_passed(output_bytes) {
            progress.next = Next::Abort;
        }
        self.server.publish(&before);
        progress
    }

    fn close(&mut self, id: ConnectionId) {
        if let Some(mut seat) = self.server.sessions.close(id) {
            let (session, _) = seat.parts();
            self.server.gate.forget(session.held);
            self.forget_tracker(session);
        }
        self.server
            .counters
            .clients
            .set(self.server.sessions.len() as u64);
    }

    fn tick(&mut self, now: Instant) {
        self.server.set_time(now);
        let before = self.server.totals.of_keys();
        if self
            .expiry_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            let may_be_more = self.server.store.expire_due(EXPIRED_PER_TICK);
            self.expiry_not_before = if may_be_more {
                now
            } else {
                now + EXPIRY_INTERVAL
            };
        }
        if self.client_check.is_some_and(|check| check <= now) {
            self.check_clients(now);
        }
        self.checkpointer.tick(self.server, now);
        if self.server.gate.is_attentive() {
            self.tell_all(None);
        }
        self.server.publish(&before);
    }

    /// As a command is refused for which there is no room, though this one may not be whole.
    fn refuse(&mut self, _: ConnectionId, output: &mut Output) {
        output.write_pieces([b"-", OUT_OF_MEMORY.as_bytes(), b"\r\n"]);
    }

    /// Evicts, or compacts, as if the limit were lower by so much.
    fn relieve(&mut self, bytes: u64, now: Instant) -> bool {
        self.server.set_time(now);
        let before = self.server.totals.of_keys();
        let is_less = self.server.store.shrink(bytes);
        self.server.publish(&before);
        is_less
    }

    #[inline]
    fn deadline(&self) -> Option<Instant> {
        let own = match (self.expiry_deadline(), self.client_check) {
            (Some(expiry), Some(idle)) => Some(expiry.min(idle)),
            (one, other) => one.or(other),
        };
        match self.checkpointer.deadline(self.server) {
            Instant::NEVER => own,
            at => Some(own.map_or(at, |own| own.min(at))),
        }
    }

    #[inline]
    fn agenda(&mut self) -> Agenda {
        Agenda {
            deadline: self.deadline().unwrap_or(Instant::NEVER),
            has_news: !self.server.doomed.is_empty() || self.server.gate.has_news(),
        }
    }

    #[inline]
    fn take_doomed(&mut self) -> Option<ConnectionId> {
        self.server.doomed.pop()
    }

    #[inline]
    fn take_ready(&mut self) -> Option<ConnectionId> {
        if !self.server.gate.has_news() {
            return None;
        }
        self.server
            .tracking
            .take_ready()
            .or_else(|| self.next_released())
    }
}
