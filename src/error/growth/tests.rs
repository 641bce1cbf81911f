//! Growth that is refused, and growth that is not.

use super::*;
use std::rc::Rc;

#[test]
fn growth_that_is_refused_is_an_error_and_changes_nothing() {
    // More than an address space holds: refused by any allocator.
    const TOO_MANY: usize = isize::MAX as usize / 8;
    let mut values = Vec::from([1_u64, 2]);
    for refused in [
        values.try_resize(TOO_MANY, 0),
        values.try_resize_with(TOO_MANY, || 0),
        try_boxed_slice(TOO_MANY, |_| 0_u64).map(drop),
    ] {
        assert!(matches!(
            refused.map_err(|error| error.kind()),
            Err(Kind::OutOfMemory { .. })
        ));
    }
    assert_eq!(values, [1, 2]);
}

#[test]
fn values_go_where_they_are_put() {
    let mut values = Vec::new();
    values.try_push(2).expect("memory");
    values.try_append(&[3, 4]).expect("memory");
    values.try_reserve(3).expect("memory");
    values.insert_reserved(0, 1);
    values.extend_reserved([5, 6]);
    assert_eq!(values, [1, 2, 3, 4, 5, 6]);
    values.try_resize(8, 9).expect("memory");
    assert_eq!(values, [1, 2, 3, 4, 5, 6, 9, 9]);
    values.resize_reserved(1, 0);
    assert_eq!(values, [1]);
    let mut next = 1;
    let mut count = || {
        next += 1;
        next
    };
    values.try_resize_with(3, &mut count).expect("memory");
    assert_eq!(values, [1, 2, 3]);
    values.try_resize_with(1, &mut count).expect("memory");
    assert_eq!(values, [1]);
    assert_eq!(try_collect(0..3).expect("memory"), [0, 1, 2]);
    let odd = try_collect((0..6).filter(|number| number % 2 == 1)).expect("memory");
    assert_eq!(odd, [1, 3, 5]);
    assert_eq!(
        &*try_boxed_slice(3, |index| 2 * index).expect("memory"),
        [0, 2, 4]
    );
    assert_eq!(try_to_string("text").expect("memory"), "text");
}

#[test]
fn a_queue_grows_at_both_ends() {
    let mut queue = VecDeque::new();
    queue.try_push_front(2).expect("memory");
    queue.try_push_front(1).expect("memory");
    queue.try_reserve(1).expect("memory");
    queue.push_back_reserved(3);
    assert_eq!(queue, [1, 2, 3]);
}

#[test]
fn what_is_reserved_is_used_without_moving() {
    let mut values = Vec::new();
    values.try_reserve_exact(3).expect("memory");
    let (address, capacity) = (values.as_ptr(), values.capacity());
    values.push_reserved(1);
    values.append_reserved(&[2]);
    values.resize_reserved(3, 7);
    assert_eq!(values, [1, 2, 7]);
    assert_eq!((values.as_ptr(), values.capacity()), (address, capacity));
}

#[test]
#[should_panic = "there is no room left of what was reserved"]
fn to_push_beyond_what_is_reserved_is_a_bug() {
    Vec::new().push_reserved(1);
}

#[test]
#[should_panic = "there is no room left of what was reserved"]
fn to_append_beyond_what_is_reserved_is_a_bug() {
    Vec::new().append_reserved(&[1]);
}

#[test]
#[should_panic = "there is no room left of what was reserved"]
fn to_resize_beyond_what_is_reserved_is_a_bug() {
    Vec::new().resize_reserved(1, 1);
}

#[test]
fn a_box_owns_its_value_and_drops_it_once() {
    let value = Rc::new(1);
    let boxed = try_box(value.clone()).expect("memory");
    assert_eq!((**boxed, Rc::strong_count(&value)), (1, 2));
    drop(boxed);
    assert_eq!(Rc::strong_count(&value), 1);
}

#[test]
fn a_box_of_nothing_takes_no_memory_and_still_drops() {
    static DROPS: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0);
    struct Nothing;
    impl Drop for Nothing {
        fn drop(&mut self) {
            DROPS.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        }
    }
    let boxed = try_box(Nothing).expect("memory");
    assert_eq!(DROPS.load(core::sync::atomic::Ordering::Relaxed), 0);
    drop(boxed);
    assert_eq!(DROPS.load(core::sync::atomic::Ordering::Relaxed), 1);
}
