//! Finding virtio devices on PCI: modern and transitional ones, interrupting by a pin.
//!
//! Source: virtio 1.2, 4.1 (virtio over PCI bus).

use super::{DeviceBus, DeviceMemory, Found, Quiet};
use crate::error::{Error, Kind, Result, Subsystem, try_box};
use crate::platform::device_tree::Machine;
use crate::platform::panic_device::PanicDevice;
use crate::platform::pci::pvpanic::Pvpanic;
use crate::platform::pci::{self, PciBus};
use alloc::boxed::Box;
use core::ops::Range;
use core::ptr::NonNull;
use safe_mmio::UniqueMmioPointer;
use safe_mmio::fields::ReadOnly;
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction, PCI_CAP_ID_VNDR};
use virtio_drivers::transport::pci::{PciTransport, VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_VENDOR_ID};
use virtio_drivers::transport::{DeviceType, SomeTransport};

/// A device's type, above this, is its PCI device number (virtio 1.2, 4.1.2).
const MODERN_FIRST: u16 = 0x1040;
/// The number of a device that old drivers can use too (4.1.2.3).
const fn transitional(wanted: DeviceType) -> Option<u16> {
    match wanted {
        DeviceType::Network => Some(0x1000),
        DeviceType::Block => Some(0x1001),
        DeviceType::EntropySource => Some(0x1005),
        _ => None,
    }
}

fn failed(what: &'static str) -> Error {
    Error::new(Subsystem::Platform, Kind::Device { what })
}

/// How a driver talks to its device.
pub type Transport = SomeTransport<'static>;

/// A device's transport on virtio-mmio, as one of several.
pub(super) fn on_mmio(transport: MmioTransport<'static>) -> Transport {
    SomeTransport::Mmio(transport)
}

/// What of the machine's PCI bus must be mapped as device memory.
pub fn mapped(machine: &Machine<'_>) -> impl Iterator<Item = Range<u64>> {
    machine.pci.iter().flat_map(pci::mapped)
}

/// The machine's PCI bus, if it has one that can be used.
///
/// # Errors
/// `OutOfMemory`.
///
/// # Safety
/// What [`mapped`] says is mapped as device memory; this is called once.
pub unsafe fn bus(machine: &Machine<'_>) -> Result<Option<Box<dyn DeviceBus>>> {
    let Some(host) = machine.pci.as_ref() else {
        return Ok(None);
    };
    // SAFETY: our caller promises that the bridge's registers are mapped, and that there is no other `PciBus`.
    let Some(bus) = (unsafe { PciBus::new(host) }) else {
        return Ok(None);
    };
    Ok(Some(try_box(bus)?))
}

/// The register whose reading quiets a device.
#[derive(Clone, Copy, Debug)]
pub struct Status(usize);

impl Status {
    pub(super) fn read(self) {
        let register = NonNull::new(self.0 as *mut ReadOnly<u8>);
        let register = register.expect("a device is not at address 0");
        // SAFETY: `interrupt_status` found it in the device's enabled registers; it is used here alone, the
        // transport leaves it to us.
        unsafe { UniqueMmioPointer::new(register) }.read();
    }
}

impl DeviceBus for PciBus {
    fn find_virtio(&mut self, machine: &Machine<'_>, wanted: DeviceType) -> Result<Option<Found>> {
        let function = self.find(|vendor, device| {
            vendor == VIRTIO_VENDOR_ID
                && (device == MODERN_FIRST + wanted as u16 || transitional(wanted) == Some(device))
        });
        let Some(function) = function else {
            return Ok(None);
        };
        self.enable(function)?;
        let interrupt = machine
            .pci_interrupt(function.device, self.interrupt_pin(function))
            .ok_or(failed("finding a PCI function's interrupt"))?;
        let status = interrupt_status(self, function)?;
        let transport = PciTransport::new::<DeviceMemory, _>(&mut self.root, function)
            .map_err(|_| failed("a virtio device on PCI"))?;
        Ok(Some(Found {
            transport: SomeTransport::Pci(transport),
            interrupt,
            quiet: Quiet::Pci(Status(status)),
        }))
    }

    fn find_panic_device(&mut self) -> Result<Option<&'static dyn PanicDevice>> {
        let Some(device) = Pvpanic::find(self)? else {
            return Ok(None);
        };
        Ok(Some(&*Box::leak(try_box(device)?)))
    }
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
