//! Any requests of the memory manager, good and bad, on two CPUs and for three owners: no frame is in two hands, bad frees
//! are refused and change nothing, what lies in a page that is moved comes along, and in the end all memory is there.
//!
//! One manager serves all inputs, and each gives back what it took.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nos::memory::accounts::Owner;
use nos::memory::compaction::CompactionPolicy;
use nos::memory::frames::{FrameSource, Order, Pfn};
use nos::memory::{LocalCpu, MemoryManager, Mover, PageCachePolicy, PreemptionState};
use std::alloc::{Layout, alloc_zeroed};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex};

const CPUS: usize = 2;
/// Memory in bytes, with a hole in it; its start is aligned to that of the largest blocks.
const MEMORY_BYTES: usize = 16 << 20;
const HOLE: std::ops::Range<usize> = (5 << 20) + 4096..(6 << 20) - 8192;

static CPU: AtomicUsize = AtomicUsize::new(0);
static OWNER: AtomicU8 = AtomicU8::new(0);

/// Whatever CPU the input says; what it asks of the other is done at once.
struct AnyCpu;

impl LocalCpu for AnyCpu {
    fn current(&self) -> usize {
        CPU.load(Relaxed)
    }

    fn owner(&self) -> Owner {
        Owner::from_low_bits(OWNER.load(Relaxed))
    }

    fn disable_preemption(&self) -> PreemptionState {
        PreemptionState(0)
    }

    fn ticks(&self) -> u64 {
        1
    }

    fn nanos(&self, ticks: u64) -> u64 {
        ticks
    }

    fn restore_preemption(&self, _: PreemptionState) {}

    fn ask(&self, cpu: usize, obey: &dyn Fn()) {
        let this = CPU.swap(cpu, Relaxed);
        obey();
        CPU.store(this, Relaxed);
    }
}

/// The pages that can be moved, by tag.
#[derive(Default)]
struct Pages(Mutex<Vec<Option<Pfn>>>);

static PAGES: LazyLock<Pages> = LazyLock::new(Pages::default);

impl Mover for Pages {
    fn relocate(&self, from: Pfn, to: Pfn, tag: u32) -> bool {
        let place = &mut self.0.lock().expect("one thread")[tag as usize];
        // Every eighth refuses.
        if *place != Some(from) || tag % 8 == 7 {
            return false;
        }
        // SAFETY: the first is this owner's, and the second has been handed to it.
        unsafe { (to.address() as *mut u32).write((from.address() as *const u32).read()) };
        *place = Some(to);
        true
    }
}

static MANAGER: LazyLock<MemoryManager<AnyCpu>> = LazyLock::new(|| {
    let layout =
        Layout::from_size_align(MEMORY_BYTES, Order::MAX.bytes()).expect("a size in reason");
    // SAFETY: the size is not 0.
    let start = unsafe { alloc_zeroed(layout) }.expose_provenance();
    assert_ne!(start, 0, "the host has memory");
    let hole = start + HOLE.start..start + HOLE.end;
    let ram = start..start + MEMORY_BYTES;
    // SAFETY: this memory is leaked, and the CPU of the one thread is below 2.
    let manager =
        unsafe { MemoryManager::new(&[ram], &[hole], CPUS, PageCachePolicy::DEFAULT, AnyCpu) };
    manager.expect("memory enough")
});

/// What is in hand: blocks by their first frame, with their orders; and pages that can be moved.
#[derive(Default)]
struct Held {
    blocks: BTreeMap<u64, Order>,
    movable: usize,
    frames: u64,
}

impl Held {
    /// Notes a block that was handed out.
    fn take(&mut self, first: Pfn, order: Order) {
        let end = first.0 + order.frames();
        let before = self.blocks.range(..end).next_back();
        assert!(
            before.is_none_or(|(start, order)| start + order.frames() <= first.0),
            "in two hands"
        );
        let movable = PAGES.0.lock().expect("one thread");
        assert!(
            movable
                .iter()
                .flatten()
                .all(|page| page.0 < first.0 || page.0 >= end),
            "in two hands"
        );
        self.blocks.insert(first.0, order);
        self.frames += order.frames();
    }

    /// The block of that number among those in hand, counted round.
    fn pick(&self, number: u8) -> Option<(Pfn, Order)> {
        let number = usize::from(number).checked_rem(self.blocks.len())?;
        self.blocks
            .iter()
            .nth(number)
            .map(|(&first, &order)| (Pfn(first), order))
    }
}

fn order(number: u8) -> Order {
    Order::new(number % Order::COUNT as u8).expect("an order")
}

