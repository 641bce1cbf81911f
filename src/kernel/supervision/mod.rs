//! The supervisor: what dies is reported, cleared away and started again, on a fiber of its own.
//!
//! Each subsystem is a [`Ward`]: its fiber, its port on the bus, its account, and its [`Body`], which the fiber runs
//! from the start in each incarnation. Wards and bodies are made once by the composition root and outlive every
//! incarnation; all that a body makes while it runs is charged to its owner and goes with it.
//!
//! After a death, in this order: the report ([`super::reports`]); the registry's row; the body quiets what goes on without the
//! fiber (a device); broken locks; the port's incarnation ends; whoever talks to it is told; the memory charged to
//! it is taken back. Then the policy ([`crate::bus::supervisor`]) says who is stopped and started. What cannot be
//! trusted any more, or dies too often, is the machine's: it starts again, warm, and says why.
//!
//! The supervisor's own death is a crash of the image (`nos.on-panic=`).
#![allow(unsafe_code, reason = "what a dead subsystem held is taken back")]

mod health;
pub(in crate::kernel) mod status;
mod ward;

pub(super) use ward::{Body, Ward};

use super::bell::PressureBell;
use super::casebook::Casebook;
use super::chronicle::Chronicle;
use super::crash;
use super::reports::scene::Surroundings;
use super::reports::{Report, SharedReports};
use super::scheduler::{self, FiberId, Fibers, Obituary, State as FiberState, Verdict};
use super::subsystems::News;
use super::this_cpu::ThisCpu;
use crate::bus::registry::{Cause, Registry, State};
use crate::bus::supervisor::{Action, Intensity, NodeId, Strategy, Supervisor};
use crate::bus::{Executor, NEVER, Port, Topic};
use crate::diagnosis::root_cause_analysis::SymptomKind;
use crate::error::{Grow, Result, try_box, try_collect};
use crate::memory::heap::KernelHeap;
use crate::memory::{MemoryManager, Pressure, reclaim};
use crate::platform::console::print;
use crate::platform::time::{Clock, Duration};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;

/// In how long a group of subsystems bears as many restarts as it may.
const GROUP_PERIOD: Duration = Duration::from_secs(5);
/// Groups that gave up, before the machine starts again.
const ROOT_INTENSITY: Intensity = Intensity {
    restarts: 2,
    period: Duration::from_secs(300),
};
/// Actions after one death: a stop and a start for each of eight subsystems, and a reboot.
const ACTIONS_MAX: usize = 17;

/// Actions of the policy, kept while they are carried out.
fn copied(actions: &[Action]) -> heapless::Vec<Action, ACTIONS_MAX> {
    heapless::Vec::from_slice(actions).expect("a stop and a start for each, and a reboot")
}

/// Which group of the tree a subsystem belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// What clients are served by.
    Serving,
    /// What watches and tells.
    Watching,
}

/// All wards and the policy. Lives for ever.
pub(super) struct Supervision {
    fibers: Fibers,
    memory: &'static MemoryManager<ThisCpu>,
    heap: &'static KernelHeap<ThisCpu>,
    clock: &'static dyn Clock,
    registry: &'static Registry,
    port: Arc<Port>,
    wards: Vec<(&'static Ward, NodeId)>,
    policy: Supervisor,
    groups: [NodeId; 2],
    pressure: Option<PressureNews>,
    /// What died, and of what.
    reports: SharedReports,
    chronicle: Option<&'static Chronicle>,
    surroundings: &'static Surroundings,
    health_interval: Duration,
}

/// How the supervisor hears of pressure on memory, and where it tells of it.
pub(super) struct PressureNews {
    pub(super) bell: &'static PressureBell,
    pub(super) casebook: &'static Casebook,
    pub(super) topic: Arc<Topic<News>>,
    /// What it told last.
    pub(super) told: Pressure,
}

impl Supervision {
    /// A supervisor of nothing yet. `port` is its own; each group bears `restarts` in five seconds, and each subsystem is
    /// asked for its health after each `health_interval`.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn new(
        fibers: Fibers,
        heap: &'static KernelHeap<ThisCpu>,
        clock: &'static dyn Clock,
        port: Arc<Port>,
        (restarts, health_interval): (u16, Duration),
        surroundings: &'static Surroundings,
        (reports, chronicle): (SharedReports, Option<&'static Chronicle>),
    ) -> Result<Self> {
        let mut policy = Supervisor::new(Strategy::OneForAll, ROOT_INTENSITY)?;
        let intensity = Intensity {
            restarts: restarts.into(),
            period: GROUP_PERIOD,
        };
        let mut group =
            |name| policy.supervisor(Supervisor::ROOT, name, Strategy::OneForOne, intensity);
        let groups = [group("serving")?, group("watching")?];
        Ok(Self {
            fibers,
            memory: surroundings.memory,
            heap,
            clock,
            registry: surroundings.registry,
            port,
            wards: Vec::new(),
            policy,
            groups,
            pressure: None,
            reports,
            chronicle,
            surroundings,
            health_interval,
        })
    }

