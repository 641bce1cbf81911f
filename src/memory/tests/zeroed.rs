//! Zeroes on request: what is asked for as zero is, and what is known to be is not written again.
#![allow(unsafe_code, reason = "reads and writes blocks that it holds")]

use super::super::frames::{BlockWord, FrameSource, Order, PAGE_SIZE, Pfn};
use super::super::heap::KernelHeap;
use super::super::manager::MemoryManager;
use super::super::page_cache::PageCachePolicy;
use super::super::test_support::{HostCpu, Random, manager, memory, order, owner, steps};
use super::{EAGER, MIB};
use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::vec::Vec;

type Frames = &'static MemoryManager<HostCpu>;

/// The bytes of a block that the test holds, or of which it knows that nobody does.
fn bytes(first: Pfn, order: Order) -> &'static mut [u8] {
    let start = core::ptr::with_exposed_provenance_mut(first.address());
    // SAFETY: it is memory of the test's manager, and no other slice of it is in use.
    unsafe { core::slice::from_raw_parts_mut(start, order.bytes()) }
}

fn is_zero(first: Pfn, order: Order) -> bool {
    bytes(first, order).iter().all(|&byte| byte == 0)
}

/// Frames zeroed on request, and frames that were known to be.
fn counts(frames: Frames) -> (u64, u64) {
    let counts = frames.zeroing();
    (counts.zeroed.get(), counts.known.get())
}

fn free_zeroed(frames: Frames, first: Pfn, order: Order) {
    assert!(is_zero(first, order));
    // SAFETY: it is, and nobody uses it any more.
    unsafe { frames.free_zeroed(first, order) }.expect("a block in hand");
}

/// Writes a byte into each frame of a block that nobody has, which nobody may: who zeroes it wipes them.
fn leave_tracks(first: Pfn, order: Order) {
    for page in bytes(first, order).chunks_mut(PAGE_SIZE) {
        page[0] = 1;
    }
}

/// The frames of a block in which the tracks still are.
fn tracks(first: Pfn, order: Order) -> Vec<usize> {
    let pages = bytes(first, order).chunks(PAGE_SIZE).enumerate();
    let tracked = pages.filter(|(_, page)| page[0] == 1);
    tracked.map(|(place, _)| place).collect()
}

