//! The one error type of the image, and the conversions from the crates' errors into it.
//!
//! Everything that can go wrong in nos is an [`Error`]; no other type stands in the error position of a
//! `Result` anywhere in `src/`. An error never allocates, so that running out of memory can be reported.

mod conversions;
mod growth;
mod refused;
#[cfg(test)]
pub(crate) mod test_heap;
mod unified_framework;

pub use growth::{
    Grow, GrowQueue, arc_at_boot, try_box, try_boxed_slice, try_collect, try_to_string, try_to_vec,
};
pub use refused::note_refused;
pub use unified_framework::{CommandFault, Error, HttpFault, Kind, Result, ShortText, Subsystem};
