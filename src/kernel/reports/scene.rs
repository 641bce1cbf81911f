//! What the image was at when something died: the last messages of who ran, memory, the bus, the client's command.
//!
//! A dying image looks as well, so nothing here takes a lock: all of it is counters.

use crate::app::Application;
use crate::bus::registry::{Registry, Row};
use crate::bus::{MessageId, Port, RECENT, Reason, Tally};
use crate::kernel::crash::{Tell, Witness};
use crate::kernel::this_cpu::ThisCpu;
use crate::memory::accounts::{Owner, Usage};
use crate::memory::frames::{FrameSource, PAGE_SIZE};
use crate::memory::{MemoryManager, Pressure};
use alloc::sync::Arc;
use heapless::Vec;

/// Messages told: the last of three queues.
const MESSAGES_MAX: usize = 3 * RECENT;
/// Queues told; the image has eight.
const QUEUES_MAX: usize = 12;

/// A message that was received.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Received {
    /// The topic that its queue is of.
    pub(in crate::kernel) topic: &'static str,
    /// Who sent it: a subsystem, or the supervisor.
    pub(in crate::kernel) sender: &'static str,
    /// Which of its sender's messages it is.
    pub(in crate::kernel) number: u64,
}

/// What the image was at.
#[derive(Clone, Debug)]
pub(in crate::kernel) struct Scene {
    /// The messages that the subsystem received last, by topic.
    pub(in crate::kernel) messages: Vec<Received, MESSAGES_MAX>,
    /// How short memory was.
    pub(in crate::kernel) pressure: Pressure,
    /// Bytes of memory that are managed, and those of them that are charged to anybody.
    pub(in crate::kernel) total_bytes: u64,
    pub(in crate::kernel) used_bytes: u64,
    /// What the subsystem was charged with.
    pub(in crate::kernel) usage: Usage,
    /// All queues.
    pub(in crate::kernel) queues: Vec<(&'static str, Tally), QUEUES_MAX>,
    /// The command that a client had sent and that was being run, by its name alone.
    pub(in crate::kernel) command: Option<&'static str>,
}

/// Where to look.
pub(in crate::kernel) struct Surroundings {
    pub(in crate::kernel) memory: &'static MemoryManager<ThisCpu>,
    pub(in crate::kernel) registry: &'static Arc<Registry>,
    pub(in crate::kernel) application: &'static dyn Application,
}

impl Surroundings {
    /// What the image is at, seen from that subsystem.
    pub(in crate::kernel) fn scene(&self, subsystem: &str) -> Scene {
        let row = self.registry.find(subsystem);
        let own = row.map_or(&[][..], Row::queues).iter();
        let messages = own.flat_map(|queue| {
            let recent = queue.recent().into_iter().flatten();
            recent.map(|id| self.received(queue.topic(), id))
        });
        let owner = row
            .and_then(Row::port)
            .map_or(Owner::KERNEL, |port| port.owner());
        let used = |owner: Owner| self.memory.usage(owner).used_bytes;
        let queues = self.registry.rows().iter().flat_map(Row::queues);
        let queues = queues.map(|queue| (queue.topic(), queue.tally()));
        Scene {
            messages: Vec::from_iter(messages.take(MESSAGES_MAX)),
            pressure: self.memory.pressure(),
            total_bytes: self.memory.total_frames() * PAGE_SIZE as u64,
            used_bytes: Owner::all().map(used).sum(),
            usage: self.memory.usage(owner),
            queues: Vec::from_iter(queues.take(QUEUES_MAX)),
            command: self.application.command(),
        }
    }

    fn received(&self, topic: &'static str, id: MessageId) -> Received {
        let is_sender = |port: &&Arc<Port>| port.id() == id.sender();
        let mut ports = self.registry.rows().iter().filter_map(Row::port);
        Received {
            topic,
            // Who has no row is the supervisor.
            sender: ports
                .find(is_sender)
                .map_or("supervisor", |port| port.name()),
            number: id.count(),
        }
    }
}

impl Witness for Surroundings {
    fn tell(&self, running: &str, tell: Tell<'_>) {
        self.scene(running).tell(tell);
    }
}

impl Scene {
    /// Tells it in lines.
    pub(in crate::kernel) fn tell(&self, tell: Tell<'_>) {
        if let Some(command) = self.command {
            tell(format_args!("a client's command: {command}\n"));
        }
        for received in &self.messages {
            let Received {
                topic,
                sender,
                number,
            } = received;
            tell(format_args!(
                "received: message {number} of {sender} on {topic}\n"
            ));
        }
        tell(format_args!(
            "memory: pressure {}, {} of {} bytes in use, {} of them its own\n",
            self.pressure.name(),
            self.used_bytes,
            self.total_bytes,
            self.usage.used_bytes
        ));
        for (topic, tally) in &self.queues {
            tell(format_args!(
                "queue {topic}: {} waiting, {} delivered, {} dropped\n",
                tally.depth,
                tally.delivered,
                dropped(tally)
            ));
        }
    }
}

/// Messages dropped for whatever reason.
pub(in crate::kernel) fn dropped(tally: &Tally) -> u64 {
    let counts = Reason::ALL.iter().map(|&reason| tally.dropped(reason));
    counts.sum()
}
