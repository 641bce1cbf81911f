//! A class after its holder died in the middle of an operation: lists and counts are made anew from the slabs
//! themselves, which the frame source names.
//!
//! Only another's arena is verified: that of the dead owner is abandoned. So the operation cut short was a
//! free. If the object was in its slab's list of free objects the free is done, else it is undone: the object is
//! nobody's until the arena goes.

use super::{Class, Header, first_frame};
use crate::memory::frames::Pfn;
use crate::memory::lock::Verdict;
use crate::memory::manager::ChargedFrames;
use core::ptr::{self, NonNull};

/// What was found in all slabs of a class.
#[derive(Default)]
struct Survey {
    slabs: u64,
    live: u64,
    /// Slabs that belong in the list.
    with_room: u64,
    /// A header says other than was counted.
    has_wrong_header: bool,
    /// A list of free objects leads astray.
    is_damaged: bool,
}

impl Class {
    /// Puts lists and counts right.
    pub(in crate::memory::heap) fn verify(&mut self, frames: &dyn ChargedFrames) -> Verdict {
        let survey = self.survey(frames);
        if survey.is_damaged {
            return Verdict::Lost;
        }
        let counts_agree = (survey.slabs, survey.live) == (self.slabs, self.live);
        if counts_agree && !survey.has_wrong_header && self.list_is_whole(survey.with_room, frames)
        {
            return Verdict::Intact;
        }
        self.rebuild(frames);
        Verdict::Rebuilt
    }

    /// Counts objects and slabs, changing nothing.
    fn survey(&self, frames: &dyn ChargedFrames) -> Survey {
        let mut survey = Survey::default();
        frames.for_each_slab_of(self.owner(), self.order(), &mut |first| {
            let Some(slab) = self.slab_at(first) else {
                return;
            };
            let Some(live) = self.count_live(slab) else {
                survey.is_damaged = true;
                return;
            };
            // SAFETY: `slab_at` found a slab of this class; `&self` keeps others from its header.
            let header = unsafe { slab.as_ref() };
            let belongs_in_list = live > 0 && self.has_room(header);
            survey.slabs += 1;
            survey.live += u64::from(live);
            survey.with_room += u64::from(belongs_in_list);
            survey.has_wrong_header |= header.live != live
                || (header.is_listed != 0) != belongs_in_list
                || live == 0 && self.spare != Some(slab);
        });
        survey
    }

    /// Makes lists and counts from the slabs; those without live objects go back, but for one.
    fn rebuild(&mut self, frames: &dyn ChargedFrames) {
        self.with_room = None;
        self.spare = None;
        self.slabs = 0;
        self.live = 0;
        frames.for_each_slab_of(self.owner(), self.order(), &mut |first| {
            let Some(mut slab) = self.slab_at(first) else {
                return;
            };
            let live = self.count_live(slab).expect("the survey found no damage");
            // SAFETY: `slab_at` found a slab of this class; `&mut self` is the only way to its header.
            let header = unsafe { slab.as_mut() };
            header.live = live;
            header.is_listed = 0;
            self.slabs += 1;
            self.live += u64::from(live);
            match (live, self.has_room(header)) {
                (0, _) if self.spare.is_none() => self.spare = Some(slab),
                (0, _) => self.give_back(slab, frames),
                (_, true) => self.link(slab),
                (_, false) => {}
            }
        });
    }

    /// True if a walk along the list meets `expected` slabs of this class, each of which knows the one before.
    fn list_is_whole(&self, expected: u64, frames: &dyn ChargedFrames) -> bool {
        let (mut met, mut previous, mut cursor) = (0, None, self.with_room);
        while let Some(slab) = cursor {
            let is_slab = slab.addr().get().is_multiple_of(self.slab_bytes)
                && frames.is_slab_of(self.owner(), first_frame(slab), self.order());
            if !is_slab || self.slab_at(first_frame(slab)).is_none() || met == expected {
                return false;
            }
            // SAFETY: the frame source says that it is a slab, its stamp that it is one of this class.
            let header = unsafe { slab.as_ref() };
            if header.previous != previous {
                return false;
            }
            met += 1;
            previous = Some(slab);
            cursor = header.next;
        }
        met == expected
    }

    /// The slab at `first`, which the frame source names as one of our owner and order, if it is of this class.
    fn slab_at(&self, first: Pfn) -> Option<NonNull<Header>> {
        let slab = NonNull::new(ptr::with_exposed_provenance_mut::<Header>(first.address()))?;
        // SAFETY: a slab of the heap begins with a header, or with another class's.
        (unsafe { slab.as_ref() }.stamp == self.stamp).then_some(slab)
    }

    /// Objects of a slab that are neither fresh nor in its list of free ones; none if that list leads astray.
    fn count_live(&self, slab: NonNull<Header>) -> Option<u16> {
        // SAFETY: the caller had it from `slab_at`.
        let header = unsafe { slab.as_ref() };
        let first = self.first_object();
        let used_bytes = (header.fresh as usize).checked_sub(first)?;
        if header.fresh as usize > self.slab_bytes || !used_bytes.is_multiple_of(self.bytes) {
            return None;
        }
        let mut live = used_bytes / self.bytes;
        let mut cursor = header.free;
        while let Some(object) = cursor {
            let offset = object.addr().get().checked_sub(slab.addr().get() + first)?;
            if offset >= used_bytes || !offset.is_multiple_of(self.bytes) {
                return None;
            }
            live = live.checked_sub(1)?;
            // SAFETY: it is an object of the slab, so readable; whatever it holds is looked at before it is followed.
            cursor = unsafe { object.as_ref() }.next;
        }
        Some(live as u16)
    }

