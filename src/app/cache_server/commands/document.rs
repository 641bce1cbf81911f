//! What COMMAND says of commands beyond the table: `documents.txt`, which lies packed in the image.
//!
//! The text has a paragraph for each command and subcommand, lines that each begin with a mark:
//!
//! | mark | the rest of the line |
//! | --- | --- |
//! | `:` | name, the version that had it first, group |
//! | `=` | summary |
//! | `~` | complexity, if it is not `O(1)`; nothing for none |
//! | `!` | flags |
//! | `@` | ACL categories that do not follow from the flags |
//! | `^` | a tip |
//! | `#` | a key specification: index of the first key, last key, step, limit, flags |
//! | `;` | notes on the key specification before |
//! | `$` | documentation flags |
//! | `-` | deprecated since |
//! | `+` | replaced by |
//! | `*` | a change: version, text |
//! | `%` | arguments, see [`Argument`] |
//!
//! Text rather than tables of Rust: it is a third of the size, and read only when somebody asks. Packed it is half as
//! much again: `build.rs` writes a byte from 128 on for a pair of bytes that is frequent, which may be such bytes
//! themselves (byte pair encoding: Gage, "A New Algorithm for Data Compression", 1994).

use crate::error::{Grow, Result};
use alloc::vec::Vec;

/// The number of pairs, the pairs, and the text in bytes that are either its own or stand for pairs.
static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/documents.packed"));
/// What bytes of the text itself are below.
const PAIRS_FROM: u8 = 128;

/// All documents.
pub(super) struct Documents(Vec<u8>);

impl Documents {
    /// Unpacks them.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn read() -> Result<Self> {
        let mut text = Vec::new();
        if let Some((&count, rest)) = PACKED.split_first()
            && let Some((pairs, packed)) = rest.split_at_checked(2 * usize::from(count))
        {
            for &byte in packed {
                unpack(byte, pairs, &mut text)?;
            }
        }
        Ok(Self(text))
    }

    /// All, each container before its subcommands.
    pub(super) fn all(&self) -> impl Iterator<Item = Document<'_>> {
        let text = core::str::from_utf8(&self.0).unwrap_or_default();
        text.split("\n:").map(Document)
    }

    /// That of a command, or of a subcommand as `parent|name`, and those that follow.
    pub(super) fn from(&self, name: &str) -> impl Iterator<Item = Document<'_>> {
        self.all()
            .skip_while(move |document| document.name() != name)
    }
}

/// Writes what `byte` stands for. It calls itself as often as pairs stand within pairs: `build.rs` bounds that.
fn unpack(byte: u8, pairs: &[u8], text: &mut Vec<u8>) -> Result<()> {
    match byte.checked_sub(PAIRS_FROM) {
        None => {
            text.try_reserve(1)?;
            text.push_reserved(byte);
            Ok(())
        }
        Some(pair) => pairs
            .iter()
            .skip(2 * usize::from(pair))
            .take(2)
            .try_for_each(|&byte| unpack(byte, pairs, text)),
    }
}

/// What is said of one command.
#[derive(Clone, Copy)]
pub(super) struct Document<'a>(&'a str);

