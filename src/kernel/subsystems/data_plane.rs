//! The data plane: network, protocol and store operations, run to completion on one CPU, as the fiber that ranks
//! highest there but for the supervisor's.
//!
//! Each incarnation finds its device anew, which resets it, and takes what outlives it from the application. Its
//! requests use no message; only what HTTP and the diagnosis want does.

#![allow(
    unsafe_code,
    reason = "each incarnation is the kernel's word that the one before is dead"
)]

use super::News;
use crate::app::{Application, Environment, Incarnation};
use crate::arch::aarch64::cpu;
use crate::bus::{Envelope, Health, Mailbox, Port, Profile, Subsystem};
use crate::error::{Grow, Result, try_box};
use crate::kernel::devices::NetworkFinder;
use crate::kernel::disk::DiskFinder;
use crate::kernel::faults::{Faults, NetworkDevice};
use crate::kernel::scheduler::{FiberId, Fibers, Locked};
use crate::kernel::supervision::{Body, Ward};
use crate::kernel::system::System;
use crate::kernel::this_cpu::ThisCpu;
use crate::memory::{MemoryManager, Pressure};
use crate::net::config::StackConfig;
use crate::net::counters::NetworkCounters;
use crate::net::http::Relay;
use crate::net::http::relay::{Parcels, Wires};
use crate::net::peers::PeerTable;
use crate::net::stack::{Activity, Secrets, Stack};
use crate::platform::clock::CounterClock;
use crate::platform::console::print;
use crate::platform::entropy::{Entropy, KeyedCounter};
use crate::platform::network_device::{NetworkDevice as _, Receiver};
use crate::platform::time::{Clock, Duration, Instant};
use crate::platform::virtio::network::VirtioNetwork;
use alloc::sync::Arc;
use core::convert::Infallible;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// What it is.
pub(in crate::kernel) const PROFILE: Profile = Profile {
    name: super::DATA_PLANE.name,
    version: env!("CARGO_PKG_VERSION"),
    dependencies: &[],
    capabilities: &["network", "keyspace"],
    topics: &[super::PRESSURE_TOPIC],
};

/// Bytes that one turn gives back under pressure: requests wait meanwhile.
const RELIEF_BYTES: u64 = 64 << 10;

/// What every incarnation is made from.
pub(in crate::kernel) struct DataPlaneBody {
    pub(in crate::kernel) fibers: Fibers,
    pub(in crate::kernel) clock: &'static CounterClock,
    pub(in crate::kernel) system: Arc<System>,
    pub(in crate::kernel) device: NetworkFinder,
    pub(in crate::kernel) faults: Faults,
    pub(in crate::kernel) disk: &'static DiskFinder,
    pub(in crate::kernel) application: &'static dyn Application,
    pub(in crate::kernel) environment: Environment,
    pub(in crate::kernel) network: StackConfig,
    pub(in crate::kernel) counters: Arc<NetworkCounters>,
    /// Who is connected: it outlives each incarnation, so that the next ends what that one left open.
    pub(in crate::kernel) peers: &'static PeerTable,
    pub(in crate::kernel) entropy: &'static Locked<KeyedCounter>,
    pub(in crate::kernel) http_port: u16,
    pub(in crate::kernel) http: FiberId,
    pub(in crate::kernel) wires: Wires,
    pub(in crate::kernel) parcels: Parcels,
    pub(in crate::kernel) diagnosis: Arc<Mailbox<News>>,
    /// Where it hears that memory is short.
    pub(in crate::kernel) news: Arc<Mailbox<News>>,
    /// How much the diagnosis wants given back, told before it says so.
    pub(in crate::kernel) shed_bytes: &'static AtomicU64,
    pub(in crate::kernel) memory: &'static MemoryManager<ThisCpu>,
    pub(in crate::kernel) sample_interval: Duration,
    /// True once clients can connect.
    pub(in crate::kernel) is_ready: &'static AtomicBool,
}

/// One incarnation.
struct DataPlane {
    stack: Stack<NetworkDevice>,
    body: &'static DataPlaneBody,
    ward: &'static Ward,
    port: Arc<Port>,
    /// When the diagnosis is told of work again, at the earliest.
    tells_at: Instant,
    /// Memory is short: each turn gives back what can be spared.
    is_pressed: bool,
    /// What is to be given back though memory is not short.
    shed_bytes: u64,
}

