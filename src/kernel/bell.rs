//! What joins a port on the bus to the fiber behind it: a message for a subsystem wakes its fiber, which is not
//! killed while it is half through sending one.

use super::scheduler::{FiberId, Fibers, Spared, WakeHandle};
use crate::bus::{Bell, Port};

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

impl Spared for Port {
    fn is_in_section(&self) -> bool {
        Port::is_in_section(self)
    }
}
