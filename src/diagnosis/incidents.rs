//! Incidents: what is seen is gathered into one incident at a time, diagnosed, acted upon and remembered.
//!
//! The first symptom opens an incident; what is seen while it is open belongs to it, so that two faults at once are
//! weighed together. It closes when no symptom has lasted for [`IncidentPolicy::quiet`]. What is remembered of a past
//! incident is what was seen: its diagnosis follows from that, and is made again for whoever asks.
//!
//! Always true: at most one incident is open; the last [`PAST_LEN`] are kept, and the last [`HISTORY_LEN`] remedies that
//! were applied, in memory that was there from the start; an attempt that nobody saw help in time has failed.
//!
//! Flow: detectors call [`Incidents::raise`] and [`Incidents::clear`], the supervisor's checks
//! [`Incidents::health_checked`]; [`Incidents::act`] applies what is recommended; the kernel calls [`Incidents::tick`] while
//! one is open ([`Incidents::due`]), and `GET /diagnosis` shows [`Incidents::report`].

mod report;
mod tally;
#[cfg(test)]
mod tests;

pub use tally::Tally;

use super::remediation_recommendations::{
    Actuator, Advice, Attempt, Facts, Level, Outcome, RECOMMENDED_MAX, Reason, Recommendation,
    Verification, recommend,
};
use super::root_cause_analysis::{
    Diagnosis, Incident, PARTS_MAX, Part, PartId, SIGHTINGS_MAX, SymptomKind, SymptomSet, Workspace,
};
use crate::error::{Error, Kind, Result, Subsystem};
use crate::platform::time::{Duration, Instant};
use heapless::{Deque, Vec};

/// Past incidents that are kept: a bad night's.
pub const PAST_LEN: usize = 16;
/// Attempts that are kept; more than all remedies' bounds allow within a minute.
pub const HISTORY_LEN: usize = 32;

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

