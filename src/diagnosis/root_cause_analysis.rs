//! Root cause: from what was seen to what is wrong, and how sure of it one may be.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `symptoms` | the table of what can be seen of the image |
//! | `graph`, `causes` | the table of what can be wrong with it, and what each cause shows |
//! | `incident` | what was seen within a window of time: a value that can be recorded and replayed |
//! | `inference` | a noisy-OR over one or two causes, enumerated exactly |
//! | `ranking` | the diagnosis: the likeliest causes, with what speaks for and against each |
//! | `service_graph` | the same question of other people's systems, from recordings of them |
//!
//! Results are values; they follow from what is handed in, and from nothing else. Of what injects faults nothing here
//! knows anything.

mod causes;
mod graph;
mod incident;
mod inference;
mod ranking;
pub mod service_graph;
mod symptoms;
#[cfg(test)]
mod tests;

pub use causes::{CAUSES, cause, causes};
pub use graph::{Cause, Delay, Link, Scope};
pub use incident::{
    Incident, PARTS_MAX, Part, PartId, SIGHTINGS_MAX, Sighting, WIRE_BYTES_MAX, parts,
};
pub use inference::Workspace;
pub use ranking::{Bearing, Diagnosis, Finding, Ranked, Verdict};
pub use symptoms::{Place, SymptomKind, SymptomRow, SymptomSet};