impl<'a> Document<'a> {
    fn word(&self, number: usize) -> &'a str {
        let head = self.0.lines().next().unwrap_or_default();
        let mut words = head.trim_start_matches(':').split_ascii_whitespace();
        words.nth(number).unwrap_or_default()
    }

    /// The command's name.
    pub(super) fn name(&self) -> &'a str {
        self.word(0)
    }

    /// The version of Redis that had it first.
    pub(super) fn since(&self) -> &'a str {
        self.word(1)
    }

    /// The group it is documented in.
    pub(super) fn group(&self) -> &'a str {
        self.word(2)
    }

    /// The lines with that mark, without it.
    pub(super) fn lines(self, mark: &'static str) -> impl Iterator<Item = &'a str> + Clone {
        let lines = self.0.lines().skip(1);
        lines.filter_map(move |line| line.strip_prefix(mark).map(str::trim_ascii_start))
    }

    /// The words of the line with that mark.
    pub(super) fn words(self, mark: &'static str) -> impl Iterator<Item = &'a str> + Clone {
        let line = self.lines(mark).next().unwrap_or_default();
        line.split_ascii_whitespace()
    }

    /// How long it takes.
    pub(super) fn complexity(&self) -> Option<&'a str> {
        let told = self.lines("~").next().unwrap_or("O(1)");
        (!told.is_empty()).then_some(told)
    }

    /// Where its keys stand.
    pub(super) fn key_specs(self) -> impl Iterator<Item = KeySpec<'a>> + Clone {
        let lines = self.0.lines().skip(1);
        let next = lines.clone().skip(1).chain([""]);
        lines
            .zip(next)
            .filter_map(|(line, next)| KeySpec::parse(line.strip_prefix('#')?, next))
    }
}

/// A key specification.
#[derive(Clone, Copy)]
pub(super) struct KeySpec<'a> {
    /// The first key, as the number of an argument; then the last one counted from there (below 0: from
    /// the end), the step from key to key, and the limit.
    pub(super) numbers: [i8; 4],
    /// What is done with the keys.
    pub(super) flags: &'a str,
    /// Remarks.
    pub(super) notes: Option<&'a str>,
}

impl<'a> KeySpec<'a> {
    fn parse(line: &'a str, next: &'a str) -> Option<Self> {
        let mut rest = line;
        let mut numbers = [0; 4];
        for number in &mut numbers {
            let (word, after) = rest.trim_ascii_start().split_once(' ')?;
            *number = word.parse().ok()?;
            rest = after;
        }
        Some(Self {
            numbers,
            flags: rest,
            notes: next.strip_prefix("; "),
        })
    }
}

/// An argument: `name|` and a letter for its type, then what applies of: a number, its key specification;
/// `?` optional, `*` multiple, `+` multiple with the token; `<` since; `>` deprecated since; `=` token. The
/// parts of a composite one follow between `(` and `)`.
pub(super) struct Argument<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Its type.
    pub(super) kind: &'static str,
    /// Which key specification it belongs to.
    pub(super) key_spec: Option<i64>,
    /// The word that goes before it.
    pub(super) token: Option<&'a str>,
    /// The version that had it first, if the command is older.
    pub(super) since: Option<&'a str>,
    /// The version that deprecated it.
    pub(super) deprecated_since: Option<&'a str>,
    letters: &'a str,
}

/// Types by their letter.
const KINDS: [(&str, &str); 9] = [
    ("k", "key"),
    ("s", "string"),
    ("i", "integer"),
    ("d", "double"),
    ("t", "unix-time"),
    ("p", "pattern"),
    ("o", "oneof"),
    ("b", "block"),
    ("n", "pure-token"),
];

/// Flags by their letter.
const FLAGS: [(&str, char); 3] = [
    ("optional", '?'),
    ("multiple", '*'),
    ("multiple_token", '+'),
];

impl<'a> Argument<'a> {
    /// Reads a word of a `%` line that is no bracket.
    pub(super) fn parse(word: &'a str) -> Option<Self> {
        let (name, rest) = word.split_once('|')?;
        let (rest, token) = match rest.split_once('=') {
            Some((rest, token)) => (rest, Some(token)),
            None => (rest, None),
        };
        let (rest, deprecated_since) = match rest.split_once('>') {
            Some((rest, version)) => (rest, Some(version)),
            None => (rest, None),
        };
        let (rest, since) = match rest.split_once('<') {
            Some((rest, version)) => (rest, Some(version)),
            None => (rest, None),
        };
        let (letter, rest) = rest.split_at_checked(1)?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        Some(Self {
            name,
            kind: KINDS.iter().find(|(known, _)| *known == letter)?.1,
            key_spec: rest[..digits].parse().ok(),
            token,
            since,
            deprecated_since,
            letters: &rest[digits..],
        })
    }

