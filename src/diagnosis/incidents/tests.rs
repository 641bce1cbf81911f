//! One incident after the other: opened, diagnosed, healed, closed, shown.

use super::*;
use crate::diagnosis::remediation_recommendations::{Action, Actuator, Facts, Precondition};
use crate::diagnosis::root_cause_analysis::{Diagnosis, Verdict, Workspace, parts};
use crate::error::{Error, HttpFault, Kind, Result, Subsystem};
use crate::metrics::{Encoder, Format, Json};
use core::cell::RefCell;
use std::string::String;
use std::vec::Vec as List;

/// Incidents for one at a time, as the kernel has them under a lock.
struct Book(RefCell<Incidents>);

impl Shared for Book {
    fn with<R>(&self, section: impl FnOnce(&mut Incidents) -> R) -> R {
        section(&mut self.0.borrow_mut())
    }
}

impl Book {
    fn raise(&self, symptom: SymptomKind, part: Option<PartId>, now: Instant) -> bool {
        self.with(|incidents| incidents.raise(symptom, part, now, now))
    }

    fn event(&self, symptom: SymptomKind, part: Option<PartId>, now: Instant) -> bool {
        self.with(|incidents| incidents.event(symptom, part, now, now))
    }

    fn clear(&self, symptom: SymptomKind, part: Option<PartId>, now: Instant) {
        self.with(|incidents| incidents.clear(symptom, part, now));
    }

    fn part(&self, name: &str) -> Option<PartId> {
        self.with(|incidents| incidents.part(name))
    }

    fn due(&self) -> Option<Instant> {
        self.with(|incidents| incidents.due())
    }

    fn is_open(&self) -> bool {
        self.with(|incidents| incidents.is_open())
    }

    fn opened_total(&self) -> u64 {
        self.with(|incidents| incidents.opened_total())
    }

    fn tally(&self) -> Tally {
        self.with(|incidents| incidents.tally().clone())
    }

    fn diagnosis(&self, now: Instant) -> Option<Diagnosis> {
        let case = self.with(|incidents| incidents.open_case(now))?;
        Some(case.diagnose(&mut Workspace::new()))
    }
}

