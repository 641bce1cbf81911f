//! The interrupt controller: GICv2 or GICv3 behind one type.
//!
//! What is set up rarely goes through a driver that one CPU uses at a time ([`Controller`]). What happens at
//! every interrupt, to acknowledge, end and send one, needs no lock: it touches what belongs to the CPU that
//! does it, by single accesses ([`Lines`]).
//!
//! Source: Arm IHI 0048B (GICv2), IHI 0069 (GICv3).
#![allow(
    unsafe_code,
    reason = "device registers at addresses from the device tree"
)]

use super::device_tree::{Gic, Interrupt, Trigger};
use crate::arch::aarch64::cpu;
use crate::error::{Error, Kind, Result, Subsystem};
use arm_gic::gicv2::GicV2;
use arm_gic::gicv2::registers::{Gicc, Gicd};
use arm_gic::gicv3::{GicCpuInterface, GicV3, SgiTarget, SgiTargetGroup};
use arm_gic::{IntId, InterruptGroup, UniqueMmioPointer};
use core::mem::offset_of;
use core::ptr::NonNull;
use safe_mmio::fields::{ReadOnly, ReadPureWrite, WriteOnly};

/// Words of GICD_ITARGETSR written: the 32 private interrupts and the first 224 shared ones, virt's all.
const TARGET_WORDS: usize = 64;
type TargetRegisters = [ReadPureWrite<u32>; TARGET_WORDS];
/// Priority of every interrupt.
const PRIORITY: u8 = 0x80;
/// The number in GICC_IAR; above it is who sent a software-generated interrupt.
const NUMBER: u32 = 0x3ff;
/// Numbers from here on are no interrupts.
const SPECIAL_FIRST: u32 = 1020;

/// The driver, for what one CPU does at a time.
pub(super) enum Controller {
    V2 {
        gic: GicV2<'static>,
        distributor: usize,
    },
    V3(GicV3<'static>),
}

/// What each CPU uses of the controller by itself.
#[derive(Clone, Copy)]
pub(super) enum Lines {
    V2 {
        distributor: usize,
        cpu_interface: usize,
    },
    V3,
}

/// An interrupt that was acknowledged and is to be ended.
#[derive(Clone, Copy)]
pub(super) struct Acknowledged(u32);

fn refused(what: &'static str) -> Error {
    Error::new(Subsystem::Platform, Kind::Device { what })
}

/// A register of a device.
///
/// # Safety
/// `T` must be what lies at `address`, mapped as device memory, and the caller must be the only one to use it
/// now, or the register one that takes concurrent accesses.
unsafe fn register<T>(address: usize) -> UniqueMmioPointer<'static, T> {
    let pointer = NonNull::new(address as *mut T).expect("a device is not at address 0");
    // SAFETY: our caller promises it.
    unsafe { UniqueMmioPointer::new(pointer) }
}

impl Controller {
    /// Sets the controller up, for `cpu_count` CPUs, all shared interrupts going to this one.
    ///
    /// # Errors
    /// `Device` if the controller refuses.
    ///
    /// # Safety
    /// `gic` must name the machine's interrupt controller, mapped as device memory and used by nothing else.
    /// Called once.
    pub(super) unsafe fn new(gic: &Gic, cpu_count: usize) -> Result<(Self, Lines)> {
        match gic {
            Gic::V2 {
                distributor,
                cpu_interface,
            } => {
                let (distributor, cpu_interface) =
                    (distributor.start as usize, cpu_interface.start as usize);
                // SAFETY: our caller promises a GICv2's registers, ours alone; they are not used below it.
                unsafe { target_this_cpu(distributor) };
                // SAFETY: as above; `Lines` touches only what the driver does not, and single registers that
                // take concurrent writes.
                let mut gic = unsafe { GicV2::new(distributor as *mut _, cpu_interface as *mut _) };
                gic.setup();
                let lines = Lines::V2 {
                    distributor,
                    cpu_interface,
                };
                Ok((Self::V2 { gic, distributor }, lines))
            }
            Gic::V3 {
                distributor,
                redistributors,
            } => {
                let redistributors = NonNull::new(redistributors.start as *mut _);
                let redistributors = redistributors.expect("a device is not at address 0");
                // SAFETY: our caller promises a GICv3's registers and that they are ours alone.
                let gic = unsafe {
                    GicV3::new(
                        register(distributor.start as usize),
                        redistributors,
                        cpu_count,
                    )
                };
                let mut gic = gic.map_err(|_| refused("the GICv3"))?;
                let own = own_redistributor(&mut gic, cpu_count)?;
                gic.setup(own);
                GicCpuInterface::set_priority_mask(0xff);
                Ok((Self::V3(gic), Lines::V3))
            }
        }
    }

