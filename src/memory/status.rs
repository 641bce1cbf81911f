//! The page allocator, the page caches and the heap as `GET /memory` shows them.
//!
//! ```json
//! {"total_bytes":530841600,"free_bytes":528883712,"reserved_bytes":6029312,
//!  "pressure":{"level":"none","zone_free_bytes":528392192,
//!    "watermarks":{"min_bytes":2940928,"low_bytes":3674112,"high_bytes":4411392}},
//!  "orders":[{"order":0,"block_bytes":4096,"free_blocks":1,"fragmentation":0,"allocations":264,
//!    "frees":0,"failures":0,"splits":9,"merges":0},…],
//!  "page_caches":[{"cpu":0,"pages":120,"capacity_pages":256,"hits":130,"misses":3,"drains":0,
//!    "grown":2,"shrunk":0}],
//!  "zeroing":{"zeroed_frames":161,"known_frames":0},
//!  "compaction":{"runs":0,"pageblocks":0,"moves":0,"stuck":0},
//!  "heap":{"used_bytes":401408,"committed_bytes":524288,"failures":0}}
//! ```
//!
//! Names only get added. What the figures mean is told by the families of `/metrics` that they are in.

use super::frames::{FrameSource, Order, PAGE_SIZE};
use super::heap::KernelHeap;
use super::local_cpu::LocalCpu;
use super::manager::MemoryManager;
use crate::metrics::{Json, Value};

/// Writes a member whose value is a whole number.
fn whole(json: &mut Json<'_>, name: &str, number: u64) {
    json.member(name).number(Value::Whole(number));
}

impl<C: LocalCpu> MemoryManager<C> {
    /// Writes what it manages, and of `heap` what that took of it, as one JSON object.
    pub fn write_status<H: LocalCpu>(&self, heap: &KernelHeap<H>, json: &mut Json<'_>) {
        let bytes = |frames: u64| frames * PAGE_SIZE as u64;
        json.object(|json| {
            whole(json, "total_bytes", bytes(self.total_frames()));
            whole(json, "free_bytes", bytes(self.free_frames()));
            whole(json, "reserved_bytes", self.reserved_bytes());
            json.member("pressure").object(|json| {
                // The visit that it takes to ask looks at the level as any other does.
                let zone_free = self.zone_stats().free_frames();
                json.member("level").text(self.pressure().name());
                whole(json, "zone_free_bytes", bytes(zone_free));
                let marks = self.watermarks();
                json.member("watermarks").object(|json| {
                    whole(json, "min_bytes", bytes(marks.min));
                    whole(json, "low_bytes", bytes(marks.low));
                    whole(json, "high_bytes", bytes(marks.high));
                });
            });
            json.member("orders").array(|json| self.write_orders(json));
            json.member("page_caches").array(|json| {
                for (cpu, stats) in self.cache_stats().enumerate() {
                    json.object(|json| {
                        whole(json, "cpu", cpu as u64);
                        whole(json, "pages", stats.pages);
                        whole(json, "capacity_pages", stats.capacity_pages);
                        whole(json, "hits", stats.hits);
                        whole(json, "misses", stats.misses);
                        whole(json, "drains", stats.drains);
                        let [grown, shrunk] = stats.resizes;
                        whole(json, "grown", grown);
                        whole(json, "shrunk", shrunk);
                    });
                }
            });
            json.member("zeroing").object(|json| {
                let counts = self.zeroing();
                whole(json, "zeroed_frames", counts.zeroed.get());
                whole(json, "known_frames", counts.known.get());
            });
            json.member("compaction").object(|json| {
                let counts = self.compaction();
                whole(json, "runs", counts.runs.get());
                whole(json, "pageblocks", counts.pageblocks.get());
                whole(json, "moves", counts.moves.get());
                whole(json, "stuck", counts.stuck.get());
            });
            json.member("heap").object(|json| {
                whole(json, "used_bytes", heap.used_bytes());
                whole(json, "committed_bytes", heap.committed_bytes());
                whole(json, "failures", heap.failures());
            });
        });
    }

    fn write_orders(&self, json: &mut Json<'_>) {
        let zone = self.zone_stats();
        for order in Order::all() {
            let index = usize::from(order.get());
            json.object(|json| {
                whole(json, "order", order.get().into());
                whole(json, "block_bytes", order.bytes() as u64);
                whole(json, "free_blocks", zone.free_blocks[index]);
                json.member("fragmentation")
                    .number(Value::Millionths(zone.fragmentation_millionths(order)));
                whole(json, "allocations", zone.allocations[index]);
                whole(json, "frees", zone.frees[index]);
                whole(json, "failures", self.refusals()[index].get());
                whole(json, "splits", zone.splits[index]);
                whole(json, "merges", zone.merges[index]);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::Block;
    use super::super::page_cache::PageCachePolicy;
    use super::super::test_support::{HostCpu, manager, order};
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    #[test]
    fn blocks_taken_and_requests_refused_are_shown_at_their_order() {
        let manager = manager(8 << 20, &[], 2, PageCachePolicy::DEFAULT);
        let heap = KernelHeap::new(HostCpu);
        let status = || {
            let mut page = Vec::new();
            let mut json = Json::new(&mut page);
            manager.write_status(&heap, &mut json);
            json.finish().expect("the host has memory");
            String::from_utf8(page).expect("JSON is text")
        };
        let before = manager.free_frames();
        let block = Block::allocate(manager, order(4)).expect("room");
        let largest: Vec<_> = (0..3)
            .map_while(|_| Block::allocate(manager, Order::MAX).ok())
            .collect();
        let text = status();
        let free = (before - 16 - 1024 * largest.len() as u64) * 4096;
        for part in [
            std::format!("\"free_bytes\":{free},\"reserved_bytes\":"),
            "{\"order\":4,\"block_bytes\":65536,".into(),
            std::format!(
                "\"allocations\":{},\"frees\":0,\"failures\":1,",
                largest.len()
            ),
            "{\"cpu\":1,\"pages\":0,\"capacity_pages\":64,\"hits\":0,\"misses\":0,\"drains\":0,\
                \"grown\":0,\"shrunk\":0}]"
                .into(),
            "\"heap\":{\"used_bytes\":0,\"committed_bytes\":0,\"failures\":0}}\n".into(),
        ] {
            assert!(text.contains(&part), "{part}: {text}");
        }
        // 8 MiB: the reserve is 90 frames, of which so few are left.
        let marks =
            "\"watermarks\":{\"min_bytes\":368640,\"low_bytes\":458752,\"high_bytes\":552960}},";
        let level = |level, free: u64| {
            let free = free * 4096;
            std::format!("\"pressure\":{{\"level\":\"{level}\",\"zone_free_bytes\":{free},{marks}")
        };
        assert!(text.contains(&level("none", free / 4096)), "{text}");
        let mut pages: Vec<_> = (0..free / 4096 - 80)
            .map(|_| Block::allocate(manager, order(3)))
            .map_while(Result::ok)
            .collect();
        let zone_free = manager.zone_stats().free_frames();
        let text = status();
        assert!(text.contains(&level("min", zone_free)), "{text}");
        pages.clear();
        drop((block, largest));
        assert_eq!(manager.free_frames(), before);
    }
}
