//! Tests of the memory manager: zone, page caches and metrics together.
#![allow(unsafe_code, reason = "builds managers that must be refused")]
#![expect(
    clippy::single_range_in_vec_init,
    reason = "a list of one range is what is meant"
)]

mod demand;
mod movable;
mod owners;
mod pressure;
mod recovery;
mod replay;
mod threads;
mod zeroed;

use super::frames::{Block, FrameSource, Order, PAGE_SIZE, Pfn};
use super::manager::{ChargedFrames, MemoryManager};
use super::page_cache::PageCachePolicy;
use super::test_support::{HostCpu, Random, manager, memory, model_steps, order, steps};
use crate::error::Kind;
use crate::metrics::{Encoder, Format, Source};
use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::sync::Mutex;
use std::vec::Vec;
use std::{format, thread};

const MIB: usize = 1 << 20;

/// Page caches that grow fast, may hold half of memory, and have a period each thousand ticks.
const EAGER: PageCachePolicy = PageCachePolicy {
    memory_divisor: 2,
    floor_blocks: [8; 4],
    period_ms: 1,
    ..PageCachePolicy::DEFAULT
};

/// Every sample of a scrape, by name and labels.
fn samples(source: &dyn Source) -> BTreeMap<String, String> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, Format::Text);
    source.collect(&mut encoder);
    encoder.finish().expect("the host has memory");
    let text = String::from_utf8(bytes).expect("text");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

/// Samples that differ between two scrapes, with their values after.
fn changes(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<(String, String)> {
    assert!(
        before.keys().eq(after.keys()),
        "two scrapes differ only in values"
    );
    let pairs = before.values().zip(after);
    let changed = pairs.filter(|(before, (_, after))| before != after);
    changed
        .map(|(_, (name, value))| (name.clone(), value.clone()))
        .collect()
}

fn expected(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut list: Vec<_> = list
        .iter()
        .map(|(name, value)| (format!("nos_{name}"), value.to_string()))
        .collect();
    list.sort();
    list
}

fn allocate_all(manager: &dyn FrameSource, order: Order) -> Vec<Pfn> {
    core::iter::from_fn(|| manager.allocate(order).ok()).collect()
}

#[test]
fn random_requests_through_the_caches_never_give_a_frame_to_two_owners() {
    for policy in [PageCachePolicy::DEFAULT, EAGER] {
        give_out_at_random(policy);
    }
}

fn give_out_at_random(policy: PageCachePolicy) {
    HostCpu::run_alone();
    let mut random = Random::new(3);
    let manager = manager(16 * MIB, &[0..MIB + 5], 2, policy);
    let mut owned = vec_of_free(manager);
    let base = owned.1;
    let mut blocks: Vec<(Pfn, Order)> = Vec::new();
    let mut owned_frames = 0;
    for step in 0..model_steps(200_000) {
        HostCpu::run_as(random.below(2));
        HostCpu::run_clock(step as u64, 0);
        match random.below(1_000) {
            0 => manager.drain_all(),
            1 => manager.press(),
            2..20 => {
                manager.obey();
            }
            _ => {}
        }
        let fills = step / 8_192 % 2 == 0;
        if random.below(10) < if fills { 6 } else { 4 } || blocks.is_empty() {
            let rank = if random.below(50) == 0 { 11 } else { 4 };
            let wanted = order(random.below(rank) as u8);
            let Ok(first) = manager.allocate(wanted) else {
                continue;
            };
            let frames = &mut owned.0[(first.0 - base) as usize..][..wanted.frames() as usize];
            assert!(frames.iter().all(|owned| !owned), "a frame in two hands");
            frames.fill(true);
            owned_frames += wanted.frames();
            blocks.push((first, wanted));
        } else {
            let (first, order) = blocks.swap_remove(random.below(blocks.len()));
            owned.0[(first.0 - base) as usize..][..order.frames() as usize].fill(false);
            owned_frames -= order.frames();
            manager.free(first, order).expect("a block in hand");
            assert!(manager.free(first, order).is_err(), "a second free");
        }
        assert_eq!(manager.free_frames(), manager.total_frames() - owned_frames);
    }
    HostCpu::run_clock(1, 0);
}

/// A flag a frame for the model, and the number of the first.
fn vec_of_free(manager: &dyn FrameSource) -> (Vec<bool>, u64) {
    let largest = manager.allocate(Order::MAX).expect("a whole chunk");
    manager.free(largest, Order::MAX).expect("a block in hand");
    // All chunks of the tests' memory lie within 16 MiB of any of them.
    (std::vec![false; 8 * 1_024 * 4], largest.0 - 4 * 1_024)
}

#[test]
#[cfg_attr(
    miri,
    ignore = "takes Miri minutes, and has no other unsafe code than the rest"
)]
fn memory_is_exhausted_to_the_last_frame_and_comes_back_whole() {
    HostCpu::run_alone();
    // Under exhaustion the caches of both CPUs are drained, whoever asks.
    let manager = manager(8 * MIB, &[], 2, PageCachePolicy::DEFAULT);
    let whole = manager.zone_stats().free_blocks;
    HostCpu::run_as(1);
    let one = manager.allocate(Order::ZERO).expect("memory");
    HostCpu::run_as(0);
    let mut frames = allocate_all(manager, Order::ZERO);
    frames.push(one);
    assert_eq!(frames.len() as u64, manager.total_frames());
    assert_eq!(manager.free_frames(), 0);
    let error = manager.allocate(order(3)).expect_err("nothing is left");
    assert_eq!(
        error.kind(),
        Kind::OutOfMemory {
            requested_bytes: 8 * PAGE_SIZE
        }
    );
    for first in frames {
        manager.free(first, Order::ZERO).expect("a frame in hand");
    }
    assert_eq!(manager.free_frames(), manager.total_frames());
    manager.drain_all();
    assert_eq!(manager.zone_stats().free_blocks, whole);
}

