//! Heads of requests: a request that begins as one before it, to the byte, is known by that.
//!
//! A client sends the same commands again and again. The count of arguments and the name, as the client
//! writes them, are a dozen bytes or so: comparing two words tells that count, name, row and arity are those
//! of an earlier request, without reading any of them. The lengths of the arguments are often the same
//! again, too, and known by one more word each.
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

    /// True if `input` starts with this head.
    #[inline]
    pub(super) fn starts(&self, input: &[u8]) -> bool {
        Self::words(input)
            .is_some_and(|(first, rest)| first == self.first && rest & self.rest_mask == self.rest)
    }

    /// Arguments of such a request, the name included.
    #[inline]
    pub(super) fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// The row of its command, which that many arguments fit.
    #[inline]
    pub(super) fn row(&self) -> u16 {
        self.row
    }

    /// The request of `N` arguments at the start of `input` if it has this head, short arguments, and is
    /// all there. `lengths` are those of the request before it.
    #[inline(always)]
    pub(super) fn repeat<const N: usize>(
        &self,
        input: &[u8],
        lengths: &mut [LengthLine; N],
    ) -> Option<Repeat<N>> {
        if !self.starts(input) {
            return None;
        }
        let mut consumed = usize::from(self.len);
        let name = Range {
            start: NAME_START,
            len: u32::from(self.len) - NAME_START - 2,
        };
        let mut ranges = [name; N];
        for (range, line) in ranges.iter_mut().zip(lengths).skip(1) {
            let (len, start) = line.read(input, consumed)?;
            consumed = start + len + 2;
            if consumed > input.len() {
                return None;
            }
            *range = Range {
                start: start as u32,
                len: len as u32,
            };
        }
        Some(Repeat { ranges, consumed })
    }

    #[inline]
    fn words(input: &[u8]) -> Option<(u64, u64)> {
        let words = input.first_chunk::<HEAD_BYTES_MAX>()?.as_chunks::<8>().0;
        Some((u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])))
    }
}

/// A request that began as one before it.
pub(super) struct Repeat<const N: usize> {
    ranges: [Range; N],
    /// Bytes it takes of the input.
    pub(super) consumed: usize,
}

impl<const N: usize> Repeat<N> {
    /// Its arguments, found in `input`.
    #[inline]
    pub(super) fn args<'a>(&'a self, input: &'a [u8]) -> Args<'a> {
        Args {
            bytes: input,
            ranges: &self.ranges,
        }
    }
}

/// The line of an argument's length, as it was last.
#[derive(Clone, Copy)]
pub(super) struct LengthLine {
    /// Its bytes, and which bits of a word they are.
    word: u64,
    mask: u64,
    /// How many they are.
    bytes: usize,
    /// The length it tells.
    len: usize,
}

impl LengthLine {
    /// No line is like this one.
    pub(super) const UNKNOWN: Self = Self {
        word: u64::MAX,
        mask: 0,
        bytes: 0,
        len: 0,
    };

    /// Reads the line at `at` as [`short_length`] does: from one word if it is the same again.
    #[inline(always)]
    fn read(&mut self, input: &[u8], at: usize) -> Option<(usize, usize)> {
        let word = input.get(at..).and_then(<[u8]>::first_chunk);
        let word = word.map(|word| u64::from_le_bytes(*word));
        if word.is_some_and(|word| word & self.mask == self.word) {
            return Some((self.len, at + self.bytes));
        }
        let (len, next) = short_length(input, at, b'$')?;
        if let Some(word) = word {
            let bytes = next - at;
            let mask = u64::MAX >> (u64::BITS as usize - 8 * bytes);
            let word = word & mask;
            *self = Self {
                word,
                mask,
                bytes,
                len,
            };
        }
        Some((len, next))
    }
}

#[cfg(test)]
mod tests {
    use super::{Head, LengthLine};
    use crate::app::cache_server::resp::{Limits, Parsed, Parser};
    use crate::cache::random::Random;
    use std::vec;
    use std::vec::Vec;

    const LIMITS: Limits = Limits {
        bulk_bytes_max: 1000,
        is_authenticated: true,
    };

    /// Arguments and bytes of the request in `input`, read with the lengths of the one in `before`.
    fn repeat<const N: usize>(
        head: &Head,
        before: &[u8],
        input: &[u8],
    ) -> Option<(Vec<Vec<u8>>, usize)> {
        let mut lengths = [LengthLine::UNKNOWN; N];
        head.repeat(before, &mut lengths);
        let repeat = head.repeat(input, &mut lengths)?;
        let found = repeat.args(input).from(0).map(Vec::from).collect();
        Some((found, repeat.consumed))
    }

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
            let Some(head) = parser.known_head(second) else {
                continue;
            };
            assert_eq!((head.row(), head.count()), (7, first_count), "seed {seed}");
            let found = match first_count {
                1 => repeat::<1>(head, &first, second),
                2 => repeat::<2>(head, &first, second),
                3 => repeat::<3>(head, &first, second),
                _ => repeat::<4>(head, &first, second),
            };
            let Some((found, consumed)) = found else {
                continue;
            };
            let mut other = Parser::default();
            let parsed = other.parse(second, LIMITS).expect("a request");
            assert_eq!(parsed, Parsed::Request { consumed }, "seed {seed}");
            let expected: Vec<&[u8]> = other.args(second).from(0).collect();
            assert_eq!(found, expected, "seed {seed}");
        }
    }

    #[test]
    fn the_last_two_heads_are_known() {
        let (get, set) = (
            b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
            b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nvv\r\n",
        );
        let incr = b"*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n";
        let mut parser = Parser::default();
        let known = |parser: &Parser, input: &[u8]| parser.known_head(input).map(Head::row);
        assert_eq!(known(&parser, get), None);
        for (request, row) in [(&get[..], 3), (set, 4)] {
            parser.parse(request, LIMITS).expect("a request");
            parser.remember(request, row);
            assert_eq!(known(&parser, request), Some(row));
        }
        assert_eq!(known(&parser, get), Some(3));
        parser.parse(incr, LIMITS).expect("a request");
        parser.remember(incr, 5);
        let rows = [&get[..], set, incr].map(|request| known(&parser, request));
        assert_eq!(rows, [None, Some(4), Some(5)]);
        assert_eq!(known(&parser, &[0; 40]), None);
        // What is left of a request that is not complete is not a head, whatever it looks like.
        parser.parse(&set[..20], LIMITS).expect("a prefix");
        assert_eq!(known(&parser, set), None);
    }
}
