//! The server: connections on one side, routes on the other.
//!
//! A turn serves every whole request in the input, in order, until the output is full. A request that is not
//! whole stays in the stack's buffer and is shown again; [`Phase`] remembers what need not be looked at twice.
//!
//! Always true: replies leave in the order of their requests; after a message whose end is uncertain
//! nothing more of that connection is read; a request that is late is not served.

use super::admin::AdminToken;
use super::body::{Arrival, ChunkedBody};
use super::connections::{Connections, Phase, Wait};
use super::counters::{HttpCounters, Rejection};
use super::fault::fault;
use super::request::{self, Framing, Head, Limits, Request};
use super::response::{Content, Persistence, Response, Status};
use super::route::{Access, Method, Methods, Route};
use super::target::Target;
use crate::error::{Error, HttpFault, Kind, Result, Subsystem};
use crate::net::service::{Agenda, ConnectionId, Next, Output, Progress, Service, Turn};
use crate::platform::time::{Clock, Instant};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddrV4;

/// What tells a client to send the body it holds back.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Serves HTTP on one port.
pub struct HttpServer {
    port: u16,
    limits: Limits,
    clock: &'static dyn Clock,
    counters: Arc<HttpCounters>,
    routes: Vec<Route>,
    admin: AdminToken,
    connections: Connections,
}

/// What became of the request at the start of the input.
enum Step {
    /// It is not whole; a further call makes sense when so many bytes are there.
    Partial { needed: usize },
    /// It was answered, and takes that many bytes.
    Answered {
        len: usize,
        persistence: Persistence,
    },
}

impl Step {
    fn answered(len: usize, head: &Head<'_, '_>) -> Self {
        Self::Answered {
            len,
            persistence: head.persistence,
        }
    }
}

impl HttpServer {
    /// A server of `routes` on `port`.
    ///
    /// # Errors
    /// `Missing` if `counters` were not made for the paths of `routes`, in their order.
    pub fn new(
        clock: &'static dyn Clock,
        port: u16,
        limits: Limits,
        routes: Vec<Route>,
        counters: Arc<HttpCounters>,
    ) -> Result<Self> {
        if !counters.are_for(routes.iter().map(|route| route.path)) {
            let kind = Kind::Missing {
                what: "counter for a route",
            };
            return Err(Error::new(Subsystem::Http, kind));
        }
        Ok(Self {
            port,
            limits,
            clock,
            counters,
            routes,
            admin: AdminToken::NONE,
            connections: Connections::new(),
        })
    }

    /// Lets who has `token` use the routes that change something; without it nobody may.
    #[must_use]
    pub fn with_admin_token(mut self, token: AdminToken) -> Self {
        self.admin = token;
        self
    }

    /// Serves what is at the start of `input`, which is not empty.
    fn step(
        &mut self,
        index: usize,
        input: &[u8],
        now: Instant,
        output: &mut Output,
    ) -> Result<Step> {
        let connection = self.connections.get_mut(index);
        let phase = core::mem::replace(&mut connection.phase, Phase::START);
        if phase.is_begun() {
            if connection.is_late(now) {
                return Err(fault(HttpFault::Timeout));
            }
        } else {
            connection.started = now;
        }
        match phase {
            Phase::Head { scanned } if !is_worth_parsing(input, scanned, &self.limits) => {
                connection.phase = Phase::Head {
                    scanned: input.len(),
                };
                Ok(Step::Partial { needed: 0 })
            }
            Phase::Body { needed } | Phase::Chunked { needed, .. } if input.len() < needed => {
                connection.phase = phase;
                Ok(Step::Partial { needed })
            }
            Phase::Chunked { body, .. } => self.step_chunked(index, input, body, now, output),
            Phase::Head { .. } | Phase::Body { .. } => self.step_head(index, input, now, output),
        }
    }

    /// Serves a request whose head has to be parsed before anything else.
    fn step_head(
        &mut self,
        index: usize,
        input: &[u8],
        now: Instant,
        output: &mut Output,
    ) -> Result<Step> {
        let mut space = request::field_space();
        let Some(head) = request::parse(input, &self.limits, &mut space)? else {
            self.connections.get_mut(index).phase = Phase::Head {
                scanned: input.len(),
            };
            return Ok(Step::Partial { needed: 0 });
        };
        let asks_to_go_on = head.expects_continue && input.len() == head.len;
        match head.framing {
            Framing::Length(length) => {
                let end = head.len + length;
                if let Some(body) = input.get(head.len..end) {
                    let started = self.connections.get(index).started;
                    self.answer(&head, body, (started, now), output);
                    return Ok(Step::answered(end, &head));
                }
                if asks_to_go_on {
                    output.write(CONTINUE);
                }
                self.connections.get_mut(index).phase = Phase::Body { needed: end };
                Ok(Step::Partial { needed: end })
            }
            Framing::Chunked => {
                if asks_to_go_on {
                    output.write(CONTINUE);
                }
                let body = ChunkedBody::new(head.len, &self.limits);
                self.step_chunked(index, input, body, now, output)
            }
        }
    }

