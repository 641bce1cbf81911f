//! Who holds what: a bit for each block that is in an owner's hands, by which a bad free is found.
//!
//! A block that was handed out has the bit of its node set (the numbering of [`super::tree`]); the same frames
//! with another order are another node. So a second free, a free of a block that was never handed out, of a
//! frame in a page cache or of a hole, and a free with the wrong order all find a bit that is not set.
//! The bits are atomics outside the zone lock: a page that only travels between an owner and a page cache
//! does not need the zone.
//!
//! Always true: the words of a chunk mean something once it is open (bit 0 of its first word, which is no
//! node); the zone opens a chunk before the first of its blocks leaves.

use super::geometry::{Geometry, Place};
use super::tree::NODE_WORDS;
use crate::error::{Error, Kind, Result, Subsystem};
use crate::memory::frames::{Order, Pfn};
use core::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// Set in a chunk's first word when all its words are valid.
const OPEN: u64 = 1;

/// The bits, [`NODE_WORDS`] words a chunk.
#[derive(Clone, Debug)]
pub(in crate::memory) struct OwnerMap {
    geometry: Geometry,
    words: &'static [AtomicU64],
}

impl OwnerMap {
    /// Words of storage for the chunks of `geometry`.
    pub(in crate::memory) fn storage_words(geometry: &Geometry) -> usize {
        geometry.chunks() * NODE_WORDS
    }

    /// A map in which nothing is owned and every chunk closed, over words of any content.
    pub(in crate::memory) fn new(geometry: Geometry, words: &'static [AtomicU64]) -> Self {
        for chunk in words.chunks_exact(NODE_WORDS) {
            chunk[0].store(0, Relaxed);
        }
        Self { geometry, words }
    }

    /// Notes that a block has been handed out.
    ///
    /// # Panics
    /// If it was in somebody's hands already: the allocator is broken.
    pub(in crate::memory) fn claim(&self, first: Pfn, order: Order) {
        let place = self
            .geometry
            .place(first, order)
            .expect("only managed blocks are handed out");
        // Relaxed: whoever had the block before gave it back under a lock that this owner took since.
        let before = self.word(place).fetch_or(bit(place), Relaxed);
        assert!(
            before & bit(place) == 0,
            "frame {:#x} (order {}) was handed out twice",
            first.0,
            order.get()
        );
    }

    /// Notes that a block comes back.
    ///
    /// # Errors
    /// `BadFree` if nobody held it with that order.
    pub(in crate::memory) fn release(&self, first: Pfn, order: Order) -> Result<()> {
        match self.geometry.place(first, order) {
            Some(place) if self.is_open(place.chunk) => {
                // Relaxed: what orders the next owner after this one is the lock of the cache or zone
                // that the block now goes to.
                let before = self.word(place).fetch_and(!bit(place), Relaxed);
                if before & bit(place) != 0 {
                    return Ok(());
                }
            }
            _ => {}
        }
        let bad = Kind::BadFree {
            frame: first.0,
            order: order.get(),
        };
        Err(Error::new(Subsystem::Memory, bad))
    }

    /// True if the words of `chunk` are valid.
    pub(super) fn is_open(&self, chunk: usize) -> bool {
        // Acquire: pairs with the Release in `open`, so that the zeroes are seen before bits are looked at.
        self.words[chunk * NODE_WORDS].load(Acquire) & OPEN != 0
    }

    /// Makes the words of a closed `chunk` valid. The caller holds the zone.
    pub(super) fn open(&self, chunk: usize) {
        let words = &self.words[chunk * NODE_WORDS..][..NODE_WORDS];
        for word in &words[1..] {
            word.store(0, Relaxed);
        }
        // Release: pairs with the Acquire in `is_open`.
        words[0].store(OPEN, Release);
    }

    fn word(&self, place: Place) -> &AtomicU64 {
        &self.words[place.chunk * NODE_WORDS + place.node / 64]
    }
}

fn bit(place: Place) -> u64 {
    1 << (place.node % 64)
}
