//! One incident as a value of its own, to be diagnosed without holding anybody up.

use super::{HISTORY_LEN, Incidents, Record};
use crate::diagnosis::remediation_recommendations::{
    Advice, Attempt, Facts, Level, RECOMMENDED_MAX, Reason, Recommendation, RemedyKind, recommend,
};
use crate::diagnosis::root_cause_analysis::{Diagnosis, Incident, PartId, Workspace};
use crate::platform::time::Instant;
use heapless::Vec;

/// An incident with what was tried before, as they were when it was taken.
#[derive(Clone, Debug)]
pub struct Case {
    /// What was seen.
    pub incident: Incident,
    pub(super) opened: Instant,
    pub(super) closed: Option<Instant>,
    pub(super) is_over: bool,
    /// Nothing was there any more after something got well.
    is_well: bool,
    /// What the operator asked for.
    pub(super) ordered: Option<(RemedyKind, Option<PartId>)>,
    pub(super) history: Vec<Attempt, HISTORY_LEN>,
    level: Level,
}

impl Incidents {
    /// The incident of that number as it stands now, if it is open or remembered.
    pub fn case(&self, number: u64, now: Instant) -> Option<Case> {
        let all = self.past.iter().chain(&self.open);
        let record = all.into_iter().find(|record| record.number == number)?;
        Some(self.case_of(record, now))
    }

    /// The open one.
    pub fn open_case(&self, now: Instant) -> Option<Case> {
        self.open.as_ref().map(|open| self.case_of(open, now))
    }

    #[inline(never)]
    fn case_of(&self, record: &Record, now: Instant) -> Case {
        let is_open = record.closed.is_none();
        let until = if is_open {
            record.until.max(now)
        } else {
            record.until
        };
        Case {
            incident: Incident::recorded(
                record.number,
                until,
                self.watched,
                self.parts.clone(),
                record.sightings.clone(),
            ),
            opened: record.opened,
            closed: record.closed,
            is_over: is_open && self.is_over(now),
            is_well: record.mended >= Some(self.worsened),
            ordered: self.ordered.filter(|_| is_open),
            history: self.history.clone(),
            level: self.level,
        }
    }
}

impl Case {
    /// What it comes from, as far as is known.
    #[inline(never)]
    pub fn diagnose(&self, workspace: &mut Workspace) -> Diagnosis {
        Diagnosis::of(&self.incident, workspace)
    }

    /// Whether it was open when it was taken.
    pub fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    /// What is to be done about it as `facts` says of the image, for a remedy on a part; nothing about one that is over.
    pub fn recommend(
        &self,
        diagnosis: &Diagnosis,
        facts: &dyn Fn(Option<PartId>) -> Facts,
        now: Instant,
    ) -> Vec<Recommendation, RECOMMENDED_MAX> {
        if !self.is_open() {
            return Vec::new();
        }
        let number = self.incident.number;
        let mut all = recommend(diagnosis, number, self.level, facts, &self.history, now);
        let apply = |known: &&mut Recommendation| known.advice == Advice::Apply;
        for known in all.iter_mut().filter(apply).filter(|_| self.is_well) {
            known.advice = Advice::Advise(Reason::AllIsWell);
        }
        all
    }
}
