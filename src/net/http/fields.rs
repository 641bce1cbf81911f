//! What the header fields say of the message and its connection: host, framing, persistence.
//!
//! The rules are those of RFC 9110, 7.2 and 8.6, and RFC 9112, 6 and 9. Wherever 9112 speaks of possible
//! smuggling, or lets a recipient choose a reading, the message is refused.

use super::fault::{bad, fault};
use super::request::{Framing, Limits};
use super::response::Persistence;
use crate::error::{HttpFault, Result};
use httparse::Header;

/// What the fields say of the message and the connection.
#[derive(Default)]
pub(super) struct Summary<'b> {
    pub(super) has_host: bool,
    content_length: Option<&'b [u8]>,
    transfer_encoding: Option<&'b [u8]>,
    closes: bool,
    keeps: bool,
    pub(super) expects_continue: bool,
}

impl<'b> Summary<'b> {
    /// Reads the fields that matter here; told apart by length first, as most matter only to handlers.
    pub(super) fn of(fields: &[Header<'b>]) -> Result<Self> {
        let mut summary = Self::default();
        for field in fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            match field.name.len() {
                // As most write them, which a load or two tell.
                4 if field.name == "Host" || is("host") => {
                    if summary.has_host {
                        return Err(bad("two Host fields"));
                    }
                    if !field
                        .value
                        .iter()
                        .all(|&byte| HOST_BYTES[usize::from(byte)])
                    {
                        return Err(bad("bad Host field"));
                    }
                    summary.has_host = true;
                }
                6 if is("expect") => {
                    summary.expects_continue = field.value.eq_ignore_ascii_case(b"100-continue");
                }
                10 if field.name == "Connection" || is("connection") => match field.value {
                    // As most say it.
                    b"close" => summary.closes = true,
                    b"keep-alive" => summary.keeps = true,
                    _ => summary.note_options(field.value),
                },
                14 if is("content-length") => {
                    let slot = &mut summary.content_length;
                    set_once(slot, field.value, "two Content-Length fields")?;
                }
                17 if is("transfer-encoding") => {
                    let slot = &mut summary.transfer_encoding;
                    set_once(slot, field.value, "two Transfer-Encoding fields")?;
                }
                _ => {}
            }
        }
        Ok(summary)
    }

    /// The options of a Connection field.
    fn note_options(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',') {
            let option = option.trim_ascii();
            self.closes |= option.eq_ignore_ascii_case(b"close");
            self.keeps |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// RFC 9112, 6.3, with a refusal wherever it speaks of possible smuggling.
    pub(super) fn framing(&self, version: u8, limits: &Limits) -> Result<Framing> {
        let Some(coding) = self.transfer_encoding else {
            return match self.content_length {
                None => Ok(Framing::Length(0)),
                Some(digits) => content_length(digits, limits).map(Framing::Length),
            };
        };
        if self.content_length.is_some() {
            return Err(bad("both Content-Length and Transfer-Encoding"));
        }
        if version == 0 {
            return Err(bad("Transfer-Encoding in HTTP/1.0"));
        }
        if coding.eq_ignore_ascii_case(b"chunked") {
            return Ok(Framing::Chunked);
        }
        let mut codings = coding.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        let last_is_chunked = codings
            .next_back()
            .is_some_and(|name| name.eq_ignore_ascii_case(b"chunked"));
        let chunked_before = codings.any(|name| name.eq_ignore_ascii_case(b"chunked"));
        if chunked_before || (last_is_chunked && coding.starts_with(b",")) {
            return Err(bad("bad Transfer-Encoding"));
        }
        Err(fault(HttpFault::NotImplemented("transfer coding")))
    }

    /// RFC 9112, 9.3.
    pub(super) fn persistence(&self, version: u8) -> Persistence {
        match version {
            _ if self.closes => Persistence::Close,
            0 if self.keeps => Persistence::KeepAsAsked,
            0 => Persistence::Close,
            _ => Persistence::Keep,
        }
    }
}

fn set_once<'b>(slot: &mut Option<&'b [u8]>, value: &'b [u8], twice: &'static str) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(bad(twice)),
    }
}

fn content_length(digits: &[u8], limits: &Limits) -> Result<usize> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(bad("bad Content-Length"));
    }
    let length = digits.iter().fold(0_usize, |length, digit| {
        length
            .saturating_mul(10)
            .saturating_add(usize::from(digit - b'0'))
    });
    if length > limits.body_bytes {
        return Err(fault(HttpFault::BodyTooLarge));
    }
    Ok(length)
}

/// What a host and port are made of (RFC 3986, 3.2.2 and 3.2.3), by byte.
static HOST_BYTES: [bool; 256] = {
    let mut is_host_byte = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        is_host_byte[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let marks = b"-._~%!$&'()*+,;=:[]";
    let mut i = 0;
    while i < marks.len() {
        is_host_byte[marks[i] as usize] = true;
        i += 1;
    }
    is_host_byte
};
