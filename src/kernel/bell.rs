//! What joins a port on the bus to the fiber behind it: a message for a subsystem wakes its fiber, which is not
//! killed while it is half through sending one.

use super::scheduler::{FiberId, Fibers, Spared, WakeHandle};
use crate::bus::{Bell, Port};
use crate::memory::{Pressure, PressureListener};
use core::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Release};

/// Wakes one fiber, from any CPU.
#[derive(Clone, Copy)]
pub struct FiberBell(WakeHandle);

impl FiberBell {
    /// The bell of that fiber: made before it is started, good for all its incarnations.
    pub fn new(fibers: Fibers, fiber: FiberId) -> Self {
        Self(fibers.wake_handle(fiber))
    }
}

impl Bell for FiberBell {
    #[inline]
    fn ring(&self) {
        self.0.wake();
    }
}

/// Notes that the pressure on memory has changed, and wakes the fiber that tells the others.
pub struct PressureBell {
    has_news: AtomicBool,
    bell: FiberBell,
}

impl PressureBell {
    /// One that rings `bell`.
    pub fn new(bell: FiberBell) -> Self {
        Self {
            has_news: AtomicBool::new(false),
            bell,
        }
    }

    /// Whether it rang since it was asked last.
    pub fn take(&self) -> bool {
        self.has_news.swap(false, AcqRel)
    }
}

impl PressureListener for PressureBell {
    fn pressure_changed(&self, _: Pressure) {
        // Release: pairs with the AcqRel in `take`, after which the level is read.
        self.has_news.store(true, Release);
        self.bell.ring();
    }
}

impl Spared for Port {
    fn is_in_section(&self) -> bool {
        Port::is_in_section(self)
    }
}
