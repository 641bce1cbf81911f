//! Inside QEMU: the translation tables in use, walked leaf by leaf, and the registers that give them force.
#![no_std]
#![no_main]

mod support;

use aarch64_cpu::registers::{CurrentEL, DAIF, Readable, SCTLR_EL1, SPSel, TTBR0_EL1};
use nos::arch::aarch64::cpu_block::CpuBlock;
use nos::arch::aarch64::{BootInfo, ImageLayout};

const ENTRIES: usize = 512;
const PAGE_BYTES: usize = 4096;
/// Level 1 is the root: it covers 39 bits, 30 of them below it.
const ROOT_SHIFT: u32 = 30;
const PAGE_SHIFT: u32 = 12;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
// Bits of a descriptor (Arm ARM D8.3).
const VALID: u64 = 1 << 0;
const TABLE_OR_PAGE: u64 = 1 << 1;
const ATTRIBUTES: u64 = 0b111 << 2;
const UNPRIVILEGED: u64 = 1 << 6;
const READ_ONLY: u64 = 1 << 7;
const SHAREABILITY: u64 = 0b11 << 8;
const INNER_SHAREABLE: u64 = 0b11 << 8;
const ACCESSED: u64 = 1 << 10;
const NOT_GLOBAL: u64 = 1 << 11;
const NEVER_EXECUTED_HERE: u64 = 1 << 53;
const NEVER_EXECUTED_BELOW: u64 = 1 << 54;

/// A mapping: a block or a page.
struct Leaf {
    start: usize,
    bytes: usize,
    descriptor: u64,
}

impl Leaf {
    fn has(&self, bits: u64) -> bool {
        self.descriptor & bits == bits
    }

    fn is_executable(&self) -> bool {
        !self.has(NEVER_EXECUTED_HERE)
    }
}

/// Shows every leaf below `table`, whose first entry maps `base`, to `visit`.
fn walk(table: usize, shift: u32, base: usize, visit: &mut dyn FnMut(Leaf)) {
    for index in 0..ENTRIES {
        // SAFETY: `table` came from TTBR0_EL1 or a table descriptor: 512 entries on the identity map.
        let descriptor = unsafe { (table as *const u64).add(index).read_volatile() };
        let start = base + (index << shift);
        if descriptor & VALID == 0 {
            continue;
        }
        if shift > PAGE_SHIFT && descriptor & TABLE_OR_PAGE != 0 {
            walk((descriptor & ADDRESS) as usize, shift - 9, start, visit);
        } else {
            visit(Leaf {
                start,
                bytes: 1 << shift,
                descriptor,
            });
        }
    }
}

fn for_each_leaf(mut visit: impl FnMut(Leaf)) {
    let root = (TTBR0_EL1.get() & ADDRESS) as usize;
    walk(root, ROOT_SHIFT, 0, &mut visit);
}

fn mapped_bytes(start: usize, bytes: usize) -> usize {
    let mut mapped = 0;
    for_each_leaf(|leaf| {
        let low = start.max(leaf.start);
        let high = (start + bytes).min(leaf.start + leaf.bytes);
        mapped += high.saturating_sub(low);
    });
    mapped
}

#[unsafe(no_mangle)]
extern "C" fn nos_main(boot: &BootInfo) -> ! {
    support::run(
        boot,
        &[
            ("no page is both writable and executable", |_| {
                let mut leaves = 0;
                for_each_leaf(|leaf| {
                    let is_safe = leaf.has(READ_ONLY) || !leaf.is_executable();
                    assert!(is_safe, "{:#x}: {:#x}", leaf.start, leaf.descriptor);
                    leaves += 1;
                });
                assert!(leaves > 8, "{leaves} leaves");
            }),
            ("exactly the text is executable", |_| {
                let layout = ImageLayout::current();
                let mut executable = 0;
                for_each_leaf(|leaf| {
                    if leaf.is_executable() {
                        let text = layout.start..layout.text_end;
                        assert!(text.contains(&leaf.start), "{:#x}", leaf.start);
                        executable += leaf.bytes;
                    }
                });
                assert_eq!(executable, layout.text_end - layout.start);
            }),
            ("every page is the kernel's, at its own address", |_| {
                for_each_leaf(|leaf| {
                    let is_sound = leaf.has(NEVER_EXECUTED_BELOW | ACCESSED | NOT_GLOBAL)
                        && !leaf.has(UNPRIVILEGED)
                        && leaf.descriptor & ADDRESS == leaf.start as u64;
                    assert!(is_sound, "{:#x}: {:#x}", leaf.start, leaf.descriptor);
                });
            }),
            (
                "memory is cached and shared, devices are neither executed nor cached",
                |_| {
                    for_each_leaf(|leaf| {
                        let is_memory = leaf.descriptor & ATTRIBUTES == 0;
                        let is_sound = if is_memory {
                            leaf.descriptor & SHAREABILITY == INNER_SHAREABLE
                        } else {
                            leaf.descriptor & ATTRIBUTES == 1 << 2 && !leaf.is_executable()
                        };
                        assert!(is_sound, "{:#x}: {:#x}", leaf.start, leaf.descriptor);
                    });
                },
            ),
            (
                "no guard page is mapped, and what lies around it is",
                |ground| {
                    assert_eq!(mapped_bytes(0, PAGE_BYTES), 0, "the first page");
                    let own = CpuBlock::current().stacks().map(|stack| stack.range());
                    let others = ground
                        .slots
                        .iter()
                        .flat_map(|slots| slots.stacks())
                        .flatten();
                    for stack in own.into_iter().chain(others) {
                        assert_eq!(
                            mapped_bytes(stack.start - PAGE_BYTES, PAGE_BYTES),
                            0,
                            "{stack:x?}"
                        );
                        assert_eq!(
                            mapped_bytes(stack.start, stack.len()),
                            stack.len(),
                            "{stack:x?}"
                        );
                    }
                },
            ),
            (
                "the tables in use are those that other CPUs are given",
                |ground| {
                    assert_eq!(TTBR0_EL1.get(), ground.translation_root);
                },
            ),
            (
                "MMU and caches are on, writable memory is never executed",
                |_| {
                    for (what, is_on) in [
                        ("MMU", SCTLR_EL1.is_set(SCTLR_EL1::M)),
                        ("data cache", SCTLR_EL1.is_set(SCTLR_EL1::C)),
                        ("instruction cache", SCTLR_EL1.is_set(SCTLR_EL1::I)),
                        ("WXN", SCTLR_EL1.is_set(SCTLR_EL1::WXN)),
                        ("stack alignment check", SCTLR_EL1.is_set(SCTLR_EL1::SA)),
                    ] {
                        assert!(is_on, "{what}");
                    }
                },
            ),
            (
                "ordinary code runs at EL1 on its own stack pointer, system errors unmasked",
                |_| {
                    assert_eq!(CurrentEL.read(CurrentEL::EL), 1);
                    assert_eq!(SPSel.read(SPSel::SP), 0);
                    assert!(!DAIF.is_set(DAIF::A));
                },
            ),
        ],
    )
}
