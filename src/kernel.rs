//! The composition root: builds each part once, hands it what it needs, and gives every CPU to the scheduler.
//!
//! [`run`] is what an image's entry calls. It prepares the ground (memory, clock), reads the boot arguments, finds the
//! devices, starts the application, and makes what outlives every restart: ports, mailboxes, counters, the registry,
//! and for each subsystem ([`subsystems`]) its fiber and its body. The supervisor ([`supervision`]) starts them.
//!
//! A part that the image can be built without is a cargo feature. Its module is declared here, or on its own floor,
//! with what stands in for it: the same interface, and nothing behind it.
#![allow(
    unsafe_code,
    reason = "devices named by the device tree are handed to their drivers here"
)]

pub mod bell;
mod casebook;
mod chronicle;
pub mod crash;
#[cfg_attr(not(feature = "crash-report"), path = "kernel/without/crash_area.rs")]
pub mod crash_area;
mod cut;
mod devices;
#[cfg_attr(not(feature = "block-device"), path = "kernel/without/disk.rs")]
mod disk;
#[cfg_attr(not(feature = "fault-injection"), path = "kernel/without/faults.rs")]
mod faults;
pub mod ground;
mod hands;
mod pages;
#[cfg_attr(not(feature = "symbols"), path = "kernel/without/place.rs")]
mod place;
mod reports;
#[cfg_attr(not(feature = "symbols"), path = "kernel/without/resolver.rs")]
mod resolver;
pub mod scheduler;
#[cfg_attr(not(feature = "smp"), path = "kernel/without/secondary_cpus.rs")]
pub mod secondary_cpus;
mod settings;
mod subsystems;
mod supervision;
mod system;
mod this_cpu;

use crate::app::{Application, Environment, Power};
use crate::arch::aarch64::cpu_block::CpuBlock;
use crate::arch::aarch64::psci::Conduit;
use crate::arch::aarch64::{BootInfo, ImageLayout};
use crate::bus::metrics::{BusMetrics, SubsystemMetrics};
use crate::bus::registry::{Registry, SharedSource};
use crate::bus::subsystem::Controls;
use crate::bus::{Address, Exchange, Mailbox, Plan, Policy, Port, Queue, Topic, TopicId};
use crate::diagnosis::symbol_cache::SymbolCacheCounters;
use crate::diagnosis::{DetectionPolicy, FaultDetection};
use crate::error::{Error, Grow, Kind, Result, Subsystem, arc_at_boot, try_collect};
use crate::memory::frames::{FrameSource, Order, PAGE_SIZE};
use crate::memory::{MemoryManager, Pressure, Verdict};
use crate::net::counters::NetworkCounters;
use crate::net::http::HttpCounters;
use crate::net::http::relay::{Parcels, Wires};
use crate::net::peers::PeerTable;
use crate::platform::entropy::Entropy;
use crate::platform::virtio;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bell::{FiberBell, PressureBell};
use casebook::{Casebook, CasebookMetrics};
use chronicle::Chronicle;
use core::sync::atomic::{AtomicBool, AtomicU64};
use devices::NetworkFinder;
use disk::DiskFinder;
use faults::Faults;
use ground::Ground;
use hands::Hands;
use pages::PageMaker;
use reports::Reports;
use reports::scene::Surroundings;
use scheduler::{FiberId, Fibers, Locked};
use settings::Settings;
use spin::Once;
use subsystems::data_plane::{self, DataPlaneBody};
use subsystems::diagnosis::{self, DiagnosisBody};
use subsystems::http::{self, HttpBody};
use subsystems::{
    DATA_PLANE, DIAGNOSIS, Entry, HTTP, PRESSURE_TOPIC, STACKS, START_ORDER, STORE, SUPERVISOR,
};
use supervision::{Group, PressureNews, Supervision, Ward};
use system::System;
use this_cpu::ThisCpu;

