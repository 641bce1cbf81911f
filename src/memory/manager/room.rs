//! Room for a request that was refused: what this CPU's cache holds of a block that is free but for that goes back to the
//! zone, where it merges.
//!
//! One block is enough, so the first that is found so is the only one that the cache gives back for. And the search is
//! bounded, as the whole request is: the cache is at its floors after the first refusal, and by and by holds no more than
//! one such search sees.
//!
//! Limits: a request can be refused though this CPU's cache holds all of a block, if that is in more pieces than
//! [`GIVEN_MAX`], or the cache not yet down to what [`LOOKS_MAX`] covers. The next gets further.
#![allow(unsafe_code, reason = "uses the cache of the CPU it runs on")]

use super::super::accounts::Owner;
use super::super::frames::{Order, Pfn};
use super::super::local_cpu::LocalCpu;
use super::super::page_cache::{ASK_MORE, Class, CpuCache};
use super::MemoryManager;

/// Blocks in the cache that are looked at, most often in vain: about 20 instructions each, and ten more where some are given
/// back. More than the floors of all classes that the image uses.
const LOOKS_MAX: usize = 80;
/// Blocks that go back to the zone, at about 80 instructions: of one large block, so few of them change sets.
const GIVEN_MAX: usize = 12;

impl<C: LocalCpu> MemoryManager<C> {
    /// Gives back what this CPU's cache holds of a block of `order` that is free but for what lies in caches; false if none
    /// is found.
    #[cold]
    #[inline(never)]
    pub(super) fn give_back_for(&self, order: Order) -> bool {
        self.pinned(|runner| {
            let cache = self.cache();
            if !cache.is_open() {
                return false;
            }
            // What is large enough serves as it is.
            let mut serving = Class::all().filter(|class| class.order() >= order);
            let drain = |class| {
                // SAFETY: this is the cache's CPU, in the section that alone uses it.
                let drain =
                    |zone: &mut _| unsafe { cache.drain(class, 1, true, zone, &self.accounts) };
                self.visit(runner, drain) > 0
            };
            if serving.any(drain) {
                return true;
            }
            // SAFETY: as above.
            unsafe { cache.press() };
            self.give_pieces_of_one(runner, cache, order)
        })
    }

    fn give_pieces_of_one(&self, runner: Owner, cache: &CpuCache, order: Order) -> bool {
        let classes = || Class::all().filter(|class| class.order() < order);
        let mut looks = LOOKS_MAX;
        let target = classes().find_map(|class| {
            // SAFETY: this is the cache's CPU, in the section that alone uses it.
            let newest = unsafe { cache.stack(class).newest(looks) };
            self.owners.find_nearly_free(newest, order, &mut looks)
        });
        if looks == 0 {
            // What was not looked at leaves with the next looks after the cache.
            cache.ask(ASK_MORE);
        }
        let Some(target) = target else {
            return false;
        };
        let mut places = [Pfn(0); GIVEN_MAX];
        let (mut given, mut newest) = (0, LOOKS_MAX);
        for class in classes() {
            let held = cache.stack(class).len();
            let is_of_target = |piece: Pfn| piece.0 >> order.get() == target;
            let room = &mut places[given..];
            // SAFETY: as above.
            let taken =
                unsafe { cache.take_out(class, newest, room, is_of_target, &self.accounts) };
            let mut rest = &room[..taken];
            while !rest.is_empty() {
                let back = self.visit(runner, |zone| zone.give_back_some(rest, class.order()));
                rest = &rest[..rest.len() - back];
            }
            given += taken;
            newest = newest.saturating_sub(held);
        }
        given > 0
    }
}
