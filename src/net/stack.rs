//! The network stack: frames in, service calls, frames out, all in [`Stack::poll`].
//!
//! smoltcp walks its whole socket set for each packet. So each connection has a set of its own, found by
//! the frame's 4-tuple before smoltcp sees the frame (DESIGN.md, "Sockets scale"), and one timer in a wheel.
//! A request costs the same with one connection and with ten thousand.
//!
//! One poll: timers that are due and frames that have come mark flows; then each marked flow takes one
//! turn (its service is called, what it wrote is sent), so that a burst of frames for one flow is answered
//! by as few segments as hold the answer; then the services' own deadlines; then the device is kicked, once.
//!
//! Invariants: every flow that needs something has a timer armed, is in the list of marked flows, or waits
//! for a neighbour's address with a timer armed. Nothing here blocks, and nothing walks all flows but a
//! change of our address.
//!
//! The parts: `ingress` (a frame to its flow), `turns` (flows that have something to do), `time_wait` (connections
//! that are over), this file (the order of things). Runs on one CPU; `&mut self` is the lock. Its stack needs 16 KiB: an interface of smoltcp
//! with 256 neighbours is made there for each SYN.

use super::config::StackConfig;
use super::counters::NetworkCounters;
use super::flow::FlowPolicy;
use super::flow_table::{FlowTable, Queue};
use super::ingress::FRAMES_PER_POLL;
use super::isn::SequenceNumbers;
use super::link::{Link, Moment};
use super::peers::{Orphans, PeerTable};
use super::schedule::Schedule;
use super::service::{Output, Service};
use super::system::{Address, System};
use super::time_wait::TimeWait;
use crate::error::{Error, Kind, Result, Subsystem};
use crate::platform::network_device::NetworkDevice;
use crate::platform::time::Instant;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

/// Secrets of the stack, from a source of true randomness.
#[derive(Clone, Copy)]
pub struct Secrets {
    /// Key of the initial sequence numbers (RFC 6528).
    pub sequence_key: [u64; 2],
    /// Seed of the flow table's hash.
    pub hash_seed: u64,
    /// Seed of DHCP transaction numbers.
    pub interface_seed: u64,
}

/// What a poll found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Nothing to do.
    Idle,
    /// Something was done, and nothing is left before [`Stack::deadline`] or the next frame.
    Done,
    /// Something is left that can be done now: poll again.
    More,
}

/// The TCP/IP stack on one device, and the services on its ports.
pub struct Stack<D: NetworkDevice> {
    pub(super) link: Link<D>,
    pub(super) system: System,
    pub(super) flows: FlowTable,
    pub(super) half_open: Queue,
    pub(super) time_wait: TimeWait,
    pub(super) schedule: Schedule,
    pub(super) services: Vec<Box<dyn Service>>,
    /// What a service writes; empty between turns.
    pub(super) output: Output,
    pub(super) config: StackConfig,
    pub(super) policy: FlowPolicy,
    pub(super) numbers: SequenceNumbers,
    /// Who is connected, for the next stack to know.
    pub(super) peers: &'static PeerTable,
    /// Who was connected to the last one and is to be told.
    orphans: Orphans,
    /// Turns taken in this poll.
    pub(super) turns: usize,
    /// The services' earliest deadline, as the last poll left it; [`Instant::NEVER`] for none.
    service_deadline: Instant,
}

impl<D: NetworkDevice> Stack<D> {
    /// Sets up the stack; a DHCP client sends its first message in the first poll.
    ///
    /// # Errors
    /// `OutOfMemory`; `Device` if the device's address or packet length cannot be used; `Duplicate` if two
    /// services want one port.
    pub fn new(
        device: D,
        config: StackConfig,
        services: Vec<Box<dyn Service>>,
        secrets: Secrets,
        counters: Arc<NetworkCounters>,
        now: Instant,
    ) -> Result<Self> {
        let is_taken = |at: usize| {
            let port = services[at].port();
            services[..at].iter().any(|other| other.port() == port)
        };
        if (0..services.len()).any(is_taken) {
            let name = "a service's port";
            return Err(Error::new(Subsystem::Network, Kind::Duplicate { name }));
        }
        let at = Moment::new(now);
        let mut link = Link::new(device, secrets.interface_seed, counters, at)?;
        let system = System::new(&config.address, &mut link.interface, at)?;
        let (limit, spare) = (config.connection_limit, config.spare_sockets);
        Ok(Self {
            link,
            system,
            flows: FlowTable::new(limit, spare, secrets.hash_seed),
            service_deadline: {
                let deadlines = services.iter().filter_map(|service| service.deadline());
                deadlines.min().unwrap_or(Instant::NEVER)
            },
            half_open: Queue::default(),
            time_wait: TimeWait::new(config.time_wait_limit, secrets.hash_seed)?,
            schedule: Schedule::new(now),
            services,
            output: Output::new(),
            policy: FlowPolicy::new(&config),
            config,
            numbers: SequenceNumbers::new(secrets.sequence_key),
            peers: PeerTable::NONE,
            orphans: Orphans::default(),
            turns: 0,
        })
    }

