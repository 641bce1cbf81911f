//! A source of frames that refuses some, and whose blocks' bits flip.
#![allow(
    unsafe_code,
    reason = "it hands on a frame source's promise, and flips bits in what that gave out"
)]

use super::group::Group;
use super::point::Declaration;
use crate::error::{Error, Kind, Result, Subsystem, try_boxed_slice};
use crate::memory::frames::{BlockWord, FrameSource, Order, Pfn};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What a source of frames can be made to do. Space is in bytes.
pub const FRAME_POINTS: &[Declaration] = &[Declaration::new("frame-allocation")];

const ALLOCATION: usize = 0;

/// The source.
pub struct FaultyFrames {
    inner: &'static dyn FrameSource,
    group: &'static Group,
    /// [`BlockWord`]s of the last blocks that were given out and not taken back, for bits of them to be flipped.
    given_out: Box<[AtomicU64]>,
    next: AtomicUsize,
}

impl FaultyFrames {
    /// A source that hands on what `inner` gives out, with the points of `group`, which are [`FRAME_POINTS`]. It remembers
    /// so many blocks, for [`FaultyFrames::flip`].
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(
        inner: &'static dyn FrameSource,
        group: &'static Group,
        remembered: usize,
    ) -> Result<Self> {
        Ok(Self {
            inner,
            group,
            given_out: try_boxed_slice(remembered, |_| AtomicU64::new(BlockWord::NONE.0))?,
            next: AtomicUsize::new(0),
        })
    }

    fn refuses(&self, order: Order) -> Result<()> {
        let bytes = order.bytes();
        if self.group.is_armed() && self.group.fires_for(ALLOCATION, bytes as u64) {
            let requested_bytes = bytes;
            return Err(Error::new(
                Subsystem::Memory,
                Kind::OutOfMemory { requested_bytes },
            ));
        }
        Ok(())
    }

    fn note(&self, word: u64) {
        if !self.given_out.is_empty() {
            let next = self.next.fetch_add(1, Relaxed);
            self.given_out[next % self.given_out.len()].store(word, Relaxed);
        }
    }

    fn forget(&self, word: u64) {
        for place in &self.given_out {
            // Another that was noted there meanwhile stays.
            let _ = place.compare_exchange(word, BlockWord::NONE.0, Relaxed, Relaxed);
        }
    }

    /// Flips a bit of a block that was given out lately, of its first `within` bytes; which, follows from `draw`. False if
    /// there is no block.
    ///
    /// # Safety
    /// Whoever has the blocks does not run meanwhile, and bears that any bit of them changes.
    pub unsafe fn flip(&self, draw: u64, within: usize) -> bool {
        let count = self.given_out.len();
        let words = (0..count).map(|n| &self.given_out[(draw as usize % count + n) % count]);
        let mut blocks = words.filter_map(|word| BlockWord(word.load(Relaxed)).block());
        let Some((first, order)) = blocks.next() else {
            return false;
        };
        let bit = (draw >> 8) as usize % (within.clamp(1, order.bytes()) * 8);
        let byte = (first.address() + bit / 8) as *mut u8;
        // SAFETY: the block was given out and not taken back, so it is memory; its user, which does not run, bears it.
        unsafe { byte.write_volatile(byte.read_volatile() ^ (1 << (bit % 8))) };
        true
    }
}

// SAFETY: blocks come from a frame source, and what is refused is not given out.
unsafe impl FrameSource for FaultyFrames {
    fn allocate(&self, order: Order) -> Result<Pfn> {
        self.refuses(order)?;
        let first = self.inner.allocate(order)?;
        self.note(BlockWord::new(first, order).0);
        Ok(first)
    }

    fn free(&self, first: Pfn, order: Order) -> Result<()> {
        self.forget(BlockWord::new(first, order).0);
        self.inner.free(first, order)
    }

    fn allocate_into(&self, order: Order, place: &AtomicU64) -> Result<()> {
        self.refuses(order)?;
        self.inner.allocate_into(order, place)?;
        self.note(place.load(Relaxed));
        Ok(())
    }

    fn free_from(&self, place: &AtomicU64) -> Result<()> {
        self.forget(place.load(Relaxed));
        self.inner.free_from(place)
    }

    fn free_frames(&self) -> u64 {
        self.inner.free_frames()
    }

    fn total_frames(&self) -> u64 {
        self.inner.total_frames()
    }
}
