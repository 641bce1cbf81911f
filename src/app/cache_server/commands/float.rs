//! The floating point numbers of INCRBYFLOAT: x87 extended precision in integer arithmetic.
//!
//! Redis adds in `long double`, which on x86 has a significand of 64 bits, and prints with 17 decimals, so
//! the last digits show the format. This follows it bit for bit: reading and adding round to nearest, ties
//! to even, and printing is exact. Text is read as C's `strtold` reads it: decimal, hexadecimal, infinity.

use super::natural::Natural;
use crate::app::cache_server::number::parse_i64;
use crate::app::cache_server::word::Word;
use crate::error::{Grow, Result};
use alloc::vec::Vec;

/// The longest text that is read as a number (Redis' `MAX_LONG_DOUBLE_CHARS`).
const TEXT_BYTES_MAX: usize = 5 * 1024;
/// Numbers of 2^16384 and more are infinite.
const EXPONENT_MAX: i32 = 16_384;
/// 2^-16445 is the least number; half of it and less is zero, which is an error for `strtold`.
const EXPONENT_MIN: i32 = -16_445;
/// Decimals printed, before zeros at the end are cut.
const DECIMALS: u32 = 17;
/// Decimal exponents beyond these bounds are infinite, or zero, whatever the digits.
const DECIMAL_EXPONENT_MAX: i64 = 20_000;

/// A number `significand * 2^exponent`; the significand's top bit is set unless it is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extended {
    is_negative: bool,
    significand: u64,
    exponent: i32,
    is_infinite: bool,
}

impl Extended {
    /// 0.
    pub(super) const ZERO: Self = Self {
        is_negative: false,
        significand: 0,
        exponent: 0,
        is_infinite: false,
    };

