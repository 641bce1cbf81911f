//! The table and the inference together: each cause by its own signature, what speaks against one, two at once, noise,
//! and (`campaign`) incidents that are drawn from the table and distorted.

mod campaign;

use super::graph::{Link, Scope};
use super::*;
use crate::diagnosis::symptom::Ratio;
use crate::platform::time::{Duration, Instant};
use std::vec::Vec;

const DATA_PLANE: PartId = PartId(0);
const HTTP: PartId = PartId(1);
const DIAGNOSIS: PartId = PartId(2);
const PARTS: u8 = 3;

fn image() -> heapless::Vec<Part, PARTS_MAX> {
    let rows: [(&str, &[&str]); 3] = [
        ("data-plane", &[]),
        ("http", &["data-plane"]),
        ("diagnosis", &["data-plane"]),
    ];
    parts(rows.into_iter())
}

/// An incident with these symptoms, each so many milliseconds after its begin, looked at after `until_millis`.
fn incident(seen: &[(SymptomKind, Option<PartId>, u64)], until_millis: u64) -> Incident {
    let mut incident = Incident::new(1, SymptomSet::ALL, image());
    for &(symptom, part, millis) in seen {
        incident.see(symptom, part, at(millis));
    }
    incident.until = at(until_millis);
    incident
}

/// So many milliseconds after an incident's begin, which is well after reset.
fn at(millis: u64) -> Instant {
    Instant::from_nanos(3_600_000_000_000) + Duration::from_millis(millis)
}

fn diagnose(incident: &Incident) -> Diagnosis {
    Diagnosis::of(incident, &mut Workspace::new())
}

fn names(diagnosis: &Diagnosis) -> Vec<&'static str> {
    diagnosis
        .causes
        .iter()
        .map(|ranked| ranked.cause.name)
        .collect()
}

/// Where a link of a cause shows its symptom, on the parts that it may.
fn places(link: &Link, part: Option<PartId>, incident: &Incident) -> Vec<Option<PartId>> {
    let parts = (0..PARTS).map(PartId);
    match (link.scope, link.symptom.row().place) {
        (Scope::Here, Place::Image) => std::vec![None],
        (Scope::Here, Place::Part) => std::vec![part],
        (Scope::AnyPart, _) => std::vec![Some(DIAGNOSIS)],
        (Scope::Dependents, _) => {
            let fault = part.expect("a cause with dependents is one of parts");
            parts
                .filter(|&other| incident.depends_on(other, fault))
                .map(Some)
                .collect()
        }
    }
}

/// What a cause on `part` shows for certain: every link at least that likely, in the middle of its time.
fn signature(cause: &Cause, part: Option<PartId>, likelihood_min: f64) -> Incident {
    let mut made = incident(&[], 700_000);
    for link in cause
        .links
        .iter()
        .filter(|link| link.likelihood() >= likelihood_min)
    {
        let nanos = u64::midpoint(
            link.delay.earliest().as_nanos(),
            link.delay.latest().as_nanos(),
        );
        for place in places(link, part, &made.clone()) {
            made.see(link.symptom, place, at(0) + Duration::from_nanos(nanos));
        }
    }
    made.until = at(700_000);
    made
}

fn place_of(cause: &Cause) -> Option<PartId> {
    (cause.place == Place::Part).then_some(DATA_PLANE)
}

#[test]
fn every_row_of_the_table_makes_sense() {
    for cause in causes() {
        let name = cause.name;
        assert_eq!(
            causes().filter(|other| other.name == name).count(),
            1,
            "{name} is there twice"
        );
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "{name}"
        );
        assert!(cause.prior > 0.0 && cause.prior < 0.1, "{name}");
        assert!(!cause.remedies.is_empty(), "{name} has no remedy");
        let main = cause
            .links
            .iter()
            .map(|link| link.likelihood())
            .fold(0.0, f64::max);
        assert!(main >= 0.5, "{name} shows nothing much");
        for link in cause.links {
            let row = link.symptom.row();
            assert!(
                link.likelihood() > row.leak && link.likelihood() < 1.0,
                "{name}: {}",
                row.name
            );
            let on_part = row.place == Place::Part;
            let fits = match link.scope {
                Scope::Here => !on_part || cause.place == Place::Part,
                Scope::Dependents => on_part && cause.place == Place::Part,
                Scope::AnyPart => on_part && cause.place == Place::Image,
            };
            assert!(fits, "{name}: {} cannot show there", row.name);
        }
    }
}

#[test]
fn every_symptom_is_shown_by_some_cause() {
    for symptom in SymptomKind::ALL {
        let shown = causes().any(|cause| cause.links.iter().any(|link| link.symptom == *symptom));
        assert!(shown, "{}", symptom.row().name);
    }
}

