//! What tests of the memory manager share: a seeded generator, CPUs that are threads, and memory to manage.
#![allow(
    unsafe_code,
    reason = "the tests' memory is a raw allocation of the host's"
)]

use super::accounts::Owner;
use super::frames::Order;
use super::local_cpu::{LocalCpu, PreemptionState};
use super::manager::MemoryManager;
use super::page_cache::PageCachePolicy;
use core::cell::Cell;
use core::ops::Range;
use core::sync::atomic::AtomicU8;
use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::boxed::Box;
use std::{println, thread_local};

/// What a test does so often: in `cargo test` all of it, under Miri, which takes a microsecond and more for each step
/// of the program, less.
pub(super) const fn size(all: usize, under_miri: usize) -> usize {
    if cfg!(miri) { under_miri } else { all }
}

/// Steps of a random run.
pub(super) const fn steps(all: usize) -> usize {
    size(all, all / 2_000)
}

/// Steps of a random run against a model: fifty times as many with NOS_NIGHTLY set, ten millions and more.
pub(super) fn model_steps(all: usize) -> usize {
    match std::env::var_os("NOS_NIGHTLY") {
        Some(_) if !cfg!(miri) => 50 * all,
        _ => steps(all),
    }
}

/// The order of that number.
pub(super) fn order(number: u8) -> Order {
    Order::new(number).expect("an order")
}

/// A seeded generator (splitmix64) that tells its seed when the test fails.
pub(super) struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, state: seed }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("failed with seed {:#x}", self.seed);
        }
    }
}

thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
    static CLOCK: Cell<(u64, u64)> = const { Cell::new((1, 0)) };
    static IS_ALONE: Cell<bool> = const { Cell::new(false) };
    static OWNER: Cell<Owner> = const { Cell::new(Owner::KERNEL) };
    static SHARED_WRITES: Cell<SharedWrites> = const { Cell::new(SharedWrites { visits: 0, changes: 0 }) };
}

/// What a thread has done to what all CPUs share.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SharedWrites {
    /// Times that it took a lock.
    pub(super) visits: u64,
    /// Times that it changed an account.
    pub(super) changes: u64,
}

/// What the calling thread has done so far.
pub(super) fn shared_writes() -> SharedWrites {
    SHARED_WRITES.get()
}

/// Notes that the calling thread takes a lock.
pub(super) fn note_visit() {
    let before = SHARED_WRITES.get();
    SHARED_WRITES.set(SharedWrites {
        visits: before.visits + 1,
        ..before
    });
}

/// Notes that the calling thread changes an account.
pub(super) fn note_change() {
    let before = SHARED_WRITES.get();
    SHARED_WRITES.set(SharedWrites {
        changes: before.changes + 1,
        ..before
    });
}

/// The owner of that number.
pub(super) fn owner(number: u8) -> Owner {
    Owner::new(number).expect("an owner")
}

/// The calling thread's CPU: 0, or what [`HostCpu::run_as`] said. Nothing preempts it.
pub(super) struct HostCpu;

impl HostCpu {
    /// Makes the calling thread CPU number `cpu`.
    pub(super) fn run_as(cpu: usize) {
        CPU.set(cpu);
    }

    /// Makes the calling thread every CPU by turns: no other thread is one. What it asks of another CPU is done at once.
    pub(super) fn run_alone() {
        IS_ALONE.set(true);
    }

    /// Makes the calling thread run for `owner`.
    pub(super) fn run_for(owner: Owner) {
        OWNER.set(owner);
    }

    /// Sets the calling thread's clock, which advances by `step_ticks` each time it is read; it stands at 1
    /// if nobody does.
    pub(super) fn run_clock(start_ticks: u64, step_ticks: u64) {
        CLOCK.set((start_ticks, step_ticks));
    }
}

impl LocalCpu for HostCpu {
    fn current(&self) -> usize {
        CPU.get()
    }

    fn owner(&self) -> Owner {
        OWNER.get()
    }

    fn disable_preemption(&self) -> PreemptionState {
        PreemptionState(0)
    }

    fn restore_preemption(&self, _: PreemptionState) {}

    /// Others' threads come to look by themselves.
    fn ask(&self, cpu: usize, obey: &dyn Fn()) {
        if IS_ALONE.get() {
            let this = CPU.replace(cpu);
            obey();
            CPU.set(this);
        }
    }

    fn ticks(&self) -> u64 {
        let (now, step) = CLOCK.get();
        CLOCK.set((now + step, step));
        now
    }

    /// A tick is a microsecond.
    fn nanos(&self, ticks: u64) -> u64 {
        ticks * 1_000
    }
}

/// `bytes` of zeroed memory aligned to the largest block, never given back to the host.
pub(super) fn memory(bytes: usize) -> Range<usize> {
    let layout = Layout::from_size_align(bytes, Order::MAX.bytes()).expect("a size in reason");
    // SAFETY: the layout's size is not 0.
    let start = unsafe { alloc_zeroed(layout) };
    if start.is_null() {
        handle_alloc_error(layout);
    }
    let start = start.expose_provenance();
    start..start + bytes
}

/// So many bytes, aligned to words, never given back to the host.
pub(super) fn atomic_bytes(count: usize, byte: u8) -> &'static [AtomicU8] {
    let words = std::vec![u64::from_ne_bytes([byte; 8]); count.div_ceil(8)].leak();
    // SAFETY: nobody else has the words any more, and an atomic byte may be any byte.
    let (_, bytes, _) = unsafe { words.align_to_mut::<AtomicU8>() };
    &bytes[..count]
}

/// A memory manager over memory of its own, without what `reserved` (offsets) covers.
pub(super) fn manager(
    bytes: usize,
    reserved: &[Range<usize>],
    cpus: usize,
    policy: PageCachePolicy,
) -> &'static MemoryManager<HostCpu> {
    let ram = memory(bytes);
    let at = |offset: usize| ram.start + offset;
    let reserved: std::vec::Vec<_> = reserved
        .iter()
        .map(|range| at(range.start)..at(range.end))
        .collect();
    // SAFETY: `memory` is zeroed memory of our own, leaked.
    let manager = unsafe { MemoryManager::new(&[ram], &reserved, cpus, policy, HostCpu) };
    Box::leak(Box::new(manager.expect("the host has memory")))
}
