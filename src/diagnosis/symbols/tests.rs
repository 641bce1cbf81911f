//! Tables that the packer wrote are read back, whole and damaged.

use super::name::NARROW_RULES;
use super::pack::pack;
use super::*;
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

/// Many functions with names like those of an image; each as long as it is said.
fn functions(count: u32) -> (Vec<(u32, String)>, u32) {
    let mut functions = Vec::new();
    let mut start = 0x40;
    for number in 0..count {
        let module = ["net::flow", "memory::zone", "app::store"][number as usize % 3];
        functions.push((
            start,
            format!("<nos::{module}::Part{number} as core::fmt::Debug>::fmt"),
        ));
        start += 4 * (1 + number * 7919 % 900);
    }
    (functions, start)
}

#[test]
fn every_byte_of_every_function_is_found_under_its_name() {
    let (functions, end) = functions(150);
    let table = pack(&functions, end);
    let symbols = Symbols::read(&table).expect("a table");
    let ends = functions
        .iter()
        .skip(1)
        .map(|(start, _)| *start)
        .chain([end]);
    for ((start, name), end) in functions.iter().zip(ends) {
        for place in [*start, start + 1, end - 1] {
            let function = symbols
                .at(place)
                .unwrap_or_else(|| panic!("{place:#x} of {name}"));
            assert_eq!((function.start, &function.to_string()), (*start, name));
        }
    }
    assert!(symbols.at(0x3f).is_none(), "before the first");
    assert!(symbols.at(end).is_none(), "behind the last");
    let names: usize = functions.iter().map(|(_, name)| name.len()).sum();
    assert!(table.len() * 3 < names, "{} bytes for {names}", table.len());
}

#[test]
fn rules_of_two_bytes_are_read_as_well() {
    // Pairs of letters that each stand often enough: more rules than have one byte.
    let letters: Vec<char> = ('!'..='~').collect();
    let pair = |number: usize| {
        [letters[number % 40], letters[40 + number / 40 % 40]]
            .iter()
            .collect::<String>()
    };
    let name = |number: usize| format!("{}{}", pair(number), pair(number / 4 + 3));
    let functions: Vec<_> = (0..800).map(|i| (i as u32 * 4, name(i))).collect();
    let table = pack(&functions, 3200);
    assert!(half(&table, 6).is_some_and(|rules| rules > NARROW_RULES + 20));
    let symbols = Symbols::read(&table).expect("a table");
    for (start, name) in &functions {
        let found = symbols.at(*start).map(|function| function.to_string());
        assert_eq!(found.as_ref(), Some(name));
    }
}

#[test]
fn of_several_names_at_one_place_the_shortest_is_shown() {
    let names = [
        (8, "longer".into()),
        (8, "short".into()),
        (12, "x".into()),
        (8, "second".into()),
    ];
    let table = pack(&names, 16);
    let symbols = Symbols::read(&table).expect("a table");
    assert_eq!(
        symbols.at(11).map(|function| function.to_string()),
        Some("short".into())
    );
}

#[test]
fn a_table_that_is_none_is_told_from_one_and_a_damaged_one_harms_nobody() {
    let (functions, end) = functions(20);
    let table = pack(&functions, end);
    assert!(Symbols::read(&[]).is_none());
    assert!(Symbols::read(&vec![0; 4096]).is_none());
    let look = |bytes: &[u8]| {
        if let Some(symbols) = Symbols::read(bytes) {
            for place in (0..end).step_by(997) {
                symbols.at(place).map(|function| function.to_string());
            }
        }
    };
    for len in 0..table.len() {
        look(&table[..len]);
    }
    for at in 0..table.len() {
        for bits in [0xff, 0x80, 0x01] {
            let mut damaged = table.clone();
            damaged[at] ^= bits;
            look(&damaged);
        }
    }
}