    /// Takes a ward, which is started after those taken before.
    ///
    /// # Errors
    /// `Duplicate` if the name is taken; `OutOfMemory`.
    pub(super) fn add(&mut self, ward: &'static Ward, group: Group) -> Result<()> {
        let node = self
            .policy
            .worker(self.groups[group as usize], ward.profile.name)?;
        self.wards.try_reserve(1)?;
        self.fibers.spare(ward.fiber, &*ward.port);
        self.wards.push_reserved((ward, node));
        Ok(())
    }

    /// Has pressure on memory be told on the bus.
    pub(super) fn tell_pressure(&mut self, pressure: PressureNews) {
        self.pressure = Some(pressure);
    }

    /// The wards, in the order of their start.
    pub(super) fn wards(&self) -> impl Iterator<Item = &'static Ward> + '_ {
        self.wards.iter().map(|&(ward, _)| ward)
    }

    /// Starts all wards, and becomes the fiber `own`, to which deaths are told.
    ///
    /// # Errors
    /// Those of [`Fibers::restart`].
    pub(super) fn begin(self, own: FiberId) -> Result<()> {
        let fibers = self.fibers;
        let own_address = Box::into_raw(try_box(self)?) as usize;
        fibers.on_death(own);
        fibers.restart(own, supervise, own_address)
    }

    fn run(&mut self) -> ! {
        let first = copied(self.policy.start_all());
        self.carry_out(&first, None);
        let mut checks = self.checks().expect("there is memory at the start");
        loop {
            while let Some(at) = self.next_dead() {
                self.attend(at);
            }
            self.publish_pressure();
            let deadline = checks.run(self.clock);
            self.fibers
                .park(Some(deadline).filter(|&deadline| deadline != NEVER));
        }
    }

    /// Drains the page caches if memory became short, and tells the others if the level is another than they were told.
    fn publish_pressure(&mut self) {
        let Some(news) = &mut self.pressure else {
            return;
        };
        if !news.bell.take() {
            return;
        }
        if self.memory.pressure() != Pressure::None {
            self.memory.drain_all();
        }
        let level = self.memory.pressure();
        if core::mem::replace(&mut news.told, level) != level {
            let low = SymptomKind::FreeMemoryLow;
            news.casebook.tell(|incidents, now| match level {
                Pressure::None => incidents.clear(low, None, now),
                Pressure::Low | Pressure::Min => {
                    incidents.raise(low, None, now, now);
                }
            });
            // Who misses it is counted under the topic; a full mailbox drops the oldest, and this one says what holds.
            let _ = news.topic.publish_now(&self.port, News::Pressure(level));
        }
    }

    /// What asks the wards for their health, on this fiber.
    fn checks(&self) -> Result<Executor> {
        let mut executor = Executor::new(self.port.clone(), 1)?;
        let patients = try_collect(self.wards().map(health::Patient::new))?;
        let watch = health::watch(
            patients,
            self.fibers,
            self.port.clone(),
            self.health_interval,
        );
        executor.spawn(watch)?;
        Ok(executor)
    }

    /// A ward that is dead though it was not told to stop.
    fn next_dead(&self) -> Option<usize> {
        let is_dead = |(ward, _): &(&Ward, _)| {
            self.fibers.state(ward.fiber) == FiberState::Dead && !ward.is_stopped.load(Relaxed)
        };
        self.wards.iter().position(is_dead)
    }

    fn attend(&mut self, at: usize) {
        let (ward, node) = self.wards[at];
        self.clear_away(ward);
        let now = self.clock.now();
        let actions = copied(self.policy.died(node, now));
        self.carry_out(&actions, Some(ward));
    }

    /// Does what the policy says, after the death of `died` if it was one that made it say so.
    fn carry_out(&mut self, actions: &[Action], died: Option<&'static Ward>) {
        for action in actions {
            match *action {
                Action::Start(name) => self.start(self.ward(name)),
                Action::Stop(name) => self.stop(self.ward(name)),
                Action::WarmReboot => {
                    self.give_up(died.expect("the policy gives up after a death"))
                }
            }
        }
    }

    fn ward(&self, name: &str) -> &'static Ward {
        let found = self.wards().find(|ward| ward.profile.name == name);
        found.expect("the policy knows wards only")
    }

