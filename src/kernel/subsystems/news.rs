//! What subsystems are told of the image as a whole.

use crate::bus::Message;
use crate::memory::Pressure;

/// The name of the topic on which pressure on memory is told.
pub(in crate::kernel) const PRESSURE_TOPIC: &str = "memory.pressure";

/// News for subsystems. One type for all: a mailbox is made for each kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernel) enum News {
    /// The data plane did some work. Sent at most once a sampling interval; a full mailbox drops the oldest, which
    /// says the same.
    WorkDone,
    /// The data plane is to give back as much as it finds told beside this: from the diagnosis. Any later news does as
    /// well, so none need be kept.
    Shed,
    /// Memory has become so short: from the supervisor to who subscribed, when the level is another than it told last. A
    /// full mailbox drops the oldest, as the newest says what holds.
    Pressure(Pressure),
}

impl Message for News {}
