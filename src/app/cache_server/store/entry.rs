//! An entry: a header of 20 bytes, the key, the value, in one slot of the arena.
//!
//! | word | bits | meaning |
//! | --- | --- | --- |
//! | 0 | 0..26 | access: last use in LRU ticks, or LFU minutes (16 bits) and counter (8 bits) |
//! | 0 | 26..28 | encoding as OBJECT tells it |
//! | 0 | 28..32 | type, never 0: the word tells a live slot from a free one |
//! | 1 | 0..24, 24..28 | length of the key; number of the table |
//! | 2 | 0..32 | length of the value |
//! | 3 | 0..31, 31 | position in the expiry index plus one, 0 without expiry; mark of the last snapshot that saved it or was before it |
//! | 4 | 0..32 | seal: key and value as words, zeros behind them, then words 0 (without access) to 3 ([`super::seal`]) |
//!
//! Always true: header, key and value lie within the slot; [`MAX_BYTES`] keeps both lengths in their bits; but for an entry
//! under construction or being rewritten, of which the intent record says so, the seal is that of what was written last.
//! Position and mark change with the seal in one store, by what the change does to it: a seal that was broken stays broken.

use super::arena::{Arena, Handle, MAX_BYTES};
use super::blocks::in_order;
use super::intent::{REDO_BYTES, Record};
use super::seal::{self, add};
use super::size_classes::slot_bytes_for;
use crate::platform::crc32c::{
    add_run, add_run_by_table, add_word, add_word_by_table, is_computed,
};
use core::ops::Range;

/// Bytes before the key.
pub(super) const HEADER_BYTES: usize = 20;
/// Up to so many bytes of key and value one flipped bit is put right: finding it takes some ten instructions a bit.
const MENDED_BYTES_MAX: usize = 64 << 10;

const ACCESS_MASK: u32 = (1 << 26) - 1;
const ENCODING_MASK: u32 = 3 << 26;
const KEY_LEN_MASK: u32 = (1 << 24) - 1;
const TYPE_STRING: u32 = 1 << 28;
const MARK: u32 = 1 << 31;

const _: () = assert!(MAX_BYTES < KEY_LEN_MASK as usize);

/// How a string value is said to be encoded; as Redis decides, though all are kept as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Encoding {
    /// The decimal text of a 64-bit integer; of a small one, Redis shares the object.
    Int = 0,
    /// A short string.
    Embstr = 1,
    /// A long string, or one that was changed in place.
    Raw = 2,
    /// The text of an integer as with `Int`, but an object of its own whatever the number.
    OwnInt = 3,
}

impl Encoding {
    /// The word OBJECT ENCODING answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int | Self::OwnInt => "int",
            Self::Embstr => "embstr",
            Self::Raw => "raw",
        }
    }

    #[inline(always)]
    fn bits(self) -> u32 {
        self.number() << 26
    }

    fn from_bits(word: u32) -> Self {
        Self::from_number(word >> 26)
    }

    /// Its number, of two bits.
    #[inline(always)]
    pub(super) fn number(self) -> u32 {
        self as u32
    }

    /// The encoding of a number's last two bits.
    pub(super) fn from_number(number: u32) -> Self {
        match number & 3 {
            0 => Self::Int,
            1 => Self::Embstr,
            2 => Self::Raw,
            _ => Self::OwnInt,
        }
    }
}

/// Bytes of an entry with a key and a value of these lengths.
#[inline]
pub(super) fn entry_bytes(key_len: usize, value_len: usize) -> usize {
    HEADER_BYTES + key_len + value_len
}

/// A word of the header.
#[inline(always)]
fn word(slot: &[u8], number: usize) -> u32 {
    let header = slot
        .first_chunk::<HEADER_BYTES>()
        .expect("a slot holds a header");
    u32::from_le_bytes(header.as_chunks::<4>().0[number])
}

/// Sets a word of the header.
#[inline(always)]
fn set_word(slot: &mut [u8], number: usize, word: u32) {
    let header = slot
        .first_chunk_mut::<HEADER_BYTES>()
        .expect("a slot holds a header");
    header.as_chunks_mut::<4>().0[number] = word.to_le_bytes();
}

