//! What is known of checkpoints: what commands ask for, and what they and `/metrics` are told. It survives the data
//! plane; what works on the disk ([`super::checkpointer`]) does not.

use super::commands::is_write;
use super::counters::KvCounters;
use crate::metrics::{Counter, Encoder, Gauge, Label, Source, Value, heading};
use crate::platform::time::{Duration, Instant};

/// Pairs of seconds and changes after which a checkpoint is written, at most.
pub(super) const SAVE_POINTS_MAX: usize = 8;

/// A checkpoint is written when so much has changed since the last one, and that is so long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    /// Seconds since the last one.
    pub seconds: u32,
    /// Commands run since that may change keys.
    pub changes: u32,
}

/// Why there can be no checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disk {
    /// There can.
    Usable,
    /// No disk is attached, or this is not an image that uses one.
    Missing,
    /// It was not looked at yet.
    Unknown,
    /// It is left alone for that reason.
    LeftAlone(&'static str),
}

/// What is asked of the next checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// It is to be written.
    pub save: bool,
    /// The machine is to be turned off once it is.
    pub power_off: bool,
    /// The save points are others: they are to be looked at.
    pub look: bool,
}

/// The checkpoints of this server.
#[derive(Debug)]
pub(super) struct Persistence {
    pub disk: Disk,
    pub asked: Asked,
    /// When the one under way began.
    pub saving_since: Option<Instant>,
    /// Keys of it saved so far, and in all when it began.
    pub keys_saved: u64,
    pub keys_to_save: u64,
    /// When the last one was completed, in seconds since the Unix epoch; 0 for none.
    pub last_save_secs: u64,
    /// When one was tried last.
    pub last_try: Instant,
    pub is_last_ok: bool,
    /// Seconds that the last one took; -1 for none.
    pub last_seconds: i64,
    /// The longest turn that the last one took of the data plane.
    pub longest_turn: Duration,
    pub saves: u64,
    /// Commands that may change keys, run before the last checkpoint began.
    pub writes_before: u64,
    /// True once what was on the disk is there, or is known not to be to be had.
    pub is_loaded: bool,
    pub keys_loaded: u64,
    pub keys_expired: u64,
}

impl Persistence {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            disk: Disk::Unknown,
            asked: Asked::default(),
            saving_since: None,
            keys_saved: 0,
            keys_to_save: 0,
            last_save_secs: 0,
            last_try: now,
            is_last_ok: true,
            last_seconds: -1,
            longest_turn: Duration::from_nanos(0),
            saves: 0,
            writes_before: 0,
            is_loaded: false,
            keys_loaded: 0,
            keys_expired: 0,
        }
    }

    /// Commands run since the last checkpoint that may change keys.
    pub(super) fn changes(&self, counters: &KvCounters) -> u64 {
        writes(counters) - self.writes_before
    }
}

/// Commands run that may change keys.
pub(super) fn writes(counters: &KvCounters) -> u64 {
    let rows = (0..).zip(&counters.commands);
    let writes = rows.filter(|(row, _)| is_write(*row));
    writes.map(|(_, runs)| runs.get()).sum()
}

/// What `/metrics` shows of checkpoints: the `nos_checkpoint_*` families of METRICS.md. A checkpoint is one piece, the keys' and
/// what is saved with them; a scrape pays for each series.
#[derive(Debug, Default)]
pub struct CheckpointCounters {
    written: Counter,
    failed: Counter,
    bytes: Gauge,
    last_secs: Gauge,
}

impl CheckpointCounters {
    /// One was written, of so many bytes, at that time.
    pub(super) fn note_written(&self, bytes: u64, unix_secs: u64) {
        self.written.increment();
        self.bytes.set(bytes);
        self.last_secs.set(unix_secs);
    }

    /// One could not be written.
    pub(super) fn note_failed(&self) {
        self.failed.increment();
    }
}

impl Source for CheckpointCounters {
    fn collect(&self, page: &mut Encoder<'_>) {
        let store = ("component", Label::Word("store"));
        let mut writes = page.family(heading!(
            Counter,
            "nos_checkpoint_writes_total",
            "Checkpoints written, or not."
        ));
        for (outcome, counter) in [("ok", &self.written), ("failed", &self.failed)] {
            let labels = [store, ("outcome", Label::Word(outcome))];
            writes.sample(&labels, Value::Whole(counter.get()));
        }
        for (heading, gauge) in [
            (
                heading!(
                    Gauge,
                    "nos_checkpoint_bytes",
                    "Size of the last checkpoint."
                ),
                &self.bytes,
            ),
            (
                heading!(
                    Gauge,
                    "nos_checkpoint_last_timestamp_seconds",
                    "When the last checkpoint was written, 0 for never."
                ),
                &self.last_secs,
            ),
        ] {
            page.family(heading)
                .sample(&[store], Value::Whole(gauge.get()));
        }
    }
}
