//! The page allocator and page cache families of METRICS.md, in its order.

use super::frames::{FrameSource, Order, PAGE_SIZE};
use super::local_cpu::LocalCpu;
use super::manager::MemoryManager;
use super::page_cache::CacheStats;
use super::zone::PerOrder;
use crate::metrics::{Counter, Encoder, Label, Source, Value, Vitals, heading};

/// Orders whose refusal is felt: up to eight frames.
const SMALL_ORDERS: usize = 4;

impl<C: LocalCpu> Source for MemoryManager<C> {
    fn collect(&self, page: &mut Encoder<'_>) {
        self.collect_memory(page);
        self.collect_buddy(page);
        self.collect_page_caches(page);
    }

    fn vitals(&self, vitals: &mut Vitals) {
        let small = self.refusals().iter().take(SMALL_ORDERS);
        vitals.memory_bytes = self.total_frames() * PAGE_SIZE as u64;
        vitals.free_bytes = self.free_frames() * PAGE_SIZE as u64;
        vitals.frames_refused = small.map(Counter::get).sum();
        for cache in self.cache_stats() {
            vitals.cached_pages += cache.hits;
            vitals.refills += cache.misses;
            vitals.page_cache_pages += cache.pages;
        }
    }

    fn collect_compat(&self, page: &mut Encoder<'_>) {
        for (heading, frames) in [
            (
                heading!(
                    Gauge,
                    "node_memory_MemTotal_bytes",
                    "Memory information field MemTotal_bytes."
                ),
                self.total_frames(),
            ),
            (
                heading!(
                    Gauge,
                    "node_memory_MemFree_bytes",
                    "Memory information field MemFree_bytes."
                ),
                self.free_frames(),
            ),
        ] {
            page.gauge(heading, Value::Whole(frames * PAGE_SIZE as u64));
        }
        let zone = self.zone_stats();
        let mut family = page.family(heading!(
            Gauge,
            "node_buddyinfo_blocks",
            "Count of free blocks according to size."
        ));
        for (order, blocks) in Order::all().zip(zone.free_blocks) {
            let labels = [
                ("node", Label::Number(0)),
                ("size", Label::Number(order.get().into())),
                ("zone", Label::Word("Normal")),
            ];
            family.sample(&labels, Value::Whole(blocks));
        }
    }
}

impl<C: LocalCpu> MemoryManager<C> {
    fn collect_memory(&self, page: &mut Encoder<'_>) {
        let bytes = |frames| Value::Whole(frames * PAGE_SIZE as u64);
        page.gauge(
            heading!(
                Gauge,
                "nos_memory_total_bytes",
                "Memory that the page allocator manages."
            ),
            bytes(self.total_frames()),
        );
        page.gauge(
            heading!(
                Gauge,
                "nos_memory_free_bytes",
                "Managed memory that is free, pages in page caches included."
            ),
            bytes(self.free_frames()),
        );
        page.gauge(
            heading!(
                Gauge,
                "nos_memory_reserved_bytes",
                "Memory that is not managed: image, tables, rings."
            ),
            Value::Whole(self.reserved_bytes()),
        );
    }

    fn collect_buddy(&self, page: &mut Encoder<'_>) {
        let zone = self.zone_stats();
        let whole =
            |values: PerOrder| move |order: Order| Value::Whole(values[usize::from(order.get())]);
        let mut family = |heading, value: &dyn Fn(Order) -> Value| {
            let mut family = page.family(heading);
            for order in Order::all() {
                family.sample(
                    &[("order", Label::Number(order.get().into()))],
                    value(order),
                );
            }
        };
        family(
            heading!(Gauge, "nos_buddy_free_blocks", "Free blocks of each order."),
            &whole(zone.free_blocks),
        );
        family(
            heading!(
                Gauge,
                "nos_buddy_fragmentation_ratio",
                "Share of the memory in free blocks that lies in blocks smaller than the order."
            ),
            &|order| Value::Millionths(zone.fragmentation_millionths(order)),
        );
        family(
            heading!(
                Counter,
                "nos_buddy_allocations_total",
                "Blocks handed out, those to page caches included."
            ),
            &whole(zone.allocations),
        );
        family(
            heading!(
                Counter,
                "nos_buddy_frees_total",
                "Blocks given back, those from page caches included."
            ),
            &whole(zone.frees),
        );
        family(
            heading!(Counter, "nos_buddy_failures_total", "Requests refused."),
            &|order| Value::Whole(self.refusals()[usize::from(order.get())].get()),
        );
        family(
            heading!(
                Counter,
                "nos_buddy_splits_total",
                "Blocks of the order split."
            ),
            &whole(zone.splits),
        );
        family(
            heading!(
                Counter,
                "nos_buddy_merges_total",
                "Blocks of the order formed by merging."
            ),
            &whole(zone.merges),
        );
        page.histogram(
            heading!(
                Histogram,
                "nos_buddy_allocation_seconds",
                "Time of one allocation that visited the shared allocator; one in about 64 is timed."
            ),
            self.duration(),
        );
    }

    fn collect_page_caches(&self, page: &mut Encoder<'_>) {
        // What takes a walk over all owners is gone through once; where there are more CPUs, once a family.
        let mut known = heapless::Vec::<_, 8>::new();
        for stats in self.cache_stats().take(known.capacity()) {
            let _ = known.push(stats);
        }
        let stats = || {
            let further = self.cache_stats_from(known.len());
            known.iter().copied().chain(further).enumerate()
        };
        let mut family = |heading, value: fn(CacheStats) -> u64| {
            let mut family = page.family(heading);
            for (cpu, stats) in stats() {
                let labels = [("cpu", Label::Number(cpu as u64))];
                family.sample(&labels, Value::Whole(value(stats)));
            }
        };
        family(
            heading!(
                Counter,
                "nos_page_cache_hits_total",
                "Requests met without the shared allocator."
            ),
            |stats| stats.hits,
        );
        family(
            heading!(
                Counter,
                "nos_page_cache_misses_total",
                "Requests that refilled from the shared allocator."
            ),
            |stats| stats.misses,
        );
        family(
            heading!(
                Counter,
                "nos_page_cache_drains_total",
                "Batches given back to the shared allocator."
            ),
            |stats| stats.drains,
        );
        family(
            heading!(Gauge, "nos_page_cache_pages", "Pages held now."),
            |stats| stats.pages,
        );
        family(
            heading!(
                Gauge,
                "nos_page_cache_capacity_pages",
                "Most pages that may be held now."
            ),
            |stats| stats.capacity_pages,
        );
        let mut family = page.family(heading!(
            Counter,
            "nos_page_cache_resizes_total",
            "Changes of the capacity."
        ));
        for (cpu, stats) in stats() {
            for (direction, resizes) in ["grow", "shrink"].into_iter().zip(stats.resizes) {
                let cpu = Label::Number(cpu as u64);
                let labels = [("cpu", cpu), ("direction", Label::Word(direction))];
                family.sample(&labels, Value::Whole(resizes));
            }
        }
    }
}