/// Bytes that must be free once all parts are built: the rings of the network device and what the data plane leaves to
/// the others (512 KiB each), a few connections and the keys of a small test.
const SPARE_BYTES_MIN: u64 = (1 << 20) + (512 << 10);
/// The share of free memory kept from the application for connections and the heap: one part in so many,
const RESERVE_DIVISOR: u64 = 8;
/// but at least this,
const RESERVE_BYTES_MIN: u64 = 1 << 20;
/// and at most this (all connections that the stack allows take more: then the peer is refused).
const RESERVE_BYTES_MAX: u64 = 64 << 20;

/// The share of all memory that HTTP may have: one part in so many,
const HTTP_QUOTA_DIVISOR: u64 = 8;
/// but at least this: a page of metrics on each of a few connections.
const HTTP_QUOTA_BYTES_MIN: u64 = 1 << 20;
/// What the diagnosis may have: its tasks.
const DIAGNOSIS_QUOTA_BYTES: u64 = 256 << 10;
/// The data plane's blocks from this order up, 64 KiB, are parts of large requests and answers; smaller ones are sockets'
/// rings and slabs of its heap, without which nobody is answered any more. Such blocks are "costly" to Linux, too.
const LARGE_REQUEST: Order = Order::new(4).expect("an order");
/// The topic of pressure on memory.
const PRESSURE: TopicId = TopicId(0);
/// Questions of the supervisor that a subsystem may have unanswered.
const CONTROLS_OPEN: usize = 4;
/// Words that work was done which wait for the diagnosis: one says as much as many.
const WORK_DONE_SLOTS: usize = 2;

