//! Interrupts: the table of who serves what, on which CPU how often.
//!
//! An interrupt is acknowledged, its handler runs with interrupts masked, and it is ended. Handlers do the least
//! that quiets their device and wake whoever has the work; they take no locks. Spurious interrupts and those
//! without a handler are counted; the latter are disabled. Shared interrupts go to the boot CPU; one that is
//! private to each CPU has one handler for all. The controller itself is in `gic`.

use super::device_tree::{CPUS_MAX, Gic, Interrupt};
use super::gic::{Controller, Lines};
use crate::arch::aarch64::{cpu, exceptions};
use crate::error::{Error, Kind, Result, Subsystem};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use spin::{Mutex, Once};

/// Handlers at most.
const HANDLERS_MAX: usize = 16;
/// The software-generated interrupt by which CPUs wake each other.
const WAKE: u32 = 0;
/// Private interrupts have numbers below this.
const SHARED_FIRST: u32 = 32;

/// Serves one interrupt: quiets its device.
pub type Handler = Box<dyn Fn() + Send + Sync>;

/// What an interrupt is for; the label of its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The virtual timer.
    Timer,
    /// The network device.
    Network,
    /// The block device.
    Block,
    /// Another CPU that has work for this one.
    Wake,
    /// Nobody serves it.
    Unexpected,
}

/// All sources, with the words that metrics use.
pub const SOURCES: [(Source, &str); 5] = [
    (Source::Timer, "timer"),
    (Source::Network, "network"),
    (Source::Block, "block"),
    (Source::Wake, "wake"),
    (Source::Unexpected, "unexpected"),
];

/// An interrupt and who serves it.
pub struct Binding {
    /// The interrupt.
    pub interrupt: Interrupt,
    /// What it is for.
    pub source: Source,
    /// Serves it.
    pub handler: Handler,
}

struct Interrupts {
    controller: Mutex<Controller>,
    lines: Lines,
    cpu_count: usize,
    bindings: [Once<Binding>; HANDLERS_MAX],
    /// The number of each binding's interrupt, to be searched; it says nothing of whether the binding is whole.
    numbers: [AtomicU32; HANDLERS_MAX],
    bound: AtomicUsize,
    on_wake: Once<Handler>,
    /// How each CPU is named as a target, by its number.
    targets: [AtomicU64; CPUS_MAX],
}

// The vector enters without arguments: what it serves has to be global.
static INTERRUPTS: Once<Interrupts> = Once::new();
static TAKEN: [[AtomicU64; SOURCES.len()]; CPUS_MAX] =
    [const { [const { AtomicU64::new(0) }; SOURCES.len()] }; CPUS_MAX];

/// Interrupts of that source that CPU number `cpu` took.
pub fn taken(cpu: usize, source: Source) -> u64 {
    TAKEN[cpu][source as usize].load(Relaxed)
}

fn count(source: Source) {
    let count = &TAKEN[cpu::current()][source as usize];
    // Only this CPU writes it, one interrupt at a time.
    count.store(count.load(Relaxed) + 1, Relaxed);
}

/// Sets the controller up, for `cpu_count` CPUs, all shared interrupts going to this one, and binds.
///
/// # Errors
/// `Device` if the controller refuses; `LimitReached` for too many handlers.
///
/// # Safety
/// `gic` must name the machine's interrupt controller, mapped as device memory and used by nothing else.
/// Called once.
#[allow(unsafe_code, reason = "hands the caller's promise on")]
pub unsafe fn set_up(
    gic: &Gic,
    cpu_count: usize,
    bindings: impl IntoIterator<Item = Binding>,
) -> Result<()> {
    // SAFETY: our caller's promise is the one asked for.
    let (controller, lines) = unsafe { Controller::new(gic, cpu_count) }?;
    let interrupts = INTERRUPTS.call_once(|| Interrupts {
        controller: Mutex::new(controller),
        lines,
        cpu_count,
        bindings: [const { Once::new() }; HANDLERS_MAX],
        numbers: [const { AtomicU32::new(u32::MAX) }; HANDLERS_MAX],
        bound: AtomicUsize::new(0),
        on_wake: Once::new(),
        targets: [const { AtomicU64::new(0) }; CPUS_MAX],
    });
    interrupts.announce()?;
    exceptions::set_interrupt_handler(|_| serve());
    bindings.into_iter().try_for_each(bind)
}

