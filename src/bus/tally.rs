//! What is counted of queues: messages delivered, messages dropped and why, and how a scrape shows it.

use super::envelope::MessageId;
use crate::metrics::Counter;

/// Messages that a queue remembers having delivered: a power of two.
pub const RECENT: usize = 4;

/// Why a message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No room, and the policy was not to wait, or waiting took too long.
    Full,
    /// It was past its deadline.
    Expired,
    /// Nobody reads there, or nobody waits for the answer any more.
    NoReader,
}

impl Reason {
    /// All reasons, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Full, Self::Expired, Self::NoReader];

    /// Its label (METRICS.md).
    pub const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Expired => "expired",
            Self::NoReader => "no_reader",
        }
    }
}

/// Drops by reason.
#[derive(Debug, Default)]
pub struct Drops([Counter; Reason::ALL.len()]);

impl Drops {
    pub(super) fn count(&self, reason: Reason) {
        self.0[reason as usize].increment();
    }

    /// The counts now.
    pub fn get(&self) -> [u64; Reason::ALL.len()] {
        core::array::from_fn(|reason| self.0[reason].get())
    }
}

/// The counts of one queue at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages received.
    pub delivered: u64,
    /// Messages dropped, by [`Reason`].
    pub dropped: [u64; Reason::ALL.len()],
    /// Messages waiting.
    pub depth: u64,
}

impl Tally {
    /// Messages dropped for that reason.
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.dropped[reason as usize]
    }

    pub(super) fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.depth += other.depth;
        for (sum, more) in self.dropped.iter_mut().zip(other.dropped) {
            *sum += more;
        }
    }
}

/// Something that messages wait in, whatever their type.
pub trait Queue: Send + Sync {
    /// The topic that its messages are counted under.
    fn topic(&self) -> &'static str;

    /// Its counts now.
    fn tally(&self) -> Tally;

    /// Whether it drops messages by its policy when it is full: those that say what a later one says as well.
    fn is_lossy(&self) -> bool {
        false
    }

    /// The messages that were received last, urgent ones before the others, of either the last one first. For when its
    /// reader does not run.
    fn recent(&self) -> [Option<MessageId>; RECENT] {
        [None; RECENT]
    }
}
