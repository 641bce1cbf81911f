//! One incident after the other: opened, diagnosed, healed, closed, shown.

use super::*;
use crate::diagnosis::remediation_recommendations::{Action, Precondition, RemedyKind};
use crate::diagnosis::root_cause_analysis::{Verdict, parts};
use crate::metrics::Json;
use std::string::String;
use std::vec::Vec as List;

fn incidents(level: Level) -> Incidents {
    let rows: [(&str, &[&str]); 2] = [("data-plane", &[]), ("http", &["data-plane"])];
    Incidents::new(
        IncidentPolicy::DEFAULT,
        level,
        SymptomSet::ALL,
        parts(rows.into_iter()),
    )
}

fn at(millis: u64) -> Instant {
    Instant::from_nanos(50_000_000_000) + Duration::from_millis(millis)
}

/// Does what it is told, or cannot; and remembers.
#[derive(Default)]
struct Hands {
    done: List<(RemedyKind, Option<PartId>)>,
    is_broken: bool,
}

impl Actuator for Hands {
    fn facts(&self, part: Option<PartId>) -> Facts {
        let facts = Facts::NONE.with(Precondition::CachesHoldPages);
        if part.is_some() {
            facts.with(Precondition::PartIsSupervised)
        } else {
            facts
        }
    }

    fn perform(&mut self, remedy: RemedyKind, part: Option<PartId>) -> Result<()> {
        self.done.push((remedy, part));
        let what = "part of that name";
        match self.is_broken {
            true => Err(Error::new(Subsystem::Diagnosis, Kind::Missing { what })),
            false => Ok(()),
        }
    }
}

fn page(incidents: &mut Incidents, now: Instant) -> String {
    let mut page = List::new();
    let mut json = Json::new(&mut page);
    incidents.report(|_| Facts::NONE, now, &mut json);
    json.finish().expect("the host has memory");
    String::from_utf8(page).expect("JSON is text")
}

fn attempts(incidents: &Incidents, action: Action, outcome: Outcome) -> u64 {
    let mut all = incidents.tally().attempts();
    let found = all.find(|(known, result, _)| (*known, *result) == (action, outcome));
    found.expect("all are there").2
}

#[test]
fn a_part_that_panicked_is_named_restarted_and_seen_to_recover() {
    let mut incidents = incidents(Level::Safe);
    let http = incidents.part("http");
    assert!(incidents.event(SymptomKind::PartPanicked, http, at(0)));
    let diagnosis = incidents.diagnosis(at(10)).expect("one is open");
    assert_eq!(
        (diagnosis.verdict, diagnosis.name()),
        (Verdict::Known, "task_panic")
    );
    let mut hands = Hands::default();
    let attempt = incidents
        .act(&mut hands, at(10))
        .expect("a restart is safe");
    assert_eq!(
        (attempt.remedy, attempt.part),
        (RemedyKind::RestartPart, http)
    );
    assert_eq!(hands.done, [(RemedyKind::RestartPart, http)]);
    assert_eq!(
        incidents.act(&mut hands, at(20)),
        None,
        "its effect is awaited"
    );
    incidents.health_checked(http.expect("it is there"), true);
    assert_eq!(
        attempts(&incidents, Action::RestartSubsystem, Outcome::Recovered),
        1
    );
    incidents.tick(at(9_999));
    assert!(incidents.is_open());
    incidents.tick(at(10_000));
    assert!(!incidents.is_open());
    let counted = incidents
        .tally()
        .incidents()
        .find(|(name, _)| *name == "task_panic");
    assert_eq!(counted, Some(("task_panic", 1)));
}

#[test]
fn a_remedy_that_did_not_help_in_time_has_failed_and_the_next_is_tried() {
    let mut incidents = incidents(Level::Safe);
    let mut hands = Hands::default();
    for (symptom, millis) in [
        (SymptomKind::FreeMemoryLow, 0),
        (SymptomKind::EvictionsHigh, 400),
    ] {
        incidents.raise(symptom, None, at(millis));
    }
    incidents.act(&mut hands, at(500));
    incidents.tick(at(5_499));
    assert_eq!(incidents.act(&mut hands, at(5_499)), None);
    assert_eq!(incidents.due(), Some(at(5_500)));
    incidents.tick(at(5_500));
    incidents.act(&mut hands, at(5_500));
    assert_eq!(
        hands.done,
        [(RemedyKind::DrainCaches, None), (RemedyKind::Compact, None)]
    );
    incidents.clear(SymptomKind::FreeMemoryLow, None, at(6_000));
    incidents.clear(SymptomKind::EvictionsHigh, None, at(6_100));
    assert_eq!(
        attempts(&incidents, Action::DrainCaches, Outcome::Failed),
        1
    );
    assert_eq!(attempts(&incidents, Action::Compact, Outcome::Recovered), 1);
}

