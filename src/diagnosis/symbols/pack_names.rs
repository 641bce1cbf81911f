//! Packs names for tables, on the machine that builds the image.

use super::grammar::{Limits, RULES_FROM, find_rules};
use std::vec;
use std::vec::Vec;

const NARROW_RULES: u16 = 129;
const WIDE_RULES: u16 = 31 << 8;
const LIMITS: Limits = Limits {
    rules: (NARROW_RULES + WIDE_RULES) as usize,
    // A rule takes 4 bytes, and up to 2 where it stands.
    uses_min: 4,
    depth_max: 15,
};

/// Names, packed together.
pub(crate) struct Names {
    /// What each rule stands for.
    pub(crate) rules: Vec<[u8; 4]>,
    /// The names, each with a 0 behind it.
    pub(crate) names: Vec<Vec<u8>>,
}

/// Packs names by a grammar of their own.
pub(crate) fn pack_names<'a>(names: impl Iterator<Item = &'a str>) -> Names {
    let mut texts: Vec<Vec<u16>> = names.map(characters).collect();
    let rules = find_rules(&mut texts, &LIMITS);
    let (order, place_of) = by_uses(&texts, rules.len());
    let renumbered = |symbol: u16| match symbol.checked_sub(RULES_FROM) {
        Some(rule) => RULES_FROM + place_of[usize::from(rule)],
        None => symbol,
    };
    let rule_bytes = |&rule: &usize| {
        let [first, second] = rules[rule].map(|symbol| renumbered(symbol).to_le_bytes());
        [first[0], first[1], second[0], second[1]]
    };
    let name_bytes = |text: &Vec<u16>| {
        let mut bytes = Vec::new();
        for &symbol in text {
            put_symbol(renumbered(symbol), &mut bytes);
        }
        bytes.push(0);
        bytes
    };
    Names {
        rules: order.iter().map(rule_bytes).collect(),
        names: texts.iter().map(name_bytes).collect(),
    }
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

pub(crate) fn put_leb128(mut value: u32, told: &mut Vec<u8>) {
    while value >= 0x80 {
        told.push(value as u8 | 0x80);
        value >>= 7;
    }
    told.push(value as u8);
}
