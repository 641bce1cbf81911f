//! Frames: four workloads, the same for every allocator, with all of its memory.
//!
//! - `bulk`: every frame by order 0, freed in the order of allocation.
//! - `random-order`: the same, freed in random order.
//! - `repeat`: one frame again and again, with half of memory taken.
//! - `worst`, nos alone: what makes a visit to the zone long, for blocks of orders 0 and 2. One block of each pageblock comes
//!   back to memory that is full, and is taken again; and the last of each pageblock comes back to memory that is free.
//! - `random-90`: memory is filled with blocks of random orders, freed at random down to 90 %, and then: free a block at
//!   random, allocate until 90 % are taken again. Nine of ten requests are for one frame, the others for orders 1 to 9, each
//!   half as often as the one below. Requests that are refused count as well.

use crate::counting::{afresh, instructions};
use crate::fiber_support::{Machine, this_machine};
use crate::{Calls, Counted, Random, Taken, finish, row};
use alloc::vec;
use alloc::vec::Vec;
use allocator_peers::{BuddyFrames, BuddyHeap, PeerHeap};
use core::alloc::Layout;
use core::hint::black_box;
use core::ops::Range;
use nos::memory::frames::{FrameSource, Order, PAGE_SHIFT, PAGE_SIZE, Pfn};

/// The targets: instructions a pair, and of the dearest single call.
const BULK_MAX: u64 = 110;
const RANDOM_ORDER_MAX: u64 = 180;
const REPEAT_MAX: u64 = 70;
const RANDOM_90_MAX: u64 = 200;
const DEAREST_MAX: u64 = 5_000;

/// Pairs of `repeat`: so many that a few frames more or less of memory make no difference.
const REPEATS: usize = 20_000;
/// Frees of `random-90` for each frame, in quarters: every block changes hands some four times. A number that stays the
/// same would leave more memory mostly as the frees at random left it, which is another load.
const TURNOVER_QUARTERS: usize = 9;
/// Instructions after which a workload is cut short: the baseline's frees in random order are quadratic.
const BUDGET: u64 = 1_000_000_000;

/// An allocator of frames.
trait Frames {
    /// Its name in the rows.
    const NAME: &'static str;
    /// Whether the targets are for it.
    const IS_NOS: bool = false;

    /// Frames that it manages.
    fn frames(&self) -> usize;
    /// The first frame of a block.
    fn allocate(&self, order: Order) -> Option<u64>;
    /// Takes a block back.
    fn free(&self, first: u64, order: Order);
    /// Makes all frames free, whatever is still taken.
    fn reset(&mut self, live: &mut Live);
}