impl Body for DataPlaneBody {
    fn run(&'static self, ward: &'static Ward) -> Result<Infallible> {
        let device = VirtioNetwork::new(self.device.find()?.transport)?;
        let device = self.faults.network(device);
        // SAFETY: the supervisor starts this incarnation when the one before is dead and cleared away; its number
        // was never used before.
        let incarnation = unsafe { Incarnation::new(1 + ward.port.incarnation()) };
        let mut services = self.application.serve(self.environment, &incarnation)?;
        services.try_reserve(1)?;
        let relay = Relay::new(&self.wires, self.parcels, self.http_port);
        services.push_reserved(try_box(relay)?);
        let secrets = {
            let mut entropy = self.entropy.lock();
            Secrets {
                sequence_key: [entropy.next(), entropy.next()],
                hash_seed: entropy.next(),
                interface_seed: entropy.next(),
            }
        };
        let mut stack = Stack::new(
            device,
            self.network.clone(),
            services,
            secrets,
            self.counters.clone(),
            self.clock.now(),
        )?;
        if let Err(error) = stack.remember_in(self.peers) {
            log::warn!("clients of the data plane before are told when they send: {error}");
        }
        if !self.is_ready.load(Relaxed) {
            self.system.stage_done("network");
        }
        let data_plane = DataPlane {
            stack,
            body: self,
            ward,
            port: ward.port.clone(),
            tells_at: Instant::ZERO,
            is_pressed: self.memory.pressure() != Pressure::None,
            shed_bytes: 0,
        };
        data_plane.run()
    }

    fn quiet(&self) {
        // A transport that is dropped resets its device: from then on it writes to no memory.
        match self.device.find() {
            Ok(found) => drop(found),
            Err(error) => log::error!("the network device cannot be reset: {error}"),
        }
        self.disk.quiet();
        self.counters.forget_connections();
    }

    fn mourn(&self) {
        // It looks at this subsystem's incarnation when it runs.
        self.fibers.wake(self.http);
    }
}

impl Subsystem for DataPlane {
    // The relay takes what HTTP sends; requests come from the network.
    type Message = News;

    fn profile(&self) -> Profile {
        PROFILE
    }

    fn handle(&mut self, message: Envelope<News>) -> Result<()> {
        if let News::Pressure(pressure) = message.body {
            self.is_pressed = pressure != Pressure::None;
        }
        self.shed_bytes += self.body.shed_bytes.swap(0, Relaxed);
        self.is_pressed |= self.shed_bytes > 0;
        Ok(())
    }

    fn health(&self) -> Health {
        match self.stack.is_configured() {
            true => Health::Good,
            false => Health::Degraded("it has no address yet"),
        }
    }

    fn stop(&mut self) -> Result<()> {
        self.body.quiet();
        Ok(())
    }
}

impl DataPlane {
    /// Serves for good.
    fn run(mut self) -> ! {
        let ward = self.ward;
        loop {
            ward.begin_turn();
            if ward.attend(&mut self) {
                self.body.fibers.rest();
            }
            if self.body.news.depth() > 0 {
                self.hear();
            }
            let now = self.body.clock.now();
            let activity = self.stack.poll(now);
            if self.stack.is_configured() {
                self.tell_ready();
            }
            // Only work brings about a sample: an idle image sleeps.
            if activity != Activity::Idle && now >= self.tells_at {
                self.tells_at = now + self.body.sample_interval;
                // Keys may have come since that can be spared, or a policy that lets them go.
                self.is_pressed |= self.body.memory.pressure() != Pressure::None;
                // A full mailbox drops the oldest, which says the same.
                let _ = self.body.diagnosis.send(&self.port, News::WorkDone);
            }
            if self.is_pressed && self.relieve(now) || activity == Activity::More {
                self.body.fibers.beat();
            } else {
                self.sleep();
            }
        }
    }

    /// Reads the news.
    #[cold]
    fn hear(&mut self) {
        while let Some(message) = self.body.news.try_receive() {
            // It cannot fail.
            let _ = self.handle(message);
        }
    }

    /// Gives back a part of what is missing; true if it could, and more is missing.
    #[cold]
    fn relieve(&mut self, now: Instant) -> bool {
        let missing = self.body.memory.missing_bytes().max(self.shed_bytes);
        let part = missing.min(RELIEF_BYTES);
        self.is_pressed = part > 0 && self.stack.relieve(part, now);
        self.shed_bytes = match self.is_pressed {
            true => self.shed_bytes.saturating_sub(part),
            // It has no more to give.
            false => 0,
        };
        self.is_pressed
    }

    #[inline]
    fn tell_ready(&mut self) {
        if !self.ward.was_up() {
            self.come_up();
        }
    }

    #[cold]
    fn come_up(&mut self) {
        self.ward.is_up();
        if !self.body.is_ready.swap(true, Relaxed) {
            self.body.system.stage_done("ready");
            print(format_args!("nos: ready\n"));
        }
    }

    /// Sleeps until a frame, another interrupt or the stack's deadline; not at all if a frame is there.
    fn sleep(&mut self) {
        let deadline = self.stack.deadline();
        // A frame that comes from here on ends the sleep: masked, its interrupt is served there and not taken.
        cpu::mask_interrupts();
        let (receiver, _) = self.stack.device_mut().split();
        if receiver.await_interrupt() {
            self.body.fibers.park(deadline);
        } else {
            cpu::unmask_interrupts();
            self.body.fibers.beat();
        }
    }
}
