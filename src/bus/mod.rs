//! The spine: what subsystems are joined by, found through and supervised with. Plain Rust, tested on the host.
//!
//! How the parts join, in the order in which the composition root makes them:
//!
//! 1. An [`Exchange`]; in it a [`Port`] for each subsystem, made from a name, an [`Owner`] and a [`Bell`] (the
//!    kernel's wakes the subsystem's fiber). Ports, and all that follows here, outlive every restart.
//! 2. For each subsystem a [`Mailbox`] of its messages, and [`subsystem::Controls`] by which the supervisor
//!    asks for its health, a checkpoint, its end; where others ask for answers a [`Service`]; [`Topic`]s for what
//!    concerns many.
//! 3. A row each in the [`registry::Registry`]: profile, port, source of metrics, queues. Its `start_order`
//!    refuses a missing dependency and a cycle, by name; for what is constant [`registry::constant_start_order`] does,
//!    when the image is built.
//! 4. A [`supervisor::Supervisor`] tree over the same names; `start_all` says whom to start.
//!
//! A fiber's body, for each incarnation: make an [`Executor`] for the port, build the subsystem, restore its
//! checkpoint if there is one, [`subsystem::launch`] it, and then for ever
//! `loop { let deadline = executor.run(clock); park_until(deadline); }`.
//!
//! After a death the kernel, on the supervisor's fiber and with the dead one's stopped (a kill waits until
//! [`Port::is_in_section`] is false), does in this order: `registry.set_dead`; `port.end_incarnation`;
//! `service.server_died` on each service that it answered, `service.client_died` on each that it may have asked;
//! `supervisor.died`, and carries out the actions: a start makes a new executor on the same port.
//! Mailboxes stay open meanwhile, so messages wait for the next incarnation; if there is none, `mailbox.close`.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `envelope`, `parcel` | what travels; bodies of many bytes, and who is charged for them |
//! | `ring`, `mailbox`, `topic` | queues, with many senders each; who hears what is published |
//! | `replies`, `service` | questions and answers |
//! | `ready`, `port`, `executor` | waking; a subsystem's place on the bus; its tasks |
//! | `ready_set` | the fibers of a CPU that were woken, for the kernel's scheduler |
//! | `subsystem`, `registry`, `supervisor` | what is supervised, what there is, what is done after a death |
//! | `sync`, `models` | the atomics, and the models that loom checks |

pub mod envelope;
pub mod executor;
pub mod mailbox;
pub mod metrics;
#[cfg(all(test, loom))]
mod models;
pub mod parcel;
pub mod port;
pub mod ready;
pub mod ready_set;
pub mod registry;
mod replies;
mod ring;
pub mod service;
pub mod subsystem;
pub mod supervisor;
mod sync;
pub mod tally;
#[cfg(all(test, not(loom)))]
mod testing;
#[cfg(all(test, not(loom)))]
mod tests;
pub mod topic;
pub mod wire;

pub use envelope::{Address, Envelope, Message, MessageId, NEVER, Priority, SubsystemId, TopicId};
pub use executor::{Executor, Step};
pub use mailbox::{Mailbox, Plan, Policy, Sent};
pub use parcel::{Charge, Owner, Parcel};
pub use port::{Exchange, Port};
pub use ready::{Bell, Mute};
pub use service::Service;
pub use subsystem::{Health, Profile, Subsystem};
pub use tally::{Queue, RECENT, Reason, Tally};
pub use topic::{Published, Topic};
