//! The disk: a virtio block device on virtio-mmio or on PCI, taken into use anew by each incarnation of the data plane.

use super::casebook::Casebook;
use super::chronicle::Chronicle;
use super::devices::{self, Bus};
use super::faults::Faults;
use super::scheduler::{FiberId, Fibers, Locked};
use crate::diagnosis::root_cause_analysis::SymptomKind;
use crate::error::{Result, try_box};
use crate::platform::device_tree::Machine;
use crate::platform::interrupts::{self, Binding, Source};
use crate::platform::time::Clock;
use crate::platform::virtio;
use crate::platform::virtio::block::VirtioBlock;
use crate::storage::checkpoint::Notebook;
use crate::storage::{BlockQueue, Disk, DiskBay, DiskEvent, DiskWitness, WatchedQueue};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use spin::Once;
use virtio_drivers::transport::DeviceType;

/// Where the disk is found.
pub(super) struct DiskFinder {
    machine: &'static Machine<'static>,
    bus: &'static Locked<Option<Bus>>,
    is_there: AtomicBool,
    /// True until it was opened once, where what is on it is to be given up.
    may_format: AtomicBool,
    joined: Once<Joined>,
}

/// What stands between the device and who uses it.
#[derive(Clone, Copy)]
struct Joined {
    faults: Faults,
    clock: &'static dyn Clock,
    witness: &'static dyn DiskWitness,
    notebook: &'static dyn Notebook,
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
            joined: Once::new(),
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

    /// Whether there is one.
    pub(super) fn is_there(&self) -> bool {
        self.is_there.load(Relaxed)
    }

    /// From now on faults stand before the device, and `casebook` is told of what it fails to do; what is
    /// kept on it beside checkpoints is the chronicle.
    pub(super) fn join(
        &self,
        faults: Faults,
        clock: &'static dyn Clock,
        casebook: &'static &'static Casebook,
        chronicle: &'static Chronicle,
    ) {
        self.joined.call_once(|| Joined {
            faults,
            clock,
            witness: casebook,
            notebook: chronicle,
        });
    }

    /// Finds it. The transport resets the device when it is dropped, and a driver does when it begins.
    fn find(&self) -> Result<Option<virtio::Found>> {
        // Most machines have none: looked for once.
        if !self.is_there() {
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
        let queue: Box<dyn BlockQueue> = try_box(VirtioBlock::new(found.transport)?)?;
        let Joined {
            faults,
            clock,
            witness,
            notebook,
        } = *self.joined.get().expect("joined before anybody is served");
        let queue = WatchedQueue::new(faults.block_queue(queue)?, clock, witness);
        Ok(Some(Disk {
            queue: try_box(queue)?,
            may_format: self.may_format.swap(false, Relaxed),
            witness,
            notebook,
        }))
    }
}

impl DiskWitness for &'static Casebook {
    fn tell(&self, event: DiskEvent) {
        let symptom = match event {
            DiskEvent::ReadFailed => SymptomKind::BlockReadFailed,
            DiskEvent::WriteFailed => SymptomKind::BlockWriteFailed,
            DiskEvent::FlushFailed => SymptomKind::BlockFlushFailed,
            DiskEvent::Late => SymptomKind::BlockLatencyHigh,
            DiskEvent::ChecksumMismatch => SymptomKind::BlockChecksumMismatch,
            DiskEvent::SlotTorn => SymptomKind::CheckpointSlotTorn,
            DiskEvent::Foreign => SymptomKind::DiskForeign,
            DiskEvent::CheckpointFailed => SymptomKind::CheckpointFailed,
        };
        Casebook::tell(self, |incidents, now| {
            incidents.event(symptom, None, now, now);
        });
    }
}
