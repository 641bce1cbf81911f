//! The watch: vital signs of the whole image, sample after sample, held against one fixed setting.
//!
//! A row of [`RULES`] says which symptom a value raises, from where on, and where it ends. Some symptoms open an
//! incident; the others only tell more of one that is open, for load alone brings them about: many evictions are what
//! a full cache does. What a series usually is, where that depends on the clients, is learned (`Usual`); what becomes of
//! memory if it goes on like this is forecast ([`Watch::exhaustion`]).
//!
//! Always true: a state of fixed size; what it says depends on the samples and their times alone.
//!
//! Flow: the diagnosis subsystem takes a sample as work is done, at most one a second, and hands what changed to
//! [`super::incidents::Incidents`].

use super::detectors::{Level, RobustZ, Side, StreamDetector, Trend};
use super::incidents::Incidents;
use super::root_cause_analysis::{SymptomKind, SymptomSet};
use crate::metrics::Vitals;
use crate::platform::time::{Duration, Instant, NANOS_PER_SEC};
use core::array::from_fn;
use heapless::Vec;

/// What a symptom does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It opens an incident.
    Opens,
    /// It joins one that is open.
    Joins,
}

/// Two samples, and the time between them.
struct Span<'a> {
    before: &'a Vitals,
    now: &'a Vitals,
    seconds: f64,
}

impl Span<'_> {
    /// How much a count grew, a second; a count that fell began anew.
    fn rate(&self, count: fn(&Vitals) -> u64) -> f64 {
        self.growth(count) / self.seconds
    }

    fn growth(&self, count: fn(&Vitals) -> u64) -> f64 {
        count(self.now).saturating_sub(count(self.before)) as f64
    }

    /// What part of one count's growth another one's is, where the second grew by so much a second at least; else 0.
    fn share(&self, part: fn(&Vitals) -> u64, whole: fn(&Vitals) -> u64, least: f64) -> f64 {
        if self.rate(whole) < least {
            return 0.0;
        }
        self.growth(part) / self.growth(whole).max(1.0)
    }
}

