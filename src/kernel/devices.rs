//! The devices that the image uses: found on virtio-mmio or on PCI, their interrupts bound.
#![allow(
    unsafe_code,
    reason = "devices named by the device tree are handed to their drivers here"
)]

use super::crash::Ending;
use super::ground::Ground;
use crate::arch::aarch64::timer;
use crate::error::{Error, Kind, Result, Subsystem};
use crate::platform::interrupts::{self, Binding, Source};
use crate::platform::panic_device::PanicDevice;
use crate::platform::pci::PciBus;
use crate::platform::virtio::network::VirtioNetwork;
use crate::platform::virtio::{find_on_mmio, find_on_pci};
use alloc::boxed::Box;
use virtio_drivers::transport::{DeviceType, SomeTransport};

/// The network device, on whichever transport it was found.
pub(super) type NetworkDevice = VirtioNetwork<SomeTransport<'static>>;

/// Finds the first network device, on virtio-mmio or else on PCI, and binds its interrupt and the timer's.
pub(super) fn take_network(ground: &Ground, bus: Option<&mut PciBus>) -> Result<NetworkDevice> {
    let missing = |what| Error::new(Subsystem::Platform, Kind::Missing { what });
    let machine = ground.machine;
    // SAFETY: the slots are those of the device tree, mapped by `bring_up`; nothing else uses them.
    let on_mmio = unsafe { find_on_mmio(&machine.virtio_mmio, DeviceType::Network) };
    let found = match (on_mmio, bus) {
        (None, Some(bus)) => find_on_pci(machine, bus, DeviceType::Network)?,
        (found, _) => found,
    };
    let found = found.ok_or(missing("virtio network device"))?;
    let gic = machine
        .gic
        .as_ref()
        .ok_or(missing("interrupt controller in the device tree"))?;
    let timer = machine
        .timer_interrupt
        .ok_or(missing("timer in the device tree"))?;
    let quiet = found.quiet;
    let bindings = [
        Binding {
            interrupt: timer,
            source: Source::Timer,
            handler: Box::new(timer::disarm),
        },
        Binding {
            interrupt: found.interrupt,
            source: Source::Network,
            handler: Box::new(move || quiet.acknowledge()),
        },
    ];
    // SAFETY: the tree's controller, mapped by `bring_up`; this is the only call.
    unsafe { interrupts::set_up(gic, machine.cpus.len().max(1), bindings) }?;
    VirtioNetwork::new(found.transport)
}

/// The panic device, where the image is to end by it; one that cannot be used is logged and done without.
pub(super) fn panic_device(ending: Ending, bus: Option<&mut PciBus>) -> Option<PanicDevice> {
    if ending != Ending::Exit {
        return None;
    }
    match PanicDevice::find(bus?) {
        Ok(found) => found,
        Err(error) => {
            log::warn!("no panic device: {error}");
            None
        }
    }
}