#[test]
#[cfg_attr(
    miri,
    ignore = "takes Miri minutes, and has no other unsafe code than the rest"
)]
fn a_large_request_drains_the_caches_so_that_their_pages_merge() {
    let manager = manager(4 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    let frames = allocate_all(manager, Order::ZERO);
    for &first in &frames {
        manager.free(first, Order::ZERO).expect("a frame in hand");
    }
    // The lower half holds the metadata and the image's share; the upper half is one block again.
    assert!(manager.allocate(order(9)).is_ok());
}

#[test]
fn a_page_in_a_cache_counts_as_free_and_cannot_be_freed_again() {
    let manager = manager(8 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    let total = manager.total_frames();
    let first = manager.allocate(Order::ZERO).expect("memory");
    assert_eq!(manager.free_frames(), total - 1);
    manager.free(first, Order::ZERO).expect("a frame in hand");
    assert_eq!(manager.free_frames(), total);
    let bad = Kind::BadFree {
        frame: first.0,
        order: 0,
    };
    assert_eq!(
        manager.free(first, Order::ZERO).expect_err("twice").kind(),
        bad
    );
    assert_eq!(manager.free_frames(), total);
}

#[test]
fn threads_never_hold_the_same_frame() {
    const CPUS: usize = 4;
    let manager = manager(16 * MIB, &[], CPUS, PageCachePolicy::DEFAULT);
    // Blocks change hands, so that they are freed on other CPUs than they were allocated on.
    let exchange: Mutex<Vec<Block>> = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for cpu in 0..CPUS {
            let exchange = &exchange;
            scope.spawn(move || {
                HostCpu::run_as(cpu);
                let mut random = Random::new(cpu as u64);
                let mut held: Vec<Block> = Vec::new();
                for step in 0..steps(20_000) {
                    if random.below(held.len() + 1) < 200 {
                        let wanted = order(random.below(4) as u8);
                        if let Ok(mut block) = Block::allocate(manager, wanted) {
                            block[0] = cpu as u8;
                            *block.last_mut().expect("a block has bytes") = step as u8;
                            held.push(block);
                        }
                    } else {
                        let block = held.swap_remove(random.below(held.len()));
                        let mut exchange = exchange.lock().expect("no thread has failed");
                        exchange.push(block);
                        let other = random.below(exchange.len());
                        drop(exchange.swap_remove(other));
                    }
                    if random.below(2_000) == 0 {
                        manager.drain_all();
                    }
                }
                // Each block still holds what its first owner wrote at the ends.
                assert!(held.iter().all(|block| block[0] == cpu as u8));
            });
        }
    });
    exchange.lock().expect("no thread has failed").clear();
    assert_eq!(manager.free_frames(), manager.total_frames());
}

