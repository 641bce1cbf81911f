//! Heaps: two workloads, the same for every allocator.
//!
//! `heap-repeat`: 64 bytes again and again. `heap-churn`: 20,000 live objects of 8 to 4,096 bytes, log-uniform: free one at
//! random, allocate another. Its span is what the heap then takes of memory, in relation to the bytes that are live: for
//! nos the frames it holds, for a heap over one stretch of memory the part that it has used.

use crate::counting::{afresh, instructions};
use crate::fiber_support::{Machine, this_machine};
use crate::{Counted, Random, Taken, finish, row};
use alloc::vec::Vec;
use allocator_peers::{BuddyHeap, DlmallocHeap, PeerHeap, RlsfHeap, TalcHeap};
use core::alloc::Layout;
use core::hint::black_box;
use nos::memory::frames::{FrameSource, PAGE_SIZE};

/// The targets: instructions a pair, and hundredths of a byte taken for each that is live.
const REPEAT_MAX: u64 = 60;
const CHURN_MAX: u64 = 110;
const SPAN_MAX: u64 = 130;

const REPEATS: usize = 20_000;
/// Live objects, and pairs before those that are counted.
const OBJECTS: usize = 20_000;
const WARM_UP: usize = 20_000;
const STEPS: usize = 50_000;
/// Sizes to a doubling, and doublings from 8 to 4,096 bytes.
const STEPS_A_DOUBLING: usize = 64;
const DOUBLINGS: usize = 9;

/// A heap.
trait Heap {
    fn allocate(&self, layout: Layout) -> *mut u8;
    /// # Safety
    /// It came from this heap, with this layout.
    unsafe fn free(&self, object: *mut u8, layout: Layout);
    /// Bytes that live objects take, for a heap whose addresses lay within `used` bytes.
    fn spanned_bytes(&self, used: usize) -> u64;
}

/// The global allocator; with what was free before.
struct Nos {
    machine: &'static Machine,
    free_frames: u64,
}

impl Nos {
    fn new(machine: &'static Machine) -> Self {
        let free_frames = machine.ground.memory.free_frames();
        Self {
            machine,
            free_frames,
        }
    }
}

impl Heap for Nos {
    #[inline(always)]
    fn allocate(&self, layout: Layout) -> *mut u8 {
        // SAFETY: no layout here is of size zero.
        unsafe { alloc::alloc::alloc(layout) }
    }

    #[inline(always)]
    unsafe fn free(&self, object: *mut u8, layout: Layout) {
        // SAFETY: our caller's promise.
        unsafe { alloc::alloc::dealloc(object, layout) }
    }

    fn spanned_bytes(&self, _: usize) -> u64 {
        (self.free_frames - self.machine.ground.memory.free_frames()) * PAGE_SIZE as u64
    }
}

struct Peer<P>(P);

impl<P: PeerHeap> Heap for Peer<P> {
    #[inline(always)]
    fn allocate(&self, layout: Layout) -> *mut u8 {
        afresh(&self.0).allocate(layout)
    }

    #[inline(always)]
    unsafe fn free(&self, object: *mut u8, layout: Layout) {
        // SAFETY: our caller's promise.
        unsafe { afresh(&self.0).free(object, layout) }
    }

    fn spanned_bytes(&self, used: usize) -> u64 {
        used as u64
    }
}

pub(crate) fn of_nos(_: usize) {
    let machine = this_machine();
    measure(|| Nos::new(machine), "nos", true);
    finish();
}

/// As owner 0, whose arena is everybody's.
pub(crate) fn of_the_kernel(machine: &'static Machine) {
    measure(|| Nos::new(machine), "nos-kernel", false);
}

pub(crate) fn of_peers(_: usize) {
    let machine = this_machine();
    let taken = Taken::all(machine);
    fn peer<P: PeerHeap>(memory: &Taken, name: &str) {
        // SAFETY: `memory` holds it, and each heap is dropped before the next is made.
        measure(|| Peer(unsafe { P::new(memory.longest()) }), name, false);
    }
    peer::<BuddyHeap>(&taken, "buddy-heap");
    peer::<TalcHeap>(&taken, "talc");
    peer::<DlmallocHeap>(&taken, "dlmalloc");
    peer::<RlsfHeap>(&taken, "rlsf");
    drop(taken);
    finish();
}

