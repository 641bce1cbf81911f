//! Boot arguments: `nos.KEY=VALUE` words in `/chosen/bootargs`.
//!
//! Words without the `nos.` prefix belong to others and are passed over. A later word of the same key wins.

use crate::error::{Error, Kind, Result, ShortText, Subsystem};

/// The keys and values of nos, in order; a word without `=` has an empty value.
pub fn parse(arguments: &str) -> impl Iterator<Item = (&str, &str)> {
    arguments
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix("nos."))
        .map(|word| word.split_once('=').unwrap_or((word, "")))
}

/// A value that cannot be used.
pub fn bad_value(key: &str, expected: &'static str) -> Error {
    Error::new(
        Subsystem::Platform,
        Kind::BadValue {
            key: ShortText::new(key),
            expected,
        },
    )
}

/// A key that no part knows.
pub fn unknown(key: &str) -> Error {
    Error::new(
        Subsystem::Platform,
        Kind::UnknownArgument {
            key: ShortText::new(key),
        },
    )
}

/// Bytes as people write them: `1048576`, `64kb`, `100mb`, `1gb`, and `k`, `m`, `g` for powers of 1,000
/// (Redis' configuration file has the same units).
///
/// # Errors
/// `BadValue` naming the key.
pub fn bytes(key: &str, value: &str) -> Result<u64> {
    let refused = || bad_value(key, "bytes, such as 1048576, 64mb or 1gb");
    let digits = value
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let unit = match unit {
        "" | "b" | "B" => 1,
        _ if unit.eq_ignore_ascii_case("k") => 1_000,
        _ if unit.eq_ignore_ascii_case("kb") => 1 << 10,
        _ if unit.eq_ignore_ascii_case("m") => 1_000_000,
        _ if unit.eq_ignore_ascii_case("mb") => 1 << 20,
        _ if unit.eq_ignore_ascii_case("g") => 1_000_000_000,
        _ if unit.eq_ignore_ascii_case("gb") => 1 << 30,
        _ => return Err(refused()),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(unit))
        .ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn only_words_of_nos_are_taken() {
        let pairs: Vec<_> = parse("console=ttyAMA0 nos.log=debug nos.flag  nos.a=b=c").collect();
        assert_eq!(pairs, [("log", "debug"), ("flag", ""), ("a", "b=c")]);
    }

    #[test]
    fn sizes_have_the_units_of_a_redis_configuration_file() {
        assert_eq!(bytes("maxmemory", "100mb"), Ok(100 << 20));
        assert_eq!(bytes("maxmemory", "1GB"), Ok(1 << 30));
        assert_eq!(bytes("maxmemory", "5k"), Ok(5_000));
        assert_eq!(bytes("maxmemory", "0"), Ok(0));
        for bad in ["", "mb", "-1", "1tb", "99999999999gb", "1.5gb"] {
            let error = bytes("maxmemory", bad).expect_err(bad);
            assert!(
                matches!(error.kind(), Kind::BadValue { key, .. } if key.as_str() == "maxmemory")
            );
        }
    }
}