#[test]
fn too_little_memory_is_refused_with_what_is_needed() {
    let ram = memory(2 * PAGE_SIZE);
    let reserved = [ram.start..ram.start + PAGE_SIZE];
    let policy = PageCachePolicy::DEFAULT;
    // SAFETY: the memory is zeroed, our own and leaked.
    let refused = unsafe { MemoryManager::new(&[ram], &reserved, 1, policy, HostCpu) };
    let kind = refused.err().expect("one frame is not enough").kind();
    let needs = |bytes| Kind::TooLittleMemory {
        available_bytes: bytes,
        required_bytes: 12288,
    };
    assert_eq!(kind, needs(4096));
}

#[test]
fn every_counter_moves_with_what_it_counts_and_no_other_does() {
    let manager = manager(8 * MIB, &[7 * MIB..8 * MIB], 2, PageCachePolicy::DEFAULT);
    HostCpu::run_as(1);
    let total = manager.total_frames();
    let start = samples(manager);
    assert_eq!(start["nos_memory_total_bytes"], (total * 4096).to_string());
    assert_eq!(
        start["nos_memory_reserved_bytes"],
        (MIB + 4 * PAGE_SIZE).to_string()
    );
    assert_eq!(start["nos_page_cache_capacity_pages{cpu=\"1\"}"], "64");
    assert_eq!(
        start["nos_page_cache_resizes_total{cpu=\"0\",direction=\"grow\"}"],
        "0"
    );

    // A miss: a batch of eight, the page asked for among them. Frames 0 to 3 of the chunk are the metadata's, so frames 4 to 11
    // go, out of blocks of order 2 and 3; what is left of the last is one block of order 2.
    let first = manager.allocate(Order::ZERO).expect("memory");
    let missed = samples(manager);
    let free = ((total - 1) * 4096).to_string();
    let moved = changes(&start, &missed);
    let moved: Vec<_> = moved
        .into_iter()
        .filter(|(name, _)| !name.contains("ratio"))
        .collect();
    assert_eq!(
        moved,
        expected(&[
            ("memory_free_bytes", &free),
            ("buddy_allocations_total{order=\"0\"}", "8"),
            ("buddy_free_blocks{order=\"3\"}", "0"),
            ("buddy_splits_total{order=\"1\"}", "4"),
            ("buddy_splits_total{order=\"2\"}", "2"),
            ("buddy_splits_total{order=\"3\"}", "1"),
            ("page_cache_misses_total{cpu=\"1\"}", "1"),
            ("page_cache_pages{cpu=\"1\"}", "7"),
        ])
    );

    // A free and a hit move the cache's counts only.
    manager.free(first, Order::ZERO).expect("a frame in hand");
    assert_eq!(
        manager.allocate(Order::ZERO).ok(),
        Some(first),
        "the last in is the first out"
    );
    let hit = changes(&missed, &samples(manager));
    assert_eq!(hit, expected(&[("page_cache_hits_total{cpu=\"1\"}", "1")]));

    // A refusal is counted once; what lies in the cache could not have met it, and stays. Then the cache is drained.
    let before = samples(manager);
    while manager.allocate(Order::MAX).is_ok() {}
    let refused = samples(manager);
    assert_eq!(refused["nos_buddy_failures_total{order=\"10\"}"], "1");
    assert_eq!(refused["nos_page_cache_pages{cpu=\"1\"}"], "7");
    manager.drain_all();
    let refused = samples(manager);
    assert_eq!(refused["nos_page_cache_drains_total{cpu=\"1\"}"], "1");
    assert_eq!(refused["nos_buddy_frees_total{order=\"0\"}"], "7");
    assert_eq!(
        refused["nos_page_cache_hits_total{cpu=\"1\"}"],
        before["nos_page_cache_hits_total{cpu=\"1\"}"]
    );
    assert_eq!(refused["nos_buddy_fragmentation_ratio{order=\"10\"}"], "1");
}

