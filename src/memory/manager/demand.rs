//! Page caches that follow demand: their periods end when their CPUs look, and what they hold too much is given
//! back, a batch of each class at each look, so that no look is long.
#![allow(unsafe_code, reason = "uses the cache of the CPU it runs on")]

use super::super::accounts::Owner;
use super::super::local_cpu::LocalCpu;
use super::super::page_cache::{ASK_FLOOR, ASK_MORE, CpuCache};
use super::super::pressure::Pressure;
use super::super::zone::Zone;
use super::MemoryManager;
use crate::platform::spin_once;

/// Looks after which a CPU leaves the rest of what it holds to its next: more than its cache has batches.
const LOOKS_MAX: usize = 1_000;

impl<C: LocalCpu> MemoryManager<C> {
    /// Brings the page caches of all CPUs to their floors, and gives back what they hold: that of this CPU before it
    /// returns, those of the others when they next look, which they are woken for. Not to be called in a section.
    pub fn press(&self) {
        self.ask_for_floors();
        let this = self.cpu.current();
        for _ in 0..LOOKS_MAX {
            self.obey();
            if self.caches[this].asked() == 0 {
                break;
            }
            // The zone is in use.
            spin_once();
        }
    }

    /// Asks all CPUs to bring their page caches to the floors when they next look, which the others are woken for.
    #[cold]
    #[inline(never)]
    pub(super) fn ask_for_floors(&self) {
        let this = self.cpu.current();
        for (cpu, cache) in self.caches.iter().enumerate() {
            cache.ask(ASK_FLOOR);
            if cpu != this {
                self.cpu.ask(cpu, &|| {
                    self.obey();
                });
            }
        }
    }

    /// Ends the periods of `cache` that are over at tick `now`, in a section of its CPU: what is surplus then is given back
    /// when that next looks. False if there are none.
    #[inline]
    pub(super) fn end_periods(&self, cache: &CpuCache, now: u64) -> bool {
        if !cache.is_due(now) || !cache.is_open() {
            return false;
        }
        // SAFETY: this is the cache's CPU, in the section that alone uses it.
        unsafe {
            cache.end_periods(now, &self.accounts);
            if self.pressure() != Pressure::None {
                cache.press();
            }
        }
        true
    }

    /// Does what the control law says of `cache`, at tick `now`, as far as it need not wait for the zone; what remains is
    /// asked for again. In a section of its CPU.
    pub(super) fn follow_demand(&self, cache: &CpuCache, asked: u32, now: u64) {
        if !cache.is_open() {
            return cache.rest();
        }
        self.end_periods(cache, now);
        if asked & ASK_FLOOR != 0 {
            // SAFETY: this is the cache's CPU, in the section that alone uses it.
            unsafe { cache.press() };
        }
        for class in cache.surplus() {
            let give = |zone: &mut Zone| {
                // SAFETY: as above.
                unsafe { cache.give_surplus(class, zone, &self.accounts) };
                zone.free_frames()
            };
            if let Some(free) = self.zone.try_with(Owner::KERNEL, give) {
                self.look(free);
            }
        }
        if cache.surplus().next().is_some() {
            cache.ask(ASK_MORE);
        }
        cache.rest();
    }
}
