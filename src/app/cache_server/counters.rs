//! What `/metrics` shows of the cache: the `nos_kv_*` families of METRICS.md.
//!
//! The server counts in plain numbers and brings these atomics up to date once a turn, so a scrape on any
//! CPU reads them without asking the server.

use super::commands::{COMMAND_COUNT, COMMANDS};
use super::server::{KeyTotals, Totals};
use super::store::{DATABASES, Store};
use crate::metrics::{
    Counter, Encoder, Gauge, Heading, Histogram, LATENCY_BOUNDS_NS, Label, Source, Value, Vitals,
    heading,
};
use core::sync::atomic::{AtomicBool, AtomicU16, Ordering::Relaxed};

/// The counters of the cache server.
#[derive(Debug)]
pub struct KvCounters {
    hits: Counter,
    misses: Counter,
    evicted: Counter,
    expired_lazily: Counter,
    expired_actively: Counter,
    entries_corrected: Counter,
    entries_dropped: Counter,
    index_corrected: Counter,
    keys: Gauge,
    /// Keys by database.
    database_keys: [Gauge; DATABASES],
    used_bytes: Gauge,
    limit_bytes: Gauge,
    /// Open connections.
    pub(super) clients: Gauge,
    /// Clients refused for the limit on their number.
    pub(super) clients_refused: Counter,
    /// Whether the policy lets keys go.
    pub(super) may_evict: AtomicBool,
    /// Commands run, by row of the command table.
    pub(super) commands: [Counter; COMMAND_COUNT],
    /// Of them answered with an error.
    pub(super) errors: [Counter; COMMAND_COUNT],
    /// Time of one command: the mean of its turn.
    pub(super) duration: Histogram,
    /// The row of the command that is being run, and one more; 0 for none.
    running: AtomicU16,
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
            entries_corrected: Counter::new(),
            entries_dropped: Counter::new(),
            index_corrected: Counter::new(),
            keys: Gauge::default(),
            database_keys: [const { Gauge::new() }; DATABASES],
            used_bytes: Gauge::default(),
            limit_bytes: Gauge::default(),
            clients: Gauge::default(),
            clients_refused: Counter::new(),
            may_evict: AtomicBool::new(false),
            commands: [const { Counter::new() }; COMMAND_COUNT],
            errors: [const { Counter::new() }; COMMAND_COUNT],
            duration: Histogram::new(),
            running: AtomicU16::new(0),
        }
    }

    /// Notes that the command of that row is being run.
    #[inline]
    pub(super) fn runs(&self, row: u16) {
        // Relaxed: whoever looks is told of a death first.
        self.running.store(row + 1, Relaxed);
    }

    /// Notes that none is.
    #[inline]
    pub(super) fn runs_none(&self) {
        self.running.store(0, Relaxed);
    }

    /// The name of the command that is being run.
    pub(super) fn running(&self) -> Option<&'static str> {
        let row = self.running.load(Relaxed).checked_sub(1)?;
        Some(COMMANDS.get(usize::from(row))?.name)
    }

    /// Adds what was counted between `before` and `now`, and sets the sizes of `store`.
    #[inline]
    pub(super) fn publish(&self, before: &KeyTotals, now: &Totals, store: &Store) {
        if now.hits != before.hits {
            self.hits.add(now.hits - before.hits);
        }
        if now.misses != before.misses {
            self.misses.add(now.misses - before.misses);
        }
        let is_same = before.events == now.events && before.moves == now.moves;
        if !is_same || self.keys.get() != store.total_len() as u64 {
            self.publish_keys(before, now, store);
        }
        let sizes = store.sizes();
        self.used_bytes.set(sizes.used_bytes);
        self.limit_bytes.set(sizes.limit_bytes);
    }

    /// What was found damaged, what became of it, and how often.
    fn damage(&self) -> [(&'static str, &'static str, u64); 3] {
        [
            ("entry", "corrected", self.entries_corrected.get()),
            ("entry", "dropped", self.entries_dropped.get()),
            ("index", "corrected", self.index_corrected.get()),
        ]
    }

    /// The part for turns after which a database may hold another number of keys.
    #[inline(never)]
    fn publish_keys(&self, before: &KeyTotals, now: &Totals, store: &Store) {
        let (before, now) = (&before.events, &now.events);
        self.evicted.add(now.evicted - before.evicted);
        self.expired_lazily
            .add(now.expired_lazily - before.expired_lazily);
        self.expired_actively
            .add(now.expired_actively - before.expired_actively);
        let (before, now) = (&before.damage, &now.damage);
        self.entries_corrected.add(now.corrected - before.corrected);
        self.entries_dropped.add(now.dropped - before.dropped);
        self.index_corrected
            .add(now.index_corrected - before.index_corrected);
        self.keys.set(store.total_len() as u64);
        for (database, keys) in self.database_keys.iter().enumerate() {
            keys.set(store.len(database) as u64);
        }
    }
}

