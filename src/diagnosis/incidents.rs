//! Incidents: what is seen is gathered into one incident at a time, diagnosed, acted upon and remembered.
//!
//! The first symptom opens an incident; what is seen while it is open belongs to it, so that two faults at once are
//! weighed together. It closes when no symptom has lasted for [`IncidentPolicy::quiet`]. What is remembered of a past
//! incident is what was seen: its diagnosis follows from that, and is made again for whoever asks.
//!
//! Always true: at most one incident is open; the last [`PAST_LEN`] are kept, and the last [`HISTORY_LEN`] remedies that
//! were applied, in memory that was there from the start; an attempt that nobody saw help in time has failed; each that
//! is closed is counted once, by its cause, by the time it took to detect and by the time it took to recover.
//!
//! Flow: who sees a symptom tells it here, which takes a few hundred instructions: it may be done under a lock. What takes
//! long works on a copy, a [`Case`]: [`attend`] diagnoses, acts and closes, [`report`] writes `GET /diagnosis`,
//! [`order`] takes what the operator asks for. They reach the incidents by [`Shared`], for a moment each time.

mod attend;
mod case;
mod course;
mod metrics;
mod report;
mod tally;
#[cfg(test)]
mod tests;

pub use attend::{Ordered, attend, order};
pub use case::Case;
pub use metrics::write_metrics;
pub use report::{digest, report};
pub use tally::Tally;

use super::remediation_recommendations::{Attempt, Level, Outcome, RemedyKind, Verification};
use super::root_cause_analysis::{
    PARTS_MAX, Part, PartId, SIGHTINGS_MAX, Sighting, SymptomKind, SymptomSet,
};
use crate::platform::time::{Duration, Instant};
use heapless::{Deque, Vec};

/// Past incidents that are kept: a bad night's.
pub const PAST_LEN: usize = 16;
/// Attempts that are kept; more than all remedies' bounds allow within a minute.
pub const HISTORY_LEN: usize = 32;
/// Deaths of parts that are kept, to tell a part that dies again and again.
const DEATHS_LEN: usize = 16;
/// So many deaths of one part
const REPEATED: usize = 4;
/// within that time are one after the other for the same reason (a guess: a client's retries come within a minute).
const REPEATED_WITHIN: Duration = Duration::from_secs(60);

/// How incidents are reached: whoever needs them has them for a moment, and nobody else has them then.
pub trait Shared {
    /// Runs `section` with them.
    fn with<R>(&self, section: impl FnOnce(&mut Incidents) -> R) -> R;
}

/// When an incident is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncidentPolicy {
    /// How long no symptom must have lasted.
    pub quiet: Duration,
}

impl IncidentPolicy {
    /// The policy of the image: longer than symptoms of one fault lie apart, mostly (a guess).
    pub const DEFAULT: Self = Self {
        quiet: Duration::from_secs(10),
    };
}

/// One incident from when it was opened, without what all have in common.
#[derive(Clone, Debug)]
struct Record {
    number: u64,
    /// When it began, at the latest: what saw the first symptom had not seen it then, or saw the fault itself.
    began: Instant,
    opened: Instant,
    /// When something got well last.
    mended: Option<Instant>,
    closed: Option<Instant>,
    until: Instant,
    sightings: Vec<Sighting, SIGHTINGS_MAX>,
}

/// A symptom that lasts.
type Lasting = (SymptomKind, Option<PartId>);

/// All incidents.
#[derive(Debug)]
pub struct Incidents {
    policy: IncidentPolicy,
    level: Level,
    watched: SymptomSet,
    parts: Vec<Part, PARTS_MAX>,
    opened_total: u64,
    /// Which incident the log told of last.
    told: u64,
    open: Option<Record>,
    lasting: Vec<Lasting, SIGHTINGS_MAX>,
    /// When the last symptom was raised or cleared.
    changed: Instant,
    /// When it is last known to have begun that a symptom of the open incident was there, or there again.
    worsened: Instant,
    past: Deque<Record, PAST_LEN>,
    history: Vec<Attempt, HISTORY_LEN>,
    deaths: Deque<(PartId, Instant), DEATHS_LEN>,
    /// By part: how often it was refused memory beyond its quota.
    refusals: [u64; PARTS_MAX],
    /// What the operator asked for.
    ordered: Option<(RemedyKind, Option<PartId>)>,
    exhaustion: Option<Duration>,
    tally: Tally,
}

impl Incidents {
    /// No incident yet. `watched` says what some detector watches for: nothing else counts as absent.
    pub const fn new(
        policy: IncidentPolicy,
        level: Level,
        watched: SymptomSet,
        parts: Vec<Part, PARTS_MAX>,
    ) -> Self {
        Self {
            policy,
            level,
            watched,
            parts,
            opened_total: 0,
            told: 0,
            open: None,
            lasting: Vec::new(),
            changed: Instant::ZERO,
            worsened: Instant::ZERO,
            past: Deque::new(),
            history: Vec::new(),
            deaths: Deque::new(),
            refusals: [0; PARTS_MAX],
            ordered: None,
            exhaustion: None,
            tally: Tally::new(),
        }
    }

    /// Forgets everything but the counts: for when whoever had them died and may have left half a change. What was
    /// open is over, as unknown.
    pub fn forget(&mut self) {
        if self.open.take().is_some() {
            self.tally.count_incident("unknown");
        }
        self.lasting.clear();
        self.past.clear();
        self.history.clear();
        self.deaths.clear();
        self.ordered = None;
    }

