//! Seconds of work, as vital signs show them.

use super::*;
use crate::diagnosis::incidents::IncidentPolicy;
use crate::diagnosis::remediation_recommendations::Level as Allowed;
use crate::diagnosis::root_cause_analysis::parts;

const MEMORY: u64 = 256 << 20;

fn incidents() -> Incidents {
    let rows: [(&str, &[&str]); 1] = [("data-plane", &[])];
    let parts = parts(rows.into_iter());
    Incidents::new(
        IncidentPolicy::DEFAULT,
        Allowed::Safe,
        Watch::WATCHED,
        parts,
    )
}

fn second(number: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(number)
}

/// Has a watch look each second at what `change` makes of the second before; returns the watch and the incidents.
fn watched(seconds: u64, mut change: impl FnMut(u64, &mut Vitals)) -> (Incidents, Vitals) {
    let mut watch = Watch::new(32 << 20);
    let mut incidents = incidents();
    let mut vitals = Vitals {
        memory_bytes: MEMORY,
        free_bytes: MEMORY - (8 << 20),
        ..Vitals::default()
    };
    for number in 0..seconds {
        change(number, &mut vitals);
        if let Some(found) = watch.look(&vitals, second(number)) {
            found.tell(&mut incidents);
        }
    }
    (incidents, vitals)
}

fn seen(incidents: &Incidents, symptom: SymptomKind, now: Instant) -> bool {
    let case = incidents.open_case(now).expect("an incident is open");
    let sightings = case.incident.sightings();
    sightings.iter().any(|seen| seen.symptom == symptom)
}

#[test]
fn whatever_load_does_to_a_cache_opens_no_incident() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let (incidents, vitals) = watched(24 * 3600, |number, now| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Nights and days, and crowds that come of a sudden and go again.
        let day = [1, 10, 100, 40][(number / 21_600 % 4) as usize];
        let crowd = if random.is_multiple_of(500) { 100 } else { 1 };
        let commands = day * crowd * (500 + random % 500);
        now.commands += commands;
        now.late_commands += commands / 50;
        now.hits += commands / 3;
        now.misses += commands / 2;
        now.evicted += commands / 4;
        now.expired += commands / 8;
        now.frames_received += commands;
        now.retransmits += commands / 100;
        now.checksum_drops += u64::from(random.is_multiple_of(100));
        now.clients = day * 10 + random % 50 * crowd;
        now.http_requests += 1 + random % 3;
        now.cached_pages += commands / 2;
        now.refills += commands / 5;
        now.limit_bytes = 200 << 20;
        now.dataset_bytes = now.limit_bytes.min(number << 20);
        let buffers = (now.clients * 8) << 10;
        now.free_bytes = MEMORY - now.dataset_bytes - (8 << 20) - buffers;
    });
    assert!(vitals.commands > 1_000_000);
    assert_eq!(incidents.opened_total(), 0);
}

#[test]
fn what_is_refused_opens_an_incident_until_nothing_is_any_more() {
    let (incidents, _) = watched(5, |number, now| {
        now.heap_refused += u64::from(number == 2);
    });
    assert_eq!(incidents.opened_total(), 1);
    assert!(
        incidents.due().is_some(),
        "it was cleared, so its end is known"
    );
    let case = incidents
        .open_case(second(5))
        .expect("it is quiet too short");
    let [only] = case.incident.sightings() else {
        panic!("{:?}", case.incident.sightings())
    };
    assert_eq!(only.symptom, SymptomKind::HeapRequestsRefused);
    assert_eq!(only.at, second(2));
}

#[test]
fn each_row_that_opens_an_incident_is_raised_by_what_it_counts_and_cleared_without() {
    type Count = fn(&mut Vitals) -> &mut u64;
    let rows: [(SymptomKind, Count, u64); 7] = [
        (
            SymptomKind::FrameRequestsRefused,
            |now| &mut now.frames_refused,
            1,
        ),
        (
            SymptomKind::HeapRequestsRefused,
            |now| &mut now.heap_refused,
            1,
        ),
        (
            SymptomKind::ValueChecksumMismatch,
            |now| &mut now.damaged,
            1,
        ),
        (
            SymptomKind::ChecksumDrops,
            |now| &mut now.checksum_drops,
            11,
        ),
        (
            SymptomKind::NoBufferDrops,
            |now| &mut now.no_buffer_drops,
            51,
        ),
        (
            SymptomKind::ClientsRefused,
            |now| &mut now.clients_refused,
            2,
        ),
        (
            SymptomKind::RetransmitsHigh,
            |now| &mut now.retransmits,
            101,
        ),
    ];
    for (symptom, count, bad) in rows {
        for (grows, opened) in [(bad, 1), (bad.div_ceil(2) - 1, 0)] {
            let (incidents, _) = watched(9, |number, now| {
                now.frames_received += 1_000;
                *count(now) += if number == 4 { grows } else { 0 };
            });
            assert_eq!(incidents.opened_total(), opened, "{symptom:?} by {grows}");
            assert_eq!(incidents.due().is_some(), opened == 1, "{symptom:?} lasts");
            if opened == 1 {
                assert!(seen(&incidents, symptom, second(9)));
            }
        }
    }
}

#[test]
fn what_only_joins_is_seen_in_an_incident_that_is_open() {
    let (incidents, _) = watched(100, |number, now| {
        now.commands += 100;
        now.evicted += 500;
        now.clients = if number < 90 { 20 } else { 2_000 };
        now.clients_refused += u64::from(number >= 90) * 50;
    });
    assert_eq!(incidents.opened_total(), 1);
    for symptom in [
        SymptomKind::ClientsRefused,
        SymptomKind::ClientsHigh,
        SymptomKind::EvictionsHigh,
    ] {
        assert!(seen(&incidents, symptom, second(100)), "{symptom:?}");
    }
}

#[test]
fn memory_that_runs_out_in_a_line_is_told_before_it_does() {
    // 32 MiB may go, 8 have gone; 128 KiB more a second.
    let (incidents, vitals) = watched(120, |_, now| now.free_bytes -= 128 << 10);
    let left = incidents
        .exhaustion()
        .expect("it falls in a line")
        .as_secs();
    let used = MEMORY - vitals.free_bytes;
    let ends = ((32 << 20) - used) / (128 << 10);
    assert!(left.abs_diff(ends) <= 2, "{left} s, and it ends in {ends}");
    assert!(seen(
        &incidents,
        SymptomKind::MemoryExhaustionForecast,
        second(120)
    ));
    let (incidents, _) = watched(120, |_, _| {});
    assert_eq!(
        (incidents.exhaustion(), incidents.opened_total()),
        (None, 0)
    );
}

#[test]
fn counts_that_began_anew_are_no_growth() {
    let (incidents, _) = watched(9, |number, now| {
        now.heap_refused = if number == 0 { 5_000 } else { 0 };
    });
    assert_eq!(incidents.opened_total(), 0);
}
