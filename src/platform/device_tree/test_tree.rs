//! Builds flattened device trees for tests.

use std::vec::Vec;

/// A tree under construction.
#[derive(Default)]
pub(crate) struct Tree {
    structure: Vec<u8>,
    strings: Vec<u8>,
    reservations: Vec<u8>,
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn word(&mut self, word: u32) {
        self.structure.extend(word.to_be_bytes());
    }

    fn pad(&mut self) {
        while !self.structure.len().is_multiple_of(4) {
            self.structure.push(0);
        }
    }

    pub(crate) fn reserve(&mut self, address: u64, size: u64) -> &mut Self {
        self.reservations.extend(address.to_be_bytes());
        self.reservations.extend(size.to_be_bytes());
        self
    }

    pub(crate) fn begin(&mut self, name: &str) -> &mut Self {
        self.word(1);
        self.structure.extend(name.as_bytes());
        self.structure.push(0);
        self.pad();
        self
    }

    pub(crate) fn nops(&mut self, count: usize) -> &mut Self {
        (0..count).for_each(|_| self.word(4));
        self
    }

    pub(crate) fn end(&mut self) -> &mut Self {
        self.word(2);
        self
    }

    pub(crate) fn property(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.word(3);
        self.word(value.len() as u32);
        self.word(self.strings.len() as u32);
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        self.structure.extend(value);
        self.pad();
        self
    }

    pub(crate) fn text(&mut self, name: &str, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.property(name, &bytes)
    }

    pub(crate) fn cells(&mut self, name: &str, cells: &[u32]) -> &mut Self {
        let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.property(name, &bytes)
    }

    pub(crate) fn finish(&mut self) -> Vec<u8> {
        self.word(9);
        self.reservations.extend([0; 16]);
        let reservations_at = 40;
        let structure_at = reservations_at + self.reservations.len();
        let strings_at = structure_at + self.structure.len();
        let total = strings_at + self.strings.len();
        let mut tree = Vec::new();
        for word in [
            0xd00d_feed,
            total,
            structure_at,
            strings_at,
            reservations_at,
            17,
            16,
            0,
            self.strings.len(),
            self.structure.len(),
        ] {
            tree.extend((word as u32).to_be_bytes());
        }
        tree.extend(&self.reservations);
        tree.extend(&self.structure);
        tree.extend(&self.strings);
        tree
    }
}

/// How other nodes name the interrupt controller.
const GIC_HANDLE: u32 = 0x8001;
/// virt's windows: ports, memory below 4 GiB, memory above.
const VIRT_RANGES: [u32; 21] = [
    0x0100_0000,
    0,
    0,
    0,
    0x3eff_0000,
    0,
    0x1_0000,
    0x0200_0000,
    0,
    0x1000_0000,
    0,
    0x1000_0000,
    0,
    0x2eff_0000,
    0x0300_0000,
    0x80,
    0,
    0x80,
    0,
    0x80,
    0,
];

/// Begins the root, with two cells for addresses and for sizes.
pub(crate) fn begin_root(tree: &mut Tree) {
    tree.begin("")
        .cells("#address-cells", &[2])
        .cells("#size-cells", &[2]);
}

/// RAM in two banks.
pub(crate) fn memory(tree: &mut Tree) {
    tree.begin("memory@40000000")
        .text("device_type", "memory")
        .cells(
            "reg",
            &[0, 0x4000_0000, 0, 0x2000_0000, 1, 0, 0, 0x4000_0000],
        )
        .end();
}

/// A PCI host bridge with those windows and virt's interrupt map.
pub(crate) fn pci_host(tree: &mut Tree, ranges: &[u32]) {
    let mut map = Vec::new();
    for device in 0..4 {
        for pin in 0..4 {
            map.extend([device << 11, 0, 0, pin + 1, GIC_HANDLE, 0, 0]);
            map.extend([0, 3 + (device + pin) % 4, 4]);
        }
    }
    tree.begin("pcie@10000000")
        .text("compatible", "pci-host-ecam-generic")
        .cells("reg", &[0x40, 0x1000_0000, 0, 0x1000_0000])
        .cells("ranges", ranges)
        .cells("interrupt-map-mask", &[0x1800, 0, 0, 7])
        .cells("interrupt-map", &map)
        .cells("#address-cells", &[3])
        .cells("#size-cells", &[2])
        .end();
}

/// A tree with everything that `Machine` reads, after QEMU's virt.
pub(crate) fn virt() -> Vec<u8> {
    let mut tree = Tree::new();
    tree.reserve(0x5000_0000, 0x1000);
    begin_root(&mut tree);
    tree.begin("psci")
        .text("compatible", "arm,psci-1.0\0arm,psci")
        .text("method", "hvc")
        .end();
    memory(&mut tree);
    pci_host(&mut tree, &VIRT_RANGES);
    tree.begin("reserved-memory")
        .cells("#address-cells", &[2])
        .cells("#size-cells", &[2]);
    tree.begin("buffer@51000000")
        .cells("reg", &[0, 0x5100_0000, 0, 0x10_0000])
        .end()
        .end();
    tree.begin("cpus")
        .cells("#address-cells", &[1])
        .cells("#size-cells", &[0]);
    for cpu in 0..2 {
        tree.begin("cpu")
            .text("device_type", "cpu")
            .cells("reg", &[cpu])
            .end();
    }
    tree.end();
    tree.begin("timer")
        .text("compatible", "arm,armv8-timer\0arm,armv7-timer")
        .cells("interrupts", &[1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4])
        .end();
    tree.begin("intc@8000000")
        .text("compatible", "arm,cortex-a15-gic")
        .cells("#address-cells", &[2])
        .cells("phandle", &[GIC_HANDLE])
        .cells(
            "reg",
            &[0, 0x800_0000, 0, 0x1_0000, 0, 0x801_0000, 0, 0x1_0000],
        )
        .end();
    tree.begin("pl011@9000000")
        .text("compatible", "arm,pl011\0arm,primecell")
        .cells("reg", &[0, 0x900_0000, 0, 0x1000])
        .end();
    tree.begin("pl031@9010000")
        .text("compatible", "arm,pl031\0arm,primecell")
        .cells("reg", &[0, 0x901_0000, 0, 0x1000])
        .end();
    for slot in 0..2 {
        tree.begin("virtio_mmio")
            .text("compatible", "virtio,mmio")
            .cells("reg", &[0, 0xa00_0000 + 0x200 * slot, 0, 0x200])
            .cells("interrupts", &[0, 16 + slot, 1])
            .end();
    }
    tree.begin("chosen")
        .text("bootargs", "nos.maxmemory=64mb")
        .cells("linux,initrd-start", &[0x4800_0000])
        .cells("linux,initrd-end", &[0, 0x4810_0000])
        .property("rng-seed", b"0123456789abcdef")
        .end();
    tree.end().finish()
}
