//! Who is charged for what: frames and heap objects over many owners, against a plain model.
#![allow(unsafe_code, reason = "takes back what owners of the tests held")]

use super::super::accounts::{Owner, Usage};
use super::super::frames::{FrameSource, Order, PAGE_SIZE, Pfn};
use super::super::heap::KernelHeap;
use super::super::manager::MemoryManager;
use super::super::page_cache::PageCachePolicy;
use super::super::reclaim::{Reclaimed, reclaim};
use super::super::test_support::{HostCpu, Random, manager, memory, order, owner, size, steps};
use super::MIB;
use crate::error::Kind;
use crate::memory::Verdict;
use core::alloc::{GlobalAlloc, Layout};
use std::boxed::Box;
use std::vec::Vec;

type Frames = &'static MemoryManager<HostCpu>;
type Heap = &'static KernelHeap<HostCpu>;

const OWNERS: u8 = 5;

fn used_frames(frames: Frames, of: Owner) -> u64 {
    frames.usage(of).used_bytes / PAGE_SIZE as u64
}

fn heap_over(frames: Frames) -> Heap {
    let heap: Heap = Box::leak(Box::new(KernelHeap::new(HostCpu)));
    let boot = memory(MIB);
    // SAFETY: the memory is zeroed, our own and leaked.
    unsafe { heap.init_boot(boot.start, boot.len()) };
    heap.install(frames);
    heap
}

fn bury(heap: Heap, frames: Frames, dead: Owner) -> Reclaimed {
    HostCpu::run_for(Owner::KERNEL);
    // SAFETY: no code of that owner runs; the tests use nothing of it after this but for frees that must be refused.
    unsafe { reclaim(heap, frames, dead) }
}

/// Blocks in hand, with who is charged.
#[derive(Default)]
struct Model {
    blocks: Vec<(Pfn, Order, Owner)>,
    quota: [Option<u64>; OWNERS as usize],
    /// What each had when its quota was set: if that was more, it may use it again.
    had: [u64; OWNERS as usize],
}

impl Model {
    fn frames_of(&self, of: Owner) -> u64 {
        let charged = self.blocks.iter().filter(|block| block.2 == of);
        charged.map(|block| block.1.frames()).sum()
    }

    fn may_have(&self, of: Owner, frames: u64) -> bool {
        self.quota[usize::from(of.get())].is_none_or(|quota| self.frames_of(of) + frames <= quota)
    }
}

#[test]
fn charges_agree_with_a_plain_model_over_allocations_recharges_and_deaths() {
    HostCpu::run_alone();
    let mut random = Random::new(21);
    let frames = manager(16 * MIB, &[0..MIB + 5], 2, PageCachePolicy::DEFAULT);
    let heap = heap_over(frames);
    let mut model = Model::default();
    for _ in 0..steps(60_000) {
        HostCpu::run_as(random.below(2));
        let runner = owner(random.below(OWNERS.into()) as u8);
        HostCpu::run_for(runner);
        let rank = if random.below(50) == 0 { 9 } else { 4 };
        let wanted = order(random.below(rank) as u8);
        let named = owner(random.below(OWNERS.into()) as u8);
        match random.below(200) {
            0 if named != Owner::KERNEL => {
                let expected = model.frames_of(named);
                let reclaimed = bury(heap, frames, named);
                let whole = Reclaimed {
                    verdict: Verdict::Intact,
                    frames: expected,
                };
                assert_eq!(reclaimed, whole);
                model.blocks.retain(|block| block.2 != named);
            }
            1 => {
                let quota = (random.below(4) > 0).then(|| random.below(1_000) as u64);
                frames.set_quota(named, quota.map(|frames| frames * PAGE_SIZE as u64));
                model.quota[usize::from(named.get())] = quota;
                model.had[usize::from(named.get())] = model.frames_of(named);
            }
            2..40 if !model.blocks.is_empty() => {
                let index = random.below(model.blocks.len());
                let (first, order, from) = model.blocks[index];
                let may = from == named || model.may_have(named, order.frames());
                assert_eq!(frames.recharge(first, order, named).is_ok(), may);
                if may {
                    model.blocks[index].2 = named;
                }
            }
            40..120 => {
                let payer = if random.below(2) == 0 { runner } else { named };
                let first = if payer == runner {
                    frames.allocate(wanted)
                } else {
                    frames.account(payer).allocate(wanted)
                };
                match first {
                    Ok(first) => {
                        let had = model.had[usize::from(payer.get())];
                        model.blocks.push((first, wanted, payer));
                        let has = model.frames_of(payer);
                        let is_within = model.may_have(payer, 0) || has <= had;
                        assert!(is_within, "beyond the quota");
                    }
                    Err(error) => {
                        let requested_bytes = wanted.bytes();
                        assert_eq!(error.kind(), Kind::OutOfMemory { requested_bytes });
                    }
                }
            }
            _ if !model.blocks.is_empty() => {
                let (first, order, _) = model.blocks.swap_remove(random.below(model.blocks.len()));
                frames.free(first, order).expect("a block in hand");
                assert!(frames.free(first, order).is_err(), "a second free");
                assert!(frames.recharge(first, order, runner).is_err());
            }
            _ => {}
        }
        let mut charged = 0;
        for of in (0..OWNERS).map(owner) {
            assert_eq!(used_frames(frames, of), model.frames_of(of));
            charged += model.frames_of(of);
        }
        assert_eq!(frames.free_frames(), frames.total_frames() - charged);
    }
    HostCpu::run_for(Owner::KERNEL);
}