/// Commands slower than these are late, and slow: the objective of most users of a cache is the first.
const LATE_NANOS: u64 = 10_000_000;
const SLOW_NANOS: u64 = 100_000_000;

impl Source for KvCounters {
    fn vitals(&self, vitals: &mut Vitals) {
        let buckets = self.duration.buckets();
        let beyond = |nanos: u64| {
            let within = LATENCY_BOUNDS_NS.iter().filter(|&&bound| bound <= nanos);
            buckets.iter().skip(within.count()).sum()
        };
        vitals.commands = beyond(0);
        vitals.late_commands = beyond(LATE_NANOS);
        vitals.slow_commands = beyond(SLOW_NANOS);
        vitals.hits = self.hits.get();
        vitals.misses = self.misses.get();
        vitals.evicted = self.evicted.get();
        vitals.expired = self.expired_lazily.get() + self.expired_actively.get();
        vitals.damaged = self.damage().map(|(_, _, count)| count).iter().sum();
        vitals.dataset_bytes = self.used_bytes.get();
        vitals.limit_bytes = self.limit_bytes.get();
        vitals.may_evict = self.may_evict.load(Relaxed);
        vitals.clients = self.clients.get();
        vitals.clients_refused = self.clients_refused.get();
    }

    fn collect(&self, page: &mut Encoder<'_>) {
        // Until there is a compressed tier, all keys are hot; the closed set is shown all the same.
        let tiers = |hot: u64| [("hot", hot), ("compressed", 0)];
        pair(
            page,
            heading!(
                Counter,
                "nos_kv_keyspace_hits_total",
                "Reads that found the key."
            ),
            "tier",
            tiers(self.hits.get()),
        );
        page.counter(
            heading!(
                Counter,
                "nos_kv_keyspace_misses_total",
                "Reads that did not find the key."
            ),
            self.misses.get(),
        );
        pair(
            page,
            heading!(
                Counter,
                "nos_kv_evicted_keys_total",
                "Keys dropped for room."
            ),
            "tier",
            tiers(self.evicted.get()),
        );
        pair(
            page,
            heading!(Counter, "nos_kv_expired_keys_total", "Keys dropped by age."),
            "mode",
            [
                ("lazy", self.expired_lazily.get()),
                ("active", self.expired_actively.get()),
            ],
        );
        let mut damage = page.family(heading!(
            Counter,
            "nos_kv_damage_total",
            "Entries and parts of their index that failed their checksum when read."
        ));
        for (what, outcome, count) in self.damage() {
            let labels = [
                ("what", Label::Word(what)),
                ("outcome", Label::Word(outcome)),
            ];
            damage.sample(&labels, Value::Whole(count));
        }
        pair(
            page,
            heading!(Gauge, "nos_kv_keys", "Keys held."),
            "tier",
            tiers(self.keys.get()),
        );
        for (heading, gauge) in [
            (
                heading!(Gauge, "nos_kv_memory_used_bytes", "Dataset and overhead."),
                &self.used_bytes,
            ),
            (
                heading!(
                    Gauge,
                    "nos_kv_memory_limit_bytes",
                    "Memory limit, 0 for none."
                ),
                &self.limit_bytes,
            ),
            (
                heading!(Gauge, "nos_kv_clients_connected", "Open connections."),
                &self.clients,
            ),
        ] {
            page.gauge(heading, Value::Whole(gauge.get()));
        }
        for (heading, counters) in [
            (
                heading!(Counter, "nos_kv_commands_total", "Commands run."),
                &self.commands,
            ),
            (
                heading!(
                    Counter,
                    "nos_kv_command_errors_total",
                    "Commands answered with an error."
                ),
                &self.errors,
            ),
        ] {
            by_command(page, heading, &self.commands, counters);
        }
        page.histogram(
            heading!(
                Histogram,
                "nos_kv_command_duration_seconds",
                "Time from a command parsed to its reply written."
            ),
            &self.duration,
        );
    }

