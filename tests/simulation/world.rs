//! The simulated machine: fibers that run when they are woken, one step at a time; deaths; what follows them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use nos::bus::registry::{Cause, Registry, State};
use nos::bus::subsystem::{Controls, Profile};
use nos::bus::supervisor::{Action, Intensity, Strategy, Supervisor};
use nos::bus::{
    Address, Exchange, Executor, Mailbox, NEVER, Owner, Plan, Policy, Port, Queue, Reason, Service,
    Step, Topic, TopicId,
};
use nos::platform::time::{Duration, Instant};

use crate::ledger::Ledger;
use crate::memory::Memory;
use crate::toys::{Noted, Shared, start};

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Breakage {
    None,
    LosesMessages,
    DoublesMessages,
    DoesNotRing,
    KeepsCharges,
    RestartsTooOften,
    HidesDeaths,
    ForgetsClients,
}

/// splitmix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 8) % bound
    }
}

/// What a run saw.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) trace: u64,
    pub(crate) delivered: u64,
    pub(crate) dropped: u64,
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) kills: u64,
    pub(crate) escalations: u64,
    pub(crate) reboots: u64,
}

impl Outcome {
    pub(crate) fn add(&mut self, other: &Self) {
        self.trace ^= other.trace;
        self.delivered += other.delivered;
        self.dropped += other.dropped;
        self.answered += other.answered;
        self.failed += other.failed;
        self.kills += other.kills;
        self.escalations += other.escalations;
        self.reboots += other.reboots;
    }
}

const NAMES: [&str; 5] = ["sink", "server", "listener", "left", "right"];
/// Those below the inner supervisor; the others are below the root.
const INNER: [&str; 3] = ["listener", "left", "right"];
const INNER_LIMIT: usize = 2;
const ROOT_LIMIT: usize = 4;
const PERIOD: Duration = Duration::from_nanos(300);

struct Fiber {
    port: Arc<Port>,
    bell: Arc<Noted>,
    executor: Option<Executor>,
    deadline: Instant,
}

/// Restarts that a level decided, noted apart from the policy's own count.
#[derive(Default)]
struct Restarts(Vec<Instant>);

impl Restarts {
    fn note(&mut self, now: Instant) -> usize {
        self.0.push(now);
        self.0
            .iter()
            .filter(|&&then| now.since(then) <= PERIOD)
            .count()
    }
}

pub(crate) struct World {
    now: Instant,
    fibers: Vec<Fiber>,
    shared: Arc<Shared>,
    registry: Registry,
    tree: Supervisor,
    supervisor: Arc<Port>,
    inner: Restarts,
    root: Restarts,
    outcome: Outcome,
    rebooted: bool,
}

impl World {
    pub(crate) fn new(seed: u64, breakage: Breakage) -> Self {
        let mut random = Random(seed);
        let exchange = Arc::new(Exchange::new());
        let add = |name, owner| {
            let bell = Arc::new(Noted {
                rang: AtomicBool::new(true),
                broken: breakage == Breakage::DoesNotRing,
            });
            let port = exchange.add(name, Owner(owner), bell.clone());
            (port.expect("a new name"), bell)
        };
        let fibers: Vec<Fiber> = (1..)
            .zip(NAMES)
            .map(|(owner, name)| {
                let (port, bell) = add(name, owner);
                Fiber {
                    port,
                    bell,
                    executor: None,
                    deadline: NEVER,
                }
            })
            .collect();
        let (supervisor, _) = add("supervisor", 99);
        let policies = [Policy::Refuse, Policy::DropOldest, Policy::Wait];
        let mut plan = |topic, fiber: usize| {
            let reader = fibers[fiber].port.clone();
            Plan {
                topic,
                address: Address::Receiver(reader.id()),
                reader,
                exchange: exchange.clone(),
                capacity: 2 << random.below(3),
                policy: policies[random.below(3) as usize],
            }
        };
        let mailbox = |plan| Arc::new(Mailbox::new(plan).expect("memory"));
        let mail = Arc::new(Mailbox::new(plan("mail", 0)).expect("memory"));
        let sums = Arc::new(Service::new(plan("sums", 1), 4).expect("memory"));
        let mut controls = |fiber| -> Arc<Controls> {
            Arc::new(Service::new(plan("controls", fiber), 4).expect("memory"))
        };
        let sink_controls = controls(0);
        let unused: Vec<_> = [1, 2, 3, 4].map(&mut controls).into();
        let unused = (1..)
            .zip(unused)
            .map(|(fiber, controls)| (mailbox(plan("unused", fiber)), controls));
        let unused = unused.collect();
        let news = Arc::new(Topic::new(TopicId(0), "news", exchange.clone()));
        let listener = fibers[2].port.clone();
        let heard = news.subscribe(listener, 4, policies[random.below(3) as usize]);
        let memory: &'static Memory = Box::leak(Box::default());
        memory
            .keeps_charges
            .store(breakage == Breakage::KeepsCharges, Relaxed);
        let shared = Arc::new(Shared {
            mail,
            heard: heard.expect("room"),
            news,
            sums,
            controls: sink_controls,
            unused,
            ledger: Ledger::default().into(),
            random: random.into(),
            memory,
            breakage,
        });
        let mut registry = Registry::new();
        for fiber in &fibers {
            let profile = Profile {
                name: fiber.port.name(),
                ..Profile::default()
            };
            let added = registry.register_subsystem(profile, fiber.port.clone(), None, Vec::new());
            added.expect("a new name");
        }
        let mut world = Self {
            now: Instant::from_nanos(1),
            fibers,
            shared,
            registry,
            tree: tree(breakage),
            supervisor,
            inner: Restarts::default(),
            root: Restarts::default(),
            outcome: Outcome::default(),
            rebooted: false,
        };
        let actions = world.tree.start_all().to_vec();
        world.carry_out(&actions);
        world
    }

