//! Who holds what: a byte a frame, which says of a block's first frame that it is in hand, with which order, and
//! which owner is charged for it; and of each frame of a block in a page cache, in which CPU's.
//!
//! All other frames' bytes say that no block in hand starts there. So a second free, a free of a block that was
//! never handed out, of a frame in a page cache or of a hole, and a free with the wrong order all find another byte
//! than they must. Slabs of the heap and movable pages are told from other blocks: only who made one frees it.
//!
//! The bytes are atomics outside the zone lock: a page that only travels between an owner and a page cache
//! does not need the zone. Who changes one holds the zone, or is the CPU whose cache the block goes to or comes from,
//! so with the zone held no frame becomes free or ceases to be.
//!
//! | high four bits | low four bits | the frame |
//! | --- | --- | --- |
//! | 0 | 0 | is free, or lies within a block in hand |
//! | 0 | 1 to 4 | is the second of a block of order 7 to 10 |
//! | 0 | 5 | is not managed |
//! | 0 | 8 | is free, and zero |
//! | 0 | 9 to 15 | is in the page cache of CPU 0 to 6, and zero |
//! | 1 to 7 | owner | is the first of a block of order 0 to 6 |
//! | 8 | owner | is the first of a larger one: its second frame tells the order |
//! | 9 to 13 | owner | is the first of a slab of order 0 to 4 |
//! | 14 | owner | is a movable page |
//! | 15 | CPU | is in that CPU's page cache |
//!
//! The page caches hold frames of the largest bank alone, and there a frame's byte is found without a search.
#![allow(
    unsafe_code,
    reason = "fills the bytes of many frames in one go, and trusts what is in a page cache"
)]

mod code;
mod zero;

pub(in crate::memory) use code::{
    CACHING_CPUS, NOT_IN_HAND, SLAB_ORDER_MAX, cached_by, cached_zero_by, code, holder_of,
    is_known_zero,
};
pub(in crate::memory) use zero::KnownZero;

use super::geometry::{Geometry, Place};
use super::tree::{PAGEBLOCK_FRAMES, node_at, offset_of};
use crate::error::{Error, Kind, Result, Subsystem};
use crate::memory::accounts::Owner;
use crate::memory::frames::{Order, Pfn};
use code::{HOLE, LARGE_MIN, ZERO, decode, is_none_in_hand, is_told_order, names, told};
use core::hint::assert_unchecked;
use core::slice;
use core::sync::atomic::{
    AtomicU8, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// Frames in a chunk.
const CHUNK_FRAMES: usize = Order::MAX.frames() as usize;
/// Frames whose bytes are one word.
const WORD_FRAMES: usize = size_of::<u64>();
/// Set in a chunk's mark when the zone has opened it.
const OPEN: u32 = 1;

/// What a block in hand is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::memory) enum Use {
    /// Anything.
    Block,
    /// A slab of the heap: order 0 to 4.
    Slab,
    /// A page that its owner lets be moved: order 0.
    Movable,
}

/// A block in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::memory) struct Holding {
    /// Its first frame.
    pub(in crate::memory) first: Pfn,
    /// Its order.
    pub(in crate::memory) order: Order,
    /// What it is used for.
    pub(in crate::memory) of: Use,
    /// Who is charged for it.
    pub(in crate::memory) owner: Owner,
}

/// Memory for the map, of any content.
#[derive(Clone, Copy, Debug)]
pub(in crate::memory) struct OwnerStorage {
    /// One for each chunk.
    pub(in crate::memory) marks: &'static [AtomicU32],
    /// One for each frame of each chunk, aligned to words.
    pub(in crate::memory) frames: &'static [AtomicU8],
}

/// Where frame 0 would have its byte, if the largest bank began there: the byte of a frame of that is as many further as its
/// number says.
#[derive(Clone, Copy, Debug)]
struct ByNumber(*const AtomicU8);

// SAFETY: it leads to atomics that are there for ever.
unsafe impl Send for ByNumber {}
// SAFETY: as above.
unsafe impl Sync for ByNumber {}

/// The map. What every free looks at comes first.
#[derive(Clone, Debug)]
#[repr(C)]
pub(in crate::memory) struct OwnerMap {
    by_number: ByNumber,
    /// The bytes of the largest bank, and its first frame.
    largest: &'static [AtomicU8],
    largest_first: u64,
    geometry: Geometry,
    storage: OwnerStorage,
    /// The bytes of all frames, eight at a time.
    words: &'static [AtomicU64],
}

impl OwnerMap {
    /// Numbers of marks and of frames to store for the chunks of `geometry`.
    pub(in crate::memory) fn storage_counts(geometry: &Geometry) -> (usize, usize) {
        (geometry.chunks(), geometry.chunks() * CHUNK_FRAMES)
    }

