//! What commands act on: the keyspace, the settings, the clients, and what is counted of them.
//!
//! Keyspace, settings and counts outlive an incarnation of the data plane: nothing of them is on the heap,
//! and a field is written by one store or put in order by [`Server::begin_incarnation`]. Clients, what they
//! track, the slow log and the list of the doomed are the incarnation's.

use super::commands::COMMAND_COUNT;
use super::config::CacheConfig;
use super::counters::KvCounters;
use super::gate::{Gate, Held, Paused};
use super::parameters::Parameter;
use super::persistence::{CheckpointCounters, Persistence};
use super::recent::Recent;
use super::session::{Session, Sessions};
use super::slowlog::SlowLog;
use super::store::{Events, Look, Outcome, Recovery, Store, Touch, Value};
use super::tracking::Tracking;
use crate::app::{Environment, Power};
use crate::cache::eviction::Ranking;
use crate::net::service::ConnectionId;
use crate::platform::time::{Clock, Duration, Instant, NANOS_PER_MILLI};
use crate::storage::checkpoint::CheckpointPart;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{Ordering, Ordering::Relaxed, compiler_fence};

/// Everything counted that is not counted by command; only grows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Commands run.
    pub commands: u64,
    /// Errors answered.
    pub errors: u64,
    /// Clients that connected.
    pub connections: u64,
    /// Clients refused for the limit.
    pub connections_rejected: u64,
    /// Bytes of requests.
    pub input_bytes: u64,
    /// Bytes of replies.
    pub output_bytes: u64,
    /// SELECT, SWAPDB and MOVE: keys may have come and gone in two databases, their sum the same.
    pub moves: u64,
    /// Turns: each reads once and writes once.
    pub turns: u64,
    /// What happened in the keyspace.
    pub events: Events,
}

/// What of [`Totals`] is published once a turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyTotals {
    /// As in [`Totals`].
    pub hits: u64,
    /// As in [`Totals`].
    pub misses: u64,
    /// As in [`Totals`].
    pub moves: u64,
    /// As in [`Totals`].
    pub events: Events,
}

impl Totals {
    /// The part that is published once a turn: a turn copies no more than that.
    #[inline]
    pub(super) fn of_keys(&self) -> KeyTotals {
        KeyTotals {
            hits: self.hits,
            misses: self.misses,
            moves: self.moves,
            events: self.events,
        }
    }
}

/// What is counted of one command; only grows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CommandTotals {
    /// Times it was run.
    pub calls: u64,
    /// Time it took: its share of the turns it was part of.
    pub nanos: u64,
    /// Times it was refused before it ran.
    pub rejected: u64,
    /// Times it ran and answered with an error.
    pub failed: u64,
    /// Calls by how long they took, see [`CommandTotals::bucket_nanos`].
    pub histogram: [u32; LATENCY_BUCKETS],
}

/// Buckets of a latency histogram: from a microsecond to half a minute, by factors of two.
pub(super) const LATENCY_BUCKETS: usize = 26;
/// The first bucket takes 2^10 nanoseconds and what is below.
const FIRST_BUCKET_LOG2: u32 = 10;

impl CommandTotals {
    /// The longest time that a bucket counts: the bounds of Redis' histograms.
    pub(super) fn bucket_nanos(number: usize) -> u64 {
        let power = 1 << (FIRST_BUCKET_LOG2 + number as u32);
        power + (power >> 7) - 1
    }

    /// The time that so many thousandths of the calls did not exceed.
    pub(super) fn percentile_nanos(&self, thousandths: u64) -> u64 {
        let all: u64 = self.histogram.iter().map(|&calls| u64::from(calls)).sum();
        let mut left = (all * thousandths).div_ceil(1000);
        let within = self.histogram.iter().position(|&calls| {
            let is_here = left <= u64::from(calls);
            left = left.saturating_sub(u64::from(calls));
            is_here
        });
        Self::bucket_nanos(within.unwrap_or(LATENCY_BUCKETS - 1))
    }

    /// Counts calls of so many nanoseconds each.
    #[inline]
    fn count(&mut self, calls: u32, nanos: u64) {
        self.calls += u64::from(calls);
        self.nanos += nanos * u64::from(calls);
        let log2 = (nanos.max(1) - 1)
            .checked_ilog2()
            .map_or(0, |log2| log2 + 1);
        let number = log2.saturating_sub(FIRST_BUCKET_LOG2) as usize;
        self.histogram[number.min(LATENCY_BUCKETS - 1)] += calls;
    }
}