    /// Runs that many steps with deaths, and then without until nothing is left to do at this moment.
    pub(crate) fn run(&mut self, steps: usize) -> Result<Outcome, String> {
        for _ in 0..steps {
            if self.rebooted {
                break;
            }
            self.step();
            self.check()?;
        }
        // A wake that was lost is seen by what it leaves behind.
        let mut turns = 0;
        while !self.rebooted && turns < 10_000 {
            let Some(fiber) = self.runnable().first().copied() else {
                break;
            };
            self.step_fiber(fiber);
            self.check()?;
            turns += 1;
        }
        if !self.rebooted {
            self.check_quiet()?;
        }
        let ledger = self.shared.ledger();
        let tallies = [self.shared.mail.tally(), self.shared.news.tally()];
        Ok(Outcome {
            trace: ledger.trace,
            delivered: tallies.iter().map(|tally| tally.delivered).sum(),
            dropped: tallies.iter().flat_map(|tally| tally.dropped).sum(),
            answered: ledger.answered,
            failed: ledger.failed,
            ..std::mem::take(&mut self.outcome)
        })
    }

    fn runnable(&self) -> Vec<usize> {
        let runs = |fiber: &Fiber| {
            fiber.executor.is_some()
                && (fiber.bell.rang.load(Relaxed) || fiber.deadline <= self.now)
        };
        (0..self.fibers.len())
            .filter(|&fiber| runs(&self.fibers[fiber]))
            .collect()
    }

    fn step(&mut self) {
        let choice = self.shared.below(100);
        self.shared.ledger().trace(choice);
        let runnable = self.runnable();
        if choice < 2 {
            let victim = self.shared.below(self.fibers.len() as u64) as usize;
            self.kill(victim);
        } else if runnable.is_empty() || choice < 12 {
            let soon = self.now + Duration::from_nanos(1 + self.shared.below(10));
            let next = self
                .fibers
                .iter()
                .map(|fiber| fiber.deadline)
                .min()
                .unwrap_or(NEVER);
            self.now = if runnable.is_empty() && next != NEVER {
                next.max(self.now)
            } else {
                soon
            };
        } else {
            let fiber = runnable[self.shared.below(runnable.len() as u64) as usize];
            self.step_fiber(fiber);
        }
    }

    fn step_fiber(&mut self, number: usize) {
        let fiber = &mut self.fibers[number];
        // As the kernel's park: the bell is taken before the executor looks.
        fiber.bell.rang.store(false, Relaxed);
        let Some(executor) = &mut fiber.executor else {
            return;
        };
        let step = executor.step(self.now);
        match step {
            Step::Idle(deadline) => fiber.deadline = deadline,
            Step::Polled(_) => fiber.deadline = self.now,
        }
        let trace = (number as u64) << 32 | matches!(step, Step::Polled(_)) as u64;
        self.shared.ledger().trace(trace ^ self.now.as_nanos() << 8);
    }

    fn kill(&mut self, victim: usize) {
        let name = self.fibers[victim].port.name();
        if !self.end(victim) {
            return;
        }
        self.outcome.kills += 1;
        if self.shared.breakage != Breakage::HidesDeaths {
            let noted = self
                .registry
                .set_dead(&self.supervisor, name, Cause::Panic, self.now);
            let _ = noted.expect("it is registered");
        }
        let node = self.tree.find(name).expect("it is supervised");
        let actions = self.tree.died(node, self.now).to_vec();
        self.judge(name, &actions);
        self.carry_out(&actions);
    }

    /// What the kernel does when a fiber is gone; false if there was none.
    fn end(&mut self, number: usize) -> bool {
        let fiber = &mut self.fibers[number];
        let Some(executor) = fiber.executor.take() else {
            return false;
        };
        // No destructor runs in what is abandoned.
        std::mem::forget(executor);
        fiber.deadline = NEVER;
        fiber.port.end_incarnation();
        let (id, port) = (fiber.port.id(), &self.supervisor);
        let Shared {
            sums,
            controls,
            memory,
            ..
        } = &*self.shared;
        if self.shared.breakage != Breakage::ForgetsClients {
            sums.client_died(port, id);
            controls.client_died(port, id);
        }
        if fiber.port.name() == "server" {
            sums.server_died(port);
        }
        if fiber.port.name() == "sink" {
            controls.server_died(port);
        }
        memory.abandon(fiber.port.owner());
        self.shared.ledger().waiting.remove(&number);
        true
    }

