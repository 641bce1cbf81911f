//! An incident: what was seen, where and when, within one window of time, and what could have been seen. It is all that
//! a diagnosis is made from, and has a form on the wire, so that one from the field can be diagnosed again anywhere.
//!
//! Always true: a symptom is in it once for each part that shows it, at the time it was first seen there; a symptom of
//! a part names a part that the incident knows, one of the image names none.
//!
//! The form is one byte of version, then postcard's encoding of the fields in their order; symptoms are written by
//! their place in the table, so its rows stay where they are. Another version is refused by its number.

use super::symptoms::{Place, SymptomKind, SymptomSet};
use crate::error::{Error, Kind, Result, Subsystem};
use crate::platform::time::Instant;
use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

/// The version that is written, and the only one that is read.
pub(super) const VERSION: u8 = 1;
/// Parts that an incident knows: twice as many as the image has.
pub const PARTS_MAX: usize = 16;
/// Symptoms that an incident holds; later ones are left out, for the first ones tell most.
pub const SIGHTINGS_MAX: usize = 32;
/// Bytes of a part's name that are kept.
const NAME_BYTES: usize = 24;
/// Bytes that an incident takes on the wire at most.
pub const WIRE_BYTES_MAX: usize = 64 + PARTS_MAX * (NAME_BYTES + 8) + SIGHTINGS_MAX * 16;

/// A part of the image, by its place in [`Incident::parts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartId(pub u8);

/// A part, as the registry knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    name: String<NAME_BYTES>,
    /// The parts that it depends on, directly or not, a bit each.
    depends_on: u16,
}

const _: () = assert!(PARTS_MAX <= u16::BITS as usize);

impl Part {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A symptom that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// What was seen,
    pub symptom: SymptomKind,
    /// on which part, if it is one of a part,
    pub part: Option<PartId>,
    /// and when first.
    #[serde(with = "as_nanos")]
    pub at: Instant,
}

/// What was seen within a window of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Counts incidents from 1.
    pub number: u64,
    /// Where the window ends: what has not been seen by then is absent.
    #[serde(with = "as_nanos")]
    pub until: Instant,
    /// What some detector watches for: nothing else can be absent.
    pub watched: SymptomSet,
    parts: Vec<Part, PARTS_MAX>,
    sightings: Vec<Sighting, SIGHTINGS_MAX>,
}

impl Incident {
    /// An incident in which nothing was seen yet.
    pub const fn new(number: u64, watched: SymptomSet, parts: Vec<Part, PARTS_MAX>) -> Self {
        Self {
            number,
            until: Instant::ZERO,
            watched,
            parts,
            sightings: Vec::new(),
        }
    }

    /// An incident in which these were seen; each may stand in one that knows those parts ([`Incident::may_hold`]).
    pub(in crate::diagnosis) const fn recorded(
        number: u64,
        until: Instant,
        watched: SymptomSet,
        parts: Vec<Part, PARTS_MAX>,
        sightings: Vec<Sighting, SIGHTINGS_MAX>,
    ) -> Self {
        Self {
            number,
            until,
            watched,
            parts,
            sightings,
        }
    }

    /// Takes in that a symptom was seen; a part must be given for one of a part, and for no other. Returns whether
    /// it is new.
    ///
    /// # Panics
    /// If the part is missing, not known, or one too many.
    pub fn see(&mut self, symptom: SymptomKind, part: Option<PartId>, at: Instant) -> bool {
        let sighting = Sighting { symptom, part, at };
        assert!(
            Self::may_hold(&self.parts, &sighting),
            "{} on {part:?}",
            symptom.row().name
        );
        self.until = self.until.max(at);
        let is_known = |known: &Sighting| known.symptom == symptom && known.part == part;
        !self.sightings.iter().any(is_known) && self.sightings.push(sighting).is_ok()
    }

    /// What was seen, in the order in which it was told.
    pub fn sightings(&self) -> &[Sighting] {
        &self.sightings
    }

    /// The parts of the image.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The name of one of them.
    pub fn part_name(&self, part: PartId) -> &str {
        self.parts.get(usize::from(part.0)).map_or("?", Part::name)
    }

