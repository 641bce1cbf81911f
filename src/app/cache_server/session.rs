//! What the server knows of each client: from its connection to its end.

use super::gate::Held;
use super::reply::Protocol;
use super::resp::Parser;
use super::tracking::{Mail, Tracker};
use crate::error::{Grow, Result, try_box};
use crate::net::service::ConnectionId;
use crate::platform::time::Instant;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddrV4;
use core::ops::Deref;

/// What a client wants to hear (CLIENT REPLY).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Hearing {
    /// Every reply.
    #[default]
    All,
    /// All from now on, but neither the present reply nor the next one.
    SkipThis,
    /// All but the reply of the present command.
    SkipNext,
    /// Nothing.
    Nothing,
}

/// Whether a connection goes on after the present command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on.
    #[default]
    Open,
    /// It ends when the reply has been sent.
    Closing,
    /// It goes on, but what follows the command may have to wait.
    Yielding,
}

/// One client.
#[derive(Debug)]
pub(super) struct Session {
    /// The connection.
    pub connection: ConnectionId,
    /// Counts clients from 1; never used again.
    pub id: u64,
    /// The other end.
    pub peer: SocketAddrV4,
    /// When it connected.
    pub opened: Instant,
    /// When it last sent a command.
    pub last_active: Instant,
    /// The database it selected.
    pub database: u8,
    /// The protocol it chose.
    pub protocol: Protocol,
    /// False until AUTH where a password is required.
    pub is_authenticated: bool,
    /// What it wants to hear.
    pub hearing: Hearing,
    /// Whether it goes on.
    pub fate: Fate,
    /// Whether it is held up.
    pub held: Held,
    /// How it tracks keys.
    pub tracker: Tracker,
    /// What it is to be told that is no reply.
    pub mail: Mail,
    /// Its last command, by row of the command table.
    pub last_command: Option<u16>,
    /// CLIENT NO-EVICT was asked for; it changes nothing here but what CLIENT LIST shows.
    pub is_no_evict: bool,
    /// Unconsumed bytes after its last turn.
    pub query_bytes: usize,
    /// The name it gave itself.
    pub name: Vec<u8>,
}

impl Session {
    /// Bytes it takes: itself, its name, what it sent that is no whole request yet, and messages for it.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.name.capacity() + self.query_bytes + self.mail.len()
    }
}

/// A client and its request parser: arguments lie in the parser while commands change the client.
#[derive(Debug)]
struct Client {
    session: Session,
    parser: Parser,
}

/// A client's place in memory: a box.
#[derive(Debug)]
pub(super) struct Seat(Box<Client>);

impl Seat {
    /// The client, and its request parser.
    #[inline]
    pub(super) fn parts(&mut self) -> (&mut Session, &mut Parser) {
        let Client { session, parser } = &mut *self.0;
        (session, parser)
    }
}

impl Deref for Seat {
    type Target = Session;

    #[inline]
    fn deref(&self) -> &Session {
        &self.0.session
    }
}

/// All clients, by the slot of their connection.
#[derive(Default)]
pub(super) struct Sessions {
    slots: Vec<Option<Seat>>,
    count: usize,
    last_id: u64,
}

impl Sessions {
    /// Forgets all clients, whose memory is gone, but not how many there were.
    pub(super) fn abandon(&mut self) {
        let last_id = self.last_id;
        core::mem::forget(core::mem::take(self));
        self.last_id = last_id;
    }

    /// Clients connected.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Adds a client.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn open(
        &mut self,
        connection: ConnectionId,
        peer: SocketAddrV4,
        now: Instant,
        is_authenticated: bool,
    ) -> Result<()> {
        let slot = connection.slot as usize;
        if slot >= self.slots.len() {
            self.slots.try_resize_with(slot + 1, || None)?;
        }
        self.last_id += 1;
        let session = Session {
            connection,
            id: self.last_id,
            peer,
            opened: now,
            last_active: now,
            database: 0,
            protocol: Protocol::Resp2,
            is_authenticated,
            hearing: Hearing::All,
            fate: Fate::Open,
            held: Held::Free,
            tracker: Tracker::default(),
            mail: Mail::default(),
            last_command: None,
            is_no_evict: false,
            query_bytes: 0,
            name: Vec::new(),
        };
        let seat = Seat(try_box(Client {
            session,
            parser: Parser::default(),
        })?);
        if self.slots[slot].replace(seat).is_none() {
            self.count += 1;
        }
        Ok(())
    }

    /// Takes a client out for its turn; [`Sessions::put_back`] follows.
    #[inline]
    pub(super) fn take(&mut self, connection: ConnectionId) -> Option<Seat> {
        let slot = self.slots.get_mut(connection.slot as usize)?;
        if slot.as_ref()?.connection != connection {
            return None;
        }
        slot.take()
    }

    /// Puts a client back after its turn.
    #[inline]
    pub(super) fn put_back(&mut self, seat: Seat) {
        let slot = seat.connection.slot as usize;
        self.slots[slot] = Some(seat);
    }

    /// Removes a client.
    pub(super) fn close(&mut self, connection: ConnectionId) -> Option<Seat> {
        let seat = self.take(connection)?;
        self.count -= 1;
        Some(seat)
    }

    /// A client, unless it is out for its turn.
    pub(super) fn get_mut(&mut self, connection: ConnectionId) -> Option<&mut Session> {
        let seat = self.slots.get_mut(connection.slot as usize)?.as_mut()?;
        Some(seat.parts().0).filter(|session| session.connection == connection)
    }

    /// Slots there are, with a client or without.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The client in a slot, unless it is out for its turn.
    pub(super) fn at(&self, slot: usize) -> Option<&Session> {
        self.slots.get(slot)?.as_deref()
    }

    /// All clients but one that is out for its turn.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.slots.iter().flatten().map(|seat| &**seat)
    }

    /// All clients but one that is out for its turn, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.slots.iter_mut().flatten().map(|seat| seat.parts().0)
    }
}
