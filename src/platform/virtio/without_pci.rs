//! In place of virtio on PCI, where the image is built without it: all devices are on virtio-mmio.

use super::DeviceBus;
use crate::error::Result;
use crate::platform::device_tree::Machine;
use alloc::boxed::Box;
use core::iter;
use core::ops::Range;
use virtio_drivers::transport::mmio::MmioTransport;

/// How a driver talks to its device.
pub type Transport = MmioTransport<'static>;

/// The transport as it is.
pub(super) fn on_mmio(transport: MmioTransport<'static>) -> Transport {
    transport
}

/// Nothing of another bus is to be mapped.
pub fn mapped(_: &Machine<'_>) -> impl Iterator<Item = Range<u64>> {
    iter::empty()
}

/// There is no other bus.
///
/// # Errors
/// None: as with one.
///
/// # Safety
/// There is nothing to promise.
pub unsafe fn bus(_: &Machine<'_>) -> Result<Option<Box<dyn DeviceBus>>> {
    Ok(None)
}

/// What would quiet a device on another bus: there is none.
#[derive(Clone, Copy, Debug)]
pub enum Status {}

impl Status {
    pub(super) fn read(self) {
        match self {}
    }
}
