//! Where the chunks lie: frame numbers to chunk numbers and back, over banks of RAM with gaps between them.
//!
//! A chunk is 4 MiB of address space, aligned to that. Chunks are numbered without gaps, bank after bank, in
//! the order of their addresses, so metadata is spent on address space near RAM only.

use super::tree::{node_at, offset_of};
use crate::error::{Error, Kind, Result, Subsystem};
use crate::memory::frames::{Order, Pfn};
use core::ops::Range;

/// Most banks that are not adjacent; device trees of virtual machines have one or two.
const MAX_BANKS: usize = 16;

/// Frames in a chunk.
const CHUNK_FRAMES: u64 = Order::MAX.frames();

/// A run of chunks: the address space from chunk-aligned frame to chunk-aligned frame, in chunks.
#[derive(Clone, Debug, Default)]
struct Bank {
    /// Frame number divided by [`CHUNK_FRAMES`].
    addresses: Range<u64>,
    /// Number of its first chunk.
    first: usize,
}

/// A block's place in the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::memory) struct Place {
    /// Number of the chunk.
    pub(in crate::memory) chunk: usize,
    /// The block, as a node of a tree over the chunk.
    pub(in crate::memory) node: usize,
}

/// All banks.
#[derive(Clone, Debug)]
pub(in crate::memory) struct Geometry {
    banks: [Bank; MAX_BANKS],
    len: usize,
    /// The first frame of the first bank: most machines have no other bank.
    first_start: u64,
    /// Frames in the chunks of the first bank.
    first_frames: u64,
}

impl Geometry {
    /// The chunks that hold the frames of `spans`.
    ///
    /// # Errors
    /// `LimitReached` for more than [`MAX_BANKS`] banks with whole chunks between them.
    pub(in crate::memory) fn covering(spans: impl Iterator<Item = Range<u64>>) -> Result<Self> {
        let mut all = Self {
            banks: Default::default(),
            len: 0,
            first_start: 0,
            first_frames: 0,
        };
        for span in spans {
            all.cover(span.start / CHUNK_FRAMES..span.end.div_ceil(CHUNK_FRAMES))?;
        }
        let mut first = 0;
        for bank in &mut all.banks[..all.len] {
            bank.first = first;
            first += (bank.addresses.end - bank.addresses.start) as usize;
        }
        let bank = &all.banks[0].addresses;
        all.first_start = bank.start * CHUNK_FRAMES;
        all.first_frames = (bank.end - bank.start) * CHUNK_FRAMES;
        Ok(all)
    }

    /// Adds a run of chunks: joins it with all banks it touches and puts the result in its place.
    fn cover(&mut self, mut addresses: Range<u64>) -> Result<()> {
        let mut kept = 0;
        for i in 0..self.len {
            let bank = self.banks[i].addresses.clone();
            if bank.end < addresses.start || addresses.end < bank.start {
                self.banks.swap(kept, i);
                kept += 1;
            } else {
                addresses = addresses.start.min(bank.start)..addresses.end.max(bank.end);
            }
        }
        if kept == MAX_BANKS {
            let what = "separate banks of memory";
            let limit = MAX_BANKS as u64;
            return Err(Error::new(
                Subsystem::Memory,
                Kind::LimitReached { what, limit },
            ));
        }
        self.banks[kept] = Bank {
            addresses,
            first: 0,
        };
        self.len = kept + 1;
        self.banks[..self.len].sort_unstable_by_key(|bank| bank.addresses.start);
        Ok(())
    }

    /// How many chunks there are.
    pub(in crate::memory) fn chunks(&self) -> usize {
        self.banks[..self.len].last().map_or(0, |bank| {
            bank.first + (bank.addresses.end - bank.addresses.start) as usize
        })
    }

    /// The first frame of the bank with most chunks, and their numbers.
    pub(in crate::memory) fn largest_bank(&self) -> (Pfn, Range<usize>) {
        let chunks = |bank: &Bank| (bank.addresses.end - bank.addresses.start) as usize;
        let banks = self.banks[..self.len].iter();
        banks
            .max_by_key(|bank| chunks(bank))
            .map_or((Pfn(0), 0..0), |bank| {
                let first = Pfn(bank.addresses.start * CHUNK_FRAMES);
                (first, bank.first..bank.first + chunks(bank))
            })
    }

