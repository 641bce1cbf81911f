//! What the machine is, as its device tree says: read once, into a [`Machine`] that cannot be malformed.
//!
//! The tree is validated whole ([`validate`]) and freed of NOPs ([`nops`]) before the `fdt` crate walks it, once, node
//! by node.

mod interrupt;
pub mod nops;
mod pci_host;
#[cfg(test)]
pub(crate) mod test_tree;
pub mod validate;

pub use interrupt::{Interrupt, Trigger};
pub use pci_host::PciHost;

use crate::error::{Error, Kind, Result, Subsystem};
use crate::platform::entropy::fold;
use core::ops::Range;
use fdt::Fdt;
use fdt::node::FdtNode;
use heapless::Vec;

/// Banks of RAM, or reserved ranges, taken at most.
pub const RANGES_MAX: usize = 32;
/// CPUs taken at most.
pub const CPUS_MAX: usize = 64;
/// virtio-mmio slots taken at most; QEMU's virt has 32.
pub const VIRTIO_MAX: usize = 64;

/// The machine, as far as nos uses it. Addresses are physical.
#[derive(Debug, Default)]
pub struct Machine<'a> {
    /// RAM, in the tree's order.
    pub ram: Vec<Range<u64>, RANGES_MAX>,
    /// Ranges of RAM that are not to be touched.
    pub reserved: Vec<Range<u64>, RANGES_MAX>,
    /// Affinities (MPIDR) of the CPUs, in the tree's order.
    pub cpus: Vec<u64, CPUS_MAX>,
    /// How PSCI is called.
    pub psci: Option<PsciMethod>,
    /// The interrupt controller.
    pub gic: Option<Gic>,
    /// The interrupt of the virtual timer.
    pub timer_interrupt: Option<Interrupt>,
    /// Registers of the PL011 console.
    pub console: Option<u64>,
    /// Registers of the PL031 real-time clock.
    pub rtc: Option<u64>,
    /// virtio-mmio slots, empty ones included.
    pub virtio_mmio: Vec<VirtioSlot, VIRTIO_MAX>,
    /// The PCI host bridge.
    pub pci: Option<PciHost<'a>>,
    /// What the bridge's interrupt map must know of the interrupt controller.
    controller: pci_host::Controller,
    /// The boot arguments.
    pub boot_arguments: &'a str,
    /// The initial RAM disk.
    pub initrd: Option<Range<u64>>,
    /// Random bytes from the loader, folded; 0 when there are none.
    pub seed: u128,
}

/// How PSCI is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PsciMethod {
    /// HVC.
    Hvc,
    /// SMC.
    Smc,
}

/// The interrupt controller and where its registers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gic {
    /// Version 2.
    V2 {
        /// The distributor.
        distributor: Range<u64>,
        /// The CPU interface.
        cpu_interface: Range<u64>,
    },
    /// Version 3 or 4.
    V3 {
        /// The distributor.
        distributor: Range<u64>,
        /// The redistributors.
        redistributors: Range<u64>,
    },
}

/// A virtio-mmio slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtioSlot {
    /// Its registers.
    pub registers: Range<u64>,
    /// Its interrupt.
    pub interrupt: Interrupt,
}

fn missing(what: &'static str) -> Error {
    Error::new(Subsystem::Platform, Kind::Missing { what })
}

impl<'a> Machine<'a> {
    /// Reads a validated tree.
    ///
    /// # Errors
    /// `Missing` if there is no RAM in it; `LimitReached` if it lists more of a thing than is kept;
    /// `BadDeviceTree` if the tree was not validated.
    pub fn read(tree: &'a [u8]) -> Result<Self> {
        let fdt = Fdt::new(tree).map_err(|_| {
            Error::new(
                Subsystem::Platform,
                Kind::BadDeviceTree {
                    offset: 0,
                    what: "unreadable",
                },
            )
        })?;
        let mut machine = Self::default();
        for reservation in fdt.memory_reservations() {
            let start = reservation.address() as u64;
            push(
                &mut machine.reserved,
                range(start, reservation.size() as u64)?,
                "reserved ranges",
            )?;
        }
        if let Some(node) = fdt.find_node("/reserved-memory") {
            for child in node.children() {
                for registers in registers(child).flatten() {
                    push(&mut machine.reserved, registers, "reserved ranges")?;
                }
            }
        }
        for node in fdt.all_nodes() {
            machine.read_node(node)?;
        }
        if machine.ram.is_empty() {
            return Err(missing("memory in the device tree"));
        }
        Ok(machine)
    }