/// The seal of an entry that ends where `entry` does, by `run` and `add`.
#[inline(always)]
fn seal_by(entry: &[u8], run: impl Fn(u32, &[u8]) -> u32, add: impl Fn(u32, u64) -> u32) -> u32 {
    let header = entry
        .first_chunk::<HEADER_BYTES>()
        .expect("an entry has a header");
    let words = header.as_chunks::<8>().0;
    // Not 0: a slot that was never used is no entry with an empty key.
    let seal = run(u32::MAX, entry);
    let first = u64::from_le_bytes(words[0]) & !u64::from(ACCESS_MASK);
    add(add(seal, first), u64::from_le_bytes(words[1]))
}

/// [`seal_by`] on a CPU that computes seals.
#[inline(always)]
fn computed_seal(entry: &[u8]) -> u32 {
    seal_by(entry, add_run::<HEADER_BYTES>, add_word)
}

/// [`computed_seal`] for who is not measured by each instruction.
#[inline(never)]
fn seal_computed(entry: &[u8]) -> u32 {
    computed_seal(entry)
}

/// The seal of what is in a slot, on any CPU.
#[inline]
fn seal_of(slot: &[u8]) -> Option<u32> {
    let len = (word(slot, 1) & KEY_LEN_MASK) as usize + word(slot, 2) as usize;
    let entry = slot.get(..HEADER_BYTES + len)?;
    Some(if is_computed() {
        computed_seal(entry)
    } else {
        seal_by(entry, add_run_by_table::<HEADER_BYTES>, add_word_by_table)
    })
}

/// True if a slot holds an entry as it was written.
#[inline(never)]
fn is_whole(slot: &[u8]) -> bool {
    seal_of(slot) == Some(word(slot, 4)) && word(slot, 0) >> 28 == TYPE_STRING >> 28
}

/// True if two keys are the same. Most are a few words long: compared here by words, a key costs less
/// than a call. The last word overlaps the one before, so that no bytes are left over.
#[inline(always)]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    // Two words that may overlap are all of most keys.
    let last = one.len().wrapping_sub(8);
    if last <= 8 {
        // Both are compared: one branch less.
        return (word_at(one, 0) == word_at(other, 0))
            & (word_at(one, last) == word_at(other, last));
    }
    if one.len() < 8 {
        return one.iter().zip(other).all(|(one, other)| one == other);
    }
    let mut starts = (0..last).step_by(8).chain([last]);
    starts.all(|at| word_at(one, at) == word_at(other, at))
}

#[inline(always)]
fn word_at(bytes: &[u8], at: usize) -> u64 {
    let word = bytes[at..].first_chunk().expect("a word is left at `at`");
    u64::from_ne_bytes(*word)
}

/// Copies `N` to `2 * N` bytes, by two pieces that may overlap, or any number of bytes for 0.
#[inline(always)]
fn copy<const N: usize>(target: &mut [u8], source: &[u8]) {
    if N == 0 {
        return target.copy_from_slice(source);
    }
    let last = source.len() - N;
    let (head, tail): ([u8; N], [u8; N]) = (array_at(source, 0), array_at(source, last));
    target[..N].copy_from_slice(&head);
    target[last..].copy_from_slice(&tail);
}

#[inline(always)]
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("so many are left at `at`")
}