    /// A map in which nothing is in hand and every chunk closed.
    pub(in crate::memory) fn new(geometry: Geometry, storage: OwnerStorage) -> Self {
        for mark in storage.marks {
            mark.store(0, Relaxed);
        }
        fill(storage.frames, NOT_IN_HAND);
        // SAFETY: eight atomic bytes are as good as an atomic word, and nobody waits for an order between them.
        let (before, words, after) = unsafe { storage.frames.align_to() };
        assert!(
            before.is_empty() && after.is_empty(),
            "it is aligned to words"
        );
        assert_eq!(storage.frames.len(), geometry.chunks() * CHUNK_FRAMES);
        let (first, chunks) = geometry.largest_bank();
        let largest = &storage.frames[chunks.start * CHUNK_FRAMES..chunks.end * CHUNK_FRAMES];
        Self {
            by_number: ByNumber(largest.as_ptr().wrapping_sub(first.0 as usize)),
            largest,
            largest_first: first.0,
            geometry,
            storage,
            words,
        }
    }

    /// How far into all chunks' frames a frame is, if it lies in one.
    pub(in crate::memory) fn index(&self, frame: Pfn) -> Option<usize> {
        self.geometry.index(frame)
    }

    /// Tells the compiler that a frame has that index.
    ///
    /// # Safety
    /// It is below the number of frames of all chunks of the map's geometry.
    #[inline(always)]
    pub(super) unsafe fn assume_index(&self, index: usize) {
        // SAFETY: there is a byte for each of these frames, as `new` has checked.
        unsafe { assert_unchecked(index < self.storage.frames.len()) };
    }

    /// True if page caches may hold every block: there is one bank.
    pub(in crate::memory) fn is_one_bank(&self) -> bool {
        self.largest.len() == self.storage.frames.len()
    }

    /// The bytes of a block that a page cache may hold; none if that is misaligned or outside the largest bank.
    #[inline(always)]
    pub(in crate::memory) fn cacheable(&self, first: Pfn, order: Order) -> Option<&[AtomicU8]> {
        let at = first.0.wrapping_sub(self.largest_first) as usize;
        if order == Order::ZERO {
            return self.largest.get(at).map(slice::from_ref);
        }
        let is_aligned = first.0.is_multiple_of(order.frames());
        let from = self.largest.get(at..).filter(|_| is_aligned)?;
        from.get(..order.frames() as usize)
    }

    /// As [`OwnerMap::cacheable`].
    ///
    /// # Safety
    /// The block came from there, or is in a page cache.
    #[inline(always)]
    pub(in crate::memory) unsafe fn cached(&self, first: Pfn, order: Order) -> &[AtomicU8] {
        let byte = self.by_number.0.wrapping_add(first.0 as usize);
        // SAFETY: by this function's contract `cacheable` has found these in the largest bank, whose byte of frame 0 that
        // would be.
        unsafe { slice::from_raw_parts(byte, order.frames() as usize) }
    }

    /// Says `code` of each of these frames, which lie in that pageblock.
    #[inline(always)]
    pub(super) fn say_of_pages(&self, pageblock: usize, pages: &[Pfn], code: u8) {
        let bytes = &self.storage.frames[pageblock * PAGEBLOCK_FRAMES..][..PAGEBLOCK_FRAMES];
        for page in pages {
            bytes[page.0 as usize % PAGEBLOCK_FRAMES].store(code, Relaxed);
        }
    }

    /// Says `code` of all frames of a block whose first frame has that [`OwnerMap::index`].
    #[inline(always)]
    pub(super) fn say_of_run(&self, index: usize, order: usize, code: u8) {
        if order == 0 {
            return self.storage.frames[index].store(code, Relaxed);
        }
        let frames = 1 << order;
        if frames < WORD_FRAMES {
            let bytes = &self.storage.frames[index..][..frames];
            return bytes.iter().for_each(|byte| byte.store(code, Relaxed));
        }
        let word = u64::from_ne_bytes([code; WORD_FRAMES]);
        let places = &self.words[index / WORD_FRAMES..][..frames / WORD_FRAMES];
        places.iter().for_each(|place| place.store(word, Relaxed));
    }

