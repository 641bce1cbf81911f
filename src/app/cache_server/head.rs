//! Heads of requests: a request that begins as the one before it, to the byte, is known by that.
//!
//! A client sends the same commands again and again. The count of arguments and the name, as the client
//! writes them, are a dozen bytes or so: comparing two words tells that count, name, row and arity are those
//! of the last request, without reading any of them.
//!
//! Always true: a request found here is the one that [`super::resp`] would find, arguments and all.
//!
//! Limits: names of up to six letters, four arguments, and arguments of up to 999 bytes.

use super::resp::{Args, Range, short_length};

/// Arguments of a request whose head is remembered, at most.
const HEAD_ARGUMENTS_MAX: usize = 4;
/// Bytes of a head that is remembered, at most: two words.
const HEAD_BYTES_MAX: usize = 16;
/// Where the name starts in a head that is remembered: after `*n\r\n$n\r\n`.
const NAME_START: u32 = 8;

/// The first bytes of a request, up to the end of the command's name, and what they said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// Its first eight bytes.
    first: u64,
    /// The others, and which bits of a word they are.
    rest: u64,
    rest_mask: u64,
    /// Bytes it has.
    len: u8,
    /// Arguments of the request, the name included.
    count: u8,
    /// The row of the command; such a request fits its arity.
    row: u16,
}

impl Head {
    /// The head of the request that was found at the start of `input`, if it is a short one: its arguments
    /// are `ranges`, its command has that row, and they fit it.
    #[inline]
    pub(super) fn new(input: &[u8], ranges: &[Range], row: u16) -> Option<Self> {
        let name = ranges.first()?;
        let len = (name.start + name.len + 2) as usize;
        if name.start != NAME_START || len > HEAD_BYTES_MAX || ranges.len() > HEAD_ARGUMENTS_MAX {
            return None;
        }
        let (first, rest) = Self::words(input)?;
        let rest_mask = u64::MAX >> (8 * (HEAD_BYTES_MAX - len));
        Some(Self {
            first,
            rest: rest & rest_mask,
            rest_mask,
            len: len as u8,
            count: ranges.len() as u8,
            row,
        })
    }

    /// The request at the start of `input` if it has this head, short arguments, and is all there.
    #[inline]
    pub(super) fn repeat(&self, input: &[u8]) -> Option<Repeat> {
        let (first, rest) = Self::words(input)?;
        if first != self.first || rest & self.rest_mask != self.rest {
            return None;
        }
        let count = usize::from(self.count);
        let mut consumed = usize::from(self.len);
        let name = Range {
            start: NAME_START,
            len: u32::from(self.len) - NAME_START - 2,
        };
        let mut ranges = [name; HEAD_ARGUMENTS_MAX];
        for range in ranges.iter_mut().take(count).skip(1) {
            let (len, start) = argument_length(input, consumed)?;
            consumed = start + len + 2;
            if consumed > input.len() {
                return None;
            }
            *range = Range {
                start: start as u32,
                len: len as u32,
            };
        }
        Some(Repeat {
            ranges,
            count,
            row: self.row,
            consumed,
        })
    }

    #[inline]
    fn words(input: &[u8]) -> Option<(u64, u64)> {
        let words = input.first_chunk::<HEAD_BYTES_MAX>()?.as_chunks::<8>().0;
        Some((u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])))
    }
}

/// A request that began as the one before it.
pub(super) struct Repeat {
    ranges: [Range; HEAD_ARGUMENTS_MAX],
    count: usize,
    /// The row of its command, which its arguments fit.
    pub(super) row: u16,
    /// Bytes it takes of the input.
    pub(super) consumed: usize,
}

impl Repeat {
    /// Its arguments, found in `input`.
    #[inline]
    pub(super) fn args<'a>(&'a self, input: &'a [u8]) -> Args<'a> {
        Args {
            bytes: input,
            ranges: &self.ranges[..self.count],
        }
    }
}

