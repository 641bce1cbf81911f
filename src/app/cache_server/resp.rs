//! Reads requests from bytes: RESP arrays of bulk strings, and inline commands. Nothing is copied.
//!
//! Arguments are ranges of the input; only an inline command is unquoted into a buffer of the parser's.
//! Incomplete input consumes nothing: the parser keeps what it found, goes on there when more bytes have
//! come, and says how many it needs when a length tells. So a request of a million arguments in a million
//! segments costs one pass. Follows Redis 7.0's `processMultibulkBuffer` and `processInlineBuffer`, error
//! texts and all; after an error the connection has to be closed.
//!
//! A request that begins as one of the last did is found by its head (`head`).
//!
//! Always true: ranges lie within the input (or the buffer) they were found in.

use super::head::Head;
use super::inline;
use super::number::parse_i64;
use crate::error::{Error, Grow, Kind, Result, Subsystem};
use alloc::vec::Vec;

/// Bytes of an inline request, or of a length line, at most (Redis' `PROTO_INLINE_MAX_SIZE`).
pub(super) const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Arguments of one request, at most: Redis' bound before 7.0, which let a request name 2^31.
pub(super) const ARGUMENTS_MAX: i64 = 1024 * 1024;
/// Arguments of one request before the client has authenticated.
pub(super) const UNAUTHENTICATED_ARGUMENTS_MAX: i64 = 10;
/// Bytes of one argument before the client has authenticated.
pub(super) const UNAUTHENTICATED_BULK_BYTES_MAX: i64 = 16 * 1024;
/// The fewest bytes an argument takes: `$0\r\n\r\n`.
const ARGUMENT_BYTES_MIN: usize = 6;
/// Ranges a parser keeps room for between requests.
const RANGES_KEPT: usize = 64;

/// What a client may send at present.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes of one argument.
    pub bulk_bytes_max: i64,
    /// False before AUTH where a password is required: smaller limits hold then.
    pub is_authenticated: bool,
}

/// What the parser found at the start of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A request of that many bytes; [`Parser::args`] has its arguments, if it has any.
    Request {
        /// Bytes it takes of the input.
        consumed: usize,
    },
    /// The beginning of a request.
    Incomplete {
        /// Bytes of input without which no progress can be made.
        until_bytes: usize,
    },
}

/// Where an argument is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) len: u32,
}

/// The arguments of one request, the command's name first.
#[derive(Clone, Copy)]
pub(super) struct Args<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) ranges: &'a [Range],
}

impl<'a> Args<'a> {
    /// How many there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// True for a request without arguments, which is skipped.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Argument `number`; the command's arity was checked.
    ///
    /// # Panics
    /// If there are not so many.
    #[inline]
    pub(super) fn at(&self, number: usize) -> &'a [u8] {
        let find = || {
            let &Range { start, len } = self.ranges.get(number)?;
            self.bytes.get(start as usize..)?.get(..len as usize)
        };
        find().unwrap_or_else(|| no_argument(number))
    }

    /// Argument `number`, if there are so many. A call of its own, from dozens of places.
    #[inline(never)]
    pub(super) fn get(&self, number: usize) -> Option<&'a [u8]> {
        (number < self.len()).then(|| self.at(number))
    }

    /// The arguments from `number` on.
    #[inline]
    pub(super) fn from(&self, number: usize) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let args = *self;
        (number..self.len()).map(move |number| args.at(number))
    }
}

/// One place for what every look at an argument ends in when a command's arity does not cover it.
#[cold]
#[inline(never)]
fn no_argument(number: usize) -> ! {
    panic!("the request has no argument {number}");
}

/// The parser of one connection.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// The heads of the last two requests that had one to remember, the latest first.
    heads: [Option<Head>; 2],
    ranges: Vec<Range>,
    /// Unquoted arguments of an inline request.
    unquoted: Vec<u8>,
    /// Where to go on; 0 at the start of a request.
    at: usize,
    /// Arguments of the present request still to be found.
    missing: i64,
    is_inline: bool,
}

pub(super) fn protocol_error(what: &'static str) -> Error {
    Error::new(Subsystem::Cache, Kind::Protocol { what })
}

impl Parser {
    /// The arguments of the request that `parse` found at the start of `input`.
    #[inline]
    pub(super) fn args<'a>(&'a self, input: &'a [u8]) -> Args<'a> {
        let bytes = if self.is_inline {
            &self.unquoted
        } else {
            input
        };
        Args {
            bytes,
            ranges: &self.ranges,
        }
    }

