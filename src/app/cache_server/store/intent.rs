//! The intent record: which operation is under way, so that one cut short is completed or undone.
//!
//! A mutation names its end before its first step and clears the record after its last. The record is one
//! word (and the fields that the word says to read), written by single stores, each kept in its place by
//! [`in_order`]: whatever a kill cuts off, recovery reads a whole word. What it says is enough because the
//! keyspace has one ground truth, the live slots, and all else is made again from them
//! ([`super::recovery`]): an operation need only say which slot must not be there, and what cannot be read
//! from slots.
//!
//! | intent | cut off, it is | by |
//! | --- | --- | --- |
//! | `Rewrite` | completed | writing the value from `redo` once more; nothing else changes |
//! | `Build` | undone | ending the slot under construction |
//! | `Change` | completed | ending the doomed slots, giving the expiry to the heir, setting the expiry |
//! | `Flush` | completed | ending all slots of one table, or of all |
//! | `Swap` | completed | setting both databases |
//!
//! A value is redone, not undone, from a copy of its own: the request that it came from lies in memory of
//! the dead data plane, which is no longer to be trusted, and a redo copy is two stores of what is in
//! registers already, where an undo copy would be two loads more. A value longer than [`REDO_BYTES`] is
//! written to a fresh slot instead, which costs less than a second copy of it.

use super::arena::Handle;
use super::blocks::in_order;
use super::entry::Encoding;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The longest run of bytes that is rewritten in place: about where taking a fresh slot (some 150
/// instructions) costs no more than copying twice.
pub(super) const REDO_BYTES: usize = 1024;

/// What an operation under way would have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    /// No operation is under way.
    Nothing,
    /// The value of an entry, or a part of it, is being rewritten in place.
    Rewrite {
        /// The entry.
        handle: Handle,
        /// How the value is said to be encoded.
        encoding: Encoding,
        /// Bytes of `redo`.
        len: usize,
        /// Where they go and how long the value is then: else they are all of it.
        is_part: bool,
        /// Links or expiries change as well.
        is_wide: bool,
    },
    /// A slot is under construction, if one was taken already.
    Build(Option<Handle>),
    /// The doomed slot, if any, is being removed, and what else the record says is being done.
    Change(Option<Handle>),
    /// All keys of a table are being removed, or of all tables.
    Flush(Option<usize>),
    /// Two databases, each with the table that it is to have.
    Swap([(usize, u8); 2]),
}

const NOTHING: u64 = 0;
const REWRITE: u64 = 1;
const BUILD: u64 = 2;
const CHANGE: u64 = 3;
const FLUSH: u64 = 4;
const SWAP: u64 = 5;
const KIND_MASK: u64 = 7;
const PART: u64 = 1 << 3;
const WIDE: u64 = 1 << 4;
const ENCODING_SHIFT: u32 = 5;
const LEN_SHIFT: u32 = 8;
const LEN_MASK: u64 = 0xffff;
const HANDLE_SHIFT: u32 = 32;
const ALL_TABLES: u64 = 0xff;

const _: () = assert!(REDO_BYTES as u64 <= LEN_MASK);

/// The record.
pub(super) struct Record {
    word: AtomicU64,
    /// With `Change`: the slot that takes the doomed one's expiry.
    pub(super) heir: Option<Handle>,
    /// With `Change`: another doomed slot.
    pub(super) also: Option<Handle>,
    /// With `Change` and a wide `Rewrite`: an entry and when it expires from now on, never for `None`.
    pub(super) expiry: Option<(Handle, Option<u64>)>,
    /// With a `Rewrite` of a part: where it starts, and how long the value is then.
    pub(super) part: (usize, usize),
    /// With `Rewrite`: the bytes.
    pub(super) redo: [u8; REDO_BYTES],
}

impl Record {
    pub(super) const fn new() -> Self {
        Self {
            word: AtomicU64::new(NOTHING),
            heir: None,
            also: None,
            expiry: None,
            part: (0, 0),
            redo: [0; REDO_BYTES],
        }
    }