    /// The part of that name.
    pub fn part(&self, name: &str) -> Option<PartId> {
        let place = self.parts.iter().position(|part| part.name() == name);
        place.map(|place| PartId(place as u8))
    }

    /// Takes in that a symptom is there, which was not before `began`; returns whether it is news. Told again each time
    /// that it is looked for and still there: what outlasts a remedy by that is not healed.
    ///
    /// # Panics
    /// If a symptom of a part comes without one, or the other way round.
    pub fn raise(
        &mut self,
        symptom: SymptomKind,
        part: Option<PartId>,
        began: Instant,
        now: Instant,
    ) -> bool {
        let is_news = self.see(symptom, part, (began, now), now);
        if !self.lasting.contains(&(symptom, part)) {
            // One that does not fit is seen, and is not waited for.
            let _ = self.lasting.push((symptom, part));
        }
        is_news
    }

    /// Takes in an event that was at `at`: a symptom that is over as it is seen. As [`Incidents::raise`] otherwise.
    ///
    /// # Panics
    /// As [`Incidents::raise`].
    pub fn event(
        &mut self,
        symptom: SymptomKind,
        part: Option<PartId>,
        at: Instant,
        now: Instant,
    ) -> bool {
        self.see(symptom, part, (at, at), now)
    }

    /// Takes in that a symptom is there that alone is no incident: nothing, unless one is open.
    pub fn join(&mut self, symptom: SymptomKind, part: Option<PartId>, now: Instant) -> bool {
        let (changed, worsened) = (self.changed, self.worsened);
        let is_news = self.open.is_some() && self.see(symptom, part, (now, now), now);
        // It keeps no incident open, and is nothing that has to be healed.
        (self.changed, self.worsened) = (changed, worsened);
        is_news
    }

    /// Takes in how often a part was refused memory beyond its quota by now: a symptom whenever that has grown.
    pub fn refused(&mut self, part: PartId, total: u64, at: Instant, now: Instant) {
        if let Some(known) = self.refusals.get_mut(usize::from(part.0))
            && core::mem::replace(known, total) < total
        {
            self.event(SymptomKind::QuotaReached, Some(part), at, now);
        }
    }

    /// Takes in the death of a part: the symptom that it was, and that it comes again and again if it does.
    pub fn died(&mut self, symptom: SymptomKind, part: PartId, at: Instant, now: Instant) {
        self.event(symptom, Some(part), at, now);
        if self.deaths.is_full() {
            self.deaths.pop_front();
        }
        // There is room.
        let _ = self.deaths.push_back((part, at));
        let is_one =
            |(other, when): &(PartId, Instant)| *other == part && at.since(*when) < REPEATED_WITHIN;
        if self.deaths.iter().filter(|death| is_one(death)).count() >= REPEATED {
            self.event(SymptomKind::RestartsRepeated, Some(part), at, now);
        }
    }

    /// Takes in that a symptom is there no more.
    pub fn clear(&mut self, symptom: SymptomKind, part: Option<PartId>, now: Instant) {
        let before = self.lasting.len();
        self.lasting.retain(|&lasting| lasting != (symptom, part));
        if self.lasting.len() == before {
            return;
        }
        self.changed = now;
        self.mend(now);
        if self.lasting.is_empty() {
            self.settle(Outcome::Recovered, now, |attempt| {
                matches!(
                    attempt.remedy.row().verification,
                    Verification::SymptomsClear(_)
                )
            });
        }
    }

    /// Takes in that a part is well: it came up, or passed its health check.
    pub fn well(&mut self, part: PartId, now: Instant) {
        self.clear(SymptomKind::HealthCheckMissed, Some(part), now);
        self.settle(Outcome::Recovered, now, |attempt| {
            let by_check = matches!(
                attempt.remedy.row().verification,
                Verification::HealthCheckPasses(_)
            );
            by_check && attempt.part == Some(part)
        });
    }

    /// When something is to be done next by [`attend`]; nothing while no incident is open.
    pub fn due(&self) -> Option<Instant> {
        self.open.as_ref()?;
        let awaited = self
            .history
            .iter()
            .filter(|attempt| attempt.outcome.is_none());
        let ends = awaited
            .filter_map(|attempt| Some(attempt.at + attempt.remedy.row().verification.within()?));
        let quiet = self.lasting.is_empty().then(|| self.quiet_at());
        ends.chain(quiet).min()
    }

    /// Notes a remedy that is being applied, before it is: its effect may come before it returns, or end who applies it.
    pub fn begin(&mut self, remedy: RemedyKind, part: Option<PartId>, now: Instant) {
        if self.history.is_full() {
            let oldest = self.history.remove(0);
            if oldest.outcome.is_none() {
                self.tally
                    .count_attempt(oldest.remedy.row().action, Outcome::Failed);
            }
        }
        // There is room.
        let _ = self.history.push(Attempt {
            remedy,
            part,
            incident: self.opened_total,
            at: now,
            outcome: None,
        });
    }

    /// Takes in how long memory will last as it goes now; nothing if it will.
    pub fn forecast(&mut self, exhaustion: Option<Duration>) {
        self.exhaustion = exhaustion;
    }

    /// How long memory will last as it goes now; nothing if it will.
    pub fn exhaustion(&self) -> Option<Duration> {
        self.exhaustion
    }

    /// Incidents, attempts and their outcomes, counted since boot.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Incidents opened since boot.
    pub fn opened_total(&self) -> u64 {
        self.opened_total
    }

    /// Whether one is open.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }
}
