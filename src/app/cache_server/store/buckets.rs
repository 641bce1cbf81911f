//! Buckets of the hash table: one cache line each, in pages of blocks.

use super::budget::Budget;
use crate::error::Result;
use crate::memory::frames::{Block, Order};
use alloc::vec::Vec;

/// 16 KiB: few enough pages that their directory stays small.
pub(super) const PAGE_ORDER: Order = Order::new(2).expect("an order");
const WORDS: usize = 8;
/// Links of a bucket; the last word names its overflow bucket.
pub(super) const LINKS: usize = WORDS - 1;
const BUCKET_BYTES: usize = WORDS * 8;
/// Buckets in a page of the table.
pub(super) const BUCKETS_PER_PAGE: usize = PAGE_ORDER.bytes() / BUCKET_BYTES;
/// Overflow buckets are few.
pub(super) const OVERFLOW_PAGE_ORDER: Order = Order::ZERO;
/// Buckets in a page of overflow buckets.
pub(super) const BUCKETS_PER_OVERFLOW_PAGE: usize = OVERFLOW_PAGE_ORDER.bytes() / BUCKET_BYTES;

/// Links, and the number of the overflow bucket plus one.
pub(super) type Bucket = [[u8; 8]; WORDS];
/// A bucket without links.
pub(super) const EMPTY: Bucket = [[0; 8]; WORDS];

/// Pages of buckets.
#[derive(Default)]
pub(super) struct Pages {
    pub(super) blocks: Vec<Block>,
}

impl Pages {
    /// Bucket `index`.
    #[inline]
    pub(super) fn bucket<const PER_PAGE: usize>(&self, index: usize) -> &Bucket {
        let (buckets, _) = self.blocks[index / PER_PAGE].as_chunks::<BUCKET_BYTES>();
        as_words(&buckets[index % PER_PAGE])
    }

    /// Bucket `index`, to write.
    #[inline]
    pub(super) fn bucket_mut<const PER_PAGE: usize>(&mut self, index: usize) -> &mut Bucket {
        let (buckets, _) = self.blocks[index / PER_PAGE].as_chunks_mut::<BUCKET_BYTES>();
        let (words, _) = buckets[index % PER_PAGE].as_chunks_mut();
        words.first_chunk_mut().expect("a bucket is eight words")
    }

    /// Adds a page of empty buckets.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn add(&mut self, order: Order, budget: &mut Budget) -> Result<()> {
        self.blocks.try_reserve(1)?;
        let mut block = budget.take(order)?;
        block.fill(0);
        self.blocks.push(block);
        Ok(())
    }

    /// Gives all pages back.
    pub(super) fn give_all(&mut self, budget: &mut Budget) {
        for block in core::mem::take(&mut self.blocks) {
            budget.give(block);
        }
    }
}

#[inline]
fn as_words(bucket: &[u8; BUCKET_BYTES]) -> &Bucket {
    let (words, _) = bucket.as_chunks();
    words.first_chunk().expect("a bucket is eight words")
}
