//! The hash table of one database: linear hashing (Litwin 1980) over paged buckets.
//!
//! It grows and shrinks one bucket at a time, so no request ever waits for a resize. A bucket is one cache
//! line: seven links and the number of an overflow bucket. A link is the key's 32-bit hash beside the
//! handle of its entry; the hash tells other keys apart without touching their entries, and also says where
//! a link goes when its bucket is split.
//!
//! Always true: every link is in the bucket its hash names, or in that bucket's overflow chain; a link of
//! 0 is an empty place. Buckets `0..bucket_count` exist, in pages of [`BUCKETS_PER_PAGE`].
//!
//! A table that cannot grow for want of memory stays as it is, with longer chains, and tries again.

use super::arena::Handle;
use super::blocks::Held;
use super::buckets::{
    BUCKETS_PER_OVERFLOW_PAGE, BUCKETS_PER_PAGE, Bucket, EMPTY, LINKS, OVERFLOW_PAGE_ORDER,
    PAGE_ORDER, Pages,
};
use super::budget::Budget;
use crate::cache::random::Random;
use crate::error::Result;

/// Keys per bucket above which the table grows: between splits a bucket holds 4 to 8 on average.
const GROW_LOAD: usize = 4;
/// Keys per bucket below which it shrinks: far from `GROW_LOAD`, so that it does not swing.
const SHRINK_LOAD: usize = 1;
/// Marks the number of an overflow bucket.
const OVERFLOW: u32 = 1 << 31;
/// Random buckets tried before `random` walks on from the last one.
const RANDOM_TRIES: usize = 16;

/// A place in the table: a bucket and which of its links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    bucket: u32,
    link: u32,
}

/// What a link says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// The hash of the key.
    pub(super) hash: u32,
    /// Its entry.
    pub(super) handle: Handle,
}

impl Link {
    #[inline]
    fn from_word(word: [u8; 8]) -> Option<Self> {
        let word = u64::from_le_bytes(word);
        Handle::from_raw(word as u32).map(|handle| Self {
            hash: (word >> 32) as u32,
            handle,
        })
    }

    #[inline]
    fn to_word(self) -> [u8; 8] {
        (u64::from(self.hash) << 32 | u64::from(self.handle.raw())).to_le_bytes()
    }
}

/// The first link of a bucket that has `hash`, or the first empty place if that is 0.
///
/// Written out: where code is kept small a loop stays one, which would cost most of what a look costs.
#[inline(always)]
fn first_of(bucket: &Bucket, hash: u32) -> Option<usize> {
    const _: () = assert!(LINKS == 7);
    let has = |link: usize| (u64::from_le_bytes(bucket[link]) >> 32) as u32 == hash;
    if has(0) {
        Some(0)
    } else if has(1) {
        Some(1)
    } else if has(2) {
        Some(2)
    } else if has(3) {
        Some(3)
    } else if has(4) {
        Some(4)
    } else if has(5) {
        Some(5)
    } else {
        has(6).then_some(6)
    }
}

/// Finds entries by the hash of their key.
pub(super) struct Table {
    pages: Pages,
    overflow: Pages,
    /// First free overflow bucket, by number plus one; its first word links to the next.
    overflow_free: u32,
    overflow_used: u32,
    bucket_count: usize,
    /// `2^level <= bucket_count`; buckets below `bucket_count - 2^level` are split already.
    level: u32,
    /// The bits of a hash that name a split bucket: `level + 1` of them.
    deep_mask: u32,
    len: usize,
}

impl Table {
    /// A table without a page, which holds nothing.
    pub(super) const fn new() -> Self {
        Self {
            pages: Pages::new(),
            overflow: Pages::new(),
            overflow_free: 0,
            overflow_used: 0,
            bucket_count: BUCKETS_PER_PAGE,
            level: BUCKETS_PER_PAGE.ilog2(),
            deep_mask: deep_mask(BUCKETS_PER_PAGE.ilog2()),
            len: 0,
        }
    }