    /// The place of a block; `None` if it is misaligned or outside all banks.
    pub(in crate::memory) fn place(&self, first: Pfn, order: Order) -> Option<Place> {
        let index = self.index(first)?;
        first.0.is_multiple_of(order.frames()).then(|| Place {
            chunk: index / CHUNK_FRAMES as usize,
            node: node_at(first.0 % CHUNK_FRAMES, order),
        })
    }

    /// The first frame of the block at `place`.
    pub(in crate::memory) fn frame(&self, place: Place) -> Pfn {
        self.frame_at(place.chunk * CHUNK_FRAMES as usize + offset_of(place.node) as usize)
    }

    /// The number of a frame among those of all chunks; `None` outside all banks.
    #[inline(always)]
    pub(in crate::memory) fn index(&self, frame: Pfn) -> Option<usize> {
        let offset = frame.0.wrapping_sub(self.first_start);
        if offset < self.first_frames {
            return Some(offset as usize);
        }
        self.index_beyond(frame)
    }

    /// As [`Geometry::index`], of a frame that is managed.
    ///
    /// # Panics
    /// If it is outside all banks.
    #[inline(always)]
    pub(in crate::memory) fn index_of_managed(&self, frame: Pfn) -> usize {
        let offset = frame.0.wrapping_sub(self.first_start);
        if offset < self.first_frames {
            return offset as usize;
        }
        self.index_of_managed_beyond(frame)
    }

    #[cold]
    #[inline(never)]
    fn index_of_managed_beyond(&self, frame: Pfn) -> usize {
        let index = self.index_beyond(frame);
        index.expect("a block that was handed out is managed")
    }

    #[cold]
    #[inline(never)]
    fn index_beyond(&self, frame: Pfn) -> Option<usize> {
        let address = frame.0 / CHUNK_FRAMES;
        let mut banks = self.banks[..self.len].iter();
        let bank = banks.find(|bank| bank.addresses.contains(&address))?;
        let chunk = bank.first + (address - bank.addresses.start) as usize;
        Some(chunk * CHUNK_FRAMES as usize + (frame.0 % CHUNK_FRAMES) as usize)
    }

    /// The frame of that number, which is one of [`Geometry::index`].
    #[inline(always)]
    pub(in crate::memory) fn frame_at(&self, index: usize) -> Pfn {
        if (index as u64) < self.first_frames {
            return Pfn(self.first_start + index as u64);
        }
        self.frame_beyond(index)
    }

    #[cold]
    #[inline(never)]
    fn frame_beyond(&self, index: usize) -> Pfn {
        let chunk = index / CHUNK_FRAMES as usize;
        let mut banks = self.banks[..self.len].iter();
        let bank = banks
            .rfind(|bank| bank.first <= chunk)
            .expect("the first bank starts with chunk 0");
        let address = bank.addresses.start + (chunk - bank.first) as u64;
        Pfn(address * CHUNK_FRAMES + index as u64 % CHUNK_FRAMES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banks_that_touch_are_joined_and_chunks_are_numbered_by_address() {
        let spans = [9_000..10_000, 100..1_000, 2_000..2_100, 900..2_000];
        let geometry = Geometry::covering(spans.into_iter()).expect("four spans fit");
        // Chunks 0, 1 and 2 of the address space, then 8 and 9.
        assert_eq!((geometry.len, geometry.chunks()), (2, 5));
        for (frame, chunk) in [(0, 0), (1_024, 1), (2_048, 2), (8_192, 3), (9_216, 4)] {
            let place = geometry.place(Pfn(frame), Order::MAX).expect("covered");
            assert_eq!(place.chunk, chunk);
            assert_eq!(geometry.frame(place), Pfn(frame));
        }
    }

    #[test]
    fn frames_between_banks_and_misaligned_blocks_have_no_place() {
        let geometry = Geometry::covering([0..1, 9_000..9_001].into_iter()).expect("two spans fit");
        let order = Order::new(3).expect("an order");
        assert_eq!(geometry.place(Pfn(4_096), Order::ZERO), None);
        assert_eq!(geometry.place(Pfn(u64::MAX), Order::ZERO), None);
        assert_eq!(geometry.place(Pfn(9_004), order), None);
        assert!(geometry.place(Pfn(9_008), order).is_some());
    }

    #[test]
    fn one_bank_too_many_is_refused_with_the_limit() {
        let spans = (0..17).map(|i| i * 4_096..i * 4_096 + 1);
        let error = Geometry::covering(spans).expect_err("17 banks");
        assert!(
            matches!(error.kind(), Kind::LimitReached { limit: 16, .. }),
            "{error}"
        );
    }
}