fn measure<H: Heap>(heap: impl Fn() -> H, subject: &str, is_held: bool) {
    let counted = repeat(&heap());
    counted.print("heap-repeat", subject, is_held.then_some(REPEAT_MAX));
    // The benchmark's own tables come before what is free is looked at.
    let mut objects = Vec::with_capacity(OBJECTS);
    let sizes = sizes();
    let (counted, span) = churn(&heap(), &mut objects, &sizes);
    counted.print("heap-churn", subject, is_held.then_some(CHURN_MAX));
    let limit = is_held.then_some(SPAN_MAX);
    row(
        "heap-churn",
        subject,
        "percent_spanned_of_live",
        span,
        limit,
    );
}

#[inline(always)]
fn allocate<H: Heap>(heap: &H, layout: Layout, counted: &mut Counted) -> *mut u8 {
    let layout = black_box(layout);
    let began = instructions();
    let object = heap.allocate(layout);
    let ended = instructions();
    counted.allocations.note(began, ended);
    assert!(!object.is_null(), "there is memory");
    object
}

#[inline(always)]
fn free<H: Heap>(heap: &H, object: *mut u8, layout: Layout, counted: &mut Counted) {
    let (object, layout) = black_box((object, layout));
    let began = instructions();
    // SAFETY: it was allocated here with this layout, and is freed once.
    unsafe { heap.free(object, layout) };
    let ended = instructions();
    counted.frees.note(began, ended);
}

fn repeat<H: Heap>(heap: &H) -> Counted {
    let layout = Layout::from_size_align(64, 8).expect("a layout");
    let mut counted = Counted::default();
    for _ in 0..REPEATS {
        let object = allocate(heap, layout, &mut counted);
        free(heap, object, layout, &mut counted);
    }
    counted
}

/// Sizes that lie evenly on a logarithmic scale.
fn sizes() -> Vec<u16> {
    // 2^(1/64) in 32 bits behind the point.
    const RATIO: u128 = 4_341_736_435;
    let mut size = 8u128 << 32;
    let mut sizes = Vec::new();
    for _ in 0..=STEPS_A_DOUBLING * DOUBLINGS {
        sizes.push(((size + (1 << 31)) >> 32) as u16);
        size = (size * RATIO) >> 32;
    }
    assert_eq!((sizes[0], sizes.last()), (8, Some(&4096)));
    sizes
}

/// What was counted, and the span in percent of the live bytes.
fn churn<H: Heap>(heap: &H, objects: &mut Vec<(usize, u16)>, sizes: &[u16]) -> (Counted, u64) {
    let mut random = Random::new(0xa076_1d64_78bd_642f);
    let (mut lowest, mut highest) = (usize::MAX, 0);
    let mut live_bytes = 0;
    let layout = |size: u16| Layout::from_size_align(size.into(), 8).expect("a layout");
    let mut counted = Counted::default();
    for step in 0..OBJECTS + WARM_UP + STEPS {
        if step == OBJECTS + WARM_UP {
            counted = Counted::default();
        }
        if step >= OBJECTS {
            let (object, size) = objects.swap_remove(random.below(OBJECTS));
            free(heap, object as *mut u8, layout(size), &mut counted);
            live_bytes -= u64::from(size);
        }
        let size = sizes[random.below(sizes.len())];
        let object = allocate(heap, layout(size), &mut counted) as usize;
        lowest = lowest.min(object);
        highest = highest.max(object + usize::from(size));
        objects.push((object, size));
        live_bytes += u64::from(size);
    }
    let span = (heap.spanned_bytes(highest - lowest) * 100).div_ceil(live_bytes);
    for (object, size) in objects.drain(..) {
        // SAFETY: it was allocated here with this size, and is freed once.
        unsafe { heap.free(object as *mut u8, layout(size)) };
    }
    (counted, span)
}
