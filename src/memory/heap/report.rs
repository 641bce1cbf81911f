//! The heap families of METRICS.md, in its order: sums over the arenas.
//!
//! The label `class` is the size of a slab's objects in bytes, `large` for blocks of frames, `boot` for the boot
//! arena: twelve groups.

use super::KernelHeap;
use super::arena::Arena;
use super::slab::{CLASS_BYTES, Class};
use crate::memory::accounts::Owner;
use crate::memory::local_cpu::LocalCpu;
use crate::metrics::FamilyKind::{self, Counter, Gauge};
use crate::metrics::{Encoder, Label, Source, Value};

const _: () = assert!(
    CLASS_BYTES.len() + 2 <= 12,
    "METRICS.md allows 12 groups of `class`"
);

impl<C: LocalCpu> Source for KernelHeap<C> {
    fn collect(&self, page: &mut Encoder<'_>) {
        let boot = self.boot_stats();
        self.collect_by_class(
            page,
            (
                "nos_heap_used_bytes",
                Gauge,
                "Live bytes by size class, objects rounded up to their class.",
            ),
            Class::used_bytes,
            [
                self.sum_of_large(|arena| arena.large_bytes.get()),
                boot.used_bytes,
            ],
        );
        page.gauge(
            "nos_heap_committed_bytes",
            "Bytes taken from the page allocator.",
            Value::Whole(self.committed_bytes()),
        );
        self.collect_by_class(
            page,
            (
                "nos_heap_allocations_total",
                Counter,
                "Objects handed out by size class.",
            ),
            Class::allocations,
            [
                self.sum_of_large(|arena| arena.large_allocations.get()),
                boot.allocations,
            ],
        );
        page.counter(
            "nos_heap_failures_total",
            "Requests refused.",
            self.failures.get(),
        );
    }
}

impl<C: LocalCpu> KernelHeap<C> {
    fn sum_of_large(&self, value: fn(&Arena) -> u64) -> u64 {
        self.arenas.iter().map(value).sum()
    }

    fn collect_by_class(
        &self,
        page: &mut Encoder<'_>,
        (name, kind, help): (&'static str, FamilyKind, &'static str),
        value: fn(&Class) -> u64,
        large_and_boot: [u64; 2],
    ) {
        let mut family = page.family(name, kind, help);
        // Asked once: most owners never had anything.
        let is_in_use = core::array::from_fn::<_, { Owner::COUNT }, _>(|number| {
            Owner::new(number as u8).is_some_and(|owner| self.is_in_use(owner))
        });
        for (class, bytes) in CLASS_BYTES.iter().enumerate() {
            let in_use = Owner::all().filter(|owner| is_in_use[usize::from(owner.get())]);
            let value = in_use.map(|owner| self.value_of(owner, class, value)).sum();
            family.sample(
                &[("class", Label::Number(*bytes as u64))],
                Value::Whole(value),
            );
        }
        for (class, value) in ["large", "boot"].into_iter().zip(large_and_boot) {
            family.sample(&[("class", Label::Word(class))], Value::Whole(value));
        }
    }
}
