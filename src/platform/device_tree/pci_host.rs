//! The PCI host bridge: where configuration space and BARs lie, and which interrupt a pin raises.
//!
//! Taken: the first bridge with memory-mapped configuration space (ECAM) whose functions reach memory at
//! the CPU's own addresses, which lie below 4 GiB: there BARs of 32 and of 64 bits can be placed.
//!
//! Source: IEEE 1275 PCI bus binding; Devicetree Specification 0.4, 2.4.3 (interrupt-map).

use super::interrupt::{CELLS, Interrupt};
use super::{bytes, number, registers};
use core::ops::Range;
use fdt::node::FdtNode;

/// Cells of a PCI address, and of one that an interrupt map matches: the address and the pin.
const ADDRESS_CELLS: usize = 3;
const UNIT_CELLS: usize = ADDRESS_CELLS + 1;
/// Cells of an entry of `ranges`: PCI address, CPU address, size; the root's addresses have two.
const RANGE_CELLS: usize = ADDRESS_CELLS + 2 + 2;
/// Bits of an address's first cell that name its space, and memory of 32 bits among them.
const SPACE_MASK: u32 = 0x0300_0000;
const MEMORY_32: u32 = 0x0200_0000;

/// A host bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciHost<'a> {
    /// Configuration space, bus 0 first: 4 KiB a function.
    pub configuration: Range<u64>,
    /// Where BARs can be placed; below 4 GiB.
    pub window: Range<u64>,
    interrupt_map: &'a [u8],
    /// Which bits of a function's address and pin the map looks at.
    interrupt_mask: [u32; UNIT_CELLS],
}

/// What an interrupt map must know of the interrupt controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Controller {
    handle: u32,
    address_cells: usize,
}

impl Controller {
    pub(super) fn read(node: FdtNode<'_, '_>) -> Self {
        let cell = |name| Some(number(bytes(node, name)?)? as u32);
        Self {
            handle: cell("phandle").unwrap_or_default(),
            address_cells: cell("#address-cells").unwrap_or_default() as usize,
        }
    }
}

fn cell(bytes: &[u8], n: usize) -> Option<u32> {
    let bytes = bytes.get(4 * n..4 * n + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

impl<'a> PciHost<'a> {
    /// Reads a host bridge; none if it is not one that is taken.
    pub(super) fn read(node: FdtNode<'_, 'a>) -> Option<Self> {
        let configuration = registers(node).next()?.ok()?;
        let windows = bytes(node, "ranges")?.chunks_exact(4 * RANGE_CELLS);
        let window = windows.filter_map(window).next()?;
        let mask = bytes(node, "interrupt-map-mask").unwrap_or_default();
        let interrupt_mask = core::array::from_fn(|n| cell(mask, n).unwrap_or(u32::MAX));
        Some(Self {
            configuration,
            window,
            interrupt_map: bytes(node, "interrupt-map").unwrap_or_default(),
            interrupt_mask,
        })
    }

    /// The interrupt that pin `pin` (1 to 4 for INTA to INTD) of a device on bus 0 raises.
    pub(super) fn interrupt(
        &self,
        controller: Controller,
        device: u8,
        pin: u8,
    ) -> Option<Interrupt> {
        let unit = [u32::from(device) << 11, 0, 0, u32::from(pin)];
        let parent_at = UNIT_CELLS + 1 + controller.address_cells;
        self.interrupt_map
            .chunks_exact(4 * (parent_at + CELLS))
            .find(|entry| {
                let matches = (0..UNIT_CELLS).all(|n| {
                    cell(entry, n).is_some_and(|is| (is ^ unit[n]) & self.interrupt_mask[n] == 0)
                });
                matches && cell(entry, UNIT_CELLS) == Some(controller.handle)
            })
            .and_then(|entry| {
                let at = |n| cell(entry, parent_at + n);
                Interrupt::from_cells([at(0)?, at(1)?, at(2)?])
            })
    }
}

/// The window of an entry of `ranges`, if BARs can be placed in it.
fn window(entry: &[u8]) -> Option<Range<u64>> {
    let pair = |n| Some(u64::from(cell(entry, n)?) << 32 | u64::from(cell(entry, n + 1)?));
    let (on_the_bus, start, size) = (pair(1)?, pair(3)?, pair(5)?);
    let end = start.checked_add(size)?;
    let is_taken = cell(entry, 0)? & SPACE_MASK == MEMORY_32
        && on_the_bus == start
        && start > 0
        && end <= 1 << 32;
    is_taken.then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::super::Machine;
    use super::super::interrupt::Trigger;
    use super::super::test_tree;

    #[test]
    fn the_bridge_of_a_tree_like_virts_is_read() {
        let tree = test_tree::virt();
        let machine = Machine::read(&tree).expect("the tree is sound");
        let host = machine.pci.as_ref().expect("it has a bridge");
        assert_eq!(host.configuration, 0x40_1000_0000..0x40_2000_0000);
        assert_eq!(host.window, 0x1000_0000..0x3eff_0000);
    }

    #[test]
    fn pins_are_routed_by_the_map_with_its_mask() {
        let tree = test_tree::virt();
        let machine = Machine::read(&tree).expect("the tree is sound");
        // virt swizzles: device d, pin p raise shared interrupt 3 + (d + p - 1) % 4.
        for device in 0..32u8 {
            for pin in 1..=4u8 {
                let interrupt = machine.pci_interrupt(device, pin).expect("all are routed");
                assert_eq!(interrupt.intid(), 35 + u32::from((device + pin - 1) % 4));
                assert_eq!(interrupt.trigger(), Trigger::Level);
            }
        }
        assert_eq!(
            machine.pci_interrupt(0, 0),
            None,
            "a function without a pin"
        );
    }

    #[test]
    fn a_bridge_without_a_window_below_4_gib_is_passed_over() {
        let mut tree = test_tree::Tree::new();
        test_tree::begin_root(&mut tree);
        test_tree::memory(&mut tree);
        test_tree::pci_host(&mut tree, &[0x0300_0000, 0x80, 0, 0x80, 0, 0x80, 0]);
        let tree = tree.end().finish();
        assert_eq!(Machine::read(&tree).expect("the tree is sound").pci, None);
    }
}
