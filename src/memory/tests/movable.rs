//! Movable pages: who may free them, and what a move changes.
#![allow(unsafe_code, reason = "reads and writes pages that it holds")]

use super::super::accounts::Owner;
use super::super::compaction::{Background, Compacted, CompactionPolicy, Foreground, Move, QUIET};
use super::super::frames::{FrameSource, Mobility, Order, PAGE_SIZE, Pfn};
use super::super::manager::{MemoryManager, Mover};
use super::super::page_cache::PageCachePolicy;
use super::super::test_support::{HostCpu, Random, manager, order, owner, shared_writes};
use super::super::zone::Zone;
use super::MIB;
use crate::platform::time::{Duration, Instant};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::boxed::Box;
use std::sync::Mutex;
use std::vec;
use std::vec::Vec;

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
    let take = |zone: &mut Zone| zone.take(Order::ZERO, Mobility::Movable);

    let moved = frames.relocate(page, take);
    assert_eq!(moved, Move::Refused, "nobody moves it yet");
    let holder: &'static Holder = Box::leak(Box::new(Holder(AtomicU64::new(0))));
    frames.set_mover(of, holder);
    assert_eq!(
        frames.relocate(page, take),
        Move::Refused,
        "its owner does not"
    );
    assert_eq!(frames.relocate(page, |_| None), Move::NoRoom);
    assert_eq!(
        (frames.free_frames(), frames.movable(page)),
        (free, Some((of, 7)))
    );

    holder.0.store(page.0, Relaxed);
    assert_eq!(frames.relocate(page, take), Move::Done);
    let to = Pfn(holder.0.load(Relaxed));
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
    let moved = frames.relocate(to, take);
    assert_eq!(moved, Move::Refused, "it is in nobody's hands");
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

/// Pages by number, each with its number in it.
struct Pages(Mutex<Vec<Option<Pfn>>>);

impl Mover for Pages {
    fn relocate(&self, from: Pfn, to: Pfn, tag: u32) -> bool {
        let place = &mut self.0.lock().expect("nobody panics with it")[tag as usize];
        if *place != Some(from) {
            return false;
        }
        write_number(to, read_number(from));
        *place = Some(to);
        true
    }
}

fn write_number(page: Pfn, number: u64) {
    // SAFETY: the page is the caller's.
    unsafe { (page.address() as *mut u64).write(number) };
}

fn read_number(page: Pfn) -> u64 {
    // SAFETY: as above, and a number was written there.
    unsafe { (page.address() as *const u64).read() }
}

/// Memory of which four fifths were movable pages; of those a quarter is left, all over memory.
fn scattered() -> (&'static MemoryManager<HostCpu>, &'static Pages) {
    scattered_for(|pages| pages)
}

