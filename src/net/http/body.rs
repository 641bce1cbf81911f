//! The chunked transfer coding (RFC 9112, 7.1), decoded as it comes in.
//!
//! The decoder remembers the start of the chunk that is still incomplete, so bytes are looked at once
//! however they were cut into segments (but for a chunk's size line, which is short). Chunks are copied out
//! whole. Extensions and trailer fields are checked and dropped. httparse's chunk-size parser is not used:
//! it reads an empty size as 0, which ends a body where another parser may not.

use super::fault::{bad, fault};
use super::request::Limits;
use crate::error::{Grow, HttpFault, Result};
use alloc::vec::Vec;
use httparse::Status;

/// Longest size line of a chunk, extensions included, in bytes: 16 digits and room for an extension.
const SIZE_LINE_MAX: usize = 256;
/// Longest trailer section in bytes; nobody sends one.
const TRAILER_MAX: usize = 1024;
/// Most trailer fields.
const TRAILER_FIELDS_MAX: usize = 16;
/// Framing a body may have in bytes, beside its content: one-byte chunks of 1 KiB of content fit.
const OVERHEAD_MAX: usize = 8 * 1024;

/// A chunked body on its way in.
#[derive(Debug)]
pub(super) struct ChunkedBody {
    /// Where the first incomplete chunk starts, from the start of the request.
    at: usize,
    /// Where its last chunk must have ended, if the content is at its limit.
    end_max: usize,
    content: Vec<u8>,
}

/// How far a body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It goes on; nothing can be decoded before that many bytes of the request are there.
    Partial { needed: usize },
    /// It ends there, counted from the start of the request.
    Complete { end: usize },
}

impl ChunkedBody {
    /// A body whose first chunk starts at `at`.
    pub(super) fn new(at: usize, limits: &Limits) -> Self {
        let end_max = at + limits.body_bytes + OVERHEAD_MAX;
        Self {
            at,
            end_max,
            content: Vec::new(),
        }
    }

    /// What has been decoded.
    pub(super) fn content(&self) -> &[u8] {
        &self.content
    }

    /// Decodes what `request` has beyond what was decoded before.
    ///
    /// # Errors
    /// `BadRequest` for what is no chunk, `BodyTooLarge` beyond the limits, `OutOfMemory`.
    pub(super) fn advance(&mut self, request: &[u8], limits: &Limits) -> Result<Arrival> {
        loop {
            let rest = &request[self.at..];
            let Some((size, line)) = size_line(rest)? else {
                return Ok(Arrival::Partial {
                    needed: request.len() + 1,
                });
            };
            if size == 0 {
                return trailer(&rest[line..]).map(|end| match end {
                    Some(end) => Arrival::Complete {
                        end: self.at + line + end,
                    },
                    None => Arrival::Partial {
                        needed: request.len() + 1,
                    },
                });
            }
            let is_too_much = size > limits.body_bytes - self.content.len();
            if is_too_much || size > self.end_max.saturating_sub(self.at + line) {
                return Err(fault(HttpFault::BodyTooLarge));
            }
            let Some((chunk, after)) = rest[line..].split_at_checked(size) else {
                return Ok(Arrival::Partial {
                    needed: self.at + line + size + 2,
                });
            };
            match after {
                [b'\r', b'\n', ..] => {}
                [] | [b'\r'] => {
                    return Ok(Arrival::Partial {
                        needed: self.at + line + size + 2,
                    });
                }
                _ => return Err(bad("no line end after a chunk")),
            }
            self.content.try_reserve(size)?;
            self.content.append_reserved(chunk);
            self.at += line + size + 2;
        }
    }
}

/// The size that the line at the start of `bytes` says, and the length of the line; `None` if it goes on.
fn size_line(bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let window = &bytes[..bytes.len().min(SIZE_LINE_MAX)];
    let end = window
        .iter()
        .position(|&byte| byte == b'\r' || byte == b'\n');
    let line = &window[..end.unwrap_or(window.len())];
    let digits = line
        .iter()
        .position(|byte| !byte.is_ascii_hexdigit())
        .unwrap_or(line.len());
    // A line feed among the extensions is where other parsers differ, so none may stand there.
    let extension = line[digits..].trim_ascii_start();
    let is_sound = (extension.is_empty() || extension[0] == b';')
        && extension
            .iter()
            .all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
        && (digits > 0 || line.is_empty() && end.is_none());
    if !is_sound {
        return Err(bad("bad chunk size"));
    }
    let Some(end) = end else {
        if window.len() == SIZE_LINE_MAX {
            return Err(bad("chunk size line too long"));
        }
        return Ok(None);
    };
    match window[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if bytes.len() < SIZE_LINE_MAX => return Ok(None),
        _ => return Err(bad("bad chunk size")),
    }
    let size = line[..digits].iter().try_fold(0_usize, |size, &digit| {
        let digit = char::from(digit).to_digit(16)? as usize;
        size.checked_mul(16)?.checked_add(digit)
    });
    match size {
        Some(size) => Ok(Some((size, end + 2))),
        None => Err(fault(HttpFault::BodyTooLarge)),
    }
}