/// Makes `$application`, a `Box<dyn Application>`, the application of this image.
#[macro_export]
macro_rules! application {
    ($application:expr) => {
        #[allow(unsafe_code, reason = "the entry code calls this by its name")]
        #[allow(
            clippy::disallowed_methods,
            reason = "the application is boxed at boot"
        )]
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
    fibers.keep_caches_of(ground.memory);
    devices::take_interrupts(&ground, fibers)?;
    let attach = |block: &'static CpuBlock| fibers.attach(block);
    // SAFETY: this is the only call.
    let cpus = unsafe { secondary_cpus::start_all(&ground, attach, scheduler::run_this_cpu) }?;
    let system = arc_at_boot(System::new(clock, cpus, fibers));
    system.stage_ended("loader", clock.at_ticks(boot.entry_ticks));
    system.stage_done("memory");
    let mut settings = Settings::read(ground.machine.boot_arguments, application.as_mut());
    // SAFETY: `bring_up` mapped what it needs; this is the only call.
    let mut bus = unsafe { virtio::bus(ground.machine) }?;
    let panic_device = devices::panic_device(settings.ending, bus.as_mut());
    crash::set_ending(settings.ending, ground.conduit, panic_device);
    crash::tell_last_life();
    place::set_lines(ground.initrd);
    if let Some(seconds) = settings.unix_seconds {
        clock.set_wall(seconds);
    }
    let memory = ground.memory;
    let total_bytes = memory.total_frames() * PAGE_SIZE as u64;
    let total_mib = total_bytes >> 20;
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

    let entropy = devices::entropy(&ground, bus.as_mut());
    let entropy: &'static _ = leak(Locked::new(entropy, |_| Verdict::Intact));
    // Whoever died while it looked a device up changed nothing there.
    let bus: &'static _ = leak(Locked::new(bus, |_| Verdict::Intact));
    let makings = Makings {
        ground: &ground,
        fibers,
        settings: &settings,
    };
    let [own, data_plane, http, diagnosis] =
        [SUPERVISOR, DATA_PLANE, HTTP, DIAGNOSIS].map(|entry| makings.fiber(&entry));
    let (own, data_plane, http, diagnosis) = (own?, data_plane?, http?, diagnosis?);
    let device = NetworkFinder::new(ground.machine, bus);
    device.bind(fibers, data_plane)?;
    let may_format = settings.may_format_disk;
    let disk = DiskFinder::new(ground.machine, bus, may_format, fibers, data_plane)?;
    let disk: &'static _ = leak(disk);
    let faults = Faults::new(memory, clock, entropy, disk)?;
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
    let environment = Environment {
        frames: faults.store_frames(),
        memory_budget_bytes: available.saturating_sub(reserve),
        clock,
        seed: entropy.lock().next(),
        keep_alive_seconds: settings
            .network
            .keep_alive
            .map_or(0, |silence| silence.as_secs()),
        power: leak(MachinePower(ground.conduit)),
        disk,
        parts: &[],
    };
    application.prepare(environment)?;
    let application: &'static dyn Application = Box::leak(application);
    let parts = application.parts()?;
    system.stage_done("application");
    let quota = (available / HTTP_QUOTA_DIVISOR).max(HTTP_QUOTA_BYTES_MIN);
    memory.set_quota(HTTP.owner, Some(quota));
    memory.set_quota(DIAGNOSIS.owner, Some(DIAGNOSIS_QUOTA_BYTES));
    // The data plane leaves the others what ends pressure: it meets its quota before the reserve.
    let left = memory.watermarks().high * PAGE_SIZE as u64;
    memory.set_quota(DATA_PLANE.owner, Some(available.saturating_sub(left)));
    // Keys can be evicted or refused, and so can requests; what is left answers small ones and scrapes.
    memory.keep_off_reserve(STORE, Order::ZERO);
    memory.keep_off_reserve(DATA_PLANE.owner, LARGE_REQUEST);

    let exchange = arc_at_boot(Exchange::new());
    let port =
        |entry: &Entry, fiber| exchange.add(entry.name, entry.owner, FiberBell::new(fibers, fiber));
    let supervisor_port = port(&SUPERVISOR, own)?;
    let data_plane_port = port(&DATA_PLANE, data_plane)?;
    let http_port = port(&HTTP, http)?;
    let diagnosis_port = port(&DIAGNOSIS, diagnosis)?;
    let plan = |topic, reader: &Arc<Port>, capacity, policy| Plan {
        topic,
        address: Address::Receiver(reader.id()),
        reader: reader.clone(),
        exchange: exchange.clone(),
        capacity,
        policy,
    };
    let controls = |topic, reader: &Arc<Port>| -> Result<Arc<Controls>> {
        let plan = plan(topic, reader, CONTROLS_OPEN, Policy::Refuse);
        Ok(arc_at_boot(Controls::new(plan, CONTROLS_OPEN)?))
    };
    let work_done = plan(
        "diagnosis",
        &diagnosis_port,
        WORK_DONE_SLOTS,
        Policy::DropOldest,
    );
    let work_done = arc_at_boot(Mailbox::new(work_done)?);
    let pressure = Topic::new(PRESSURE, PRESSURE_TOPIC, exchange.clone());
    let pressure = arc_at_boot(pressure);
    let news = pressure.subscribe(data_plane_port.clone(), 1, Policy::DropOldest)?;
    let wires = Wires::new(&exchange, &data_plane_port, &http_port)?;
    faults.attach(&wires);
    let data_plane_controls = controls("data-plane.control", &data_plane_port)?;
    let http_controls = controls("http.control", &http_port)?;
    let diagnosis_controls = controls("diagnosis.control", &diagnosis_port)?;

    let network = arc_at_boot(NetworkCounters::new());
    let paths = pages::paths(&parts.pages)?;
    let http_counters = arc_at_boot(HttpCounters::new(&paths)?);
    let mut registry = Registry::new();
    registry.register("system", system.clone())?;
    registry.register("scheduler", arc_at_boot(fibers))?;
    registry.register("memory", arc_at_boot(ground.memory))?;
    registry.register("heap", arc_at_boot(ground.heap))?;
    for (name, source) in parts.sources {
        registry.register(name, source)?;
    }
    let subsystem =
        |registry: &mut Registry,
         profile,
         port: &Arc<Port>,
         source: Option<SharedSource>,
         queues| { registry.register_subsystem(profile, port.clone(), source, queues) };
    let mut bus_metrics = BusMetrics::new();
    bus_metrics.add(wires.to_network().clone())?;
    bus_metrics.add(wires.to_http().clone())?;
    bus_metrics.add(work_done.clone())?;
    bus_metrics.add(pressure.clone())?;
    let source: SharedSource = network.clone();
    let mut queues = two(wires.to_network().clone(), data_plane_controls.clone())?;
    queues.push_reserved(news.clone());
    subsystem(
        &mut registry,
        data_plane::PROFILE,
        &data_plane_port,
        Some(source),
        queues,
    )?;
    let source: SharedSource = http_counters.clone();
    let queues = two(wires.to_http().clone(), http_controls.clone())?;
    subsystem(
        &mut registry,
        http::PROFILE,
        &http_port,
        Some(source),
        queues,
    )?;
    let profiles = [data_plane::PROFILE, http::PROFILE, diagnosis::PROFILE];
    let casebook = Casebook::new(
        settings.incidents,
        settings.remedies,
        &profiles,
        clock,
        fibers,
        diagnosis,
    );
    let casebook: &'static Casebook = leak(casebook);
    let source: SharedSource = arc_at_boot(CasebookMetrics(casebook));
    let queues = two(work_done.clone(), diagnosis_controls.clone())?;
    subsystem(
        &mut registry,
        diagnosis::PROFILE,
        &diagnosis_port,
        Some(source),
        queues,
    )?;
    if let Some(source) = faults.source() {
        registry.register("faults", source)?;
    }
    registry.register("bus", arc_at_boot(bus_metrics))?;
    let subsystem_metrics = SubsystemMetrics::of(&registry)?;
    registry.register("subsystems", arc_at_boot(subsystem_metrics))?;
    let symbol_cache = arc_at_boot(SymbolCacheCounters::default());
    registry.register("symbols", symbol_cache.clone())?;
    let registry: &'static Arc<Registry> = leak(arc_at_boot(registry));
    let reports: &'static _ = leak(Reports::shared());
    let surroundings: &'static _ = leak(Surroundings {
        memory,
        registry,
        application,
    });
    crash::set_witness(surroundings);
    let chronicle: Option<&'static Chronicle> = match disk.is_there() {
        true => {
            let writer = fibers.wake_handle(data_plane);
            let chronicle: &'static _ = leak(Chronicle::new(registry, reports, writer)?);
            disk.join(faults, clock, leak(casebook), chronicle);
            Some(chronicle)
        }
        false => None,
    };

    let policy = DetectionPolicy::DEFAULT;
    let detection: &'static _ = leak(Locked::new(FaultDetection::new(policy), |detection| {
        *detection = FaultDetection::new(DetectionPolicy::DEFAULT);
        Verdict::Rebuilt
    }));
    let is_ready: &'static AtomicBool = leak(AtomicBool::new(false));
    let wards: &'static Once<Vec<&'static Ward>> = leak(Once::new());
    let shed_bytes: &'static AtomicU64 = leak(AtomicU64::new(0));
    let hands: &'static Hands = leak(Hands {
        fibers,
        memory,
        registry,
        wards,
        topic: pressure.clone(),
        port: diagnosis_port.clone(),
        shed_bytes,
    });
    settings.network.fit(available);
    let peers = leak(PeerTable::new(settings.network.connection_limit)?);
    let data_plane_body = leak(DataPlaneBody {
        fibers,
        clock,
        system: system.clone(),
        device,
        faults,
        disk,
        application,
        environment,
        network: settings.network,
        counters: network,
        peers,
        entropy,
        http_port: settings.http_port,
        http,
        wires: wires.clone(),
        parcels: parcels(memory, faults, &DATA_PLANE),
        diagnosis: work_done.clone(),
        news,
        shed_bytes,
        memory,
        sample_interval: policy.sample_interval,
        is_ready,
    });
    let http_body = leak(HttpBody {
        fibers,
        clock,
        application,
        pages: PageMaker {
            registry: registry.clone(),
            memory,
            heap: ground.heap,
            fibers,
            detection,
            casebook,
            hands,
            is_ready,
            wards,
            counters: http_counters,
            reports,
            chronicle,
            symbol_cache,
            clock,
            faults,
        },
        port: settings.http_port,
        admin_token: settings.admin_token,
        data_plane,
        wires,
        parcels: parcels(memory, faults, &HTTP),
    });
    let diagnosis_body = leak(DiagnosisBody {
        fibers,
        clock,
        memory,
        detection,
        casebook,
        chronicle,
        hands,
        others_bytes: total_bytes.saturating_sub(environment.memory_budget_bytes),
        mailbox: work_done,
        data_plane,
        has_worked: AtomicBool::new(false),
    });
    let mut supervision = Supervision::new(
        fibers,
        ground.heap,
        clock,
        supervisor_port,
        (settings.restarts, settings.health_interval),
        surroundings,
        (reports, chronicle),
    )?;
    let ward = |profile, fiber, port, controls, body| {
        Ward::new(
            profile,
            fiber,
            port,
            controls,
            body,
            (registry, casebook),
            faults.turns(),
        )
    };
    let supervised = [
        (
            ward(
                data_plane::PROFILE,
                data_plane,
                data_plane_port,
                data_plane_controls,
                data_plane_body,
            )?,
            Group::Serving,
        ),
        (
            ward(http::PROFILE, http, http_port, http_controls, http_body)?,
            Group::Watching,
        ),
        (
            ward(
                diagnosis::PROFILE,
                diagnosis,
                diagnosis_port,
                diagnosis_controls,
                diagnosis_body,
            )?,
            Group::Watching,
        ),
    ];
    let bell = leak(PressureBell::new(FiberBell::new(fibers, own)));
    memory.set_pressure_listener(bell);
    supervision.tell_pressure(PressureNews {
        bell,
        casebook,
        topic: pressure,
        told: Pressure::None,
    });
    for (ward, group) in START_ORDER.map(|at| supervised[at]) {
        supervision.add(ward, group)?;
    }
    let all = try_collect(supervision.wards())?;
    wards.call_once(|| all);
    if let Some(orders) = settings.faults {
        faults.arm(orders);
    }
    supervision.begin(own)?;
    Ok(fibers)
}

