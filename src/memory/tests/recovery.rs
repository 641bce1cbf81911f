//! Somebody who dies inside the zone or a page cache: the zone is taken from it, the cache emptied, and all is put right.
#![allow(unsafe_code, reason = "says that owners of the tests are dead")]

use super::super::accounts::{Accounts, Owner};
use super::super::frames::{FrameSource, Mobility, Order, PAGE_SIZE, Pfn};
use super::super::manager::MemoryManager;
use super::super::page_cache::{Class, CpuCache, PageCachePolicy};
use super::super::test_support::{HostCpu, Random, manager, order, owner, size};
use super::super::zone::Zone;
use super::super::zone::owners::{OwnerMap, Use};
use super::MIB;
use crate::memory::Verdict;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::vec::Vec;

type Frames = &'static MemoryManager<HostCpu>;

/// Runs `section` with the zone and the cache of CPU 0 as an owner that dies at its end.
fn die_inside(
    frames: Frames,
    dead: Owner,
    section: impl FnOnce(&CpuCache, &mut Zone, (&OwnerMap, &Accounts)),
) {
    let hook = take_hook();
    set_hook(std::boxed::Box::new(|_| {}));
    let died = catch_unwind(AssertUnwindSafe(|| {
        frames.with_both(dead, |cache, zone, shared| {
            section(cache, zone, shared);
            panic!("dies here");
        });
    }));
    frames.cut();
    set_hook(hook);
    assert!(died.is_err());
}

fn recover(frames: Frames, dead: Owner) -> Verdict {
    // SAFETY: the owner's code has unwound.
    unsafe { frames.recover(dead) }
}

#[test]
fn an_owner_that_dies_with_nothing_half_done_leaves_everything_intact() {
    HostCpu::run_alone();
    let frames = manager(8 * MIB, &[0..100_000], 2, PageCachePolicy::DEFAULT);
    let used = |of| frames.usage(of).used_bytes;
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
    die_inside(frames, owner(2), |_, _, _| {});
    assert_eq!(recover(frames, owner(2)), Verdict::Intact);
    assert_eq!(frames.free_frames(), free);
    assert_eq!(used(Owner::KERNEL), (kept.len() * PAGE_SIZE) as u64);
    for &first in kept {
        frames
            .free(first, Order::ZERO)
            .expect("the locks are free and the frames still charged");
    }
    assert_eq!(frames.free_frames(), frames.total_frames());
}

#[test]
fn blocks_that_were_on_the_way_when_their_holder_died_are_free_again() {
    HostCpu::run_alone();
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
            let freed = match random.below(2) {
                0 => frames.free(first, order),
                // SAFETY: nobody ever wrote to this memory.
                _ => unsafe { frames.free_zeroed(first, order) },
            };
            freed.expect("a block in hand");
        }
        if random.below(20) > 0 {
            continue;
        }
        HostCpu::run_as(0);
        // Whoever looks into a cache has found it open, or opened it.
        let page = frames.allocate(Order::ZERO).expect("memory");
        frames.free(page, Order::ZERO).expect("a frame in hand");
        let free = frames.free_frames();
        let class = Class::of(order(random.below(3) as u8), Use::Block).expect("it is cached");
        die_inside(frames, dead, |cache, zone, (owners, accounts)| {
            let stack = cache.stack(class);
            // SAFETY: this thread is every CPU by turns.
            match random.below(7) {
                // Taken, and not yet marked as anybody's.
                0 => drop(zone.take(wanted, Mobility::Immovable)),
                1 => drop(unsafe { stack.pop(Owner::KERNEL) }),
                2 if stack.len() == 0 => drop(unsafe { cache.refill(class, 1, zone, owners) }),
                // On its way into the cache, and marked.
                3 => cache.note_all(zone.take(class.order(), Mobility::Immovable), class, owners),
                4 => drop(unsafe { cache.drain(class, 5, true, zone, accounts) }),
                // In the middle of a batch: some given back, all still listed.
                5 => stack
                    .blocks()
                    .iter()
                    .take(3)
                    .for_each(|&first| zone.give_back(first, class.order())),
                // Listed here, and not gone from the zone.
                _ if !stack.is_full() => {
                    if let Some(first) = zone.take(class.order(), Mobility::Immovable) {
                        zone.give_back(first, class.order());
                        cache.note_all(Some(first), class, owners);
                        // SAFETY: as above; there is room.
                        unsafe { stack.push(first, Owner::KERNEL) };
                    }
                }
                _ => {}
            }
        });
        let verdict = recover(frames, dead);
        assert_ne!(verdict, Verdict::Lost);
        assert_eq!(frames.free_frames(), free);
        let charged: u64 = held.iter().map(|block| block.1.bytes() as u64).sum();
        assert_eq!(frames.usage(Owner::KERNEL).used_bytes, charged);
        die_inside(frames, dead, |_, _, _| {});
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
fn a_cache_that_was_cut_serves_nobody_until_it_has_been_emptied_and_then_again() {
    HostCpu::run_alone();
    let frames = manager(8 * MIB, &[], 2, PageCachePolicy::DEFAULT);
    let pages = || frames.cache_stats().map(|cache| cache.pages);
    let first = frames.allocate(Order::ZERO).expect("memory");
    assert!(pages().next() > Some(0));
    frames.cut();
    let second = frames.allocate(Order::ZERO).expect("memory, from the zone");
    frames.free(first, Order::ZERO).expect("a frame in hand");
    assert!(pages().eq([0, 0]));
    assert_eq!(frames.usage(Owner::KERNEL).used_bytes, PAGE_SIZE as u64);
    assert_eq!(recover(frames, owner(2)), Verdict::Intact);
    assert_eq!(frames.free_frames(), frames.total_frames() - 1);
    frames.free(second, Order::ZERO).expect("a frame in hand");
    assert!(pages().eq([1, 0]), "it keeps what comes back again");
    frames.drain_all();
    assert_eq!(frames.free_frames(), frames.total_frames());
}

#[test]
fn a_charge_that_was_cut_is_counted_anew() {
    HostCpu::run_alone();
    let frames = manager(8 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    let (dead, peer) = (owner(5), owner(6));
    let theirs = frames.account(peer).allocate(order(4)).expect("memory");
    let before = frames.usage(peer).used_bytes;
    die_inside(frames, dead, |_, _, _| frames.charge_without_block(peer, 3));
    assert_ne!(frames.usage(peer).used_bytes, before);
    assert_eq!(recover(frames, dead), Verdict::Rebuilt);
    assert_eq!(frames.usage(peer).used_bytes, before);
    frames.free(theirs, order(4)).expect("a block in hand");
    assert_eq!(frames.usage(peer).used_bytes, 0);
}
