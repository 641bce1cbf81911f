//! What incidents and remedies are counted by: closed sets, so that every series can be shown from the start.

use crate::diagnosis::remediation_recommendations::{Action, Outcome};
use crate::diagnosis::root_cause_analysis::{CAUSES, causes};

const OUTCOMES: [Outcome; 3] = [Outcome::Recovered, Outcome::Failed, Outcome::Skipped];

/// Counts since boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// By cause, in the order of the table; then those that were healthy and unknown.
    incidents: [u64; CAUSES + 2],
    attempts: [[u64; OUTCOMES.len()]; Action::ALL.len()],
}

impl Tally {
    /// Nothing yet.
    pub(super) const fn new() -> Self {
        Self {
            incidents: [0; CAUSES + 2],
            attempts: [[0; OUTCOMES.len()]; Action::ALL.len()],
        }
    }

    /// Incidents that are over, by what they came from; every cause is there.
    pub fn incidents(&self) -> impl Iterator<Item = (&'static str, u64)> {
        names().zip(self.incidents)
    }

    /// Remedies that were applied, by action and outcome; all are there.
    pub fn attempts(&self) -> impl Iterator<Item = (Action, Outcome, u64)> {
        let rows = Action::ALL.into_iter().zip(self.attempts);
        rows.flat_map(|(action, row)| {
            OUTCOMES
                .into_iter()
                .zip(row)
                .map(move |(outcome, count)| (action, outcome, count))
        })
    }

    pub(super) fn count_incident(&mut self, name: &str) {
        let place = names().position(|known| known == name);
        self.incidents[place.expect("diagnoses name rows of the table")] += 1;
    }

    pub(super) fn count_attempt(&mut self, action: Action, outcome: Outcome) {
        self.attempts[action as usize][outcome as usize] += 1;
    }
}

/// What an incident can come from.
fn names() -> impl Iterator<Item = &'static str> {
    causes()
        .map(|cause| cause.name)
        .chain(["healthy", "unknown"])
}