    /// Notes in `peers` who is connected, from now on. Those whom a stack before this one left there are told that
    /// their connections have ended, each time the address is announced first.
    ///
    /// # Errors
    /// `OutOfMemory`: then they are told when they next send.
    pub fn remember_in(&mut self, peers: &'static PeerTable) -> Result<()> {
        self.peers = peers;
        let services = &self.services;
        let is_ours = |port| services.iter().any(|service| service.port() == port);
        self.orphans = peers.take_all(|key| is_ours(key.port()))?;
        Ok(())
    }

    /// Does what is to be done now. Call it when a frame has come, when [`Stack::deadline`] has, and again
    /// when it says so.
    pub fn poll(&mut self, now: Instant) -> Activity {
        let at = Moment::new(now);
        self.mark_due(now);
        if self.time_wait.next_deadline() <= now {
            self.end_time_wait(now);
        }
        self.take_frames(at);
        if self.system.deadline() <= now {
            self.run_system(at);
        }
        if self.schedule.has_marked() {
            self.take_turns(at);
        }
        self.run_services(at);
        self.settle()
    }

    /// Memory is short: gives back the sockets kept for reuse and, of each service, about `bytes` of what it can spare.
    /// False if there is nothing left to give.
    pub fn relieve(&mut self, bytes: u64, now: Instant) -> bool {
        let mut gave = self.flows.give_up_spare();
        for service in &mut self.services {
            gave |= service.relieve(bytes, now);
        }
        gave
    }

    /// When [`Stack::poll`] has to be called if no frame comes before.
    pub fn deadline(&self) -> Option<Instant> {
        let others = self.system.deadline().min(self.time_wait.next_deadline());
        let nearest = self.schedule.next_deadline().min(self.service_deadline);
        Some(nearest.min(others)).filter(|&at| at != Instant::NEVER)
    }

    /// Our address, once there is one.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.system.address()
    }

    /// True once there is an address, and clients can connect.
    pub fn is_configured(&self) -> bool {
        self.address().is_some()
    }

    /// Connections there are, in whatever state.
    pub fn connections(&self) -> usize {
        self.flows.len() + self.time_wait.len()
    }

    /// The device, for what drives it to ask whether frames have come.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.link.device
    }

    /// Lets the DHCP client send, announces our address, and follows what the client has learnt.
    pub(super) fn run_system(&mut self, at: Moment) {
        self.link.send_system(&mut self.system.sockets, at);
        // An announcement stays due until all have been told.
        if let Some(network) = self.system.owes_announcement(at.now)
            && self.link.tell(&mut self.orphans, network, at)
            && self.link.announce(network.address())
        {
            self.system.note_announced(at.now);
            self.orphans.end_round();
        }
        match self.system.follow_lease(&mut self.link.interface, at) {
            Ok(Address::Kept) => {}
            // Flows of the old address find out that they have lost it; what is over is forgotten.
            Ok(Address::Changed) => {
                self.end_time_wait(Instant::NEVER);
                (0..self.flows.slots()).for_each(|slot| self.schedule.mark(slot));
            }
            Err(error) => log::error!("the DHCP lease cannot be used: {error}"),
        }
    }

    /// Runs the services' own deadlines and ends the connections that they want ended.
    fn run_services(&mut self, at: Moment) {
        let mut earliest = Instant::NEVER;
        for index in 0..self.services.len() {
            let service = &mut self.services[index];
            let mut agenda = service.agenda();
            if agenda.deadline <= at.now {
                service.tick(at.now);
                agenda = service.agenda();
            }
            if agenda.has_news && self.hear(index, at.now) {
                self.take_turns(at);
                // A deadline that came into being in these turns and is past already has the next poll follow at once.
                agenda = self.services[index].agenda();
                if agenda.has_news {
                    // So do news of these turns.
                    agenda.deadline = at.now;
                }
            }
            earliest = earliest.min(agenda.deadline);
        }
        self.service_deadline = earliest;
    }

    /// Marks the connections that a service has something for though nothing came from them; false if there are none.
    fn hear(&mut self, service: usize, now: Instant) -> bool {
        let mut is_any_marked = false;
        while let Some(id) = self.services[service].take_doomed() {
            self.cut(id, now);
            is_any_marked = true;
        }
        while let Some(id) = self.services[service].take_ready() {
            self.call_again(id);
            is_any_marked = true;
        }
        is_any_marked
    }

    /// Tells the device, the counters and the caller what this poll did.
    fn settle(&mut self) -> Activity {
        let tally = self.link.settle();
        let turns = core::mem::take(&mut self.turns);
        let is_cut_short = tally.received_frames >= FRAMES_PER_POLL || tally.is_exhausted;
        if is_cut_short || self.schedule.has_marked() {
            Activity::More
        } else if turns > 0 || tally.received_frames > 0 || tally.sent_bytes > 0 {
            Activity::Done
        } else {
            Activity::Idle
        }
    }
}
