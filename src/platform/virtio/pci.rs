//! Finding virtio devices on PCI: modern and transitional ones, interrupting by a pin.
//!
//! Source: virtio 1.2, 4.1 (virtio over PCI bus).

use super::{DeviceMemory, Found, Quiet};
use crate::error::{Error, Kind, Result, Subsystem};
use crate::platform::device_tree::Machine;
use crate::platform::pci::PciBus;
use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction, PCI_CAP_ID_VNDR};
use virtio_drivers::transport::pci::{PciTransport, VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_VENDOR_ID};
use virtio_drivers::transport::{DeviceType, SomeTransport};

/// A device's type, above this, is its PCI device number (virtio 1.2, 4.1.2).
const MODERN_FIRST: u16 = 0x1040;
/// The number of a device that old drivers can use too (4.1.2.3).
const fn transitional(wanted: DeviceType) -> Option<u16> {
    match wanted {
        DeviceType::Network => Some(0x1000),
        DeviceType::EntropySource => Some(0x1005),
        _ => None,
    }
}

fn failed(what: &'static str) -> Error {
    Error::new(Subsystem::Platform, Kind::Device { what })
}

/// Finds the first device of a type on bus 0 of `machine` and makes it ready for its driver.
///
/// # Errors
/// `Device` if its registers or its interrupt cannot be made out; those of [`PciBus::enable`].
pub fn find_on_pci(
    machine: &Machine<'_>,
    bus: &mut PciBus,
    wanted: DeviceType,
) -> Result<Option<Found>> {
    let function = bus.find(|vendor, device| {
        vendor == VIRTIO_VENDOR_ID
            && (device == MODERN_FIRST + wanted as u16 || transitional(wanted) == Some(device))
    });
    let Some(function) = function else {
        return Ok(None);
    };
    bus.enable(function)?;
    let interrupt = machine
        .pci_interrupt(function.device, bus.interrupt_pin(function))
        .ok_or(failed("finding a PCI function's interrupt"))?;
    let status = interrupt_status(bus, function)?;
    let transport = PciTransport::new::<DeviceMemory, _>(&mut bus.root, function)
        .map_err(|_| failed("a virtio device on PCI"))?;
    Ok(Some(Found {
        transport: SomeTransport::Pci(transport),
        interrupt,
        quiet: Quiet::Pci { status },
    }))
}

/// Where the register is whose reading quiets the device (virtio 1.2, 4.1.4.5).
fn interrupt_status(bus: &mut PciBus, function: DeviceFunction) -> Result<usize> {
    let missing = failed("finding a virtio device's interrupt status");
    let capability = bus
        .root
        .capabilities(function)
        .find(|capability| {
            let structure = capability.private_header >> 8;
            capability.id == PCI_CAP_ID_VNDR && structure == u16::from(VIRTIO_PCI_CAP_ISR_CFG)
        })
        .ok_or(missing)?;
    // The capability's second word begins with the BAR, its third is the offset in it.
    let word = |at| {
        bus.configuration
            .read_word(function, capability.offset + at)
    };
    let (bar, offset) = (word(4) as u8, u64::from(word(8)));
    let registers = bus.registers(function, bar)?;
    let at = registers.start + offset;
    registers
        .contains(&at)
        .then_some(at as usize)
        .ok_or(missing)
}