    /// The head remembered that `input` starts with. `None` says nothing but that [`Parser::parse`] has
    /// to look.
    #[inline]
    pub(super) fn known_head(&self, input: &[u8]) -> Option<&Head> {
        let is_at_start = self.at == 0;
        let mut heads = self.heads.iter().flatten();
        heads.find(|head| is_at_start && head.starts(input))
    }

    /// Remembers the head of the request that `parse` found at the start of `input`, if it is a short
    /// one: its command has that row, and its arguments fit it.
    #[inline]
    pub(super) fn remember(&mut self, input: &[u8], row: u16) {
        if !self.is_inline
            && let Some(head) = Head::new(input, &self.ranges, row)
        {
            self.heads = [Some(head), self.heads[0]];
        }
    }

    /// Finds the request at the start of `input`. After `Incomplete` it is to be called with the same
    /// bytes and more behind them.
    ///
    /// # Errors
    /// `Protocol` or `UnexpectedByte` for bytes that are no request; `OutOfMemory`.
    #[inline]
    pub(crate) fn parse(&mut self, input: &[u8], limits: Limits) -> Result<Parsed> {
        if self.at == 0 {
            self.ranges.clear();
            self.is_inline = false;
            match short_length(input, 0, b'*') {
                // Few enough arguments for anyone.
                Some((count, next)) if count <= UNAUTHENTICATED_ARGUMENTS_MAX as usize => {
                    self.missing = count as i64;
                    self.at = next;
                }
                _ => {
                    if let Some(parsed) = self.parse_start(input, limits)? {
                        return Ok(parsed);
                    }
                }
            }
        }
        self.parse_arguments(input, limits)
    }

    #[inline]
    fn parse_arguments(&mut self, input: &[u8], limits: Limits) -> Result<Parsed> {
        let (mut at, mut missing) = (self.at, self.missing);
        while missing > 0 {
            // Nearly every argument is short and all there: its length needs no more checks.
            if let Some((len, start)) = short_length(input, at, b'$')
                && start + len + 2 <= input.len()
                && self.ranges.len() < self.ranges.capacity()
            {
                let (start, len) = (start as u32, len as u32);
                self.ranges.push_reserved(Range { start, len });
                at = (start + len) as usize + 2;
            } else {
                (self.at, self.missing) = (at, missing);
                if let Some(until_bytes) = self.parse_bulk(input, limits)? {
                    return Ok(Parsed::Incomplete { until_bytes });
                }
                at = self.at;
            }
            missing -= 1;
        }
        (self.at, self.missing) = (0, 0);
        Ok(Parsed::Request { consumed: at })
    }

    /// Reads the first line of a request that is not an array of a few arguments. `None` if arguments
    /// follow.
    #[cold]
    fn parse_start(&mut self, input: &[u8], limits: Limits) -> Result<Option<Parsed>> {
        match input.first() {
            Some(b'*') => {}
            Some(_) => return self.parse_inline(input).map(Some),
            None => return Ok(Some(Parsed::Incomplete { until_bytes: 1 })),
        }
        let Some((count, next)) = read_length(input, 0, "too big mbulk count string")? else {
            let until_bytes = input.len() + 1;
            return Ok(Some(Parsed::Incomplete { until_bytes }));
        };
        match count {
            Some(count) if count > UNAUTHENTICATED_ARGUMENTS_MAX && !limits.is_authenticated => {
                return Err(protocol_error("unauthenticated multibulk length"));
            }
            Some(count) if count <= ARGUMENTS_MAX => self.missing = count.max(0),
            _ => return Err(protocol_error("invalid multibulk length")),
        }
        self.at = next;
        Ok(None)
    }

    /// Gives back memory that an unusually large request took.
    pub(super) fn trim(&mut self) {
        if self.at == 0 && self.ranges.capacity() > RANGES_KEPT {
            self.ranges = Vec::new();
        }
        if self.at == 0 && self.unquoted.capacity() > INLINE_BYTES_MAX {
            self.unquoted = Vec::new();
        }
    }

