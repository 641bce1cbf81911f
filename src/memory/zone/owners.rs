//! Who holds what: a byte a frame, which says of a block's first frame that it is in hand, with which order, and
//! which owner is charged for it.
//!
//! All other frames' bytes say that no block in hand starts there. So a second free, a free of a block that was
//! never handed out, of a frame in a page cache or of a hole, and a free with the wrong order all find another byte
//! than they must. Slabs of the heap are told from other blocks, so that the heap can count them without
//! believing what lies in memory.
//!
//! The bytes are atomics outside the zone lock: a page that only travels between an owner and a page cache
//! does not need the zone. Whoever changes one holds the lock of the cache or zone that the block goes to or
//! comes from, so with all these locks held the map stands still.
//!
//! Always true: the bytes of a chunk mean something once it is open; the zone opens a chunk before the first of its
//! blocks leaves. An owner's bit in a chunk's marks is set if blocks of that chunk are charged to it: what an owner
//! holds is found without a look at the chunks it never had a block of.
#![allow(unsafe_code, reason = "makes the bytes of a chunk valid in one go")]

use super::geometry::{Geometry, Place};
use super::tree::{node_at, offset_of};
use crate::error::{Error, Kind, Result, Subsystem};
use crate::memory::accounts::Owner;
use crate::memory::frames::{Order, Pfn};
use core::sync::atomic::{
    AtomicU8, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

/// Frames in a chunk.
const CHUNK_FRAMES: usize = Order::MAX.frames() as usize;
/// Set in a chunk's marks when all its bytes are valid; the bits below are the owners'.
const OPEN: u32 = 1 << Owner::COUNT;

/// No block in hand starts at the frame.
const NOT_IN_HAND: u8 = 0;
/// The frame is not managed.
const HOLE: u8 = 0xff;
/// The frame lies in a page cache: only while the zone is verified.
const CACHED: u8 = 0xfe;

/// What a block in hand is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::memory) enum Use {
    /// Anything.
    Block,
    /// A slab of the heap: order 0, 1 or 2.
    Slab,
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
    /// One for each frame of each chunk.
    pub(in crate::memory) frames: &'static [AtomicU8],
}

/// The map.
#[derive(Clone, Debug)]
pub(in crate::memory) struct OwnerMap {
    geometry: Geometry,
    storage: OwnerStorage,
}

impl OwnerMap {
    /// Numbers of marks and of frames to store for the chunks of `geometry`.
    pub(in crate::memory) fn storage_counts(geometry: &Geometry) -> (usize, usize) {
        (geometry.chunks(), geometry.chunks() * CHUNK_FRAMES)
    }

    /// A map in which nothing is in hand and every chunk closed.
    pub(in crate::memory) fn new(geometry: Geometry, storage: OwnerStorage) -> Self {
        for marks in storage.marks {
            marks.store(0, Relaxed);
        }
        Self { geometry, storage }
    }

    /// Notes that a block has been handed out, at the expense of `owner`.
    ///
    /// # Panics
    /// If it was in somebody's hands already: the allocator is broken.
    #[inline]
    pub(in crate::memory) fn claim(&self, first: Pfn, order: Order, of: Use, owner: Owner) {
        let (chunk, byte) = self
            .locate(first, order)
            .expect("only managed blocks are handed out");
        // Nobody else changes this byte: the block is ours alone. Relaxed, here and below: what orders one owner
        // after another is the lock of the cache or zone that the block comes through.
        let before = byte.load(Relaxed);
        assert!(
            before == NOT_IN_HAND,
            "frame {:#x} (order {}) was handed out twice",
            first.0,
            order.get()
        );
        byte.store(code(of, order, owner), Relaxed);
        self.mark(chunk, owner);
    }

    /// Notes that a block comes back; answers who was charged for it.
    ///
    /// # Errors
    /// `BadFree` if nobody held it with that order and use.
    #[inline]
    pub(in crate::memory) fn release(&self, first: Pfn, order: Order, of: Use) -> Result<Owner> {
        self.change(first, order, of, |_| NOT_IN_HAND)
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
        let from = self.change(first, order, of, |_| code(of, order, to))?;
        if let Some((chunk, _)) = self.locate(first, order) {
            self.mark(chunk, to);
        }
        Ok(from)
    }

