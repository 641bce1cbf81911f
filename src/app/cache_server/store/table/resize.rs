//! Growing and shrinking by one bucket, and the overflow buckets that chains are made of.

use super::super::buckets::{
    BUCKETS_PER_OVERFLOW_PAGE, BUCKETS_PER_PAGE, EMPTY, LINKS, OVERFLOW_PAGE_ORDER, PAGE_ORDER,
    seal_bucket,
};
use super::super::budget::Budget;
use super::{Link, OVERFLOW, Table, overflow_of};
use crate::error::Result;

impl Table {
    /// Grows by one bucket: the next in turn gives those of its links to it whose hash says so.
    #[cold]
    pub(super) fn split(&mut self, budget: &mut Budget) {
        let new = self.bucket_count;
        if new == self.pages.blocks.len() * BUCKETS_PER_PAGE
            && self.pages.add(PAGE_ORDER, budget).is_err()
        {
            return;
        }
        let old = self.split_count() as u32;
        *self.raw_mut(new as u32) = EMPTY;
        self.bucket_count += 1;
        if self.bucket_count == 2 << self.level {
            self.set_level(self.level + 1);
        }
        // The chain's own buckets are enough: two buckets hold what one and its chain held.
        self.spread(old, budget);
    }

    /// Shrinks by one bucket: the last gives its links back to the one it was split from.
    #[cold]
    pub(super) fn merge(&mut self, budget: &mut Budget) {
        if self.overflow_free == 0 && self.add_overflow_page(budget).is_err() {
            return;
        }
        if self.split_count() == 0 {
            self.set_level(self.level - 1);
        }
        self.bucket_count -= 1;
        let last = self.bucket_count as u32;
        self.spread(last, budget);
        if self.bucket_count <= (self.pages.blocks.len() - 1) * BUCKETS_PER_PAGE {
            #[expect(unsafe_code, reason = "says what the page holds")]
            // SAFETY: each of its buckets began as zeroes, and was made `EMPTY` by `spread` when it was the last.
            unsafe {
                self.pages.blocks.pop_zeroed_block(budget);
            }
        }
        self.release_unused_overflow(budget);
    }

    /// Takes all links out of a bucket and its chain, frees the chain, and puts each link where its hash
    /// says now.
    pub(super) fn spread(&mut self, number: u32, budget: &mut Budget) {
        let mut bucket = core::mem::replace(self.bucket_mut(number), EMPTY);
        loop {
            for link in bucket[..LINKS]
                .iter()
                .filter_map(|word| Link::from_word(*word))
            {
                self.insert_without_growing(link, budget)
                    .expect("a chain's own buckets, or the one set by, hold its links");
            }
            let Some(next) = overflow_of(&bucket) else {
                return;
            };
            bucket = self.bucket(next);
            self.free_overflow(next);
        }
    }

    #[cold]
    pub(super) fn append_overflow(&mut self, number: u32, budget: &mut Budget) -> Result<u32> {
        if self.overflow_free == 0 {
            self.add_overflow_page(budget)?;
        }
        let index = self.overflow_free - 1;
        let new = index | OVERFLOW;
        self.overflow_free = u64::from_le_bytes(self.bucket(new)[0]) as u32;
        *self.raw_mut(new) = EMPTY;
        self.overflow_used += 1;
        self.change(number, LINKS, u64::from(index + 1).to_le_bytes());
        Ok(new)
    }

    pub(super) fn add_overflow_page(&mut self, budget: &mut Budget) -> Result<()> {
        let first = self.overflow.blocks.len() * BUCKETS_PER_OVERFLOW_PAGE;
        self.overflow.add(OVERFLOW_PAGE_ORDER, budget)?;
        for index in (first..first + BUCKETS_PER_OVERFLOW_PAGE).rev() {
            self.push_free_overflow(index as u32 | OVERFLOW);
        }
        Ok(())
    }

    pub(super) fn push_free_overflow(&mut self, number: u32) {
        let next = u64::from(self.overflow_free);
        let bucket = self.raw_mut(number);
        *bucket = EMPTY;
        bucket[0] = next.to_le_bytes();
        seal_bucket(bucket);
        self.overflow_free = (number & !OVERFLOW) + 1;
    }

    pub(super) fn free_overflow(&mut self, number: u32) {
        self.push_free_overflow(number);
        self.overflow_used -= 1;
    }

    pub(super) fn release_unused_overflow(&mut self, budget: &mut Budget) {
        if self.overflow_used == 0 {
            self.overflow.give_all(budget);
            self.overflow_free = 0;
        }
    }

    /// An emptied table drops its chains; overflow buckets emptied earlier wait for their bucket's next
    /// split or merge, or are filled again.
    #[cold]
    pub(super) fn tidy_empty(&mut self, budget: &mut Budget) {
        for number in 0..self.bucket_count as u32 {
            *self.raw_mut(number) = EMPTY;
        }
        self.overflow_used = 0;
        self.release_unused_overflow(budget);
    }
}