    /// Of the aligned blocks of `order` around `blocks`, which are in a page cache, the number of one that is free once the
    /// caches have given back what they hold of it; or has only what is not managed in the way. Takes one off `looks` for
    /// each that it looked at, and more if it read the words around it, one for two; it ends when there is none left.
    pub(in crate::memory) fn find_nearly_free(
        &self,
        blocks: &[Pfn],
        order: Order,
        looks: &mut usize,
    ) -> Option<u64> {
        // Most often one of the nearest frames is in use.
        let near = (order.frames() as usize).min(WORD_FRAMES);
        let mask = u64::MAX >> (64 - 8 * near);
        for &block in blocks {
            *looks = looks.checked_sub(1)?;
            let index = self.geometry.index_of_managed(block);
            let first = index % WORD_FRAMES / near * near;
            let word = self.words[index / WORD_FRAMES].load(Relaxed);
            let bytes = word.to_le() >> (8 * first) & mask;
            if is_none_in_hand(bytes) && self.is_free_but_for_caches(index, order, looks) {
                return Some(block.0 >> order.get());
            }
        }
        None
    }

    /// True if no word of the block of `order` around the frame of that index says that a block in hand starts there.
    #[inline(never)]
    fn is_free_but_for_caches(&self, index: usize, order: Order, looks: &mut usize) -> bool {
        let count = order.frames() as usize / WORD_FRAMES;
        let start = index / WORD_FRAMES / count.max(1) * count;
        let words = self.words[start..start + count].iter();
        let free = words.take_while(|word| is_none_in_hand(word.load(Relaxed)));
        let free = free.count();
        *looks = looks.saturating_sub(1 + free / 2);
        free == count
    }

    /// Notes that a block has been handed out by the zone, at the expense of `owner`.
    ///
    /// # Panics
    /// If it was in somebody's hands already: the allocator is broken.
    pub(in crate::memory) fn claim(&self, first: Pfn, order: Order, of: Use, owner: Owner) {
        let index = self.geometry.index_of_managed(first);
        let bytes = self
            .storage
            .frames
            .get(index..index + order.frames() as usize);
        let bytes = bytes.expect("only managed blocks are handed out");
        // Nobody else changes this byte: the block is ours alone. Relaxed, here and below: what orders one owner
        // after another is the lock of the zone, or that the cache is one CPU's.
        assert!(
            matches!(bytes[0].load(Relaxed), NOT_IN_HAND | ZERO),
            "frame {:#x} (order {}) was handed out twice",
            first.0,
            order.get()
        );
        if order > Order::ZERO {
            self.forget_zero(index, order);
        }
        if order.get() >= LARGE_MIN {
            bytes[1].store(told(order), Relaxed);
        }
        bytes[0].store(code(of, order, owner), Relaxed);
    }

    /// Notes that a block comes back; answers who was charged for it.
    ///
    /// # Errors
    /// `BadFree` if nobody held it with that order and use.
    pub(in crate::memory) fn release(&self, first: Pfn, order: Order, of: Use) -> Result<Owner> {
        let owner = self.change(first, order, of, |_| NOT_IN_HAND)?;
        if order.get() >= LARGE_MIN
            && let Some(bytes) = self.bytes_of(first, order)
        {
            bytes[1].store(NOT_IN_HAND, Relaxed);
        }
        Ok(owner)
    }

    /// Charges `to` for a block from now on; answers who was charged before.
    ///
    /// # Errors
    /// `BadFree` if nobody holds it with that order and use.
    pub(in crate::memory) fn recharge(
        &self,
        first: Pfn,
        order: Order,
        of: Use,
        to: Owner,
    ) -> Result<Owner> {
        self.change(first, order, of, |_| code(of, order, to))
    }

    /// Who is charged for a block in hand of that order and use.
    pub(in crate::memory) fn charged(&self, first: Pfn, order: Order, of: Use) -> Option<Owner> {
        holder_of(self.bytes_of(first, order)?, order, of)
    }

    /// The blocks in hand of a chunk, as they are met; changes meanwhile may be seen or not.
    pub(in crate::memory) fn holdings(&self, chunk: usize) -> impl Iterator<Item = Holding> {
        let bytes = self.bytes(chunk);
        bytes.iter().enumerate().filter_map(move |(offset, byte)| {
            let code = byte.load(Relaxed);
            let (of, order) = decode(code, bytes.get(offset + 1))?;
            Some(Holding {
                first: self.frame(chunk, offset),
                order,
                of,
                owner: Owner::from_low_bits(code),
            })
        })
    }

    /// The blocks charged to `owner`, as they are met.
    pub(in crate::memory) fn charged_to(&self, owner: Owner) -> impl Iterator<Item = Holding> {
        (0..self.geometry.chunks())
            .filter(move |&chunk| self.is_open(chunk) && names(self.bytes(chunk), owner))
            .flat_map(|chunk| self.holdings(chunk))
            .filter(move |holding| holding.owner == owner)
    }

    /// How many chunks there are.
    pub(in crate::memory) fn chunks(&self) -> usize {
        self.geometry.chunks()
    }

