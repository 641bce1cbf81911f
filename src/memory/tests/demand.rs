//! Page caches that follow demand: every counter of theirs, periods, CPUs that idle, and pressure.

use super::super::frames::{FrameSource, Order, Pfn};
use super::super::manager::MemoryManager;
use super::super::page_cache::PageCachePolicy;
use super::super::pressure::Pressure;
use super::super::test_support::{HostCpu, manager, order, owner};
use super::{MIB, changes, expected, samples};
use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

type Frames = &'static MemoryManager<HostCpu>;

/// Ticks of a second of the host's clock.
const SECOND: u64 = 1_000_000;
/// Ticks of a period, and of what a CPU that sleeps waits longer.
const PERIOD: u64 = 10_000;
const IDLE: u64 = 490_000;

/// Two CPUs whose caches have floors of 8 blocks and ceilings of 64 pages, on the second of them, at tick 1.
fn small_caches() -> Frames {
    HostCpu::run_alone();
    HostCpu::run_as(1);
    HostCpu::run_for(owner(3));
    HostCpu::run_clock(1, 0);
    manager(64 * MIB, &[], 2, PageCachePolicy::DEFAULT)
}

fn take(frames: Frames, count: usize) -> Vec<Pfn> {
    let take = |_| frames.allocate(Order::ZERO).expect("memory");
    (0..count).map(take).collect()
}

fn give_back(frames: Frames, blocks: Vec<Pfn>) {
    for first in blocks {
        frames.free(first, Order::ZERO).expect("a frame in hand");
    }
}

/// Grows the limit of the caller's CPU to its ceiling, and leaves its cache full.
fn fill(frames: Frames) {
    for _ in 0..10 {
        let blocks = take(frames, 200);
        give_back(frames, blocks);
    }
}

fn pages(frames: Frames) -> Vec<u64> {
    frames.cache_stats().map(|cache| cache.pages).collect()
}

fn capacities(frames: Frames) -> Vec<u64> {
    frames
        .cache_stats()
        .map(|cache| cache.capacity_pages)
        .collect()
}

/// What a step changes in the family, for the second CPU.
struct Seen(Frames, BTreeMap<String, String>);

impl Seen {
    fn only(&mut self, moved: &[(&str, &str)]) {
        let after = samples(self.0);
        let found: Vec<_> = changes(&self.1, &after)
            .into_iter()
            .filter(|(name, _)| name.contains("page_cache"))
            .collect();
        let names: Vec<_> = moved
            .iter()
            .map(|(name, value)| match name.split_once('/') {
                Some((name, direction)) => {
                    let labels = std::format!("{{cpu=\"1\",direction=\"{direction}\"}}");
                    (std::format!("page_cache_{name}{labels}"), *value)
                }
                None => (std::format!("page_cache_{name}{{cpu=\"1\"}}"), *value),
            })
            .collect();
        let names = names.iter().map(|(name, value)| (name.as_str(), *value));
        assert_eq!(found, expected(&names.collect::<Vec<_>>()));
        self.1 = after;
    }
}

#[test]
fn each_counter_of_a_page_cache_moves_with_what_it_counts_and_no_other_of_the_family_does() {
    let frames = small_caches();
    let mut seen = Seen(frames, samples(frames));
    // A miss fetches eight, of which one is handed out.
    let mut held = take(frames, 1);
    seen.only(&[("misses_total", "1"), ("pages", "7")]);
    held.extend(take(frames, 7));
    seen.only(&[("hits_total", "7"), ("pages", "0")]);
    give_back(frames, held.split_off(0));
    seen.only(&[("pages", "8")]);
    held = take(frames, 8);
    seen.only(&[("hits_total", "15"), ("pages", "0")]);
    held.extend(take(frames, 8));
    seen.only(&[("hits_total", "22"), ("misses_total", "2")]);
    // There is no room for a ninth: half of the limit leaves.
    give_back(frames, held.split_off(7));
    seen.only(&[("drains_total", "1"), ("pages", "5")]);
    // What was given up is missed: the limit grows by that.
    held.extend(take(frames, 5));
    seen.only(&[("hits_total", "27"), ("pages", "0")]);
    held.extend(take(frames, 1));
    seen.only(&[
        ("misses_total", "3"),
        ("pages", "7"),
        ("capacity_pages", "68"),
        ("resizes_total/grow", "1"),
    ]);
    // The limit was needed in this period, and not in the next.
    HostCpu::run_clock(PERIOD + 1, 0);
    frames.obey();
    seen.only(&[]);
    // Of the seven that nobody took half leave.
    HostCpu::run_clock(2 * PERIOD + 1, 0);
    frames.obey();
    seen.only(&[
        ("capacity_pages", "67"),
        ("resizes_total/shrink", "1"),
        ("drains_total", "2"),
        ("pages", "3"),
    ]);
    frames.press();
    seen.only(&[
        ("capacity_pages", "64"),
        ("resizes_total/shrink", "2"),
        ("drains_total", "3"),
        ("pages", "0"),
    ]);
    // A block that no cache keeps.
    let large = frames.allocate(order(5)).expect("memory");
    frames.free(large, order(5)).expect("a block in hand");
    seen.only(&[]);
    let moved = held.pop().expect("some are held");
    give_back(frames, Vec::from([moved]));
    seen.only(&[("pages", "1")]);
    give_back(frames, held);
    frames.drain_all();
    assert_eq!(pages(frames), [0, 0]);
    assert_eq!(frames.free_frames(), frames.total_frames());
}

