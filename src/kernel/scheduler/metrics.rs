//! What a scrape shows of the scheduler.

use super::Fibers;
use super::cpu::Cpu;
use crate::arch::aarch64::cpu_block::CpuBlock;
use crate::memory::accounts::Owner;
use crate::metrics::{Encoder, Label, Source, Value, heading};
use crate::platform::time::Instant;

/// What a CPU did with its time, in nanoseconds. The rest of it went to the fibers of subsystems.
pub(in crate::kernel) struct Spent {
    /// Asleep.
    pub(in crate::kernel) idle: u64,
    /// Serving interrupts.
    pub(in crate::kernel) irq: u64,
    /// Before it had fibers, between them, and in those of the kernel itself; what runs now is not counted yet.
    pub(in crate::kernel) kernel: u64,
}

impl Fibers {
    /// What a CPU did up to `now`.
    pub(in crate::kernel) fn spent(&self, block: &CpuBlock, now: Instant) -> Spent {
        let cpu = &self.cpus[block.number()];
        let clock = cpu.common().clock;
        let of_the_kernel = cpu
            .all()
            .filter(|fiber| fiber.owner == Owner::KERNEL.get())
            .map(|fiber| fiber.cpu_ticks.get());
        let kernel = cpu.own_ticks.get() + of_the_kernel.sum::<u64>();
        let nanos = |ticks| clock.at_ticks(ticks).as_nanos();
        Spent {
            idle: nanos(cpu.asleep_ticks(clock.ticks_at(now))),
            irq: nanos(cpu.irq_ticks.get()),
            kernel: nanos(kernel),
        }
    }
}

impl Source for Fibers {
    fn collect(&self, page: &mut Encoder<'_>) {
        let mut switches = page.family(heading!(
            Counter,
            "nos_scheduler_switches_total",
            "Switches from one fiber's stack to another's."
        ));
        for cpu in self.cpus {
            let labels = [("cpu", Label::Number(cpu.number as u64))];
            switches.sample(&labels, Value::Whole(cpu.switches.get()));
        }
        let mut runnable = page.family(heading!(
            Gauge,
            "nos_scheduler_runnable_tasks",
            "Fibers that run or are ready to."
        ));
        for cpu in self.cpus {
            let labels = [("cpu", Label::Number(cpu.number as u64))];
            runnable.sample(&labels, Value::Whole(cpu.runnable().into()));
        }
        if let Some(cpu) = self.cpus.first() {
            let sum = |of: fn(&Cpu) -> u64| self.cpus.iter().map(of).sum();
            let count = sum(|cpu| cpu.short_latencies.get());
            let ticks = sum(|cpu| cpu.short_latency_ticks.get());
            let nanos = cpu.common().clock.at_ticks(ticks).as_nanos();
            page.histogram(
                heading!(
                    Histogram,
                    "nos_scheduler_latency_seconds",
                    "From ready to running."
                ),
                &cpu.common().latency.with_shortest(count, nanos),
            );
        }
    }
}
