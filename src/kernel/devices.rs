//! The devices that the image uses: found on virtio-mmio or on PCI, their interrupts bound.
#![allow(
    unsafe_code,
    reason = "devices named by the device tree are handed to their drivers here"
)]

use super::crash::Ending;
use super::ground::Ground;
use super::scheduler::{FiberId, Fibers, Locked};
use crate::arch::aarch64::timer;
use crate::error::{Error, Kind, Result, Subsystem, try_box};
use crate::platform::device_tree::Machine;
use crate::platform::entropy::KeyedCounter;
use crate::platform::interrupts::{self, Binding, Source};
use crate::platform::panic_device::PanicDevice;
use crate::platform::time::Clock;
use crate::platform::virtio::{self, DeviceBus};
use alloc::boxed::Box;
use virtio_drivers::transport::DeviceType;

/// A bus beside virtio-mmio.
pub(super) type Bus = Box<dyn DeviceBus>;

/// Sets the interrupt controller up, and gives the scheduler the interrupts that it needs.
pub(super) fn take_interrupts(ground: &Ground, fibers: Fibers) -> Result<()> {
    let missing = |what| Error::new(Subsystem::Platform, Kind::Missing { what });
    let machine = ground.machine;
    let gic = machine
        .gic
        .as_ref()
        .ok_or(missing("interrupt controller in the device tree"))?;
    let timer = machine
        .timer_interrupt
        .ok_or(missing("timer in the device tree"))?;
    // SAFETY: the tree's controller, mapped by `bring_up`; this is the only call.
    unsafe { interrupts::set_up(gic, machine.cpus.len().max(1), []) }?;
    fibers.install(timer)
}

/// Finds the network device, at boot and again for each incarnation of the data plane.
pub(super) struct NetworkFinder {
    machine: &'static Machine<'static>,
    bus: &'static Locked<Option<Bus>>,
}

impl NetworkFinder {
    /// A finder on `machine` and its other bus, if there is one.
    pub(super) fn new(
        machine: &'static Machine<'static>,
        bus: &'static Locked<Option<Bus>>,
    ) -> Self {
        Self { machine, bus }
    }

    /// Finds the first network device, on virtio-mmio or else on PCI. The transport resets the device when it is
    /// dropped, and a driver does when it begins.
    ///
    /// # Errors
    /// `Missing` if there is none; those of [`DeviceBus::find_virtio`].
    pub(super) fn find(&self) -> Result<virtio::Found> {
        let what = "virtio network device";
        let missing = Error::new(Subsystem::Platform, Kind::Missing { what });
        find(self.machine, self.bus.lock().as_mut(), DeviceType::Network)?.ok_or(missing)
    }

    /// Has the device's interrupt wake `served_by`. Called once.
    ///
    /// # Errors
    /// Those of [`NetworkFinder::find`] and [`interrupts::bind`].
    pub(super) fn bind(&self, fibers: Fibers, served_by: FiberId) -> Result<()> {
        let found = self.find()?;
        let bell = fibers.wake_handle(served_by);
        let quiet = found.quiet;
        interrupts::bind(Binding {
            interrupt: found.interrupt,
            source: Source::Network,
            handler: try_box(move || {
                quiet.acknowledge();
                bell.wake();
            })?,
        })
    }
}

/// Random numbers, from what the machine has: the loader's seed in the device tree, else the virtio entropy device.
/// With neither they can be guessed, and the log says so.
pub(super) fn entropy(ground: &Ground, bus: Option<&mut Bus>) -> KeyedCounter {
    let key = match ground.machine.seed {
        0 => device_key(ground, bus).unwrap_or_else(|error| {
            log::warn!("hashes and sequence numbers can be guessed: {error}");
            u128::from(ground.clock.boot_unix_nanos()) << 64
        }),
        seed => seed,
    };
    KeyedCounter::new(key ^ u128::from(timer::ticks()))
}

/// A key from the virtio entropy device, on virtio-mmio or else on PCI.
fn device_key(ground: &Ground, bus: Option<&mut Bus>) -> Result<u128> {
    let missing = Kind::Missing {
        what: "random seed in the device tree, virtio entropy device",
    };
    let found = find(ground.machine, bus, DeviceType::EntropySource)?;
    let found = found.ok_or(Error::new(Subsystem::Platform, missing))?;
    let key = virtio::entropy::draw(found.transport)?;
    log::info!("random numbers from the virtio entropy device");
    Ok(key)
}

/// Finds the first device of a type, on virtio-mmio or else on PCI.
pub(super) fn find(
    machine: &Machine<'_>,
    bus: Option<&mut Bus>,
    wanted: DeviceType,
) -> Result<Option<virtio::Found>> {
    // SAFETY: the slots are those of the device tree, mapped by `bring_up`; each type is looked for by one user,
    // again only when what used the device before is dead.
    let on_mmio = unsafe { virtio::find_on_mmio(&machine.virtio_mmio, wanted) };
    match (on_mmio, bus) {
        (None, Some(bus)) => bus.find_virtio(machine, wanted),
        (found, _) => Ok(found),
    }
}

/// The panic device, where the image is to end by it; one that cannot be used is logged and done without.
pub(super) fn panic_device(
    ending: Ending,
    bus: Option<&mut Bus>,
) -> Option<&'static dyn PanicDevice> {
    if ending != Ending::Exit {
        return None;
    }
    match bus?.find_panic_device() {
        Ok(found) => found,
        Err(error) => {
            log::warn!("no panic device: {error}");
            None
        }
    }
}