    /// Its flags.
    pub(super) fn flags(&self) -> impl Iterator<Item = &'static str> + Clone + use<'a> {
        let letters = self.letters;
        let has = move |letter: char| letters.contains(letter);
        FLAGS
            .into_iter()
            .filter_map(move |(name, letter)| has(letter).then_some(name))
    }
}

/// Splits the words of a `%` line, or of what stands between brackets, into the arguments of this level:
/// each with the words between its own brackets.
pub(super) fn arguments(words: &str) -> impl Iterator<Item = (Argument<'_>, &str)> + Clone {
    let mut rest = words.trim_ascii();
    core::iter::from_fn(move || {
        let end = rest.find(' ').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let argument = Argument::parse(word)?;
        rest = after.trim_ascii_start();
        let mut parts = "";
        if let Some(inside) = rest.strip_prefix("( ") {
            let close = closing(inside)?;
            parts = inside[..close].trim_ascii();
            rest = inside[close + 1..].trim_ascii_start();
        }
        Some((argument, parts))
    })
}

/// Where the bracket is closed that `inside` is the inside of.
fn closing(inside: &str) -> Option<usize> {
    let mut depth = 1_u32;
    let mut at = 0;
    for word in inside.split(' ') {
        match word {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
        at += word.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::{COMMANDS, Command, Flags};
    use super::*;

    fn rows() -> impl Iterator<Item = &'static Command> {
        let own_and_subcommands =
            |command: &'static Command| core::iter::once(command).chain(command.subcommands.iter());
        COMMANDS.iter().flat_map(own_and_subcommands)
    }

    fn documents() -> Documents {
        Documents::read().expect("the host has memory")
    }

    #[test]
    fn what_is_packed_is_the_text_and_much_smaller() {
        let text = include_str!("documents.txt");
        assert!(documents().0 == text.as_bytes());
        assert!(PACKED.len() * 8 < text.len() * 5, "{}", PACKED.len());
    }

    #[test]
    fn every_command_has_its_document_and_every_document_its_command() {
        let documents = documents();
        assert_eq!(documents.all().count(), rows().count());
        for (row, document) in rows().zip(documents.all()) {
            assert_eq!(row.name, document.name(), "the same order");
            assert!(document.lines("=").next().is_some(), "{}", row.name);
        }
    }

    #[test]
    fn the_flags_that_dispatch_obeys_are_the_flags_that_clients_are_told() {
        let documents = documents();
        for (row, document) in rows().zip(documents.all()) {
            for (flag, word) in [
                (Flags::WRITE, "write"),
                (Flags::READONLY, "readonly"),
                (Flags::DENYOOM, "denyoom"),
                (Flags::ADMIN, "admin"),
                (Flags::FAST, "fast"),
                (Flags::NO_AUTH, "no_auth"),
                (Flags::NOSCRIPT, "noscript"),
                (Flags::LOADING, "loading"),
                (Flags::STALE, "stale"),
            ] {
                let is_told = document.words("!").any(|told| told == word);
                assert_eq!(row.flags.has(flag), is_told, "{} {word}", row.name);
            }
            let first = document.key_specs().next().map(|spec| spec.numbers[0]);
            assert_eq!(row.keys.first as i8, first.unwrap_or(0), "{}", row.name);
        }
    }

    #[test]
    fn every_word_of_the_arguments_is_read() {
        fn count(words: &str) -> usize {
            arguments(words).map(|(_, parts)| 1 + count(parts)).sum()
        }
        let documents = documents();
        for document in documents.all() {
            let line = document.lines("%").next().unwrap_or_default();
            let words = line.split_ascii_whitespace();
            let named = words.filter(|word| !["(", ")"].contains(word)).count();
            assert_eq!(count(line), named, "{}", document.name());
        }
    }
}
