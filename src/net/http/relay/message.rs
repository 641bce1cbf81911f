//! What travels between the network's side and HTTP.

use crate::bus::{Charge, Envelope, Message, Owner, Parcel};
use crate::memory::copy_short;
use crate::memory::frames::{FrameSource, PAGE_SIZE};
use crate::net::service::ConnectionId;
use core::net::SocketAddrV4;
use core::ops::Deref;

/// Bytes that a message holds in place: a GET with a few fields, or its short answer.
pub const SHORT_BYTES: usize = 160;
/// Bytes of one message at most.
pub(super) const PIECE_BYTES: usize = 16 * 1024;

/// Which incarnations of the two sides a message is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session(u64);

impl Session {
    /// The session of those incarnations.
    pub(super) const fn new(network: u64, http: u64) -> Self {
        // Four thousand million restarts until a number comes again.
        Self(network << 32 | http & u32::MAX as u64)
    }

    /// Whether that incarnation of the network's side is in it.
    #[inline]
    pub(super) const fn is_with_network(self, incarnation: u64) -> bool {
        self.0 >> 32 == incarnation & u32::MAX as u64
    }

    /// Whether that incarnation of HTTP is in it.
    #[inline]
    pub(super) const fn is_with_http(self, incarnation: u64) -> bool {
        self.0 as u32 == incarnation as u32
    }
}

/// Where a side gets the memory of its long messages from.
#[derive(Clone, Copy)]
pub struct Parcels {
    /// The frames.
    pub frames: &'static dyn FrameSource,
    /// Who moves their charges.
    pub charge: &'static dyn Charge,
    /// Who is charged until a message is sent.
    pub owner: Owner,
}

impl Parcels {
    fn of(&self, bytes: &[u8]) -> Option<Parcel> {
        let parcel = Parcel::allocate(self.frames, self.charge, self.owner, bytes.len());
        // Without memory the bytes travel in short messages.
        let mut parcel = parcel.ok()?;
        parcel.copy_from_slice(bytes);
        Some(parcel)
    }
}

/// Bytes of a connection, in the message itself or beside it.
#[derive(Debug)]
pub enum Piece {
    /// No bytes.
    Empty,
    /// In the message.
    Short {
        /// How many of them.
        len: u8,
        /// The bytes, and room.
        bytes: [u8; SHORT_BYTES],
    },
    /// In frames that are charged to whoever has the message.
    Long(Parcel),
}

impl Piece {
    #[inline(always)]
    fn recharge(&mut self, to: Owner) {
        if let Self::Long(parcel) = self {
            parcel.recharge(to);
        }
    }
}

/// What is to go into a message that is not made yet.
pub(super) enum Load<'a> {
    /// So few bytes that they go into the message itself.
    Short(&'a [u8]),
    /// More.
    Long(Parcel),
}

impl<'a> Load<'a> {
    /// No bytes.
    pub(super) const EMPTY: Self = Self::Short(&[]);

    /// As many of the first bytes as one message takes: its length says how many. At least one, if there is one.
    #[inline]
    pub(super) fn first_of(bytes: &'a [u8], parcels: &Parcels) -> Self {
        if bytes.len() > SHORT_BYTES
            && let Some(long) = Self::long_of(bytes, parcels)
        {
            return Self::Long(long);
        }
        Self::Short(&bytes[..bytes.len().min(SHORT_BYTES)])
    }

    #[inline(never)]
    fn long_of(bytes: &[u8], parcels: &Parcels) -> Option<Parcel> {
        let mut limits = [PIECE_BYTES, PAGE_SIZE].into_iter();
        limits.find_map(|limit| parcels.of(&bytes[..bytes.len().min(limit)]))
    }

    /// How many bytes it is.
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Short(bytes) => bytes.len(),
            Self::Long(parcel) => parcel.len(),
        }
    }

    /// Puts it into a message where that lies.
    #[inline(always)]
    pub(super) fn put(self, piece: &mut Piece) {
        match self {
            Self::Short([]) => {}
            Self::Short(from) => {
                *piece = Piece::Short {
                    len: from.len() as u8,
                    bytes: [0; SHORT_BYTES],
                };
                if let Piece::Short { bytes, .. } = piece
                    && let Some(place) = bytes.get_mut(..from.len())
                {
                    copy_short(place, from);
                }
            }
            Self::Long(parcel) => *piece = Piece::Long(parcel),
        }
    }
}

impl Deref for Piece {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Short { len, bytes } => &bytes[..usize::from(*len)],
            Self::Long(parcel) => parcel,
        }
    }
}

/// From the network's side to HTTP: what came of a connection. In order; never dropped for want of room.
#[derive(Debug)]
pub struct ToHttp {
    /// Who talks to whom.
    pub session: Session,
    /// The connection.
    pub connection: ConnectionId,
    /// Its peer, in its first message.
    pub opened: Option<SocketAddrV4>,
    /// A connection, often another one, that is gone; to be looked at first.
    pub closed: Option<ConnectionId>,
    /// Messages with output that were handed to the stack since the last of these.
    pub taken: u8,
    /// What its peer sent.
    pub bytes: Piece,
}

/// From HTTP to the network's side: what is to be sent. In order; never dropped for want of room.
#[derive(Debug)]
pub struct ToNetwork {
    /// Who talks to whom.
    pub session: Session,
    /// The connection.
    pub connection: ConnectionId,
    /// Bytes of its input that are dealt with, since the last of these.
    pub seen: u32,
    /// What follows.
    pub then: Then,
    /// Whether the stack's taking it is to be told at once.
    pub tells_taken: bool,
    /// What its peer is to get.
    pub bytes: Piece,
}

/// What follows the bytes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing, until the peer says more.
    Wait,
    /// More of what was begun.
    More,
    /// The end, in good order; HTTP knows the connection no more.
    Close,
    /// The end, by a reset; likewise.
    Abort,
}

impl Message for ToHttp {
    #[inline(always)]
    fn recharge(&mut self, to: Owner) {
        self.bytes.recharge(to);
    }
}

impl Message for ToNetwork {
    #[inline(always)]
    fn recharge(&mut self, to: Owner) {
        self.bytes.recharge(to);
    }
}

/// Bytes of a mailbox's slot; its sequence number and the envelope are in it.
const SLOT_BYTES: usize = 256;
const _: () = assert!(size_of::<usize>() + size_of::<Envelope<ToHttp>>() <= SLOT_BYTES);
const _: () = assert!(size_of::<usize>() + size_of::<Envelope<ToNetwork>>() <= SLOT_BYTES);