    fn has_room(&self, header: &Header) -> bool {
        header.free.is_some() || header.fresh as usize + self.bytes <= self.slab_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::accounts::Owner;
    use crate::memory::heap::slab::slab_around;
    use crate::memory::page_cache::PageCachePolicy;
    use crate::memory::test_support::{HostCpu, Random, manager, owner};
    use core::mem::size_of;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    const CLASS: usize = 9;

    /// The words of a class and of its slabs, by address.
    type Words = BTreeMap<usize, u64>;

    fn ranges(class: &Class, frames: &dyn ChargedFrames) -> Vec<(usize, usize)> {
        let mut ranges = std::vec![(ptr::from_ref(class).expose_provenance(), size_of::<Class>())];
        frames.for_each_slab_of(class.owner(), class.order(), &mut |first| {
            ranges.push((first.address(), class.slab_bytes));
        });
        ranges
    }

    fn snapshot(ranges: &[(usize, usize)]) -> Words {
        let addresses = ranges
            .iter()
            .flat_map(|&(start, len)| (start..start + len).step_by(8));
        addresses
            .map(|address| {
                // SAFETY: the class and its slabs are live, and aligned to words.
                (address, unsafe {
                    ptr::with_exposed_provenance::<u64>(address).read_volatile()
                })
            })
            .collect()
    }

    fn write(address: usize, word: u64) {
        // SAFETY: as in `snapshot`; nothing else uses the class now.
        unsafe { ptr::with_exposed_provenance_mut::<u64>(address).write_volatile(word) };
    }

    /// A class with full, partial and empty slabs, and its live objects.
    fn filled(
        frames: &'static crate::memory::MemoryManager<HostCpu>,
        live: usize,
    ) -> (Class, Vec<*mut u8>) {
        let mut class = Class::new(CLASS, Owner::KERNEL);
        let mut objects: Vec<_> = core::iter::from_fn(|| class.allocate(frames))
            .take(live)
            .map(NonNull::as_ptr)
            .collect();
        let mut random = Random::new(51);
        for _ in 0..live / 3 {
            let object = objects.swap_remove(random.below(objects.len()));
            free(&mut class, object, Owner::KERNEL, frames);
        }
        (class, objects)
    }

    fn free(class: &mut Class, object: *mut u8, runner: Owner, frames: &dyn ChargedFrames) {
        // SAFETY: the object is live, of this class.
        let is_freed = unsafe { class.free(slab_around(object, CLASS), object, runner, frames) };
        assert!(is_freed);
    }

    #[test]
    #[cfg_attr(miri, ignore = "restores pointers as words, which Miri refuses")]
    fn a_free_cut_at_any_of_its_writes_is_done_or_undone() {
        let frames = manager(4 << 20, &[], 1, PageCachePolicy::DEFAULT);
        let (mut class, objects) = filled(frames, 120);
        let (mut cuts, mut done, mut undone) = (0, 0, 0);
        for (at, &object) in objects.iter().enumerate() {
            let live = class.live;
            let ranges = ranges(&class, frames);
            let before = snapshot(&ranges);
            free(&mut class, object, owner(3), frames);
            let Some(after) =
                (frames_of(&class, frames) == ranges.len() - 1).then(|| snapshot(&ranges))
            else {
                // A slab went back: that is cut in the heap's tests.
                continue;
            };
            let link = object.addr();
            let changed: Vec<_> = before
                .iter()
                .filter(|&(address, word)| *address != link && after[address] != *word)
                .map(|(address, _)| *address)
                .collect();
            assert!(changed.len() <= 12, "{} words", changed.len());
            for subset in 0..1_u32 << changed.len() {
                before
                    .iter()
                    .for_each(|(&address, &word)| write(address, word));
                // The link is written before anything else is.
                write(link, after[&link]);
                for (i, address) in changed.iter().enumerate() {
                    if subset & 1 << i != 0 {
                        write(*address, after[address]);
                    }
                }
                assert_ne!(
                    class.verify(frames),
                    Verdict::Lost,
                    "object {at}, {subset:#b}"
                );
                assert_eq!(
                    class.verify(frames),
                    Verdict::Intact,
                    "object {at}, {subset:#b}"
                );
                match live - class.live {
                    0 => undone += 1,
                    1 => done += 1,
                    other => panic!("{other} objects were freed"),
                }
                cuts += 1;
                if frames_of(&class, frames) != ranges.len() - 1 {
                    panic!("a verification gave a slab back that it must keep");
                }
            }
            before
                .iter()
                .for_each(|(&address, _)| write(address, after[&address]));
        }
        assert!(
            cuts > 500 && done > 0 && undone > 0,
            "{cuts} {done} {undone}"
        );
    }

    fn frames_of(class: &Class, frames: &dyn ChargedFrames) -> usize {
        let mut slabs = 0;
        frames.for_each_slab_of(class.owner(), class.order(), &mut |_| slabs += 1);
        slabs
    }

    #[test]
    fn a_free_list_that_leads_out_of_its_slab_is_lost() {
        let frames = manager(4 << 20, &[], 1, PageCachePolicy::DEFAULT);
        let (mut class, objects) = filled(frames, 20);
        free(&mut class, objects[0], Owner::KERNEL, frames);
        write(objects[0].addr(), 0xdead_beef_dead_bee0);
        assert_eq!(class.verify(frames), Verdict::Lost);
    }
}