    /// Reads a number or infinity; `None` for anything else, and for what is too large or too small.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= TEXT_BYTES_MAX {
            return None;
        }
        let (is_negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if text.is_word(b"inf") || text.is_word(b"infinity") {
            return Some(Self {
                is_negative,
                is_infinite: true,
                ..Self::ZERO
            });
        }
        match text {
            [b'0', b'x' | b'X', rest @ ..] => Self::parse_hexadecimal(is_negative, rest),
            _ => Self::parse_decimal(is_negative, text),
        }
    }

    fn parse_decimal(is_negative: bool, text: &[u8]) -> Option<Self> {
        let Digits {
            mut number,
            decimals,
            exponent,
        } = Digits::parse(text, 10, b'e')?;
        if number.is_zero() {
            return Some(Self {
                is_negative,
                ..Self::ZERO
            });
        }
        let exponent = exponent - decimals;
        if exponent.abs() > DECIMAL_EXPONENT_MAX {
            return None;
        }
        let mut divisor = Natural::one()?;
        let scaled = if exponent < 0 {
            &mut divisor
        } else {
            &mut number
        };
        for _ in 0..exponent.unsigned_abs() {
            scaled.multiply_add(10, 0)?;
        }
        let (quotient, binary_exponent) = number.divide(divisor)?;
        Self::round(is_negative, quotient, binary_exponent).if_in_range()
    }

    /// Reads what follows `0x`: digits, and a binary exponent after `p`.
    fn parse_hexadecimal(is_negative: bool, text: &[u8]) -> Option<Self> {
        let Digits {
            number,
            decimals,
            exponent,
        } = Digits::parse(text, 16, b'p')?;
        if number.is_zero() {
            return Some(Self {
                is_negative,
                ..Self::ZERO
            });
        }
        let (quotient, binary_exponent) = number.divide(Natural::one()?)?;
        // All three are bounded by the length of the text and by `EXPONENT_BEYOND`.
        let exponent = i64::from(binary_exponent) + exponent - 4 * decimals;
        Self::round(is_negative, quotient, exponent as i32).if_in_range()
    }

    /// `None` for what rounding made infinite or zero.
    fn if_in_range(self) -> Option<Self> {
        (!self.is_infinite && self.significand != 0).then_some(self)
    }

    /// The sum; `None` if it is infinite or no number.
    pub(super) fn add(self, other: Self) -> Option<Self> {
        if self.is_infinite || other.is_infinite {
            return None;
        }
        if self.significand == 0 || other.significand == 0 {
            return Some(if self.significand == 0 { other } else { self });
        }
        let (high, low) = if self.exponent >= other.exponent {
            (self, other)
        } else {
            (other, self)
        };
        // The higher number keeps up to 63 bits below it; what of the lower one lies further below only
        // has to be known to be there.
        let distance = high.exponent.abs_diff(low.exponent);
        let shift = distance.min(63);
        let above = u128::from(high.significand) << shift;
        let lost = distance - shift;
        let kept = u128::from(low.significand.checked_shr(lost).unwrap_or(0));
        let has_more = lost > 0 && low.significand.trailing_zeros() < lost;
        let below = kept | u128::from(has_more);
        let exponent = high.exponent - shift as i32;
        let (is_negative, sum) = if high.is_negative == low.is_negative {
            (high.is_negative, above + below)
        } else if above >= below {
            (high.is_negative, above - below)
        } else {
            (low.is_negative, below - above)
        };
        let sum = Self::round(is_negative && sum != 0, sum, exponent);
        (!sum.is_infinite).then_some(sum)
    }

    /// Its text with 17 decimals, less the zeros at the end.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn to_text(self) -> Result<Vec<u8>> {
        let mut digits = self.decimal_digits()?;
        let decimals = DECIMALS as usize;
        while digits.len() <= decimals {
            digits.insert_reserved(0, b'0');
        }
        digits.insert_reserved(digits.len() - decimals, b'.');
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        if digits.last() == Some(&b'.') {
            digits.pop();
        }
        if self.is_negative && digits != b"0" {
            digits.insert_reserved(0, b'-');
        }
        Ok(digits)
    }

    /// The digits of the number times 10^17, rounded to an integer.
    fn decimal_digits(self) -> Result<Vec<u8>> {
        let scaled = u128::from(self.significand) * 10_u128.pow(DECIMALS);
        let mut digits = Vec::new();
        digits.try_reserve(TEXT_BYTES_MAX)?;
        if self.exponent < 0 {
            let shift = self.exponent.unsigned_abs();
            let whole = scaled.checked_shr(shift).unwrap_or(0);
            let rest = scaled - whole.checked_shl(shift).unwrap_or(0);
            let half = 1_u128.checked_shl(shift - 1).unwrap_or(u128::MAX);
            let rounds_up = rest > half || rest == half && whole % 2 == 1;
            let text = itoa::Buffer::new()
                .format(whole + u128::from(rounds_up))
                .len();
            digits.resize_reserved(text, b'0');
            digits.copy_from_slice(
                itoa::Buffer::new()
                    .format(whole + u128::from(rounds_up))
                    .as_bytes(),
            );
            return Ok(digits);
        }
        let no_memory = crate::error::Error::new(
            crate::error::Subsystem::Cache,
            crate::error::Kind::OutOfMemory {
                requested_bytes: TEXT_BYTES_MAX,
            },
        )
        .caused_by("a number's digits");
        let mut number = Natural::from_u128(scaled).ok_or(no_memory)?;
        number
            .shift_left(self.exponent.unsigned_abs())
            .ok_or(no_memory)?;
        while !number.is_zero() {
            digits.push_reserved(b'0' + number.divide_small(10) as u8);
        }
        digits.reverse();
        Ok(digits)
    }

    /// Rounds `value * 2^exponent` to 64 significant bits. A set bit 0 of a value beyond 64 bits may
    /// stand for any bits further down.
    fn round(is_negative: bool, value: u128, exponent: i32) -> Self {
        if value == 0 {
            return Self {
                is_negative,
                ..Self::ZERO
            };
        }
        let excess = 128 - value.leading_zeros();
        if excess <= 64 {
            let shift = 64 - excess;
            let significand = (value as u64) << shift;
            return Self::bounded(is_negative, significand, exponent - shift as i32);
        }
        let shift = excess - 64;
        let (whole, rest) = (value >> shift, value & ((1 << shift) - 1));
        let half = 1_u128 << (shift - 1);
        let whole = whole + u128::from(rest > half || rest == half && whole % 2 == 1);
        // Rounding up may carry into a 65th bit, and all others are then 0.
        let carry = (whole >> 64) as u32;
        Self::bounded(
            is_negative,
            (whole >> carry) as u64,
            exponent + (shift + carry) as i32,
        )
    }

    fn bounded(is_negative: bool, significand: u64, exponent: i32) -> Self {
        if exponent + 64 > EXPONENT_MAX {
            return Self {
                is_negative,
                is_infinite: true,
                ..Self::ZERO
            };
        }
        let top = exponent + 64;
        // A tie between the least number and zero goes to zero, which is even.
        let is_tie = top == EXPONENT_MIN && significand == 1 << 63;
        if top < EXPONENT_MIN || is_tie {
            return Self {
                is_negative,
                ..Self::ZERO
            };
        }
        Self {
            is_negative,
            significand,
            exponent,
            is_infinite: false,
        }
    }
}

