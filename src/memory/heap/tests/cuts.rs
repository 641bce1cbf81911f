//! An owner that dies inside the heap: while its slab is fetched or given back, and in another's arena.

use super::*;
use crate::error::Result;
use crate::memory::Verdict;
use crate::memory::test_support::owner;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

/// Frames whose user dies at a call: at twice its number before the call is carried out, at one more after it.
struct Deadly {
    frames: &'static MemoryManager<HostCpu>,
    /// Counts down to the death.
    steps: AtomicU32,
}

impl Deadly {
    fn step(&self) {
        let left = self.steps.load(Relaxed);
        if left > 0 {
            self.steps.store(left - 1, Relaxed);
            assert_ne!(left, 1, "dies here");
        }
    }

    fn around<R>(&self, call: impl FnOnce() -> R) -> R {
        self.step();
        let result = call();
        self.step();
        result
    }
}

// SAFETY: the manager's word, passed on.
unsafe impl FrameSource for Deadly {
    fn allocate(&self, order: Order) -> Result<Pfn> {
        self.around(|| self.frames.allocate(order))
    }

    fn free(&self, first: Pfn, order: Order) -> Result<()> {
        self.around(|| self.frames.free(first, order))
    }

    fn free_frames(&self) -> u64 {
        self.frames.free_frames()
    }

    fn total_frames(&self) -> u64 {
        FrameSource::total_frames(self.frames)
    }
}

impl ChargedFrames for Deadly {
    fn allocate_slab(&self, order: Order) -> Result<Pfn> {
        self.around(|| self.frames.allocate_slab(order))
    }

    fn free_slab(&self, first: Pfn, order: Order) -> Result<()> {
        self.around(|| self.frames.free_slab(first, order))
    }

    fn free_block(&self, first: Pfn, order: Order) -> Result<Owner> {
        self.around(|| self.frames.free_block(first, order))
    }

    fn take_over_slab(&self, first: Pfn, order: Order) -> Result<()> {
        self.around(|| self.frames.take_over_slab(first, order))
    }

    fn was_ever_charged(&self, owner: Owner) -> bool {
        self.frames.was_ever_charged(owner)
    }

    fn is_slab_of(&self, owner: Owner, first: Pfn, order: Order) -> bool {
        self.frames.is_slab_of(owner, first, order)
    }

    fn for_each_slab_of(&self, owner: Owner, order: Order, show: &mut dyn FnMut(Pfn)) {
        self.frames.for_each_slab_of(owner, order, show);
    }
}

fn deadly_heap() -> (&'static Heap, &'static Deadly) {
    let deadly: &'static Deadly = Box::leak(Box::new(Deadly {
        frames: manager(8 * MIB, &[], 1, PageCachePolicy::DEFAULT),
        steps: AtomicU32::new(0),
    }));
    let heap = boot_heap();
    heap.install_frames(deadly);
    (heap, deadly)
}

/// Runs `section` as `dead`, which dies at the given step; false if it came to its end.
fn dies(deadly: &Deadly, dead: Owner, step: u32, section: impl FnOnce()) -> bool {
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    HostCpu::run_for(dead);
    deadly.steps.store(step, Relaxed);
    let died = catch_unwind(AssertUnwindSafe(section)).is_err();
    deadly.steps.store(0, Relaxed);
    HostCpu::run_for(Owner::KERNEL);
    set_hook(hook);
    died
}

fn bury(heap: &Heap, deadly: &Deadly, dead: Owner) -> Verdict {
    // SAFETY: the owner's code has unwound, and nothing uses what it had.
    unsafe { crate::memory::reclaim(heap, deadly.frames, dead) }.verdict
}

const LAYOUT: Layout = match Layout::from_size_align(1_000, 8) {
    Ok(layout) => layout,
    Err(_) => panic!("a layout"),
};

fn take(heap: &Heap) -> *mut u8 {
    // SAFETY: the layout is not empty.
    unsafe { heap.alloc(LAYOUT) }
}

fn give_back(heap: &Heap, object: *mut u8) {
    // SAFETY: the object is live, with this layout.
    unsafe { heap.dealloc(object, LAYOUT) };
}

#[test]
fn an_owner_that_dies_while_it_fetches_a_slab_leaves_no_frame_behind() {
    let (heap, deadly) = deadly_heap();
    let free = deadly.frames.free_frames();
    for step in 1..=2 {
        let died = dies(deadly, owner(4), step, || {
            take(heap);
        });
        assert!(died);
        assert_eq!(bury(heap, deadly, owner(4)), Verdict::Intact);
        assert_eq!(deadly.frames.free_frames(), free);
    }
}

#[test]
fn an_owner_that_dies_while_it_frees_into_anothers_arena_leaves_that_whole() {
    let (heap, deadly) = deadly_heap();
    let dead = owner(4);
    // Two slabs: freeing all of it gives one back, by taking it over and freeing it.
    let full = || (0..30).map(|_| take(heap)).collect::<Vec<_>>();
    let mut deaths = 0;
    let mut free_after = None;
    for step in 1..=5 {
        let objects = full();
        let died = dies(deadly, dead, step, || {
            objects.iter().for_each(|&object| give_back(heap, object));
        });
        let lock_was_held = heap.arenas[0]
            .classes
            .iter()
            .any(|class| class.is_held_by(dead));
        assert_eq!(died, lock_was_held);
        deaths += u32::from(died);
        assert_ne!(bury(heap, deadly, dead), Verdict::Lost);
        // What the dead one had not come to is freed by others, as ever.
        let left = heap.used_bytes() / 1_024;
        objects[30 - left as usize..]
            .iter()
            .for_each(|&object| give_back(heap, object));
        assert_eq!(heap.used_bytes(), 0, "died at step {step}");
        assert_eq!(deadly.frames.usage(dead).used_bytes, 0);
        let free = deadly.frames.free_frames();
        assert_eq!(*free_after.get_or_insert(free), free, "died at step {step}");
    }
    assert!(deaths >= 4, "{deaths} deaths");
}

#[test]
fn a_death_inside_the_boot_arena_cannot_be_mended() {
    let (heap, deadly) = deadly_heap();
    let dead = owner(4);
    assert!(dies(deadly, dead, 0, || heap.boot.die_inside(dead)));
    assert_eq!(bury(heap, deadly, dead), Verdict::Lost);
}
