//! The composition root: builds each part once, hands it what it needs, and runs the data plane.
//!
//! [`run`] is what an image's entry calls. It prepares the ground (memory, clock), reads the boot arguments,
//! takes the network device, starts the application and the HTTP server, and gives every CPU to the scheduler.
//! The data plane is one fiber, the highest on the boot CPU: it polls the stack while there is work, and parks
//! until an interrupt or the next deadline when there is none.
#![allow(
    unsafe_code,
    reason = "devices named by the device tree are handed to their drivers here"
)]

pub mod crash;
mod data_plane;
mod devices;
pub mod ground;
mod pages;
pub mod scheduler;
pub mod secondary_cpus;
mod settings;
mod system;
mod this_cpu;

use crate::app::{Application, Environment, Power};
use crate::arch::aarch64::cpu_block::CpuBlock;
use crate::arch::aarch64::psci::Conduit;
use crate::arch::aarch64::{BootInfo, ImageLayout};
use crate::bus::registry::Registry;
use crate::error::{Error, Kind, Result, Subsystem};
use crate::memory::frames::{FrameSource, PAGE_SIZE};
use crate::net::counters::NetworkCounters;
use crate::net::http::{HttpServer, Limits};
use crate::net::stack::{Secrets, Stack};
use crate::platform::entropy::Entropy;
use crate::platform::pci::PciBus;
use crate::platform::time::Clock;
use alloc::boxed::Box;
use alloc::sync::Arc;
use data_plane::DataPlane;
use ground::Ground;
use pages::Pages;
use scheduler::{FiberSpec, Fibers};
use settings::Settings;
use system::System;

/// Bytes that must be free once all parts are built: a few connections and the keys of a small test.
const SPARE_BYTES_MIN: u64 = 1 << 20;
/// The share of free memory kept from the application for connections and the heap: one part in so many,
const RESERVE_DIVISOR: u64 = 8;
/// but at least this,
const RESERVE_BYTES_MIN: u64 = 1 << 20;
/// and at most this (all connections that the stack allows take more: then the peer is refused).
const RESERVE_BYTES_MAX: u64 = 64 << 20;

/// Bytes of the data plane's stack: the deepest calls (LCS, a page of metrics) with room to spare.
const DATA_PLANE_STACK_BYTES: usize = 256 << 10;
/// Stacks of all fibers, in bytes.
const STACKS: [usize; 1] = [DATA_PLANE_STACK_BYTES];
const DATA_PLANE: FiberSpec = FiberSpec {
    name: "data plane",
    cpu: 0,
    priority: 0,
    stack_bytes: DATA_PLANE_STACK_BYTES,
    // Nobody supervises it yet: a command that takes long must not end the image.
    hang_limit: None,
    owner: 0,
};

/// Makes `$application`, a `Box<dyn Application>`, the application of this image.
#[macro_export]
macro_rules! application {
    ($application:expr) => {
        #[allow(unsafe_code, reason = "the entry code calls this by its name")]
        #[unsafe(no_mangle)]
        extern "C" fn nos_main(boot: &$crate::arch::aarch64::BootInfo) -> ! {
            $crate::kernel::run(boot, || $application)
        }
    };
}

/// Runs the image with the application that `make` makes, once the heap is there.
pub fn run(boot: &BootInfo, make: fn() -> Box<dyn Application>) -> ! {
    // SAFETY: the entry code calls the image's entry once, with what it handed over.
    let ground = unsafe { ground::bring_up(boot, &STACKS) };
    let conduit = ground.conduit;
    match compose(boot, ground, make()) {
        Ok(fibers) => fibers.run(),
        Err(error) => ground::stop(error, conduit),
    }
}

/// What the data plane's fiber runs; `argument` is the address of a [`DataPlane`] that becomes its own.
fn serve(argument: usize) {
    // SAFETY: `compose` leaked a `DataPlane` from a box, for this one start of the fiber, which runs on the CPU
    // that the data plane was made on.
    unsafe { Box::from_raw(argument as *mut DataPlane) }.run()
}

/// Ends the machine at the application's wish.
struct MachinePower(Option<Conduit>);

