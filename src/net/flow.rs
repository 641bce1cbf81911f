//! One TCP connection: its socket in a set of its own, its phase, and its timers.
//!
//! Phases: a flow begins with a SYN in `Handshake`; when the peer has acknowledged, the service is told
//! and the flow is `Open`, but if the service waits for a request anyway, it is `Acknowledged` until one comes; when the
//! service or the peer has ended it, `Finishing`: what is left goes out, then a FIN, and what still comes in is thrown
//! away. It is gone when its socket is closed, or has only to wait in TIME-WAIT.
//!
//! The service hears `open` once when the flow opens, and `close` once when it leaves `Open`.
//!
//! How long a peer may be silent is smoltcp's timeout, chosen anew in each turn: the handshake's time, less
//! while it owes us an acknowledgement, else what the keep-alive probes allow.

use super::config::StackConfig;
use super::conversation::Conversation;
use super::frame::{FlowKey, Segment, SentSegment, control};
use super::service::{ConnectionId, Next, Output, Service};
use crate::error::{Error, Grow, Kind, Result, Subsystem};
use crate::platform::time::{Duration, Instant};
use alloc::vec::Vec;
use smoltcp::iface::{SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::Socket as AnySocket;
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};

/// Time for the answer to the last keep-alive probe.
const ANSWER_TIME: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(10);

/// Bytes at most whose acknowledgement waits: the least of a full-sized segment (RFC 9293 3.7.1), of which every
/// second one is to be acknowledged at once.
const DEFERRED_MAX: usize = 536;

/// How flows are to behave: the settings that concern them, in smoltcp's units where smoltcp obeys them.
#[derive(Debug)]
pub(super) struct FlowPolicy {
    receive_ring_bytes: usize,
    transmit_ring_bytes: usize,
    handshake: smoltcp::time::Duration,
    unanswered: smoltcp::time::Duration,
    keep_alive: Option<smoltcp::time::Duration>,
    /// Silence that a peer may keep although it was probed.
    silence: Option<smoltcp::time::Duration>,
    idle: Option<Duration>,
    linger: Duration,
}

impl FlowPolicy {
    pub(super) fn new(config: &StackConfig) -> Self {
        let keep_alive = config.keep_alive.map(to_smoltcp);
        Self {
            receive_ring_bytes: config.receive_ring_bytes,
            transmit_ring_bytes: config.transmit_ring_bytes,
            handshake: to_smoltcp(config.handshake_timeout),
            unanswered: to_smoltcp(config.unanswered_timeout),
            keep_alive,
            // Two probes, one an interval after the other.
            silence: keep_alive.map(|interval| interval * 2 + ANSWER_TIME),
            idle: config.idle_timeout,
            linger: config.linger_timeout,
        }
    }
}

fn to_smoltcp(length: Duration) -> smoltcp::time::Duration {
    smoltcp::time::Duration::from_micros(length.as_nanos() / 1_000)
}

/// A socket in a set of its own, which outlives the connections that use it one after another.
pub(super) struct Seat {
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    /// The set may hold the socket silent, for want of a neighbour's hardware address.
    is_silenced: bool,
}

impl Seat {
    /// Allocates a socket and its rings.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn new(policy: &FlowPolicy) -> Result<Self> {
        let mut storage = Vec::new();
        storage.try_reserve_exact(1)?;
        storage.push_reserved(SocketStorage::EMPTY);
        let receive = ring(policy.receive_ring_bytes)?;
        let transmit = ring(policy.transmit_ring_bytes)?;
        let mut sockets = SocketSet::new(storage);
        let handle = sockets.add(Socket::new(receive, transmit));
        Ok(Self {
            sockets,
            handle,
            is_silenced: false,
        })
    }

    /// The socket, which the set holds alone. By the set's only place: to look it up by its handle is a call.
    #[inline]
    fn socket_mut(&mut self) -> &mut Socket<'static> {
        match self.sockets.iter_mut().next() {
            Some((_, AnySocket::Tcp(socket))) => socket,
            _ => no_socket(),
        }
    }

    /// As [`Seat::socket_mut`], to be read.
    #[inline]
    fn socket(&self) -> &Socket<'static> {
        match self.sockets.iter().next() {
            Some((_, AnySocket::Tcp(socket))) => socket,
            _ => no_socket(),
        }
    }

    /// Makes the socket wait for a SYN to `port`, as if it were new.
    fn listen(&mut self, port: u16, policy: &FlowPolicy) -> Result<()> {
        // The set keeps that beside the socket, whoever its peer is.
        if self.is_silenced
            && let AnySocket::Tcp(socket) = self.sockets.remove(self.handle)
        {
            self.handle = self.sockets.add(socket);
            self.is_silenced = false;
        }
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        socket.abort();
        socket.set_congestion_control(CongestionControl::Reno);
        socket.set_nagle_enabled(false);
        socket.set_keep_alive(policy.keep_alive);
        socket.set_timeout(Some(policy.handshake));
        let what = "port to listen on";
        let missing = Error::new(Subsystem::Network, Kind::Missing { what });
        socket.listen(port).map_err(|_| missing)
    }
}