/// The same, with pages that another mover moves.
fn scattered_for(
    mover: impl FnOnce(&'static Pages) -> &'static dyn Mover,
) -> (&'static MemoryManager<HostCpu>, &'static Pages) {
    let frames = manager(64 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    let pages: &'static Pages = Box::leak(Box::new(Pages(Mutex::new(Vec::new()))));
    frames.set_mover(owner(3), mover(pages));
    let mut held = pages.0.lock().expect("nobody panics with it");
    for number in 0..frames.total_frames() as u32 * 4 / 5 {
        let page = frames.allocate_movable(owner(3), number).expect("memory");
        write_number(page, u64::from(number));
        held.push(Some(page));
    }
    let mut random = Random::new(5);
    for page in held.iter_mut() {
        if random.below(4) > 0
            && let Some(page) = page.take()
        {
            frames.free_movable(page).expect("a page in hand");
        }
    }
    drop(held);
    (frames, pages)
}

/// Checks that each page has its number in it, and frees them all.
fn free_all(frames: &MemoryManager<HostCpu>, pages: &Pages) {
    let held = pages.0.lock().expect("nobody panics with it");
    for (number, page) in held.iter().enumerate() {
        if let Some(page) = *page {
            assert_eq!(read_number(page), number as u64);
            frames.free_movable(page).expect("a page in hand");
        }
    }
    assert_eq!(frames.usage(owner(3)).used_bytes, 0);
}

#[test]
fn compaction_gathers_pages_and_keeps_what_lies_in_them() {
    let (frames, pages) = scattered();
    let used = frames.usage(owner(3)).used_bytes;
    let done = frames.compact(CompactionPolicy::DEFAULT, usize::MAX, &|| false);
    assert!(done.moves <= CompactionPolicy::DEFAULT.moves_max * done.pageblocks);
    assert_eq!((done.stuck, frames.usage(owner(3)).used_bytes), (0, used));
    let blocks: Vec<_> = core::iter::from_fn(|| frames.allocate(order(9)).ok()).collect();
    let free = frames.free_frames() + 512 * blocks.len() as u64;
    assert!(
        blocks.len() as u64 * 512 * 100 >= 95 * free,
        "{} of {free}",
        blocks.len()
    );
    for block in blocks {
        frames.free(block, order(9)).expect("a block in hand");
    }
    free_all(frames, pages);
    assert_eq!(frames.free_frames(), frames.total_frames());
}

#[test]
fn a_large_block_that_is_refused_is_there_after_compaction() {
    let (frames, pages) = scattered();
    let blocks: Vec<_> = core::iter::from_fn(|| {
        let runs = frames.compaction().runs.get();
        let block = frames.allocate(order(9)).ok()?;
        Some((block, frames.compaction().runs.get() - runs))
    })
    .collect();
    assert_eq!(blocks[0].1, 0, "there was one free");
    let compacted = blocks.iter().filter(|(_, runs)| *runs > 0).count();
    assert!(compacted > 10, "{compacted} of {}", blocks.len());
    assert!(frames.compaction().pageblocks.get() >= compacted as u64);
    free_all(frames, pages);
}

#[test]
fn compaction_moves_nothing_while_it_is_busy_and_where_nobody_moves_anything() {
    let (frames, pages) = scattered();
    let done = frames.compact(CompactionPolicy::DEFAULT, usize::MAX, &|| true);
    assert_eq!(done, Compacted::default());
    free_all(frames, pages);
    let frames = manager(8 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    frames.allocate_movable(owner(3), 0).expect("memory");
    let done = frames.compact(CompactionPolicy::DEFAULT, usize::MAX, &|| false);
    assert_eq!(
        (done, frames.compaction().runs.get()),
        (Compacted::default(), 0)
    );
}

/// Takes a turn when it is told to.
struct Clients(AtomicU64);

impl Foreground for Clients {
    fn turns(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Clients {
    fn new() -> &'static Self {
        Box::leak(Box::new(Self(AtomicU64::new(0))))
    }

    fn work(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// The share of free memory in blocks of 2 MiB, in per cent.
fn whole_percent(frames: &MemoryManager<HostCpu>) -> u64 {
    let scattered = frames.zone_stats().fragmentation_millionths(order(9));
    100 - scattered / 10_000
}

#[test]
fn memory_is_compacted_in_the_background_while_nobody_works() {
    let (frames, pages) = scattered();
    // A CPU that sleeps has given back what was in its cache.
    frames.drain_all();
    let clients = Clients::new();
    let mut background = Background::new(frames, clients, CompactionPolicy::DEFAULT);
    assert!(whole_percent(frames) < 50);
    let mut now = Instant::ZERO;
    // Whenever it looks, there was work since.
    for _ in 0..5 {
        let next = background.poll(now).expect("there is something to do");
        assert_eq!(next, now + QUIET);
        assert_eq!(background.poll(now), Some(next), "it is not time yet");
        now = next;
        clients.work();
    }
    assert_eq!(frames.compaction().moves.get(), 0);
    now = background.poll(now).expect("there is something to do");
    let mut steps = 0;
    while let Some(next) = background.poll(now) {
        assert_eq!(next, now, "nobody works");
        steps += 1;
        let recovered = frames.compaction().pageblocks.get();
        assert_eq!((recovered, frames.compaction().runs.get()), (steps, steps));
    }
    assert!(steps > 10, "{steps} steps");
    assert!(frames.compaction().moves.get() <= 310 * steps);
    assert!(whole_percent(frames) >= 95, "{}", whole_percent(frames));
    // There is nothing to do any more, until there was work, and after that.
    clients.work();
    let runs = frames.compaction().runs.get();
    let next = background.poll(now).expect("it looks again");
    assert_eq!(background.poll(next), None);
    assert_eq!(
        frames.compaction().runs.get(),
        runs,
        "too little is scattered"
    );
    free_all(frames, pages);
}

/// Moves pages, and has the clients work after so many.
struct Interrupted {
    pages: &'static Pages,
    clients: &'static Clients,
    moves: AtomicU64,
}

impl Mover for Interrupted {
    fn relocate(&self, from: Pfn, to: Pfn, tag: u32) -> bool {
        if self.moves.fetch_add(1, Relaxed) == 10 {
            self.clients.work();
        }
        self.pages.relocate(from, to, tag)
    }
}

#[test]
fn a_step_in_the_background_stops_at_once_when_somebody_works_and_goes_on_later() {
    let clients = Clients::new();
    let (frames, pages) = scattered_for(|pages| {
        let moves = AtomicU64::new(0);
        Box::leak(Box::new(Interrupted {
            pages,
            clients,
            moves,
        }))
    });
    frames.drain_all();
    let mut background = Background::new(frames, clients, CompactionPolicy::DEFAULT);
    let now = background
        .poll(Instant::ZERO)
        .expect("there is something to do");
    let next = background.poll(now).expect("there is more to do");
    assert_eq!(next, now + QUIET);
    // The move that was under way is made.
    assert_eq!(frames.compaction().moves.get(), 11);
    assert_eq!(frames.compaction().pageblocks.get(), 0);
    let now = background.poll(next).expect("it was not quiet until now");
    assert_eq!((now, frames.compaction().moves.get()), (next + QUIET, 11));
    assert_eq!(background.poll(now), Some(now));
    assert_eq!(frames.compaction().pageblocks.get(), 1);
    free_all(frames, pages);
}

#[test]
fn where_nobody_moves_anything_the_background_costs_no_visit_and_no_wake() {
    let frames = manager(8 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    frames.allocate_movable(owner(3), 0).expect("memory");
    let clients = Clients::new();
    let mut background = Background::new(frames, clients, CompactionPolicy::DEFAULT);
    let before = shared_writes();
    for second in 0..10 {
        clients.work();
        let now = Instant::ZERO + Duration::from_secs(second);
        assert_eq!(background.poll(now), None);
    }
    assert_eq!(shared_writes().visits, before.visits);
}

#[test]
fn what_its_owner_does_not_move_is_not_tried_again() {
    let (frames, pages) = scattered();
    // None of them is where the owner believes it is.
    let held = core::mem::take(&mut *pages.0.lock().expect("nobody panics with it"));
    let count = held.len();
    *pages.0.lock().expect("nobody panics with it") = vec![None; count];
    let done = frames.compact(CompactionPolicy::DEFAULT, usize::MAX, &|| false);
    assert_eq!((done.moves, done.pageblocks), (0, 0));
    assert!(done.stuck > 10);
    let again = frames.compact(CompactionPolicy::DEFAULT, usize::MAX, &|| false);
    assert_eq!(again, Compacted::default());
    *pages.0.lock().expect("nobody panics with it") = held;
    free_all(frames, pages);
}
