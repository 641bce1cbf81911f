//! What a scrape shows of the scheduler.

use super::Fibers;
use super::cpu::Cpu;
use crate::arch::aarch64::cpu_block::CpuBlock;
use crate::metrics::{Encoder, Label, Source, Value, heading};
use crate::platform::time::Instant;

impl Fibers {
    /// Nanoseconds that a CPU slept up to `now`, a sleep that lasts counted.
    pub(in crate::kernel) fn idle_nanos(&self, block: &CpuBlock, now: Instant) -> u64 {
        let cpu = &self.cpus[block.number()];
        let clock = cpu.common().clock;
        let lasting = cpu
            .asleep_since()
            .map_or(0, |since| now.since(clock.at_ticks(since)).as_nanos());
        clock.at_ticks(cpu.idle_ticks.get()).as_nanos() + lasting
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
