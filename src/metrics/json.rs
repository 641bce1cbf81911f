//! A JSON writer (RFC 8259): values are appended to a page as they come, nothing is kept in between.
//!
//! serde_json would bring a tree, float formatting and tens of kilobytes of image for pages that are a
//! few nested objects of names and whole numbers.
//!
//! Always true: what is on the page is a prefix of valid JSON, provided that the caller names each member
//! of an object ([`Json::member`]) and closes what it opens, which the closures of [`Json::object`] and
//! [`Json::array`] see to. Text that is not UTF-8 cannot get in. Memory that runs out is remembered and told
//! by [`Json::finish`].

use super::Value;
use super::encoder::Digits;
use crate::error::{Grow, Result};
use alloc::vec::Vec;

/// One page of JSON under construction.
pub struct Json<'a> {
    page: &'a mut Vec<u8>,
    needs_comma: bool,
    outcome: Result<()>,
}

impl<'a> Json<'a> {
    /// Starts at the end of `page`.
    pub const fn new(page: &'a mut Vec<u8>) -> Self {
        Self {
            page,
            needs_comma: false,
            outcome: Ok(()),
        }
    }

    /// Writes an object whose members `members` writes.
    pub fn object(&mut self, members: impl FnOnce(&mut Self)) {
        self.nest(b'{', b'}', members);
    }

    /// Writes an array whose elements `elements` writes.
    pub fn array(&mut self, elements: impl FnOnce(&mut Self)) {
        self.nest(b'[', b']', elements);
    }

    /// Names the member of an object whose value is written next.
    pub fn member(&mut self, name: &str) -> &mut Self {
        self.text(name);
        self.put(b":");
        self.needs_comma = false;
        self
    }

    /// Writes a string.
    pub fn text(&mut self, text: &str) {
        self.separate();
        self.put(b"\"");
        let mut rest = text.as_bytes();
        while let Some(at) = rest
            .iter()
            .position(|&byte| byte < b' ' || byte == b'"' || byte == b'\\')
        {
            self.put(&rest[..at]);
            self.put_escaped(rest[at]);
            rest = &rest[at + 1..];
        }
        self.put(rest);
        self.put(b"\"");
    }

    /// Writes a number: whole, or with the decimals that its unit asks for.
    #[inline(never)]
    pub fn number(&mut self, value: Value) {
        self.separate();
        self.put(Digits::of(value).as_bytes());
    }

    /// Writes a truth value.
    pub fn boolean(&mut self, is_true: bool) {
        self.separate();
        self.put(if is_true { b"true" } else { b"false" });
    }

    /// Writes the absence of a value.
    pub fn null(&mut self) {
        self.separate();
        self.put(b"null");
    }

    /// Writes what was written as a value before.
    pub fn written(&mut self, value: &str) {
        self.separate();
        self.put(value.as_bytes());
    }

    /// Ends the page with a line feed, for who reads it in a terminal.
    ///
    /// # Errors
    /// `OutOfMemory` if the page could not hold it all; what it holds then is to be thrown away.
    pub fn finish(mut self) -> Result<()> {
        self.put(b"\n");
        self.outcome
    }

    fn nest(&mut self, open: u8, close: u8, inner: impl FnOnce(&mut Self)) {
        self.separate();
        self.put(&[open]);
        self.needs_comma = false;
        inner(self);
        self.put(&[close]);
        self.needs_comma = true;
    }

    fn separate(&mut self) {
        if self.needs_comma {
            self.put(b",");
        }
        self.needs_comma = true;
    }

    fn put_escaped(&mut self, byte: u8) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        match byte {
            b'"' | b'\\' => self.put(&[b'\\', byte]),
            b'\n' => self.put(b"\\n"),
            _ => {
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                self.put(&[b'\\', b'u', b'0', b'0', DIGITS[high], DIGITS[low]]);
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.has_room(bytes.len()) {
            self.page.append_reserved(bytes);
        }
    }

    /// Makes room for `len` bytes; false if there is none, now or before.
    fn has_room(&mut self, len: usize) -> bool {
        if self.outcome.is_ok()
            && let Err(error) = self.page.try_reserve(len)
        {
            self.outcome = Err(error.into());
        }
        self.outcome.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn page(write: impl FnOnce(&mut Json<'_>)) -> String {
        let mut page = Vec::new();
        let mut json = Json::new(&mut page);
        write(&mut json);
        json.finish().expect("the host has memory");
        String::from_utf8(page).expect("JSON is text")
    }

    #[test]
    fn members_and_elements_are_separated_by_commas_and_nothing_else() {
        let text = page(|json| {
            json.object(|json| {
                json.member("a").array(|_| {});
                json.member("b").array(|json| {
                    json.number(Value::Whole(1));
                    json.object(|json| json.member("c").null());
                    json.object(|_| {});
                    json.number(Value::Millionths(250_000));
                });
                json.member("d").boolean(true);
            });
        });
        assert_eq!(
            text,
            "{\"a\":[],\"b\":[1,{\"c\":null},{},0.25],\"d\":true}\n"
        );
    }

    #[test]
    fn text_is_escaped_where_json_asks_for_it() {
        let text = page(|json| json.text("a\"b\\c\nd\u{1}e\u{1f}é\u{7f}"));
        assert_eq!(text, "\"a\\\"b\\\\c\\nd\\u0001e\\u001fé\u{7f}\"\n");
    }
}