    /// Whether `part` depends on `other`, directly or not.
    pub fn depends_on(&self, part: PartId, other: PartId) -> bool {
        let part = self.parts.get(usize::from(part.0));
        part.is_some_and(|part| part.depends_on >> other.0 & 1 == 1)
    }

    /// Whether a symptom stands on what it is one of: a part of these, or the image.
    pub(in crate::diagnosis) fn may_hold(parts: &[Part], sighting: &Sighting) -> bool {
        match sighting.symptom.row().place {
            Place::Image => sighting.part.is_none(),
            Place::Part => sighting
                .part
                .is_some_and(|part| usize::from(part.0) < parts.len()),
        }
    }

    /// Writes it into `out`; returns how many bytes it took, at most [`WIRE_BYTES_MAX`].
    ///
    /// # Errors
    /// `LimitReached` if `out` is too small.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize> {
        let limit = out.len() as u64;
        let what = "bytes of an incident";
        let too_long = Error::new(Subsystem::Diagnosis, Kind::LimitReached { what, limit });
        let (version, rest) = out.split_first_mut().ok_or(too_long)?;
        let written = postcard::to_slice(self, rest).map_err(|_| too_long)?;
        *version = VERSION;
        Ok(1 + written.len())
    }

    /// Reads one that [`Incident::encode`] wrote.
    ///
    /// # Errors
    /// `UnknownVersion`; `Protocol` if the bytes are no incident, or more than one.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let protocol = |what| Error::new(Subsystem::Diagnosis, Kind::Protocol { what });
        let (&found, rest) = bytes.split_first().ok_or(protocol("an empty record"))?;
        if found != VERSION {
            let known = VERSION;
            return Err(Error::new(
                Subsystem::Diagnosis,
                Kind::UnknownVersion { found, known },
            ));
        }
        let read = postcard::take_from_bytes::<Self>(rest);
        let (incident, left) = read.map_err(|_| protocol("a record that is no incident"))?;
        if !left.is_empty() {
            return Err(protocol("bytes behind an incident"));
        }
        if !incident
            .sightings
            .iter()
            .all(|sighting| Self::may_hold(&incident.parts, sighting))
        {
            return Err(protocol("a symptom on a part that is not there"));
        }
        Ok(incident)
    }
}

/// The parts of the image from what the registry knows: the names, each with those it depends on. Dependencies of
/// dependencies are followed; names beyond [`PARTS_MAX`], and dependencies on what is not there, are left out.
pub fn parts<'a>(
    rows: impl Iterator<Item = (&'a str, &'a [&'a str])> + Clone,
) -> Vec<Part, PARTS_MAX> {
    let rows = rows.take(PARTS_MAX);
    let place = |name: &str| rows.clone().position(|row| row.0 == name);
    let mut parts: Vec<Part, PARTS_MAX> = Vec::new();
    for (name, dependencies) in rows.clone() {
        let depends_on = dependencies.iter().filter_map(|name| place(name));
        let depends_on = depends_on.fold(0, |set: u16, place| set | 1 << place);
        let name = cut(name);
        // There is room: no more are taken than fit.
        let _ = parts.push(Part { name, depends_on });
    }
    // Each round follows one more step, and no way is longer than there are parts.
    for _ in 0..parts.len() {
        for place in 0..parts.len() {
            let direct = parts[place].depends_on;
            let further = (0..parts.len()).filter(|other| direct >> other & 1 == 1);
            parts[place].depends_on =
                further.fold(direct, |set, other| set | parts[other].depends_on);
        }
    }
    parts
}

/// As much of a name as is kept.
fn cut(name: &str) -> String<NAME_BYTES> {
    let mut kept = String::new();
    for character in name.chars() {
        if kept.push(character).is_err() {
            break;
        }
    }
    kept
}

/// Times on the wire: nanoseconds since reset.
mod as_nanos {
    use crate::platform::time::Instant;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Instant, to: S) -> Result<S::Ok, S::Error> {
        time.as_nanos().serialize(to)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Instant, D::Error> {
        u64::deserialize(from).map(Instant::from_nanos)
    }
}

#[cfg(test)]
mod tests;
