//! In place of the disk, where the image is built without it.

use super::casebook::Casebook;
use super::chronicle::Chronicle;
use super::devices::Bus;
use super::faults::Faults;
use super::scheduler::{FiberId, Fibers, Locked};
use crate::error::Result;
use crate::platform::device_tree::Machine;
use crate::platform::time::Clock;
use crate::storage::{Disk, DiskBay};

/// Where no disk is found.
pub(super) struct DiskFinder;

impl DiskFinder {
    /// Looks for nothing.
    ///
    /// # Errors
    /// None: as with one.
    pub(super) fn new(
        _: &'static Machine<'static>,
        _: &'static Locked<Option<Bus>>,
        _: bool,
        _: Fibers,
        _: FiberId,
    ) -> Result<Self> {
        Ok(Self)
    }

    /// There is none.
    pub(super) fn is_there(&self) -> bool {
        false
    }

    /// There is nothing to join.
    pub(super) fn join(
        &self,
        _: Faults,
        _: &'static dyn Clock,
        _: &'static &'static Casebook,
        _: &'static Chronicle,
    ) {
    }

    /// There is nothing to reset.
    pub(super) fn quiet(&self) {}
}

impl DiskBay for DiskFinder {
    fn open(&self) -> Result<Option<Disk>> {
        Ok(None)
    }
}
