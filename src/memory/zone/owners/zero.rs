//! Frames that are known to be zero: marks in the bytes of free frames, so that nobody who asks for zeroes writes
//! them again.
//!
//! Who gives a block back and knows that it is zero sets the marks. They end with the next use of a frame, whatever it
//! is asked for: all bytes of a block are written when it enters or leaves a page cache, and those of one that the zone
//! gives out itself are wiped where its chunk may have marks. So no way that a frame is given out must look at them.
//!
//! Limits: a block that goes from the zone to a page cache in a batch, or back, loses its marks: to look at each would
//! cost every batch, and to zero a frame anew takes about 150 instructions. Who asks for a zeroed block of several frames
//! asks the zone where the cache has none.

use super::code::{NOT_IN_HAND, ZERO};
use super::{CHUNK_FRAMES, OwnerMap, WORD_FRAMES};
use crate::memory::frames::{Order, Pfn};
use core::sync::atomic::Ordering::Relaxed;

/// Set in a chunk's mark when a frame of it may be marked as zero.
const MAY_BE_ZERO: u32 = 2;
/// The lowest bit of each byte.
const ONES: u64 = u64::MAX / 0xff;
/// Moves the lowest bits of eight bytes next to each other, into the highest byte of a product.
const GATHER: u64 = 0x0102_0408_1020_4080;

/// Which frames of a block are known to be zero: a bit each, by their places in it.
#[derive(Clone, Debug)]
pub(in crate::memory) struct KnownZero([u64; WORDS]);

/// Words of as many bits as the largest block has frames.
const WORDS: usize = CHUNK_FRAMES / 64;

impl KnownZero {
    /// None of them.
    pub(in crate::memory) const NONE: Self = Self([0; WORDS]);
    /// All of them.
    pub(in crate::memory) const ALL: Self = Self([u64::MAX; WORDS]);

    /// True if none is.
    pub(in crate::memory) fn is_none(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// True if that frame of the block is.
    pub(in crate::memory) fn is_known(&self, frame: usize) -> bool {
        self.0[frame / 64 % WORDS] & 1 << (frame % 64) != 0
    }
}

impl OwnerMap {
    /// Marks the frames of a block, which was just taken from who held it, as zero. The caller holds the zone.
    pub(in crate::memory) fn note_zero(&self, first: Pfn, order: Order) {
        if let Some(index) = self.index(first) {
            self.mark(index, order.get().into(), ZERO);
        }
    }

    /// Marks frames as zero, or no more.
    #[cold]
    #[inline(never)]
    fn mark(&self, index: usize, order: usize, code: u8) {
        if let Some(mark) = self.storage.marks.get(index / CHUNK_FRAMES) {
            // Relaxed: it concerns those who hold the zone; whoever else reads the mark asks whether the chunk is open.
            mark.fetch_or(MAY_BE_ZERO, Relaxed);
        }
        self.say_of_run(index, order, code);
    }

    /// Says in `known` which frames of a block are marked as zero, that the zone has given out and nobody has claimed yet.
    #[cold]
    #[inline(never)]
    pub(in crate::memory) fn note_known(&self, first: Pfn, order: Order, known: &mut KnownZero) {
        let Some(index) = self.index(first).filter(|&index| self.may_be_zero(index)) else {
            return;
        };
        let words = self.words.iter().skip(index / WORD_FRAMES);
        let words = words.take((order.frames() as usize).div_ceil(WORD_FRAMES));
        for (at, word) in words.enumerate() {
            // Of a frame that was free a byte says that or nothing; of those beside a small block, whatever it says.
            let marks = (word.load(Relaxed).to_le() / u64::from(ZERO)) & ONES;
            let marks = marks.wrapping_mul(GATHER) >> 56 >> (index % WORD_FRAMES);
            known.0[at / WORD_FRAMES % WORDS] |= marks << (at % WORD_FRAMES * WORD_FRAMES);
        }
    }

    /// Forgets that frames of a block are zero, which is about to be somebody's.
    #[inline(always)]
    pub(super) fn forget_zero(&self, index: usize, order: Order) {
        if self.may_be_zero(index) {
            self.mark(index, order.get().into(), NOT_IN_HAND);
        }
    }

    #[inline(always)]
    fn may_be_zero(&self, index: usize) -> bool {
        let mark = self.storage.marks.get(index / CHUNK_FRAMES);
        mark.is_some_and(|mark| mark.load(Relaxed) & MAY_BE_ZERO != 0)
    }
}
