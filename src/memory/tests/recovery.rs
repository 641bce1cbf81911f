//! A holder that dies inside the zone or a page cache: the locks are taken from it and all is put right.
#![allow(unsafe_code, reason = "says that owners of the tests are dead")]

use super::super::accounts::Owner;
use super::super::frames::{FrameSource, Mobility, Order, Pfn};
use super::super::manager::MemoryManager;
use super::super::page_cache::{CpuCache, PageCachePolicy};
use super::super::test_support::{HostCpu, Random, manager, order, owner, size};
use super::super::zone::Zone;
use super::MIB;
use crate::memory::Verdict;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::vec::Vec;

type Frames = &'static MemoryManager<HostCpu>;

/// Runs `section` inside both locks as an owner that dies at its end.
fn die_inside(frames: Frames, dead: Owner, section: impl FnOnce(&mut CpuCache, &mut Zone)) {
    let hook = take_hook();
    set_hook(std::boxed::Box::new(|_| {}));
    let died = catch_unwind(AssertUnwindSafe(|| {
        frames.in_both_locks(dead, |cache, zone| {
            section(cache, zone);
            panic!("dies here");
        });
    }));
    set_hook(hook);
    assert!(died.is_err());
}

fn recover(frames: Frames, dead: Owner) -> Verdict {
    // SAFETY: the owner's code has unwound.
    unsafe { frames.recover(dead) }
}

#[test]
fn an_owner_that_dies_with_nothing_half_done_leaves_everything_intact() {
    let frames = manager(8 * MIB, &[0..100_000], 2, PageCachePolicy::DEFAULT);
    let kept: Vec<_> = (0..size(300, 30))
        .filter_map(|_| frames.allocate(Order::ZERO).ok())
        .collect();
    let (given_back, kept) = kept.split_at(kept.len() / 3);
    for &first in given_back {
        frames.free(first, Order::ZERO).expect("a frame in hand");
    }
    let free = frames.free_frames();
    assert_eq!(
        recover(frames, owner(2)),
        Verdict::Intact,
        "it held no lock"
    );
    die_inside(frames, owner(2), |_, _| {});
    assert_eq!(recover(frames, owner(2)), Verdict::Intact);
    assert_eq!(frames.free_frames(), free);
    for &first in kept {
        frames
            .free(first, Order::ZERO)
            .expect("the locks are free and the frames still charged");
    }
    assert_eq!(frames.free_frames(), frames.total_frames());
}

#[test]
fn blocks_that_were_on_the_way_when_their_holder_died_are_free_again() {
    let mut random = Random::new(31);
    let frames = manager(16 * MIB, &[MIB..MIB + 9_000], 2, PageCachePolicy::DEFAULT);
    let whole = frames.zone_stats().free_blocks;
    let dead = owner(5);
    let mut held: Vec<(Pfn, Order)> = Vec::new();
    for _ in 0..size(3_000, 10) {
        HostCpu::run_as(random.below(2));
        let wanted = order(random.below(6) as u8);
        if random.below(3) > 0 && held.len() < 600 {
            held.extend(frames.allocate(wanted).ok().map(|first| (first, wanted)));
        } else if !held.is_empty() {
            let (first, order) = held.swap_remove(random.below(held.len()));
            frames.free(first, order).expect("a block in hand");
        }
        if random.below(20) > 0 {
            continue;
        }
        HostCpu::run_as(0);
        let free = frames.free_frames();
        let small = order(random.below(3) as u8);
        die_inside(frames, dead, |cache, zone| match random.below(5) {
            // Taken, and not yet marked as anybody's.
            0 => drop(zone.take(wanted, Mobility::Immovable)),
            1 => drop(cache.take(small)),
            2 => drop(cache.refill(small, zone)),
            // In the middle of a batch: some given back, all still listed.
            3 => {
                let listed: Vec<_> = cache.blocks().collect();
                for (first, order) in listed.into_iter().take(3) {
                    zone.give_back(first, order);
                }
            }
            // Listed here, and not gone from the zone.
            _ => {
                let first = zone.take(small, Mobility::Immovable);
                if let Some(first) = first {
                    zone.give_back(first, small);
                    cache.put(first, small);
                }
            }
        });
        let verdict = recover(frames, dead);
        assert_ne!(verdict, Verdict::Lost);
        assert_eq!(frames.free_frames(), free);
        die_inside(frames, dead, |_, _| {});
        assert_eq!(recover(frames, dead), Verdict::Intact, "after {verdict:?}");
    }
    HostCpu::run_as(0);
    for (first, order) in held {
        frames.free(first, order).expect("a block in hand");
    }
    frames.drain_all();
    assert_eq!(frames.zone_stats().free_blocks, whole);
}

#[test]
fn a_charge_that_was_cut_is_counted_anew() {
    let frames = manager(8 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    let (dead, peer) = (owner(5), owner(6));
    let theirs = frames.account(peer).allocate(order(4)).expect("memory");
    let before = frames.usage(peer).used_bytes;
    die_inside(frames, dead, |_, _| frames.charge_without_block(peer, 3));
    assert_ne!(frames.usage(peer).used_bytes, before);
    assert_eq!(recover(frames, dead), Verdict::Rebuilt);
    assert_eq!(frames.usage(peer).used_bytes, before);
    frames.free(theirs, order(4)).expect("a block in hand");
    assert_eq!(frames.usage(peer).used_bytes, 0);
}
