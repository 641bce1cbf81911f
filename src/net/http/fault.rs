//! Short ways to say what is wrong with a request.

use crate::error::{Error, HttpFault, Kind, Subsystem};

/// A request that is malformed; says how.
pub(super) const fn bad(what: &'static str) -> Error {
    fault(HttpFault::BadRequest(what))
}

/// A request that cannot be answered as asked.
pub(super) const fn fault(fault: HttpFault) -> Error {
    Error::new(Subsystem::Http, Kind::Http(fault))
}
