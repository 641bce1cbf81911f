//! PCI: the functions of bus 0, and room in memory for their registers.
//!
//! Only functions that a driver asks for are touched: their BARs are placed in a piece of the bridge's
//! window, those that firmware placed there already stay. Functions behind further bridges are not found.
//!
//! Source: PCI Local Bus Specification 3.0, 6.1, 6.2; PCI Express Base Specification 7.2.2 (ECAM).
#![allow(
    unsafe_code,
    reason = "configuration space at an address from the device tree"
)]

pub mod pvpanic;

use super::device_tree::PciHost;
use crate::error::{Error, Kind, Result, Subsystem};
use core::ops::Range;
use core::ptr::NonNull;
use safe_mmio::UniqueMmioPointer;
use safe_mmio::fields::ReadPureWrite;
use virtio_drivers::transport::pci::bus::{
    BarInfo, Cam, Command, ConfigurationAccess, DeviceFunction, PciError, PciRoot,
};

/// Bytes mapped of configuration space and of the window: one block of the translation tables each.
/// Bus 0 takes the first half of its block; the window's is enough for a few functions.
const MAPPED_BYTES: u64 = 2 << 20;
/// Bytes of configuration space of a bus: 32 devices of 8 functions of 4 KiB.
const BUS_BYTES: u64 = 1 << 20;
const DEVICES: u8 = 32;
const FUNCTIONS: u8 = 8;
const BARS: u8 = 6;
/// BARs share no page, so that each function's registers are apart from the others'.
const BAR_ALIGN: u64 = 4096;
/// Registers of configuration space, by their offset: the vendor and device,
const ID: u8 = 0x00;
/// the header type in the third byte, whose top bit says that there are further functions,
const HEADER: u8 = 0x0c;
const MULTI_FUNCTION: u32 = 1 << 23;
/// the interrupt pin in the second byte.
const INTERRUPT: u8 = 0x3c;
/// What is read where no function is.
const NOTHING: u32 = u32::MAX;

/// Configuration space of bus 0.
#[derive(Clone, Copy, Debug)]
pub struct Configuration {
    start: usize,
}

impl Configuration {
    fn register(
        &self,
        function: DeviceFunction,
        offset: u8,
    ) -> UniqueMmioPointer<'_, ReadPureWrite<u32>> {
        assert!(function.bus == 0, "only bus 0 is mapped");
        let at = self.start + Cam::Ecam.cam_offset(function, offset) as usize;
        let register = NonNull::new(at as *mut ReadPureWrite<u32>);
        // SAFETY: `PciBus::new` was promised that bus 0 is mapped from `start`; `cam_offset` answers a
        // word inside it, as the bus is 0; configuration registers are read and written from one CPU.
        unsafe { UniqueMmioPointer::new(register.expect("a device is not at address 0")) }
    }
}

impl ConfigurationAccess for Configuration {
    fn read_word(&self, function: DeviceFunction, offset: u8) -> u32 {
        self.register(function, offset).read()
    }

    fn write_word(&mut self, function: DeviceFunction, offset: u8, data: u32) {
        self.register(function, offset).write(data);
    }

    unsafe fn unsafe_clone(&self) -> Self {
        *self
    }
}

/// Bus 0 behind the host bridge.
pub struct PciBus {
    pub(super) configuration: Configuration,
    pub(super) root: PciRoot<Configuration>,
    window: Range<u64>,
    /// Where the next BAR can be placed.
    free: u64,
}

/// What of a bridge must be mapped as device memory: bus 0's configuration space, room for BARs.
pub fn mapped(host: &PciHost<'_>) -> [Range<u64>; 2] {
    let head = |range: &Range<u64>| range.start..range.end.min(range.start + MAPPED_BYTES);
    [head(&host.configuration), head(&host.window)]
}

fn refused(what: &'static str) -> Error {
    Error::new(Subsystem::Platform, Kind::Device { what })
}