    fn start(&self, ward: &'static Ward) {
        ward.is_stopped.store(false, Relaxed);
        ward.is_up.store(false, Relaxed);
        ward.is_deaf.store(false, Relaxed);
        let name = ward.profile.name;
        // As in `Ward::is_up`.
        let _ = self.registry.set_state(&self.port, name, State::Starting);
        self.fibers
            .restart(ward.fiber, Ward::enter, ward.argument())
            .expect("a ward that is started is dead, or new");
    }

    fn stop(&self, ward: &'static Ward) {
        ward.is_stopped.store(true, Relaxed);
        while self.fibers.state(ward.fiber) == FiberState::Alive {
            self.fibers.stop(ward.fiber);
            if self.fibers.state(ward.fiber) == FiberState::Alive {
                // Its CPU buries it and wakes this fiber.
                self.fibers.park(None);
            }
        }
        if self.fibers.state(ward.fiber) == FiberState::Dead {
            self.clear_away(ward);
        }
        let name = ward.profile.name;
        // As in `Ward::is_up`.
        let _ = self.registry.set_state(&self.port, name, State::Stopped);
    }

    /// Reports a death and takes back what the dead one held.
    fn clear_away(&self, ward: &'static Ward) {
        let Some(obituary) = self.fibers.take_obituary(ward.fiber) else {
            return;
        };
        let (name, cause) = (ward.profile.name, cause_of(&obituary));
        // One that the policy has stopped was not at fault.
        if !ward.is_stopped.load(Relaxed) {
            self.report(name, cause, &obituary);
            // Nor is one that the diagnosis has stopped.
            let is_ordered = ward.is_ordered.swap(false, Relaxed);
            if !is_ordered || obituary.cause != scheduler::Cause::Stopped {
                let refusals = self.memory.usage(ward.owner).refusals;
                ward.casebook.died(ward.part, &obituary, refusals);
            }
        }
        if let Some(row) = self.registry.find(name)
            && !ward.is_up.load(Relaxed)
            && self.port_was_restarted(ward)
        {
            row.status().count_restart(false);
        }
        // As in `Ward::is_up`.
        let _ = self.registry.set_dead(&self.port, name, cause, obituary.at);
        ward.body.quiet();
        let locks = obituary.break_locks();
        // It faulted there: nobody kills it there on purpose. Who waits for what it wrote would wait for ever.
        let is_cut = ward.port.is_in_section();
        ward.port.end_incarnation();
        ward.controls.server_died(&self.port);
        ward.body.mourn();
        // SAFETY: the fiber is dead, nothing else runs for this owner, its devices were quieted, and what others
        // use of it was made by the composition root or was charged to them when it was handed over.
        let reclaimed = unsafe { reclaim(self.heap, self.memory, ward.owner) };
        let is_lost = is_cut || locks.max(reclaimed.verdict) == Verdict::Lost;
        if is_lost {
            crash::warm_reboot(format_args!(
                "{name} died in a section that cannot be mended"
            ));
        }
    }

    /// Tells of a death: at once on the serial line, then to the next life, then for pages.
    #[inline(never)]
    fn report(&self, name: &'static str, cause: Cause, obituary: &Obituary) {
        let scene = self.surroundings.scene(name);
        let report = Report::of(name, cause, obituary, scene);
        print(format_args!("\nnos: "));
        report.tell(&mut print);
        crash::keep_death(&mut |tell| report.tell(tell));
        self.reports.lock().add(report);
        if let Some(chronicle) = self.chronicle {
            chronicle.has_changed();
        }
    }

    /// Starts the machine again because `ward` died once too often, and says of what.
    fn give_up(&self, ward: &'static Ward) -> ! {
        let name = ward.profile.name;
        let reports = self.reports.lock();
        let last = reports.last_of(name).map(|report| report.reason.clone());
        drop(reports);
        let reason = last.unwrap_or_default();
        crash::warm_reboot(format_args!("{name} died too often: {reason}"))
    }

    fn port_was_restarted(&self, ward: &Ward) -> bool {
        ward.port.incarnation() > 0
    }
}

/// What the supervisor's fiber runs.
fn supervise(argument: usize) {
    // SAFETY: `begin` leaked a `Supervision` from a box, for this one start of the fiber, which is never restarted.
    unsafe { &mut *(argument as *mut Supervision) }.run()
}

/// The cause as the registry tells it.
fn cause_of(obituary: &Obituary) -> Cause {
    match obituary.cause {
        scheduler::Cause::Panic | scheduler::Cause::Returned => Cause::Panic,
        scheduler::Cause::StackOverflow => Cause::StackOverflow,
        scheduler::Cause::Hang | scheduler::Cause::Stopped => Cause::Hang,
        scheduler::Cause::Exception if obituary.is_abort() => Cause::Abort,
        scheduler::Cause::Exception => Cause::Undefined,
    }
}