#[test]
fn every_fault_of_the_injector_has_a_cause() {
    for name in [
        "frame_allocation_failure",
        "heap_allocation_failure",
        "block_read_error",
        "block_write_error",
        "block_flush_error",
        "torn_write",
        "block_corruption",
        "disk_slow",
        "packet_loss",
        "packet_corruption",
        "packet_reordering",
        "packet_duplication",
        "network_stall",
        "lost_interrupt",
        "clock_jump",
        "clock_drift",
        "message_loss",
        "message_delay",
        "message_duplication",
        "mailbox_full",
        "task_panic",
        "hang",
        "wild_write",
        "stack_overflow",
        "value_bit_flip",
        "frame_metadata_bit_flip",
        "text_bit_flip",
        "compressed_block_corruption",
        "module_trap",
        "memory_leak",
        "lock_held",
        "slow_cpu",
        "hash_flood",
        "link_down",
    ] {
        assert!(cause(name).is_some(), "{name}");
    }
}

/// Takes up a new row by itself.
#[test]
fn every_cause_is_ranked_first_on_its_own_signature() {
    for cause in causes() {
        for likelihood_min in [0.5, 0.25] {
            let part = place_of(cause);
            let diagnosis = diagnose(&signature(cause, part, likelihood_min));
            let first = diagnosis.causes.first().expect("something is ranked");
            assert_eq!(
                (diagnosis.verdict, first.cause.name, first.part),
                (Verdict::Known, cause.name, part),
                "links from {likelihood_min}: {:?}",
                names(&diagnosis)
            );
        }
    }
}

#[test]
fn without_a_symptom_the_image_is_healthy() {
    let diagnosis = diagnose(&incident(&[], 60_000));
    assert_eq!(
        (diagnosis.verdict, diagnosis.name()),
        (Verdict::Healthy, "healthy")
    );
    assert!(diagnosis.causes.is_empty());
}

#[test]
fn a_symptom_that_often_shows_for_nothing_is_no_fault_alone() {
    for symptom in [
        SymptomKind::CommandLatencyHigh,
        SymptomKind::CommandRateHigh,
        SymptomKind::HitRatioLow,
    ] {
        let diagnosis = diagnose(&incident(&[(symptom, None, 0)], 60_000));
        assert_eq!(
            diagnosis.verdict,
            Verdict::Healthy,
            "{}: {:?}",
            symptom.row().name,
            names(&diagnosis)
        );
    }
}

#[test]
fn symptoms_that_no_cause_has_together_are_unknown() {
    // Each alone is weak, and what would bring it about has not been seen.
    let seen = [
        (SymptomKind::FragmentationHigh, None, 0),
        (SymptomKind::NoBufferDrops, None, 100),
        (SymptomKind::HealthCheckMissed, Some(HTTP), 200),
        (SymptomKind::OomReplies, None, 300),
        (SymptomKind::CheckpointLate, None, 400),
    ];
    let diagnosis = diagnose(&incident(&seen, 700_000));
    assert_eq!(
        (diagnosis.verdict, diagnosis.name()),
        (Verdict::Unknown, "unknown"),
        "{:?}",
        names(&diagnosis)
    );
}

#[test]
fn what_should_have_shown_and_has_not_counts_against_a_cause() {
    let refused = (SymptomKind::FrameRequestsRefused, None, 10);
    let low = (SymptomKind::FreeMemoryLow, None, 0);
    let evicting = (SymptomKind::EvictionsHigh, None, 900);
    assert_eq!(
        names(&diagnose(&incident(&[refused], 60_000)))[0],
        "frame_allocation_failure"
    );
    assert_eq!(
        names(&diagnose(&incident(&[low, refused, evicting], 60_000)))[0],
        "memory_full"
    );
    let diagnosis = diagnose(&incident(&[refused], 60_000));
    let full = diagnosis
        .causes
        .iter()
        .find(|ranked| ranked.cause.name == "memory_full");
    if let Some(full) = full {
        let against = full
            .findings
            .iter()
            .find(|finding| finding.symptom == SymptomKind::FreeMemoryLow);
        assert_eq!(against.expect("it is told").bearing, Bearing::NotSeen);
    }
}

#[test]
fn what_nothing_watches_for_counts_against_no_cause() {
    let refused = [
        (SymptomKind::FrameRequestsRefused, None, 10),
        (SymptomKind::OomReplies, None, 20),
    ];
    let mut blind = incident(&refused, 60_000);
    let of = |incident: &Incident| {
        let diagnosis = diagnose(incident);
        let full = diagnosis
            .causes
            .iter()
            .find(|ranked| ranked.cause.name == "memory_full");
        full.map_or(0, |full| full.posterior.as_millionths())
    };
    let watched = of(&blind);
    blind.watched = SymptomSet::NONE
        .with(SymptomKind::FrameRequestsRefused)
        .with(SymptomKind::OomReplies);
    assert!(
        of(&blind) > 5 * watched.max(1),
        "{} after {watched}",
        of(&blind)
    );
}

#[test]
fn what_may_still_show_does_not_count_yet() {
    // A leak: its trend is seen after seconds, the growth at once or later.
    let seen = [(SymptomKind::PartMemoryGrows, Some(HTTP), 0)];
    let posterior = |until| diagnose(&incident(&seen, until)).causes[0].posterior;
    assert!(posterior(1_000) >= posterior(600_000));
}

