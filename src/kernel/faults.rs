//! Faults on purpose, where the image has them: its points, joined to what they happen to.
//!
//! Wrappers stand between the parts: before the network device ([`NetworkDevice`]) and the disk, before the frames of the store
//! and of messages; and each turn of a subsystem begins at [`turns`]. What arms the points is the boot argument `nos.faults=` and
//! the page `/faults`.

mod turns;

pub(super) use turns::Turns;

use super::disk::DiskFinder;
use super::pages::PageMaker;
use super::scheduler::Locked;
use super::subsystems::STORE;
use super::this_cpu::ThisCpu;
use crate::bus::registry::SharedSource;
use crate::error::{Result, arc_at_boot, try_box};
use crate::injection::{
    BLOCK_POINTS, FRAME_POINTS, FaultyBlockQueue, FaultyFrames, FaultyNetwork, Group,
    NetworkFaults, Pairs, Registry,
};
use crate::memory::MemoryManager;
use crate::memory::frames::FrameSource;
use crate::metrics::Json;
use crate::net::http::relay::Wires;
use crate::net::http::{JsonPage, Method, Methods, Request, Route};
use crate::platform::clock::CounterClock;
use crate::platform::entropy::KeyedCounter;
use crate::platform::network_device::NetworkDevice as _;
use crate::platform::virtio::Transport;
use crate::platform::virtio::network::{VirtioNetwork, VirtioReceiver, VirtioTransmitter};
use crate::storage::BlockQueue;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// The network device as the data plane has it.
pub(super) type NetworkDevice =
    FaultyNetwork<VirtioReceiver<Transport>, VirtioTransmitter<Transport>>;

/// The index's words on the page.
pub(super) const LINKS: [(&str, &str); 1] = [(
    "/faults",
    "What can be made to fail on purpose, what is armed, and what it did, as JSON",
)];

/// Of so many of the store's newest blocks a bit may flip: some megabytes.
const STORE_BLOCKS: usize = 64;

/// All points of the image. Lives for ever.
#[derive(Clone, Copy)]
pub(super) struct Faults(&'static Parts);

struct Parts {
    registry: Registry,
    network: &'static NetworkFaults,
    store: &'static FaultyFrames,
    messages: &'static FaultyFrames,
    /// Where there is a disk.
    blocks: Option<&'static Group>,
    clock: &'static CounterClock,
    turns: Turns,
}

fn leak<T>(part: T) -> Result<&'static T> {
    Ok(Box::leak(try_box(part)?))
}

impl Faults {
    /// All points, none of them armed; those of a disk if there is one. `lock` is one that some subsystem may hold for ever.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn new(
        memory: &'static MemoryManager<ThisCpu>,
        clock: &'static CounterClock,
        lock: &'static Locked<KeyedCounter>,
        disk: &DiskFinder,
    ) -> Result<Self> {
        let network = leak(NetworkFaults::new(clock)?)?;
        let frames: &'static Group = leak(Group::new(FRAME_POINTS)?)?;
        let store = leak(FaultyFrames::new(
            memory.account(STORE),
            frames,
            STORE_BLOCKS,
        )?)?;
        let messages = leak(FaultyFrames::new(memory, frames, 0)?)?;
        let turns = Turns::new(clock, lock, store)?;
        let mut registry = Registry::new();
        let blocks: Option<&'static Group> = match disk.is_there() {
            true => Some(leak(Group::new(BLOCK_POINTS)?)?),
            false => None,
        };
        let groups = [network.group(), frames, turns.group()];
        for group in groups.into_iter().chain(blocks) {
            registry.add(group)?;
        }
        let parts = Parts {
            registry,
            network,
            store,
            messages,
            blocks,
            clock,
            turns,
        };
        Ok(Self(leak(parts)?))
    }

    /// Arms what the boot argument names.
    pub(super) fn arm(self, text: &str) {
        self.0.registry.obey_all(text, |error| {
            log::error!("boot argument nos.faults: {error}");
        });
    }

    /// Stands between the two that are joined by these wires.
    pub(super) fn attach(self, wires: &Wires) {
        self.0.turns.attach(wires);
    }

    /// What each turn of a subsystem begins with.
    pub(super) fn turns(self) -> Turns {
        self.0.turns
    }

    /// The frames of the store.
    pub(super) fn store_frames(self) -> &'static dyn FrameSource {
        self.0.store
    }

    /// The frames that messages between subsystems take.
    pub(super) fn message_frames(self) -> &'static dyn FrameSource {
        self.0.messages
    }

    /// The network device, with faults before it.
    pub(super) fn network(self, device: VirtioNetwork<Transport>) -> NetworkDevice {
        let described = (device.mac(), device.mtu(), device.checksums());
        let (receiver, transmitter) = device.into_halves();
        FaultyNetwork::new(described, receiver, transmitter, self.0.network)
    }

    /// The disk, with faults before it.
    ///
    /// # Errors
    /// `OutOfMemory`.
    #[cfg_attr(
        not(feature = "block-device"),
        expect(dead_code, reason = "there is no disk")
    )]
    pub(super) fn block_queue(self, queue: Box<dyn BlockQueue>) -> Result<Box<dyn BlockQueue>> {
        let Some(blocks) = self.0.blocks else {
            return Ok(queue);
        };
        Ok(try_box(FaultyBlockQueue::new(queue, blocks, self.0.clock))?)
    }

    /// What a scrape shows of them.
    pub(super) fn source(self) -> Option<SharedSource> {
        Some(arc_at_boot(&self.0.registry))
    }
}

impl PageMaker {
    /// `/faults`.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn fault_route(&'static self) -> Result<Option<Route>> {
        let registry = &self.faults.0.registry;
        let page = JsonPage::new(move |request: &Request<'_>, json: &mut Json<'_>| {
            if request.method == Method::Post {
                registry.obey(&Pairs::of_body(request.body)?)?;
                // One that sleeps would die when something else wakes it.
                for ward in self.wards.get().map_or(&[][..], Vec::as_slice) {
                    self.fibers.wake(ward.fiber);
                }
            }
            registry.write(json);
            Ok(())
        });
        Route::admin("/faults", Methods::GetAndPost, page).map(Some)
    }
}
