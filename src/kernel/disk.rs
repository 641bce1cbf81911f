//! The disk: a virtio block device on virtio-mmio or on PCI, taken into use anew by each incarnation of the data plane.

use super::devices::{self, Bus};
use super::scheduler::{FiberId, Fibers, Locked};
use crate::error::{Result, try_box};
use crate::platform::device_tree::Machine;
use crate::platform::interrupts::{self, Binding, Source};
use crate::platform::virtio;
use crate::platform::virtio::block::VirtioBlock;
use crate::storage::{Disk, DiskBay};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use virtio_drivers::transport::DeviceType;

/// Where the disk is found.
pub(super) struct DiskFinder {
    machine: &'static Machine<'static>,
    bus: &'static Locked<Option<Bus>>,
    is_there: AtomicBool,
    /// True until it was opened once, where what is on it is to be given up.
    may_format: AtomicBool,
}

impl DiskFinder {
    /// Looks for the first disk, and has its interrupt wake `served_by`.
    ///
    /// # Errors
    /// `Device` if its registers or its interrupt cannot be made out; `LimitReached` for too many handlers.
    pub(super) fn new(
        machine: &'static Machine<'static>,
        bus: &'static Locked<Option<Bus>>,
        may_format: bool,
        fibers: Fibers,
        served_by: FiberId,
    ) -> Result<Self> {
        let own = Self {
            machine,
            bus,
            is_there: AtomicBool::new(true),
            may_format: AtomicBool::new(may_format),
        };
        let found = own.find()?;
        own.is_there.store(found.is_some(), Relaxed);
        if let Some(found) = found {
            let (bell, quiet) = (fibers.wake_handle(served_by), found.quiet);
            interrupts::bind(Binding {
                interrupt: found.interrupt,
                source: Source::Block,
                handler: try_box(move || {
                    quiet.acknowledge();
                    bell.wake();
                })?,
            })?;
        }
        Ok(own)
    }

    /// Finds it. The transport resets the device when it is dropped, and a driver does when it begins.
    fn find(&self) -> Result<Option<virtio::Found>> {
        // Most machines have none: looked for once.
        if !self.is_there.load(Relaxed) {
            return Ok(None);
        }
        devices::find(self.machine, self.bus.lock().as_mut(), DeviceType::Block)
    }

    /// Resets the device: from then on it writes to no memory.
    pub(super) fn quiet(&self) {
        if let Err(error) = self.find() {
            log::error!("the disk cannot be reset: {error}");
        }
    }
}

impl DiskBay for DiskFinder {
    fn open(&self) -> Result<Option<Disk>> {
        let Some(found) = self.find()? else {
            return Ok(None);
        };
        let queue = try_box(VirtioBlock::new(found.transport)?)?;
        Ok(Some(Disk {
            queue,
            may_format: self.may_format.swap(false, Relaxed),
        }))
    }
}
