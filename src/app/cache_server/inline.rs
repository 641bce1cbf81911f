//! Inline requests: a line split at blanks, with quotes and escapes, as Redis' `sdssplitargs`.

use super::resp::{Range, protocol_error};
use crate::error::{Grow, Result};
use alloc::vec::Vec;

/// Splits `line`: appends the arguments to `unquoted`, and where they are to `ranges`.
///
/// # Errors
/// `Protocol` for unbalanced quotes; `OutOfMemory`.
pub(super) fn split(line: &[u8], unquoted: &mut Vec<u8>, ranges: &mut Vec<Range>) -> Result<()> {
    unquoted.try_reserve(line.len())?;
    // As in C, a NUL ends the line.
    let line = line.split(|&b| b == 0).next().unwrap_or_default();
    let mut bytes = line.iter().copied().peekable();
    loop {
        while bytes.next_if(|&b| is_space(b)).is_some() {}
        if bytes.peek().is_none() {
            return Ok(());
        }
        let start = unquoted.len();
        while let Some(byte) = bytes.next_if(|&b| !is_space(b)) {
            if byte != b'"' && byte != b'\'' {
                unquoted.push_reserved(byte);
                continue;
            }
            unquote(byte, &mut bytes, unquoted)
                .filter(|()| bytes.peek().is_none_or(|&b| is_space(b)))
                .ok_or(protocol_error("unbalanced quotes in request"))?;
        }
        ranges.try_reserve(1)?;
        let len = unquoted.len() - start;
        ranges.push_reserved(Range {
            start: start as u32,
            len: len as u32,
        });
    }
}

fn is_space(byte: u8) -> bool {
    byte == b' ' || (b'\t'..=b'\r').contains(&byte)
}

/// Reads up to the closing quote; `None` if there is none.
fn unquote(
    quote: u8,
    bytes: &mut core::iter::Peekable<impl Iterator<Item = u8> + Clone>,
    into: &mut Vec<u8>,
) -> Option<()> {
    loop {
        let byte = bytes.next()?;
        if byte == quote {
            return Some(());
        }
        if byte != b'\\' {
            into.push_reserved(byte);
            continue;
        }
        if quote == b'\'' {
            // Between single quotes only the quote itself can be escaped.
            into.push_reserved(bytes.next_if_eq(&b'\'').unwrap_or(b'\\'));
            continue;
        }
        let mut ahead = bytes.clone();
        let hex = |byte: Option<u8>| char::from(byte?).to_digit(16).map(|digit| digit as u8);
        if ahead.next() == Some(b'x')
            && let Some(high) = hex(ahead.next())
            && let Some(low) = hex(ahead.next())
        {
            into.push_reserved(high << 4 | low);
            *bytes = ahead;
            continue;
        }
        into.push_reserved(match bytes.next()? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'b' => 8,
            b'a' => 7,
            other => other,
        });
    }
}