    /// Who is charged for a block in hand of that order and use.
    pub(in crate::memory) fn charged(&self, first: Pfn, order: Order, of: Use) -> Option<Owner> {
        let (chunk, byte) = self.locate(first, order)?;
        let code = byte.load(Relaxed);
        (self.is_open(chunk) && use_of(code) == use_of(code_of_use(of, order)))
            .then(|| owner_of(code))
    }

    /// The blocks in hand of a chunk, as they are met; changes meanwhile may be seen or not.
    pub(in crate::memory) fn holdings(&self, chunk: usize) -> impl Iterator<Item = Holding> {
        let bytes = if self.is_open(chunk) {
            self.bytes(chunk)
        } else {
            &[]
        };
        bytes.iter().enumerate().filter_map(move |(offset, byte)| {
            let (of, order) = decode(byte.load(Relaxed))?;
            Some(Holding {
                first: self.frame(chunk, offset),
                order,
                of,
                owner: owner_of(byte.load(Relaxed)),
            })
        })
    }

    /// The blocks charged to `owner`, as they are met.
    pub(in crate::memory) fn charged_to(&self, owner: Owner) -> impl Iterator<Item = Holding> {
        let has_some =
            move |&chunk: &usize| self.storage.marks[chunk].load(Relaxed) & owner_bit(owner) != 0;
        (0..self.geometry.chunks())
            .filter(has_some)
            .flat_map(|chunk| self.holdings(chunk))
            .filter(move |holding| holding.owner == owner)
    }

    /// Forgets in which chunks `owner` had blocks; it has none any more.
    pub(in crate::memory) fn forget(&self, owner: Owner) {
        for marks in self.storage.marks {
            if marks.load(Relaxed) & owner_bit(owner) != 0 {
                marks.fetch_and(!owner_bit(owner), Relaxed);
            }
        }
    }

    /// How many chunks there are.
    pub(in crate::memory) fn chunks(&self) -> usize {
        self.geometry.chunks()
    }

    /// Notes for a verification that a block lies in a page cache; false if it cannot be, some frame of it being
    /// in hand, in a cache already, or not managed. The caller holds all locks.
    pub(in crate::memory) fn mark_cached(&self, first: Pfn, order: Order) -> bool {
        let Some(bytes) = self.bytes_of(first, order) else {
            return false;
        };
        let is_there = bytes.iter().all(|byte| byte.load(Relaxed) == NOT_IN_HAND);
        if is_there {
            bytes.iter().for_each(|byte| byte.store(CACHED, Relaxed));
        }
        is_there
    }

    /// Takes a note of [`OwnerMap::mark_cached`] back.
    pub(in crate::memory) fn unmark_cached(&self, first: Pfn, order: Order) {
        for byte in self.bytes_of(first, order).unwrap_or_default() {
            byte.store(NOT_IN_HAND, Relaxed);
        }
    }

    /// Which frames of an open chunk are neither in hand, nor cached, nor holes: a bit each. None if two blocks in
    /// hand overlap.
    pub(super) fn free_frames(&self, chunk: usize) -> Option<[u64; CHUNK_FRAMES / 64]> {
        let mut free = [0; CHUNK_FRAMES / 64];
        let mut covered = 0;
        for (offset, byte) in self.bytes(chunk).iter().enumerate() {
            let code = byte.load(Relaxed);
            if code != NOT_IN_HAND && offset < covered {
                return None;
            }
            if let Some((_, order)) = decode(code) {
                covered = offset + order.frames() as usize;
            }
            if code == NOT_IN_HAND && offset >= covered {
                free[offset / 64] |= 1 << (offset % 64);
            }
        }
        Some(free)
    }

    /// True if the bytes of `chunk` are valid.
    #[inline]
    pub(super) fn is_open(&self, chunk: usize) -> bool {
        // Acquire: pairs with the Release in `open`, so that the bytes are valid before they are looked at.
        self.storage.marks[chunk].load(Acquire) & OPEN != 0
    }

    /// Makes the bytes of a closed `chunk` valid: all of its frames are managed. The caller holds the zone.
    pub(super) fn open(&self, chunk: usize) {
        self.open_as(chunk, NOT_IN_HAND);
    }

    /// Makes the bytes of a closed `chunk` valid, with no frame managed yet. The caller holds the zone.
    pub(super) fn open_as_hole(&self, chunk: usize) {
        self.open_as(chunk, HOLE);
    }