#[test]
fn a_block_asked_for_as_zero_is_whatever_it_held_before() {
    let frames = manager(16 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    for wanted in Order::all() {
        let block = frames.allocate(wanted).expect("memory");
        bytes(block, wanted).fill(0xa5);
        frames.free(block, wanted).expect("a block in hand");
        let before = counts(frames);
        let again = frames.allocate_zeroed(wanted).expect("memory");
        assert!(is_zero(again, wanted), "{wanted:?}");
        assert_eq!(counts(frames), (before.0 + wanted.frames(), before.1));
        frames.free(again, wanted).expect("a block in hand");
    }
    assert_eq!(frames.free_frames(), frames.total_frames());
}

#[test]
fn what_is_known_to_be_zero_is_not_zeroed_again_until_it_was_used() {
    let frames = manager(16 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    for wanted in Order::all() {
        let block = frames.allocate_zeroed(wanted).expect("memory");
        free_zeroed(frames, block, wanted);
        leave_tracks(block, wanted);
        let before = counts(frames);
        let again = frames.allocate_zeroed(wanted).expect("memory");
        assert_eq!(again, block, "{wanted:?}");
        assert_eq!(tracks(block, wanted).len() as u64, wanted.frames());
        assert_eq!(counts(frames), (before.0, before.1 + wanted.frames()));
        bytes(block, wanted).fill(0);
        free_zeroed(frames, block, wanted);

        // Who takes it without asking may write to it.
        assert_eq!(frames.allocate(wanted).ok(), Some(block));
        leave_tracks(block, wanted);
        frames.free(block, wanted).expect("a block in hand");
        assert_eq!(frames.allocate_zeroed(wanted).ok(), Some(block));
        assert!(is_zero(block, wanted), "{wanted:?}");
        frames.free(block, wanted).expect("a block in hand");
    }
}

#[test]
fn only_the_frames_of_a_block_that_are_not_known_to_be_zero_are_zeroed() {
    let frames = manager(16 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    // The host's memory is zero.
    let all: Vec<_> = core::iter::from_fn(|| frames.allocate(order(3)).ok()).collect();
    let is_whole = |four: &&[Pfn]| {
        four[0].0.is_multiple_of(32) && four.windows(2).all(|two| two[1].0 == two[0].0 + 8)
    };
    let eights = all
        .windows(4)
        .find(is_whole)
        .expect("they follow each other");
    for (number, &eight) in eights.iter().enumerate() {
        if number == 2 {
            frames.free(eight, order(3)).expect("a block in hand");
        } else {
            free_zeroed(frames, eight, order(3));
        }
    }
    let block = eights[0];
    leave_tracks(block, order(5));
    assert_eq!(frames.allocate_zeroed(order(5)).ok(), Some(block));
    let kept: Vec<_> = (0..16).chain(24..32).collect();
    assert_eq!(tracks(block, order(5)), kept);
}

#[test]
fn a_zeroed_block_of_several_frames_comes_from_the_zone_where_the_cache_is_empty() {
    let frames = manager(16 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    // What is too large for the cache goes to the zone, and a smaller block is a part of it then.
    let all: Vec<_> = core::iter::from_fn(|| frames.allocate(order(3)).ok()).collect();
    free_zeroed(frames, all[7], order(3));
    leave_tracks(all[7], order(3));
    for part in [0, 4] {
        let block = frames.allocate_zeroed(order(2)).expect("memory");
        assert_eq!(block, Pfn(all[7].0 + part));
        assert_eq!(tracks(block, order(2)), [0, 1, 2, 3]);
    }
    assert!(frames.allocate_zeroed(order(2)).is_err());
    assert_eq!(frames.refusals()[2].get(), 1);
}

#[test]
fn random_requests_for_zeroes_among_others_are_met_with_zeroes() {
    for policy in [PageCachePolicy::DEFAULT, EAGER] {
        HostCpu::run_alone();
        let mut random = Random::new(77);
        let frames = manager(16 * MIB, &[0..MIB + 5], 2, policy);
        let mut blocks: Vec<(Pfn, Order, bool)> = Vec::new();
        for step in 0..steps(40_000) {
            HostCpu::run_as(random.below(2));
            HostCpu::run_clock(step as u64, 0);
            match random.below(400) {
                0 => frames.drain_all(),
                1 => frames.press(),
                2..10 => drop(frames.obey()),
                _ => {}
            }
            let fills = step / 2_048 % 2 == 0;
            if blocks.is_empty() || random.below(10) < if fills { 6 } else { 4 } {
                let rank = if random.below(50) == 0 { 11 } else { 5 };
                let wanted = order(random.below(rank) as u8);
                let is_clean = random.below(2) == 0;
                let taken = if is_clean {
                    frames.allocate_zeroed(wanted)
                } else {
                    frames.allocate(wanted)
                };
                let Ok(first) = taken else { continue };
                assert!(!is_clean || is_zero(first, wanted), "step {step}");
                let stays_clean = is_clean && random.below(2) == 0;
                if !stays_clean {
                    bytes(first, wanted).fill(0xa5);
                }
                blocks.push((first, wanted, stays_clean));
            } else {
                let (first, order, is_clean) = blocks.swap_remove(random.below(blocks.len()));
                if is_clean {
                    free_zeroed(frames, first, order);
                } else {
                    frames.free(first, order).expect("a block in hand");
                }
                assert!(frames.free(first, order).is_err(), "a second free");
            }
        }
        HostCpu::run_clock(1, 0);
        let (zeroed, known) = counts(frames);
        assert!(known * 20 > zeroed, "{known} of {zeroed} were known");
        for (first, order, _) in blocks {
            frames.free(first, order).expect("a block in hand");
        }
        assert_eq!(frames.free_frames(), frames.total_frames());
    }
}

#[test]
fn an_account_is_charged_for_zeroes_and_its_place_says_what_it_has() {
    let frames = manager(8 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    let account = frames.account(owner(3));
    let place = AtomicU64::new(0);
    for wanted in [order(2), order(5)] {
        account
            .allocate_zeroed_into(wanted, &place)
            .expect("memory");
        let (first, found) = BlockWord(place.load(Relaxed)).block().expect("a block");
        assert!(found == wanted && is_zero(first, wanted));
        assert_eq!(frames.usage(owner(3)).used_bytes, wanted.bytes() as u64);
        // SAFETY: it is zero, and nobody uses it any more.
        unsafe { account.free_zeroed_from(&place) }.expect("a block in hand");
        assert_eq!(
            (place.load(Relaxed), frames.usage(owner(3)).used_bytes),
            (0, 0)
        );
        let known = counts(frames).1;
        let again = account.allocate_zeroed(wanted).expect("memory");
        assert_eq!((again, counts(frames).1), (first, known + wanted.frames()));
        account.free(again, wanted).expect("a block in hand");
    }
    frames.set_quota(owner(3), Some(0));
    assert!(account.allocate_zeroed(order(5)).is_err());
    assert!(account.allocate_zeroed_into(order(0), &place).is_err());
    assert_eq!(frames.usage(owner(3)).refusals, 2);
}

#[test]
fn the_heap_gives_zeroed_blocks_and_objects() {
    let frames = manager(8 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    let heap = KernelHeap::new(HostCpu);
    let boot = memory(MIB);
    // SAFETY: the memory is our own and leaked.
    unsafe { heap.init_boot(boot.start, boot.len()) };
    heap.install(frames);
    for size in [40, 4_000, PAGE_SIZE, 100_000] {
        let layout = Layout::from_size_align(size, 8).expect("a layout");
        for _ in 0..3 {
            // SAFETY: the size is not 0; the object is used within its layout and freed once.
            unsafe {
                let object = heap.alloc_zeroed(layout);
                let all = core::slice::from_raw_parts_mut(object, size);
                assert!(all.iter().all(|&byte| byte == 0), "{size}");
                all.fill(0xa5);
                heap.dealloc(object, layout);
            }
        }
    }
    let frames_asked = 3 * (1 + 32);
    assert_eq!(counts(frames), (frames_asked, 0));
    let before = heap.failures();
    let layout = Layout::from_size_align(8 * MIB, 8).expect("a layout");
    // SAFETY: the size is not 0.
    assert!(unsafe { heap.alloc_zeroed(layout) }.is_null());
    assert_eq!(heap.failures(), before + 1);
}