/// An exponent that is as good as any beyond it.
const EXPONENT_BEYOND: i64 = 4 * DECIMAL_EXPONENT_MAX;

/// A number as it is written: digits, of which some stand after the point, and an exponent.
struct Digits {
    number: Natural,
    decimals: i64,
    exponent: i64,
}

impl Digits {
    /// Reads digits to that base, and an exponent in decimal after `mark` in either case.
    fn parse(text: &[u8], base: u32, mark: u8) -> Option<Self> {
        let (digits, exponent) = match text.iter().position(|b| b.eq_ignore_ascii_case(&mark)) {
            Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let point = digits
            .iter()
            .position(|&b| b == b'.')
            .unwrap_or(digits.len());
        let fraction = digits.get(point + 1..).unwrap_or_default();
        if digits.len() == usize::from(point < digits.len()) {
            return None;
        }
        let mut number = Natural::default();
        for &digit in digits[..point].iter().chain(fraction) {
            number.multiply_add(base, char::from(digit).to_digit(base)?)?;
        }
        Some(Self {
            number,
            decimals: fraction.len() as i64,
            exponent,
        })
    }
}

/// Reads the digits of an exponent; numbers beyond any exponent in use are cut to what is as good.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        _ => (1, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let zeros = digits.iter().take_while(|&&b| b == b'0').count();
    let significant = &digits[zeros..];
    let value = if significant.is_empty() {
        0
    } else {
        parse_i64(significant)
            .unwrap_or(EXPONENT_BEYOND)
            .min(EXPONENT_BEYOND)
    };
    Some(sign * value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn sum(one: &str, other: &str) -> Option<String> {
        let (one, other) = (
            Extended::parse(one.as_bytes())?,
            Extended::parse(other.as_bytes())?,
        );
        let text = one.add(other)?.to_text().expect("memory");
        Some(String::from_utf8(text).expect("digits"))
    }

    #[test]
    fn sums_have_the_digits_that_redis_prints_on_x86() {
        for (one, other, text) in [
            ("10.5", "0.1", "10.6"),
            ("5.0e3", "200", "5200"),
            ("0", "3.14159265358979323846", "3.14159265358979324"),
            ("1.1", "-1.1", "0"),
            ("-1.5", "0.25", "-1.25"),
            ("0", "1e-18", "0"),
            ("0", "-1e-18", "0"),
            ("0", "1e20", "100000000000000000000"),
            ("1000", "0.1", "1000.09999999999999998"),
            ("9223372036854775807", "1", "9223372036854775808"),
            (".5", "5.", "5.5"),
            ("+1", "1e0", "2"),
            ("1e17", "1e-17", "100000000000000000"),
            ("0x10", "0", "16"),
            ("0X.8p-2", "-0x1.8P+1", "-2.875"),
            ("0x1p-16445", "1", "1"),
            ("0x1.8p-16446", "1", "1"),
        ] {
            assert_eq!(sum(one, other).as_deref(), Some(text), "{one} + {other}");
        }
    }

    #[test]
    fn what_is_no_number_or_not_finite_is_refused() {
        for text in [
            "",
            ".",
            "+",
            "e5",
            "1e",
            "1 ",
            " 1",
            "abc",
            "nan",
            "1.2.3",
            "1e-9999",
            "0x",
            "0x.",
            "0xp4",
            "0x1p",
            "0x1g",
            "0x1p99999",
            "0x1p-16446",
            "1e-4951",
            "nan(1)",
            "x1",
        ] {
            assert_eq!(Extended::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(sum("inf", "1"), None);
        assert_eq!(sum("1e4932", "1e4932"), None);
        assert_eq!(Extended::parse(b"1e99999999999999999999"), None);
    }

    #[test]
    fn numbers_with_few_bits_are_read_and_printed_without_change() {
        for eighths in -4000_i64..4000 {
            let text = std::format!("{}", eighths as f64 / 8.0);
            assert_eq!(sum(&text, "0").as_deref(), Some(&*text));
        }
    }
}
