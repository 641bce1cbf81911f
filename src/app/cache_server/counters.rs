//! What `/metrics` shows of the cache: the `nos_kv_*` families of METRICS.md.
//!
//! The server counts in plain numbers and brings these atomics up to date once a turn, so a scrape on any
//! CPU reads them without asking the server.

use super::commands::{COMMAND_COUNT, COMMANDS};
use super::server::Totals;
use super::store::Sizes;
use crate::metrics::{Counter, Encoder, FamilyKind, Gauge, Histogram, Label, Source, Value};

/// The counters of the cache server.
#[derive(Debug)]
pub struct KvCounters {
    hits: Counter,
    misses: Counter,
    evicted: Counter,
    expired_lazily: Counter,
    expired_actively: Counter,
    keys: Gauge,
    used_bytes: Gauge,
    limit_bytes: Gauge,
    /// Open connections.
    pub(super) clients: Gauge,
    /// Commands run, by row of the command table.
    pub(super) commands: [Counter; COMMAND_COUNT],
    /// Of them answered with an error.
    pub(super) errors: [Counter; COMMAND_COUNT],
    /// Time of one command: the mean of its turn.
    pub(super) duration: Histogram,
}

impl Default for KvCounters {
    fn default() -> Self {
        Self::new()
    }
}

impl KvCounters {
    /// Counters at 0.
    pub fn new() -> Self {
        Self {
            hits: Counter::new(),
            misses: Counter::new(),
            evicted: Counter::new(),
            expired_lazily: Counter::new(),
            expired_actively: Counter::new(),
            keys: Gauge::default(),
            used_bytes: Gauge::default(),
            limit_bytes: Gauge::default(),
            clients: Gauge::default(),
            commands: [const { Counter::new() }; COMMAND_COUNT],
            errors: [const { Counter::new() }; COMMAND_COUNT],
            duration: Histogram::new(),
        }
    }

    /// Adds what was counted between `before` and `now`, and sets the sizes.
    #[inline]
    pub(super) fn publish(&self, before: &Totals, now: &Totals, sizes: &Sizes, keys: u64) {
        let pairs = [
            (&self.hits, before.hits, now.hits),
            (&self.misses, before.misses, now.misses),
            (&self.evicted, before.events.evicted, now.events.evicted),
            (
                &self.expired_lazily,
                before.events.expired_lazily,
                now.events.expired_lazily,
            ),
            (
                &self.expired_actively,
                before.events.expired_actively,
                now.events.expired_actively,
            ),
        ];
        for (counter, before, now) in pairs {
            if now != before {
                counter.add(now - before);
            }
        }
        self.keys.set(keys);
        self.used_bytes.set(sizes.used_bytes);
        self.limit_bytes.set(sizes.limit_bytes);
    }
}

impl Source for KvCounters {
    fn collect(&self, page: &mut Encoder<'_>) {
        use FamilyKind::{Counter as Count, Gauge as Level};
        // Until there is a compressed tier, all keys are hot; the closed set is shown all the same.
        let tiers = |hot: u64| [("hot", hot), ("compressed", 0)];
        pair(
            page,
            "nos_kv_keyspace_hits_total",
            Count,
            "Reads that found the key.",
            "tier",
            tiers(self.hits.get()),
        );
        page.counter(
            "nos_kv_keyspace_misses_total",
            "Reads that did not find the key.",
            self.misses.get(),
        );
        pair(
            page,
            "nos_kv_evicted_keys_total",
            Count,
            "Keys dropped for room.",
            "tier",
            tiers(self.evicted.get()),
        );
        pair(
            page,
            "nos_kv_expired_keys_total",
            Count,
            "Keys dropped by age.",
            "mode",
            [
                ("lazy", self.expired_lazily.get()),
                ("active", self.expired_actively.get()),
            ],
        );
        pair(
            page,
            "nos_kv_keys",
            Level,
            "Keys held.",
            "tier",
            tiers(self.keys.get()),
        );
        for (name, help, gauge) in [
            (
                "nos_kv_memory_used_bytes",
                "Dataset and overhead.",
                &self.used_bytes,
            ),
            (
                "nos_kv_memory_limit_bytes",
                "Memory limit, 0 for none.",
                &self.limit_bytes,
            ),
            (
                "nos_kv_clients_connected",
                "Open connections.",
                &self.clients,
            ),
        ] {
            page.gauge(name, help, Value::Whole(gauge.get()));
        }
        for (name, help, counters) in [
            ("nos_kv_commands_total", "Commands run.", &self.commands),
            (
                "nos_kv_command_errors_total",
                "Commands answered with an error.",
                &self.errors,
            ),
        ] {
            let mut family = page.family(name, Count, help);
            let used = COMMANDS.iter().zip(&self.commands).zip(counters);
            for ((command, _), counter) in used.filter(|((_, calls), _)| calls.get() > 0) {
                let label = [("cmd", Label::Word(command.name))];
                family.sample(&label, Value::Whole(counter.get()));
            }
        }
        page.histogram(
            "nos_kv_command_duration_seconds",
            "Time from a command parsed to its reply written.",
            &self.duration,
        );
    }
}

/// Writes a family of two series.
fn pair(
    page: &mut Encoder<'_>,
    name: &'static str,
    kind: FamilyKind,
    help: &'static str,
    label: &'static str,
    rows: [(&'static str, u64); 2],
) {
    let mut family = page.family(name, kind, help);
    for (word, value) in rows {
        family.sample(&[(label, Label::Word(word))], Value::Whole(value));
    }
}