#[test]
fn an_allocation_that_begins_on_a_round_tick_is_timed_and_no_other() {
    let manager = manager(8 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    let before = samples(manager);
    // None of an order that is cached visits the zone each time.
    let allocate = || drop(Block::allocate(manager, order(3)).expect("room"));
    HostCpu::run_clock(1, 1);
    (1..64).for_each(|_| allocate());
    let after = samples(manager);
    assert!(
        !changes(&before, &after)
            .iter()
            .any(|(name, _)| name.contains("_seconds")),
        "ticks 1 to 63"
    );
    // The clock reads 64 as it begins, and 67 as it is done.
    HostCpu::run_clock(64, 3);
    allocate();
    let timed: Vec<_> = changes(&after, &samples(manager))
        .into_iter()
        .filter(|(name, _)| name.contains("_seconds"))
        .filter(|(name, _)| !name.contains("_bucket") || name.contains("le=\"5e-06\""))
        .collect();
    let family = "buddy_allocation_seconds";
    let told = [
        (format!("{family}_bucket{{le=\"5e-06\"}}"), "1"),
        (format!("{family}_count"), "1"),
        (format!("{family}_sum"), "0.000003"),
    ];
    assert_eq!(
        timed,
        expected(&told.each_ref().map(|(n, v)| (n.as_str(), *v)))
    );
    HostCpu::run_clock(1, 0);
}

#[test]
fn no_block_is_freed_but_as_what_it_was_given_out_and_a_refusal_changes_nothing() {
    let manager = manager(16 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    let orders = || Order::all().take(9);
    let blocks: Vec<_> = orders()
        .map(|order| (manager.allocate(order).expect("memory"), order))
        .collect();
    let slabs: Vec<_> = (0..=4)
        .map(order)
        .map(|order| (manager.allocate_slab(order).expect("memory"), order))
        .collect();
    let before = samples(manager);
    let refused = |result: crate::error::Result<()>, frame: Pfn, order: Order| {
        let bad = Kind::BadFree {
            frame: frame.0,
            order: order.get(),
        };
        assert_eq!(result.expect_err("a bad free").kind(), bad);
    };
    for &(first, real) in &blocks {
        for order in Order::all() {
            refused(
                manager.free_slab(first, order.min(self::order(4))),
                first,
                order.min(self::order(4)),
            );
            if order != real {
                refused(manager.free(first, order), first, order);
            }
        }
        for inner in 1..real.frames() {
            refused(
                manager.free(Pfn(first.0 + inner), Order::ZERO),
                Pfn(first.0 + inner),
                Order::ZERO,
            );
        }
    }
    for &(first, real) in &slabs {
        refused(manager.free(first, real), first, real);
    }
    for foreign in [Pfn(0), Pfn(1 << 40), Pfn(u64::MAX)] {
        refused(manager.free(foreign, Order::ZERO), foreign, Order::ZERO);
    }
    assert_eq!(changes(&before, &samples(manager)), []);
    for (first, order) in blocks {
        manager.free(first, order).expect("a block in hand");
        refused(manager.free(first, order), first, order);
    }
    for (first, order) in slabs {
        manager.free_slab(first, order).expect("a slab in hand");
        refused(manager.free_slab(first, order), first, order);
    }
    assert_eq!(manager.free_frames(), manager.total_frames());
}

#[test]
fn frames_outside_the_largest_bank_are_served_past_the_caches() {
    let manager = manager(24 * MIB, &[4 * MIB..12 * MIB], 1, PageCachePolicy::DEFAULT);
    for order in Order::all().take(3) {
        let blocks = allocate_all(manager, order);
        assert!(manager.free_frames() < order.frames() * 8);
        for &first in &blocks {
            manager.free(first, order).expect("a block in hand");
            assert!(manager.free(first, order).is_err(), "a second free");
        }
        assert_eq!(manager.free_frames(), manager.total_frames());
    }
    manager.drain_all();
    assert!(manager.zone_stats().free_blocks[10] >= 3);
}
