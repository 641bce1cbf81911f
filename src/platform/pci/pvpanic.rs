//! The panic device on PCI: tells the machine's owner that the image died.
//!
//! It is found and enabled while all is well; telling is then a single store, for code that can trust
//! nothing else any more.
//!
//! Source: QEMU's docs/specs/pvpanic.
#![allow(
    unsafe_code,
    reason = "a device register at an address that the bus gave it"
)]

use super::PciBus;
use crate::error::Result;
use crate::platform::panic_device::PanicDevice;
use core::ptr::NonNull;
use safe_mmio::UniqueMmioPointer;
use safe_mmio::fields::WriteOnly;

const VENDOR: u16 = 0x1b36;
const DEVICE: u16 = 0x0011;
/// The event of a guest that panicked.
const PANICKED: u8 = 1;

/// A pvpanic device on PCI.
#[derive(Debug)]
pub struct Pvpanic {
    register: usize,
}

impl Pvpanic {
    /// Finds the machine's panic device and makes it ready.
    ///
    /// # Errors
    /// As [`PciBus::enable`].
    pub fn find(bus: &mut PciBus) -> Result<Option<Self>> {
        let Some(function) = bus.find(|vendor, device| (vendor, device) == (VENDOR, DEVICE)) else {
            return Ok(None);
        };
        bus.enable(function)?;
        let registers = bus.registers(function, 0)?;
        Ok(Some(Self {
            register: registers.start as usize,
        }))
    }
}

impl PanicDevice for Pvpanic {
    fn report(&self) {
        let register = NonNull::new(self.register as *mut WriteOnly<u8>);
        let register = register.expect("the window does not begin at address 0");
        // SAFETY: the bus placed the device's registers there, in its mapped window, and nothing but this
        // store uses them.
        unsafe { UniqueMmioPointer::new(register) }.write(PANICKED);
    }
}
