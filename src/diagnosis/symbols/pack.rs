//! Writes symbol tables, on the machine that builds the image: a program of `scripts/tables`.
//!
//! The form is told in `mod.rs`.

use super::pack_names::{pack_names, put_leb128};
use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

const VERSION: u16 = 1;
const STRIDE: usize = 16;

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
    let packed = pack_names(names.values().copied());

    let mut table = Vec::from(*b"nSYM");
    table.extend(VERSION.to_le_bytes());
    table.extend((packed.rules.len() as u16).to_le_bytes());
    table.extend((names.len() as u32).to_le_bytes());
    table.extend(end.to_le_bytes());
    table.extend(packed.rules.as_flattened());
    let (mut index, mut told) = (Vec::new(), Vec::new());
    let mut before = 0;
    for (number, (&start, name)) in names.keys().zip(&packed.names).enumerate() {
        assert!(start % 4 == 0, "instructions are words: {start:#x}");
        if number % STRIDE == 0 {
            index.extend(start.to_le_bytes());
            index.extend((told.len() as u32).to_le_bytes());
            before = start;
        }
        put_leb128((start - before) / 4, &mut told);
        before = start;
        told.extend(name);
    }
    table.extend(index);
    table.extend(told);
    table
}
