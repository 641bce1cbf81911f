//! The heap families of METRICS.md, in its order: sums over the arenas.
//!
//! The label `class` is the largest size in bytes of those counted in it: the size classes up to 64 bytes together, then
//! those of each doubling; `large` for blocks of frames, `boot` for the boot arena: nine groups.

use super::KernelHeap;
use super::arena::Arena;
use super::classes::CLASS_BYTES;
use crate::memory::accounts::Owner;
use crate::memory::local_cpu::LocalCpu;
use crate::metrics::{Encoder, Family, Label, Source, Value, Vitals, heading};

/// Largest size of the first group.
const FIRST_GROUP_BYTES: u64 = 64;
/// Groups of size classes.
const GROUPS: usize = group_of(CLASS_BYTES[CLASS_BYTES.len() - 1] as usize) + 1;

const _: () = assert!(GROUPS + 2 <= 12, "METRICS.md allows 12 groups of `class`");

/// The group of a class.
const fn group_of(bytes: usize) -> usize {
    let groups = (bytes as u64)
        .div_ceil(FIRST_GROUP_BYTES)
        .next_power_of_two();
    groups.trailing_zeros() as usize
}

/// Sums over the slabs of one group in all arenas.
#[derive(Clone, Copy, Default)]
struct Totals {
    used_bytes: u64,
    committed_bytes: u64,
    allocations: u64,
}

impl<C: LocalCpu> Source for KernelHeap<C> {
    fn vitals(&self, vitals: &mut Vitals) {
        vitals.heap_refused = self.failures.get();
    }

    fn collect(&self, page: &mut Encoder<'_>) {
        let boot = self.boot_stats();
        let classes = self.totals_by_group();
        let sum_of_large = |value: fn(&Arena) -> u64| self.arenas.iter().map(value).sum::<u64>();
        let large_bytes = sum_of_large(|arena| arena.large_bytes.get());
        collect_by_class(
            page.family(heading!(
                Gauge,
                "nos_heap_used_bytes",
                "Live bytes by size class, objects rounded up to their class."
            )),
            classes.map(|class| class.used_bytes),
            [large_bytes, boot.used_bytes],
        );
        let slab_bytes: u64 = classes.iter().map(|class| class.committed_bytes).sum();
        page.gauge(
            heading!(
                Gauge,
                "nos_heap_committed_bytes",
                "Bytes taken from the page allocator."
            ),
            Value::Whole(slab_bytes + large_bytes),
        );
        collect_by_class(
            page.family(heading!(
                Counter,
                "nos_heap_allocations_total",
                "Objects handed out by size class."
            )),
            classes.map(|class| class.allocations),
            [
                sum_of_large(|arena| arena.large_allocations.get()),
                boot.allocations,
            ],
        );
        page.counter(
            heading!(Counter, "nos_heap_failures_total", "Requests refused."),
            self.failures.get(),
        );
    }
}

impl<C: LocalCpu> KernelHeap<C> {
    /// One walk for all families.
    fn totals_by_group(&self) -> [Totals; GROUPS] {
        let mut totals = [Totals::default(); GROUPS];
        // Most owners never had anything.
        for owner in Owner::all().filter(|&owner| self.is_in_use(owner)) {
            for (class, &bytes) in self.arena(owner).classes().zip(&CLASS_BYTES) {
                // Nor are most classes of most owners ever asked for anything.
                if class.allocations() == 0 {
                    continue;
                }
                let total = &mut totals[group_of(bytes.into())];
                total.used_bytes += class.used_bytes();
                total.committed_bytes += class.committed_bytes();
                total.allocations += class.allocations();
            }
        }
        totals
    }
}

fn collect_by_class(mut family: Family<'_, '_>, slabs: [u64; GROUPS], large_and_boot: [u64; 2]) {
    for (group, value) in slabs.into_iter().enumerate() {
        let bytes = FIRST_GROUP_BYTES << group;
        family.sample(&[("class", Label::Number(bytes))], Value::Whole(value));
    }
    for (class, value) in ["large", "boot"].into_iter().zip(large_and_boot) {
        family.sample(&[("class", Label::Word(class))], Value::Whole(value));
    }
}