/// First words of errors, as INFO counts them.
pub(super) const ERROR_WORDS: [&str; 7] = [
    "ERR",
    "NOAUTH",
    "NOPROTO",
    "OOM",
    "UNBLOCKED",
    "WRONGPASS",
    "WRONGTYPE",
];

/// Commands of one turn, in runs of the same command: counted once a run, timed once a turn.
#[derive(Default)]
pub(super) struct Runs {
    runs: [(u16, u32); Self::CAPACITY],
    len: usize,
}

impl Runs {
    /// Runs kept before the turn's time so far is shared out.
    const CAPACITY: usize = 16;

    /// Counts a command that was run so many times; false if there was no room for another run.
    #[inline]
    pub(super) fn push(&mut self, command: u16, times: u32) -> bool {
        if let Some(last) = self.len.checked_sub(1)
            && self.runs[last].0 == command
        {
            self.runs[last].1 += times;
            return true;
        }
        if self.len == Self::CAPACITY {
            return false;
        }
        self.runs[self.len] = (command, times);
        self.len += 1;
        true
    }

    /// The runs.
    #[inline]
    pub(super) fn as_slice(&self) -> &[(u16, u32)] {
        &self.runs[..self.len]
    }

    /// Forgets them.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }
}

/// What commands act on.
pub(super) struct Server {
    /// The keyspace.
    pub store: Store,
    /// The settings.
    pub config: CacheConfig,
    /// What they are to be, while `is_changing`.
    next_config: CacheConfig,
    is_changing: bool,
    /// The clients, but for the one whose turn it is.
    pub sessions: Sessions,
    /// What holds clients up.
    pub gate: Gate,
    /// What clients are told of keys.
    pub tracking: Tracking,
    /// What was counted.
    pub totals: Totals,
    /// `totals` at the last CONFIG RESETSTAT.
    pub totals_at_reset: Totals,
    /// What was counted by command since the last CONFIG RESETSTAT.
    pub commands: [CommandTotals; COMMAND_COUNT],
    /// Errors by [`ERROR_WORDS`] since the last CONFIG RESETSTAT.
    pub error_words: [u64; ERROR_WORDS.len()],
    /// What happened lately.
    pub recent: Recent,
    /// Slow commands.
    pub slowlog: SlowLog,
    /// Connections to be ended by the stack.
    pub doomed: Vec<ConnectionId>,
    /// Time.
    pub clock: &'static dyn Clock,
    /// Power.
    pub power: &'static dyn Power,
    /// The most the keyspace may hold whatever `maxmemory` says.
    pub budget_bytes: u64,
    /// What `/metrics` shows.
    pub counters: Arc<KvCounters>,
    /// What is known of checkpoints.
    pub persistence: Persistence,
    /// What `/metrics` shows of them.
    pub checkpoints: Arc<CheckpointCounters>,
    /// What is saved beside keys and settings.
    pub parts: &'static [&'static dyn CheckpointPart],
    /// When the server started.
    pub started: Instant,
    /// The time of the present turn.
    pub now: Instant,
    /// Names this run of the server, in hexadecimal digits.
    pub run_id: [u8; 40],
}

/// Entries looked at for one eviction, at most: a bounded pause, and as good as exact.
const SAMPLES_MAX: u32 = 64;

impl Server {
    /// Counts an error whose reply is `text`.
    pub(super) fn count_error(&mut self, text: &[u8]) {
        self.totals.errors += 1;
        let word = text.strip_prefix(b"-").unwrap_or_default();
        let is_it = |known: &&str| {
            word.strip_prefix(known.as_bytes())
                .is_some_and(|rest| rest.starts_with(b" "))
        };
        if let Some(number) = ERROR_WORDS.iter().position(is_it) {
            self.error_words[number] += 1;
        }
    }

    /// Bytes that clients take beside the keyspace, `asking` among them.
    pub(super) fn client_bytes(&self, asking: &Session) -> u64 {
        let all = self.sessions.iter().chain([asking]);
        all.map(|session| session.bytes() as u64).sum()
    }