/// Does what two bytes say.
fn step(manager: &'static MemoryManager<AnyCpu>, held: &mut Held, what: u8, number: u8) {
    match what % 16 {
        0..=4 => {
            // Mostly small ones.
            let order = if what < 0xc0 {
                order(number % 4)
            } else {
                order(number)
            };
            if let Ok(first) = manager.allocate(order) {
                held.take(first, order);
            }
        }
        5..=7 => {
            if let Some((first, order)) = held.pick(number) {
                manager.free(first, order).expect("a block in hand");
                held.blocks.remove(&first.0);
                held.frames -= order.frames();
                assert!(manager.free(first, order).is_err(), "a second free");
            }
        }
        8 => {
            if let Some((first, right)) = held.pick(number) {
                let wrong = order(what / 16);
                assert!(
                    wrong == right || manager.free(first, wrong).is_err(),
                    "a wrong order"
                );
                assert!(
                    right == Order::ZERO || manager.free(Pfn(first.0 + 1), right).is_err(),
                    "misaligned"
                );
                assert!(
                    manager.free_movable(first).is_err(),
                    "it is no movable page"
                );
            }
        }
        9 => {
            // Any frame of memory, of the hole, and beyond.
            let chunk = manager_start() + u64::from(what / 16) * 0x155;
            let first = Pfn(chunk + u64::from(number) * 3);
            let order = order(number);
            assert!(
                held.blocks.get(&first.0) == Some(&order) || manager.free(first, order).is_err()
            );
        }
        10 | 11 => {
            let mut pages = PAGES.0.lock().expect("one thread");
            let tag = pages
                .iter()
                .position(Option::is_none)
                .unwrap_or(pages.len());
            drop(pages);
            if let Ok(page) = manager.allocate_movable(Owner::from_low_bits(2), tag as u32) {
                let at = held.blocks.range(..=page.0).next_back();
                assert!(
                    at.is_none_or(|(start, order)| start + order.frames() <= page.0),
                    "in two hands"
                );
                pages = PAGES.0.lock().expect("one thread");
                assert!(!pages.contains(&Some(page)), "in two hands");
                // SAFETY: it was just handed out.
                unsafe { (page.address() as *mut u32).write(tag as u32) };
                if tag == pages.len() {
                    pages.push(None);
                }
                pages[tag] = Some(page);
                held.movable += 1;
                held.frames += 1;
            }
        }
        12 => free_movable(manager, held, usize::from(number)),
        13 => CPU.store(usize::from(number) % CPUS, Relaxed),
        14 => OWNER.store(number % 2, Relaxed),
        _ if number < 32 => manager.drain_all(),
        _ => drop(
            manager.compact(CompactionPolicy::DEFAULT, usize::from(number) % 4, &|| {
                false
            }),
        ),
    }
}

/// Frees the movable page of that tag, if there is one.
fn free_movable(manager: &MemoryManager<AnyCpu>, held: &mut Held, tag: usize) {
    let page = PAGES
        .0
        .lock()
        .expect("one thread")
        .get_mut(tag)
        .and_then(Option::take);
    if let Some(page) = page {
        // SAFETY: it is in hand.
        let number = unsafe { (page.address() as *const u32).read() };
        assert_eq!(number as usize, tag, "another page's content");
        manager.free_movable(page).expect("a page in hand");
        assert!(manager.free_movable(page).is_err(), "a second free");
        held.movable -= 1;
        held.frames -= 1;
    }
}

/// The first frame of the memory, or one near it.
fn manager_start() -> u64 {
    static START: LazyLock<u64> = LazyLock::new(|| {
        let first = MANAGER.allocate(Order::MAX).expect("it is all free");
        MANAGER.free(first, Order::MAX).expect("a block in hand");
        first.0 / Order::MAX.frames() * Order::MAX.frames() - 3 * Order::MAX.frames()
    });
    *START
}

fuzz_target!(|input: &[u8]| {
    let manager: &'static MemoryManager<AnyCpu> = &MANAGER;
    manager_start();
    manager.set_mover(Owner::from_low_bits(2), &*PAGES);
    let mut held = Held::default();
    let total = manager.total_frames();
    for pair in input.chunks_exact(2) {
        step(manager, &mut held, pair[0], pair[1]);
        assert_eq!(manager.free_frames(), total - held.frames);
    }
    for (first, order) in core::mem::take(&mut held.blocks) {
        manager.free(Pfn(first), order).expect("a block in hand");
        held.frames -= order.frames();
    }
    let tags = PAGES.0.lock().expect("one thread").len();
    for tag in 0..tags {
        free_movable(manager, &mut held, tag);
    }
    assert_eq!((held.frames, held.movable), (0, 0));
    manager.drain_all();
    assert_eq!(manager.free_frames(), total);
    assert!(Owner::all().all(|owner| manager.usage(owner).used_bytes == 0));
});
