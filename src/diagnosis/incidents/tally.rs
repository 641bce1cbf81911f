//! What incidents and remedies are counted by.

use crate::diagnosis::remediation_recommendations::{Action, Outcome};
use crate::diagnosis::root_cause_analysis::{CAUSES, causes};
use crate::metrics::Histogram;
use crate::platform::time::Duration;

const OUTCOMES: [Outcome; 3] = [Outcome::Recovered, Outcome::Failed, Outcome::Skipped];

/// Counts since boot.
#[derive(Debug)]
pub struct Tally {
    /// By cause, in the order of the table; then those that were healthy and unknown.
    incidents: [u32; CAUSES + 2],
    attempts: [[u32; OUTCOMES.len()]; Action::ALL.len()],
    pub(super) detection: Histogram,
    pub(super) recovery: Histogram,
}

impl Clone for Tally {
    fn clone(&self) -> Self {
        Self {
            incidents: self.incidents,
            attempts: self.attempts,
            detection: self.detection.with_shortest(0, 0),
            recovery: self.recovery.with_shortest(0, 0),
        }
    }
}

impl Tally {
    /// Nothing yet.
    pub(super) const fn new() -> Self {
        Self {
            incidents: [0; CAUSES + 2],
            attempts: [[0; OUTCOMES.len()]; Action::ALL.len()],
            detection: Histogram::new(),
            recovery: Histogram::new(),
        }
    }

    /// Incidents that are over, by what they came from; every cause is there, and `unknown` comes last.
    pub fn incidents(&self) -> impl Iterator<Item = (&'static str, u64)> {
        names().zip(self.incidents.map(u64::from))
    }

    /// Those that there were, and `unknown`.
    pub(super) fn seen(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let last = self.incidents.len() - 1;
        let rows = self.incidents.into_iter().enumerate();
        let seen = rows.filter(move |&(place, count)| count > 0 || place == last);
        seen.filter_map(|(place, count)| Some((names().nth(place)?, count.into())))
    }

    /// Remedies that were applied, by action and outcome; all are there.
    pub fn attempts(&self) -> impl Iterator<Item = (Action, Outcome, u64)> {
        let rows = Action::ALL.into_iter().zip(self.attempts);
        rows.flat_map(|(action, row)| {
            OUTCOMES
                .into_iter()
                .zip(row)
                .map(move |(outcome, count)| (action, outcome, count.into()))
        })
    }

    pub(super) fn count_incident(&mut self, name: &str) {
        let place = names().position(|known| known == name);
        self.incidents[place.expect("diagnoses name rows of the table")] += 1;
    }

    pub(super) fn count_attempt(&mut self, action: Action, outcome: Outcome) {
        self.attempts[action as usize][outcome as usize] += 1;
    }

    /// Counts how long an incident took to be seen, and to be over with from then on.
    pub(super) fn count_times(&mut self, detection: Duration, recovery: Duration) {
        self.detection.observe_nanos(detection.as_nanos());
        self.recovery.observe_nanos(recovery.as_nanos());
    }
}

/// What an incident can come from.
fn names() -> impl Iterator<Item = &'static str> {
    causes()
        .map(|cause| cause.name)
        .chain(["healthy", "unknown"])
}
