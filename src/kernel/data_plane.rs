//! The data plane's loop: network, services and the detectors' samples, run to completion on one CPU, as the
//! fiber that ranks highest there.

use super::devices::NetworkDevice;
use super::pages::sample;
use super::scheduler::Fibers;
use super::system::System;
use super::this_cpu::ThisCpu;
use crate::arch::aarch64::cpu;
use crate::diagnosis::FaultDetection;
use crate::memory::MemoryManager;
use crate::net::stack::{Activity, Stack};
use crate::platform::clock::CounterClock;
use crate::platform::console::print;
use crate::platform::network_device::{NetworkDevice as _, Receiver};
use crate::platform::time::Clock;
use alloc::rc::Rc;
use alloc::sync::Arc;
use core::cell::{Cell, RefCell};

/// All that the loop drives.
pub(super) struct DataPlane {
    pub(super) stack: Stack<NetworkDevice>,
    pub(super) clock: &'static CounterClock,
    pub(super) system: Arc<System>,
    pub(super) memory: &'static MemoryManager<ThisCpu>,
    pub(super) detection: Rc<RefCell<FaultDetection>>,
    pub(super) ready: Rc<Cell<bool>>,
    pub(super) fibers: Fibers,
}

impl DataPlane {
    /// Serves for good.
    pub(super) fn run(mut self) -> ! {
        loop {
            let now = self.clock.now();
            let activity = self.stack.poll(now);
            if !self.ready.get() && self.stack.is_configured() {
                self.ready.set(true);
                self.system.stage_done("ready");
                print(format_args!("nos: ready\n"));
            }
            // Only work brings about a sample: an idle image sleeps.
            if activity != Activity::Idle && self.detection.borrow().due(now) {
                self.detection
                    .borrow_mut()
                    .observe(&sample(self.memory), now);
            }
            if activity == Activity::More {
                self.fibers.beat();
            } else {
                self.sleep();
            }
        }
    }

    /// Sleeps until a frame, another interrupt or the stack's deadline; not at all if a frame is there.
    fn sleep(&mut self) {
        let deadline = self.stack.deadline();
        // A frame that comes from here on ends the sleep: masked, its interrupt is served there and not taken.
        cpu::mask_interrupts();
        let (receiver, _) = self.stack.device_mut().split();
        if receiver.await_interrupt() {
            self.fibers.park(deadline);
        } else {
            cpu::unmask_interrupts();
            self.fibers.beat();
        }
    }
}