struct Nos(&'static Machine);

impl Frames for Nos {
    const NAME: &'static str = "nos";
    const IS_NOS: bool = true;

    fn frames(&self) -> usize {
        self.0.ground.memory.free_frames() as usize
    }

    #[inline(always)]
    fn allocate(&self, order: Order) -> Option<u64> {
        let memory = afresh(self.0.ground.memory);
        memory.allocate(order).ok().map(|first| first.0)
    }

    #[inline(always)]
    fn free(&self, first: u64, order: Order) {
        let freed = afresh(self.0.ground.memory).free(Pfn(first), order);
        // A branch that counts, as for every caller.
        if freed.is_err() {
            refused(first);
        }
    }

    fn reset(&mut self, live: &mut Live) {
        while live.len > 0 {
            let (first, order) = live.swap_remove(live.len - 1);
            self.free(first, order);
        }
    }
}

#[cold]
#[inline(never)]
fn refused(first: u64) -> ! {
    panic!("frame {first:#x} is not taken back")
}

/// The crate's heap, which writes its links into the frames.
struct OfBuddyHeap {
    memory: Range<usize>,
    heap: BuddyHeap,
}

impl OfBuddyHeap {
    #[inline(always)]
    fn layout(order: Order) -> Layout {
        // SAFETY: a power of two, and no more than the largest block.
        unsafe { Layout::from_size_align_unchecked(order.bytes(), order.bytes()) }
    }

    fn new_heap(memory: &Range<usize>) -> BuddyHeap {
        // SAFETY: `Taken` holds the memory, and the heap before it is forgotten.
        unsafe { BuddyHeap::new(memory.clone()) }
    }
}

impl Frames for OfBuddyHeap {
    const NAME: &'static str = "buddy-heap";

    fn frames(&self) -> usize {
        self.memory.len() / PAGE_SIZE
    }

    #[inline(always)]
    fn allocate(&self, order: Order) -> Option<u64> {
        let block = afresh(&self.heap).allocate(Self::layout(order));
        (!block.is_null()).then_some(block as u64 >> PAGE_SHIFT)
    }

    #[inline(always)]
    fn free(&self, first: u64, order: Order) {
        let block = Pfn(first).address() as *mut u8;
        // SAFETY: the block was given out with that order.
        unsafe { afresh(&self.heap).free(block, Self::layout(order)) }
    }

    fn reset(&mut self, live: &mut Live) {
        live.len = 0;
        self.heap = Self::new_heap(&self.memory);
    }
}

/// The crate's frame allocator: numbers in trees.
struct OfBuddyFrames {
    frames: Range<usize>,
    allocator: BuddyFrames,
}

impl Frames for OfBuddyFrames {
    const NAME: &'static str = "buddy-frames";

    fn frames(&self) -> usize {
        self.frames.len()
    }

    #[inline(always)]
    fn allocate(&self, order: Order) -> Option<u64> {
        let first = afresh(&self.allocator).allocate(order.frames() as usize);
        first.map(|first| first as u64)
    }

    #[inline(always)]
    fn free(&self, first: u64, order: Order) {
        afresh(&self.allocator).free(first as usize, order.frames() as usize);
    }

    fn reset(&mut self, live: &mut Live) {
        live.len = 0;
        self.allocator = BuddyFrames::new(self.frames.clone());
    }
}

/// The blocks that are taken, in pieces that the heap has blocks for.
struct Live {
    pieces: Vec<Vec<u32>>,
    len: usize,
}

impl Live {
    const PIECE: usize = 1 << 16;
    const ORDER_BITS: u32 = 4;

    /// Room for so many blocks.
    fn new(count: usize) -> Self {
        let piece = |_| vec![0; Self::PIECE];
        Self {
            pieces: (0..count.div_ceil(Self::PIECE)).map(piece).collect(),
            len: 0,
        }
    }

    fn place(&mut self, index: usize) -> &mut u32 {
        &mut self.pieces[index / Self::PIECE][index % Self::PIECE]
    }

    fn get(&mut self, index: usize) -> (u64, Order) {
        assert!(index < self.len);
        let word = *self.place(index);
        let order = Order::new(word as u8 & 0xf).expect("it was packed");
        (u64::from(word >> Self::ORDER_BITS), order)
    }

    fn push(&mut self, first: u64, order: Order) {
        let index = self.len;
        *self.place(index) = (first as u32) << Self::ORDER_BITS | u32::from(order.get());
        self.len += 1;
    }

    fn swap_remove(&mut self, index: usize) -> (u64, Order) {
        let block = self.get(index);
        self.len -= 1;
        let last = self.len;
        *self.place(index) = *self.place(last);
        block
    }

    fn shuffle(&mut self, random: &mut Random) {
        for last in (1..self.len).rev() {
            let other = random.below(last + 1);
            let word = *self.place(other);
            *self.place(other) = *self.place(last);
            *self.place(last) = word;
        }
    }
}

pub(crate) fn of_nos(_: usize) {
    let machine = this_machine();
    let mut live = Live::new(machine.ground.memory.total_frames() as usize);
    let before = machine.ground.memory.free_frames();
    measure(&mut Nos(machine), &mut live);
    assert_eq!(machine.ground.memory.free_frames(), before, "all is free");
    drop(live);
    finish();
}

pub(crate) fn of_peers(_: usize) {
    let machine = this_machine();
    let mut live = Live::new(machine.ground.memory.total_frames() as usize);
    let taken = Taken::all(machine);
    let (memory, frames) = (taken.longest(), taken.longest_frames());
    let mut heap = OfBuddyHeap {
        heap: OfBuddyHeap::new_heap(&memory),
        memory,
    };
    measure(&mut heap, &mut live);
    // The trees' nodes need memory: that of the other half of the machine would do, so it goes back first.
    drop(taken);
    let mut allocator = OfBuddyFrames {
        allocator: BuddyFrames::new(frames.clone()),
        frames,
    };
    measure(&mut allocator, &mut live);
    drop((live, allocator));
    finish();
}

fn measure<F: Frames>(frames: &mut F, live: &mut Live) {
    let workloads: [(&str, Workload<F>, u64); 4] = [
        ("bulk", bulk, BULK_MAX),
        ("random-order", random_order, RANDOM_ORDER_MAX),
        ("repeat", repeat, REPEAT_MAX),
        ("random-90", random_90, RANDOM_90_MAX),
    ];
    let mut dearest = 0;
    for (case, workload, limit) in workloads {
        let mut counted = Counted::default();
        let failed = workload(frames, live, &mut counted);
        counted.print(case, F::NAME, F::IS_NOS.then_some(limit));
        row(case, F::NAME, "frees", counted.frees.count, None);
        row(case, F::NAME, "failed_allocations", failed, None);
        let calls = [&counted.allocations, &counted.frees].map(Calls::dearest);
        dearest = calls.into_iter().fold(dearest, u64::max);
        frames.reset(live);
    }
    if F::IS_NOS {
        let mut counted = Counted::default();
        for order in [0, 2] {
            worst(
                frames,
                live,
                Order::new(order).expect("an order"),
                &mut counted,
            );
            frames.reset(live);
        }
        counted.print("worst", F::NAME, None);
        let calls = [&counted.allocations, &counted.frees].map(Calls::dearest);
        dearest = calls.into_iter().fold(dearest, u64::max);
    }
    let limit = F::IS_NOS.then_some(DEAREST_MAX);
    row("dearest", F::NAME, "instructions_dearest", dearest, limit);
}

/// Counts what it does, and answers how many allocations failed that were counted.
type Workload<F> = fn(&F, &mut Live, &mut Counted) -> u64;

/// Allocates, counted.
#[inline(always)]
fn allocate<F: Frames>(frames: &F, order: Order, calls: &mut Calls) -> Option<u64> {
    let order = black_box(order);
    let began = instructions();
    let first = frames.allocate(order);
    let ended = instructions();
    calls.note(began, ended);
    first
}

/// Frees, counted.
#[inline(always)]
fn free<F: Frames>(frames: &F, (first, order): (u64, Order), calls: &mut Calls) {
    let (first, order) = black_box((first, order));
    let began = instructions();
    frames.free(first, order);
    let ended = instructions();
    calls.note(began, ended);
}

/// Takes every frame by order 0; what the refusal in the end costs is not counted.
fn fill<F: Frames>(frames: &F, live: &mut Live, calls: &mut Calls) {
    loop {
        let before = *calls;
        let Some(first) = allocate(frames, Order::ZERO, calls) else {
            *calls = before;
            return;
        };
        live.push(first, Order::ZERO);
    }
}

fn bulk<F: Frames>(frames: &F, live: &mut Live, counted: &mut Counted) -> u64 {
    fill(frames, live, &mut counted.allocations);
    for index in 0..live.len {
        free(frames, live.get(index), &mut counted.frees);
    }
    live.len = 0;
    0
}

fn random_order<F: Frames>(frames: &F, live: &mut Live, counted: &mut Counted) -> u64 {
    fill(frames, live, &mut counted.allocations);
    live.shuffle(&mut Random::new(0x9e37_79b9_7f4a_7c15));
    while live.len > 0 && counted.frees.sum < BUDGET {
        let block = live.swap_remove(live.len - 1);
        free(frames, block, &mut counted.frees);
    }
    0
}

fn repeat<F: Frames>(frames: &F, live: &mut Live, counted: &mut Counted) -> u64 {
    for _ in 0..frames.frames() / 2 {
        let first = frames.allocate(Order::ZERO).expect("half is free");
        live.push(first, Order::ZERO);
    }
    for _ in 0..REPEATS {
        let first = allocate(frames, Order::ZERO, &mut counted.allocations);
        let first = first.expect("half is free");
        free(frames, (first, Order::ZERO), &mut counted.frees);
    }
    0
}

/// Frames of a pageblock.
const PAGEBLOCK_FRAMES: u64 = 512;
/// Which block of a pageblock is the one: none at its ends.
const THE_ONE: u64 = 76;

fn worst<F: Frames>(frames: &F, live: &mut Live, order: Order, counted: &mut Counted) {
    while let Some(first) = frames.allocate(order) {
        live.push(first, order);
    }
    let is_the_one = |(first, _): (u64, Order)| first % PAGEBLOCK_FRAMES == THE_ONE;
    // All of those at the end.
    let mut ones = 0;
    for index in (0..live.len).rev() {
        if is_the_one(live.get(index)) {
            ones += 1;
            let other = live.len - ones;
            let (one, last) = (*live.place(index), *live.place(other));
            *live.place(index) = last;
            *live.place(other) = one;
        }
    }
    for index in live.len - ones..live.len {
        free(frames, live.get(index), &mut counted.frees);
    }
    live.len -= ones;
    for _ in 0..ones {
        let first = allocate(frames, order, &mut counted.allocations);
        live.push(first.expect("as many are free"), order);
    }
    for index in 0..live.len - ones {
        let (first, order) = live.get(index);
        frames.free(first, order);
    }
    for index in live.len - ones..live.len {
        free(frames, live.get(index), &mut counted.frees);
    }
    live.len = 0;
}

/// Nine of ten: one frame. Of the others each order half as often as the one below it, up to order 9.
fn random_size(random: &mut Random) -> Order {
    let order = match random.below(10) {
        0 => 1 + (random.below(1 << 9) as u32 | 1 << 8).trailing_zeros(),
        _ => 0,
    };
    Order::new(order as u8).expect("below 10")
}

fn random_90<F: Frames>(frames: &F, live: &mut Live, counted: &mut Counted) -> u64 {
    let mut random = Random::new(0xd1b5_4a32_d192_ed03);
    let mut failed = 0;
    // An image that ends a frame later would be another run of dice: 157 to 169, as tried with 24 sizes of memory. So the
    // lowest frames are held until whole chunks are left.
    let all = frames.frames();
    let odd = all % Order::MAX.frames() as usize;
    let whole = all - odd;
    for _ in 0..odd {
        let first = frames.allocate(Order::ZERO).expect("all is free");
        live.push(first, Order::ZERO);
    }
    let full = whole as u64 * 9 / 10;
    let mut used = 0;
    // Until blocks are refused, and then to the last frame.
    for only in [None, Some(Order::ZERO)] {
        loop {
            let order = only.unwrap_or_else(|| random_size(&mut random));
            let Some(first) = frames.allocate(order) else {
                break;
            };
            live.push(first, order);
            used += order.frames();
        }
    }
    while used > full {
        let (first, order) = live.swap_remove(odd + random.below(live.len - odd));
        frames.free(first, order);
        used -= order.frames();
    }
    for _ in 0..whole * TURNOVER_QUARTERS / 4 {
        let block = live.swap_remove(odd + random.below(live.len - odd));
        free(frames, block, &mut counted.frees);
        used -= block.1.frames();
        while used < full {
            let order = random_size(&mut random);
            match allocate(frames, order, &mut counted.allocations) {
                Some(first) => {
                    live.push(first, order);
                    used += order.frames();
                }
                None => {
                    failed += 1;
                    break;
                }
            }
        }
    }
    failed
}
