//! In place of who resolves places, where the image is built without names: there are none to show.

use crate::diagnosis::symbol_cache::SymbolCacheCounters;
use crate::kernel::place::Place;
use crate::kernel::reports::SharedReports;
use crate::metrics::Json;
use crate::platform::time::Instant;
use alloc::sync::Arc;

/// Resolves nothing.
pub(in crate::kernel) struct Resolver;

impl Resolver {
    /// One that knows nothing.
    pub(in crate::kernel) fn new(
        _: Arc<SymbolCacheCounters>,
        _: SharedReports,
        _: Instant,
    ) -> Self {
        Self
    }

    /// Writes no name.
    pub(in crate::kernel) fn write_function(&mut self, _: Place, _: Instant, json: &mut Json<'_>) {
        json.text("");
    }

    /// Writes no frames.
    pub(in crate::kernel) fn write_frames(&mut self, _: Place, _: Instant, json: &mut Json<'_>) {
        json.array(|_| {});
    }
}
