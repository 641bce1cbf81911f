//! The hash table of one database: linear hashing (Litwin 1980) over paged buckets.
//!
//! It grows and shrinks one bucket at a time, so no request ever waits for a resize. A bucket is one cache
//! line: seven links and the number of an overflow bucket. A link is the key's 32-bit hash beside the
//! handle of its entry; the hash tells other keys apart without touching their entries, and also says where
//! a link goes when its bucket is split.
//!
//! Always true: every link is in the bucket its hash names, or in that bucket's overflow chain; a link of
//! 0 is an empty place. Buckets `0..bucket_count` exist, in pages of [`BUCKETS_PER_PAGE`]. A bucket is sealed
//! ([`super::seal`]), but for one that an operation under way is changing. A link that is found is not held against it: its
//! entry says whose it is.
//!
//! A table that cannot grow for want of memory stays as it is, with longer chains, and tries again.

mod resize;

use super::arena::Handle;
use super::blocks::Held;
use super::buckets::{
    BUCKETS_PER_OVERFLOW_PAGE, BUCKETS_PER_PAGE, Bucket, EMPTY, LINKS, PAGE_ORDER, Pages,
    is_sealed, mend, seal_bucket,
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
    /// Buckets of which a bit was put right, since they were counted.
    mended: u64,
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
            mended: 0,
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
            // Behind the last link: the chain is gone through from its beginning, as it was written.
            None => Place {
                bucket: overflow_of(bucket).map(|_| number)?,
                link: LINKS as u32,
            },
        };
        self.seek(hash, place)
    }

    /// True if a key with `hash` that was not found is not there: its bucket is as it was written, and has no chain.
    #[inline]
    pub(super) fn is_surely_missing(&self, hash: u32) -> bool {
        let bucket = self
            .pages
            .find::<BUCKETS_PER_PAGE>(self.home(hash) as usize);
        bucket.is_none_or(|bucket| is_sealed(bucket) && overflow_of(bucket).is_none())
    }

    /// Puts right what bits have flipped in the buckets where keys with `hash` are. Tells of how many buckets of the table
    /// that was done since the last time.
    pub(super) fn mend(&mut self, hash: u32) -> u64 {
        if !self.is_open() {
            return 0;
        }
        let mut next = Some(self.home(hash));
        while let Some(number) = next {
            if !is_sealed(self.raw(number)) {
                self.bucket_mut(number);
            }
            next = overflow_of(self.raw(number));
        }
        core::mem::take(&mut self.mended)
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
                bucket: overflow_of(&bucket)?,
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
        self.change(place.bucket, place.link as usize, link.to_word());
    }

    /// Removes the link at `place`.
    #[inline]
    pub(super) fn remove(&mut self, place: Place, budget: &mut Budget) {
        self.change(place.bucket, place.link as usize, [0; 8]);
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
        let mended = self.mended;
        *self = Self {
            mended,
            ..Self::new()
        };
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
            *self.raw_mut(number) = EMPTY;
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

    /// The bytes of its buckets.
    #[cfg(test)]
    pub(super) fn stored(&mut self, see: &mut dyn FnMut(&mut [u8])) {
        for pages in [&mut self.pages.blocks, &mut self.overflow.blocks] {
            (0..pages.len()).for_each(|index| see(pages[index].bytes_mut()));
        }
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
        let overflow = (0..total as u32).map(|index| index | OVERFLOW);
        let mut buckets = (0..self.bucket_count as u32).chain(overflow);
        if buckets.any(|number| !is_sealed(self.raw(number))) {
            return Some("a bucket is not as it was written");
        }
        let (mut free, mut index) = (0, self.overflow_free);
        while index != 0 && free <= total {
            free += 1;
            index = u64::from_le_bytes(self.raw((index - 1) | OVERFLOW)[0]) as u32;
        }
        (free + self.overflow_used as usize != total).then_some("overflow buckets are miscounted")
    }

    /// Links of a bucket and its overflow chain.
    fn links(&self, number: u32) -> impl Iterator<Item = Link> {
        let chain = core::iter::successors(Some(self.bucket(number)), |bucket| {
            overflow_of(bucket).map(|next| self.bucket(next))
        });
        chain.flat_map(|bucket| {
            let (links, _) = bucket
                .split_first_chunk::<LINKS>()
                .expect("a bucket's links");
            (*links).into_iter().filter_map(Link::from_word)
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

    /// A bucket as it was written: with a flipped bit put right.
    #[inline]
    fn bucket(&self, number: u32) -> Bucket {
        let mut bucket = *self.raw(number);
        if !is_sealed(&bucket) {
            assert!(mend(&mut bucket), "bucket {number} is damaged");
        }
        bucket
    }

    /// A bucket, to change before it is sealed again: a flipped bit is put right first.
    #[inline]
    fn bucket_mut(&mut self, number: u32) -> &mut Bucket {
        if !is_sealed(self.raw(number)) {
            assert!(mend(self.raw_mut(number)), "bucket {number} is damaged");
            self.mended += 1;
        }
        self.raw_mut(number)
    }

    /// Sets a word of a bucket. The overflow number's seal is made anew.
    #[inline]
    fn change(&mut self, number: u32, word: usize, to: [u8; 8]) {
        let bucket = self.bucket_mut(number);
        bucket[word] = to;
        seal_bucket(bucket);
    }

    /// A bucket as it is.
    #[inline]
    fn raw(&self, number: u32) -> &Bucket {
        if number & OVERFLOW == 0 {
            self.pages.bucket::<BUCKETS_PER_PAGE>(number as usize)
        } else {
            let index = (number & !OVERFLOW) as usize;
            self.overflow.bucket::<BUCKETS_PER_OVERFLOW_PAGE>(index)
        }
    }

    #[inline]
    fn raw_mut(&mut self, number: u32) -> &mut Bucket {
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
                seal_bucket(bucket);
                return Ok(());
            }
            number = match overflow_of(bucket) {
                Some(next) => next,
                None => self.append_overflow(number, budget)?,
            };
        }
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