    /// The frames that are in the page cache of `cpu`, which stands still.
    pub(in crate::memory) fn in_cache_of(&self, cpu: usize) -> impl Iterator<Item = Pfn> {
        let bytes = self.largest.iter().zip(self.largest_first..);
        let bytes = bytes.filter(move |_| cpu < CACHING_CPUS);
        bytes
            .filter(move |(byte, _)| {
                let code = byte.load(Relaxed);
                code == cached_by(cpu) || code == cached_zero_by(cpu)
            })
            .map(|(_, frame)| Pfn(frame))
    }

    /// Notes that a frame is in no cache any more.
    pub(in crate::memory) fn forget_cached(&self, page: Pfn) {
        // SAFETY: as it is cached, it is cacheable.
        let bytes = unsafe { self.cached(page, Order::ZERO) };
        bytes[0].store(NOT_IN_HAND, Relaxed);
    }

    /// Which frames of an open chunk are neither in hand, nor cached, nor holes: a bit each. None if two blocks in
    /// hand overlap. What tells the order of a block that is in nobody's hands any more is wiped, and what says of a frame
    /// in somebody's that it is zero.
    pub(super) fn free_frames(&self, chunk: usize) -> Option<[u64; CHUNK_FRAMES / 64]> {
        let mut free = [0; CHUNK_FRAMES / 64];
        let mut covered = 0;
        let bytes = self.bytes(chunk);
        for (offset, byte) in bytes.iter().enumerate() {
            let mut code = byte.load(Relaxed);
            if is_told_order(code) || code == ZERO {
                if is_told_order(code) == (offset >= covered) {
                    byte.store(NOT_IN_HAND, Relaxed);
                }
                code = NOT_IN_HAND;
            }
            if code != NOT_IN_HAND && offset < covered {
                return None;
            }
            if let Some((_, order)) = decode(code, bytes.get(offset + 1)) {
                covered = offset + order.frames() as usize;
            }
            if code == NOT_IN_HAND && offset >= covered {
                free[offset / 64] |= 1 << (offset % 64);
            }
        }
        Some(free)
    }

    /// True if the zone has opened `chunk`.
    #[inline]
    pub(super) fn is_open(&self, chunk: usize) -> bool {
        // Acquire: pairs with the Release in `open`.
        self.storage.marks[chunk].load(Acquire) & OPEN != 0
    }

    /// Notes that the zone has opened `chunk`, all of whose frames are managed. The caller holds the zone.
    pub(super) fn open(&self, chunk: usize) {
        // Release: pairs with the Acquire in `is_open`.
        self.storage.marks[chunk].store(OPEN, Release);
    }

    /// Notes that the zone has opened `chunk`, no frame of which is managed yet. The caller holds the zone.
    pub(super) fn open_as_hole(&self, chunk: usize) {
        fill(self.bytes(chunk), HOLE);
        self.open(chunk);
    }

    /// Notes that the frames of a block of an open chunk are managed.
    pub(super) fn manage(&self, first: Pfn, order: Order) {
        fill(self.bytes_of(first, order).unwrap_or_default(), NOT_IN_HAND);
    }

    /// Changes the byte of a block in hand if nobody changes it meanwhile; answers who was charged before.
    fn change(
        &self,
        first: Pfn,
        order: Order,
        of: Use,
        to: impl FnOnce(Owner) -> u8,
    ) -> Result<Owner> {
        if let Some(bytes) = self.bytes_of(first, order)
            && let Some(owner) = holder_of(bytes, order, of)
            && bytes[0]
                .compare_exchange(code(of, order, owner), to(owner), Relaxed, Relaxed)
                .is_ok()
        {
            return Ok(owner);
        }
        let bad = Kind::BadFree {
            frame: first.0,
            order: order.get(),
        };
        Err(Error::new(Subsystem::Memory, bad))
    }

    fn bytes(&self, chunk: usize) -> &'static [AtomicU8] {
        &self.storage.frames[chunk * CHUNK_FRAMES..][..CHUNK_FRAMES]
    }

    /// The bytes of all frames of a block; none if it is misaligned or outside all banks.
    fn bytes_of(&self, first: Pfn, order: Order) -> Option<&[AtomicU8]> {
        let Place { chunk, node } = self.geometry.place(first, order)?;
        let offset = offset_of(node) as usize;
        Some(&self.bytes(chunk)[offset..][..order.frames() as usize])
    }

    fn frame(&self, chunk: usize, offset: usize) -> Pfn {
        let node = node_at(offset as u64, Order::ZERO);
        self.geometry.frame(Place { chunk, node })
    }
}

/// Writes `code` to all of `bytes`.
fn fill(bytes: &[AtomicU8], code: u8) {
    // SAFETY: the bytes are atomics, so they may be written through a shared reference, and nobody looks at those of
    // frames that are not managed yet.
    unsafe { bytes.as_ptr().cast_mut().write_bytes(code, bytes.len()) };
}
