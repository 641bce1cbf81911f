//! A grammar of texts, by which they are packed on the machine that builds the image: for the symbol table by
//! `pack.rs`, for what COMMAND tells by `build.rs`.
//!
//! It is found as Re-Pair does (Larsson and Moffat, "Off-line dictionary-based compression", 2000): the pair of symbols
//! that stands most often becomes a rule, until none is worth one. Symbols below [`RULES_FROM`] are characters.

use std::collections::HashMap;
use std::vec;
use std::vec::Vec;

/// The symbol of the first rule.
pub(crate) const RULES_FROM: u16 = 128;

/// What is worth a rule.
pub(crate) struct Limits {
    /// Most rules.
    pub(crate) rules: usize,
    /// How often a pair has to stand.
    pub(crate) uses_min: usize,
    /// How deep rules may stand within rules.
    pub(crate) depth_max: usize,
}

/// Replaces pairs by rules; returns what each rule stands for.
pub(crate) fn find_rules(texts: &mut [Vec<u16>], limits: &Limits) -> Vec<[u16; 2]> {
    let mut rules: Vec<[u16; 2]> = Vec::new();
    let mut depths = vec![0; usize::from(RULES_FROM)];
    let mut counts = HashMap::<[u16; 2], usize>::new();
    for pair in texts.iter().flat_map(|text| text.array_windows()) {
        *counts.entry(*pair).or_default() += 1;
    }
    while rules.len() < limits.rules {
        let depth = |pair: [u16; 2]| {
            1 + pair
                .map(|symbol| depths[usize::from(symbol)])
                .into_iter()
                .max()
                .unwrap_or(0)
        };
        let can_be = counts
            .iter()
            .map(|(&pair, &count)| (pair, count))
            .filter(|&(pair, count)| count >= limits.uses_min && depth(pair) <= limits.depth_max);
        // By the pair as well, so that the same texts are always packed in the same way.
        let Some((pair, _)) = can_be.max_by_key(|&(pair, count)| (count, pair)) else {
            break;
        };
        let symbol = RULES_FROM + rules.len() as u16;
        depths.push(depth(pair));
        rules.push(pair);
        // What stands where it stood before is not counted again.
        for text in texts.iter_mut().filter(|text| has(text, pair)) {
            for pair in text.array_windows() {
                counts.entry(*pair).and_modify(|count| *count -= 1);
            }
            replace(text, pair, symbol);
            for pair in text.array_windows() {
                *counts.entry(*pair).or_default() += 1;
            }
        }
        counts.retain(|_, count| *count > 0);
    }
    rules
}

fn has(text: &[u16], pair: [u16; 2]) -> bool {
    text.array_windows().any(|other: &[u16; 2]| *other == pair)
}

fn replace(text: &mut Vec<u16>, pair: [u16; 2], symbol: u16) {
    let (mut from, mut to) = (0, 0);
    while from < text.len() {
        let is_pair = text[from] == pair[0] && text.get(from + 1) == Some(&pair[1]);
        text[to] = if is_pair { symbol } else { text[from] };
        from += 1 + usize::from(is_pair);
        to += 1;
    }
    text.truncate(to);
}