/// An entry, to read.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    slot: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The entry in a slot.
    #[inline(always)]
    pub(super) fn at(arena: &'a Arena, handle: Handle) -> Self {
        Self {
            slot: arena.slot(handle),
        }
    }

    /// The entry in a slot's bytes.
    #[inline]
    pub(super) fn in_slot(slot: &'a [u8]) -> Self {
        Self { slot }
    }

    /// The key.
    #[inline(always)]
    pub(super) fn key(self) -> &'a [u8] {
        let len = (word(self.slot, 1) & KEY_LEN_MASK) as usize;
        &self.slot[HEADER_BYTES..HEADER_BYTES + len]
    }

    /// True if the key is `key`.
    #[inline(always)]
    pub(super) fn has_key(self, key: &[u8]) -> bool {
        (word(self.slot, 1) & KEY_LEN_MASK) as usize == key.len() && is_same(self.key(), key)
    }

    /// True if it is as it was written.
    #[inline]
    pub(super) fn is_sealed(self) -> bool {
        is_whole(self.slot)
    }

    /// True if it is a free slot but for one bit.
    pub(super) fn was_free(self) -> bool {
        word(self.slot, 0).is_power_of_two() && word(self.slot, 4) == 0
    }

    /// True if all of it lies in its slot.
    pub(super) fn is_plausible(self) -> bool {
        let len = (word(self.slot, 1) & KEY_LEN_MASK) as usize + word(self.slot, 2) as usize;
        HEADER_BYTES + len <= self.slot.len()
    }

    /// The value.
    #[inline(always)]
    pub(super) fn value(self) -> &'a [u8] {
        let start = HEADER_BYTES + (word(self.slot, 1) & KEY_LEN_MASK) as usize;
        &self.slot[start..start + word(self.slot, 2) as usize]
    }

    /// The number of its table.
    pub(super) fn table(self) -> usize {
        (word(self.slot, 1) >> 24 & 0xf) as usize
    }

    /// What a checkpoint keeps of it beside key, value and expiry: its first word without the type.
    pub(super) fn notes(self) -> u32 {
        word(self.slot, 0) & (ENCODING_MASK | ACCESS_MASK)
    }

    /// Its mark.
    pub(super) fn mark(self) -> bool {
        word(self.slot, 3) & MARK != 0
    }

    /// The access bits.
    pub(super) fn access(self) -> u32 {
        word(self.slot, 0) & ACCESS_MASK
    }

    /// How its value is said to be encoded.
    pub(super) fn encoding(self) -> Encoding {
        Encoding::from_bits(word(self.slot, 0))
    }

    /// Its position in the expiry index, if it has an expiry.
    #[inline(always)]
    pub(super) fn expiry_position(self) -> Option<usize> {
        (word(self.slot, 3) & !MARK)
            .checked_sub(1)
            .map(|position| position as usize)
    }

    /// Bytes it takes of its slot.
    pub(super) fn bytes(self) -> usize {
        entry_bytes(self.key().len(), self.value().len())
    }
}

/// An entry, to write.
pub(super) struct EntryMut<'a> {
    slot: &'a mut [u8],
}

impl<'a> EntryMut<'a> {
    /// The entry in a slot.
    #[inline(always)]
    pub(super) fn at(arena: &'a mut Arena, handle: Handle) -> Self {
        Self {
            slot: arena.slot_mut(handle),
        }
    }