    /// Finds the next argument; if it is incomplete, tells the bytes of input it takes to find it.
    #[cold]
    fn parse_bulk(&mut self, input: &[u8], limits: Limits) -> Result<Option<usize>> {
        let rest = self.missing as usize * ARGUMENT_BYTES_MIN;
        let Some((len, start)) = read_length(input, self.at, "too big bulk count string")? else {
            return Ok(Some((self.at + rest).max(input.len() + 1)));
        };
        if input[self.at] != b'$' {
            let kind = Kind::UnexpectedByte {
                expected: b'$',
                found: input[self.at],
            };
            return Err(Error::new(Subsystem::Cache, kind));
        }
        let len = match len {
            Some(len) if (0..=limits.bulk_bytes_max).contains(&len) => len,
            _ => return Err(protocol_error("invalid bulk length")),
        };
        if len > UNAUTHENTICATED_BULK_BYTES_MAX && !limits.is_authenticated {
            return Err(protocol_error("unauthenticated bulk length"));
        }
        let end = start + len as usize + 2;
        if input.len() < end {
            return Ok(Some(end + rest - ARGUMENT_BYTES_MIN));
        }
        if self.ranges.len() == self.ranges.capacity() {
            self.ranges.try_reserve(self.ranges.len().max(4))?;
        }
        self.ranges.push_reserved(Range {
            start: start as u32,
            len: len as u32,
        });
        self.at = end;
        Ok(None)
    }

    #[cold]
    fn parse_inline(&mut self, input: &[u8]) -> Result<Parsed> {
        let Some(newline) = input.iter().position(|&b| b == b'\n') else {
            if input.len() > INLINE_BYTES_MAX {
                return Err(protocol_error("too big inline request"));
            }
            return Ok(Parsed::Incomplete {
                until_bytes: input.len() + 1,
            });
        };
        let line = &input[..newline];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.is_inline = true;
        self.unquoted.clear();
        inline::split(line, &mut self.unquoted, &mut self.ranges)?;
        Ok(Parsed::Request {
            consumed: newline + 1,
        })
    }
}

/// Reads a line of `kind` and one to three digits, and tells where the next line starts. `None` for any
/// other line, which [`read_length`] then reads.
#[inline]
pub(super) fn short_length(input: &[u8], at: usize, kind: u8) -> Option<(usize, usize)> {
    let line: &[u8; 6] = input.get(at..)?.first_chunk()?;
    let digit = |byte: u8| usize::from(byte.wrapping_sub(b'0'));
    let (first, second, third) = (digit(line[1]), digit(line[2]), digit(line[3]));
    if line[0] != kind || first > 9 {
        return None;
    }
    if line[2] == b'\r' {
        return Some((first, at + 4));
    }
    // A number of several digits does not start with 0.
    if first == 0 || second > 9 {
        return None;
    }
    if line[3] == b'\r' {
        return Some((first * 10 + second, at + 5));
    }
    (third <= 9 && line[4] == b'\r').then_some((first * 100 + second * 10 + third, at + 6))
}