    /// Serves a request whose head is known to be good, and whose body comes in chunks.
    fn step_chunked(
        &mut self,
        index: usize,
        input: &[u8],
        mut body: ChunkedBody,
        now: Instant,
        output: &mut Output,
    ) -> Result<Step> {
        match body.advance(input, &self.limits)? {
            Arrival::Partial { needed } => {
                self.connections.get_mut(index).phase = Phase::Chunked { body, needed };
                Ok(Step::Partial { needed })
            }
            Arrival::Complete { end } => {
                let mut space = request::field_space();
                let head = request::parse(input, &self.limits, &mut space)?
                    .ok_or(fault(HttpFault::Internal))?;
                let started = self.connections.get(index).started;
                self.answer(&head, body.content(), (started, now), output);
                Ok(Step::answered(end, &head))
            }
        }
    }

    /// Answers a whole request, whose first byte came at `started`, and counts it.
    fn answer(
        &mut self,
        head: &Head<'_, '_>,
        body: &[u8],
        (started, now): (Instant, Instant),
        output: &mut Output,
    ) {
        let content = match head.method {
            Some(Method::Head) => Content::Measured,
            _ => Content::Sent,
        };
        let mut response = Response::new(output, head.persistence, content);
        let route = self
            .routes
            .iter()
            .position(|route| head.target.is(route.path))
            .or_else(|| self.pattern_of(&head.target));
        let outcome = match route {
            Some(route) => self.respond(route, head, body, now, &mut response),
            None => respond_unrouted(head, &mut response),
        };
        let status = match outcome {
            Ok(()) => {
                response.finish();
                Status::Ok
            }
            Err(error) => response.fail(&error),
        };
        match route {
            Some(_) if matches!(status, Status::Unauthorized | Status::Forbidden) => {
                self.counters.count_other(status);
                self.counters.count_rejected(Rejection::Auth);
            }
            Some(route) => self.counters.count_routed(route, status),
            None => self.counters.count_other(status),
        }
        self.counters
            .observe(self.clock.now().since(started).as_nanos());
    }

    /// The route with a pattern that the target fits.
    #[cold]
    fn pattern_of(&self, target: &Target<'_>) -> Option<usize> {
        let mut routes = self.routes.iter();
        routes.position(|route| target.fits(route.path))
    }

    fn respond(
        &mut self,
        route: usize,
        head: &Head<'_, '_>,
        body: &[u8],
        now: Instant,
        response: &mut Response<'_>,
    ) -> Result<()> {
        let route = &mut self.routes[route];
        match head.method {
            Some(method) if route.methods.permits(method) => {
                let request = Request {
                    method,
                    path: head.target.path,
                    query: head.target.query,
                    body,
                    now,
                    fields: head.fields,
                };
                if method == Method::Post && route.access == Access::Admin {
                    self.admin.check(&request)?;
                }
                route.handler.respond(&request, response)
            }
            Some(Method::Options) => {
                response.options(route.methods.allow());
                Ok(())
            }
            Some(_) => Err(fault(HttpFault::MethodNotAllowed(route.methods.allow()))),
            None => Err(fault(HttpFault::NotImplemented("method"))),
        }
    }

    /// Tells the peer why its request is not served; the connection is closed after that.
    fn refuse(&mut self, error: &Error, output: &mut Output) {
        let mut response = Response::new(output, Persistence::Close, Content::Sent);
        let status = response.fail(error);
        self.counters.count_other(status);
        if let Some(rejection) = Rejection::of(status) {
            self.counters.count_rejected(rejection);
        }
    }

    /// Sets the deadline for what the connection waits for now.
    fn rearm(&mut self, index: usize, was_answered: bool, now: Instant) {
        let connection = self.connections.get_mut(index);
        let (wait, length) = match connection.phase {
            Phase::Head { scanned: 0 } => (Wait::Idle, self.limits.idle),
            Phase::Head { .. } => (Wait::Head, self.limits.head),
            Phase::Body { .. } | Phase::Chunked { .. } => (Wait::Body, self.limits.body),
        };
        // More bytes of the same request buy no time.
        if was_answered || connection.wait != Some(wait) {
            self.connections.wait(index, wait, now + length);
        }
    }
}

impl Service for HttpServer {
    fn port(&self) -> u16 {
        self.port
    }

