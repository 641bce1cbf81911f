//! The admin token: what a request must show before it may change something.
//!
//! It travels as RFC 6750 has it, `Authorization: Bearer TOKEN`. Without a token set, nobody may: an image that
//! was told none has no secret that could be guessed.
//!
//! Always true: neither the token nor what a request showed in its place is ever printed, and how long the
//! comparison takes tells the length of the token at most.

use super::fault::fault;
use super::request::Request;
use crate::error::{HttpFault, Result};
use crate::platform::boot_arguments::bad_value;
use core::fmt;
use core::hint::black_box;
use heapless::Vec;

/// Longest token in bytes: twice what a 512-bit one takes in hexadecimal.
const TOKEN_BYTES_MAX: usize = 256;

/// The admin token, if there is one. Each incarnation of HTTP has a copy, which takes no memory of the heap.
#[derive(Clone, Default)]
pub struct AdminToken(Option<Vec<u8, TOKEN_BYTES_MAX>>);

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "set" } else { "none" })
    }
}

impl AdminToken {
    /// None: what needs it is forbidden.
    pub const NONE: Self = Self(None);

    /// The token `value`, given as the setting `key`.
    ///
    /// # Errors
    /// `BadValue`, which names the key alone, unless it is 1 to 256 of the characters of a bearer token.
    pub fn new(key: &str, value: &str) -> Result<Self> {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        match Vec::from_slice(value.as_bytes()) {
            Ok(token) if !token.is_empty() && value.bytes().all(is_token) => Ok(Self(Some(token))),
            _ => Err(bad_value(
                key,
                "1 to 256 letters, digits and -._~+/= characters",
            )),
        }
    }

    /// Lets a request pass that shows the token.
    ///
    /// # Errors
    /// `Forbidden` if there is none to show; `Unauthorized` without it, or with another, or with two.
    pub(super) fn check(&self, request: &Request<'_>) -> Result<()> {
        let Some(token) = &self.0 else {
            return Err(fault(HttpFault::Forbidden));
        };
        let mut shown = request.field_values("authorization");
        match (shown.next().and_then(bearer), shown.next()) {
            (Some(shown), None) if are_equal(token, shown) => Ok(()),
            _ => Err(fault(HttpFault::Unauthorized)),
        }
    }
}

/// The token of an `Authorization` field of the scheme Bearer; the scheme's name is in any case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| rest.trim_ascii())
}

/// Compares every byte of `token`, whatever the first ones show.
fn are_equal(token: &[u8], shown: &[u8]) -> bool {
    let mut difference = token.len() ^ shown.len();
    for (at, &byte) in token.iter().enumerate() {
        let other = shown.get(at).copied().unwrap_or(!byte);
        // Opaque to the compiler, which may not leave the loop when it knows the outcome.
        difference = black_box(difference | usize::from(byte ^ other));
    }
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use std::format;

    #[test]
    fn a_token_that_cannot_be_sent_is_refused_without_being_told() {
        let long = "x".repeat(257);
        for value in ["", "two words", "tab\t", "quote\"", "ünïcode", &long] {
            let error = AdminToken::new("admin-token", value).expect_err(value);
            assert!(matches!(error.kind(), Kind::BadValue { .. }), "{value}");
            let told = format!("{error} {error:?}");
            assert!(value.is_empty() || !told.contains(value), "{told}");
        }
        let token = AdminToken::new("admin-token", "AZaz09-._~+/==").expect("a token");
        assert_eq!(format!("{token:?}"), "set");
    }

    #[test]
    fn tokens_are_equal_in_every_byte_and_in_length() {
        assert!(are_equal(b"token", b"token"));
        for other in [
            &b""[..],
            b"t",
            b"toke",
            b"tokem",
            b"Token",
            b"token1",
            b"tokentoken",
        ] {
            assert!(!are_equal(b"token", other), "{other:?}");
        }
    }
}
