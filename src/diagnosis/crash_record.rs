//! What a life of the image leaves behind for the next one: why it ended, as text, in memory that a reset keeps.
//!
//! A record is a mark, a checked header and text; the mark stands a second time at the end of the area. The first
//! line of the text is the reason. A record without text says that a life began, no more. Where neither mark
//! is, there was no life before (power was off, or all of the memory was wiped: the two look alike). Where
//! something is of a record that is not whole, the memory was damaged or wiped in part: said, and not believed.

use crc::{CRC_32_ISCSI, Crc, NoTable};

/// Begins and ends the area.
pub const MARK: [u8; 8] = *b"nosCRASH";
/// The layout below; an image of another one takes the record for damaged.
const VERSION: u32 = 1;
/// Mark, then four words, little-endian: version, life, bytes of text, checksum (CRC-32C of all before it, and of
/// the text).
pub const HEADER_BYTES: usize = MARK.len() + 4 * 4;
const CHECKED_BYTES: usize = HEADER_BYTES - 4;

/// Without a table: it runs once a life, over a few kilobytes at most.
const CHECKSUM: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISCSI);

/// What an area of memory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// No mark: no life wrote here since the memory lost its contents.
    Nothing,
    /// A mark, but no whole record.
    Damaged,
    /// A whole record.
    Record {
        /// Which life wrote it: 1 is the first since the memory lost its contents.
        life: u32,
        /// Why that life ended; empty if it did not say.
        text: &'a str,
    },
}

/// Bytes of text that an area of `area_bytes` has room for.
pub const fn text_room(area_bytes: usize) -> usize {
    area_bytes.saturating_sub(HEADER_BYTES + MARK.len())
}

/// The header for `text`, which stands right behind it. [`MARK`] at the end of the area completes the record.
pub fn header(life: u32, text: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..MARK.len()].copy_from_slice(&MARK);
    put(&mut header, 0, VERSION);
    put(&mut header, 1, life);
    put(&mut header, 2, text.len() as u32);
    let checksum = checksum(&header, text);
    put(&mut header, 3, checksum);
    header
}

/// Reads what `area` holds.
pub fn read(area: &[u8]) -> Found<'_> {
    let is_marked = [area.first_chunk(), area.last_chunk()].map(|mark| mark == Some(&MARK));
    match is_marked {
        [false, false] => Found::Nothing,
        [true, true] => whole(area).unwrap_or(Found::Damaged),
        _ => Found::Damaged,
    }
}

fn whole(area: &[u8]) -> Option<Found<'_>> {
    let (header, rest) = area.split_first_chunk()?;
    let bytes = word(header, 2) as usize;
    if word(header, 0) != VERSION || bytes > text_room(area.len()) {
        return None;
    }
    let text = rest.get(..bytes)?;
    let text = (checksum(header, text) == word(header, 3)).then_some(text)?;
    Some(Found::Record {
        life: word(header, 1),
        text: core::str::from_utf8(text).ok()?,
    })
}

fn checksum(header: &[u8; HEADER_BYTES], text: &[u8]) -> u32 {
    let mut digest = CHECKSUM.digest();
    digest.update(&header[..CHECKED_BYTES]);
    digest.update(text);
    digest.finalize()
}

const fn word_at(number: usize) -> usize {
    MARK.len() + number * 4
}

fn put(header: &mut [u8; HEADER_BYTES], number: usize, value: u32) {
    header[word_at(number)..][..4].copy_from_slice(&value.to_le_bytes());
}

fn word(header: &[u8; HEADER_BYTES], number: usize) -> u32 {
    let at = word_at(number);
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const AREA_BYTES: usize = 256;

    /// An area of `AREA_BYTES`, full of `filling`, with a record in it.
    fn area(filling: u8, life: u32, text: &str) -> Vec<u8> {
        let mut area = std::vec![filling; AREA_BYTES];
        area[..HEADER_BYTES].copy_from_slice(&header(life, text.as_bytes()));
        area[HEADER_BYTES..][..text.len()].copy_from_slice(text.as_bytes());
        area[AREA_BYTES - MARK.len()..].copy_from_slice(&MARK);
        area
    }

    #[test]
    fn what_was_written_is_read() {
        let longest = "x".repeat(text_room(AREA_BYTES));
        for text in ["", "crashed: of a fault\n  x0 0\n", "über", &longest] {
            for (filling, life) in [(0, 1), (0xff, u32::MAX)] {
                let area = area(filling, life, text);
                assert_eq!(read(&area), Found::Record { life, text });
            }
        }
    }

    #[test]
    fn memory_without_a_mark_is_no_record() {
        assert_eq!(read(&[]), Found::Nothing);
        for filling in [0, 0x5a, 0xff] {
            assert_eq!(read(&[filling; AREA_BYTES]), Found::Nothing);
        }
    }

    #[test]
    fn a_record_with_any_bit_flipped_is_damaged() {
        let text = "warm reboot: http died too often\n";
        let sound = area(0, 7, text);
        let used = (0..HEADER_BYTES + text.len()).chain(AREA_BYTES - MARK.len()..AREA_BYTES);
        for at in used {
            for bit in 0..8 {
                let mut damaged = sound.clone();
                damaged[at] ^= 1 << bit;
                assert_eq!(read(&damaged), Found::Damaged, "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_record_that_was_wiped_in_part_is_damaged() {
        let sound = area(0xee, 7, "crashed\n");
        for wiped in 1..=AREA_BYTES - MARK.len() {
            let mut head = sound.clone();
            head[..wiped].fill(0);
            assert_eq!(read(&head), Found::Damaged, "the first {wiped} bytes");
            let mut tail = sound.clone();
            tail[AREA_BYTES - wiped..].fill(0);
            assert_eq!(read(&tail), Found::Damaged, "the last {wiped} bytes");
        }
    }

    #[test]
    fn a_record_is_damaged_whose_header_is_sound_and_means_nothing() {
        let resealed = |number: usize, value: u32, text: &[u8]| {
            let mut header = header(1, text);
            put(&mut header, number, value);
            let checksum = checksum(&header, text);
            put(&mut header, 3, checksum);
            let mut area = area(0, 1, "");
            area[..HEADER_BYTES].copy_from_slice(&header);
            area[HEADER_BYTES..][..text.len()].copy_from_slice(text);
            area
        };
        let other_version = resealed(0, VERSION + 1, b"crashed");
        assert_eq!(read(&other_version), Found::Damaged);
        let no_text = resealed(1, 1, b"\xff\xfe");
        assert_eq!(read(&no_text), Found::Damaged);
        for bytes in [text_room(AREA_BYTES) as u32 + 1, u32::MAX] {
            assert_eq!(read(&resealed(2, bytes, b"crashed")), Found::Damaged);
        }
    }

    #[test]
    fn an_area_too_small_for_a_record_is_never_read_as_one() {
        for bytes in 0..HEADER_BYTES + MARK.len() {
            assert_eq!(text_room(bytes), 0);
            let mut small = std::vec![0; bytes];
            for (byte, mark) in small.iter_mut().zip(MARK.iter().cycle()) {
                *byte = *mark;
            }
            assert!(
                !matches!(read(&small), Found::Record { .. }),
                "{bytes} bytes"
            );
        }
    }
}