/// Reads the number after the byte at `at` up to the line's end, and where the next line starts. `None`
/// while the line is incomplete; `Some(None, _)` if it is no number.
fn read_length(
    input: &[u8],
    at: usize,
    too_long: &'static str,
) -> Result<Option<(Option<i64>, usize)>> {
    let line = input.get(at..).unwrap_or_default();
    match line.iter().position(|&b| b == b'\r') {
        Some(end) if end + 1 < line.len() => {
            // A line of a lone `\r` has no first byte to skip.
            let number = parse_i64(line.get(1..end).unwrap_or_default());
            Ok(Some((number, at + end + 2)))
        }
        Some(_) => Ok(None),
        None if line.len() > INLINE_BYTES_MAX => Err(protocol_error(too_long)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::random::Random;
    use std::vec;

    const LIMITS: Limits = Limits {
        bulk_bytes_max: 1000,
        is_authenticated: true,
    };

    fn parse(input: &[u8]) -> Result<(Parsed, Vec<Vec<u8>>)> {
        let mut parser = Parser::default();
        let parsed = parser.parse(input, LIMITS)?;
        Ok((
            parsed,
            parser.args(input).from(0).map(<[u8]>::to_vec).collect(),
        ))
    }

    #[inline]
    fn args(input: &[u8]) -> Vec<Vec<u8>> {
        let (parsed, args) = parse(input).expect("a request");
        assert_eq!(
            parsed,
            Parsed::Request {
                consumed: input.len()
            }
        );
        args
    }

    fn what(input: &[u8]) -> &'static str {
        match parse(input).expect_err("no request").kind() {
            Kind::Protocol { what } => what,
            Kind::UnexpectedByte { .. } => "unexpected byte",
            kind => panic!("{kind}"),
        }
    }

    #[test]
    fn a_bulk_array_is_split_into_its_arguments() {
        assert_eq!(
            args(b"*2\r\n$3\r\nGET\r\n$5\r\na\r\nbc\r\n"),
            [&b"GET"[..], b"a\r\nbc"]
        );
        assert_eq!(args(b"*0\r\n"), Vec::<Vec<u8>>::new());
        assert_eq!(args(b"*-5\r\n"), Vec::<Vec<u8>>::new());
        let long = [&b"*1\r\n$123\r\n"[..], &[7; 123], b"\r\n"].concat();
        assert_eq!(args(&long), [vec![7; 123]]);
    }

    #[test]
    fn an_inline_request_is_unquoted_as_redis_does() {
        assert_eq!(args(b"  SET  a b \r\n"), [&b"SET"[..], b"a", b"b"]);
        assert_eq!(
            args(b"\"a b\" 'c\\'d' \"\\x41\\n\\q\"\n"),
            [&b"a b"[..], b"c'd", b"A\nq"]
        );
        assert_eq!(args(b"a\"b\"\n"), [b"ab"]);
        assert_eq!(args(b"\r\n"), Vec::<Vec<u8>>::new());
        for line in [&b"\"a\n"[..], b"'a\n", b"\"a\"b\n", b"'a\\\n"] {
            assert_eq!(what(line), "unbalanced quotes in request");
        }
    }

    #[test]
    fn malformed_lengths_are_refused_in_redis_words() {
        assert_eq!(what(b"*x\r\n"), "invalid multibulk length");
        assert_eq!(what(b"*1048577\r\n"), "invalid multibulk length");
        assert_eq!(what(b"*1\r\n$-1\r\n"), "invalid bulk length");
        assert_eq!(what(b"*1\r\n$1001\r\n"), "invalid bulk length");
        assert_eq!(what(b"*1\r\n$03\r\n"), "invalid bulk length");
        assert_eq!(what(b"*1\r\n:3\r\n"), "unexpected byte");
        assert_eq!(what(b"*1\r\n\r\n\r\n"), "unexpected byte");
        assert_eq!(
            what(&[b'*'; INLINE_BYTES_MAX + 1]),
            "too big mbulk count string"
        );
        assert_eq!(
            what(&[b'a'; INLINE_BYTES_MAX + 1]),
            "too big inline request"
        );
        let long = [&b"*1\r\n$"[..], &[b'1'; INLINE_BYTES_MAX + 1]].concat();
        assert_eq!(what(&long), "too big bulk count string");
    }

    #[test]
    fn smaller_limits_hold_before_authentication() {
        let limits = Limits {
            bulk_bytes_max: 1 << 20,
            is_authenticated: false,
        };
        let refused = |input: &[u8]| Parser::default().parse(input, limits).is_err();
        assert!(refused(b"*11\r\n") && !refused(b"*10\r\n"));
        assert!(refused(b"*1\r\n$16385\r\n") && !refused(b"*1\r\n$16384\r\n"));
    }

    #[test]
    fn incomplete_input_tells_how_much_is_missing_and_goes_on_from_there() {
        let input = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10\r\n0123456789\r\n";
        let mut parser = Parser::default();
        for end in 0..input.len() {
            match parser
                .parse(&input[..end], LIMITS)
                .expect("a prefix of a request")
            {
                Parsed::Incomplete { until_bytes } => {
                    assert!((end + 1..=input.len()).contains(&until_bytes), "at {end}");
                    if end >= 26 {
                        assert_eq!(until_bytes, input.len(), "at {end}");
                    }
                }
                parsed => panic!("{parsed:?} at {end}"),
            }
        }
        let parsed = parser.parse(input, LIMITS).expect("a request");
        assert_eq!(
            parsed,
            Parsed::Request {
                consumed: input.len()
            }
        );
        assert_eq!(parser.args(input).at(2), b"0123456789");
    }

    #[test]
    fn any_bytes_give_a_request_an_error_or_a_wish_for_more() {
        for seed in 0..20_000 {
            let mut random = Random::new(seed);
            let alphabet = b"*$\r\n0123-9 \"'\\xGET\0\xff";
            let input: Vec<u8> = (0..random.below(60))
                .map(|_| alphabet[random.below(alphabet.len() as u32) as usize])
                .collect();
            let mut rest = &input[..];
            let mut parser = Parser::default();
            while let Ok(Parsed::Request { consumed }) = parser.parse(rest, LIMITS) {
                assert!(0 < consumed && consumed <= rest.len(), "seed {seed}");
                assert!(parser.args(rest).from(0).all(|arg| arg.len() <= rest.len()));
                rest = &rest[consumed..];
            }
        }
    }
}
