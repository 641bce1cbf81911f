//! The line being composed, and numbers as text.
//!
//! A scrape is hundreds of lines of a few short words each, so what a word costs is what a scrape costs: words go into
//! a buffer of fixed size, with the place for the next one in a register, and each line goes to the page in one copy.
//! What two lines have in common stays where it is.

use super::Value;
use crate::platform::time::NANOS_PER_SEC;

/// Most bytes of a line: several times the longest in METRICS.md.
pub(super) const LINE_BYTES_MAX: usize = 1024;

/// A line under construction. Each method writes at `at` and returns where what it wrote ends: beyond
/// [`LINE_BYTES_MAX`] from the first word on that did not fit.
pub(super) struct Line([u8; LINE_BYTES_MAX]);

impl Line {
    pub(super) const fn new() -> Self {
        Self([0; LINE_BYTES_MAX])
    }

    /// The first `len` bytes; `None` if it became longer than it can be.
    #[inline(always)]
    pub(super) fn get(&self, len: usize) -> Option<&[u8]> {
        self.0.get(..len)
    }

    /// Writes a word.
    #[inline(always)]
    pub(super) fn put(&mut self, at: usize, word: &[u8]) -> usize {
        let rest = self.0.get_mut(at..);
        match rest.and_then(|rest| rest.get_mut(..word.len())) {
            Some(place) => {
                place.copy_from_slice(word);
                at + word.len()
            }
            None => LINE_BYTES_MAX + 1,
        }
    }

    /// Writes a few bytes whose number the caller knows.
    #[inline(always)]
    pub(super) fn put_array<const N: usize>(&mut self, at: usize, word: &[u8; N]) -> usize {
        let rest = self.0.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
        match rest {
            Some(place) => {
                *place = *word;
                at + N
            }
            None => LINE_BYTES_MAX + 1,
        }
    }

    /// Writes a value.
    #[inline(always)]
    pub(super) fn put_value(&mut self, at: usize, value: Value) -> usize {
        match value {
            // Most counters of most pages, and most CPUs and orders.
            Value::Whole(number @ 0..=9) => self.put_array(at, &[b'0' + number as u8]),
            _ => self.put_digits(at, value),
        }
    }

    #[inline(never)]
    fn put_digits(&mut self, at: usize, value: Value) -> usize {
        self.put_text(at, &Digits::of(value))
    }

    /// Writes digits: as many bytes as there can be in one go, of which those behind them are written over by what follows.
    #[inline(always)]
    pub(super) fn put_text(&mut self, at: usize, digits: &Digits) -> usize {
        let len = digits.as_bytes().len();
        match digits
            .bytes
            .get(digits.start..)
            .and_then(<[u8]>::first_chunk)
        {
            Some(window) if self.put_array::<DIGITS_MAX>(at, window) <= LINE_BYTES_MAX => at + len,
            _ => self.put(at, digits.as_bytes()),
        }
    }
}

/// Most bytes that a value takes: 20 digits and a point.
const DIGITS_MAX: usize = 21;

/// The numbers below 100, as they are written.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// A value as text: integer arithmetic alone, two digits at a time, from the last to the first. Behind the text there is
/// room for as much again.
pub(in crate::metrics) struct Digits {
    bytes: [u8; 2 * DIGITS_MAX],
    start: usize,
}

impl Digits {
    /// `value`, with as many decimals as it takes.
    #[inline]
    pub(in crate::metrics) fn of(value: Value) -> Self {
        let mut bytes = [0; 2 * DIGITS_MAX];
        let (whole, start) = match value {
            Value::Whole(number) => (number, DIGITS_MAX),
            Value::Nanos(nanos) => (
                nanos / NANOS_PER_SEC,
                put_decimals(&mut bytes, nanos % NANOS_PER_SEC, 9),
            ),
            Value::Millionths(parts) => (
                parts / 1_000_000,
                put_decimals(&mut bytes, parts % 1_000_000, 6),
            ),
            Value::Forever => {
                let start = DIGITS_MAX - b"+Inf".len();
                bytes[start..DIGITS_MAX].copy_from_slice(b"+Inf");
                return Self { bytes, start };
            }
        };
        let start = put_whole(&mut bytes, start, whole);
        Self { bytes, start }
    }

    /// The text.
    pub(in crate::metrics) fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..DIGITS_MAX]
    }
}

/// Writes `number` before `end`; returns where it starts.
#[inline]
fn put_whole(bytes: &mut [u8; 2 * DIGITS_MAX], end: usize, mut number: u64) -> usize {
    let mut start = end;
    while number >= 10 {
        start -= 2;
        bytes[start..start + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    // What is left of an even number of digits is 0.
    if number > 0 || start == end {
        start -= 1;
        bytes[start] = b'0' + number as u8;
    }
    start
}

/// Writes the point and `places` digits behind it, without the zeros at their end, to the end; nothing if all are.
fn put_decimals(bytes: &mut [u8; 2 * DIGITS_MAX], mut fraction: u64, mut places: usize) -> usize {
    if fraction == 0 {
        return DIGITS_MAX;
    }
    while fraction.is_multiple_of(10) {
        fraction /= 10;
        places -= 1;
    }
    let point = DIGITS_MAX - places - 1;
    bytes[point..DIGITS_MAX].fill(b'0');
    put_whole(bytes, DIGITS_MAX, fraction);
    bytes[point] = b'.';
    point
}