/// Reads the line of an argument's length as [`short_length`] does: one or two digits from one word.
#[inline]
fn argument_length(input: &[u8], at: usize) -> Option<(usize, usize)> {
    const ONE_DIGIT: u64 = u64::from_le_bytes(*b"$\0\r\n\0\0\0\0");
    const ONE_DIGIT_MASK: u64 = u64::from_le_bytes(*b"\xff\0\xff\xff\0\0\0\0");
    const TWO_DIGITS: u64 = u64::from_le_bytes(*b"$\0\0\r\n\0\0\0");
    const TWO_DIGITS_MASK: u64 = u64::from_le_bytes(*b"\xff\0\0\xff\xff\0\0\0");
    if let Some(line) = input.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*line);
        let digit = |shift: u32| usize::from(((word >> shift) as u8).wrapping_sub(b'0'));
        let (first, second) = (digit(8), digit(16));
        if word & TWO_DIGITS_MASK == TWO_DIGITS && (1..=9).contains(&first) && second <= 9 {
            return Some((first * 10 + second, at + 5));
        }
        if word & ONE_DIGIT_MASK == ONE_DIGIT && first <= 9 {
            return Some((first, at + 4));
        }
    }
    short_length(input, at, b'$')
}

#[cfg(test)]
mod tests {
    use crate::app::cache_server::resp::{Limits, Parsed, Parser};
    use crate::cache::random::Random;
    use std::vec;
    use std::vec::Vec;

    const LIMITS: Limits = Limits {
        bulk_bytes_max: 1000,
        is_authenticated: true,
    };

    #[test]
    fn a_repeated_head_gives_the_same_arguments_as_the_first() {
        for seed in 0..20_000 {
            let mut random = Random::new(seed);
            let names = [
                &b"GET"[..],
                b"get",
                b"SET",
                b"PEXPIRE",
                b"INCR",
                b"SETEX",
                b"GETDEL",
            ];
            let name = names[random.below(2 + seed as u32 % 6) as usize];
            let request = |random: &mut Random| {
                let count = 1 + random.below(5);
                let mut bytes = std::format!("*{count}\r\n").into_bytes();
                for number in 0..count {
                    let len = [1, 9, 10, 99, 100, 999, 1000][random.below(7) as usize];
                    let argument = vec![b'x'; len];
                    let argument = if number == 0 { name } else { &argument };
                    bytes.extend(std::format!("${}\r\n", argument.len()).bytes());
                    bytes.extend_from_slice(argument);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes
            };
            let mut parser = Parser::default();
            let first = request(&mut random);
            parser.parse(&first, LIMITS).expect("a request");
            let first_count = parser.args(&first).len();
            parser.remember(&first, 7);
            let mut second = request(&mut random);
            if random.below(4) == 0 {
                let at = random.below(second.len() as u32) as usize;
                second[at] = b"\r\n$*09GET"[random.below(9) as usize];
            }
            let cut = random.below(4 * second.len() as u32) as usize;
            let second = &second[..cut.min(second.len())];
            let Some(repeat) = parser.repeat(second) else {
                continue;
            };
            assert_eq!(repeat.row, 7);
            let found: Vec<&[u8]> = repeat.args(second).from(0).collect();
            assert_eq!(found.len(), first_count, "seed {seed}");
            let consumed = repeat.consumed;
            let mut other = Parser::default();
            let parsed = other.parse(second, LIMITS).expect("a request");
            assert_eq!(parsed, Parsed::Request { consumed }, "seed {seed}");
            let expected: Vec<&[u8]> = other.args(second).from(0).collect();
            assert_eq!(found, expected, "seed {seed}");
        }
    }

    #[test]
    fn a_head_is_repeated_until_another_one_is_remembered() {
        let (get, set) = (
            b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
            b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nvv\r\n",
        );
        let mut parser = Parser::default();
        assert!(parser.repeat(get).is_none());
        parser.parse(get, LIMITS).expect("a request");
        parser.remember(get, 3);
        assert_eq!(parser.repeat(get).map(|repeat| repeat.row), Some(3));
        assert!(parser.repeat(set).is_none());
        parser.parse(set, LIMITS).expect("a request");
        parser.remember(set, 4);
        assert_eq!(parser.repeat(set).map(|repeat| repeat.row), Some(4));
        assert!(parser.repeat(get).is_none());
        assert!(parser.repeat(&[0; 40]).is_none());
        // What is left of a request that is not complete is not a head, whatever it looks like.
        parser.parse(&set[..20], LIMITS).expect("a prefix");
        assert!(parser.repeat(set).is_none());
    }
}
