//! In place of the faults, where the image is built without them: nothing is made to fail on purpose.

use crate::bus::registry::SharedSource;
use crate::error::Result;
use crate::kernel::disk::DiskFinder;
use crate::kernel::pages::PageMaker;
use crate::kernel::scheduler::Locked;
use crate::kernel::subsystems::STORE;
use crate::kernel::supervision::Ward;
use crate::kernel::this_cpu::ThisCpu;
use crate::memory::MemoryManager;
use crate::memory::frames::FrameSource;
use crate::net::http::Route;
use crate::net::http::relay::Wires;
use crate::platform::clock::CounterClock;
use crate::platform::entropy::KeyedCounter;
use crate::platform::virtio::Transport;
use crate::platform::virtio::network::VirtioNetwork;
use crate::storage::BlockQueue;
use alloc::boxed::Box;

/// The network device as the data plane has it.
pub(in crate::kernel) type NetworkDevice = VirtioNetwork<Transport>;

/// No page.
pub(in crate::kernel) const LINKS: [(&str, &str); 0] = [];

/// None.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Faults(&'static MemoryManager<ThisCpu>);

/// Nothing happens.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Turns;

impl Turns {
    /// A turn begins as it would.
    #[inline(always)]
    pub(in crate::kernel) fn begin(self, _: &Ward) {}
}

impl Faults {
    /// None.
    ///
    /// # Errors
    /// None.
    pub(in crate::kernel) fn new(
        memory: &'static MemoryManager<ThisCpu>,
        _: &'static CounterClock,
        _: &'static Locked<KeyedCounter>,
        _: &DiskFinder,
    ) -> Result<Self> {
        Ok(Self(memory))
    }

    /// Says that there is nothing to arm.
    pub(in crate::kernel) fn arm(self, _: &str) {
        log::error!("boot argument nos.faults: this image is built without fault-injection");
    }

    /// Nothing stands there.
    pub(in crate::kernel) fn attach(self, _: &Wires) {}

    /// Nothing.
    pub(in crate::kernel) fn turns(self) -> Turns {
        Turns
    }

    /// The frames of the store.
    pub(in crate::kernel) fn store_frames(self) -> &'static dyn FrameSource {
        self.0.account(STORE)
    }

    /// The frames that messages between subsystems take.
    pub(in crate::kernel) fn message_frames(self) -> &'static dyn FrameSource {
        self.0
    }

    /// The device itself.
    pub(in crate::kernel) fn network(self, device: VirtioNetwork<Transport>) -> NetworkDevice {
        device
    }

    /// The disk itself.
    ///
    /// # Errors
    /// None.
    #[cfg_attr(
        not(feature = "block-device"),
        expect(dead_code, reason = "there is no disk")
    )]
    pub(in crate::kernel) fn block_queue(
        self,
        queue: Box<dyn BlockQueue>,
    ) -> Result<Box<dyn BlockQueue>> {
        Ok(queue)
    }

    /// Nothing.
    pub(in crate::kernel) fn source(self) -> Option<SharedSource> {
        None
    }
}

impl PageMaker {
    /// No page.
    ///
    /// # Errors
    /// None.
    pub(in crate::kernel) fn fault_route(&'static self) -> Result<Option<Route>> {
        let Faults(_) = self.faults;
        Ok(None)
    }
}
