//! The kernel's bell: a message for a subsystem wakes the fiber that it runs on.

use super::scheduler::{FiberId, Fibers, WakeHandle};
use crate::bus::Bell;

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