/// One incident from when it was opened.
#[derive(Clone, Debug)]
struct Record {
    incident: Incident,
    opened: Instant,
    closed: Option<Instant>,
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
    open: Option<Record>,
    lasting: Vec<Lasting, SIGHTINGS_MAX>,
    /// When the last symptom was raised or cleared.
    changed: Instant,
    past: Deque<Record, PAST_LEN>,
    history: Vec<Attempt, HISTORY_LEN>,
    tally: Tally,
    workspace: Workspace,
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
            open: None,
            lasting: Vec::new(),
            changed: Instant::ZERO,
            past: Deque::new(),
            history: Vec::new(),
            tally: Tally::new(),
            workspace: Workspace::new(),
        }
    }

    /// The part of that name.
    pub fn part(&self, name: &str) -> Option<PartId> {
        let place = self.parts.iter().position(|part| part.name() == name);
        place.map(|place| PartId(place as u8))
    }

    /// Takes in that a symptom is there; returns whether it is news.
    ///
    /// # Panics
    /// If a symptom of a part comes without one, or the other way round.
    pub fn raise(&mut self, symptom: SymptomKind, part: Option<PartId>, now: Instant) -> bool {
        if self.open.is_none() {
            self.opened_total += 1;
            let number = self.opened_total;
            self.open = Some(Record {
                incident: Incident::new(number, self.watched, self.parts.clone()),
                opened: now,
                closed: None,
            });
            log::warn!("incident {number} opened: {}", symptom.row().about);
        }
        let open = self.open.as_mut().expect("it was opened above");
        let is_news = open.incident.see(symptom, part, now);
        if !self.lasting.contains(&(symptom, part)) {
            // One that does not fit is seen, and is not waited for.
            let _ = self.lasting.push((symptom, part));
        }
        self.changed = now;
        is_news
    }

    /// Takes in an event: a symptom that is over as it is seen.
    ///
    /// # Panics
    /// As [`Incidents::raise`].
    pub fn event(&mut self, symptom: SymptomKind, part: Option<PartId>, now: Instant) -> bool {
        let is_news = self.raise(symptom, part, now);
        self.lasting.retain(|&lasting| lasting != (symptom, part));
        is_news
    }

    /// Takes in that a symptom is there no more.
    pub fn clear(&mut self, symptom: SymptomKind, part: Option<PartId>, now: Instant) {
        let before = self.lasting.len();
        self.lasting.retain(|&lasting| lasting != (symptom, part));
        if self.lasting.len() < before {
            self.changed = now;
        }
        if self.lasting.is_empty() {
            self.settle(Outcome::Recovered, |attempt| {
                matches!(
                    attempt.remedy.row().verification,
                    Verification::SymptomsClear(_)
                )
            });
        }
    }

    /// Takes in the outcome of a part's health check.
    pub fn health_checked(&mut self, part: PartId, is_passed: bool) {
        if is_passed {
            self.settle(Outcome::Recovered, |attempt| {
                let by_check = matches!(
                    attempt.remedy.row().verification,
                    Verification::HealthCheckPasses(_)
                );
                by_check && attempt.part == Some(part)
            });
        }
    }

    /// When [`Incidents::tick`] is to be called next; nothing while no incident is open.
    pub fn due(&self) -> Option<Instant> {
        self.open.as_ref()?;
        let awaited = self
            .history
            .iter()
            .filter(|attempt| attempt.outcome.is_none());
        let ends = awaited
            .filter_map(|attempt| Some(attempt.at + attempt.remedy.row().verification.within()?));
        let quiet = self
            .lasting
            .is_empty()
            .then_some(self.changed + self.policy.quiet);
        ends.chain(quiet).min()
    }

    /// Ends what is over by `now`: attempts that did not help in time, and the incident.
    pub fn tick(&mut self, now: Instant) {
        self.settle(Outcome::Failed, |attempt| {
            let within = attempt.remedy.row().verification.within();
            within.is_some_and(|within| now >= attempt.at + within)
        });
        if !self.lasting.is_empty() || now < self.changed + self.policy.quiet {
            return;
        }
        if let Some(mut record) = self.open.take() {
            record.closed = Some(now);
            let diagnosis = Diagnosis::of(&record.incident, &mut self.workspace);
            self.tally.count_incident(diagnosis.name());
            log::info!(
                "incident {} closed: {}",
                record.incident.number,
                diagnosis.name()
            );
            if self.past.is_full() {
                self.past.pop_front();
            }
            // There is room.
            let _ = self.past.push_back(record);
        }
    }

    /// What the open incident comes from, as far as is known by `now`.
    pub fn diagnosis(&mut self, now: Instant) -> Option<Diagnosis> {
        let open = self.open.as_mut()?;
        open.incident.until = open.incident.until.max(now);
        Some(Diagnosis::of(&open.incident, &mut self.workspace))
    }

    /// What is to be done about the open incident.
    pub fn recommend(
        &mut self,
        facts: impl Fn(Option<PartId>) -> Facts,
        now: Instant,
    ) -> Vec<Recommendation, RECOMMENDED_MAX> {
        let diagnosis = self.diagnosis(now);
        diagnosis.map_or(Vec::new(), |known| self.recommended(&known, facts, now))
    }

    fn recommended(
        &self,
        diagnosis: &Diagnosis,
        facts: impl Fn(Option<PartId>) -> Facts,
        now: Instant,
    ) -> Vec<Recommendation, RECOMMENDED_MAX> {
        let number = self.opened_total;
        recommend(diagnosis, number, self.level, facts, &self.history, now)
    }

    /// Applies what is recommended, if anything is; returns what was tried.
    pub fn act(&mut self, actuator: &mut impl Actuator, now: Instant) -> Option<Attempt> {
        let recommended = self.recommend(|part| actuator.facts(part), now);
        let first = recommended
            .iter()
            .find(|known| known.advice == Advice::Apply)?;
        Some(self.perform(*first, actuator, now))
    }

    /// Applies what the operator asks for: the first remedy of the open incident of that number that is advised, and
    /// that doubt or the level alone kept from being applied, or that of that name.
    ///
    /// # Errors
    /// `Missing` if that incident is not open, or advises no such remedy.
    pub fn apply(
        &mut self,
        number: u64,
        remedy: Option<&str>,
        actuator: &mut impl Actuator,
        now: Instant,
    ) -> Result<Attempt> {
        let missing = |what| Error::new(Subsystem::Diagnosis, Kind::Missing { what });
        if self
            .open
            .as_ref()
            .is_none_or(|open| open.incident.number != number)
        {
            return Err(missing("open incident of that number"));
        }
        let recommended = self.recommend(|part| actuator.facts(part), now);
        let may_be = |known: &&Recommendation| match (known.advice, remedy) {
            (Advice::Refuse(_) | Advice::Advise(Reason::Operator), _) => false,
            (_, Some(name)) => known.remedy.row().name == name,
            (Advice::Apply | Advice::Advise(Reason::Level | Reason::Doubtful), None) => true,
            (Advice::Advise(_), None) => false,
        };
        let asked = recommended.iter().find(may_be);
        let asked = asked.ok_or(missing("remedy that may be applied now"))?;
        Ok(self.perform(*asked, actuator, now))
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

    fn perform(
        &mut self,
        known: Recommendation,
        actuator: &mut impl Actuator,
        now: Instant,
    ) -> Attempt {
        let name = known.remedy.row().name;
        let done = actuator.perform(known.remedy, known.part);
        match done {
            Ok(()) => log::warn!(
                "incident {}: {name} against {}",
                self.opened_total,
                known.cause
            ),
            Err(error) => log::error!(
                "incident {}: {name} could not be done: {error}",
                self.opened_total
            ),
        }
        let attempt = Attempt {
            remedy: known.remedy,
            part: known.part,
            incident: self.opened_total,
            at: now,
            outcome: done.err().map(|_| Outcome::Skipped),
        };
        if let Some(outcome) = attempt.outcome {
            self.tally
                .count_attempt(attempt.remedy.row().action, outcome);
        }
        if self.history.is_full() {
            self.history.remove(0);
        }
        // There is room.
        let _ = self.history.push(attempt);
        attempt
    }

    /// Says what became of those attempts of which it is not known.
    fn settle(&mut self, outcome: Outcome, of: impl Fn(&Attempt) -> bool) {
        let open = self
            .history
            .iter_mut()
            .filter(|attempt| attempt.outcome.is_none());
        for attempt in open.filter(|attempt| of(attempt)) {
            attempt.outcome = Some(outcome);
            self.tally
                .count_attempt(attempt.remedy.row().action, outcome);
        }
    }
}