    fn open(
        &mut self,
        id: ConnectionId,
        _: SocketAddrV4,
        now: Instant,
        output: &mut Output,
    ) -> Next {
        let is_room =
            self.connections.len() < self.limits.connections || self.connections.end_longest_idle();
        let inserted = match is_room {
            true => self.connections.insert(id, now),
            false => Err(fault(HttpFault::Unavailable)),
        };
        match inserted {
            Ok(index) => {
                self.connections
                    .wait(index, Wait::Idle, now + self.limits.idle);
                Next::MORE
            }
            Err(error) => {
                self.refuse(&error, output);
                Next::Close
            }
        }
    }

    /// One request without a body, after which its client wants no more: most of what asks for a page now and then.
    fn serve_at_once(&mut self, turn: Turn<'_>) -> bool {
        let has_room = self.connections.len() < self.limits.connections;
        let is_plain = turn.input.first().is_some_and(u8::is_ascii_uppercase);
        if !has_room || !is_plain || !turn.input.ends_with(b"\r\n\r\n") {
            return false;
        }
        let mut space = request::field_space();
        match request::parse(turn.input, &self.limits, &mut space) {
            Ok(Some(head))
                if head.persistence == Persistence::Close
                    && head.framing == Framing::Length(0)
                    && head.len == turn.input.len() =>
            {
                self.answer(&head, &[], (turn.now, turn.now), turn.output);
                true
            }
            _ => false,
        }
    }

    fn receive(&mut self, turn: Turn<'_>) -> Progress {
        let Turn {
            id,
            now,
            input,
            output,
        } = turn;
        let closed = Progress {
            consumed: input.len(),
            next: Next::Close,
        };
        let index = match self.connections.find(id) {
            Some(index) if self.connections.get(index).wait != Some(Wait::End) => index,
            _ => return closed,
        };
        let mut consumed = 0;
        let mut was_answered = false;
        let mut until_bytes = 0;
        while !output.is_full() {
            let rest = &input[consumed..];
            if !self.connections.get(index).phase.is_begun() {
                match rest {
                    // Empty lines before a request are not part of it (RFC 9112, 2.2).
                    [b'\r', b'\n', ..] => {
                        consumed += 2;
                        continue;
                    }
                    [] | [b'\r'] => break,
                    _ => {}
                }
            }
            match self.step(index, rest, now, output) {
                Ok(Step::Partial { needed }) => {
                    until_bytes = needed;
                    break;
                }
                Ok(Step::Answered { len, persistence }) => {
                    consumed += len;
                    was_answered = true;
                    if persistence == Persistence::Close {
                        // Whoever asked closes it next: it waits for nothing more.
                        return closed;
                    }
                }
                Err(error) => {
                    self.refuse(&error, output);
                    self.rearm(index, true, now);
                    return closed;
                }
            }
        }
        self.rearm(index, was_answered, now);
        Progress {
            consumed,
            next: Next::Wait { until_bytes },
        }
    }

    /// 408 if the request was late, nothing if the connection was idle.
    fn farewell(&mut self, id: ConnectionId, output: &mut Output) {
        let Some(index) = self.connections.find(id) else {
            return;
        };
        if self.connections.get(index).phase.is_begun() {
            let mut response = Response::new(output, Persistence::Close, Content::Sent);
            response.fail(&fault(HttpFault::Timeout));
        }
    }

    fn close(&mut self, id: ConnectionId) {
        self.connections.remove(id);
    }

    fn tick(&mut self, now: Instant) {
        let counters = &self.counters;
        self.connections.expire(now, |wait| {
            if wait != Wait::Idle {
                counters.count_other(Status::RequestTimeout);
            }
        });
    }

    fn deadline(&self) -> Option<Instant> {
        self.connections.next_deadline()
    }

    #[inline]
    fn agenda(&mut self) -> Agenda {
        Agenda {
            deadline: self.connections.next_deadline().unwrap_or(Instant::NEVER),
            has_news: self.connections.has_ending(),
        }
    }

    fn take_doomed(&mut self) -> Option<ConnectionId> {
        self.connections.take_ending()
    }
}

/// True if a head may be whole, bad or too long now, and was not so `scanned` bytes in.
fn is_worth_parsing(input: &[u8], scanned: usize, limits: &Limits) -> bool {
    scanned == 0
        || input
            .get(scanned..)
            .is_some_and(|fresh| fresh.contains(&b'\n'))
        || (scanned <= limits.line_bytes && input.len() > limits.line_bytes)
        || input.len() > limits.head_bytes
}

fn respond_unrouted(head: &Head<'_, '_>, response: &mut Response<'_>) -> Result<()> {
    match (head.method, head.target.path) {
        (None, _) => Err(fault(HttpFault::NotImplemented("method"))),
        (Some(Method::Options), "*") => {
            response.options(Methods::GetAndPost.allow());
            Ok(())
        }
        (Some(_), "*") => Err(fault(HttpFault::BadRequest("the target * is for OPTIONS"))),
        _ => Err(fault(HttpFault::NotFound)),
    }
}
