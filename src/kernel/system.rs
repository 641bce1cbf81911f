//! What the image as a whole tells of itself: version, uptime, boot stages, CPU time, interrupts.

use super::scheduler::{Fibers, Spent};
use crate::arch::aarch64::cpu_block::CpuBlock;
use crate::metrics::{Encoder, Label, Source, Value, heading};
use crate::platform::clock::CounterClock;
use crate::platform::device_tree::CPUS_MAX;
use crate::platform::interrupts::{SOURCES, taken};
use crate::platform::time::{Clock, Instant};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The boot stages, in their order. "network" and "ready" are the data plane's.
const STAGES: [&str; 6] = [
    "loader",
    "memory",
    "devices",
    "application",
    "network",
    "ready",
];

/// What a CPU can be at, as metrics call it.
const MODES: [&str; 4] = ["idle", "kernel", "irq", "app"];

/// The image's own facts and counters.
pub(super) struct System {
    clock: &'static CounterClock,
    /// When each stage ended, in nanoseconds since reset; 0 before. Without a lock: stages end on several fibers.
    stages: [AtomicU64; STAGES.len()],
    /// The CPUs, the one that serves first.
    cpus: Vec<&'static CpuBlock>,
    fibers: Fibers,
    /// What was shown last of each CPU's time in each mode.
    shown: [[AtomicU64; MODES.len()]; CPUS_MAX],
}

impl System {
    /// A system on `clock` of those CPUs, which run those fibers.
    pub(super) fn new(
        clock: &'static CounterClock,
        cpus: Vec<&'static CpuBlock>,
        fibers: Fibers,
    ) -> Self {
        Self {
            clock,
            stages: Default::default(),
            cpus,
            fibers,
            shown: [const { [const { AtomicU64::new(0) }; MODES.len()] }; CPUS_MAX],
        }
    }

    /// Notes that a boot stage ends now.
    pub(super) fn stage_done(&self, stage: &'static str) {
        self.stage_ended(stage, self.clock.now());
    }

    /// Notes when a boot stage ended.
    pub(super) fn stage_ended(&self, stage: &'static str, end: Instant) {
        let at = STAGES.iter().position(|&known| known == stage);
        let at = at.expect("a stage is one of those listed");
        self.stages[at].store(end.as_nanos(), Relaxed);
    }

    /// How long the CPU has spent in each of [`MODES`] up to now, in nanoseconds; nothing of one that never was ready.
    fn modes(&self, cpu: &CpuBlock, now: Instant) -> [u64; MODES.len()] {
        let ready = match (cpu.number(), cpu.ready_at()) {
            // The boot CPU works from reset on.
            (0, _) => Instant::ZERO,
            (_, Some(ticks)) => self.clock.at_ticks(ticks),
            (_, None) => return [0; MODES.len()],
        };
        let all = now.since(ready).as_nanos();
        let Spent { idle, irq, kernel } = self.fibers.spent(cpu, now);
        let app = all.saturating_sub(idle + irq + kernel);
        // What another CPU does meanwhile may be seen in part; a counter never falls.
        let shown = &self.shown[cpu.number()];
        let modes = [idle, kernel, irq, app];
        core::array::from_fn(|mode| {
            let before = shown[mode].fetch_max(modes[mode], Relaxed);
            before.max(modes[mode])
        })
    }
}

impl Source for System {
    fn collect(&self, page: &mut Encoder<'_>) {
        let now = self.clock.now();
        let profile = if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        };
        page.family(heading!(
            Gauge,
            "nos_build_info",
            "What was built; always 1."
        ))
        .sample(
            &[
                ("version", Label::Word(env!("CARGO_PKG_VERSION"))),
                ("profile", Label::Word(profile)),
                ("arch", Label::Word("aarch64")),
            ],
            Value::Whole(1),
        );
        page.gauge(
            heading!(
                Gauge,
                "nos_boot_timestamp_seconds",
                "Wall clock at boot, 0 when unknown."
            ),
            Value::Nanos(self.clock.boot_unix_nanos()),
        );
        let mut boot = page.family(heading!(
            Gauge,
            "nos_boot_duration_seconds",
            "From reset to the end of each stage."
        ));
        for (stage, end) in STAGES.iter().zip(&self.stages) {
            let nanos = end.load(Relaxed);
            if nanos > 0 {
                boot.sample(&[("stage", Label::Word(stage))], Value::Nanos(nanos));
            }
        }
        page.gauge(
            heading!(Gauge, "nos_uptime_seconds", "Monotonic clock since boot."),
            Value::Nanos(now.as_nanos()),
        );

        let mut seconds = page.family(heading!(
            Counter,
            "nos_cpu_seconds_total",
            "Time spent by mode: asleep, serving interrupts, in subsystems (app), or in boot, scheduler and supervisor."
        ));
        for (number, cpu) in self.cpus.iter().enumerate() {
            for (mode, nanos) in MODES.into_iter().zip(self.modes(cpu, now)) {
                seconds.sample(
                    &[
                        ("cpu", Label::Number(number as u64)),
                        ("mode", Label::Word(mode)),
                    ],
                    Value::Nanos(nanos),
                );
            }
        }
        let mut online = page.family(heading!(
            Gauge,
            "nos_cpu_online",
            "1 for a CPU that is ready for work, 0 for one that could not be started."
        ));
        for (number, cpu) in self.cpus.iter().enumerate() {
            online.sample(
                &[("cpu", Label::Number(number as u64))],
                Value::Whole(u64::from(cpu.ready_at().is_some())),
            );
        }
        let mut interrupts = page.family(heading!(
            Counter,
            "nos_interrupts_total",
            "Interrupts taken by source."
        ));
        for cpu in 0..self.cpus.len() {
            for (source, word) in SOURCES {
                interrupts.sample(
                    &[
                        ("cpu", Label::Number(cpu as u64)),
                        ("source", Label::Word(word)),
                    ],
                    Value::Whole(taken(cpu, source)),
                );
            }
        }
    }

    fn collect_compat(&self, page: &mut Encoder<'_>) {
        page.gauge(
            heading!(
                Gauge,
                "node_boot_time_seconds",
                "Node boot time, in unixtime."
            ),
            Value::Nanos(self.clock.boot_unix_nanos()),
        );
        let now = self.clock.now();
        let mut seconds = page.family(heading!(
            Counter,
            "node_cpu_seconds_total",
            "Seconds the CPUs spent in each mode."
        ));
        for (number, cpu) in self.cpus.iter().enumerate() {
            let [idle, kernel, irq, app] = self.modes(cpu, now);
            for (mode, nanos) in [("idle", idle), ("system", kernel + irq), ("user", app)] {
                let labels = [
                    ("cpu", Label::Number(number as u64)),
                    ("mode", Label::Word(mode)),
                ];
                seconds.sample(&labels, Value::Nanos(nanos));
            }
        }
    }
}
