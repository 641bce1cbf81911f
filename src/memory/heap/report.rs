//! The heap families of METRICS.md, in its order: sums over the arenas.
//!
//! The label `class` is the size of a slab's objects in bytes, `large` for blocks of frames, `boot` for the boot
//! arena: twelve groups.

use super::KernelHeap;
use super::arena::Arena;
use super::slab::CLASS_BYTES;
use crate::memory::accounts::Owner;
use crate::memory::local_cpu::LocalCpu;
use crate::metrics::{Encoder, Family, Label, Source, Value, heading};

const _: () = assert!(
    CLASS_BYTES.len() + 2 <= 12,
    "METRICS.md allows 12 groups of `class`"
);

/// Sums over the slabs of one class in all arenas.
#[derive(Clone, Copy, Default)]
struct Totals {
    used_bytes: u64,
    committed_bytes: u64,
    allocations: u64,
}

impl<C: LocalCpu> Source for KernelHeap<C> {
    fn collect(&self, page: &mut Encoder<'_>) {
        let boot = self.boot_stats();
        let classes = self.totals_by_class();
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
    /// One walk for all families: each class of each arena is locked once.
    fn totals_by_class(&self) -> [Totals; CLASS_BYTES.len()] {
        let mut totals = [Totals::default(); CLASS_BYTES.len()];
        // Most owners never had anything.
        for owner in Owner::all().filter(|&owner| self.is_in_use(owner)) {
            for (total, class) in totals.iter_mut().zip(&self.arena(owner).classes) {
                self.pinned(|runner| {
                    class.with(runner, |class| {
                        total.used_bytes += class.used_bytes();
                        total.committed_bytes += class.committed_bytes();
                        total.allocations += class.allocations();
                    });
                });
            }
        }
        totals
    }
}

fn collect_by_class(
    mut family: Family<'_, '_>,
    slabs: [u64; CLASS_BYTES.len()],
    large_and_boot: [u64; 2],
) {
    for (bytes, value) in CLASS_BYTES.iter().zip(slabs) {
        family.sample(
            &[("class", Label::Number(*bytes as u64))],
            Value::Whole(value),
        );
    }
    for (class, value) in ["large", "boot"].into_iter().zip(large_and_boot) {
        family.sample(&[("class", Label::Word(class))], Value::Whole(value));
    }
}
