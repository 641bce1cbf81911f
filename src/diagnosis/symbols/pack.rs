//! Writes symbol tables, on the machine that builds the image: `scripts/symbol-table.rs` is a program of it.
//!
//! The form is told in `mod.rs`.

use super::grammar::{Limits, RULES_FROM, find_rules};
use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

const VERSION: u16 = 1;
const STRIDE: usize = 16;
const NARROW_RULES: u16 = 129;
const WIDE_RULES: u16 = 31 << 8;
const LIMITS: Limits = Limits {
    rules: (NARROW_RULES + WIDE_RULES) as usize,
    // A rule takes 4 bytes, and up to 2 where it stands.
    uses_min: 4,
    depth_max: 15,
};

/// A table of functions: where each starts, in bytes from the image's start, and its name; `end` is where the last ends.
/// A start that has several names gets the shortest of them.
pub(crate) fn pack(functions: &[(u32, String)], end: u32) -> Vec<u8> {
    let mut names = BTreeMap::<u32, &str>::new();
    for (start, name) in functions {
        let known = names.entry(*start).or_insert(name);
        if (name.len(), name.as_str()) < (known.len(), *known) {
            *known = name;
        }
    }
    let mut texts: Vec<Vec<u16>> = names.values().copied().map(characters).collect();
    let rules = find_rules(&mut texts, &LIMITS);
    let (order, place_of) = by_uses(&texts, rules.len());
    let renumbered = |symbol: u16| match symbol.checked_sub(RULES_FROM) {
        Some(rule) => RULES_FROM + place_of[usize::from(rule)],
        None => symbol,
    };

    let mut table = Vec::from(*b"nSYM");
    table.extend(VERSION.to_le_bytes());
    table.extend((rules.len() as u16).to_le_bytes());
    table.extend((names.len() as u32).to_le_bytes());
    table.extend(end.to_le_bytes());
    for rule in order {
        for symbol in rules[rule] {
            table.extend(renumbered(symbol).to_le_bytes());
        }
    }
    let (mut index, mut told) = (Vec::new(), Vec::new());
    let mut before = 0;
    for (number, (&start, text)) in names.keys().zip(&texts).enumerate() {
        assert!(start % 4 == 0, "instructions are words: {start:#x}");
        if number % STRIDE == 0 {
            index.extend(start.to_le_bytes());
            index.extend((told.len() as u32).to_le_bytes());
            before = start;
        }
        put_leb128((start - before) / 4, &mut told);
        before = start;
        for &symbol in text {
            put_symbol(renumbered(symbol), &mut told);
        }
        told.push(0);
    }
    table.extend(index);
    table.extend(told);
    table
}

/// A mangled name as people write it, without the hash at its end. A name that is not one of Rust's ("legacy" mangling)
/// stays as it is.
pub(crate) fn demangled(mangled: &str) -> String {
    let Some(mut rest) = mangled.strip_prefix("_ZN") else {
        return mangled.to_string();
    };
    let mut words = Vec::new();
    while !rest.starts_with('E') {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let word = rest[..digits].parse().ok();
        match word.and_then(|len: usize| rest.get(digits..digits + len)) {
            Some(word) => words.push(word),
            None => return mangled.to_string(),
        }
        rest = &rest[digits + words[words.len() - 1].len()..];
    }
    let is_hash = |word: &&str| {
        let digits = word.strip_prefix('h');
        digits.is_some_and(|digits| {
            digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit())
        })
    };
    if words.last().is_some_and(is_hash) {
        words.pop();
    }
    let plain: Vec<String> = words.into_iter().map(unescaped).collect();
    plain.join("::")
}

/// One word of a path, of which the compiler has written characters that no symbol may have as `$LT$` and the like.
fn unescaped(word: &str) -> String {
    let word = match word.strip_prefix("_$") {
        Some(_) => &word[1..],
        None => word,
    };
    let mut plain = String::new();
    let mut parts = word.split('$');
    plain.push_str(&parts.next().unwrap_or_default().replace("..", "::"));
    while let (Some(escape), text) = (parts.next(), parts.next()) {
        let code = escape
            .strip_prefix('u')
            .map(|code| u32::from_str_radix(code, 16));
        match (escape, code) {
            ("LT", _) => plain.push('<'),
            ("GT", _) => plain.push('>'),
            ("RF", _) => plain.push('&'),
            ("BP", _) => plain.push('*'),
            ("SP", _) => plain.push('@'),
            ("LP", _) => plain.push('('),
            ("RP", _) => plain.push(')'),
            ("C", _) => plain.push(','),
            (_, Some(Ok(code))) => plain.push(char::from_u32(code).unwrap_or('?')),
            (other, _) => plain.push_str(other),
        }
        plain.push_str(&text.unwrap_or_default().replace("..", "::"));
    }
    plain
}

/// What is not printed as one byte becomes `?`.
fn characters(name: &str) -> Vec<u16> {
    let shown = |character: char| match character {
        ' '..='~' => character as u16,
        _ => u16::from(b'?'),
    };
    name.chars().map(shown).collect()
}

/// The rules in the order of their uses in names, most first, and the place of each in it: the first take one byte.
fn by_uses(texts: &[Vec<u16>], rules: usize) -> (Vec<usize>, Vec<u16>) {
    let mut uses = vec![0_usize; rules];
    for rule in texts
        .iter()
        .flatten()
        .filter_map(|symbol| symbol.checked_sub(RULES_FROM))
    {
        uses[usize::from(rule)] += 1;
    }
    let mut order: Vec<usize> = (0..rules).collect();
    order.sort_by_key(|&rule| (core::cmp::Reverse(uses[rule]), rule));
    let mut place_of = vec![0; rules];
    for (place, &rule) in order.iter().enumerate() {
        place_of[rule] = place as u16;
    }
    (order, place_of)
}

fn put_symbol(symbol: u16, told: &mut Vec<u8>) {
    match symbol.checked_sub(RULES_FROM) {
        None => told.push(symbol as u8),
        Some(rule @ 0..NARROW_RULES) => told.push(127 + rule as u8),
        Some(rule) => {
            let wide = rule - NARROW_RULES;
            told.extend([1 + (wide >> 8) as u8, wide as u8]);
        }
    }
}

fn put_leb128(mut value: u32, told: &mut Vec<u8>) {
    while value >= 0x80 {
        told.push(value as u8 | 0x80);
        value >>= 7;
    }
    told.push(value as u8);
}