#[test]
fn what_cannot_be_done_is_skipped_and_the_next_is_tried() {
    let mut incidents = incidents(Level::Safe);
    let mut hands = Hands {
        is_broken: true,
        ..Hands::default()
    };
    incidents.raise(SymptomKind::FreeMemoryLow, None, at(0));
    incidents.raise(SymptomKind::EvictionsHigh, None, at(100));
    let first = incidents.act(&mut hands, at(500)).expect("one is tried");
    assert_eq!(first.outcome, Some(Outcome::Skipped));
    incidents.act(&mut hands, at(501));
    assert_eq!(hands.done.len(), 2);
    assert_ne!(hands.done[0], hands.done[1]);
}

#[test]
fn an_incident_lasts_as_long_as_a_symptom_does_and_the_next_is_another() {
    let mut incidents = incidents(Level::Safe);
    incidents.raise(SymptomKind::LinkDown, None, at(0));
    assert!(
        !incidents.raise(SymptomKind::LinkDown, None, at(5)),
        "it is known"
    );
    incidents.tick(at(900_000));
    assert!(
        incidents.is_open() && incidents.due().is_none(),
        "nothing to do until it clears"
    );
    incidents.clear(SymptomKind::LinkDown, None, at(900_000));
    assert_eq!(incidents.due(), Some(at(910_000)));
    incidents.tick(at(910_000));
    assert_eq!(
        (
            incidents.is_open(),
            incidents.opened_total(),
            incidents.due()
        ),
        (false, 1, None)
    );
    incidents.raise(SymptomKind::LinkDown, None, at(950_000));
    assert_eq!(incidents.opened_total(), 2);
}

#[test]
fn the_oldest_incidents_make_room() {
    let mut incidents = incidents(Level::AdviseOnly);
    for round in 0..PAST_LEN as u64 + 3 {
        incidents.event(SymptomKind::ClockStepped, None, at(round * 60_000));
        incidents.tick(at(round * 60_000 + 20_000));
    }
    assert_eq!(incidents.past.len(), PAST_LEN);
    assert_eq!(
        incidents.past.front().map(|record| record.incident.number),
        Some(4)
    );
}

#[test]
fn the_operator_may_have_applied_what_the_level_forbids_and_nothing_that_is_refused() {
    let mut incidents = incidents(Level::AdviseOnly);
    let mut hands = Hands::default();
    let http = incidents.part("http");
    incidents.event(SymptomKind::PartPanicked, http, at(0));
    assert_eq!(incidents.act(&mut hands, at(10)), None);
    let refused = |outcome: Result<Attempt>| {
        matches!(
            outcome.map_err(|error| error.kind()),
            Err(Kind::Missing { .. })
        )
    };
    assert!(
        refused(incidents.apply(2, None, &mut hands, at(10))),
        "no such incident"
    );
    assert!(
        refused(incidents.apply(1, Some("compact"), &mut hands, at(10))),
        "not advised"
    );
    assert!(incidents.apply(1, None, &mut hands, at(10)).is_ok());
    assert_eq!(hands.done, [(RemedyKind::RestartPart, http)]);
}

#[test]
fn the_page_shows_symptoms_causes_evidence_and_what_is_to_be_done() {
    let mut incidents = incidents(Level::Safe);
    assert_eq!(
        page(&mut incidents, at(0)),
        "{\"level\":\"safe\",\"opened_total\":0,\"open\":null,\"past\":[]}\n"
    );
    let http = incidents.part("http");
    incidents.event(SymptomKind::PartPanicked, http, at(500));
    let text = page(&mut incidents, at(600));
    for part in [
        "\"open\":{\"id\":1,\"opened_seconds\":50.5,\"closed_seconds\":null,\"verdict\":\"known\",",
        "\"symptoms\":[{\"symptom\":\"part_panicked\",\"part\":\"http\",\"first_seconds\":50.5,",
        "\"causes\":[{\"cause\":\"task_panic\",\"part\":\"http\",\"posterior\":0.",
        "\"evidence\":[{\"symptom\":\"part_panicked\",\"part\":\"http\",\"bearing\":\"seen\",\"likelihood\":0.97}",
        "\"recommendations\":[{\"remedy\":\"restart_part\",\"action\":\"restart_subsystem\",\"part\":\"http\",",
        "\"advice\":\"refuse\",\"reason\":\"what it needs is not there\"",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    incidents.act(&mut Hands::default(), at(700));
    incidents.health_checked(http.expect("it is there"), true);
    incidents.tick(at(20_000));
    let text = page(&mut incidents, at(30_000));
    for part in [
        "\"open\":null,\"past\":[{\"id\":1,",
        "\"attempts\":[{\"remedy\":\"restart_part\",\"action\":\"restart_subsystem\",\"part\":\"http\",\
         \"at_seconds\":50.7,\"outcome\":\"recovered\"}]",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}