    fn collect_compat(&self, page: &mut Encoder<'_>) {
        for (heading, value) in [
            (
                heading!(
                    Counter,
                    "redis_keyspace_hits_total",
                    "keyspace_hits_total metric"
                ),
                self.hits.get(),
            ),
            (
                heading!(
                    Counter,
                    "redis_keyspace_misses_total",
                    "keyspace_misses_total metric"
                ),
                self.misses.get(),
            ),
            (
                heading!(
                    Counter,
                    "redis_evicted_keys_total",
                    "evicted_keys_total metric"
                ),
                self.evicted.get(),
            ),
            (
                heading!(
                    Counter,
                    "redis_expired_keys_total",
                    "expired_keys_total metric"
                ),
                self.expired_lazily.get() + self.expired_actively.get(),
            ),
        ] {
            page.counter(heading, value);
        }
        let mut family = page.family(heading!(
            Gauge,
            "redis_db_keys",
            "Total number of keys by DB"
        ));
        for (name, keys) in DATABASE_NAMES.iter().zip(&self.database_keys) {
            family.sample(&[("db", Label::Word(name))], Value::Whole(keys.get()));
        }
        for (heading, gauge) in [
            (
                heading!(Gauge, "redis_memory_used_bytes", "memory_used_bytes metric"),
                &self.used_bytes,
            ),
            (
                heading!(Gauge, "redis_memory_max_bytes", "memory_max_bytes metric"),
                &self.limit_bytes,
            ),
            (
                heading!(Gauge, "redis_connected_clients", "connected_clients metric"),
                &self.clients,
            ),
        ] {
            page.gauge(heading, Value::Whole(gauge.get()));
        }
        by_command(
            page,
            heading!(
                Counter,
                "redis_commands_total",
                "Total number of calls per command"
            ),
            &self.commands,
            &self.commands,
        );
    }
}

/// The databases, as an exporter of Redis names them.
const DATABASE_NAMES: [&str; DATABASES] = [
    "db0", "db1", "db2", "db3", "db4", "db5", "db6", "db7", "db8", "db9", "db10", "db11", "db12",
    "db13", "db14", "db15",
];

/// Writes `counters` by the commands that were run at all, which `calls` knows.
fn by_command(
    page: &mut Encoder<'_>,
    heading: &'static Heading,
    calls: &[Counter; COMMAND_COUNT],
    counters: &[Counter; COMMAND_COUNT],
) {
    let mut family = page.family(heading);
    let rows = COMMANDS.iter().zip(calls).zip(counters);
    for ((command, _), counter) in rows.filter(|((_, calls), _)| calls.get() > 0) {
        let label = [("cmd", Label::Word(command.name))];
        family.sample(&label, Value::Whole(counter.get()));
    }
}

/// Writes a family of two series.
fn pair(
    page: &mut Encoder<'_>,
    heading: &'static Heading,
    label: &'static str,
    rows: [(&'static str, u64); 2],
) {
    let mut family = page.family(heading);
    for (word, value) in rows {
        family.sample(&[(label, Label::Word(word))], Value::Whole(value));
    }
}