    fn read_node(&mut self, node: FdtNode<'_, 'a>) -> Result<()> {
        if node.name == "chosen" {
            self.read_chosen(node);
            return Ok(());
        }
        match text(node, "device_type") {
            Some("memory") => {
                for registers in registers(node) {
                    push(&mut self.ram, registers?, "memory banks")?;
                }
                return Ok(());
            }
            Some("cpu") => {
                if let Some(affinity) = node.property("reg").and_then(|reg| number(reg.value)) {
                    push(&mut self.cpus, affinity, "CPUs")?;
                }
                return Ok(());
            }
            _ => {}
        }
        let Some(compatible) = node.property("compatible") else {
            return Ok(());
        };
        for name in compatible.value.split(|&byte| byte == 0) {
            if self.read_device(node, name)? {
                break;
            }
        }
        Ok(())
    }

    /// Reads a node by one of its compatible names; answers whether that name is known.
    fn read_device(&mut self, node: FdtNode<'_, 'a>, compatible: &[u8]) -> Result<bool> {
        let first = |n: usize| registers(node).nth(n).and_then(Result::ok);
        match compatible {
            b"virtio,mmio" => {
                if let (Some(registers), Some(interrupt)) = (first(0), interrupt(node, 0)) {
                    push(
                        &mut self.virtio_mmio,
                        VirtioSlot {
                            registers,
                            interrupt,
                        },
                        "virtio slots",
                    )?;
                }
            }
            b"arm,psci-1.0" | b"arm,psci-0.2" => {
                self.psci = match text(node, "method") {
                    Some("hvc") => Some(PsciMethod::Hvc),
                    Some("smc") => Some(PsciMethod::Smc),
                    _ => None,
                };
            }
            b"arm,cortex-a15-gic" | b"arm,gic-400" => {
                self.controller = pci_host::Controller::read(node);
                if let (Some(distributor), Some(cpu_interface)) = (first(0), first(1)) {
                    self.gic = Some(Gic::V2 {
                        distributor,
                        cpu_interface,
                    });
                }
            }
            b"arm,gic-v3" => {
                self.controller = pci_host::Controller::read(node);
                if let (Some(distributor), Some(redistributors)) = (first(0), first(1)) {
                    self.gic = Some(Gic::V3 {
                        distributor,
                        redistributors,
                    });
                }
            }
            b"arm,armv8-timer" | b"arm,armv7-timer" => {
                // Secure, non-secure, virtual, hypervisor: in that order.
                self.timer_interrupt = interrupt(node, 2);
            }
            b"arm,pl011" => {
                self.console = self.console.or(first(0).map(|registers| registers.start))
            }
            b"arm,pl031" => self.rtc = first(0).map(|registers| registers.start),
            b"pci-host-ecam-generic" => self.pci = self.pci.take().or(PciHost::read(node)),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The interrupt that pin `pin` (1 to 4 for INTA to INTD) of a device on PCI bus 0 raises.
    pub fn pci_interrupt(&self, device: u8, pin: u8) -> Option<Interrupt> {
        self.pci.as_ref()?.interrupt(self.controller, device, pin)
    }

    fn read_chosen(&mut self, node: FdtNode<'_, 'a>) {
        self.boot_arguments = text(node, "bootargs").unwrap_or("");
        let address = |name| {
            node.property(name)
                .and_then(|property| number(property.value))
        };
        if let (Some(start), Some(end)) =
            (address("linux,initrd-start"), address("linux,initrd-end"))
        {
            self.initrd = (start < end).then_some(start..end);
        }
        for name in ["rng-seed", "kaslr-seed"] {
            if let Some(property) = node.property(name) {
                self.seed = fold(self.seed, property.value);
            }
        }
    }
}

fn push<T, const N: usize>(list: &mut Vec<T, N>, item: T, what: &'static str) -> Result<()> {
    list.push(item).map_err(|_| {
        Error::new(
            Subsystem::Platform,
            Kind::LimitReached {
                what,
                limit: N as u64,
            },
        )
    })
}

fn range(start: u64, size: u64) -> Result<Range<u64>> {
    let end = start.checked_add(size).ok_or(Error::new(
        Subsystem::Platform,
        Kind::BadDeviceTree {
            offset: 0,
            what: "a range beyond the last address",
        },
    ))?;
    Ok(start..end)
}

/// The address ranges of a node's `reg`.
fn registers<'a>(node: FdtNode<'_, 'a>) -> impl Iterator<Item = Result<Range<u64>>> + 'a {
    node.reg().into_iter().flatten().map(|region| {
        range(
            region.starting_address as u64,
            region.size.unwrap_or(0) as u64,
        )
    })
}

/// A property's bytes.
fn bytes<'a>(node: FdtNode<'_, 'a>, name: &str) -> Option<&'a [u8]> {
    node.property(name).map(|property| property.value)
}

/// A property's text, up to its NUL.
fn text<'a>(node: FdtNode<'_, 'a>, name: &str) -> Option<&'a str> {
    let value = bytes(node, name)?;
    let end = value
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(value.len());
    core::str::from_utf8(&value[..end]).ok()
}

/// A property of one or two cells.
fn number(value: &[u8]) -> Option<u64> {
    match value.len() {
        4 => Some(u64::from(u32::from_be_bytes(value.try_into().ok()?))),
        8 => Some(u64::from_be_bytes(value.try_into().ok()?)),
        _ => None,
    }
}

/// The n-th interrupt of a node.
fn interrupt(node: FdtNode<'_, '_>, n: usize) -> Option<Interrupt> {
    let (cells, _) = bytes(node, "interrupts")?.as_chunks::<4>();
    let cells = cells.chunks_exact(interrupt::CELLS).nth(n)?;
    Interrupt::from_cells(core::array::from_fn(|n| u32::from_be_bytes(cells[n])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_like_virts_is_read_whole() {
        let tree = test_tree::virt();
        let machine = Machine::read(&tree).expect("the tree is sound");
        assert_eq!(
            machine.ram.as_slice(),
            [0x4000_0000..0x6000_0000, 0x1_0000_0000..0x1_4000_0000]
        );
        assert_eq!(
            machine.reserved.as_slice(),
            [0x5000_0000..0x5000_1000, 0x5100_0000..0x5110_0000]
        );
        assert_eq!(machine.cpus.as_slice(), [0, 1]);
        assert_eq!(machine.psci, Some(PsciMethod::Hvc));
        assert_eq!(
            machine.gic,
            Some(Gic::V2 {
                distributor: 0x800_0000..0x801_0000,
                cpu_interface: 0x801_0000..0x802_0000
            })
        );
        assert_eq!(machine.timer_interrupt.map(Interrupt::intid), Some(27));
        assert_eq!(machine.console, Some(0x900_0000));
        assert_eq!(machine.rtc, Some(0x901_0000));
        assert_eq!(machine.virtio_mmio.len(), 2);
        assert_eq!(machine.virtio_mmio[1].interrupt.intid(), 49);
        assert_eq!(machine.boot_arguments, "nos.maxmemory=64mb");
        assert_eq!(machine.initrd, Some(0x4800_0000..0x4810_0000));
        assert_ne!(machine.seed, 0);
    }

    #[test]
    fn a_tree_without_memory_is_refused() {
        let mut tree = test_tree::Tree::new();
        tree.begin("").end();
        let error = Machine::read(&tree.finish()).expect_err("it has no memory");
        assert_eq!(
            error.kind(),
            Kind::Missing {
                what: "memory in the device tree"
            }
        );
    }
}
