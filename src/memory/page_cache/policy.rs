//! How large the page caches may be.

use super::{CLASSES, Class, STACK_BLOCKS_MAX};
use crate::cache::sizing::SizingPolicy;

/// Between which bounds the page caches size themselves, and how fast; by the control law of [`crate::cache::sizing`].
///
/// Too small costs visits to the zone; too large keeps memory from merging, and from the other CPUs until it is
/// asked for. A CPU has a limit for each class of blocks; above its floor it grows only as far as all of them that are in
/// use are at most the CPU's ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCachePolicy {
    /// All caches together may hold one page of so many.
    pub memory_divisor: u64,
    /// Most pages that a CPU may hold, however large memory is.
    pub ceiling_pages: u32,
    /// Blocks that a CPU may always hold of orders 0, 1 and 2, and of movable pages.
    pub floor_blocks: [u32; CLASSES],
    /// Where memory is small, a floor is at most one block for so many pages of the CPU's ceiling.
    pub floor_divisor: u32,
    /// But this many blocks at least: of a load that only takes, batches of as many still meet seven requests of eight.
    pub floor_blocks_min: u32,
    /// Blocks that move between cache and zone at once, by class; at most the floor.
    pub batch_blocks: [u32; CLASSES],
    /// Batches by which a limit grows for a miss that it could have met.
    pub growth: u32,
    /// A limit loses one part of so many of what it is above its floor in a period without need.
    pub decay: u32,
    /// A period, in milliseconds; 0 for limits that stay as they are.
    pub period_ms: u32,
    /// A CPU that sleeps wakes so long after a period to give back what it holds, in milliseconds.
    pub idle_ms: u32,
}

/// What a policy comes to on one machine, for each of its CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::memory) struct Bounds {
    pub(super) classes: [SizingPolicy; CLASSES],
    /// Most pages in all, as far as limits are above their floors.
    pub(super) ceiling_pages: u32,
}

impl PageCachePolicy {
    /// The image's policy: at most a 128th of memory in all, and 512 pages a CPU; 32 single pages and eight larger
    /// blocks always.
    ///
    /// What a page held costs nobody but a CPU that finds no memory, and then it is given back: so the ceiling is as high as
    /// nobody misses it, a 16th of Linux' (an eighth of memory). Floors, growth and period were tried on a trace of
    /// the image (`make trace-alloc`, seed 1); a period is long for a request and short for what people call a burst. Two
    /// looks, half a second apart, find that a CPU is idle.
    pub const DEFAULT: Self = Self {
        memory_divisor: 128,
        ceiling_pages: 512,
        floor_blocks: [32, 8, 8, 32],
        floor_divisor: 16,
        floor_blocks_min: 8,
        batch_blocks: [32, 8, 8, 32],
        growth: 2,
        decay: 8,
        period_ms: 10,
        idle_ms: 490,
    };

    /// The bounds for each of `cpus` CPUs of a machine with so many frames.
    pub(in crate::memory) fn bounds(&self, total_frames: u64, cpus: usize) -> Bounds {
        let fair = total_frames / self.memory_divisor / cpus as u64;
        let ceiling_pages = fair.min(self.ceiling_pages.into()) as u32;
        // Rounded, as batches of whole blocks are the cheapest.
        let most = (ceiling_pages / self.floor_divisor).next_multiple_of(8);
        let most = most.max(self.floor_blocks_min);
        let class = |class: Class| {
            let floor = self.floor_blocks[class.index()]
                .min(most)
                .min(STACK_BLOCKS_MAX);
            SizingPolicy {
                floor,
                ceiling: (ceiling_pages >> class.order().get()).clamp(floor, STACK_BLOCKS_MAX),
                batch: self.batch_blocks[class.index()].min(floor),
                growth: self.growth,
                decay: self.decay,
            }
        };
        Bounds {
            classes: core::array::from_fn(|index| class(Class(index as u8))),
            ceiling_pages,
        }
    }
}

impl Bounds {
    /// Of a CPU that keeps nothing.
    pub(super) fn none(self) -> Self {
        let classes = self.classes.map(|class| SizingPolicy {
            floor: 0,
            ceiling: 0,
            batch: 0,
            ..class
        });
        Self {
            classes,
            ceiling_pages: 0,
        }
    }

    /// Places for blocks that a stack of that class has: twice its ceiling, so that blocks are moved together once for as
    /// many as leave from below.
    pub(super) fn places(&self, class: Class) -> usize {
        2 * self.classes[class.index()].ceiling as usize
    }

    /// Places for blocks that a CPU's cache has.
    pub(in crate::memory) fn places_of_all(&self) -> usize {
        Class::all().map(|class| self.places(class)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_is_a_share_of_memory_and_floors_and_batches_shrink_with_it() {
        let bounds = |mib: u64, cpus| PageCachePolicy::DEFAULT.bounds(mib * 256, cpus);
        let blocks = |bounds: Bounds| bounds.classes.map(|class| [class.floor, class.ceiling]);
        for (mib, cpus, pages) in [(8, 1, 16), (64, 1, 128), (512, 4, 256), (16 << 10, 4, 512)] {
            assert_eq!(bounds(mib, cpus).ceiling_pages, pages);
        }
        let most = [[32, 512], [8, 256], [8, 128], [32, 512]];
        assert_eq!(blocks(bounds(16 << 10, 4)), most);
        assert_eq!(blocks(bounds(256, 1)), most);
        let few = [[16, 256], [8, 128], [8, 64], [16, 256]];
        assert_eq!(blocks(bounds(512, 4)), few);
        assert_eq!(blocks(bounds(8, 1)), [[8, 16], [8, 8], [8, 8], [8, 16]]);
        let batches = bounds(512, 4).classes.map(|class| class.batch);
        assert_eq!(batches, [16, 8, 8, 16]);
        assert_eq!(bounds(256, 1).places_of_all(), 2 * (512 + 256 + 128 + 512));
        assert_eq!(bounds(256, 1).none().places_of_all(), 0);
    }
}