impl PciBus {
    /// The bus behind `host`; none if its configuration space is too small for a bus.
    ///
    /// # Safety
    /// What [`mapped`] says must be mapped as device memory and used by nothing else.
    pub unsafe fn new(host: &PciHost<'_>) -> Option<Self> {
        let [configuration, window] = mapped(host);
        if configuration.end - configuration.start < BUS_BYTES {
            return None;
        }
        let configuration = Configuration {
            start: configuration.start as usize,
        };
        Some(Self {
            configuration,
            root: PciRoot::new(configuration),
            free: window.start,
            window,
        })
    }

    /// Finds the first function whose vendor and device are wanted.
    pub fn find(&self, wanted: impl Fn(u16, u16) -> bool) -> Option<DeviceFunction> {
        let at = |device, function| DeviceFunction {
            bus: 0,
            device,
            function,
        };
        (0..DEVICES).find_map(|device| {
            let first = self.configuration.read_word(at(device, 0), ID);
            if first == NOTHING {
                return None;
            }
            let is_wanted = |id: u32| id != NOTHING && wanted(id as u16, (id >> 16) as u16);
            if is_wanted(first) {
                return Some(at(device, 0));
            }
            let header = self.configuration.read_word(at(device, 0), HEADER);
            let functions = if header & MULTI_FUNCTION == 0 {
                1
            } else {
                FUNCTIONS
            };
            (1..functions)
                .map(|function| at(device, function))
                .find(|&function| is_wanted(self.configuration.read_word(function, ID)))
        })
    }

    /// The interrupt pin of a function: 1 to 4 for INTA to INTD, 0 if it has none.
    pub fn interrupt_pin(&self, function: DeviceFunction) -> u8 {
        (self.configuration.read_word(function, INTERRUPT) >> 8) as u8
    }

    /// Gives the function's registers a place and lets it answer there and reach memory itself.
    ///
    /// # Errors
    /// `Device` for a BAR of no known type; `LimitReached` if the window is full.
    pub fn enable(&mut self, function: DeviceFunction) -> Result<()> {
        let mut bar = 0;
        while bar < BARS {
            let info = self.bar(function, bar)?;
            let Some(info) = info else {
                bar += 1;
                continue;
            };
            self.place(function, bar, &info)?;
            bar += if info.takes_two_entries() { 2 } else { 1 };
        }
        self.root
            .set_command(function, Command::MEMORY_SPACE | Command::BUS_MASTER);
        Ok(())
    }

    /// Where the registers of a BAR are, once the function is enabled.
    ///
    /// # Errors
    /// `Device` if there are none.
    pub fn registers(&mut self, function: DeviceFunction, bar: u8) -> Result<Range<u64>> {
        let info = if bar < BARS {
            self.bar(function, bar)?
        } else {
            None
        };
        info.and_then(|info| info.memory_address_size())
            .filter(|(address, _)| self.window.contains(address))
            .map(|(address, size)| address..address + size)
            .ok_or(refused("finding a PCI function's registers"))
    }

    fn bar(&mut self, function: DeviceFunction, bar: u8) -> Result<Option<BarInfo>> {
        self.root
            .bar_info(function, bar)
            .map_err(|PciError::InvalidBarType| refused("a PCI BAR of no known type"))
    }

    fn place(&mut self, function: DeviceFunction, bar: u8, info: &BarInfo) -> Result<()> {
        // Ports are not used: their BARs stay where they are, not decoded.
        let Some((address, size)) = info.memory_address_size() else {
            return Ok(());
        };
        let fits = |start: u64| {
            start >= self.window.start
                && start
                    .checked_add(size)
                    .is_some_and(|end| end <= self.window.end)
        };
        if address != 0 && fits(address) {
            self.free = self.free.max(address + size);
            return Ok(());
        }
        // Sizes are powers of two, and a BAR lies at a multiple of its own.
        let start = self.free.next_multiple_of(size.max(BAR_ALIGN));
        if !fits(start) {
            let limit = Kind::LimitReached {
                what: "bytes of PCI registers",
                limit: MAPPED_BYTES,
            };
            return Err(Error::new(Subsystem::Platform, limit));
        }
        self.free = start + size;
        if info.takes_two_entries() {
            self.root.set_bar_64(function, bar, start);
        } else {
            self.root.set_bar_32(function, bar, start as u32);
        }
        Ok(())
    }
}
