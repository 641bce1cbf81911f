//! The records of a checkpoint: parts of the image, keys, and the end that counts the keys.
//!
//! A record is a head of three words, little-endian, and what the head announces:
//!
//! | record | word 0 | word 1 | word 2 | then |
//! | --- | --- | --- | --- | --- |
//! | part | 1 in 28..32 | bytes of its name | bytes of its state | name, state |
//! | key | 2 in 28..32, notes in 0..28 | length in 0..24, database in 24..28, 31: has an expiry | length of the value | the expiry if there is one (8 bytes, ms since the Unix epoch), key, value |
//! | end | 3 in 28..32 | keys, low | keys, high | |

use super::layout::u32_at;
use crate::error::{Error, Grow, Kind, Result, Subsystem};
use alloc::vec::Vec;

/// Bytes of a record's head.
pub const HEAD_BYTES: usize = 12;
/// Bytes of a part's state, at most.
pub const PART_BYTES_MAX: usize = 1 << 20;
/// Bytes of a key's record without key and value, at most.
pub const KEY_HEAD_BYTES_MAX: usize = HEAD_BYTES + 8;

const PART: u32 = 1;
const KEY: u32 = 2;
const END: u32 = 3;
const TAG_SHIFT: u32 = 28;
/// What a key's record keeps for its owner.
pub const NOTES_MASK: u32 = (1 << TAG_SHIFT) - 1;
const KEY_LEN_MASK: u32 = (1 << 24) - 1;
const NAME_BYTES_MAX: usize = 64;
const HAS_EXPIRY: u32 = 1 << 31;

/// A key with all that is kept of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRecord<'a> {
    /// Its database.
    pub database: usize,
    /// Its name.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// When it ends, in milliseconds since the Unix epoch, if it does.
    pub expires_at_ms: Option<u64>,
    /// 28 bits of its owner's.
    pub notes: u32,
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The state of a part of the image.
    Part {
        /// Its name.
        name: &'a [u8],
        /// Its state.
        state: &'a [u8],
    },
    /// A key.
    Key(KeyRecord<'a>),
    /// There are no more, and these were so many keys.
    End {
        /// Keys of this checkpoint.
        keys: u64,
    },
}

fn head(tag: u32, notes: u32, one: u32, two: u32) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&(tag << TAG_SHIFT | notes & NOTES_MASK).to_le_bytes());
    head[4..8].copy_from_slice(&one.to_le_bytes());
    head[8..].copy_from_slice(&two.to_le_bytes());
    head
}

impl<'a> KeyRecord<'a> {
    /// The key's record at the start of `bytes` and the bytes it takes, if it is one and all there.
    #[inline(always)]
    pub fn read(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let head = bytes.first_chunk::<HEAD_BYTES>()?;
        let (word, one, two) = (u32_at(head, 0), u32_at(head, 4), u32_at(head, 8));
        if word >> TAG_SHIFT != KEY {
            return None;
        }
        let mut rest = &bytes[HEAD_BYTES..];
        let mut expires_at_ms = None;
        if one & HAS_EXPIRY != 0 {
            let (at_ms, behind) = rest.split_first_chunk()?;
            (expires_at_ms, rest) = (Some(u64::from_le_bytes(*at_ms)), behind);
        }
        let (key, rest) = rest.split_at_checked((one & KEY_LEN_MASK) as usize)?;
        let (value, rest) = rest.split_at_checked(two as usize)?;
        let record = Self {
            database: (one >> 24 & 15) as usize,
            key,
            value,
            expires_at_ms,
            notes: word & NOTES_MASK,
        };
        Some((record, bytes.len() - rest.len()))
    }

    /// Appends it, in room that was reserved.
    #[inline]
    pub fn append(&self, out: &mut Vec<u8>) {
        let expiry = match self.expires_at_ms {
            Some(_) => HAS_EXPIRY,
            None => 0,
        };
        let one = self.key.len() as u32 | (self.database as u32) << 24 | expiry;
        out.append_reserved(&head(KEY, self.notes, one, self.value.len() as u32));
        if let Some(at_ms) = self.expires_at_ms {
            out.append_reserved(&at_ms.to_le_bytes());
        }
        out.append_reserved(self.key);
        out.append_reserved(self.value);
    }
}

impl<'a> Record<'a> {
    /// Appends the record of a part, whose state `save` appends.
    ///
    /// # Errors
    /// `OutOfMemory`; `LimitReached` for a state that is too long; what `save` answers.
    pub fn append_part(
        out: &mut Vec<u8>,
        name: &str,
        save: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let start = out.len();
        out.try_append(&[0; HEAD_BYTES])?;
        out.try_append(name.as_bytes())?;
        let state = out.len();
        save(out)?;
        let len = out.len() - state;
        if len > PART_BYTES_MAX || name.len() > NAME_BYTES_MAX {
            let (what, limit) = ("bytes of a part's state", PART_BYTES_MAX as u64);
            return Err(Error::new(
                Subsystem::Storage,
                Kind::LimitReached { what, limit },
            ));
        }
        let head = head(PART, 0, name.len() as u32, len as u32);
        out[start..start + HEAD_BYTES].copy_from_slice(&head);
        Ok(())
    }

    /// Appends the end.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn append_end(out: &mut Vec<u8>, keys: u64) -> Result<()> {
        out.try_append(&head(END, 0, keys as u32, (keys >> 32) as u32))
    }

    /// The record at the start of `bytes` and the bytes it takes; the bytes it would take where not all of them are
    /// there.
    ///
    /// # Errors
    /// `Protocol` if it is none; `bytes_max` bounds what key and value take together.
    pub fn read(bytes: &'a [u8], bytes_max: usize) -> Result<Read<'a>> {
        if bytes.len() < HEAD_BYTES {
            return Ok(Read::Needs(HEAD_BYTES));
        }
        let (word, one, two) = (u32_at(bytes, 0), u32_at(bytes, 4), u32_at(bytes, 8));
        match word >> TAG_SHIFT {
            KEY => {
                let (key_len, value_len) = ((one & KEY_LEN_MASK) as usize, two as usize);
                let expiry_len = (one >> 31) as usize * 8;
                if key_len + value_len > bytes_max {
                    return Err(malformed());
                }
                let end = HEAD_BYTES + expiry_len + key_len + value_len;
                Ok(match KeyRecord::read(bytes) {
                    Some((record, used)) => Read::Whole(Record::Key(record), used),
                    None => Read::Needs(end),
                })
            }
            PART if one as usize <= NAME_BYTES_MAX && two as usize <= PART_BYTES_MAX => {
                let state_at = HEAD_BYTES + one as usize;
                let end = state_at + two as usize;
                let Some(all) = bytes.get(..end) else {
                    return Ok(Read::Needs(end));
                };
                let (name, state) = all[HEAD_BYTES..].split_at(one as usize);
                Ok(Read::Whole(Record::Part { name, state }, end))
            }
            END => {
                let keys = u64::from(two) << 32 | u64::from(one);
                Ok(Read::Whole(Record::End { keys }, HEAD_BYTES))
            }
            _ => Err(malformed()),
        }
    }
}

/// What was found at the start of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read<'a> {
    /// A record, which takes so many of them.
    Whole(Record<'a>, usize),
    /// The start of one, which takes so many at least.
    Needs(usize),
}

fn malformed() -> Error {
    let what = "a record of a checkpoint";
    Error::new(Subsystem::Storage, Kind::Protocol { what })
}
