//! Tables that the packer wrote are read back, whole and damaged.

use super::pack::{self, Run, pack};
use super::*;
use crate::cache::random::Random;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

const IDENTITY: Identity = *b"identity";

fn frame(function: &str, file: &str, line: u32) -> pack::Frame {
    pack::Frame {
        function: function.into(),
        file: file.into(),
        line,
    }
}

/// Many runs with chains like those of an image: functions that were inlined come and go, and come again.
fn runs(count: u32) -> (Vec<Run>, u32) {
    let mut random = Random::new(7);
    let (mut runs, mut place): (Vec<Run>, _) = (Vec::new(), 0x40);
    let mut chain: Vec<pack::Frame> = Vec::new();
    for number in 0..count {
        match random.below(12) {
            0 => chain.clear(),
            1..4 => {
                chain.pop();
            }
            4..9 => {
                let function = random.below(90);
                let file = format!("src/room{}/file{}.rs", function % 7, function % 40);
                let name = format!("nos::room{}::Part{function}::work", function % 7);
                chain.push(frame(&name, &file, 1 + random.below(70_000)));
            }
            _ => {}
        }
        if let Some(innermost) = chain.last_mut() {
            innermost.line = (innermost.line + random.below(9)).saturating_sub(4).max(1);
        }
        runs.push((place, chain.clone()));
        place += 4 * (1 + random.below(if number % 50 == 0 { 4_000 } else { 9 }));
    }
    (runs, place)
}

/// What a table tells of a place, the outermost first.
fn told(lines: &Lines<'_>, place: u32) -> Vec<(String, String, u32)> {
    let mut frames = Vec::new();
    if let Some(chain) = lines.at(place) {
        chain.each(&mut |frame| {
            let function = frame.function.to_string();
            frames.push((function, frame.file.to_string(), frame.line));
        });
    }
    frames.reverse();
    frames
}

#[test]
fn every_instruction_of_every_run_is_found_with_all_its_frames() {
    let (runs, end) = runs(3_000);
    let table = pack(&runs, end, IDENTITY);
    let lines = Lines::read(&table, IDENTITY).expect("a table");
    assert!(lines.is_whole());
    let ends = runs.iter().skip(1).map(|(start, _)| *start).chain([end]);
    let deepest = runs.iter().map(|(_, frames)| frames.len()).max();
    assert!(deepest > Some(8), "{deepest:?}");
    for ((start, frames), end) in runs.iter().zip(ends) {
        let frames: Vec<_> = frames
            .iter()
            .take(DEPTH_MAX)
            .map(|frame| (frame.function.clone(), frame.file.clone(), frame.line))
            .collect();
        for place in [*start, start + 3, end - 4] {
            assert_eq!(told(&lines, place), frames, "{place:#x}");
        }
    }
    assert!(lines.at(0x3c).is_none(), "before the first");
    assert!(lines.at(end).is_none(), "behind the last");
}

#[test]
fn a_chain_that_is_too_deep_loses_its_inner_frames() {
    let deep = |depth: u32| {
        let frames = (0..depth).map(|n| frame(&format!("f{n}"), "x.rs", 5 + n));
        frames.collect::<Vec<_>>()
    };
    let table = pack(&[(0, deep(100)), (4, deep(2))], 8, IDENTITY);
    let lines = Lines::read(&table, IDENTITY).expect("a table");
    let frames = told(&lines, 0);
    assert_eq!(frames.len(), DEPTH_MAX);
    assert_eq!(frames[39], ("f39".into(), "x.rs".into(), 44));
    assert_eq!(told(&lines, 4).len(), 2);
}

#[test]
fn frames_are_shown_as_people_write_them() {
    let chain = std::vec![frame("a::b", "src/a.rs", 7), frame("c", "c-1.0/c.rs", 0)];
    let table = pack(&[(0, chain)], 4, IDENTITY);
    let lines = Lines::read(&table, IDENTITY).expect("a table");
    let mut shown = Vec::new();
    let chain = lines.at(0).expect("frames");
    chain.each(&mut |frame| shown.push(frame.to_string()));
    assert_eq!(shown, ["c at c-1.0/c.rs:0", "a::b at src/a.rs:7"]);
}

#[test]
fn a_table_of_another_image_or_version_is_none() {
    let (runs, end) = runs(40);
    let table = pack(&runs, end, IDENTITY);
    assert!(Lines::read(&table, *b"identitz").is_none());
    assert!(Lines::read(&[], IDENTITY).is_none());
    assert!(Lines::read(&std::vec![0; 4096], IDENTITY).is_none());
    assert!(Lines::read(&table[..table.len() - 1], IDENTITY).is_none());
    let mut newer = table.clone();
    newer[4] += 1;
    assert!(Lines::read(&newer, IDENTITY).is_none());
    // A loader may hand over whole pages.
    let mut padded = table;
    padded.resize(8192, 0xaa);
    assert!(Lines::read(&padded, IDENTITY).is_some_and(|lines| lines.is_whole()));
}

#[test]
fn a_damaged_table_is_seen_to_be_damaged_and_harms_nobody() {
    let (runs, end) = runs(100);
    let table = pack(&runs, end, IDENTITY);
    for at in 0..table.len() {
        for bits in [0xff, 0x80, 0x01] {
            let mut damaged = table.clone();
            damaged[at] ^= bits;
            if let Some(lines) = Lines::read(&damaged, IDENTITY) {
                assert!(!lines.is_whole(), "byte {at}");
                for place in (0..end).step_by(2_003) {
                    told(&lines, place);
                }
            }
        }
    }
}