    /// Sets up what the controller has for the CPU this runs on, another one than it was made on.
    pub(super) fn set_up_this_cpu(&mut self, cpu_count: usize) -> Result<()> {
        match self {
            // What it writes to shared registers they hold already.
            Self::V2 { gic, .. } => gic.setup(),
            Self::V3(gic) => {
                let own = own_redistributor(gic, cpu_count)?;
                gic.init_cpu(own);
                GicCpuInterface::set_priority_mask(0xff);
                GicCpuInterface::enable_group1(true);
            }
        }
        Ok(())
    }

    /// How other CPUs name this one when they interrupt it.
    pub(super) fn own_target(&mut self) -> u64 {
        match self {
            Self::V2 { distributor, .. } => {
                let at = *distributor + offset_of!(Gicd, itargetsr);
                // SAFETY: GICD_ITARGETSR0, banked for each CPU and only read.
                let word = unsafe { register::<ReadPureWrite<u32>>(at) }.read();
                // A controller for one CPU reads as zero.
                u64::from(word & 0xff).max(1)
            }
            Self::V3(_) => cpu::affinity(),
        }
    }

    /// Enables an interrupt; a private one for this CPU.
    pub(super) fn enable(&mut self, interrupt: Interrupt, cpu_count: usize) -> Result<()> {
        let trigger = match interrupt.trigger() {
            Trigger::Edge => arm_gic::Trigger::Edge,
            Trigger::Level => arm_gic::Trigger::Level,
        };
        self.enable_intid(intid(interrupt.intid()), trigger, cpu_count)
    }

    /// Enables the software-generated interrupt `number` for this CPU.
    pub(super) fn enable_software(&mut self, number: u32, cpu_count: usize) -> Result<()> {
        self.enable_intid(IntId::sgi(number), arm_gic::Trigger::Edge, cpu_count)
    }

    fn enable_intid(
        &mut self,
        intid: IntId,
        trigger: arm_gic::Trigger,
        cpu_count: usize,
    ) -> Result<()> {
        match self {
            Self::V2 { gic, .. } => {
                gic.set_interrupt_priority(intid, PRIORITY);
                if !intid.is_private() {
                    gic.set_trigger(intid, trigger);
                }
                gic.enable_interrupt(intid, true)
                    .map_err(|_| refused("enabling an interrupt"))
            }
            Self::V3(gic) => {
                let cpu = Some(own_redistributor(gic, cpu_count)?);
                let failed = |_| refused("enabling an interrupt");
                gic.set_interrupt_priority(intid, cpu, PRIORITY)
                    .map_err(failed)?;
                if !intid.is_sgi() {
                    gic.set_trigger(intid, cpu, trigger).map_err(failed)?;
                }
                gic.set_group(intid, cpu, arm_gic::gicv3::Group::Group1NS)
                    .map_err(failed)?;
                gic.enable_interrupt(intid, cpu, true).map_err(failed)
            }
        }
    }

    /// Disables an interrupt that nobody serves.
    pub(super) fn disable(&mut self, number: u32, cpu_count: usize) {
        // One that cannot be disabled was counted; nothing more can be done about it.
        match self {
            Self::V2 { gic, .. } => {
                let _ = gic.enable_interrupt(intid(number), false);
            }
            Self::V3(gic) => {
                let cpu = own_redistributor(gic, cpu_count).ok();
                if cpu.is_some() {
                    let _ = gic.enable_interrupt(intid(number), cpu, false);
                }
            }
        }
    }
}

