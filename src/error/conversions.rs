//! Conversions from the crates' errors into the one [`Error`].

use super::{Error, Kind, Subsystem};
use alloc::collections::TryReserveError;

impl From<TryReserveError> for Error {
    fn from(_: TryReserveError) -> Self {
        Self::new(Subsystem::Memory, Kind::OutOfMemory { requested_bytes: 0 })
            .caused_by("a buffer could not grow")
    }
}

impl From<core::fmt::Error> for Error {
    fn from(_: core::fmt::Error) -> Self {
        Self::new(Subsystem::Memory, Kind::OutOfMemory { requested_bytes: 0 })
            .caused_by("text did not fit its buffer")
    }
}