    /// What is under way.
    pub(super) fn read(&self) -> Intent {
        let word = self.word.load(Relaxed);
        let handle = Handle::from_raw((word >> HANDLE_SHIFT) as u32);
        match (word & KIND_MASK, handle) {
            (REWRITE, Some(handle)) => Intent::Rewrite {
                handle,
                encoding: Encoding::from_number((word >> ENCODING_SHIFT) as u32),
                len: (word >> LEN_SHIFT & LEN_MASK) as usize,
                is_part: word & PART != 0,
                is_wide: word & WIDE != 0,
            },
            (BUILD, slot) => Intent::Build(slot),
            (CHANGE, slot) => Intent::Change(slot),
            (FLUSH, _) => {
                let table = word >> LEN_SHIFT & LEN_MASK;
                Intent::Flush((table != ALL_TABLES).then_some(table as usize))
            }
            (SWAP, _) => {
                let number = |at: u32| (word >> (8 * at)) as u8;
                let one = (usize::from(number(1)), number(2));
                Intent::Swap([one, (usize::from(number(3)), number(4))])
            }
            _ => Intent::Nothing,
        }
    }

    #[inline(always)]
    fn write(&self, word: u64) {
        in_order();
        self.word.store(word, Relaxed);
        in_order();
    }

    /// The value of an entry is `redo[..len]` from now on.
    #[inline(always)]
    pub(super) fn rewrite(&self, handle: Handle, encoding: Encoding, len: usize) {
        self.write(rewrite_word(handle, encoding, len));
    }

    /// The value of an entry is `redo[..len]` from now on, and `expiry` says when it expires.
    pub(super) fn rewrite_wide(&self, handle: Handle, encoding: Encoding, len: usize) {
        self.write(rewrite_word(handle, encoding, len) | WIDE);
    }

    /// A part of the value of an entry is `redo[..len]` from now on, as `part` says.
    pub(super) fn rewrite_part(&self, handle: Handle, encoding: Encoding, len: usize) {
        self.write(rewrite_word(handle, encoding, len) | PART);
    }

    /// A slot is being made, if it is known.
    #[inline]
    pub(super) fn build(&self, slot: Option<Handle>) {
        self.write(BUILD | handle_bits(slot));
    }

    /// The fields are as the caller set them, and from now on what they say is to be.
    #[inline]
    pub(super) fn change(&self, doomed: Option<Handle>) {
        self.write(CHANGE | handle_bits(doomed));
    }

    /// Sets the fields of a `Change`.
    #[inline]
    pub(super) fn prepare(&mut self, heir: Option<Handle>, also: Option<Handle>) {
        self.heir = heir;
        self.also = also;
        self.expiry = None;
    }

    /// All keys of a table are to go, or of all.
    pub(super) fn flush(&self, table: Option<usize>) {
        self.write(FLUSH | table.map_or(ALL_TABLES, |table| table as u64) << LEN_SHIFT);
    }

    /// Two databases are to have these tables.
    pub(super) fn swap(&self, [one, other]: [(usize, u8); 2]) {
        let number = |value: u64, at: u32| value << (8 * at);
        let one = number(one.0 as u64, 1) | number(one.1.into(), 2);
        let other = number(other.0 as u64, 3) | number(other.1.into(), 4);
        self.write(SWAP | one | other);
    }

    /// The operation is done, or undone.
    #[inline(always)]
    pub(super) fn end(&self) {
        self.write(NOTHING);
    }
}

#[inline(always)]
fn rewrite_word(handle: Handle, encoding: Encoding, len: usize) -> u64 {
    handle_bits(Some(handle))
        | (len as u64) << LEN_SHIFT
        | u64::from(encoding.number()) << ENCODING_SHIFT
        | REWRITE
}

#[inline(always)]
fn handle_bits(handle: Option<Handle>) -> u64 {
    u64::from(handle.map_or(0, Handle::raw)) << HANDLE_SHIFT
}
