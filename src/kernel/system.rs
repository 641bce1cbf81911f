//! What the image as a whole tells of itself: version, uptime, boot stages, CPU time, interrupts.

use crate::metrics::{Counter, Encoder, FamilyKind, Label, Source, Value};
use crate::platform::interrupts::{NETWORK_TAKEN, TIMER_TAKEN, UNEXPECTED_TAKEN};
use crate::platform::time::{Clock, Instant};
use core::sync::atomic::Ordering::Relaxed;
use heapless::Vec;
use spin::Mutex;

/// Boot stages kept.
const STAGES_MAX: usize = 8;

/// The image's own facts and counters.
pub(super) struct System {
    clock: &'static dyn Clock,
    stages: Mutex<Vec<(&'static str, Instant), STAGES_MAX>>,
    cpus_started: u64,
    /// Nanoseconds asleep, waiting for work.
    idle_nanos: Counter,
}

impl System {
    /// A system on `clock` whose boot CPU alone runs.
    pub(super) fn new(clock: &'static dyn Clock) -> Self {
        Self {
            clock,
            stages: Mutex::new(Vec::new()),
            cpus_started: 1,
            idle_nanos: Counter::new(),
        }
    }

    /// Notes that a boot stage ends now; stages beyond the eighth are not kept.
    pub(super) fn stage_done(&self, stage: &'static str) {
        // A full list drops the stage: it is told once at boot, by name, and there are five.
        let _ = self.stages.lock().push((stage, self.clock.now()));
    }

    /// Counts time asleep.
    pub(super) fn slept(&self, nanos: u64) {
        self.idle_nanos.add(nanos);
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
        page.family(
            "nos_build_info",
            FamilyKind::Gauge,
            "What was built; always 1.",
        )
        .sample(
            &[
                ("version", Label::Word(env!("CARGO_PKG_VERSION"))),
                ("profile", Label::Word(profile)),
                ("arch", Label::Word("aarch64")),
            ],
            Value::Whole(1),
        );
        page.gauge(
            "nos_boot_timestamp_seconds",
            "Wall clock at boot, 0 when unknown.",
            Value::Nanos(self.clock.boot_unix_nanos()),
        );
        let mut boot = page.family(
            "nos_boot_duration_seconds",
            FamilyKind::Gauge,
            "From reset to the end of each stage.",
        );
        for (stage, end) in self.stages.lock().iter() {
            boot.sample(
                &[("stage", Label::Word(stage))],
                Value::Nanos(end.as_nanos()),
            );
        }
        page.gauge(
            "nos_uptime_seconds",
            "Monotonic clock since boot.",
            Value::Nanos(now.as_nanos()),
        );

        let idle = self.idle_nanos.get().min(now.as_nanos());
        let mut cpu = page.family(
            "nos_cpu_seconds_total",
            FamilyKind::Counter,
            "Time spent by mode; the data plane is app, interrupts are served in idle.",
        );
        for (mode, nanos) in [
            ("idle", idle),
            ("kernel", 0),
            ("irq", 0),
            ("app", now.as_nanos() - idle),
        ] {
            cpu.sample(
                &[("cpu", Label::Number(0)), ("mode", Label::Word(mode))],
                Value::Nanos(nanos),
            );
        }
        let mut online = page.family(
            "nos_cpu_online",
            FamilyKind::Gauge,
            "1 for a CPU that takes work.",
        );
        for cpu in 0..self.cpus_started {
            online.sample(&[("cpu", Label::Number(cpu))], Value::Whole(1));
        }
        let mut interrupts = page.family(
            "nos_interrupts_total",
            FamilyKind::Counter,
            "Interrupts taken by source.",
        );
        let taken = [
            ("timer", &TIMER_TAKEN),
            ("network", &NETWORK_TAKEN),
            ("unexpected", &UNEXPECTED_TAKEN),
        ];
        for (source, counter) in taken {
            interrupts.sample(
                &[("cpu", Label::Number(0)), ("source", Label::Word(source))],
                Value::Whole(counter.load(Relaxed)),
            );
        }
    }
}
