//! What debug builds see of misuse.

use super::*;

const LAYOUT: Layout = match Layout::from_size_align(100, 8) {
    Ok(layout) => layout,
    Err(_) => panic!("a layout"),
};

/// A heap and an object of it, as `runner`'s.
fn object_of(runner: Owner) -> (&'static Heap, *mut u8) {
    let (heap, _) = heap(4);
    HostCpu::run_for(runner);
    // SAFETY: the layout is not empty.
    (heap, unsafe { heap.alloc(LAYOUT) })
}

fn free(heap: &Heap, object: *mut u8) {
    // SAFETY: none: what it is given is what the heap has to see, and the heap is not used after it.
    unsafe { heap.dealloc(object, LAYOUT) };
}

#[test]
#[should_panic(expected = "is freed twice")]
fn a_second_free_stops_the_image() {
    let (heap, object) = object_of(owner(1));
    free(heap, object);
    free(heap, object);
}

#[test]
#[should_panic(expected = "is freed twice")]
fn a_second_free_by_another_stops_the_image() {
    let (heap, object) = object_of(owner(1));
    free(heap, object);
    HostCpu::run_for(owner(2));
    free(heap, object);
}

#[test]
#[should_panic(expected = "is freed twice")]
fn a_second_free_of_an_object_of_the_kernel_stops_the_image() {
    let (heap, object) = object_of(Owner::KERNEL);
    // It keeps the slab where it is.
    // SAFETY: the layout is not empty.
    let _second = unsafe { heap.alloc(LAYOUT) };
    free(heap, object);
    free(heap, object);
}

#[test]
#[should_panic(expected = "of 112 bytes")]
fn a_write_beyond_the_end_of_an_object_is_seen_when_it_is_freed() {
    let (heap, object) = object_of(owner(1));
    // SAFETY: none, as in `free`; the byte is the heap's.
    unsafe { object.add(LAYOUT.size()).write(0) };
    free(heap, object);
}

#[test]
#[should_panic(expected = "was written to after it was freed")]
fn a_write_to_a_free_object_is_seen_when_it_is_handed_out() {
    let (heap, object) = object_of(owner(1));
    free(heap, object);
    // SAFETY: none, as in `free`; the byte is the heap's.
    unsafe { object.add(50).write(0) };
    // SAFETY: the layout is not empty.
    unsafe { heap.alloc(LAYOUT) };
}