#[test]
fn a_symptom_before_its_cause_counts_against_it() {
    let panicked = (SymptomKind::PartPanicked, Some(DATA_PLANE));
    let repeated = (SymptomKind::RestartsRepeated, Some(DATA_PLANE));
    let in_order = diagnose(&incident(
        &[(panicked.0, panicked.1, 0), (repeated.0, repeated.1, 5_000)],
        60_000,
    ));
    assert_eq!(
        in_order.causes[0].cause.name,
        "crash_loop",
        "{:?}",
        names(&in_order)
    );
    // The trap of a module cannot follow what it brings about by minutes.
    let late = [
        (SymptomKind::ModuleTrapped, Some(HTTP), 300_000),
        (SymptomKind::HealthCheckMissed, Some(HTTP), 0),
    ];
    let diagnosis = diagnose(&incident(&late, 301_000));
    let trapped = diagnosis
        .causes
        .iter()
        .find(|ranked| ranked.cause.name == "module_trap");
    let early = trapped.expect("it is ranked").findings.iter();
    let told = early
        .filter(|finding| finding.bearing != Bearing::Seen)
        .count();
    assert!(told > 0, "{diagnosis:?}");
}

#[test]
fn a_cause_that_explains_a_symptom_leaves_the_others_less_of_it() {
    let latency = (SymptomKind::CommandLatencyHigh, None, 1_000);
    let slow = (SymptomKind::CpuSlow, None, 0);
    let scheduling = (SymptomKind::SchedulerLatencyHigh, None, 900);
    let of = |seen: &[_], name: &str| {
        let diagnosis = diagnose(&incident(seen, 60_000));
        let found = diagnosis
            .causes
            .iter()
            .find(|ranked| ranked.cause.name == name);
        found.map_or(0, |ranked| ranked.posterior.as_millionths())
    };
    let busy = (SymptomKind::CpuBusy, None, 800);
    let before = of(&[latency, scheduling, busy], "client_overload");
    let after = of(&[latency, scheduling, busy, slow], "client_overload");
    assert!(after * 4 < before, "{after} after {before}");
}

#[test]
fn the_part_at_fault_is_told_from_those_that_depend_on_it() {
    let seen = [
        (SymptomKind::RequestTimeouts, Some(HTTP), 4_000),
        (SymptomKind::PartHung, Some(DATA_PLANE), 2_000),
        (SymptomKind::RequestTimeouts, Some(DIAGNOSIS), 4_500),
    ];
    let diagnosis = diagnose(&incident(&seen, 60_000));
    let first = &diagnosis.causes[0];
    assert_eq!((first.cause.name, first.part), ("hang", Some(DATA_PLANE)));
    assert_eq!(
        first
            .findings
            .iter()
            .filter(|finding| finding.bearing == Bearing::Seen)
            .count(),
        3
    );
}

#[test]
fn two_faults_at_once_are_both_ranked_above_the_rest() {
    let seen = [
        (SymptomKind::LinkDown, None, 0),
        (SymptomKind::ReceiveStopped, None, 500),
        (SymptomKind::PartPanicked, Some(HTTP), 700),
        (SymptomKind::ValueChecksumMismatch, None, 900),
    ];
    let diagnosis = diagnose(&incident(&seen[..3], 60_000));
    let mut two = names(&diagnosis)[..2].to_vec();
    two.sort_unstable();
    assert_eq!(two, ["link_down", "task_panic"]);
    assert!(
        diagnosis.causes[1].posterior >= Ratio::from_percent(50),
        "{diagnosis:?}"
    );
}

#[test]
fn a_recorded_incident_gives_the_same_diagnosis_when_it_is_replayed() {
    let mut workspace = Workspace::new();
    for cause in causes() {
        let told = signature(cause, place_of(cause), 0.3);
        let mut wire = [0; WIRE_BYTES_MAX];
        let length = told.encode(&mut wire).expect("it fits");
        let replayed = Incident::decode(&wire[..length]).expect("it was written just now");
        // The workspace still holds the last one.
        let (first, second) = (diagnose(&told), Diagnosis::of(&replayed, &mut workspace));
        assert_eq!(std::format!("{first:?}"), std::format!("{second:?}"));
    }
}

#[test]
fn a_cause_is_listed_once_with_its_likeliest_part_unless_two_parts_have_it() {
    let count = |seen: &[_]| {
        let diagnosis = diagnose(&incident(seen, 60_000));
        names(&diagnosis)
            .iter()
            .filter(|name| **name == "task_panic")
            .count()
    };
    let panicked = |part| (SymptomKind::PartPanicked, Some(part), 0);
    assert_eq!(count(&[panicked(HTTP)]), 1);
    assert_eq!(count(&[panicked(HTTP), panicked(DATA_PLANE)]), 2);
    // Which part leaks is not seen.
    let seen = [(SymptomKind::MemoryExhaustionForecast, None, 0)];
    let diagnosis = diagnose(&incident(&seen, 5_000));
    let leaks = names(&diagnosis)
        .iter()
        .filter(|name| **name == "memory_leak")
        .count();
    assert_eq!(leaks, 1, "{:?}", names(&diagnosis));
}