/// The length of the trailer section at the start of `bytes`, its empty line included.
fn trailer(bytes: &[u8]) -> Result<Option<usize>> {
    let window = &bytes[..bytes.len().min(TRAILER_MAX)];
    let mut fields = [httparse::EMPTY_HEADER; TRAILER_FIELDS_MAX];
    match httparse::parse_headers(window, &mut fields) {
        Ok(Status::Complete((len, _))) => {
            let section = &window[..len];
            let count = |wanted: u8| section.iter().filter(|&&byte| byte == wanted).count();
            if count(b'\n') != count(b'\r') {
                return Err(bad("line feed without carriage return"));
            }
            Ok(Some(len))
        }
        Ok(Status::Partial) if window.len() == TRAILER_MAX => Err(fault(HttpFault::HeadTooLarge)),
        Ok(Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(fault(HttpFault::HeadTooLarge)),
        Err(_) => Err(bad("bad trailer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn decode(bytes: &[u8]) -> Result<(Arrival, Vec<u8>)> {
        let mut body = ChunkedBody::new(0, &Limits::DEFAULT);
        let arrival = body.advance(bytes, &Limits::DEFAULT)?;
        Ok((arrival, body.content))
    }

    #[test]
    fn chunks_are_joined_and_the_rest_is_left_alone() {
        let bytes = b"3\r\nabc\r\n00A;ext=\"v\"\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nGET /";
        let (arrival, content) = decode(bytes).expect("good chunks");
        assert_eq!(
            arrival,
            Arrival::Complete {
                end: bytes.len() - 5
            }
        );
        assert_eq!(content, b"abc0123456789");
    }

    #[test]
    fn garbage_between_chunks_is_refused() {
        for bytes in [
            &b"\r\n"[..],
            b"g\r\n",
            b" 3\r\nabc\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x3\r\nabc\r\n",
            b"3\nabc\r\n",
            b"3 3\r\nabc",
            b"3;a\nb\r\nabc",
            b"3\rabc",
            b"3\r\nabcd\r\n",
            b"3\r\nabc\n0\r\n",
            b"0\r\nbad trailer\r\n\r\n",
            b"0\r\nA: b\n\r\n",
            b"0\r\n\n",
        ] {
            let kind = decode(bytes).expect_err("garbage").kind();
            assert!(
                matches!(kind, Kind::Http(HttpFault::BadRequest(_))),
                "{bytes:?}: {kind}"
            );
        }
    }

    #[test]
    fn chunks_beyond_a_limit_are_refused_before_they_arrive() {
        for bytes in [
            &b"10001\r\n"[..],
            b"ffffffffffffffff\r\n",
            b"fffffffffffffffffffffffff\r\n",
        ] {
            let kind = decode(bytes).expect_err("too large").kind();
            assert_eq!(kind, Kind::Http(HttpFault::BodyTooLarge), "{bytes:?}");
        }
        let many = b"1\r\nx\r\n".repeat(20_000);
        let kind = decode(&many).expect_err("too much framing").kind();
        assert_eq!(kind, Kind::Http(HttpFault::BodyTooLarge));
        assert!(decode(&b"1;".repeat(200)).is_err());
    }

    #[test]
    fn the_outcome_does_not_depend_on_how_the_bytes_were_cut() {
        let bytes = b"3;a\r\nabc\r\n1\r\nd\r\n0\r\nA: b\r\n\r\n";
        let mut body = ChunkedBody::new(0, &Limits::DEFAULT);
        for end in 0..bytes.len() {
            let arrival = body
                .advance(&bytes[..end], &Limits::DEFAULT)
                .expect("a prefix is no fault");
            let Arrival::Partial { needed } = arrival else {
                panic!("complete at {end}")
            };
            assert!(needed > end && needed <= bytes.len(), "{needed} at {end}");
        }
        let arrival = body.advance(bytes, &Limits::DEFAULT).expect("good chunks");
        assert_eq!(arrival, Arrival::Complete { end: bytes.len() });
        assert_eq!(body.content(), b"abcd");
    }
}
