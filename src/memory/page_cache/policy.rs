//! How large the page caches may be.

/// How much a page cache may hold. It is fixed at boot for now.
///
/// Too small costs visits to the zone, about 60 instructions a block; too large keeps memory from merging, and
/// from the other CPUs until a request fails and drains all caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCachePolicy {
    /// Fewest pages a CPU may hold; at least 16, so that each order has room for a batch.
    pub floor_pages: usize,
    /// Most pages a CPU may hold.
    pub ceiling_pages: usize,
    /// All caches together may hold one page of so many.
    pub memory_divisor: u64,
}

impl PageCachePolicy {
    /// The image's policy: a 512th of memory, 32 to 512 pages a CPU (a guess until part 3 measures demand).
    pub const DEFAULT: Self = Self {
        floor_pages: 32,
        ceiling_pages: 512,
        memory_divisor: 512,
    };

    /// Pages that each of `cpus` CPUs may hold of `total_frames`.
    pub fn capacity_pages(&self, total_frames: u64, cpus: usize) -> usize {
        let fair = total_frames / self.memory_divisor / cpus as u64;
        (fair as usize)
            .min(self.ceiling_pages)
            .max(self.floor_pages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capacity_is_a_share_of_memory_between_floor_and_ceiling() {
        let policy = PageCachePolicy::DEFAULT;
        let pages_of = |mib: u64, cpus| policy.capacity_pages(mib * 256, cpus);
        assert_eq!(pages_of(8, 1), 32);
        assert_eq!(pages_of(512, 1), 256);
        assert_eq!(pages_of(512, 4), 64);
        assert_eq!(pages_of(16 << 10, 4), 512);
    }
}
