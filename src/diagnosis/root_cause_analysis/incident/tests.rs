//! What an incident holds, and its wire form.

use super::*;

fn image() -> Vec<Part, PARTS_MAX> {
    let rows: [(&str, &[&str]); 3] = [
        ("http", &["data-plane"]),
        ("diagnosis", &["http", "gone"]),
        ("data-plane", &[]),
    ];
    parts(rows.into_iter())
}

fn incident() -> Incident {
    let mut incident = Incident::new(7, SymptomSet::ALL, image());
    incident.see(
        SymptomKind::PartPanicked,
        Some(PartId(2)),
        Instant::from_nanos(1_000),
    );
    incident.see(SymptomKind::FreeMemoryLow, None, Instant::from_nanos(2_000));
    incident
}

#[test]
fn dependencies_of_dependencies_are_followed() {
    let incident = incident();
    let (http, diagnosis, data_plane) = (PartId(0), PartId(1), PartId(2));
    assert!(incident.depends_on(http, data_plane));
    assert!(incident.depends_on(diagnosis, data_plane), "by way of http");
    assert!(!incident.depends_on(data_plane, http));
    assert!(!incident.depends_on(http, http));
}

#[test]
fn a_symptom_is_held_once_for_each_part_at_its_first_time() {
    let mut incident = incident();
    let later = Instant::from_nanos(9_000);
    assert!(!incident.see(SymptomKind::PartPanicked, Some(PartId(2)), later));
    assert!(incident.see(SymptomKind::PartPanicked, Some(PartId(0)), later));
    assert_eq!(incident.sightings()[0].at, Instant::from_nanos(1_000));
    assert_eq!((incident.sightings().len(), incident.until), (3, later));
}

#[test]
fn what_was_written_is_read() {
    let mut out = [0; WIRE_BYTES_MAX];
    let length = incident().encode(&mut out).expect("there is room");
    assert_eq!(Incident::decode(&out[..length]), Ok(incident()));
}

/// The form of version 1, which never changes: what was recorded stays readable.
#[test]
fn what_an_earlier_image_wrote_is_read() {
    let mut incident = Incident::new(
        300,
        SymptomSet::NONE
            .with(SymptomKind::FreeMemoryLow)
            .with(SymptomKind::LinkDown),
        image(),
    );
    incident.see(
        SymptomKind::PartHung,
        Some(PartId(1)),
        Instant::from_nanos(5),
    );
    let written = b"\x01\xac\x02\x05\x81\x80\x80\x80\x80\x80\x02\
        \x03\x04http\x04\x09diagnosis\x05\x0adata-plane\x00\
        \x01\x3e\x01\x01\x05";
    let mut out = [0; WIRE_BYTES_MAX];
    let length = incident.encode(&mut out).expect("there is room");
    assert_eq!(&out[..length], written);
    assert_eq!(Incident::decode(written), Ok(incident));
}

#[test]
fn the_fullest_incident_fits_the_wire() {
    let mut incident = incident();
    incident.number = u64::MAX;
    let name = "x".repeat(100);
    let rows = [(name.as_str(), &[][..]); PARTS_MAX + 1];
    incident.parts = parts(rows.into_iter());
    for (place, &symptom) in SymptomKind::ALL.iter().rev().enumerate() {
        let part =
            (symptom.row().place == Place::Part).then_some(PartId(place as u8 % PARTS_MAX as u8));
        incident.see(symptom, part, Instant::from_nanos(u64::MAX - 1));
    }
    assert_eq!(incident.sightings().len(), SIGHTINGS_MAX);
    let mut out = [0; WIRE_BYTES_MAX];
    let length = incident.encode(&mut out).expect("there is room");
    assert_eq!(Incident::decode(&out[..length]), Ok(incident));
}

#[test]
fn records_that_are_no_incident_are_refused_by_what_is_wrong() {
    let mut out = [0; WIRE_BYTES_MAX];
    let length = incident().encode(&mut out).expect("there is room");
    let kind = |bytes: &[u8]| {
        Incident::decode(bytes)
            .expect_err("it is no incident")
            .kind()
    };
    assert!(matches!(kind(&[]), Kind::Protocol { .. }));
    for cut in 1..length {
        assert!(
            matches!(kind(&out[..cut]), Kind::Protocol { .. }),
            "{cut} bytes"
        );
    }
    assert!(matches!(kind(&out[..=length]), Kind::Protocol { .. }));
    out[0] = 9;
    let other = Kind::UnknownVersion {
        found: 9,
        known: VERSION,
    };
    assert_eq!(kind(&out[..length]), other);
    let short = incident()
        .encode(&mut out[..length - 1])
        .expect_err("there is no room");
    assert!(matches!(short.kind(), Kind::LimitReached { .. }));
}

#[test]
fn no_bytes_make_an_incident_that_cannot_be() {
    let mut out = [0; WIRE_BYTES_MAX];
    let length = incident().encode(&mut out).expect("there is room");
    for at in 1..length {
        for value in 0..=255 {
            let mut bytes = out;
            bytes[at] = value;
            if let Ok(read) = Incident::decode(&bytes[..length]) {
                assert!(
                    read.sightings
                        .iter()
                        .all(|sighting| Incident::may_hold(read.parts(), sighting))
                );
            }
        }
    }
}

#[test]
#[should_panic(expected = "part_panicked on None")]
fn a_symptom_of_a_part_without_a_part_is_a_bug() {
    incident().see(SymptomKind::PartPanicked, None, Instant::ZERO);
}