impl Power for MachinePower {
    fn off(&self) {
        crash::power_off(self.0)
    }
}

fn compose(
    boot: &BootInfo,
    ground: Ground,
    mut application: Box<dyn Application>,
) -> Result<Fibers> {
    let clock = ground.clock;
    let fibers = Fibers::new(ground.machine.cpus.len().max(1), clock)?;
    devices::take_interrupts(&ground, fibers)?;
    let attach = |block: &'static CpuBlock| fibers.attach(block);
    // SAFETY: this is the only call.
    let cpus = unsafe { secondary_cpus::start_all(&ground, attach, scheduler::run_this_cpu) }?;
    let system = Arc::new(System::new(clock, cpus, fibers));
    system.stage_ended("loader", clock.at_ticks(boot.entry_ticks));
    system.stage_done("memory");
    let mut settings = Settings::read(ground.machine.boot_arguments, application.as_mut());
    // SAFETY: `bring_up` mapped what the bridge needs; this is the only use of it.
    let mut bus = ground
        .machine
        .pci
        .as_ref()
        .and_then(|host| unsafe { PciBus::new(host) });
    let panic_device = devices::panic_device(settings.ending, bus.as_mut());
    crash::set_ending(settings.ending, ground.conduit, panic_device);
    if let Some(seconds) = settings.unix_seconds {
        clock.set_wall(seconds);
    }
    let memory = ground.memory;
    let total_mib = (memory.total_frames() * PAGE_SIZE as u64) >> 20;
    log::info!(
        "nos {} on {} CPUs, {total_mib} MiB managed",
        env!("CARGO_PKG_VERSION"),
        ground.machine.cpus.len()
    );

    log::debug!(
        "image at {:#x}, device tree at {:#x}",
        ImageLayout::current().start,
        boot.device_tree
    );

    let mut entropy = devices::entropy(&ground, bus.as_mut());
    let data_plane = fibers.create(&ground.stacks, &DATA_PLANE)?;
    let device = devices::take_network(&ground, bus.as_mut(), fibers, data_plane)?;
    system.stage_done("devices");

    let available = memory.free_frames() * PAGE_SIZE as u64;
    if available < SPARE_BYTES_MIN {
        let kind = Kind::TooLittleMemory {
            available_bytes: available,
            required_bytes: SPARE_BYTES_MIN,
        };
        return Err(Error::new(Subsystem::Memory, kind));
    }
    let reserve = (available / RESERVE_DIVISOR).clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX);
    let mut parts = application.start(Environment {
        frames: memory,
        memory_budget_bytes: available.saturating_sub(reserve),
        clock,
        seed: entropy.next(),
        power: Box::leak(Box::new(MachinePower(ground.conduit))),
    })?;
    system.stage_done("application");

    let mut registry = Registry::new();
    registry.register("system", system.clone())?;
    registry.register("scheduler", Arc::new(fibers))?;
    registry.register("memory", Arc::new(ground.memory))?;
    registry.register("heap", Arc::new(ground.heap))?;
    for (name, source) in parts.sources {
        registry.register(name, source)?;
    }
    let network = Arc::new(NetworkCounters::new());
    registry.register("network", network.clone())?;
    let pages = Pages::new(registry, memory, ground.heap, parts.pages)?;
    let http = HttpServer::new(
        clock,
        settings.http_port,
        Limits::DEFAULT,
        pages.routes,
        pages.counters,
    )?
    .with_admin_token(settings.admin_token);
    parts.services.try_reserve(1)?;
    parts.services.push(Box::new(http));

    let secrets = Secrets {
        sequence_key: [entropy.next(), entropy.next()],
        hash_seed: entropy.next(),
        interface_seed: entropy.next(),
    };
    settings.network.fit(available);
    let stack = Stack::new(
        device,
        settings.network,
        parts.services,
        secrets,
        network,
        clock.now(),
    )?;
    system.stage_done("network");
    let serving = Box::new(DataPlane {
        stack,
        clock,
        system,
        detection: pages.detection,
        memory,
        ready: pages.ready,
        fibers,
    });
    fibers.restart(data_plane, serve, Box::into_raw(serving) as usize)?;
    Ok(fibers)
}