    /// Notes that the frames of a block of an open chunk are managed.
    pub(super) fn manage(&self, first: Pfn, order: Order) {
        for byte in self.bytes_of(first, order).unwrap_or_default() {
            byte.store(NOT_IN_HAND, Relaxed);
        }
    }

    fn open_as(&self, chunk: usize, code: u8) {
        let bytes = self.bytes(chunk);
        // SAFETY: the bytes are atomics, so they may be written through a shared reference, and nobody reads those
        // of a chunk before it is open; the one caller at a time holds the zone.
        unsafe { bytes.as_ptr().cast_mut().write_bytes(code, bytes.len()) };
        // Release: pairs with the Acquire in `is_open`.
        self.storage.marks[chunk].store(OPEN, Release);
    }

    #[inline]
    fn mark(&self, chunk: usize, owner: Owner) {
        let marks = &self.storage.marks[chunk];
        if marks.load(Relaxed) & owner_bit(owner) == 0 {
            marks.fetch_or(owner_bit(owner), Relaxed);
        }
    }

    /// Changes the byte of a block in hand if nobody changes it meanwhile; answers who was charged before.
    #[inline]
    fn change(
        &self,
        first: Pfn,
        order: Order,
        of: Use,
        to: impl FnOnce(Owner) -> u8,
    ) -> Result<Owner> {
        if let Some((chunk, byte)) = self.locate(first, order)
            && self.is_open(chunk)
        {
            let before = byte.load(Relaxed);
            let owner = owner_of(before);
            if use_of(before) == use_of(code_of_use(of, order))
                && byte
                    .compare_exchange(before, to(owner), Relaxed, Relaxed)
                    .is_ok()
            {
                return Ok(owner);
            }
        }
        let bad = Kind::BadFree {
            frame: first.0,
            order: order.get(),
        };
        Err(Error::new(Subsystem::Memory, bad))
    }

    /// The chunk and the byte of a block's first frame.
    #[inline]
    fn locate(&self, first: Pfn, order: Order) -> Option<(usize, &AtomicU8)> {
        let place = self.geometry.place(first, order)?;
        let index = place.chunk * CHUNK_FRAMES + first.0 as usize % CHUNK_FRAMES;
        Some((place.chunk, &self.storage.frames[index]))
    }

    fn bytes(&self, chunk: usize) -> &[AtomicU8] {
        &self.storage.frames[chunk * CHUNK_FRAMES..][..CHUNK_FRAMES]
    }

    /// The bytes of all frames of a block, if its chunk is open.
    fn bytes_of(&self, first: Pfn, order: Order) -> Option<&[AtomicU8]> {
        let Place { chunk, node } = self.geometry.place(first, order)?;
        let offset = offset_of(node) as usize;
        self.is_open(chunk)
            .then(|| &self.bytes(chunk)[offset..][..order.frames() as usize])
    }

    fn frame(&self, chunk: usize, offset: usize) -> Pfn {
        let node = node_at(offset as u64, Order::ZERO);
        self.geometry.frame(Place { chunk, node })
    }
}

/// The byte of a block in hand: the owner in its low four bits, order and use in its high four.
#[inline]
const fn code(of: Use, order: Order, owner: Owner) -> u8 {
    code_of_use(of, order) | owner.get()
}

/// High four bits: 1 to 11 for a block of order 0 to 10, 12 to 14 for a slab of order 0 to 2.
#[inline]
const fn code_of_use(of: Use, order: Order) -> u8 {
    match of {
        Use::Block => (order.get() + 1) << 4,
        Use::Slab => (order.get() + 12) << 4,
    }
}

#[inline]
const fn use_of(code: u8) -> u8 {
    code >> 4
}

fn decode(code: u8) -> Option<(Use, Order)> {
    match use_of(code) {
        number @ 1..=11 => Order::new(number - 1).map(|order| (Use::Block, order)),
        number @ 12..=14 => Order::new(number - 12).map(|order| (Use::Slab, order)),
        _ => None,
    }
}

#[inline]
fn owner_of(code: u8) -> Owner {
    Owner::from_low_bits(code)
}

const fn owner_bit(owner: Owner) -> u32 {
    1 << owner.get()
}

const _: () = assert!(
    Owner::COUNT == 16,
    "an owner is four bits of a frame's byte"
);
