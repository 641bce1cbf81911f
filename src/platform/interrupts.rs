//! The interrupt controller: GICv2 or GICv3 behind one type, and the table of who serves what.
//!
//! An interrupt is acknowledged, its handler runs on the exception stack with interrupts masked, and it
//! is ended. Handlers do the least that quiets their device; the work is done by the loop that the
//! interrupt woke. Spurious interrupts and those without a handler are counted; the latter are disabled.
#![allow(
    unsafe_code,
    reason = "device registers at addresses from the device tree"
)]

use super::device_tree::{Gic, Interrupt, Trigger};
use crate::arch::aarch64::{cpu, exceptions};
use crate::error::{Error, Kind, Result, Subsystem};
use alloc::boxed::Box;
use arm_gic::gicv2::GicV2;
use arm_gic::gicv2::registers::Gicd;
use arm_gic::gicv3::{GicCpuInterface, GicV3};
use arm_gic::{IntId, InterruptGroup, UniqueMmioPointer};
use core::mem::offset_of;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use heapless::Vec;
use safe_mmio::fields::ReadPureWrite;
use spin::{Mutex, Once};

/// Handlers at most.
const HANDLERS_MAX: usize = 16;
/// Words of GICD_ITARGETSR written: the 32 private interrupts and the first 224 shared ones, virt's all.
const TARGET_WORDS: usize = 64;
type TargetRegisters = [ReadPureWrite<u32>; TARGET_WORDS];
/// Priority of every interrupt so far.
const PRIORITY: u8 = 0x80;

/// Serves one interrupt: quiets its device.
pub type Handler = Box<dyn Fn() + Send + Sync>;