/// Sets up what the controller has for the CPU this runs on, another one than called [`set_up`]; private
/// interrupts that were bound are served here as well.
///
/// # Errors
/// `Device` if the controller refuses, or was not set up.
pub fn set_up_this_cpu() -> Result<()> {
    let interrupts = the_interrupts()?;
    let with_controller = || {
        interrupts
            .controller
            .lock()
            .set_up_this_cpu(interrupts.cpu_count)
    };
    cpu::without_interrupts(with_controller)?;
    interrupts.announce()?;
    for binding in interrupts.bindings.iter().filter_map(Once::get) {
        if binding.interrupt.intid() < SHARED_FIRST {
            interrupts.enable(binding.interrupt)?;
        }
    }
    Ok(())
}

/// Enables an interrupt, served as `binding` says; a private one on this CPU and on all set up later.
///
/// # Errors
/// `Device` if the controller refuses, or was not set up; `LimitReached` for too many handlers.
pub fn bind(binding: Binding) -> Result<()> {
    let interrupts = the_interrupts()?;
    let interrupt = binding.interrupt;
    let place = interrupts.bound.fetch_add(1, Relaxed);
    let limit = Kind::LimitReached {
        what: "interrupt handlers",
        limit: HANDLERS_MAX as u64,
    };
    interrupts
        .bindings
        .get(place)
        .ok_or(Error::new(Subsystem::Platform, limit))?
        .call_once(|| binding);
    interrupts.numbers[place].store(interrupt.intid(), Relaxed);
    interrupts.enable(interrupt)
}

/// Has `handler` called on a CPU that [`wake`] interrupted.
///
/// # Errors
/// `Device` if the controller was not set up.
pub fn on_wake(handler: Handler) -> Result<()> {
    the_interrupts()?.on_wake.call_once(|| handler);
    Ok(())
}

/// Interrupts CPU number `cpu`, after all stores so far; nothing if that CPU is not set up.
pub fn wake(cpu: usize) {
    let Some(interrupts) = INTERRUPTS.get() else {
        return;
    };
    match interrupts.targets[cpu].load(Relaxed) {
        0 => {}
        target => interrupts.lines.send(WAKE, target - 1),
    }
}

/// Serves all interrupts that are pending on this CPU. Call with interrupts masked.
pub fn serve() {
    let Some(interrupts) = INTERRUPTS.get() else {
        return;
    };
    while let Some(taken) = interrupts.lines.acknowledge() {
        interrupts.serve_one(taken.number());
        interrupts.lines.end(taken);
    }
}

fn the_interrupts() -> Result<&'static Interrupts> {
    let what = "an interrupt controller that is not set up";
    INTERRUPTS
        .get()
        .ok_or(Error::new(Subsystem::Platform, Kind::Device { what }))
}

impl Interrupts {
    /// Lets other CPUs interrupt this one.
    fn announce(&self) -> Result<()> {
        let target = cpu::without_interrupts(|| -> Result<u64> {
            let mut controller = self.controller.lock();
            controller.enable_software(WAKE, self.cpu_count)?;
            Ok(controller.own_target())
        })?;
        // 0 is for a CPU that is not there; the affinity of the first is 0.
        self.targets[cpu::current()].store(target + 1, Relaxed);
        Ok(())
    }

    fn enable(&self, interrupt: Interrupt) -> Result<()> {
        cpu::without_interrupts(|| self.controller.lock().enable(interrupt, self.cpu_count))
    }

    fn serve_one(&self, number: u32) {
        if number == WAKE {
            count(Source::Wake);
            if let Some(handler) = self.on_wake.get() {
                handler();
            }
            return;
        }
        let mut numbers = self.numbers.iter();
        let place = numbers.position(|bound| bound.load(Relaxed) == number);
        match place.and_then(|place| self.bindings[place].get()) {
            Some(binding) => {
                count(binding.source);
                (binding.handler)();
            }
            None => {
                count(Source::Unexpected);
                // Whoever holds the controller is on another CPU, as it masks interrupts: the interrupt comes
                // again.
                if let Some(mut controller) = self.controller.try_lock() {
                    controller.disable(number, self.cpu_count);
                }
            }
        }
    }
}