    /// The entry in a slot's bytes if it is that of `key` in a table, as it was written, and where its value starts and ends;
    /// for a CPU that computes seals. Wherever the slot was found.
    #[inline(always)]
    pub(super) fn of(slot: &'a mut [u8], key: &[u8], table: usize) -> Option<(Self, Range<usize>)> {
        // By two words, which the seal takes as they are.
        let words = slot.first_chunk::<HEADER_BYTES>()?.as_chunks::<8>().0;
        let (first, second) = (u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1]));
        let start = HEADER_BYTES + key.len();
        let end = start + second as u32 as usize;
        if first >> 32 != key.len() as u64 | (table as u64) << 24 {
            return None;
        }
        let entry = slot.get(..end)?;
        let is_whole =
            is_same(&entry[HEADER_BYTES..start], key) && computed_seal(entry) == word(entry, 4);
        is_whole.then_some((Self { slot }, start..end))
    }

    /// The bytes of a range of the slot.
    #[inline(always)]
    pub(super) fn into_bytes(self, range: Range<usize>) -> &'a [u8] {
        &self.slot[range]
    }

    /// Writes header and key of a new entry without expiry, the value being as long as said but whatever
    /// the slot held. The first word, which makes it live, comes last; it is sealed when its value is there.
    #[inline]
    pub(super) fn init(
        &mut self,
        (table, mark): (usize, bool),
        key: &[u8],
        (len, encoding): (usize, Encoding),
        access: u32,
    ) {
        set_word(self.slot, 1, key.len() as u32 | (table as u32) << 24);
        set_word(self.slot, 2, len as u32);
        set_word(self.slot, 3, if mark { MARK } else { 0 });
        self.slot[HEADER_BYTES..HEADER_BYTES + key.len()].copy_from_slice(key);
        in_order();
        set_word(self.slot, 0, TYPE_STRING | encoding.bits() | access);
    }

    /// Sets its mark.
    pub(super) fn set_mark(&mut self, mark: bool) {
        let mark = if mark { MARK } else { 0 };
        let third = word(self.slot, 3);
        self.change_third(third, third & !MARK | mark);
    }

    /// Sets the word of position and mark, and the seal by as much, in one store.
    fn change_third(&mut self, from: u32, third: u32) {
        let change = add(0, u64::from(from ^ third) << 32);
        let seal = word(self.slot, 4) ^ change;
        let both = u64::from(seal) << 32 | u64::from(third);
        self.slot[12..HEADER_BYTES].copy_from_slice(&both.to_le_bytes());
    }

    /// Seals what is there now.
    #[inline(never)]
    pub(super) fn seal(&mut self) {
        let seal = seal_of(self.slot).expect("an entry lies in its slot");
        set_word(self.slot, 4, seal);
    }

    /// Puts a bit right if that makes the entry what it was when it was sealed; true if it is that now.
    #[cold]
    #[inline(never)]
    pub(super) fn mend(&mut self) -> bool {
        if is_whole(self.slot) {
            return true;
        }
        let slot = &mut *self.slot;
        let in_run = seal_of(slot).and_then(|seal| {
            let len = Entry { slot }.bytes() - HEADER_BYTES;
            let bit = seal::bit_of(
                seal ^ word(slot, 4),
                len.min(MENDED_BYTES_MAX + 8).div_ceil(8),
                2,
            )?;
            // Counted from the end of a run that is too long to be looked at whole.
            (len <= MENDED_BYTES_MAX && bit < len * 8).then_some(bit)
        });
        if let Some(bit) = in_run {
            slot[HEADER_BYTES + bit / 8] ^= 1 << (bit % 8);
            return is_whole(slot);
        }
        // Bits that are not sealed are never the one: another has to be.
        for bit in 26..HEADER_BYTES * 8 {
            slot[bit / 8] ^= 1 << (bit % 8);
            let entry = Entry { slot };
            if entry.is_plausible() && entry.bytes() <= MENDED_BYTES_MAX && is_whole(slot) {
                return true;
            }
            slot[bit / 8] ^= 1 << (bit % 8);
        }
        false
    }

    /// Writes an entry without expiry whole, as [`EntryMut::init`] and what follows it do; `notes` are [`Entry::notes`].
    #[inline(always)]
    pub(super) fn restore(
        &mut self,
        (table, mark): (usize, bool),
        (key, value): (&[u8], &[u8]),
        notes: u32,
    ) {
        set_word(self.slot, 1, key.len() as u32 | (table as u32) << 24);
        set_word(self.slot, 2, value.len() as u32);
        set_word(self.slot, 3, if mark { MARK } else { 0 });
        set_word(self.slot, 0, TYPE_STRING | notes);
        let (key_at, value_at) = self.slot[HEADER_BYTES..].split_at_mut(key.len());
        key_at.copy_from_slice(key);
        value_at[..value.len()].copy_from_slice(value);
        self.seal();
    }

    /// Makes the slot a free one's, as a look at its first word tells.
    pub(super) fn end(&mut self) {
        set_word(self.slot, 0, 0);
        in_order();
    }

    /// Sets the value and how it is said to be encoded.
    #[inline]
    pub(super) fn set_value(&mut self, value: &[u8], encoding: Encoding) {
        self.set_len(value.len(), encoding);
        self.value_mut().copy_from_slice(value);
        self.seal();
    }

    /// Sets value and access bits in place and tells true, if the entry, whose key is that long, has no expiry and its
    /// slot is one for the new value's length; the record holds the value meanwhile.
    #[inline(always)]
    pub(super) fn overwrite(
        &mut self,
        key_len: usize,
        (value, encoding): (&[u8], Encoding),
        access: u32,
        record: (Handle, &mut Record),
    ) -> bool {
        let fits = value.len() == word(self.slot, 2) as usize
            || self.slot.len() == slot_bytes_for(entry_bytes(key_len, value.len()));
        if !fits || word(self.slot, 3) & !MARK != 0 {
            return false;
        }
        let first = TYPE_STRING | encoding.bits() | access;
        let start = HEADER_BYTES + key_len;
        match value.len() {
            16..=32 => self.rewrite::<16>(first, start, (value, encoding), record),
            33..=64 => self.rewrite::<32>(first, start, (value, encoding), record),
            0..=REDO_BYTES => self.rewrite::<0>(first, start, (value, encoding), record),
            _ => return false,
        }
        true
    }

    /// Writes a value that starts at `start`, first to the record and then in place with the `first` word of the
    /// header: a value of `N` to `2 * N` bytes, or of any length for 0. All that can be read or refused comes before
    /// the record is set.
    #[inline(always)]
    fn rewrite<const N: usize>(
        &mut self,
        first: u32,
        start: usize,
        (value, encoding): (&[u8], Encoding),
        (handle, record): (Handle, &mut Record),
    ) {
        let len = value.len();
        copy::<N>(&mut record.redo[..len], value);
        let (header, target) = self.slot[..start + len].split_at_mut(start);
        record.rewrite(handle, encoding, len);
        set_word(header, 0, first);
        set_word(header, 2, len as u32);
        copy::<N>(target, value);
        let seal = seal_computed(&self.slot[..start + len]);
        set_word(self.slot, 4, seal);
        record.end();
    }

    /// Changes the length of the value: bytes beyond the old length are whatever the slot held. It is to be sealed.
    #[inline(always)]
    pub(super) fn set_len(&mut self, len: usize, encoding: Encoding) {
        let first = word(self.slot, 0) & !ENCODING_MASK;
        set_word(self.slot, 0, first | encoding.bits());
        set_word(self.slot, 2, len as u32);
    }

    /// The same, to read.
    #[inline(always)]
    pub(super) fn entry(&self) -> Entry<'_> {
        Entry { slot: self.slot }
    }

    /// The value, to write.
    #[inline(always)]
    pub(super) fn value_mut(&mut self) -> &mut [u8] {
        let start = HEADER_BYTES + (word(self.slot, 1) & KEY_LEN_MASK) as usize;
        let len = word(self.slot, 2) as usize;
        &mut self.slot[start..start + len]
    }

    /// The bytes of the slot that a value may fill, to write.
    pub(super) fn room_mut(&mut self) -> &mut [u8] {
        let start = HEADER_BYTES + (word(self.slot, 1) & KEY_LEN_MASK) as usize;
        &mut self.slot[start..]
    }

    /// Sets the access bits.
    #[inline(always)]
    pub(super) fn set_access(&mut self, access: u32) {
        let first = word(self.slot, 0) & !ACCESS_MASK;
        set_word(self.slot, 0, first | access);
    }

    /// Sets the position in the expiry index of an entry that is as it was written.
    pub(super) fn set_expiry_position(&mut self, position: Option<usize>) {
        self.move_expiry(self.entry().expiry_position(), position);
    }

    /// Sets the position in the expiry index, which was `from` whatever a flipped bit says.
    pub(super) fn move_expiry(&mut self, from: Option<usize>, to: Option<usize>) {
        let number = |position: Option<usize>| position.map_or(0, |position| position as u32 + 1);
        let mark = word(self.slot, 3) & MARK;
        self.change_third(mark | number(from), mark | number(to));
    }
}
