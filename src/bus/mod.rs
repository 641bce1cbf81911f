//! The spine: what subsystems are joined by, found through and supervised with. Plain Rust, tested on the host.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `envelope`, `parcel` | what travels; bodies of many bytes, and who is charged for them |
//! | `ring`, `mailbox`, `topic` | queues, with many senders each; who hears what is published |
//! | `replies`, `service` | questions and answers |
//! | `ready`, `port`, `executor` | waking; a subsystem's place on the bus; its tasks |
//! | `registry` | what there is |
//! //! | `sync`, `models` | the atomics, and the models that loom checks |

pub mod envelope;
pub mod executor;
pub mod mailbox;
#[cfg(all(test, loom))]
mod models;
pub mod parcel;
pub mod port;
pub mod ready;
pub mod registry;
mod replies;
mod ring;
pub mod service;
mod sync;
pub mod tally;
#[cfg(all(test, not(loom)))]
mod testing;
#[cfg(all(test, not(loom)))]
mod tests;
pub mod topic;

pub use envelope::{Address, Envelope, Message, MessageId, NEVER, Priority, SubsystemId, TopicId};
pub use executor::{Executor, Step};
pub use mailbox::{Mailbox, Plan, Policy, Sent};
pub use parcel::{Charge, Owner, Parcel};
pub use port::{Exchange, Port};
pub use ready::{Bell, Mute};
pub use service::Service;
pub use tally::{Queue, Reason, Tally};
pub use topic::{Published, Topic};
