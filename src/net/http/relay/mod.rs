//! HTTP apart from the network: two subsystems, joined by two mailboxes.
//!
//! [`Relay`] is the service of HTTP's port on the network's side. It understands nothing of HTTP: it sends what peers
//! say as [`ToHttp`], and writes to them what comes as [`ToNetwork`]. [`Host`] drives a service, the HTTP server,
//! from these messages as the stack would: input is shown until it is consumed, output is sent before the next call.
//!
//! Flow control, both ways by connection: [`UNSEEN_BYTES`] of input may be with HTTP and not dealt with; beyond, the
//! relay leaves bytes with the stack, and the peer's window closes. [`PIECES_UNDER_WAY`] of output may be with the
//! relay and not in the stack's hands; beyond, the host keeps the rest and does not call its service. A mailbox that
//! is full delays: what does not fit stays where it is and is tried again ([`RETRY_AFTER`]).
//!
//! Few messages: a short request on a new connection is one message, its answer another. News that can wait (a
//! connection that has opened and said nothing, one that is gone) travels with the next message, or by itself
//! after [`NEWS_AFTER`]. HTTP rings for the last message of a step when it parks ([`Host::step`]), so that the
//! network's side, which ranks higher, takes its place once.
//!
//! Death: a message names the incarnations of both ends that it is of ([`Session`]); one of another session is
//! dropped and counted. When HTTP dies the relay ends the connections that HTTP knew: with 503 those that wait for
//! the first byte of an answer, without a word the others. Connections that come while HTTP is down wait for its next
//! incarnation, and get 503 when nothing was heard of it for [`PATIENCE`]; at once if its mailbox is closed. When
//! the network dies the host forgets all connections. Either side looks at the other's incarnation whenever it runs;
//! who ends an incarnation rings the other side's bell, so that it looks soon.
//!
//! Invariants: bytes of a connection arrive in order, once, or the connection is ended. A connection is
//! never mistaken for another: a [`ConnectionId`](crate::net::service::ConnectionId) is unique in a session.

mod counters;
mod forward;
mod host;
mod message;
mod network;
mod peer;
mod table;
mod talk;

#[cfg(test)]
pub(in crate::net) mod testing;
#[cfg(test)]
mod tests;

pub use counters::{RelayCounters, RelayEvent};
pub use host::Host;
pub use message::{Parcels, Piece, SHORT_BYTES, Session, Then, ToHttp, ToNetwork};
pub use network::Relay;

use crate::bus::{Address, Exchange, Mailbox, Plan, Policy, Port};
use crate::error::{Result, arc_at_boot};
use crate::platform::time::Duration;
use alloc::sync::Arc;

/// Bytes of one connection's input that HTTP may have and not have dealt with: two of the largest messages (a guess).
pub const UNSEEN_BYTES: usize = 2 * message::PIECE_BYTES;
/// Messages with output of one connection that the relay may have and not have handed to the stack.
pub const PIECES_UNDER_WAY: usize = 2;
/// When a full mailbox is tried again if nothing is heard of its reader.
pub const RETRY_AFTER: Duration = Duration::from_millis(1);
/// Time that news waits for a message to travel with.
pub const NEWS_AFTER: Duration = Duration::from_secs(1);
/// Silence of HTTP, asked for something, after which it counts as down: several of its restarts (a guess).
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Messages that the mailbox of either side holds: 16 KiB of slots.
const MAILBOX_SLOTS: usize = 64;

/// What joins the two sides: their ports and mailboxes. It outlives both; the composition root makes it once.
#[derive(Clone)]
pub struct Wires {
    network: Arc<Port>,
    http: Arc<Port>,
    to_http: Arc<Mailbox<ToHttp>>,
    to_network: Arc<Mailbox<ToNetwork>>,
    counters: Arc<RelayCounters>,
}

impl Wires {
    /// Joins the subsystem that has the network to the one that serves HTTP.
    ///
    /// # Errors
    /// `OutOfMemory`; `LimitReached` if one of them has too many mailboxes.
    pub fn new(exchange: &Arc<Exchange>, network: &Arc<Port>, http: &Arc<Port>) -> Result<Self> {
        let plan = |topic, reader: &Arc<Port>| Plan {
            topic,
            address: Address::Receiver(reader.id()),
            reader: reader.clone(),
            exchange: exchange.clone(),
            capacity: MAILBOX_SLOTS,
            policy: Policy::Refuse,
        };
        Ok(Self {
            network: network.clone(),
            http: http.clone(),
            to_http: arc_at_boot(Mailbox::new(plan("http.input", http))?),
            to_network: arc_at_boot(Mailbox::new(plan("http.output", network))?),
            counters: arc_at_boot(RelayCounters::default()),
        })
    }

    /// What HTTP receives.
    pub fn to_http(&self) -> &Arc<Mailbox<ToHttp>> {
        &self.to_http
    }

    /// What the network's side receives.
    pub fn to_network(&self) -> &Arc<Mailbox<ToNetwork>> {
        &self.to_network
    }

    /// What was dropped, and why.
    pub fn counters(&self) -> &Arc<RelayCounters> {
        &self.counters
    }

    /// The session of those who run now.
    fn session(&self) -> Session {
        Session::new(self.network.incarnation(), self.http.incarnation())
    }
}
