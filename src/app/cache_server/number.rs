//! Numbers as Redis reads them from text: strictly, with one way to write each.

use crate::error::{CommandFault, Error, Kind, Result, Subsystem};

/// Reads a signed 64-bit integer as Redis' `string2ll` does: no blanks, no `+`, no leading zeros, no
/// `-0`. `None` for anything else.
#[inline(never)]
pub(super) fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'0'] => Some(0),
        [b'-', digits @ ..] => {
            let magnitude = parse_magnitude(digits)?;
            (magnitude <= 1 << 63).then(|| 0_i64.wrapping_sub_unsigned(magnitude))
        }
        digits => i64::try_from(parse_magnitude(digits)?).ok(),
    }
}

/// Reads digits of which the first is not 0.
#[inline]
fn parse_magnitude(digits: &[u8]) -> Option<u64> {
    let (&first, rest) = digits.split_first()?;
    if !(b'1'..=b'9').contains(&first) || rest.len() > 19 {
        return None;
    }
    let mut value = u64::from(first - b'0');
    for &digit in rest {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
    }
    Some(value)
}

/// Reads an integer argument.
///
/// # Errors
/// `NotAnInteger`.
#[inline(never)]
pub(super) fn integer(text: &[u8]) -> Result<i64> {
    parse_i64(text).ok_or(refused(CommandFault::NotAnInteger))
}

/// The error for a command refused for that reason.
pub(super) const fn refused(fault: CommandFault) -> Error {
    Error::new(Subsystem::Cache, Kind::Command(fault))
}

/// The error for a command refused with that text, without the leading `-`.
pub(super) const fn refused_text(text: &'static str) -> Error {
    refused(CommandFault::Text(text))
}

/// Reads a size with Redis' suffixes: `k`, `m`, `g` are powers of 1000, `kb`, `mb`, `gb` of 1024.
pub(super) fn parse_size(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = core::str::from_utf8(number).ok()?.parse().ok()?;
    let mut lower = [0; 2];
    let lower = lower.get_mut(..unit.len())?;
    lower.copy_from_slice(unit);
    lower.make_ascii_lowercase();
    let scale: u64 = match &*lower {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_has_exactly_one_way_to_be_written() {
        for value in [0, 1, -1, 42, i64::MAX, i64::MIN, 1_000_000_007] {
            assert_eq!(parse_i64(std::format!("{value}").as_bytes()), Some(value));
        }
        for text in [
            "",
            "-",
            "+1",
            " 1",
            "1 ",
            "01",
            "-0",
            "00",
            "1x",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999999",
        ] {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn sizes_have_redis_suffixes_in_any_case() {
        let cases = [
            ("0", 0),
            ("100mb", 100 << 20),
            ("1k", 1000),
            ("2GB", 2 << 30),
            ("7b", 7),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text.as_bytes()), Some(bytes), "{text}");
        }
        for text in ["", "mb", "-1", "1tb", "1 mb", "99999999999gb"] {
            assert_eq!(parse_size(text.as_bytes()), None, "{text:?}");
        }
    }
}
