//! What travels on the bus: a typed body and what everyone may know of it.

use super::parcel::Owner;
use crate::platform::time::Instant;
use core::num::NonZero;

/// The number of a subsystem, and its place in the [`super::port::Exchange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubsystemId(u8);

impl SubsystemId {
    /// Subsystems that there can be: sets of them are one word.
    pub const MAX: usize = 64;

    /// The subsystem of that number, if it can be one.
    pub const fn new(number: usize) -> Option<Self> {
        if number < Self::MAX {
            Some(Self(number as u8))
        } else {
            None
        }
    }

    /// Its number.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The number of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicId(pub u8);

/// The number of a message: the sender's in the highest byte, then a count that outlives restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u64);

impl MessageId {
    /// The message of that sender and count.
    pub(super) const fn new(sender: SubsystemId, count: u64) -> Self {
        Self((sender.0 as u64) << 56 | (count & (u64::MAX >> 8)))
    }

    /// Who sent it.
    pub const fn sender(self) -> SubsystemId {
        SubsystemId((self.0 >> 56) as u8)
    }

    /// Which of its sender's messages it is, the first being 1.
    pub const fn count(self) -> u64 {
        self.0 & (u64::MAX >> 8)
    }

    /// As one number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The message of that number, as [`MessageId::as_u64`] gave it.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// One subsystem.
    Receiver(SubsystemId),
    /// Whoever subscribes to a topic.
    Topic(TopicId),
}

/// Which request a message or a reply belongs to: a slot of the reply table, and which use of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Correlation {
    pub(super) slot: u32,
    pub(super) generation: NonZero<u32>,
}

/// Which lane of a mailbox a message takes. Everything urgent is received before anything normal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// In turn.
    #[default]
    Normal,
    /// Before all that is normal; for control, which is rare.
    Urgent,
}

/// No deadline.
pub const NEVER: Instant = Instant::NEVER;

/// A message. Bodies are moved, never copied through a buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope<M> {
    /// Which message it is.
    pub id: MessageId,
    /// The first moment at which it is too late to receive it; [`NEVER`] for none.
    pub deadline: Instant,
    /// The request it asks, if it asks for a reply.
    pub correlation: Option<Correlation>,
    /// Who sent it.
    pub sender: SubsystemId,
    /// Whom it is for.
    pub to: Address,
    /// Its lane.
    pub priority: Priority,
    /// What it says.
    pub body: M,
}

impl<M> Envelope<M> {
    /// The same message, to be received before `deadline` or not at all.
    #[must_use]
    pub fn due(mut self, deadline: Instant) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same message, in the urgent lane.
    #[must_use]
    pub fn urgent(mut self) -> Self {
        self.priority = Priority::Urgent;
        self
    }
}

/// What a body must be.
///
/// A body outlives its sender's restarts: nothing in it may point into a subsystem's own heap, because that
/// heap is given back when the subsystem dies. Plain values, small arrays in place, [`super::Parcel`]s and
/// `Arc`s that the composition root made are such bodies; a `Box`, `Vec` or `Arc` of a subsystem's own is not.
pub trait Message: Send + 'static {
    /// Moves the charge for memory that the body holds ([`super::Parcel::recharge`]); a body that holds none
    /// leaves it as it is. The bus calls it when a message is queued (to itself) and received (to the reader).
    #[inline(always)]
    fn recharge(&mut self, to: Owner) {
        let _ = to;
    }
}