    /// An empty server with those settings, which shows what it counts in `counters`.
    pub(super) fn new(
        mut config: CacheConfig,
        environment: Environment,
        counters: Arc<KvCounters>,
    ) -> Self {
        let Environment {
            frames,
            memory_budget_bytes,
            clock,
            seed,
            keep_alive_seconds,
            power,
            disk: _,
            parts,
        } = environment;
        config.keep_alive_secs = keep_alive_seconds;
        let mut random = crate::cache::random::Random::new(seed ^ 0x6e6f_735f_7275_6e21);
        let run_id = core::array::from_fn(|_| b"0123456789abcdef"[random.below(16) as usize]);
        let now = clock.now();
        let server = Self {
            store: Store::new(frames, memory_budget_bytes, config.policy, seed),
            next_config: config.clone(),
            is_changing: false,
            config,
            sessions: Sessions::default(),
            gate: Gate::default(),
            tracking: Tracking::default(),
            totals: Totals::default(),
            totals_at_reset: Totals::default(),
            commands: [CommandTotals::default(); COMMAND_COUNT],
            error_words: [0; ERROR_WORDS.len()],
            recent: Recent::new(now),
            slowlog: SlowLog::default(),
            doomed: Vec::new(),
            clock,
            power,
            budget_bytes: memory_budget_bytes,
            counters,
            persistence: Persistence::new(now),
            checkpoints: Arc::default(),
            parts,
            started: now,
            now,
            run_id,
        };
        let (wanted, limit) = (server.config.memory_max_bytes, server.memory_limit_bytes());
        if wanted > limit {
            log::warn!("maxmemory {wanted} is more than the image can spare: {limit} is the limit");
        }
        server
    }

    /// Puts in order what the last incarnation left, and forgets what was on its heap, which is gone: it
    /// must not be dropped.
    pub(super) fn begin_incarnation(&mut self) {
        self.sessions.abandon();
        self.slowlog.abandon();
        self.gate = Gate::default();
        self.tracking.abandon();
        self.store.abandon_changes();
        self.store.abandon_snapshot();
        core::mem::forget(core::mem::take(&mut self.doomed));
        let Recovery { outcome, lost } = self.store.recover();
        if outcome != Outcome::Intact {
            log::warn!("the keyspace was in use: {outcome:?}, {lost} keys or expiries lost");
        }
        if self.is_changing {
            self.finish_change();
        }
        self.apply_settings();
        self.set_time(self.clock.now());
        self.counters.clients.set(0);
        let before = self.totals.of_keys();
        self.publish(&before);
    }

