//! The arena made again from the first words of slots, and checked against them.

use super::super::budget::Budget;
use super::super::size_classes::CLASSES;
use super::{Arena, Class, NO_SLOT, OWN_BLOCK, Slab, set_next_free};

impl Arena {
    /// Makes counts, lists and free slots again from the first words of slots; gives empty slabs back.
    pub(in super::super) fn rebuild(&mut self, budget: &mut Budget) {
        self.classes = [Class::default(); CLASSES];
        (self.vacant, self.held, self.live_bytes) = (0, 0, 0);
        for index in (1..self.slabs.len()).rev() {
            self.rebuild_slab(index, budget);
        }
        self.release_directory(budget);
    }

    fn rebuild_slab(&mut self, index: usize, budget: &mut Budget) {
        let slab = &mut self.slabs[index];
        (slab.previous, slab.next, slab.used, slab.free) = (0, 0, 0, NO_SLOT);
        if slab.block.is_some() {
            for slot in (0..slab.fresh).rev() {
                if slab.is_live(slot) {
                    slab.used += 1;
                } else {
                    let next = core::mem::replace(&mut slab.free, slot);
                    set_next_free(slab.slot_mut(usize::from(slot)), next);
                }
            }
        }
        if slab.used == 0 {
            budget.give(&mut slab.block);
            slab.next = core::mem::replace(&mut self.vacant, index as u32);
            return;
        }
        self.held += 1;
        self.live_bytes += u64::from(slab.used) * u64::from(slab.slot_bytes);
        if slab.class != OWN_BLOCK {
            let (class, free) = (usize::from(slab.class), slab.slots - slab.used);
            self.classes[class].free_slots += u32::from(free);
            if free > 0 {
                self.link(index);
            }
        }
    }

    /// What does not agree with the first words of slots, if anything.
    pub(in super::super) fn inconsistency(&self) -> Option<&'static str> {
        let (mut live_bytes, mut held, mut vacant, mut listed) = (0, 0, 0, 0);
        let mut free_slots = [0; CLASSES];
        for slab in self.slabs.iter().skip(1) {
            if !slab.block.is_some() {
                vacant += 1;
                continue;
            }
            held += 1;
            let live = (0..slab.fresh).filter(|&slot| slab.is_live(slot)).count();
            live_bytes += live as u64 * u64::from(slab.slot_bytes);
            if live != usize::from(slab.used) || live == 0 {
                return Some("a slab's live slots are miscounted");
            }
            if slab.class == OWN_BLOCK {
                continue;
            }
            free_slots[usize::from(slab.class)] += u32::from(slab.slots - slab.used);
            listed += usize::from(!slab.is_full());
            let next_of = |&slot: &u16| slab.next_free(slot).filter(|&slot| slot != NO_SLOT);
            let first = Some(slab.free).filter(|&slot| slot != NO_SLOT);
            let list = core::iter::successors(first, next_of).take(usize::from(slab.slots) + 1);
            if list.clone().any(|slot| slab.is_live(slot))
                || list.count() + live != usize::from(slab.fresh)
            {
                return Some("a slab's free list is not its free slots");
            }
        }
        if (live_bytes, held) != (self.live_bytes, self.held) {
            return Some("live bytes or slabs are miscounted");
        }
        if (0..CLASSES).any(|class| free_slots[class] != self.classes[class].free_slots) {
            return Some("a class's free slots are miscounted");
        }
        let firsts = self.classes.iter().map(|class| class.partial);
        let partial = firsts.map(|first| self.list_len(first, |slab| !slab.is_full()));
        if partial.sum::<Option<usize>>() != Some(listed) {
            return Some("a list is not of the slabs with free slots");
        }
        let is_vacant = |slab: &Slab| !slab.block.is_some();
        (self.list_len(self.vacant, is_vacant) != Some(vacant))
            .then_some("the vacant list is not the vacant slabs")
    }

    /// Slabs on a list, if all are `wanted` and it ends.
    fn list_len(&self, first: u32, wanted: impl Fn(&Slab) -> bool) -> Option<usize> {
        let (mut len, mut index) = (0, first as usize);
        while index != 0 {
            let slab = self.slabs.get(index).filter(|slab| wanted(slab))?;
            len += 1;
            if len > self.slabs.len() {
                return None;
            }
            index = slab.next as usize;
        }
        Some(len)
    }
}