#[cold]
fn no_socket() -> ! {
    unreachable!("a seat has one socket, of TCP")
}

fn ring(len: usize) -> Result<SocketBuffer<'static>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len)?;
    bytes.resize_reserved(len, 0);
    Ok(SocketBuffer::new(bytes))
}

/// What a flow is given for its turn.
pub(super) struct Visit<'a> {
    pub(super) id: ConnectionId,
    pub(super) now: Instant,
    pub(super) service: &'a mut dyn Service,
    pub(super) output: &'a mut Output,
    pub(super) policy: &'a FlowPolicy,
}

/// What a turn leaves for the socket to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaves {
    /// Whatever it has.
    Output,
    /// Nothing but the acknowledgement of a short segment, all of which the service has taken: there was nothing to
    /// say to it yet.
    Ack,
}

/// Where a flow is between its SYN and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The peer has not acknowledged our SYN.
    Handshake,
    /// It has, which the socket will hear from the peer's first request.
    Acknowledged,
    /// A service owns it.
    Open,
    /// No service knows it any more.
    Finishing {
        /// When it is reset if it has not ended by then.
        until: Instant,
    },
}

/// One TCP connection.
pub(super) struct Flow {
    pub(super) key: FlowKey,
    /// Index of its service.
    pub(super) service: usize,
    /// The service waits for a request: an acknowledgement alone is no news to it.
    pub(super) awaits_request: bool,
    /// The state that the counters know it in.
    pub(super) counted_as: State,
    /// What the timer wheel holds for it.
    pub(super) armed: Option<Instant>,
    /// What follows the peer's FIN, once one has come.
    pub(super) peer_end: u32,
    /// The hardware address that the last segment came from.
    pub(super) source_mac: [u8; 6],
    seat: Seat,
    phase: Phase,
    conversation: Conversation,
    heard_at: Instant,
    /// The highest sequence number sent, once something has been sent.
    highest_sent: Option<u32>,
    /// What the last segment that was sent in a turn acknowledged.
    acknowledged: u32,
    /// The highest sequence number sent is that of our FIN.
    has_sent_fin: bool,
    /// An acknowledgement waits for something to travel with.
    pub(super) defers_ack: bool,
}

impl Flow {
    /// A flow that waits in `seat` for the SYN which made it.
    ///
    /// # Errors
    /// `Missing` for port 0.
    pub(super) fn new(
        mut seat: Seat,
        key: FlowKey,
        service: usize,
        policy: &FlowPolicy,
        now: Instant,
    ) -> Result<Self> {
        seat.listen(key.port(), policy)?;
        Ok(Self {
            key,
            service,
            awaits_request: false,
            counted_as: State::Listen,
            armed: None,
            peer_end: 0,
            source_mac: [0; 6],
            seat,
            phase: Phase::Handshake,
            conversation: Conversation::new(),
            heard_at: now,
            highest_sent: None,
            acknowledged: 0,
            has_sent_fin: false,
            defers_ack: false,
        })
    }

    /// Gives the socket back for another connection.
    pub(super) fn into_seat(self) -> Seat {
        self.seat
    }