    /// Holds what the supervisor decided against the intensities, counted apart.
    fn judge(&mut self, name: &str, actions: &[Action]) {
        let starts = actions
            .iter()
            .filter(|action| matches!(action, Action::Start(_)))
            .count();
        let reboots = actions.contains(&Action::WarmReboot);
        let alone = starts == 1;
        let (count, limit) = if INNER.contains(&name) && alone {
            (self.inner.note(self.now), INNER_LIMIT)
        } else if reboots {
            return;
        } else {
            self.outcome.escalations += u64::from(INNER.contains(&name));
            self.inner.0.clear();
            (self.root.note(self.now), ROOT_LIMIT)
        };
        if count > limit {
            self.shared.ledger().complain(format!(
                "{count} restarts within a period that bears {limit}"
            ));
        }
    }

    fn carry_out(&mut self, actions: &[Action]) {
        for action in actions {
            let place = |name: &str| {
                NAMES
                    .iter()
                    .position(|other| *other == name)
                    .expect("a name")
            };
            let (name, state) = match *action {
                Action::Stop(name) => {
                    self.end(place(name));
                    (name, State::Stopped)
                }
                Action::Start(name) => {
                    let fiber = &mut self.fibers[place(name)];
                    let mut executor = Executor::new(fiber.port.clone(), 4).expect("memory");
                    start(name, &self.shared, &mut executor).expect("room");
                    fiber.executor = Some(executor);
                    fiber.deadline = self.now;
                    (name, State::Running)
                }
                Action::WarmReboot => {
                    self.rebooted = true;
                    self.outcome.reboots += 1;
                    return;
                }
            };
            let noted = self.registry.set_state(&self.supervisor, name, state);
            let _ = noted.expect("it is registered");
        }
    }

    fn check(&self) -> Result<(), String> {
        let Shared {
            mail,
            news,
            sums,
            controls,
            memory,
            ..
        } = &*self.shared;
        let mut ledger = self.shared.ledger();
        let lost = ledger.check("mail", mail.tally()) + ledger.check("news", news.tally());
        // Requests that expire in their mailbox are lost messages, too: their clients see the deadline.
        let reasons = |queue: &dyn Queue| -> u64 {
            let tally = queue.tally();
            Reason::ALL
                .iter()
                .map(|&reason| tally.dropped(reason))
                .sum()
        };
        let told: u64 = self.fibers.iter().flat_map(|fiber| fiber.port.lost()).sum();
        let most = lost + reasons(&**sums) + reasons(&**controls);
        if told < lost || told > most {
            ledger.complain(format!(
                "{lost} to {most} messages were lost, {told} senders were told"
            ));
        }
        let (waiting, open) = (
            ledger.waiting.values().sum::<usize>(),
            sums.open() + controls.open(),
        );
        if waiting != open {
            ledger.complain(format!(
                "{waiting} wait for answers, {open} requests are open"
            ));
        }
        if memory.charged_to(Owner::KERNEL) > mail.depth() {
            ledger.complain("a parcel that is in no mailbox is charged to the kernel".into());
        }
        for fiber in &self.fibers {
            let row = self.registry.find(fiber.port.name()).expect("registered");
            let (state, runs) = (row.status().state(), fiber.executor.is_some());
            let node = self.tree.find(fiber.port.name()).expect("supervised");
            if runs != (state == State::Running)
                || !self.rebooted && runs != self.tree.is_alive(node)
            {
                ledger.complain(format!(
                    "{} runs: {runs}, the registry says {state:?}",
                    fiber.port.name()
                ));
            }
        }
        ledger.fault.take().map_or(Ok(()), Err)
    }

    fn check_quiet(&self) -> Result<(), String> {
        let depths = [self.shared.mail.depth(), self.shared.heard.depth()];
        if !self.runnable().is_empty() || depths == [0, 0] {
            return Ok(());
        }
        Err(format!("nobody was woken for {depths:?} messages"))
    }

    pub(crate) fn clear(&mut self) {
        for fiber in &mut self.fibers {
            std::mem::forget(fiber.executor.take());
        }
        while let Some(envelope) = self.shared.mail.try_receive() {
            std::mem::forget(envelope);
        }
        self.shared.memory.clear();
    }
}

fn tree(breakage: Breakage) -> Supervisor {
    let more = if breakage == Breakage::RestartsTooOften {
        1
    } else {
        0
    };
    let intensity = |restarts| Intensity {
        restarts: restarts + more,
        period: PERIOD,
    };
    let root = Supervisor::ROOT;
    let mut tree = Supervisor::new(Strategy::RestForOne, intensity(ROOT_LIMIT)).expect("memory");
    tree.worker(root, "sink").expect("new");
    let inner = tree
        .supervisor(root, "toys", Strategy::OneForOne, intensity(INNER_LIMIT))
        .expect("new");
    for name in INNER {
        tree.worker(inner, name).expect("new");
    }
    tree.worker(root, "server").expect("new");
    tree
}