/// A row of the setting.
struct Rule {
    symptom: SymptomKind,
    role: Role,
    raise_above: f32,
    clear_below: f32,
    value: fn(&Span<'_>) -> f64,
}

/// The fixed setting. Limits are guesses at what no healthy image shows, for those that open an incident; and at what
/// some unhealthy one does for the others.
const RULES: [Rule; 15] = [
    opens(SymptomKind::FrameRequestsRefused, 0.5, 0.5, |span| {
        span.growth(|now| now.frames_refused)
    }),
    opens(SymptomKind::HeapRequestsRefused, 0.5, 0.5, |span| {
        span.growth(|now| now.heap_refused)
    }),
    opens(SymptomKind::ValueChecksumMismatch, 0.5, 0.5, |span| {
        span.growth(|now| now.damaged)
    }),
    // A link damages a frame now and then.
    opens(SymptomKind::ChecksumDrops, 10.0, 1.0, |span| {
        span.rate(|now| now.checksum_drops)
    }),
    opens(SymptomKind::NoBufferDrops, 50.0, 1.0, |span| {
        span.rate(|now| now.no_buffer_drops)
    }),
    opens(SymptomKind::ClientsRefused, 1.0, 0.1, |span| {
        span.rate(|now| now.clients_refused)
    }),
    // Of what is sent, about as much as is received: one of ten is loss that clients feel.
    opens(SymptomKind::RetransmitsHigh, 0.1, 0.02, |span| {
        span.share(|now| now.retransmits, |now| now.frames_received, 100.0)
    }),
    joins(SymptomKind::PageCacheMissesHigh, 0.5, 0.3, |span| {
        span.share(
            |now| now.refills,
            |now| now.refills + now.cached_pages,
            256.0,
        )
    }),
    joins(SymptomKind::MemoryLimitReached, 0.98, 0.95, |span| {
        span.now.dataset_bytes as f64 / span.now.limit_bytes.max(1) as f64
    }),
    joins(SymptomKind::EvictionsHigh, 100.0, 10.0, |span| {
        span.rate(|now| now.evicted)
    }),
    joins(SymptomKind::ExpiriesHigh, 1000.0, 100.0, |span| {
        span.rate(|now| now.expired)
    }),
    joins(SymptomKind::HitRatioLow, 0.8, 0.6, |span| {
        span.share(|now| now.misses, |now| now.misses + now.hits, 100.0)
    }),
    joins(SymptomKind::CommandLatencyHigh, 0.01, 0.001, |span| {
        span.share(|now| now.late_commands, |now| now.commands, 10.0)
    }),
    joins(SymptomKind::SlowCommands, 0.5, 0.5, |span| {
        span.growth(|now| now.slow_commands)
    }),
    joins(SymptomKind::HttpRejections, 10.0, 1.0, |span| {
        span.rate(|now| now.http_rejections)
    }),
];

const fn opens(
    symptom: SymptomKind,
    raise_above: f32,
    clear_below: f32,
    value: fn(&Span<'_>) -> f64,
) -> Rule {
    Rule {
        symptom,
        role: Role::Opens,
        raise_above,
        clear_below,
        value,
    }
}

const fn joins(
    symptom: SymptomKind,
    raise_above: f32,
    clear_below: f32,
    value: fn(&Span<'_>) -> f64,
) -> Rule {
    Rule {
        role: Role::Joins,
        ..opens(symptom, raise_above, clear_below, value)
    }
}

/// A series of which only the clients know what is much: it is judged by what it usually is.
struct Usual {
    symptom: SymptomKind,
    /// Less than this is little, whatever it usually is.
    least: f32,
    value: fn(&Span<'_>) -> f64,
}

const USUALS: [Usual; 3] = [
    Usual {
        symptom: SymptomKind::CommandRateHigh,
        least: 1000.0,
        value: |span| span.rate(|now| now.commands),
    },
    Usual {
        symptom: SymptomKind::ClientsHigh,
        least: 100.0,
        value: |span| span.now.clients as f64,
    },
    Usual {
        symptom: SymptomKind::HttpRateHigh,
        least: 20.0,
        value: |span| span.rate(|now| now.http_requests),
    },
];
/// Robust deviations from the median that are many; one of ten thousand normal values lies four off.
const UNUSUAL: f64 = 6.0;
/// Samples before anything is unusual: half a minute of work.
const LEARNING: u8 = 30;
/// Values from so long ago weigh half in the forecast.
const FORECAST_HALF_LIFE: Duration = Duration::from_secs(60);
/// Memory that will surely not last for this long is short: time to look, and to act.
const FORECAST_HORIZON: Duration = Duration::from_secs(120);
/// Samples before there is a forecast: a minute of work.
const FORECAST_LEARNING: u32 = 60;

/// Nothing is forecast beyond that.
const FORECAST_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Symptoms that a look finds at most.
const FOUND_MAX: usize = RULES.len() + USUALS.len() + 1;

/// What is watched, and what is known of it.
pub struct Watch {
    last: Option<(Instant, Vitals)>,
    levels: [Level; RULES.len()],
    usual: [RobustZ; USUALS.len()],
    trend: Trend,
    is_running_out: bool,
}

/// What one look found.
#[derive(Debug)]
pub struct Found {
    /// When nothing of it was there yet.
    before: Instant,
    now: Instant,
    raised: Vec<(SymptomKind, Role), FOUND_MAX>,
    cleared: Vec<SymptomKind, FOUND_MAX>,
    exhaustion: Option<Duration>,
}

impl Watch {
    /// What some row or the forecast raises: what can be missing.
    pub const WATCHED: SymptomSet = {
        let mut watched = SymptomSet::NONE.with(SymptomKind::MemoryExhaustionForecast);
        let mut row = 0;
        while row < RULES.len() {
            watched = watched.with(RULES[row].symptom);
            row += 1;
        }
        let mut row = 0;
        while row < USUALS.len() {
            watched = watched.with(USUALS[row].symptom);
            row += 1;
        }
        watched
    };

    /// Nothing seen yet. `others_bytes` is the memory that all but the dataset may have together.
    pub fn new(others_bytes: u64) -> Self {
        Self {
            last: None,
            levels: from_fn(|row| {
                let Rule {
                    raise_above,
                    clear_below,
                    ..
                } = RULES[row];
                Level::new(Side::Above, raise_above.into(), clear_below.into())
            }),
            usual: [const { RobustZ::new(UNUSUAL, 1, LEARNING) }; USUALS.len()],
            trend: Trend::new(
                others_bytes as f64,
                FORECAST_HALF_LIFE,
                FORECAST_HORIZON,
                FORECAST_LEARNING,
            ),
            is_running_out: false,
        }
    }

    /// Takes in a sample; nothing is found by the first, or by a second one at the same time.
    pub fn look(&mut self, vitals: &Vitals, now: Instant) -> Option<Found> {
        let (before, last) = self.last.replace((now, *vitals))?;
        let elapsed = now.since(before).as_nanos();
        if elapsed == 0 {
            return None;
        }
        let span = Span {
            before: &last,
            now: vitals,
            seconds: elapsed as f64 / NANOS_PER_SEC as f64,
        };
        let mut found = Found {
            before,
            now,
            raised: Vec::new(),
            cleared: Vec::new(),
            exhaustion: None,
        };
        for (rule, level) in RULES.iter().zip(&mut self.levels) {
            let was_raised = level.is_raised();
            level.observe(now, (rule.value)(&span));
            found.note(rule.symptom, rule.role, was_raised, level.is_raised());
        }
        for (usual, series) in USUALS.iter().zip(&mut self.usual) {
            let value = (usual.value)(&span);
            let is_more = value >= f64::from(usual.least) && series.deviations(value) > 0.0;
            let is_unusual = series.observe(now, value).is_anomalous() && is_more;
            found.note(usual.symptom, Role::Joins, false, is_unusual);
        }
        self.forecast(vitals, now, &mut found);
        Some(found)
    }

    fn forecast(&mut self, vitals: &Vitals, now: Instant, found: &mut Found) {
        let used = vitals.memory_bytes.saturating_sub(vitals.free_bytes);
        let others = used.saturating_sub(vitals.dataset_bytes);
        let score = self.trend.observe(now, others as f64);
        let was_running_out = self.is_running_out;
        self.is_running_out = score.is_anomalous();
        let symptom = SymptomKind::MemoryExhaustionForecast;
        found.note(symptom, Role::Opens, was_running_out, self.is_running_out);
        let end = self.trend.exhaustion();
        // A line that may as well not get there, or that far off, is level.
        let end = end.filter(|end| end.latest.is_some() && end.likeliest < FORECAST_MAX);
        found.exhaustion = end.map(|end| end.likeliest);
    }
}

impl Found {
    fn note(&mut self, symptom: SymptomKind, role: Role, was_raised: bool, is_raised: bool) {
        // There is room for all rows.
        if is_raised {
            let _ = self.raised.push((symptom, role));
        } else if was_raised {
            let _ = self.cleared.push(symptom);
        }
    }

    /// Tells it to the incidents. What joins is told again each time, as the incident may be a new one.
    pub fn tell(&self, incidents: &mut Incidents) {
        for &symptom in &self.cleared {
            incidents.clear(symptom, None, self.now);
        }
        for &(symptom, role) in &self.raised {
            match role {
                Role::Opens => incidents.raise(symptom, None, self.before, self.now),
                Role::Joins => incidents.join(symptom, None, self.now),
            };
        }
        incidents.forecast(self.exhaustion);
    }
}

#[cfg(test)]
mod tests;