#[test]
fn a_quota_refuses_its_owner_alone_counts_it_and_drains_no_cache() {
    let frames = manager(8 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    let (greedy, modest) = (owner(3), owner(4));
    frames.set_quota(greedy, Some(10 * PAGE_SIZE as u64 + 1));
    HostCpu::run_for(greedy);
    let held: Vec<_> = core::iter::from_fn(|| frames.allocate(Order::ZERO).ok()).collect();
    assert_eq!(held.len(), 10);
    assert!(frames.allocate(order(5)).is_err());
    assert!(frames.account(modest).allocate(order(5)).is_ok());
    assert_eq!(frames.account(greedy).free_frames(), 0);
    assert_eq!(frames.account(greedy).total_frames(), 10);
    frames.free(held[0], Order::ZERO).expect("a frame in hand");
    let page = PAGE_SIZE as u64;
    let usage = Usage {
        used_bytes: 9 * page,
        peak_bytes: 10 * page,
        quota_bytes: Some(10 * page),
        refusals: 2,
    };
    assert_eq!(frames.usage(greedy), usage);
    assert!(frames.cache_stats().all(|cache| cache.drains == 0));
    let refusals: u64 = frames.refusals().iter().map(|refused| refused.get()).sum();
    assert_eq!(refusals, 0, "the page allocator refused nothing");
    HostCpu::run_for(Owner::KERNEL);
}

fn objects(heap: Heap, number: usize) -> Vec<(*mut u8, Layout)> {
    let sizes = [16, 100, 700, 2_000, 3_000, 20_000];
    let layouts = sizes.iter().cycle().take(number);
    layouts
        .map(|&size| {
            let layout = Layout::from_size_align(size, 8).expect("a layout");
            // SAFETY: the layout is not empty.
            let object = unsafe { heap.alloc(layout) };
            assert!(!object.is_null());
            // SAFETY: the heap gave out `size` bytes.
            unsafe { object.write_bytes(0xa5, size) };
            (object, layout)
        })
        .collect()
}

fn free(heap: Heap, (object, layout): (*mut u8, Layout)) {
    // SAFETY: objects of the tests are live, or the free must be refused.
    unsafe { heap.dealloc(object, layout) };
}

#[test]
fn free_frames_after_many_deaths_are_exactly_those_after_the_first() {
    let frames = manager(8 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    let heap = heap_over(frames);
    HostCpu::run_for(Owner::KERNEL);
    let lasting = objects(heap, 12);
    let mut after = Vec::new();
    for round in 0..size(50, 3) as u8 {
        let mortal = owner(1 + round % 3);
        HostCpu::run_for(mortal);
        let left = objects(heap, size(200, 24));
        let _block = frames.allocate(order(3)).expect("memory");
        let kept = objects(heap, size(30, 12));
        assert!(heap.used_bytes_of(mortal) > 0);
        // Another owner frees some of it, into the arena it came from.
        HostCpu::run_for(owner(7));
        kept.into_iter().for_each(|object| free(heap, object));
        assert_eq!(heap.used_bytes_of(owner(7)), 0);
        let expected = used_frames(frames, mortal);
        assert_eq!(bury(heap, frames, mortal).frames, expected);
        assert_eq!(used_frames(frames, mortal), 0);
        assert_eq!(heap.used_bytes_of(mortal), 0);
        drop(left);
        after.push(frames.free_frames());
    }
    assert!(after.iter().all(|&free| free == after[0]), "{after:?}");
    for object in lasting {
        free(heap, object);
    }
    assert_eq!((heap.used_bytes(), heap.late_frees()), (0, 0));
}

#[test]
fn objects_of_any_owner_are_freed_by_any_other_and_all_frames_come_back() {
    let mut random = Random::new(23);
    let frames = manager(16 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    let heap = heap_over(frames);
    let mut live = Vec::new();
    for _ in 0..steps(20_000) {
        HostCpu::run_for(owner(random.below(16) as u8));
        if random.below(2) == 0 && live.len() < 500 {
            live.extend(objects(heap, 1 + random.below(4)));
        } else if !live.is_empty() {
            free(heap, live.swap_remove(random.below(live.len())));
        }
    }
    live.into_iter().for_each(|object| free(heap, object));
    assert_eq!(heap.used_bytes(), 0);
    for of in Owner::all() {
        assert_eq!(heap.used_bytes_of(of), 0);
        HostCpu::run_for(of);
        heap.give_back();
        assert_eq!(used_frames(frames, of), 0);
    }
    HostCpu::run_for(Owner::KERNEL);
}

#[test]
fn frees_that_come_after_the_death_are_refused_and_counted() {
    let frames = manager(8 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    let heap = heap_over(frames);
    let mortal = owner(9);
    HostCpu::run_for(mortal);
    let mut left = objects(heap, 60);
    bury(heap, frames, mortal);
    let free_frames = frames.free_frames();

    // Into frames that nobody has.
    let rest = left.split_off(30);
    let count = left.len() as u64;
    left.into_iter().for_each(|object| free(heap, object));
    assert_eq!(heap.late_frees(), count);
    assert_eq!(frames.free_frames(), free_frames);

    // Into frames that are somebody's data now, byte for byte.
    HostCpu::run_for(owner(2));
    let data = core::iter::from_fn(|| frames.allocate(Order::ZERO).ok());
    let mut data: Vec<_> = data.take(size(usize::MAX, 100)).collect();
    for first in &data {
        // SAFETY: the frame was just given out.
        unsafe { (first.address() as *mut u8).write_bytes(0x5a, PAGE_SIZE) };
    }
    // A large object of one frame is told from a frame of another only by who frees it: not looked for here.
    let small = |object: &&(*mut u8, Layout)| object.1.size() != 3_000;
    rest.iter()
        .filter(small)
        .for_each(|&object| free(heap, object));
    assert_eq!(
        heap.late_frees(),
        count + rest.iter().filter(small).count() as u64
    );
    for first in data.drain(..) {
        // SAFETY: the frame is ours still.
        let bytes = unsafe { core::slice::from_raw_parts(first.address() as *const u8, PAGE_SIZE) };
        let mut looked_at = bytes.iter().step_by(size(1, 8));
        assert!(looked_at.all(|&byte| byte == 0x5a), "a late free wrote");
        frames.free(first, Order::ZERO).expect("a frame in hand");
    }
    assert_eq!(frames.free_frames(), free_frames);

    // The owner's next life starts clean.
    HostCpu::run_for(mortal);
    let again = objects(heap, 60);
    again.into_iter().for_each(|object| free(heap, object));
    assert_eq!(heap.used_bytes_of(mortal), 0);
    HostCpu::run_for(Owner::KERNEL);
}

#[test]
#[should_panic(expected = "never abandoned")]
fn the_kernel_is_never_abandoned() {
    let frames = manager(4 * MIB, &[], 1, PageCachePolicy::DEFAULT);
    bury(heap_over(frames), frames, Owner::KERNEL);
}