#[test]
fn a_class_grows_to_the_ceiling_of_its_cpu_less_what_others_in_use_may_hold() {
    let frames = small_caches();
    fill(frames);
    assert_eq!(capacities(frames), [64, 64 - 8 + 64]);
    assert_eq!(pages(frames)[0], 0);
    // A class that wakes is granted its floor.
    let block = frames.allocate(order(2)).expect("memory");
    assert_eq!(capacities(frames), [64, 120]);
    frames.free(block, order(2)).expect("a block in hand");
    frames.press();
    let block = frames.allocate(order(2)).expect("memory");
    fill(frames);
    assert_eq!(capacities(frames), [64, 64 - 8 + 64 - 32]);
    frames.free(block, order(2)).expect("a block in hand");
    frames.drain_all();
    assert_eq!(frames.free_frames(), frames.total_frames());
}

#[test]
fn a_cpu_that_idles_is_woken_twice_gives_all_back_within_a_second_and_sleeps_then() {
    let frames = small_caches();
    fill(frames);
    assert!(pages(frames)[1] > 32);
    let mut now = 2;
    HostCpu::run_clock(now, 0);
    let mut wakes = 0;
    // A batch of each class at a look: until the timer is to be set for later, it goes on looking.
    loop {
        let next = frames.obey();
        if next == u64::MAX {
            break;
        }
        if next > now {
            assert!(next <= now + PERIOD + IDLE);
            wakes += 1;
            now = next;
            HostCpu::run_clock(now, 0);
        }
    }
    assert_eq!(wakes, 2);
    assert!(now <= SECOND + PERIOD, "{now}");
    assert_eq!(
        (pages(frames), capacities(frames)),
        ([0, 0].into(), [64, 64].into())
    );
    assert_eq!(frames.obey(), u64::MAX);
    // Whatever comes next is seen again, be it a block that comes back.
    for is_free in [false, true] {
        let block = take(frames, 1);
        frames.press();
        assert_eq!(frames.obey(), u64::MAX);
        if is_free {
            give_back(frames, block);
        } else {
            let _ = take(frames, 1);
        }
        assert_eq!(frames.obey(), now + PERIOD + IDLE, "{is_free}");
    }
}

#[test]
fn what_nobody_takes_leaves_by_halves_while_what_is_used_stays() {
    let frames = small_caches();
    fill(frames);
    let full = pages(frames)[1];
    let mut now = 1;
    let mut left = Vec::new();
    for _ in 0..9 {
        now += PERIOD;
        HostCpu::run_clock(now, 0);
        while frames.obey() == now {}
        left.push(pages(frames)[1]);
        // Four are used in each period.
        let used = take(frames, 4);
        give_back(frames, used);
    }
    assert!(
        left[0] >= full / 2 && left.is_sorted_by(|a, b| a >= b),
        "{left:?}"
    );
    assert_eq!(left.last(), Some(&4), "{left:?}");
    let before: Vec<_> = frames.cache_stats().map(|stats| stats.misses).collect();
    let used = take(frames, 4);
    give_back(frames, used);
    assert!(frames.cache_stats().map(|stats| stats.misses).eq(before));
}

#[test]
fn caches_are_at_their_floors_while_memory_is_short_and_grow_again_after_it() {
    let frames = small_caches();
    fill(frames);
    let mut large = Vec::new();
    while frames.pressure() == Pressure::None {
        large.push(frames.allocate(order(4)).expect("memory"));
    }
    HostCpu::run_as(0);
    assert!(frames.obey() > 1, "it holds nothing");
    HostCpu::run_as(1);
    while frames.obey() == 1 {}
    assert_eq!(
        (pages(frames), capacities(frames)),
        ([0, 0].into(), [64, 64].into())
    );
    assert_eq!(frames.pressure(), Pressure::Low);
    // What comes back before the period ends is not kept beyond it.
    for _ in 0..5 {
        let blocks = take(frames, 24);
        give_back(frames, blocks);
    }
    assert!(pages(frames)[1] > 0);
    HostCpu::run_clock(1 + 2 * PERIOD, 0);
    while frames.obey() == 1 + 2 * PERIOD {}
    assert_eq!(
        (pages(frames), capacities(frames)),
        ([0, 0].into(), [64, 64].into())
    );
    for first in large {
        frames.free(first, order(4)).expect("a block in hand");
    }
    assert_eq!(frames.pressure(), Pressure::None);
    fill(frames);
    HostCpu::run_clock(1 + 4 * PERIOD, 0);
    while frames.obey() == 1 + 4 * PERIOD {}
    assert!(pages(frames)[1] > 32);
}

#[test]
fn pressure_empties_the_caches_of_all_cpus_and_puts_their_limits_to_the_floors() {
    let frames = small_caches();
    for cpu in 0..2 {
        HostCpu::run_as(cpu);
        fill(frames);
    }
    assert!(pages(frames).iter().all(|&pages| pages > 32));
    HostCpu::run_as(1);
    frames.press();
    assert_eq!(pages(frames)[1], 0);
    // The other goes on as it is woken.
    HostCpu::run_as(0);
    for _ in 0..4 {
        frames.obey();
    }
    assert_eq!(pages(frames), [0, 0]);
    assert_eq!(capacities(frames), [64, 64]);
    assert_eq!(frames.free_frames(), frames.total_frames());
}
