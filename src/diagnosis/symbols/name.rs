//! A name as tables hold it: packed by a grammar.

use super::half;
use core::fmt::{self, Write};

/// Bytes of a rule: the two symbols that it stands for.
pub(in crate::diagnosis) const RULE_BYTES: usize = 4;
/// Symbols below are characters.
const RULES_FROM: u16 = 128;
/// In a name, bytes below begin a rule of two bytes, bytes from the other on are rules.
const WIDE_BELOW: u8 = 32;
const NARROW_FROM: u8 = 127;
/// Rules that take one byte in a name.
pub(super) const NARROW_RULES: u16 = 256 - NARROW_FROM as u16;
/// Rules stand within rules to this depth at most.
const DEPTH_MAX: usize = 16;

/// A name of a table.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    bytes: &'a [u8],
    rules: &'a [u8],
}

impl<'a> Name<'a> {
    /// Takes a name that `rules` have packed, and the 0 behind it. The second byte of a rule may be 0 as well.
    pub(in crate::diagnosis) fn take(rest: &mut &'a [u8], rules: &'a [u8]) -> Option<Self> {
        let bytes = *rest;
        let mut len = 0;
        loop {
            match *bytes.get(len)? {
                0 => break,
                1..WIDE_BELOW => len += 2,
                _ => len += 1,
            }
        }
        *rest = bytes.get(len + 1..)?;
        let bytes = bytes.get(..len)?;
        Some(Self { bytes, rules })
    }

    /// Writes what a symbol stands for. It calls itself as deep as rules stand within rules.
    fn expand(&self, symbol: u16, depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(rule) = symbol.checked_sub(RULES_FROM) else {
            return f.write_char(char::from(symbol as u8));
        };
        let at = usize::from(rule) * RULE_BYTES;
        let parts = (half(self.rules, at), half(self.rules, at + 2), depth);
        let (Some(first), Some(second), 1..) = parts else {
            return f.write_char('?');
        };
        self.expand(first, depth - 1, f)?;
        self.expand(second, depth - 1, f)
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.bytes.iter();
        while let Some(&byte) = bytes.next() {
            let symbol = match byte {
                ..WIDE_BELOW => {
                    let low = bytes.next().copied().unwrap_or_default();
                    let wide = u16::from(byte.wrapping_sub(1)) << 8 | u16::from(low);
                    RULES_FROM + NARROW_RULES + wide
                }
                NARROW_FROM.. => RULES_FROM + u16::from(byte - NARROW_FROM),
                character => u16::from(character),
            };
            self.expand(symbol, DEPTH_MAX, f)?;
        }
        Ok(())
    }
}