impl Lines {
    /// Takes the interrupt of highest priority that is pending on this CPU, if there is one.
    #[inline]
    pub(super) fn acknowledge(self) -> Option<Acknowledged> {
        let raw = match self {
            Self::V2 { cpu_interface, .. } => {
                // SAFETY: GICC_IAR, banked for each CPU.
                unsafe { register::<ReadOnly<u32>>(cpu_interface + offset_of!(Gicc, iar)).read() }
            }
            Self::V3 => {
                GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1)?.raw_value()
            }
        };
        let taken = Acknowledged(raw);
        (taken.number() < SPECIAL_FIRST).then_some(taken)
    }

    /// Ends it: the next one may come.
    #[inline]
    pub(super) fn end(self, taken: Acknowledged) {
        match self {
            Self::V2 { cpu_interface, .. } => {
                let at = cpu_interface + offset_of!(Gicc, eoir);
                // SAFETY: GICC_EOIR, banked for each CPU.
                unsafe { register::<WriteOnly<u32>>(at) }.write(taken.0);
            }
            Self::V3 => {
                GicCpuInterface::end_interrupt(intid(taken.0), InterruptGroup::Group1);
            }
        }
    }

    /// Interrupts the CPU that [`Controller::own_target`] names `target`, after all stores so far.
    pub(super) fn send(self, number: u32, target: u64) {
        cpu::complete_stores();
        match self {
            Self::V2 { distributor, .. } => {
                let at = distributor + offset_of!(Gicd, sgir);
                let value = number | (target as u32) << 16;
                // SAFETY: GICD_SGIR, which takes concurrent writes.
                unsafe { register::<WriteOnly<u32>>(at) }.write(value);
            }
            Self::V3 => {
                let [aff0, affinity1, affinity2, _, affinity3, ..] = target.to_le_bytes();
                let target = SgiTarget::List {
                    affinity3,
                    affinity2,
                    affinity1,
                    target_list: 1 << (aff0 & 0xf),
                };
                // Refused only for a number that is no software-generated interrupt's.
                let _ = GicCpuInterface::send_sgi(
                    IntId::sgi(number),
                    target,
                    SgiTargetGroup::CurrentGroup1,
                );
            }
        }
    }
}

impl Acknowledged {
    /// The interrupt's number.
    #[inline]
    pub(super) fn number(self) -> u32 {
        self.0 & NUMBER
    }
}

fn intid(number: u32) -> IntId {
    match number {
        0..16 => IntId::sgi(number),
        16..32 => IntId::ppi(number - 16),
        _ => IntId::spi(number - 32),
    }
}

/// Which of the redistributors is this CPU's.
fn own_redistributor(gic: &mut GicV3<'static>, cpu_count: usize) -> Result<usize> {
    let own = cpu::affinity();
    (0..cpu_count)
        .find(|&index| {
            gic.gicr_typer(index)
                .is_ok_and(|redistributor| redistributor.core_mpidr() == own)
        })
        .ok_or(refused("finding the CPU's redistributor"))
}

/// Sends all shared interrupts of a GICv2 to the CPU this runs on.
///
/// # Safety
/// `distributor` must be a GICv2's distributor, mapped as device memory and used by nothing else now.
unsafe fn target_this_cpu(distributor: usize) {
    // SAFETY: GICD_ITARGETSR0 to 63 lie there in the distributor that our caller promises.
    let mut targets =
        unsafe { register::<TargetRegisters>(distributor + offset_of!(Gicd, itargetsr)) };
    // The first words are banked and read as the reader's own mask in each byte (IHI 0048B, 4.3.12).
    let own = targets.get(0).expect("below TARGET_WORDS").read();
    for word in 8..TARGET_WORDS {
        targets.get(word).expect("below TARGET_WORDS").write(own);
    }
}
