//! Writes line tables, on the machine that builds the image: a program of `scripts/tables`.
//!
//! The form is told in `mod.rs`.

use super::super::symbols::pack_names::{pack_names, put_leb128};
use super::checksum::checksum;
use std::collections::{BTreeMap, HashMap};
use std::string::String;
use std::vec::Vec;

const VERSION: u16 = 1;
const STRIDE: usize = 8;
const BLOCK_RUNS: usize = 32;
const DEPTH_MAX: usize = 40;
const WORDS_MAX: usize = 7;
const FRAMES_MAX: usize = 3;
const CHECKSUM_AT: usize = 36;

/// A function at work.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Frame {
    pub(crate) function: String,
    pub(crate) file: String,
    /// From 1; 0 if it is not known.
    pub(crate) line: u32,
}

/// Where a run of instructions starts, in bytes from the image's start, and its frames, the outermost first; without any
/// it is of no function that is known.
pub(crate) type Run = (u32, Vec<Frame>);

/// A table of runs, in their order; `end` is where the text ends. Of a chain that is too deep the inner frames are left
/// out.
pub(crate) fn pack(runs: &[Run], end: u32, identity: [u8; 8]) -> Vec<u8> {
    let merged = merged(runs);
    let (files, functions) = ranked(&merged);
    let names = files.iter().copied();
    let names = names.chain(functions.iter().map(|function| function.name));
    let packed = pack_names(names);
    let (file_names, function_names) = packed.names.split_at(files.len());
    let number_of_file: HashMap<&str, u32> = files.iter().copied().zip(0..).collect();
    let numbers: HashMap<(&str, &str), (u32, u32)> = functions
        .iter()
        .zip(0..)
        .map(|(function, number)| ((function.name, function.file), (number, function.least)))
        .collect();

    let (mut told, mut indices) = (Vec::new(), Vec::new());
    let mut begin = |number: usize, told: &[u8]| {
        if number.is_multiple_of(STRIDE) {
            indices.extend((told.len() as u32).to_le_bytes());
        }
    };
    for (number, name) in file_names.iter().enumerate() {
        begin(number, &told);
        told.extend(name);
    }
    for (number, (function, name)) in functions.iter().zip(function_names).enumerate() {
        begin(number, &told);
        put_leb128(number_of_file[function.file], &mut told);
        put_leb128(function.least, &mut told);
        told.extend(name);
    }
    let blocks = merged.chunks(BLOCK_RUNS);
    let block_count = blocks.len();
    for block in blocks {
        let first = block[0].0;
        indices.extend(first.to_le_bytes());
        indices.extend((told.len() as u32).to_le_bytes());
        let (mut before, mut chain) = (first, Vec::new());
        for (start, frames) in block {
            let next: Vec<(u32, u32)> = frames
                .iter()
                .map(|frame| {
                    let (number, least) = numbers[&(frame.function.as_str(), frame.file.as_str())];
                    (number, frame.line - least)
                })
                .collect();
            put_run((start - before) / 4, &chain, &next, &mut told);
            (before, chain) = (*start, next);
        }
    }

    let mut table = Vec::from(*b"nLIN");
    table.extend(VERSION.to_le_bytes());
    table.extend((packed.rules.len() as u16).to_le_bytes());
    let bytes = CHECKSUM_AT + 4 + packed.rules.len() * 4 + indices.len() + told.len();
    for number in [bytes, files.len(), functions.len(), block_count] {
        table.extend((number as u32).to_le_bytes());
    }
    table.extend(end.to_le_bytes());
    table.extend(identity);
    let mut rest = Vec::from(packed.rules.as_flattened());
    rest.extend(indices);
    rest.extend(told);
    table.extend(checksum(checksum(0, &rest), &table).to_le_bytes());
    table.extend(rest);
    assert_eq!(table.len(), bytes);
    table
}

/// Runs of the same frames side by side are one, and none is too deep.
fn merged(runs: &[Run]) -> Vec<(u32, &[Frame])> {
    let mut merged: Vec<(u32, &[Frame])> = Vec::new();
    for (start, frames) in runs {
        assert!(start % 4 == 0, "instructions are words: {start:#x}");
        let frames = &frames[..frames.len().min(DEPTH_MAX)];
        if merged.last().is_none_or(|(_, before)| *before != frames) {
            merged.push((*start, frames));
        }
    }
    merged
}

/// A function of one file: what a macro of another file expands to is another one.
struct Function<'a> {
    name: &'a str,
    file: &'a str,
    /// The least line of a frame of it.
    least: u32,
}

/// All files and functions, those first that are told most often: they take the least bytes.
fn ranked<'a>(runs: &[(u32, &'a [Frame])]) -> (Vec<&'a str>, Vec<Function<'a>>) {
    let mut uses = BTreeMap::<(&str, &str), (usize, u32)>::new();
    let mut before: &[Frame] = &[];
    for (_, frames) in runs {
        let kept = common(before, frames, |one, other| one == other);
        for frame in &frames[kept..] {
            let key = (frame.function.as_str(), frame.file.as_str());
            let (count, least) = uses.entry(key).or_insert((0, frame.line));
            *count += 1;
            *least = (*least).min(frame.line);
        }
        before = frames;
    }
    let mut of_files = BTreeMap::<&str, usize>::new();
    for (_, file) in uses.keys() {
        *of_files.entry(file).or_default() += 1;
    }
    let mut files: Vec<&str> = of_files.keys().copied().collect();
    files.sort_by_key(|file| core::cmp::Reverse(of_files[file]));
    let mut functions: Vec<_> = uses.into_iter().collect();
    functions.sort_by_key(|&(_, (count, _))| core::cmp::Reverse(count));
    let function = |((name, file), (_, least))| Function { name, file, least };
    (files, functions.into_iter().map(function).collect())
}

/// How many frames from the outermost on are the same.
fn common<T>(one: &[T], other: &[T], same: impl Fn(&T, &T) -> bool) -> usize {
    let pairs = one.iter().zip(other);
    pairs.take_while(|(one, other)| same(one, other)).count()
}

fn put_run(words: u32, before: &[(u32, u32)], next: &[(u32, u32)], told: &mut Vec<u8>) {
    let same = common(before, next, |one, other| one == other);
    // The first frame that differs may do so by its line alone.
    let of = |frames: &[(u32, u32)]| frames.get(same).copied();
    let line = match (of(before), of(next)) {
        (Some((function, from)), Some((other, to))) if function == other => {
            Some(to as i32 - from as i32)
        }
        _ => None,
    };
    let kept = same + usize::from(line.is_some());
    let counts = [words as usize, before.len() - kept, next.len() - kept];
    let most = [WORDS_MAX, FRAMES_MAX, FRAMES_MAX];
    let mut step = u8::from(line.is_some()) << 7;
    for ((count, most), shift) in counts.iter().zip(most).zip([0, 3, 5]) {
        step |= (*count.min(&most) as u8) << shift;
    }
    told.push(step);
    for (count, most) in counts.iter().zip(most) {
        if *count >= most {
            put_leb128((count - most) as u32, told);
        }
    }
    if let Some(change) = line {
        put_leb128((change << 1 ^ change >> 31) as u32, told);
    }
    for &(function, line) in &next[kept..] {
        put_leb128(function, told);
        put_leb128(line, told);
    }
}
