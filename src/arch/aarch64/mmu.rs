//! The final translation tables: an identity map in which no page is both writable and executable.
//!
//! Text is read and executed, constants are read, all other memory is read and written and never
//! executed (and WXN makes the CPU hold to it); the first page and the page below each stack are not
//! mapped. Runs once, with the boot tables active: the boot tables' entries are not global under ASID 0
//! and these are used under ASID 1, so that no two sizes of entry ever meet in the TLB.

use super::ImageLayout;
use super::cpu_block::GUARD_BYTES;
use crate::error::{Error, Kind, Result, Subsystem};
use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{ReadWriteable, SCTLR_EL1};
use aarch64_paging::descriptor::El1Attributes;
use aarch64_paging::idmap::IdMap;
use aarch64_paging::paging::{El1And0, MemoryRegion};
use core::arch::asm;
use core::ops::Range;

/// The ASID of the final tables; the boot tables are used under 0.
const ASID: usize = 1;
/// 39-bit addresses: a walk starts at level 1 (TCR_EL1.T0SZ = 25).
const ROOT_LEVEL: usize = 1;
/// One past the highest address the tables reach.
pub const ADDRESS_END: usize = 1 << 39;

const NORMAL: El1Attributes = El1Attributes::VALID
    .union(El1Attributes::ATTRIBUTE_INDEX_0)
    .union(El1Attributes::INNER_SHAREABLE)
    .union(El1Attributes::ACCESSED)
    .union(El1Attributes::NON_GLOBAL)
    .union(El1Attributes::UXN);
const DEVICE: El1Attributes = El1Attributes::VALID
    .union(El1Attributes::ATTRIBUTE_INDEX_1)
    .union(El1Attributes::ACCESSED)
    .union(El1Attributes::NON_GLOBAL)
    .union(El1Attributes::PXN)
    .union(El1Attributes::UXN);

/// The tables under construction, then in use.
#[derive(Debug)]
pub struct AddressSpace {
    map: IdMap<El1And0>,
}

impl AddressSpace {
    /// Maps the image by its layout.
    ///
    /// # Errors
    /// `Device` if the layout cannot be mapped.
    pub fn for_image(layout: &ImageLayout) -> Result<Self> {
        let mut space = Self {
            map: IdMap::with_asid(ASID, ROOT_LEVEL, El1And0),
        };
        let executable = NORMAL.union(El1Attributes::READ_ONLY);
        let constant = executable.union(El1Attributes::PXN);
        space.map_range(layout.start..layout.text_end, executable)?;
        space.map_range(layout.text_end..layout.constants_end, constant)?;
        space.map_memory(layout.constants_end..layout.stack_guard)?;
        space.map_memory(layout.stack_guard + GUARD_BYTES..layout.fault_stack_guard)?;
        space.map_memory(layout.fault_stack_guard + GUARD_BYTES..layout.end)?;
        Ok(space)
    }

    /// Maps memory that is read and written and never executed.
    ///
    /// # Errors
    /// `Device` if the range is beyond what the tables reach.
    pub fn map_memory(&mut self, range: Range<usize>) -> Result<()> {
        self.map_range(range, NORMAL.union(El1Attributes::PXN))
    }

    /// Maps memory that is only read.
    ///
    /// # Errors
    /// `Device` if the range is beyond what the tables reach.
    pub fn map_constants(&mut self, range: Range<usize>) -> Result<()> {
        self.map_range(
            range,
            NORMAL
                .union(El1Attributes::READ_ONLY)
                .union(El1Attributes::PXN),
        )
    }

    /// Maps device registers.
    ///
    /// # Errors
    /// `Device` if the range is beyond what the tables reach.
    pub fn map_device(&mut self, range: Range<usize>) -> Result<()> {
        self.map_range(range, DEVICE)
    }

    fn map_range(&mut self, range: Range<usize>, attributes: El1Attributes) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        // A change of attributes would keep the bits of the mapping before it: none is made twice.
        self.map
            .map_range(&MemoryRegion::new(range.start, range.end), attributes)
            .map_err(|_| {
                Error::new(
                    Subsystem::Arch,
                    Kind::Device {
                        what: "mapping a range",
                    },
                )
            })
    }

    /// What TTBR0_EL1 holds when these tables are in use.
    pub fn root(&self) -> u64 {
        (ASID as u64) << 48 | self.map.root_address().0 as u64
    }

    /// Switches to these tables and makes writable memory never executable (WXN).
    ///
    /// # Safety
    /// Everything the image uses from here on must be mapped.
    pub unsafe fn activate(&mut self) {
        barrier::dsb(barrier::ISHST);
        // SAFETY: our caller promises that all memory in use is mapped; the tables live in `self`.
        unsafe { self.map.activate() };
        SCTLR_EL1.modify(SCTLR_EL1::WXN::Enable);
        barrier::isb(barrier::SY);
        // SAFETY: invalidates cached translations, among them those of the boot tables.
        unsafe { asm!("tlbi vmalle1", options(nostack)) };
        barrier::dsb(barrier::NSH);
        barrier::isb(barrier::SY);
    }
}