/// Makes a part that lives as long as the image. Without memory for its parts there is no image: a refusal ends it with
/// the allocator's message.
#[expect(clippy::disallowed_methods, reason = "at boot")]
fn leak<T>(part: T) -> &'static T {
    Box::leak(Box::new(part))
}

/// A subsystem's messages and what the supervisor asks it, as the registry takes them; with room for one more.
fn two(messages: Arc<dyn Queue>, controls: Arc<Controls>) -> Result<Vec<Arc<dyn Queue>>> {
    let mut queues: Vec<Arc<dyn Queue>> = Vec::new();
    queues.try_reserve_exact(3)?;
    queues.push_reserved(messages);
    queues.push_reserved(controls);
    Ok(queues)
}

/// Where that subsystem's long messages come from.
fn parcels(memory: &'static MemoryManager<ThisCpu>, faults: Faults, of: &Entry) -> Parcels {
    Parcels {
        frames: faults.message_frames(),
        charge: memory,
        owner: of.owner,
    }
}

/// What a fiber is made from.
struct Makings<'a> {
    ground: &'a Ground,
    fibers: Fibers,
    settings: &'a Settings,
}

impl Makings<'_> {
    fn fiber(&self, entry: &Entry) -> Result<FiberId> {
        let cpus = self.ground.machine.cpus.len().max(1);
        let cpu = self.settings.placement.cpu_of(entry.name, cpus);
        let limit = (entry.name != SUPERVISOR.name).then_some(self.settings.hang_limit);
        self.fibers
            .create(&self.ground.stacks, &entry.fiber(cpu, limit))
    }
}
