//! In place of the crash area, where the image is built without it: no life tells the next how it ended.
#![allow(unsafe_code, reason = "the interface is that of `crash_area`")]

use crate::error::Result;
use crate::kernel::crash::Keeper;
use crate::platform::memory_map::Ranges;
use core::ops::Range;

/// Takes no room.
pub(in crate::kernel) fn place(_: &Ranges, _: &Ranges) -> Option<Range<usize>> {
    None
}

/// Keeps nothing.
///
/// # Errors
/// None.
///
/// # Safety
/// There is nothing to promise.
pub(in crate::kernel) unsafe fn open(
    _: Option<Range<usize>>,
) -> Result<Option<&'static dyn Keeper>> {
    Ok(None)
}