enum Controller {
    V2(GicV2<'static>),
    V3(GicV3<'static>),
}

/// What an interrupt is for; the label of its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The virtual timer.
    Timer,
    /// The network device.
    Network,
}

struct Entry {
    intid: u32,
    handler: Handler,
    taken: &'static AtomicU64,
}

struct Interrupts {
    controller: Mutex<Controller>,
    entries: Once<Vec<Entry, HANDLERS_MAX>>,
}

// The vector enters without arguments: what it serves has to be global.
static INTERRUPTS: Once<Interrupts> = Once::new();

/// Interrupts taken from the timer.
pub static TIMER_TAKEN: AtomicU64 = AtomicU64::new(0);
/// Interrupts taken from the network device.
pub static NETWORK_TAKEN: AtomicU64 = AtomicU64::new(0);
/// Interrupts taken that nobody serves.
pub static UNEXPECTED_TAKEN: AtomicU64 = AtomicU64::new(0);

/// An interrupt and who serves it.
pub struct Binding {
    /// The interrupt.
    pub interrupt: Interrupt,
    /// What it is for.
    pub source: Source,
    /// Serves it.
    pub handler: Handler,
}

/// Sets the controller up and enables the given interrupts for this CPU, still masked by the CPU.
///
/// # Errors
/// `Device` if the controller refuses; `LimitReached` for too many handlers.
///
/// # Safety
/// `gic` must name the machine's interrupt controller, mapped as device memory and used by nothing else.
/// Called once.
pub unsafe fn set_up(
    gic: &Gic,
    cpu_count: usize,
    bindings: impl IntoIterator<Item = Binding>,
) -> Result<()> {
    let mut controller = match gic {
        Gic::V2 {
            distributor,
            cpu_interface,
        } => {
            // SAFETY: our caller promises a GICv2's distributor, used by nothing else; `gic` below is
            // made after this has returned.
            unsafe { target_this_cpu(distributor.start) };
            // SAFETY: our caller promises a GICv2's registers and that they are ours alone.
            let mut gic =
                unsafe { GicV2::new(distributor.start as *mut _, cpu_interface.start as *mut _) };
            gic.setup();
            Controller::V2(gic)
        }
        Gic::V3 {
            distributor,
            redistributors,
        } => {
            let at = |address: u64| address as *mut _;
            let distributor =
                NonNull::new(at(distributor.start)).expect("a device is not at address 0");
            let redistributors = NonNull::new(redistributors.start as *mut _);
            let redistributors = redistributors.expect("a device is not at address 0");
            // SAFETY: our caller promises a GICv3's registers and that they are ours alone.
            let gic = unsafe {
                GicV3::new(
                    UniqueMmioPointer::new(distributor),
                    redistributors,
                    cpu_count,
                )
            };
            let mut gic = gic.map_err(|_| refused("the GICv3"))?;
            gic.setup(0);
            GicCpuInterface::set_priority_mask(0xff);
            Controller::V3(gic)
        }
    };
    let mut entries = Vec::new();
    for binding in bindings {
        controller.enable(binding.interrupt)?;
        let taken = match binding.source {
            Source::Timer => &TIMER_TAKEN,
            Source::Network => &NETWORK_TAKEN,
        };
        let entry = Entry {
            intid: binding.interrupt.intid(),
            handler: binding.handler,
            taken,
        };
        let limit = Kind::LimitReached {
            what: "interrupt handlers",
            limit: HANDLERS_MAX as u64,
        };
        entries
            .push(entry)
            .map_err(|_| Error::new(Subsystem::Platform, limit))?;
    }
    let interrupts = INTERRUPTS.call_once(|| Interrupts {
        controller: Mutex::new(controller),
        entries: Once::new(),
    });
    interrupts.entries.call_once(|| entries);
    exceptions::set_interrupt_handler(serve);
    Ok(())
}

/// Sends all shared interrupts of a GICv2 to the CPU this runs on.
///
/// # Safety
/// `distributor` must be a GICv2's distributor, mapped as device memory and used by nothing else now.
unsafe fn target_this_cpu(distributor: u64) {
    let targets = (distributor as usize + offset_of!(Gicd, itargetsr)) as *mut TargetRegisters;
    let targets = NonNull::new(targets).expect("a device is not at address 0");
    // SAFETY: GICD_ITARGETSR0 to 63 lie there in the distributor that our caller promises.
    let mut targets = unsafe { UniqueMmioPointer::new(targets) };
    // The first words are banked and read as the reader's own mask in each byte (IHI 0048B, 4.3.12).
    let own = targets.get(0).expect("below TARGET_WORDS").read();
    for word in 8..TARGET_WORDS {
        targets.get(word).expect("below TARGET_WORDS").write(own);
    }
}

fn refused(what: &'static str) -> Error {
    Error::new(Subsystem::Platform, Kind::Device { what })
}

fn serve() {
    let Some(interrupts) = INTERRUPTS.get() else {
        return;
    };
    let mut controller = interrupts.controller.lock();
    while let Some(intid) = controller.acknowledge() {
        let entries = interrupts
            .entries
            .get()
            .map(Vec::as_slice)
            .unwrap_or_default();
        match entries
            .iter()
            .find(|entry| entry.intid == intid.raw_value())
        {
            Some(entry) => {
                entry.taken.fetch_add(1, Relaxed);
                (entry.handler)();
            }
            None => {
                UNEXPECTED_TAKEN.fetch_add(1, Relaxed);
                controller.disable(intid);
            }
        }
        controller.end(intid);
    }
}

/// Sleeps until something happens: call with interrupts masked, after the last check that there is no work.
/// The interrupt that ends the sleep has been served when this returns, still masked.
pub fn sleep() {
    cpu::wait_for_interrupt();
    serve();
}

impl Controller {
    fn enable(&mut self, interrupt: Interrupt) -> Result<()> {
        let intid = match interrupt.intid() {
            number @ 0..32 => IntId::ppi(number - 16),
            number => IntId::spi(number - 32),
        };
        let trigger = match interrupt.trigger() {
            Trigger::Edge => arm_gic::Trigger::Edge,
            Trigger::Level => arm_gic::Trigger::Level,
        };
        match self {
            Self::V2(gic) => {
                gic.set_interrupt_priority(intid, PRIORITY);
                if !intid.is_private() {
                    gic.set_trigger(intid, trigger);
                }
                gic.enable_interrupt(intid, true)
                    .map_err(|_| refused("enabling an interrupt"))
            }
            Self::V3(gic) => {
                let cpu = Some(0);
                let failed = |_| refused("enabling an interrupt");
                gic.set_interrupt_priority(intid, cpu, PRIORITY)
                    .map_err(failed)?;
                gic.set_trigger(intid, cpu, trigger).map_err(failed)?;
                gic.set_group(intid, cpu, arm_gic::gicv3::Group::Group1NS)
                    .map_err(failed)?;
                gic.enable_interrupt(intid, cpu, true).map_err(failed)
            }
        }
    }

    fn disable(&mut self, intid: IntId) {
        // An interrupt that cannot be disabled was counted; nothing more can be done about it.
        match self {
            Self::V2(gic) => drop(gic.enable_interrupt(intid, false)),
            Self::V3(gic) => drop(gic.enable_interrupt(intid, Some(0), false)),
        }
    }

    fn acknowledge(&mut self) -> Option<IntId> {
        match self {
            Self::V2(gic) => gic.get_and_acknowledge_interrupt(InterruptGroup::Group0),
            Self::V3(_) => GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1),
        }
    }

    fn end(&mut self, intid: IntId) {
        match self {
            Self::V2(gic) => gic.end_interrupt(intid, InterruptGroup::Group0),
            Self::V3(_) => GicCpuInterface::end_interrupt(intid, InterruptGroup::Group1),
        }
    }
}
