//! Orders to arm or disarm a point, as they come from outside: pairs of a key and a value.
//!
//! Three ways to write one: `POINT:key=value,...` (boot argument), `point=POINT&key=value` (a form) and
//! `{"point":"POINT","key":value}`, a flat object of JSON without escapes, as the page shows each point.

use crate::error::{Error, HttpFault, Kind, Result, Subsystem};
use heapless::Vec;

/// Pairs of one order: those of a row of the page, and some to spare.
const PAIRS_MAX: usize = 20;

/// The pairs of one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairs<'a>(Vec<(&'a str, &'a str), PAIRS_MAX>);

fn malformed(what: &'static str) -> Error {
    Error::new(Subsystem::Http, Kind::Http(HttpFault::BadRequest(what)))
}

impl<'a> Pairs<'a> {
    /// Reads `POINT:key=value,key=value`; the point alone is an order, too.
    ///
    /// # Errors
    /// `BadRequest` where a key has no value, or there are too many.
    pub fn of_words(text: &'a str) -> Result<Self> {
        let (point, knobs) = text.split_once(':').unwrap_or((text, ""));
        let mut pairs = Self(Vec::new());
        pairs.add("point", point)?;
        pairs.add_all(knobs, ',')?;
        Ok(pairs)
    }

    /// Reads the body of a POST: a form, or a flat object of JSON.
    ///
    /// # Errors
    /// `BadRequest`, which says what is malformed.
    pub fn of_body(body: &'a [u8]) -> Result<Self> {
        let body = core::str::from_utf8(body).map_err(|_| malformed("the body is not text"))?;
        let mut pairs = Self(Vec::new());
        let body = body.trim_ascii();
        match body.strip_prefix('{') {
            Some(members) => pairs.add_members(members)?,
            None => pairs.add_all(body, '&')?,
        }
        Ok(pairs)
    }

    /// The value of `key`, if it is there; the last one, if there are several.
    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        let mut same = self.iter().filter(|&(other, _)| other == key);
        same.next_back().map(|(_, value)| value)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&'a str, &'a str)> + '_ {
        self.0.iter().copied()
    }

    fn add(&mut self, key: &'a str, value: &'a str) -> Result<()> {
        let room = self.0.push((key, value));
        room.map_err(|_| malformed("more than 20 pairs"))
    }

    fn add_all(&mut self, text: &'a str, between: char) -> Result<()> {
        for pair in text.split(between).filter(|pair| !pair.is_empty()) {
            let pair = pair.split_once('=');
            let (key, value) = pair.ok_or(malformed("a key without `=` and a value"))?;
            self.add(key, value)?;
        }
        Ok(())
    }

    /// Reads the rest of a flat object: members and the closing brace.
    fn add_members(&mut self, mut rest: &'a str) -> Result<()> {
        if rest.trim_ascii() == "}" {
            return Ok(());
        }
        loop {
            let key = string(&mut rest).ok_or(malformed("a JSON key that is no plain string"))?;
            next(&mut rest, ':').ok_or(malformed("no colon after a JSON key"))?;
            let value = match string(&mut rest) {
                Some(text) => text,
                None => word(&mut rest)
                    .ok_or(malformed("a JSON value that is neither text nor a number"))?,
            };
            // As the page shows `times` without an end.
            self.add(key, if value == "null" { "-1" } else { value })?;
            if next(&mut rest, ',').is_none() {
                break;
            }
        }
        let end = next(&mut rest, '}').filter(|()| rest.trim_ascii().is_empty());
        end.ok_or(malformed(
            "a JSON object that does not end where the body does",
        ))
    }
}

/// Takes that character, and blanks before it.
fn next(rest: &mut &str, wanted: char) -> Option<()> {
    *rest = rest.trim_ascii_start().strip_prefix(wanted)?;
    Some(())
}

/// Takes a string without escapes, and blanks before it.
fn string<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let (text, after) = rest.trim_ascii_start().strip_prefix('"')?.split_once('"')?;
    if text.bytes().any(|byte| byte == b'\\') {
        return None;
    }
    *rest = after;
    Some(text)
}

/// Takes a number or a word, and blanks before it.
fn word<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let text = rest.trim_ascii_start();
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let end = text.bytes().position(|byte| !is_part(byte));
    let (word, after) = text.split_at(end.unwrap_or(text.len()));
    *rest = after;
    (!word.is_empty()).then_some(word)
}