    /// True once it has a page.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.pages.blocks.len() > 0
    }

    /// Gives it its first page, before the first insert.
    ///
    /// # Errors
    /// `OutOfMemory` if there is no page.
    #[inline]
    pub(super) fn open(&mut self, budget: &mut Budget) -> Result<()> {
        if self.is_open() {
            return Ok(());
        }
        self.pages.add(PAGE_ORDER, budget)
    }

    /// Keys held.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Buckets, overflow not counted.
    #[cfg(test)]
    pub(super) fn bucket_count(&self) -> usize {
        self.bucket_count
    }

    /// Grows an empty table for so many keys, as far as memory goes.
    pub(super) fn expect(&mut self, keys: usize, budget: &mut Budget) {
        if self.len > 0 || self.open(budget).is_err() {
            return;
        }
        let wanted = keys.div_ceil(GROW_LOAD);
        while self.bucket_count < wanted {
            let room = self.pages.blocks.len() * BUCKETS_PER_PAGE;
            if self.bucket_count == room && self.pages.add(PAGE_ORDER, budget).is_err() {
                break;
            }
            self.bucket_count = wanted.min(room.max(self.bucket_count + 1));
            self.set_level(self.bucket_count.ilog2());
        }
    }

    /// Finds the first link with `hash`. Few keys share theirs: [`Table::next`] has the others.
    #[inline(always)]
    pub(super) fn first(&self, hash: u32) -> Option<(Place, Handle)> {
        let number = self.home(hash);
        let bucket = self.pages.find::<BUCKETS_PER_PAGE>(number as usize)?;
        let place = match first_of(bucket, hash) {
            Some(link) => {
                let place = Place {
                    bucket: number,
                    link: link as u32,
                };
                if let Some(known) = Link::from_word(bucket[link]) {
                    return Some((place, known.handle));
                }
                // An empty place looks like a link with the hash 0.
                place
            }
            None => Place {
                bucket: overflow_of(bucket)?,
                link: 0,
            },
        };
        self.seek(hash, place)
    }

    /// Finds the link with `hash` that follows the one at `place`.
    #[cold]
    pub(super) fn next(&self, hash: u32, place: Place) -> Option<(Place, Handle)> {
        let Place { bucket, link } = place;
        let link = link + 1;
        self.seek(hash, Place { bucket, link })
    }

    /// Finds the first link with `hash` from `place` on.
    #[inline(never)]
    fn seek(&self, hash: u32, mut place: Place) -> Option<(Place, Handle)> {
        loop {
            let bucket = self.bucket(place.bucket);
            for link in place.link..LINKS as u32 {
                if let Some(known) = Link::from_word(bucket[link as usize])
                    && known.hash == hash
                {
                    return Some((Place { link, ..place }, known.handle));
                }
            }
            place = Place {
                bucket: overflow_of(bucket)?,
                link: 0,
            };
        }
    }

    /// Adds a link. The key must not be there yet.
    ///
    /// # Errors
    /// `OutOfMemory` if its bucket is full and no overflow bucket can be had; nothing is changed.
    #[inline]
    pub(super) fn insert(&mut self, link: Link, budget: &mut Budget) -> Result<()> {
        self.insert_without_growing(link, budget)?;
        self.len += 1;
        if self.len > self.bucket_count * GROW_LOAD {
            self.split(budget);
        }
        Ok(())
    }

    /// Makes the link at `place` name another entry of the same key.
    #[inline]
    pub(super) fn replace(&mut self, place: Place, link: Link) {
        self.bucket_mut(place.bucket)[place.link as usize] = link.to_word();
    }

    /// Removes the link at `place`.
    #[inline]
    pub(super) fn remove(&mut self, place: Place, budget: &mut Budget) {
        self.bucket_mut(place.bucket)[place.link as usize] = [0; 8];
        self.len -= 1;
        if self.len == 0 && self.overflow_used > 0 {
            self.tidy_empty(budget);
        }
        if self.len < self.bucket_count * SHRINK_LOAD && self.bucket_count > BUCKETS_PER_PAGE {
            self.merge(budget);
        }
    }

    /// A random link; `None` only if the table is empty. Favours links in short buckets a little.
    pub(super) fn random(&self, random: &mut Random) -> Option<Link> {
        if self.len == 0 {
            return None;
        }
        let count = self.bucket_count as u32;
        let mut number = 0;
        for _ in 0..RANDOM_TRIES {
            number = random.below(count);
            if let Some(link) = self.random_of_bucket(number, random) {
                return Some(link);
            }
        }
        (1..=count).find_map(|step| self.random_of_bucket((number + step) % count, random))
    }

    /// Calls `see` with up to `count` links found from a random bucket on.
    pub(super) fn sample(&self, random: &mut Random, count: u32, mut see: impl FnMut(Link)) {
        let mut left = count.min(self.len as u32);
        let mut number = random.below(self.bucket_count as u32);
        while left > 0 {
            for link in self.links(number) {
                see(link);
                left -= 1;
                if left == 0 {
                    return;
                }
            }
            number = (number + 1) % self.bucket_count as u32;
        }
    }

    /// One step of a scan: calls `see` with every link of the bucket that `cursor` names, and returns
    /// the cursor that follows, 0 at the end.
    ///
    /// The cursor counts bit-reversed, as Redis' does: a bucket covers an interval of reversed hashes, and
    /// the scan goes through the intervals in order. Splitting cuts an interval in two and merging joins
    /// two, so whatever is there throughout the scan is seen at least once.
    pub(super) fn scan(&self, cursor: u32, mut see: impl FnMut(Link)) -> u32 {
        if !self.is_open() {
            return 0;
        }
        let number = self.home(cursor);
        self.links(number).for_each(&mut see);
        let is_deep = number >= 1 << self.level || (number as usize) < self.split_count();
        let depth = if is_deep { self.level + 1 } else { self.level };
        let step = 1_u32 << (32 - depth);
        (cursor.reverse_bits() & !(step - 1))
            .wrapping_add(step)
            .reverse_bits()
    }

    /// All links. Nothing may be added or removed meanwhile.
    pub(super) fn iter(&self) -> impl Iterator<Item = Link> {
        let buckets = if self.is_open() { self.bucket_count } else { 0 };
        (0..buckets as u32).flat_map(|number| self.links(number))
    }

    /// Gives all pages back: it holds nothing then.
    pub(super) fn close(&mut self, budget: &mut Budget) {
        self.pages.give_all(budget);
        self.overflow.give_all(budget);
        *self = Self::new();
    }

    /// Every place that may hold a block.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &Held> {
        let pages = [&self.pages.blocks, &self.overflow.blocks];
        pages
            .into_iter()
            .flat_map(|blocks| blocks.iter().chain(blocks.chunks()))
    }

    /// After a cut: forgets all links, and is a table of as many buckets as before, all empty.
    pub(super) fn forget_links(&mut self) {
        self.pages.blocks.trim();
        self.overflow.blocks.trim();
        let room = self.pages.blocks.len() * BUCKETS_PER_PAGE;
        let least = room.saturating_sub(BUCKETS_PER_PAGE);
        self.bucket_count = self.bucket_count.clamp(least, room).max(BUCKETS_PER_PAGE);
        self.set_level(self.bucket_count.ilog2());
        for number in 0..room as u32 {
            *self.bucket_mut(number) = EMPTY;
        }
        (self.len, self.overflow_free, self.overflow_used) = (0, 0, 0);
        let overflow = self.overflow.blocks.len() * BUCKETS_PER_OVERFLOW_PAGE;
        for index in (0..overflow as u32).rev() {
            self.push_free_overflow(index | OVERFLOW);
        }
    }

    /// Adds a link again. The chains that were there are enough: they held these links.
    ///
    /// # Errors
    /// As [`Table::insert`].
    pub(super) fn relink(&mut self, link: Link, budget: &mut Budget) -> Result<()> {
        self.insert_without_growing(link, budget)?;
        self.len += 1;
        Ok(())
    }

    /// What does not agree in its shape, if anything.
    pub(super) fn inconsistency(&self) -> Option<&'static str> {
        let pages = self.pages.blocks.len();
        if pages == 0 {
            return (self.len > 0).then_some("a table without a page has keys");
        }
        let room = pages * BUCKETS_PER_PAGE;
        let mut held = self.pages.blocks.iter().chain(self.overflow.blocks.iter());
        if !held.all(Held::is_some)
            || self.bucket_count > room
            || self.bucket_count.ilog2() != self.level
            || self.deep_mask != deep_mask(self.level)
        {
            return Some("a table's buckets are not those of its pages");
        }
        let total = self.overflow.blocks.len() * BUCKETS_PER_OVERFLOW_PAGE;
        let (mut free, mut index) = (0, self.overflow_free);
        while index != 0 && free <= total {
            free += 1;
            index = u64::from_le_bytes(self.bucket((index - 1) | OVERFLOW)[0]) as u32;
        }
        (free + self.overflow_used as usize != total).then_some("overflow buckets are miscounted")
    }

    /// Links of a bucket and its overflow chain.
    fn links(&self, number: u32) -> impl Iterator<Item = Link> {
        let chain = core::iter::successors(Some(number), |&n| overflow_of(self.bucket(n)));
        chain.flat_map(|n| {
            self.bucket(n)[..LINKS]
                .iter()
                .filter_map(|word| Link::from_word(*word))
        })
    }

    fn random_of_bucket(&self, number: u32, random: &mut Random) -> Option<Link> {
        let count = self.links(number).count() as u32;
        self.links(number).nth(random.below(count) as usize)
    }

    /// Buckets of the present round that are split already.
    #[inline]
    fn split_count(&self) -> usize {
        self.bucket_count - (1 << self.level)
    }

    fn set_level(&mut self, level: u32) {
        self.level = level;
        self.deep_mask = deep_mask(level);
    }

    /// The bucket that a hash names.
    #[inline]
    fn home(&self, hash: u32) -> u32 {
        let deep = hash & self.deep_mask;
        if (deep as usize) < self.bucket_count {
            deep
        } else {
            deep & self.deep_mask >> 1
        }
    }

    #[inline]
    fn bucket(&self, number: u32) -> &Bucket {
        if number & OVERFLOW == 0 {
            self.pages.bucket::<BUCKETS_PER_PAGE>(number as usize)
        } else {
            let index = (number & !OVERFLOW) as usize;
            self.overflow.bucket::<BUCKETS_PER_OVERFLOW_PAGE>(index)
        }
    }

    #[inline]
    fn bucket_mut(&mut self, number: u32) -> &mut Bucket {
        if number & OVERFLOW == 0 {
            self.pages.bucket_mut::<BUCKETS_PER_PAGE>(number as usize)
        } else {
            let index = (number & !OVERFLOW) as usize;
            self.overflow.bucket_mut::<BUCKETS_PER_OVERFLOW_PAGE>(index)
        }
    }

    #[inline]
    fn insert_without_growing(&mut self, link: Link, budget: &mut Budget) -> Result<()> {
        let mut number = self.home(link.hash);
        loop {
            let bucket = self.bucket_mut(number);
            let is_free = |word: &&mut [u8; 8]| u64::from_le_bytes(**word) == 0;
            if let Some(word) = bucket[..LINKS].iter_mut().find(is_free) {
                *word = link.to_word();
                return Ok(());
            }
            number = match overflow_of(bucket) {
                Some(next) => next,
                None => self.append_overflow(number, budget)?,
            };
        }
    }

    /// Grows by one bucket: the next in turn gives those of its links to it whose hash says so.
    #[cold]
    fn split(&mut self, budget: &mut Budget) {
        let new = self.bucket_count;
        if new == self.pages.blocks.len() * BUCKETS_PER_PAGE
            && self.pages.add(PAGE_ORDER, budget).is_err()
        {
            return;
        }
        let old = self.split_count() as u32;
        *self.bucket_mut(new as u32) = EMPTY;
        self.bucket_count += 1;
        if self.bucket_count == 2 << self.level {
            self.set_level(self.level + 1);
        }
        // The chain's own buckets are enough: two buckets hold what one and its chain held.
        self.spread(old, budget);
    }

    /// Shrinks by one bucket: the last gives its links back to the one it was split from.
    #[cold]
    fn merge(&mut self, budget: &mut Budget) {
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
    fn spread(&mut self, number: u32, budget: &mut Budget) {
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
            bucket = *self.bucket(next);
            self.free_overflow(next);
        }
    }

    #[cold]
    fn append_overflow(&mut self, number: u32, budget: &mut Budget) -> Result<u32> {
        if self.overflow_free == 0 {
            self.add_overflow_page(budget)?;
        }
        let index = self.overflow_free - 1;
        let new = index | OVERFLOW;
        self.overflow_free = u64::from_le_bytes(self.bucket(new)[0]) as u32;
        *self.bucket_mut(new) = EMPTY;
        self.overflow_used += 1;
        self.bucket_mut(number)[LINKS] = u64::from(index + 1).to_le_bytes();
        Ok(new)
    }

    fn add_overflow_page(&mut self, budget: &mut Budget) -> Result<()> {
        let first = self.overflow.blocks.len() * BUCKETS_PER_OVERFLOW_PAGE;
        self.overflow.add(OVERFLOW_PAGE_ORDER, budget)?;
        for index in (first..first + BUCKETS_PER_OVERFLOW_PAGE).rev() {
            self.push_free_overflow(index as u32 | OVERFLOW);
        }
        Ok(())
    }

    fn push_free_overflow(&mut self, number: u32) {
        let next = u64::from(self.overflow_free);
        let bucket = self.bucket_mut(number);
        *bucket = EMPTY;
        bucket[0] = next.to_le_bytes();
        self.overflow_free = (number & !OVERFLOW) + 1;
    }

    fn free_overflow(&mut self, number: u32) {
        self.push_free_overflow(number);
        self.overflow_used -= 1;
    }

    fn release_unused_overflow(&mut self, budget: &mut Budget) {
        if self.overflow_used == 0 {
            self.overflow.give_all(budget);
            self.overflow_free = 0;
        }
    }

    /// An emptied table drops its chains; overflow buckets emptied earlier wait for their bucket's next
    /// split or merge, or are filled again.
    #[cold]
    fn tidy_empty(&mut self, budget: &mut Budget) {
        for number in 0..self.bucket_count as u32 {
            *self.bucket_mut(number) = EMPTY;
        }
        self.overflow_used = 0;
        self.release_unused_overflow(budget);
    }
}

const fn deep_mask(level: u32) -> u32 {
    (2 << level) - 1
}

/// The overflow bucket that follows a bucket.
#[inline]
fn overflow_of(bucket: &Bucket) -> Option<u32> {
    let number = u64::from_le_bytes(bucket[LINKS]) as u32;
    number.checked_sub(1).map(|index| index | OVERFLOW)
}
