//! An allocator that refuses what its point says, to whom it says.

use super::{POINTS, leak, turned};
use crate::injection::{FaultyHeap, Group, HeapFaults, Knob};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

std::thread_local! {
    static RUNS: Cell<usize> = const { Cell::new(0) };
}

const LAYOUT: Layout = Layout::new::<[u64; 8]>();

/// Whether an object is given out; it is given back at once.
#[expect(unsafe_code, reason = "an allocator is asked as the language does")]
fn is_given_out(heap: &FaultyHeap<System>) -> bool {
    // SAFETY: the layout is not empty.
    let object = unsafe { heap.alloc(LAYOUT) };
    if !object.is_null() {
        // SAFETY: it came from there with this layout.
        unsafe { heap.dealloc(object, LAYOUT) };
    }
    !object.is_null()
}

fn heap() -> (FaultyHeap<System>, &'static Group) {
    let heap = FaultyHeap::new(System);
    assert!(is_given_out(&heap), "its points come later");
    let group = leak(Group::new(&POINTS[1..]).expect("memory"));
    let target = || RUNS.with(Cell::get);
    heap.attach(HeapFaults { group, target });
    (heap, group)
}

#[test]
fn who_is_meant_is_refused_and_nobody_else() {
    let (heap, group) = heap();
    assert!(is_given_out(&heap), "it is inert");
    group.arm(
        0,
        &turned(&[(Knob::Target, 1), (Knob::Times, 2), (Knob::Space, 64)]),
    );
    let runs = [0, 1, 7, 1, 0, 1, 1].map(|target| {
        RUNS.with(|runs| runs.set(target));
        is_given_out(&heap)
    });
    assert_eq!(runs, [true, true, true, false, true, false, true]);
}

#[test]
#[expect(unsafe_code, reason = "an allocator is asked as the language does")]
fn an_object_whose_growth_is_refused_stays_as_it_is_and_may_shrink() {
    let (heap, group) = heap();
    // SAFETY: the layout is not empty.
    let object = unsafe { heap.alloc(LAYOUT) };
    // SAFETY: it has 64 bytes.
    unsafe { object.write_bytes(7, LAYOUT.size()) };
    RUNS.with(|runs| runs.set(0));
    group.arm(0, &turned(&[]));
    // SAFETY: a live object of this layout.
    let smaller = unsafe { heap.realloc(object, LAYOUT, 32) };
    assert!(!smaller.is_null());
    let layout = Layout::from_size_align(32, LAYOUT.align()).expect("a layout");
    // SAFETY: as above.
    assert!(unsafe { heap.realloc(smaller, layout, 4096) }.is_null());
    // SAFETY: it was not moved, and has 32 bytes.
    assert_eq!(unsafe { smaller.add(31).read() }, 7);
    // SAFETY: as above.
    unsafe { heap.dealloc(smaller, layout) };
}
