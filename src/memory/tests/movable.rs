//! Movable pages: who may free them, and what a move changes.
#![allow(unsafe_code, reason = "reads and writes pages that it holds")]

use super::super::accounts::Owner;
use super::super::frames::{FrameSource, Mobility, Order, PAGE_SIZE, Pfn};
use super::super::manager::Mover;
use super::super::page_cache::PageCachePolicy;
use super::super::test_support::{manager, owner};
use super::MIB;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::boxed::Box;

/// Holds one page, of tag 7, and moves it, unless it holds none.
struct Holder(AtomicU64);

impl Mover for Holder {
    fn relocate(&self, from: Pfn, to: Pfn, tag: u32) -> bool {
        assert_eq!(tag, 7);
        if self.0.load(Relaxed) != from.0 {
            return false;
        }
        let (source, target) = (from.address() as *const u8, to.address() as *mut u8);
        // SAFETY: the one page is the holder's, and the other has just been handed to it.
        unsafe { source.copy_to_nonoverlapping(target, PAGE_SIZE) };
        self.0.store(to.0, Relaxed);
        true
    }
}

#[test]
fn a_page_is_moved_by_its_owner_with_what_lies_in_it_and_its_charge() {
    let frames = manager(8 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    let (of, page_bytes) = (owner(3), PAGE_SIZE as u64);
    let page = frames.allocate_movable(of, 7).expect("memory");
    assert_eq!(frames.movable(page), Some((of, 7)));
    assert!(frames.free(page, Order::ZERO).is_err(), "it is no block");
    // SAFETY: it was just given out.
    unsafe { (page.address() as *mut u8).write_bytes(0x5a, PAGE_SIZE) };
    let free = frames.free_frames();
    let target = || frames.take_for_test(Mobility::Movable);

    assert!(!frames.relocate(page, target()), "nobody moves it yet");
    let holder: &'static Holder = Box::leak(Box::new(Holder(AtomicU64::new(0))));
    frames.set_mover(of, holder);
    assert!(!frames.relocate(page, target()), "its owner does not");
    assert_eq!(
        (frames.free_frames(), frames.movable(page)),
        (free, Some((of, 7)))
    );

    holder.0.store(page.0, Relaxed);
    let to = target();
    assert!(frames.relocate(page, to));
    assert_eq!(frames.movable(page), None);
    assert_eq!(frames.movable(to), Some((of, 7)));
    assert_eq!(frames.free_frames(), free);
    assert_eq!(frames.usage(of).used_bytes, page_bytes);
    // SAFETY: it is the holder's now.
    let bytes = unsafe { core::slice::from_raw_parts(to.address() as *const u8, PAGE_SIZE) };
    assert!(bytes.iter().all(|&byte| byte == 0x5a));

    assert!(
        frames.free_movable(page).is_err(),
        "it is not there any more"
    );
    frames.free_movable(to).expect("a page in hand");
    assert!(!frames.relocate(to, target()), "it is in nobody's hands");
    assert_eq!(frames.usage(of).used_bytes, 0);
    assert_eq!(frames.free_frames(), frames.total_frames());
    let block = frames.allocate(Order::ZERO).expect("memory");
    assert!(
        frames.free_movable(block).is_err(),
        "a block is no movable page"
    );
    assert_eq!(frames.usage(Owner::KERNEL).used_bytes, page_bytes);
}

#[test]
fn what_a_dead_owner_had_in_movable_pages_is_freed() {
    let frames = manager(8 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    for tag in 0..100 {
        frames.allocate_movable(owner(3), tag).expect("memory");
    }
    assert_eq!(frames.abandon(owner(3)), 100);
    assert_eq!(frames.free_frames(), frames.total_frames());
}
