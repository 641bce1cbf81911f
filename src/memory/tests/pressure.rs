//! Watermarks in front of the zone: who is told, how often, and what the reserve is kept from.

use super::super::frames::{FrameSource, Order};
use super::super::local_cpu::LocalCpu;
use super::super::page_cache::PageCachePolicy;
use super::super::pressure::{Pressure, PressureListener};
use super::super::test_support::{HostCpu, manager, order, owner, shared_writes};
use super::{MIB, allocate_all, changes, expected, samples};
use std::boxed::Box;
use std::sync::Mutex;
use std::vec::Vec;

/// Keeps what it is told.
#[derive(Default)]
struct Told(Mutex<Vec<Pressure>>);

impl Told {
    fn new() -> &'static Self {
        Box::leak(Box::default())
    }

    /// What it was told since it was asked last.
    fn take(&self) -> Vec<Pressure> {
        core::mem::take(&mut self.0.lock().expect("no test panicked"))
    }
}

impl PressureListener for Told {
    fn pressure_changed(&self, pressure: Pressure) {
        self.0.lock().expect("no test panicked").push(pressure);
    }
}

#[test]
fn memory_taken_to_the_last_frame_and_back_is_told_by_one_message_a_level() {
    let manager = manager(16 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    let told = Told::new();
    manager.set_pressure_listener(told);
    let marks = manager.watermarks();
    let free = || manager.zone_stats().free_frames();
    let levels = |list: &[Pressure]| assert_eq!(told.take(), list, "{} free, {marks:?}", free());
    // Eight frames each, which no page cache holds.
    let eight = order(3);
    for _ in 0..3 {
        let mut blocks = Vec::new();
        let mut take_while_above = |mark: u64| {
            while free() > mark {
                blocks.push(manager.allocate(eight).expect("memory"));
            }
        };
        take_while_above(marks.low + 7);
        levels(&[]);
        take_while_above(marks.low - 1);
        levels(&[Pressure::Low]);
        take_while_above(marks.min + 7);
        levels(&[]);
        assert!(manager.missing_bytes() > (marks.high - marks.low) * 4_096);
        take_while_above(marks.min - 1);
        levels(&[Pressure::Min]);
        take_while_above(7);
        let pages = allocate_all(manager, Order::ZERO);
        levels(&[]);
        assert_eq!(manager.free_frames(), 0);

        for page in pages {
            manager.free(page, Order::ZERO).expect("a page in hand");
        }
        let mut blocks = blocks.into_iter();
        let mut give_until = |mark: u64| {
            while free() < mark {
                let block = blocks.next().expect("enough");
                manager.free(block, eight).expect("a block in hand");
            }
        };
        give_until(marks.min - 7);
        levels(&[]);
        give_until(marks.min);
        levels(&[Pressure::Low]);
        give_until(marks.high - 7);
        levels(&[]);
        give_until(marks.high + 1);
        levels(&[Pressure::None]);
        assert_eq!(manager.missing_bytes(), 0);
        blocks.for_each(|block| manager.free(block, eight).expect("a block in hand"));
        levels(&[]);
    }
}

#[test]
fn a_request_that_a_page_cache_meets_looks_at_nothing_that_cpus_share() {
    let manager = manager(16 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    let told = Told::new();
    manager.set_pressure_listener(told);
    // Under pressure as without.
    let held = allocate_all(manager, order(3));
    assert_eq!(told.take(), [Pressure::Low, Pressure::Min]);
    for &block in &held[..10] {
        manager.free(block, order(3)).expect("a block in hand");
    }
    told.take();
    let page = manager.allocate(Order::ZERO).expect("memory");
    manager.free(page, Order::ZERO).expect("a page in hand");
    let before = shared_writes();
    for _ in 0..1_000 {
        let page = manager.allocate(Order::ZERO).expect("memory");
        manager.free(page, Order::ZERO).expect("a page in hand");
    }
    let after = shared_writes();
    assert_eq!(
        (after.visits, after.changes),
        (before.visits, before.changes)
    );
    assert_eq!(told.take(), []);
}

#[test]
fn pressure_is_told_from_any_cpu_whoever_allocates_and_inside_a_section() {
    let manager = manager(16 * MIB, &[], 2, PageCachePolicy::DEFAULT);
    let told = Told::new();
    manager.set_pressure_listener(told);
    std::thread::scope(|scope| {
        let filler = || {
            HostCpu::run_as(1);
            HostCpu::run_for(owner(3));
            HostCpu.pinned(|| allocate_all(manager, order(4)))
        };
        let blocks = scope.spawn(filler).join().expect("it did not panic");
        assert_eq!(told.take(), [Pressure::Low, Pressure::Min]);
        for block in blocks {
            manager.free(block, order(4)).expect("a block in hand");
        }
        assert_eq!(told.take(), [Pressure::Low, Pressure::None]);
    });
}

#[test]
fn large_blocks_of_the_reserve_are_kept_from_whom_is_kept_off_it_and_from_nobody_else() {
    let manager = manager(32 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    let (greedy, other) = (owner(3), owner(4));
    manager.keep_off_reserve(greedy, order(4));
    HostCpu::run_for(greedy);
    let before = samples(manager);
    let held = allocate_all(manager, order(4));
    let min = manager.watermarks().min;
    let left = manager.zone_stats().free_frames();
    assert!((min..min + 16).contains(&left), "{left} are left of {min}");
    let refused: Vec<_> = changes(&before, &samples(manager))
        .into_iter()
        .filter(|(name, _)| name.contains("failures"))
        .collect();
    assert_eq!(
        refused,
        expected(&[("buddy_failures_total{order=\"4\"}", "1")])
    );
    // What answers a client is small, and has half of it.
    let smaller = allocate_all(manager, order(3));
    let left = manager.zone_stats().free_frames();
    assert!(
        (min / 2..min / 2 + 8).contains(&left),
        "{left} are left of {min}"
    );
    for block in smaller {
        manager.free(block, order(3)).expect("a block in hand");
    }
    let small = manager.allocate(order(3)).expect("the reserve is for that");
    HostCpu::run_for(other);
    let large = manager.allocate(order(4)).expect("the reserve is for that");
    HostCpu::run_for(greedy);
    manager.free(small, order(3)).expect("a block in hand");
    manager.free(large, order(4)).expect("a block in hand");
    manager.free(held[0], order(4)).expect("a block in hand");
    assert!(manager.allocate(order(4)).is_ok(), "it is room again");
    assert!(manager.allocate(order(4)).is_err());
    HostCpu::run_for(super::super::accounts::Owner::KERNEL);
}

#[test]
fn frames_that_came_back_unseen_end_the_pressure_when_somebody_asks_what_is_missing() {
    let manager = manager(16 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    let told = Told::new();
    let held = allocate_all(manager, order(3));
    assert_eq!(manager.pressure(), Pressure::Min);
    // Whoever listens only now asks for the level once.
    manager.set_pressure_listener(told);
    let free = manager.zone_stats().free_frames();
    let missing = (manager.watermarks().high + 1 - free) * 4_096;
    assert_eq!(manager.missing_bytes(), missing);
    for block in held {
        manager.free(block, order(3)).expect("a block in hand");
    }
    assert_eq!(told.take(), [Pressure::Low, Pressure::None]);
    assert_eq!(manager.missing_bytes(), 0);
}

#[test]
fn a_page_cache_is_not_filled_from_the_reserve_for_whom_is_kept_off_it() {
    let manager = manager(32 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    let (greedy, other) = (owner(3), owner(4));
    manager.keep_off_reserve(greedy, Order::ZERO);
    HostCpu::run_for(greedy);
    let held = allocate_all(manager, Order::ZERO);
    assert!(manager.free_frames() <= manager.watermarks().min);
    assert!(manager.free_frames() + 32 >= manager.watermarks().min);
    HostCpu::run_for(other);
    let pages = allocate_all(manager, Order::ZERO);
    assert!(pages.len() + 32 >= manager.watermarks().min as usize);
    assert_eq!(manager.free_frames(), 0);
    for page in pages.into_iter().chain(held) {
        manager.free(page, Order::ZERO).expect("a page in hand");
    }
    HostCpu::run_for(super::super::accounts::Owner::KERNEL);
}
