//! The course of the open incident: how it is opened, added to, and closed, and what becomes of attempts meanwhile.

use super::{Incidents, Record};
use crate::diagnosis::remediation_recommendations::{Attempt, Outcome};
use crate::diagnosis::root_cause_analysis::{Diagnosis, Incident, PartId, Sighting, SymptomKind};
use crate::platform::time::Instant;
use heapless::Vec;

impl Incidents {
    pub(super) fn see(
        &mut self,
        symptom: SymptomKind,
        part: Option<PartId>,
        (began, at): (Instant, Instant),
        now: Instant,
    ) -> bool {
        let sighting = Sighting { symptom, part, at };
        assert!(
            Incident::may_hold(&self.parts, &sighting),
            "{} on {part:?}",
            symptom.row().name
        );
        let number = self.opened_total + 1;
        let record = self.open.get_or_insert_with(|| Record {
            number,
            began,
            opened: now,
            mended: None,
            closed: None,
            until: now,
            sightings: Vec::new(),
        });
        self.opened_total = record.number;
        self.changed = now;
        if record.sightings.is_empty() {
            self.worsened = began;
        }
        self.worsened = self.worsened.max(began);
        record.began = record.began.min(began);
        record.until = record.until.max(now);
        let is_known = |known: &Sighting| known.symptom == symptom && known.part == part;
        !record.sightings.iter().any(is_known) && record.sightings.push(sighting).is_ok()
    }

    /// When the open incident will have been quiet for long enough.
    pub(super) fn quiet_at(&self) -> Instant {
        self.changed + self.policy.quiet
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.lasting.is_empty() && now >= self.quiet_at()
    }

    pub(super) fn mend(&mut self, now: Instant) {
        if let Some(open) = &mut self.open {
            open.mended = Some(now);
        }
    }

    /// Says of attempts that did not help in time that they failed.
    pub(super) fn give_up_late(&mut self, now: Instant) {
        self.settle(Outcome::Failed, now, |attempt| {
            let within = attempt.remedy.row().verification.within();
            within.is_some_and(|within| now >= attempt.at + within)
        });
    }

    /// Says what became of those attempts of which it is not known.
    pub(super) fn settle(&mut self, outcome: Outcome, now: Instant, of: impl Fn(&Attempt) -> bool) {
        let open = self
            .history
            .iter_mut()
            .filter(|attempt| attempt.outcome.is_none());
        let mut has_settled = false;
        for attempt in open.filter(|attempt| of(attempt)) {
            attempt.outcome = Some(outcome);
            self.tally
                .count_attempt(attempt.remedy.row().action, outcome);
            has_settled = true;
        }
        if has_settled && outcome == Outcome::Recovered {
            self.mend(now);
        }
    }

    /// Ends the open incident if it is over and is that one; returns whether it has.
    pub(super) fn close(&mut self, number: u64, diagnosis: &Diagnosis, now: Instant) -> bool {
        let is_it = self.open.as_ref().is_some_and(|open| open.number == number);
        if !is_it || !self.is_over(now) {
            return false;
        }
        let Some(mut record) = self.open.take() else {
            return false;
        };
        record.closed = Some(now);
        self.ordered = None;
        self.tally.count_incident(diagnosis.name());
        let mended = record.mended.unwrap_or(self.changed);
        self.tally.count_times(
            record.opened.since(record.began),
            mended.since(record.opened),
        );
        if self.past.is_full() {
            self.past.pop_front();
        }
        // There is room.
        let _ = self.past.push_back(record);
        true
    }
}