    /// The set with this flow's socket alone.
    #[inline]
    pub(super) fn sockets(&mut self) -> &mut SocketSet<'static> {
        &mut self.seat.sockets
    }

    #[inline]
    fn socket(&mut self) -> &mut Socket<'static> {
        self.seat.socket_mut()
    }

    /// The socket's state.
    #[inline]
    pub(super) fn state(&self) -> State {
        self.seat.socket().state()
    }

    /// True until the peer has acknowledged our SYN.
    #[inline]
    pub(super) fn is_half_open(&self) -> bool {
        self.phase == Phase::Handshake
    }

    /// True while a service owns it.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Notes that the socket could not send for want of its neighbour's hardware address.
    pub(super) fn note_silenced(&mut self) {
        self.seat.is_silenced = true;
    }

    /// True if nothing has come that a service could read.
    #[inline]
    pub(super) fn has_no_input(&mut self) -> bool {
        !self.socket().can_recv()
    }

    /// True after an acknowledgement that leaves nothing to be done: all is acknowledged, nothing is to
    /// be read or written. What timers remain are armed already, and only became later.
    #[inline]
    pub(super) fn is_quiet(&mut self) -> bool {
        let is_open = self.phase == Phase::Open && !self.conversation.has_backlog();
        let socket = self.socket();
        is_open
            && socket.state() == State::Established
            && socket.send_queue() == 0
            && socket.recv_queue() == 0
    }

    /// Lets the service work on what has come, and the socket take what is to be sent.
    #[inline]
    pub(super) fn turn(&mut self, visit: &mut Visit<'_>) -> Leaves {
        let leaves = match self.phase {
            Phase::Open => self.converse(visit),
            Phase::Handshake | Phase::Acknowledged => self.begin(visit),
            Phase::Finishing { .. } => Leaves::Output,
        };
        if let Phase::Finishing { until } = self.phase {
            self.finish(until, visit.now, visit.policy);
        }
        leaves
    }

    /// Opens the flow if the handshake is complete.
    fn begin(&mut self, visit: &mut Visit<'_>) -> Leaves {
        if !matches!(self.state(), State::Established | State::CloseWait) {
            return Leaves::Output;
        }
        self.phase = Phase::Open;
        self.heard_at = visit.now;
        visit.output.clear();
        let next = visit
            .service
            .open(visit.id, self.key.peer(), visit.now, visit.output);
        let socket = self.seat.socket_mut();
        match self.conversation.send(socket, visit.output) {
            Ok(()) if matches!(next, Next::Wait { .. }) => self.converse(visit),
            sent => {
                self.go_on(sent.map(|()| next), visit);
                Leaves::Output
            }
        }
    }

    /// Shows the service what has come.
    #[inline]
    fn converse(&mut self, visit: &mut Visit<'_>) -> Leaves {
        let socket = self.seat.socket_mut();
        let fresh = socket.recv_queue();
        // A peer that takes its time over a long answer is not idle.
        if fresh > 0 || self.conversation.has_backlog() {
            self.heard_at = visit.now;
        }
        let state = socket.state();
        let next = match state {
            State::Closed => Ok(Next::Abort),
            _ => self.conversation.run(socket, visit),
        };
        // A peer that is silent is given less time while it owes us an acknowledgement.
        let mut leaves = Leaves::Output;
        socket.set_timeout(match socket.send_queue() {
            0 => {
                let is_little = (1..=DEFERRED_MAX).contains(&fresh) && socket.recv_queue() == 0;
                if is_little && state == State::Established && !self.conversation.has_backlog() {
                    leaves = Leaves::Ack;
                }
                visit.policy.silence
            }
            _ => Some(visit.policy.unanswered),
        });
        if !matches!(next, Ok(Next::Wait { .. })) {
            self.go_on(next, visit);
            return Leaves::Output;
        }
        // A peer that has sent its FIN gets what it asked for and then ours.
        let has_ended = state == State::CloseWait
            && !self.conversation.has_backlog()
            && !visit.service.is_busy(visit.id);
        if has_ended || self.is_idle(visit) {
            self.end(visit);
            return Leaves::Output;
        }
        leaves
    }

    #[inline]
    fn is_idle(&self, visit: &Visit<'_>) -> bool {
        let limit = visit.policy.idle;
        limit.is_some_and(|limit| visit.now.since(self.heard_at) >= limit)
    }

    /// Does what a service's answer, or the lack of memory for it, asks for.
    fn go_on(&mut self, next: Result<Next>, visit: &mut Visit<'_>) {
        match next {
            Ok(Next::Wait { .. }) => {}
            Ok(Next::Close) => self.end(visit),
            Ok(Next::Abort) => self.abort(visit),
            Err(error) => self.refuse(&error, visit),
        }
    }

    /// Ends the flow for want of memory. The service may say so: all that was sent before are whole answers, as what is
    /// not whole is not sent.
    #[cold]
    fn refuse(&mut self, error: &Error, visit: &mut Visit<'_>) {
        log::warn!("connection from {} dropped: {error}", self.key.peer());
        // Its peer may take a while to read why: what it has sent is not kept for so long.
        self.conversation.drop_input();
        visit.output.clear();
        visit.service.refuse(visit.id, visit.output);
        let socket = self.seat.socket_mut();
        let is_told =
            !visit.output.is_empty() && self.conversation.send(socket, visit.output).is_ok();
        if is_told {
            self.end(visit);
        } else {
            self.abort(visit);
        }
    }

    /// Takes the flow from its service; what was written is still sent.
    fn end(&mut self, visit: &mut Visit<'_>) {
        let until = visit.now + visit.policy.linger;
        self.phase = Phase::Finishing { until };
        self.socket().set_timeout(Some(visit.policy.unanswered));
        visit.service.close(visit.id);
    }

    /// Has the service called at the next turn, whatever has come by then.
    pub(super) fn call_again(&mut self) {
        self.conversation.call_again();
    }

    /// Takes the flow from its service, which may say a last word; what it wrote before and has not been handed to the
    /// socket is not sent.
    pub(super) fn cut(&mut self, visit: &mut Visit<'_>) {
        self.conversation.drop_backlog();
        visit.output.clear();
        visit.service.farewell(visit.id, visit.output);
        let socket = self.seat.socket_mut();
        match self.conversation.send(socket, visit.output) {
            Ok(()) => self.end(visit),
            // What was sent last may be half an answer: nothing can follow it.
            Err(error) => {
                log::warn!("connection from {} dropped: {error}", self.key.peer());
                self.abort(visit);
            }
        }
    }

    /// Takes the flow from its service and resets the connection.
    fn abort(&mut self, visit: &mut Visit<'_>) {
        self.conversation.drop_backlog();
        self.socket().abort();
        self.phase = Phase::Finishing { until: visit.now };
        visit.service.close(visit.id);
    }

    /// Sends what is left, then a FIN; throws away what comes; resets a peer that takes too long.
    fn finish(&mut self, until: Instant, now: Instant, policy: &FlowPolicy) {
        let socket = self.seat.socket_mut();
        if self.conversation.flush(socket) > 0 {
            let until = now + policy.linger;
            self.phase = Phase::Finishing { until };
        } else if now >= until && socket.state() != State::TimeWait {
            socket.abort();
            return;
        }
        if !self.conversation.has_backlog() {
            socket.close();
        }
        while socket.recv_queue() > 0 && socket.recv(|input| (input.len(), ())).is_ok() {}
    }

    /// When this flow has to be looked at for a reason of its own, beside the socket's timers.
    #[inline]
    pub(super) fn own_deadline(&self, policy: &FlowPolicy) -> Option<Instant> {
        match self.phase {
            Phase::Handshake | Phase::Acknowledged => None,
            Phase::Open => policy.idle.map(|limit| self.heard_at + limit),
            Phase::Finishing { .. } if self.state() == State::TimeWait => None,
            Phase::Finishing { until } => Some(until),
        }
    }

    /// Notes `segment`, a bare acknowledgement, without the socket if it says nothing but that our SYN has arrived; false
    /// if the socket has to be shown it.
    ///
    /// The segment with the peer's request acknowledges the SYN as well, and then opens the connection at once. If none
    /// comes, the socket sends its SYN again after a second, and the answer to that is shown to it.
    #[inline(never)]
    pub(super) fn defers_opening(&mut self, segment: &Segment) -> bool {
        let is_expected = self.phase == Phase::Handshake
            && segment.sequence == self.acknowledged
            && self.highest_sent == Some(segment.acknowledged);
        if is_expected {
            self.phase = Phase::Acknowledged;
        }
        is_expected
    }

    /// True if `segment` is the FIN that answers ours and nothing else: all that was sent is acknowledged, and all that
    /// came before the FIN was.
    #[inline]
    pub(super) fn is_ended_by(&self, segment: &Segment) -> bool {
        matches!(self.phase, Phase::Finishing { .. })
            && self.has_sent_fin
            && segment.control & !control::PSH == control::FIN | control::ACK
            && segment.payload_len == 0
            && segment.sequence == self.acknowledged
            && self.highest_sent == Some(segment.acknowledged)
    }

    /// The numbers of the last acknowledgement, once both sides have sent their FIN: our next sequence number, and the
    /// peer's.
    #[inline]
    pub(super) fn last_numbers(&self) -> (u32, u32) {
        (self.highest_sent.unwrap_or_default(), self.peer_end)
    }

    /// Notes a segment that was sent; true if it, or part of it, had been sent before.
    #[inline]
    pub(super) fn note_sent(&mut self, segment: SentSegment) -> bool {
        let advances = self
            .highest_sent
            .is_none_or(|highest| (segment.end.wrapping_sub(highest) as i32) > 0);
        self.acknowledged = segment.acknowledged;
        if advances {
            self.highest_sent = Some(segment.end);
            self.has_sent_fin = segment.control & control::FIN != 0;
            return false;
        }
        // A keep-alive probe repeats one byte that has been acknowledged already.
        match segment.payload_len {
            // What asks a peer that has acknowledged our SYN to say so again is none either.
            0 => segment.is_flagged() && self.phase != Phase::Acknowledged,
            1 => self.socket().send_queue() > 0,
            _ => true,
        }
    }
}
