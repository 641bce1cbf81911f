//! An owner that dies inside the heap: while its slab is fetched or given back, and in another's arena.

use super::*;
use crate::error::Result;
use crate::memory::Verdict;
use crate::memory::frames::{Order, Pfn};
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

    fn was_ever_charged(&self, owner: Owner) -> bool {
        self.frames.was_ever_charged(owner)
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
fn an_owner_that_dies_anywhere_in_its_own_arena_leaves_no_frame_behind() {
    let (heap, deadly) = deadly_heap();
    let free = deadly.frames.free_frames();
    let mut deaths = 0;
    for step in 1..160 {
        let died = dies(deadly, owner(4), step, || {
            let objects: Vec<_> = (0..100).map(|_| take(heap)).collect();
            objects.iter().for_each(|&object| give_back(heap, object));
            heap.give_back();
        });
        deaths += u32::from(died);
        assert_eq!(bury(heap, deadly, owner(4)), Verdict::Intact);
        assert_eq!(deadly.frames.free_frames(), free, "died at step {step}");
        assert_eq!((heap.used_bytes(), heap.committed_bytes()), (0, 0));
    }
    assert!((80..159).contains(&deaths), "{deaths} deaths");
}

#[test]
#[cfg(debug_assertions)]
fn an_owner_that_dies_while_it_frees_anothers_object_leaves_its_arena_open_to_all() {
    let (heap, deadly) = deadly_heap();
    let [before, overrun, after] = [(); 3].map(|()| take(heap));
    let died = dies(deadly, owner(4), 0, || {
        give_back(heap, before);
        // SAFETY: none: the bug that its killer finds, in the middle of the free.
        unsafe { overrun.add(LAYOUT.size()).write(1) };
        give_back(heap, overrun);
    });
    assert!(died);
    assert_eq!(bury(heap, deadly, owner(4)), Verdict::Rebuilt);
    HostCpu::run_for(owner(5));
    give_back(heap, after);
    HostCpu::run_for(Owner::KERNEL);
    // The other two went home; that one is live still.
    assert_eq!(heap.used_bytes(), heap.used_bytes_of(Owner::KERNEL));
    heap.give_back();
    assert_eq!(heap.used_bytes(), bytes_of_layout(LAYOUT));
}

#[test]
fn a_free_into_an_inbox_that_is_cut_at_any_of_its_writes_is_done_or_undone() {
    for writes in 0..=3 {
        let (heap, _) = deadly_heap();
        let objects = [(); 3].map(|()| take(heap));
        HostCpu::run_for(owner(4));
        objects[..2]
            .iter()
            .for_each(|&object| give_back(heap, object));
        let inbox = &heap.arena(Owner::KERNEL).inbox;
        let Some(Room::Slab(index)) = heap.room(LAYOUT) else {
            panic!("a small layout");
        };
        let class = heap.arena(Owner::KERNEL).class(index);
        // In the order in which they are made: the count, the object's link, what leads to it.
        let (first, pending) = (inbox.first(), class.pending.load(Relaxed));
        give_back(heap, objects[2]);
        if writes < 3 {
            inbox.set_first(first);
        }
        if writes < 1 {
            class.pending.store(pending, Relaxed);
        }
        HostCpu::run_for(Owner::KERNEL);
        heap.give_back();
        // Who was not put in is nobody's: its slab stays.
        let is_lost = writes < 3;
        assert_eq!(heap.committed_bytes() > 0, is_lost, "{writes} writes");
        let is_live = writes == 0;
        assert_eq!(heap.used_bytes() > 0, is_live, "{writes} writes");
    }
}

#[test]
fn a_death_inside_the_boot_arena_cannot_be_mended() {
    let (heap, deadly) = deadly_heap();
    let dead = owner(4);
    assert!(dies(deadly, dead, 0, || heap.boot.die_inside(dead)));
    assert_eq!(bury(heap, deadly, dead), Verdict::Lost);
}
