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
pub(super) const HEAD_ARGUMENTS_MAX: usize = 4;
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
    #[inline(always)]
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

    #[inline(always)]
    fn words(input: &[u8]) -> Option<(u64, u64)> {
        let words = input.first_chunk::<HEAD_BYTES_MAX>()?.as_chunks::<8>().0;
        Some((u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])))
    }
}

/// Requests of `N` arguments, or fewer, that have one head, one after the other.
pub(super) struct Series<'a, const N: usize> {
    head: &'a Head,
    /// Where the arguments of the last one are.
    ranges: [Range; N],
    /// Their lengths.
    lengths: [LengthLine; N],
}

impl<'a, const N: usize> Series<'a, N> {
    /// None yet; `head` is theirs.
    #[inline(always)]
    pub(super) fn new(head: &'a Head) -> Self {
        const { assert!(N > 0 && N <= HEAD_ARGUMENTS_MAX) };
        // Zeros, and the name after them: anything else is a loop.
        let mut series = Self {
            head,
            ranges: [Range { start: 0, len: 0 }; N],
            lengths: [LengthLine::UNKNOWN; N],
        };
        series.ranges[0] = Range {
            start: NAME_START,
            len: u32::from(head.len) - NAME_START - 2,
        };
        series
    }

    /// Reads the request at the start of `input`, if it has the head, short arguments, and is all there;
    /// returns the bytes it takes. It has `count` arguments.
    #[inline(always)]
    pub(super) fn read(&mut self, input: &[u8], count: usize) -> Option<usize> {
        if !self.head.starts(input) {
            return None;
        }
        let mut consumed = usize::from(self.head.len);
        let (ranges, lengths) = (&mut self.ranges, &mut self.lengths);
        // Written out: where code is kept small a loop stays one, and nothing runs more often than this.
        if count > 1
            && let (Some(range), Some(line)) = (ranges.get_mut(1), lengths.get_mut(1))
        {
            (*range, consumed) = line.argument(input, consumed)?;
        }
        if count > 2
            && let (Some(range), Some(line)) = (ranges.get_mut(2), lengths.get_mut(2))
        {
            (*range, consumed) = line.argument(input, consumed)?;
        }
        if count > 3
            && let (Some(range), Some(line)) = (ranges.get_mut(3), lengths.get_mut(3))
        {
            (*range, consumed) = line.argument(input, consumed)?;
        }
        Some(consumed)
    }

    /// The arguments of the request that was read from the start of `input`.
    #[inline(always)]
    pub(super) fn args<'b>(&'b self, input: &'b [u8], count: usize) -> Args<'b> {
        Args {
            bytes: input,
            ranges: &self.ranges[..count],
        }
    }
}

/// The line of an argument's length, as it was last.
#[derive(Clone, Copy)]
struct LengthLine {
    /// Which bits of a word are its bytes; what they were, plus one.
    mask: u64,
    masked_plus_one: u64,
    /// How many bytes they are.
    bytes: usize,
    /// The length it tells.
    len: usize,
}

impl LengthLine {
    /// No line is like this one: one more than a masked word is not 0.
    const UNKNOWN: Self = Self {
        mask: 0,
        masked_plus_one: 0,
        bytes: 0,
        len: 0,
    };

    /// The argument whose line is at `at`, and where it ends, if all of it is there.
    #[inline(always)]
    fn argument(&mut self, input: &[u8], at: usize) -> Option<(Range, usize)> {
        let (len, start) = self.read(input, at)?;
        let end = start + len + 2;
        let range = Range {
            start: start as u32,
            len: len as u32,
        };
        (end <= input.len()).then_some((range, end))
    }

    /// Reads the line at `at` as [`short_length`] does: from one word if it is the same again.
    #[inline(always)]
    fn read(&mut self, input: &[u8], at: usize) -> Option<(usize, usize)> {
        let Some(word) = input.get(at..).and_then(<[u8]>::first_chunk) else {
            return short_length(input, at, b'$');
        };
        let word = u64::from_le_bytes(*word);
        if (word & self.mask) + 1 == self.masked_plus_one {
            return Some((self.len, at + self.bytes));
        }
        let (len, next) = short_length(input, at, b'$')?;
        let bytes = next - at;
        let mask = u64::MAX >> (u64::BITS as usize - 8 * bytes);
        *self = Self {
            mask,
            masked_plus_one: (word & mask) + 1,
            bytes,
            len,
        };
        Some((len, next))
    }
}

#[cfg(test)]
mod tests {
    use super::{Head, Series};
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
        count: usize,
    ) -> Option<(Vec<Vec<u8>>, usize)> {
        let mut series = Series::<N>::new(head);
        series.read(before, count);
        let consumed = series.read(input, count)?;
        let found = series.args(input, count).from(0).map(Vec::from).collect();
        Some((found, consumed))
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
                2 => repeat::<2>(head, &first, second, 2),
                3 => repeat::<3>(head, &first, second, 3),
                count => repeat::<4>(head, &first, second, count),
            };
            let with_room = repeat::<4>(head, &first, second, first_count);
            assert_eq!(found, with_room, "seed {seed}");
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
