//! Watermarks at work: the level is looked at after each visit to the zone.

use super::super::accounts::Owner;
use super::super::frames::{Order, PAGE_SIZE};
use super::super::local_cpu::LocalCpu;
use super::super::pressure::{Pressure, PressureListener, Watermarks};
use super::super::zone::Zone;
use super::MemoryManager;

impl<C: LocalCpu> MemoryManager<C> {
    /// Has `listener` be told when the pressure changes.
    pub fn set_pressure_listener(&self, listener: &'static dyn PressureListener) {
        self.pressure.set_listener(listener);
    }

    /// How short memory was when the zone was visited last.
    pub fn pressure(&self) -> Pressure {
        self.pressure.level()
    }

    /// Counts of free frames at which pressure begins and ends.
    pub fn watermarks(&self) -> Watermarks {
        self.pressure.marks()
    }

    /// Refuses `owner` blocks from that order up while fewer than the `min` watermark's frames would be left, and smaller
    /// ones while fewer than half of these would be, but for what lies in a page cache: so it is with who can take all
    /// there is, and can do without.
    pub fn keep_off_reserve(&self, owner: Owner, from: Order) {
        self.pressure.keep_off(owner, from);
    }

    /// True if a page cache is not to be filled again for a request of `owner`.
    #[inline]
    pub(super) fn is_kept_off(&self, owner: Owner, order: Order) -> bool {
        self.pressure.may_keep_off(owner) && {
            let free = self.in_zone(|zone| zone.free_frames());
            self.pressure.keeps_off(owner, order, free)
        }
    }

    /// Bytes that are missing until pressure ends; 0 without pressure.
    pub fn missing_bytes(&self) -> u64 {
        if self.pressure() == Pressure::None {
            return 0;
        }
        // Its look ends the pressure if enough came back unseen.
        let free = self.in_zone(|zone| zone.free_frames());
        let beyond_high = self.watermarks().high + 1;
        beyond_high.saturating_sub(free) * PAGE_SIZE as u64
    }

    /// Runs `section` with the zone, as `runner`, and looks at what it left free: if that is too little, the page caches
    /// are the first to give back.
    #[inline(always)]
    pub(super) fn visit<R>(&self, runner: Owner, section: impl FnOnce(&mut Zone) -> R) -> R {
        let visited = |zone: &mut Zone| (section(zone), zone.free_frames());
        let (result, free) = self.zone.with(runner, visited);
        self.look(free);
        result
    }

    /// Looks at what a visit to the zone has left free.
    #[inline(always)]
    pub(super) fn look(&self, free: u64) {
        if self.pressure.look(free) {
            self.ask_for_floors();
        }
    }
}