fn incidents(level: Level) -> Book {
    let rows: [(&str, &[&str]); 2] = [("data-plane", &[]), ("http", &["data-plane"])];
    Book(RefCell::new(Incidents::new(
        IncidentPolicy::DEFAULT,
        level,
        SymptomSet::ALL,
        parts(rows.into_iter()),
    )))
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

fn page(incidents: &Book, now: Instant) -> String {
    let mut page = List::new();
    let mut json = Json::new(&mut page);
    report(incidents, &|_| Facts::NONE, now, &mut json);
    json.finish().expect("the host has memory");
    String::from_utf8(page).expect("JSON is text")
}

/// The scrape's samples.
fn samples(incidents: &Book) -> List<String> {
    let mut page = List::new();
    let mut encoder = Encoder::new(&mut page, Format::Text);
    write_metrics(incidents, &mut encoder);
    encoder.finish().expect("the host has memory");
    let text = String::from_utf8(page).expect("metrics are text");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(String::from).collect()
}

fn attempts(incidents: &Book, action: Action, outcome: Outcome) -> u64 {
    let tally = incidents.tally();
    let mut all = tally.attempts();
    let found = all.find(|(known, result, _)| (*known, *result) == (action, outcome));
    found.expect("all are there").2
}

#[test]
fn a_part_that_panicked_is_named_restarted_and_seen_to_recover() {
    let incidents = incidents(Level::Safe);
    let http = incidents.part("http");
    assert!(incidents.event(SymptomKind::PartPanicked, http, at(0)));
    let diagnosis = incidents.diagnosis(at(10)).expect("one is open");
    assert_eq!(
        (diagnosis.verdict, diagnosis.name()),
        (Verdict::Known, "task_panic")
    );
    let mut hands = Hands::default();
    attend(&incidents, &mut hands, at(10));
    assert_eq!(hands.done, [(RemedyKind::RestartPart, http)]);
    attend(&incidents, &mut hands, at(20));
    assert_eq!(hands.done.len(), 1, "its effect is awaited");
    incidents.with(|incidents| incidents.well(http.expect("it is there"), at(40)));
    assert_eq!(
        attempts(&incidents, Action::RestartSubsystem, Outcome::Recovered),
        1
    );
    attend(&incidents, &mut hands, at(50));
    assert_eq!(hands.done.len(), 1, "all is well");
    attend(&incidents, &mut hands, at(9_999));
    assert!(incidents.is_open());
    attend(&incidents, &mut hands, at(10_000));
    assert!(!incidents.is_open());
    let tally = incidents.tally();
    let counted = tally.incidents().find(|(name, _)| *name == "task_panic");
    assert_eq!(counted, Some(("task_panic", 1)));
    assert_eq!(tally.recovery.sum_nanos(), 40_000_000);
}

#[test]
fn a_remedy_that_did_not_help_in_time_has_failed_and_the_next_is_tried() {
    let incidents = incidents(Level::Safe);
    let mut hands = Hands::default();
    for (symptom, millis) in [
        (SymptomKind::FreeMemoryLow, 0),
        (SymptomKind::EvictionsHigh, 400),
    ] {
        incidents.raise(symptom, None, at(millis));
    }
    attend(&incidents, &mut hands, at(500));
    attend(&incidents, &mut hands, at(5_499));
    assert_eq!(hands.done, [(RemedyKind::DrainCaches, None)]);
    assert_eq!(incidents.due(), Some(at(5_500)));
    attend(&incidents, &mut hands, at(5_500));
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
    let incidents = incidents(Level::Safe);
    let mut hands = Hands {
        is_broken: true,
        ..Hands::default()
    };
    incidents.raise(SymptomKind::FreeMemoryLow, None, at(0));
    incidents.raise(SymptomKind::EvictionsHigh, None, at(100));
    attend(&incidents, &mut hands, at(500));
    assert_eq!(
        attempts(&incidents, Action::DrainCaches, Outcome::Skipped),
        1
    );
    attend(&incidents, &mut hands, at(501));
    assert_eq!(hands.done.len(), 2);
    assert_ne!(hands.done[0], hands.done[1]);
}

#[test]
fn an_incident_lasts_as_long_as_a_symptom_does_and_the_next_is_another() {
    let incidents = incidents(Level::AdviseOnly);
    let mut hands = Hands::default();
    incidents.raise(SymptomKind::LinkDown, None, at(0));
    assert!(
        !incidents.raise(SymptomKind::LinkDown, None, at(5)),
        "it is known"
    );
    attend(&incidents, &mut hands, at(900_000));
    assert!(
        incidents.is_open() && incidents.due().is_none(),
        "nothing to do until it clears"
    );
    incidents.clear(SymptomKind::LinkDown, None, at(900_000));
    assert_eq!(incidents.due(), Some(at(910_000)));
    attend(&incidents, &mut hands, at(910_000));
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
fn a_part_that_dies_again_and_again_is_in_a_crash_loop() {
    let incidents = incidents(Level::AdviseOnly);
    let http = incidents.part("http").expect("it is there");
    for (death, cause) in [
        (0, "task_panic"),
        (1, "task_panic"),
        (2, "task_panic"),
        (3, "crash_loop"),
    ] {
        let when = at(500 * death);
        incidents.with(|incidents| incidents.died(SymptomKind::PartPanicked, http, when, when));
        let known = incidents.diagnosis(when).expect("one is open");
        let has = known.causes.iter().any(|ranked| ranked.cause.name == cause);
        assert!(has, "{:?}", known.causes);
    }
    // As many, but a minute apart, are no loop.
    let other = incidents.part("data-plane").expect("it is there");
    for death in 0..8 {
        let when = at(100_000 + 60_000 * death);
        incidents.with(|incidents| incidents.died(SymptomKind::PartPanicked, other, when, when));
    }
    let case = incidents.with(|incidents| incidents.open_case(at(600_000)));
    let case = case.expect("one is open");
    let repeated = |seen: &&Sighting| seen.symptom == SymptomKind::RestartsRepeated;
    let sightings = case.incident.sightings().iter().filter(repeated);
    let parts: List<_> = sightings.map(|seen| seen.part).collect();
    assert_eq!(parts, [Some(http)]);
}

#[test]
fn what_only_joins_opens_nothing_and_is_seen_in_what_is_open() {
    let incidents = incidents(Level::AdviseOnly);
    let join = |millis| {
        incidents.with(|incidents| incidents.join(SymptomKind::EvictionsHigh, None, at(millis)))
    };
    assert!(!join(0));
    assert!(!incidents.is_open());
    incidents.raise(SymptomKind::FreeMemoryLow, None, at(10));
    assert!(join(20));
    assert!(!join(30), "it is known");
    incidents.clear(SymptomKind::FreeMemoryLow, None, at(1_000));
    assert!(!join(2_000));
    let closes = incidents.due();
    assert_eq!(closes, Some(at(11_000)), "it keeps no incident open");
}

/// Samples trail what they tell of: what they show of the time before a part came back is no reason to treat it again.
#[test]
fn what_was_there_before_the_remedy_helped_is_not_treated_and_what_outlasts_it_is() {
    let incidents = incidents(Level::Safe);
    let mut hands = Hands::default();
    let http = incidents.part("http").expect("it is there");
    incidents.with(|incidents| {
        incidents.died(SymptomKind::PartPanicked, http, at(200), at(200));
        incidents.begin(RemedyKind::RestartPart, Some(http), at(200));
        incidents.well(http, at(300));
    });
    let look = |before, now| {
        let refused = SymptomKind::HeapRequestsRefused;
        incidents.with(|incidents| incidents.raise(refused, None, at(before), at(now)));
    };
    look(0, 1_000);
    attend(&incidents, &mut hands, at(1_000));
    assert_eq!(hands.done, []);
    look(1_000, 2_000);
    attend(&incidents, &mut hands, at(2_000));
    assert_eq!(hands.done.len(), 1, "{:?}", hands.done);
}

#[test]
fn the_oldest_incidents_make_room() {
    let incidents = incidents(Level::AdviseOnly);
    for round in 0..PAST_LEN as u64 + 3 {
        incidents.event(SymptomKind::ClockStepped, None, at(round * 60_000));
        attend(
            &incidents,
            &mut Hands::default(),
            at(round * 60_000 + 20_000),
        );
    }
    incidents.with(|incidents| {
        assert_eq!(incidents.past.len(), PAST_LEN);
        assert_eq!(incidents.past.front().map(|record| record.number), Some(4));
    });
}

#[test]
fn the_operator_may_have_applied_what_the_level_forbids_and_nothing_that_is_refused() {
    let incidents = incidents(Level::AdviseOnly);
    let mut hands = Hands::default();
    let http = incidents.part("http");
    incidents.event(SymptomKind::PartPanicked, http, at(0));
    attend(&incidents, &mut hands, at(10));
    assert_eq!(hands.done, []);
    let facts = |part| Hands::default().facts(part);
    let asked = |number, remedy| order(&incidents, number, remedy, &facts, at(10));
    let fault = |outcome: Result<Ordered>| match outcome.map_err(|error| error.kind()) {
        Err(Kind::Http(fault)) => fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(fault(asked(2, None)), HttpFault::NotFound);
    let refused = fault(asked(1, Some("compact")));
    assert!(matches!(refused, HttpFault::Conflict(_)), "not advised");
    assert!(asked(1, None).is_ok());
    attend(&incidents, &mut hands, at(11));
    attend(&incidents, &mut hands, at(12));
    assert_eq!(hands.done, [(RemedyKind::RestartPart, http)], "once");
    incidents.with(|incidents| incidents.well(http.expect("it is there"), at(20)));
    attend(&incidents, &mut hands, at(20_000));
    assert!(!incidents.is_open());
    let refused = fault(asked(1, None));
    assert!(matches!(refused, HttpFault::Conflict(_)), "it is over");
}

#[test]
fn nothing_is_applied_that_nobody_can_do() {
    struct Idle;
    impl Actuator for Idle {
        fn facts(&self, _: Option<PartId>) -> Facts {
            Facts::NONE
                .with(Precondition::PartIsSupervised)
                .without(Action::RestartSubsystem)
        }

        fn perform(&mut self, remedy: RemedyKind, _: Option<PartId>) -> Result<()> {
            panic!("{remedy:?}")
        }
    }
    let incidents = incidents(Level::All);
    incidents.event(SymptomKind::PartPanicked, incidents.part("http"), at(0));
    attend(&incidents, &mut Idle, at(10));
    let outcome = order(&incidents, 1, None, &|part| Idle.facts(part), at(10));
    assert!(outcome.is_err());
}

#[test]
fn what_was_counted_outlives_what_was_known() {
    let incidents = incidents(Level::AdviseOnly);
    incidents.event(SymptomKind::ClockStepped, None, at(0));
    attend(&incidents, &mut Hands::default(), at(20_000));
    incidents.event(SymptomKind::LinkDown, None, at(30_000));
    incidents.with(Incidents::forget);
    assert!(!incidents.is_open());
    assert!(page(&incidents, at(30_000)).contains("\"opened_total\":2,\"open\":null,\"past\":[]"));
    let tally = incidents.tally();
    assert_eq!(tally.incidents().map(|(_, count)| count).sum::<u64>(), 2);
    incidents.event(SymptomKind::LinkDown, None, at(31_000));
    assert_eq!(incidents.opened_total(), 3);
}

#[test]
fn the_page_shows_symptoms_causes_evidence_and_what_is_to_be_done() {
    let incidents = incidents(Level::Safe);
    assert_eq!(
        page(&incidents, at(0)),
        "{\"level\":\"safe\",\"opened_total\":0,\"open\":null,\"past\":[]}\n"
    );
    let http = incidents.part("http");
    incidents.event(SymptomKind::PartPanicked, http, at(500));
    let text = page(&incidents, at(600));
    for part in [
        "\"open\":{\"id\":1,\"opened_seconds\":50.5,\"closed_seconds\":null,\"verdict\":\"known\",",
        "\"symptoms\":[{\"symptom\":\"part_panicked\",\"part\":\"http\",\"first_seconds\":50.5}",
        "\"causes\":[{\"cause\":\"task_panic\",\"part\":\"http\",\"posterior\":0.",
        "\"evidence\":[{\"symptom\":\"part_panicked\",\"part\":\"http\",\"bearing\":\"seen\",\"likelihood\":0.97}",
        "\"recommendations\":[{\"remedy\":\"restart_part\",\"action\":\"restart_subsystem\",\"part\":\"http\",",
        "\"advice\":\"refuse\",\"reason\":\"what it needs is not there\"",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    attend(&incidents, &mut Hands::default(), at(700));
    incidents.with(|incidents| incidents.well(http.expect("it is there"), at(800)));
    attend(&incidents, &mut Hands::default(), at(20_000));
    let text = page(&incidents, at(30_000));
    for part in [
        "\"open\":null,\"past\":[{\"id\":1,",
        "\"attempts\":[{\"remedy\":\"restart_part\",\"action\":\"restart_subsystem\",\"part\":\"http\",\
         \"at_seconds\":50.7,\"outcome\":\"recovered\"}]",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn a_scrape_counts_what_the_page_shows() {
    let incidents = incidents(Level::Safe);
    let before = samples(&incidents);
    for line in [
        "nos_diagnosis_incidents_total{cause=\"unknown\"} 0",
        "nos_diagnosis_incidents_open 0",
        "nos_diagnosis_detection_seconds_count 0",
        "nos_diagnosis_recovery_seconds_count 0",
        "nos_diagnosis_recoveries_total{action=\"restart_subsystem\",outcome=\"recovered\"} 0",
        "nos_diagnosis_exhaustion_seconds{resource=\"memory\"} +Inf",
    ] {
        assert!(before.iter().any(|sample| sample == line), "{before:?}");
    }
    let http = incidents.part("http").expect("it is there");
    // It died 30 ms before it was told, and is well 100 ms after that.
    incidents.with(|incidents| {
        incidents.died(SymptomKind::PartPanicked, http, at(0), at(30));
        incidents.begin(RemedyKind::RestartPart, Some(http), at(30));
        incidents.well(http, at(130));
        incidents.forecast(Some(Duration::from_secs(90)));
    });
    assert!(samples(&incidents).contains(&"nos_diagnosis_incidents_open 1".into()));
    attend(&incidents, &mut Hands::default(), at(20_000));
    let after = samples(&incidents);
    for line in [
        "nos_diagnosis_incidents_total{cause=\"task_panic\"} 1",
        "nos_diagnosis_incidents_total{cause=\"unknown\"} 0",
        "nos_diagnosis_incidents_open 0",
        "nos_diagnosis_detection_seconds_bucket{le=\"0.025\"} 0",
        "nos_diagnosis_detection_seconds_bucket{le=\"0.05\"} 1",
        "nos_diagnosis_detection_seconds_sum 0.03",
        "nos_diagnosis_recovery_seconds_sum 0.1",
        "nos_diagnosis_recovery_seconds_count 1",
        "nos_diagnosis_recoveries_total{action=\"restart_subsystem\",outcome=\"recovered\"} 1",
        "nos_diagnosis_exhaustion_seconds{resource=\"memory\"} 90",
    ] {
        assert!(
            after.iter().any(|sample| sample == line),
            "{line} {after:?}"
        );
    }
}