    /// [`Store::look`] for a command that reads: counts a hit or a miss, if it is sure.
    #[inline(always)]
    pub(super) fn look(&mut self, database: u8, key: &[u8]) -> Look<'_> {
        let look = self.store.look(usize::from(database), key);
        match look {
            Look::Found(_) => self.totals.hits += 1,
            Look::Missing => self.totals.misses += 1,
            Look::Unsure => {}
        }
        look
    }

    /// Looks a key up for a command that reads: counts a hit or a miss.
    pub(super) fn read(&mut self, database: u8, key: &[u8], touch: Touch) -> Option<Value<'_>> {
        let value = self.store.get(usize::from(database), key, touch);
        match value {
            Some(_) => self.totals.hits += 1,
            None => self.totals.misses += 1,
        }
        value
    }

    /// Takes the time of a turn or tick.
    #[inline]
    pub(super) fn set_time(&mut self, now: Instant) {
        self.now = now;
        if now >= self.recent.next_sample() {
            self.recent.sample(now, &self.totals);
        }
        let nanos = self.clock.boot_unix_nanos() + now.as_nanos();
        self.store.set_time(nanos / NANOS_PER_MILLI);
    }

    /// Changes the settings: all of them or none, though it be cut off between two stores.
    pub(super) fn change_settings(&mut self, config: CacheConfig) {
        self.next_config = config;
        compiler_fence(Ordering::SeqCst);
        self.is_changing = true;
        compiler_fence(Ordering::SeqCst);
        self.finish_change();
        self.apply_settings();
        self.persistence.asked.look = true;
    }

    fn finish_change(&mut self) {
        self.config = self.next_config.clone();
        compiler_fence(Ordering::SeqCst);
        self.is_changing = false;
    }

    /// There is no disk: CONFIG GET says so, but for what a boot argument asked for.
    pub(super) fn forget_save_points(&mut self) {
        let is_given =
            Parameter::named(b"save").is_some_and(|save| self.config.given & save.bit() != 0);
        if !is_given {
            self.config.save_points.clear();
        }
    }

    /// Removes what was restored of a checkpoint that is not all there.
    pub(super) fn forget_loaded(&mut self) {
        self.store.flush_all();
        let persistence = &mut self.persistence;
        (persistence.keys_loaded, persistence.keys_expired) = (0, 0);
    }

    /// Holds all clients up until what was saved is there, and begins without what a dead incarnation restored of it.
    pub(super) fn begin_loading(&mut self) {
        self.forget_loaded();
        self.gate.pause(Paused::Everything, Instant::NEVER);
    }

    /// What was saved is there, or is not to be had.
    pub(super) fn finish_loading(&mut self) {
        if !core::mem::replace(&mut self.persistence.is_loaded, true) {
            self.gate.unpause();
        }
    }

    /// True if a save point is passed.
    pub(super) fn is_save_due(&self, now: Instant) -> bool {
        let changes = self.persistence.changes(&self.counters);
        let since = now.since(self.persistence.last_try);
        self.config.save_points.iter().any(|point| {
            changes >= u64::from(point.changes)
                && since >= Duration::from_secs(point.seconds.into())
        })
    }

    /// When save points are to be looked at next, no sooner than in so long.
    pub(super) fn next_save_check(&self, now: Instant, interval: Duration) -> Instant {
        let ends = self.config.save_points.iter().map(|point| {
            let end = self.persistence.last_try + Duration::from_secs(point.seconds.into());
            end.max(now + interval)
        });
        ends.min().unwrap_or(Instant::NEVER)
    }

    /// When the last checkpoint was completed, or else the server started, in seconds since the Unix epoch.
    pub(super) fn last_save_secs(&self) -> u64 {
        match self.persistence.last_save_secs {
            0 => (self.clock.boot_unix_nanos() + self.started.as_nanos()) / 1_000_000_000,
            seconds => seconds,
        }
    }

    /// Answers those who wait for a checkpoint; those who wait for the machine's end with it only if that failed now.
    pub(super) fn release_savers(&mut self, is_written: bool, ends: bool) {
        for session in self.sessions.iter_mut() {
            let answer: &[u8] = match (session.held, is_written) {
                (Held::Saving { is_last: false }, true) => b"+OK\r\n",
                (Held::Saving { is_last: false }, false) => b"-ERR\r\n",
                (Held::Saving { is_last: true }, false) if ends => {
                    b"-ERR Errors trying to SHUTDOWN. Check logs.\r\n"
                }
                _ => continue,
            };
            session.held = Held::Released { answer };
            self.gate.wake();
        }
    }

    /// Makes the keyspace obey settings that were changed.
    fn apply_settings(&mut self) {
        let mut policy = self.config.policy;
        policy.samples = policy.samples.min(SAMPLES_MAX);
        let may_evict = policy.ranking != Ranking::Nothing;
        self.counters.may_evict.store(may_evict, Relaxed);
        self.store.set_policy(policy);
        self.store.set_limit(self.memory_limit_bytes());
        self.slowlog.set_limit(self.config.slowlog_len);
    }

    /// The limit in force: `maxmemory`, or all that the image can spare.
    pub(super) fn memory_limit_bytes(&self) -> u64 {
        match self.config.memory_max_bytes {
            0 => self.budget_bytes,
            limit => limit.min(self.budget_bytes),
        }
    }

    /// Counts runs of commands, and the time they took together.
    #[inline]
    pub(super) fn count_runs(&mut self, runs: &Runs, nanos: u64) {
        let count: u64 = runs
            .as_slice()
            .iter()
            .map(|&(_, count)| u64::from(count))
            .sum();
        let Some(mean) = nanos.checked_div(count) else {
            return;
        };
        self.totals.commands += count;
        self.counters.duration.observe_many(mean, count);
        for &(command, count) in runs.as_slice() {
            let command = usize::from(command);
            self.commands[command].count(count, mean);
            self.counters.commands[command].add(u64::from(count));
        }
    }

    /// Brings what `/metrics` shows up to date.
    #[inline]
    pub(super) fn publish(&mut self, before: &KeyTotals) {
        self.totals.events = self.store.events();
        self.counters.publish(before, &self.totals, &self.store);
        self.counters.runs_none();
    }

    /// Totals since the last CONFIG RESETSTAT.
    pub(super) fn totals_since_reset(&self) -> Totals {
        let (now, base) = (&self.totals, &self.totals_at_reset);
        let (events, at_reset) = (self.store.events(), base.events);
        Totals {
            hits: now.hits - base.hits,
            misses: now.misses - base.misses,
            commands: now.commands - base.commands,
            errors: now.errors - base.errors,
            connections: now.connections - base.connections,
            connections_rejected: now.connections_rejected - base.connections_rejected,
            input_bytes: now.input_bytes - base.input_bytes,
            output_bytes: now.output_bytes - base.output_bytes,
            moves: now.moves - base.moves,
            turns: now.turns - base.turns,
            events: Events {
                evicted: events.evicted - at_reset.evicted,
                expired_lazily: events.expired_lazily - at_reset.expired_lazily,
                expired_actively: events.expired_actively - at_reset.expired_actively,
                damage: events.damage,
            },
        }
    }
}
