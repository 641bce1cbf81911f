//! What a supervised part of the image is, and the task that runs it.
//!
//! The composition root makes its port, mailboxes and control service once; each incarnation is built anew by
//! a constructor that gets what it needs, [`launch`]ed on a fresh executor, and gone without a destructor if
//! it faults. What it must not lose it keeps in a checkpoint or in memory of another owner.

use super::envelope::{Envelope, Message};
use super::executor::Executor;
use super::mailbox::Mailbox;
use super::parcel::{Owner, Parcel};
use super::port::Port;
use super::service::Service;
use crate::error::Result;
use alloc::sync::Arc;
use core::future::poll_fn;
use core::task::Poll;

/// What the registry shows of a part, and orders and finds parts by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Its name; unique, and the value of the label `subsystem`.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Names of the parts that must run before it starts.
    pub dependencies: &'static [&'static str],
    /// What it does for others, by the name that others look for.
    pub capabilities: &'static [&'static str],
    /// Topics that it publishes.
    pub topics: &'static [&'static str],
}

/// How a part finds itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does all it is for.
    Good,
    /// It does what it is for, but says what is wrong.
    Degraded(&'static str),
    /// It does not, and says why.
    Failed(&'static str),
}

impl Health {
    /// Whether the health check passed.
    pub fn passed(self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}

/// A supervised part of the image. What a method does by default is right for one that has nothing of that kind to do.
pub trait Subsystem: 'static {
    /// What others send to it.
    type Message: Message;

    /// What it is. The same for every incarnation.
    fn profile(&self) -> Profile;

    /// Begins: spawns what tasks it needs beside the one that hands it its messages.
    ///
    /// # Errors
    /// Whatever keeps it from starting; the supervisor counts that as a death.
    fn start(&mut self, _executor: &mut Executor) -> Result<()> {
        Ok(())
    }

    /// Handles a message.
    ///
    /// # Errors
    /// Whatever keeps it from doing so; logged, and the message is done with.
    fn handle(&mut self, message: Envelope<Self::Message>) -> Result<()>;

    /// How it finds itself, from what it knows already.
    fn health(&self) -> Health {
        Health::Good
    }

    /// Writes what a later incarnation needs into `out`; returns how many bytes of it are used.
    ///
    /// # Errors
    /// `LimitReached` if `out` is too small.
    fn checkpoint(&self, _out: &mut [u8]) -> Result<usize> {
        Ok(0)
    }

    /// Takes up what an earlier incarnation wrote, before it starts.
    ///
    /// # Errors
    /// `Protocol` or `UnknownVersion` if it cannot be read; it is then as it was made.
    fn restore(&mut self, _from: &[u8]) -> Result<()> {
        Ok(())
    }

    /// Ends in order: the last thing that is asked of it.
    ///
    /// # Errors
    /// Whatever it could not finish; it ends all the same.
    fn stop(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What the supervisor asks of a subsystem that runs. Sent urgent by whoever wants it before the mail.
#[derive(Debug)]
pub enum Control {
    /// How it finds itself.
    Health,
    /// To write a checkpoint into the parcel.
    Checkpoint(Parcel),
    /// To end.
    Stop,
}

/// What a subsystem answers to [`Control`].
#[derive(Debug)]
pub enum Report {
    /// How it finds itself.
    Health(Health),
    /// The checkpoint and how many bytes of it are used.
    Checkpoint(Parcel, usize),
    /// It has ended.
    Stopped,
}

impl Message for Control {
    fn recharge(&mut self, to: Owner) {
        if let Self::Checkpoint(parcel) = self {
            parcel.recharge(to);
        }
    }
}

impl Message for Report {
    fn recharge(&mut self, to: Owner) {
        if let Self::Checkpoint(parcel, _) = self {
            parcel.recharge(to);
        }
    }
}

/// How a subsystem is asked for what the supervisor wants.
pub type Controls = Service<Control, Report>;

/// What is sent to a subsystem that takes its messages where it uses them: nothing.
#[derive(Clone, Copy, Debug)]
pub enum Never {}

impl Message for Never {}

/// Answers what the supervisor asks of a subsystem that runs its own loop instead of an executor; true if that was to
/// end, which it has.
#[cold]
pub fn attend<S: Subsystem>(subsystem: &mut S, port: &Port, controls: &Controls) -> bool {
    while let Some(Envelope {
        correlation, body, ..
    }) = controls.try_next()
    {
        let (report, ends) = obey(subsystem, body);
        // As in `serve`.
        let _ = controls.reply(port, correlation, report);
        if ends {
            return true;
        }
    }
    false
}

/// Starts a subsystem on its executor, with a task that hands it messages and controls until it is stopped.
///
/// # Errors
/// What its start answers; `OutOfMemory` or `LimitReached` if there is no room for the task.
pub fn launch<S: Subsystem>(
    mut subsystem: S,
    executor: &mut Executor,
    mailbox: Arc<Mailbox<S::Message>>,
    controls: Arc<Controls>,
) -> Result<()> {
    subsystem.start(executor)?;
    let port = executor.port().clone();
    executor.spawn(serve(subsystem, port, mailbox, controls))
}

enum Next<M> {
    Asked(Envelope<Control>),
    Sent(Envelope<M>),
}

async fn serve<S: Subsystem>(
    mut subsystem: S,
    port: Arc<Port>,
    mailbox: Arc<Mailbox<S::Message>>,
    controls: Arc<Controls>,
) {
    loop {
        // Controls first: a full mailbox must not keep a subsystem from being stopped.
        let next = poll_fn(|_| match controls.poll_next() {
            Poll::Ready(control) => Poll::Ready(Next::Asked(control)),
            Poll::Pending => mailbox.poll_receive().map(Next::Sent),
        });
        match next.await {
            Next::Sent(message) => {
                let id = message.id;
                if let Err(error) = subsystem.handle(message) {
                    let name = port.name();
                    log::warn!("{name}: message {:#x} failed: {error}", id.as_u64());
                }
            }
            Next::Asked(Envelope {
                correlation, body, ..
            }) => {
                let (report, ends) = obey(&mut subsystem, body);
                // Who gave up waiting is counted as such by the service.
                let _ = controls.reply(&port, correlation, report);
                if ends {
                    return;
                }
            }
        }
    }
}

fn obey<S: Subsystem>(subsystem: &mut S, control: Control) -> (Result<Report>, bool) {
    match control {
        Control::Health => (Ok(Report::Health(subsystem.health())), false),
        Control::Checkpoint(mut parcel) => {
            let used = subsystem.checkpoint(&mut parcel);
            (used.map(|used| Report::Checkpoint(parcel, used)), false)
        }
        Control::Stop => (subsystem.stop().map(|()| Report::Stopped), true),
    }
}
