//! Buckets of the hash table: one cache line each, in pages of blocks.

use super::blocks::{BlockVec, Held};
use super::budget::Budget;
use super::seal;
use crate::error::Result;
use crate::memory::frames::{Contents, Order};

/// 16 KiB: few enough pages that their directory stays small.
pub(super) const PAGE_ORDER: Order = Order::new(2).expect("an order");
const WORDS: usize = 8;
/// Links of a bucket; the last word names its overflow bucket, below its seal.
pub(super) const LINKS: usize = WORDS - 1;
const BUCKET_BYTES: usize = WORDS * 8;
/// Buckets in a page of the table.
pub(super) const BUCKETS_PER_PAGE: usize = PAGE_ORDER.bytes() / BUCKET_BYTES;
/// Overflow buckets are few.
pub(super) const OVERFLOW_PAGE_ORDER: Order = Order::ZERO;
/// Buckets in a page of overflow buckets.
pub(super) const BUCKETS_PER_OVERFLOW_PAGE: usize = OVERFLOW_PAGE_ORDER.bytes() / BUCKET_BYTES;
/// Chunks of the directory: 32 GiB of buckets.
const CHUNKS: usize = 4;

/// Links, and the number of the overflow bucket plus one, and the seal of all that in the word's upper half.
pub(super) type Bucket = [[u8; 8]; WORDS];
/// A bucket without links.
pub(super) const EMPTY: Bucket = [[0; 8]; WORDS];

/// Pages of buckets.
pub(super) struct Pages {
    pub(super) blocks: BlockVec<Held, CHUNKS>,
}

impl Pages {
    /// No page.
    pub(super) const fn new() -> Self {
        Self {
            blocks: BlockVec::new(),
        }
    }

    /// Bucket `index`, if its page is there.
    #[inline(always)]
    pub(super) fn find<const PER_PAGE: usize>(&self, index: usize) -> Option<&Bucket> {
        let (buckets, _) = self
            .blocks
            .get(index / PER_PAGE)?
            .bytes_if(PER_PAGE * BUCKET_BYTES)?
            .as_chunks::<BUCKET_BYTES>();
        Some(as_words(&buckets[index % PER_PAGE]))
    }

    /// Bucket `index`.
    #[inline]
    pub(super) fn bucket<const PER_PAGE: usize>(&self, index: usize) -> &Bucket {
        self.find::<PER_PAGE>(index).expect("a bucket's page")
    }

    /// Bucket `index`, to write: it is sealed by [`seal_bucket`].
    #[inline]
    pub(super) fn bucket_mut<const PER_PAGE: usize>(&mut self, index: usize) -> &mut Bucket {
        let (buckets, _) = self.blocks[index / PER_PAGE]
            .bytes_mut()
            .as_chunks_mut::<BUCKET_BYTES>();
        let (words, _) = buckets[index % PER_PAGE].as_chunks_mut();
        words.first_chunk_mut().expect("a bucket is eight words")
    }

    /// Adds a page of empty buckets.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn add(&mut self, order: Order, budget: &mut Budget) -> Result<()> {
        self.blocks.push_block(order, budget, Contents::Zero)
    }

    /// Gives all pages back.
    pub(super) fn give_all(&mut self, budget: &mut Budget) {
        self.blocks.give_all(budget);
    }
}

#[inline(always)]
fn as_words(bucket: &[u8; BUCKET_BYTES]) -> &Bucket {
    let (words, _) = bucket.as_chunks();
    words.first_chunk().expect("a bucket is eight words")
}

#[inline]
fn seal_of(bucket: &Bucket) -> u32 {
    let next = u64::from_le_bytes(bucket[LINKS]) as u32;
    seal::of_words(&bucket[..LINKS], next.into())
}

/// True if a bucket is as it was written.
#[inline]
pub(super) fn is_sealed(bucket: &Bucket) -> bool {
    u64::from(seal_of(bucket)) == u64::from_le_bytes(bucket[LINKS]) >> 32
}

/// Seals a bucket.
#[inline]
pub(super) fn seal_bucket(bucket: &mut Bucket) {
    let next = u64::from_le_bytes(bucket[LINKS]) as u32;
    bucket[LINKS] = (u64::from(seal_of(bucket)) << 32 | u64::from(next)).to_le_bytes();
}

/// Puts a flipped bit of a bucket right; false if it takes more.
#[cold]
#[inline(never)]
pub(super) fn mend(bucket: &mut Bucket) -> bool {
    let is_right = |bytes: &[u8]| {
        let words = bytes.as_chunks().0.first_chunk();
        words.is_some_and(is_sealed)
    };
    seal::mend(bucket.as_flattened_mut(), &is_right)
}
