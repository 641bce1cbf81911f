//! What wakes one fiber, found once.

use super::cpu::Cpu;
use super::fiber::Fiber;
use super::{FiberId, Fibers};
use crate::bus::ready_set::bit;

/// Wakes one fiber, as [`Fibers::wake`] does, without looking for it each time.
#[derive(Clone, Copy)]
pub struct WakeHandle {
    cpu: &'static Cpu,
    fiber: &'static Fiber,
    bit: u64,
    rank: u64,
}

impl WakeHandle {
    /// Makes the fiber ready. From any CPU, fiber or interrupt handler; a dead one is not affected.
    #[inline]
    pub fn wake(&self) {
        self.cpu.wake_ranked(self.fiber, self.rank as u32, self.bit);
    }
}

impl Fibers {
    /// What wakes that fiber: made before it is started, good for all its incarnations.
    pub fn wake_handle(&self, id: FiberId) -> WakeHandle {
        WakeHandle {
            cpu: &self.cpus[id.cpu()],
            fiber: self.fiber(id),
            bit: bit(id.rank.into()),
            rank: id.rank.into(),
        }
    }
}
