//! Checkpoints on a disk that loses its power at every step, and on disks that are not nos' own.

use super::layout::Geometry;
use super::simulation::{Event, PowerCutDisk};
use super::*;
use crate::cache::random::Random;
use crate::error::Grow;
use crate::storage::{BLOCK_BYTES, BUFFER_BYTES, Immediate, MemoryDevice};
use std::vec;
use std::vec::Vec;

/// Blocks of the tests' disks: a slot holds three buffers and a part of one.
const BLOCKS: usize = 8 + 2 * (8 + 3 * 64 + 16);

fn open(queue: &mut dyn BlockQueue) -> Contents {
    let Some(mut opener) = Opener::new(queue.blocks()) else {
        return Contents::TooSmall;
    };
    loop {
        if let Some(contents) = opener.step(queue) {
            return contents;
        }
    }
}

fn volume(queue: &mut dyn BlockQueue) -> Volume {
    match open(queue) {
        Contents::Blank(volume) | Contents::Ours(volume) => volume,
        other => panic!("{other:?}"),
    }
}

fn save(queue: &mut dyn BlockQueue, volume: &mut Volume, data: &[u8]) -> Result<Header> {
    let mut writer = Writer::new(volume, 7);
    let mut pieces = data.chunks(BUFFER_BYTES);
    loop {
        match writer.step(queue) {
            WriteStep::Data(slot) => match pieces.next() {
                Some(piece) => {
                    queue.buffer(slot)[..piece.len()].copy_from_slice(piece);
                    writer.write(queue, slot, piece.len());
                }
                None => writer.finish(),
            },
            WriteStep::Wait => {}
            WriteStep::End(Ok(header)) => {
                *volume = writer.volume_after();
                return Ok(header);
            }
            WriteStep::End(error) => return error,
        }
    }
}

fn read(
    queue: &mut dyn BlockQueue,
    volume: &Volume,
    (slot, header): (usize, Header),
) -> Option<Vec<u8>> {
    let mut reader = Reader::new(volume, slot, header);
    let mut data = Vec::new();
    loop {
        match reader.step(queue) {
            ReadStep::Piece(slot, len) => {
                data.extend_from_slice(&queue.buffer(slot)[..len]);
                reader.release(queue, (slot, len));
            }
            ReadStep::Wait => {}
            ReadStep::Sound => return Some(data),
            ReadStep::Broken => return None,
        }
    }
}

/// What a boot finds: the newest checkpoint that is sound; nothing on a disk without one.
fn restore(queue: &mut dyn BlockQueue) -> (Volume, Vec<u8>) {
    let mut volume = volume(queue);
    let found: Vec<_> = volume.checkpoints().collect();
    for one in found {
        match read(queue, &volume, one) {
            Some(data) => return (volume, data),
            None => volume.distrust(one.0),
        }
    }
    (volume, Vec::new())
}

/// The state number `number`: of another length each.
fn state(number: usize) -> Vec<u8> {
    let len = [0, 70_000, 32 << 10, 300, 100_001][number % 5];
    (0..len)
        .map(|at| (at * 31 + number * 7 + 1) as u8)
        .collect()
}

#[test]
fn states_are_found_again_each_newer_one_in_the_other_slot() {
    let mut disk = PowerCutDisk::new(vec![0; BLOCKS * BLOCK_BYTES], 1);
    assert!(matches!(open(&mut disk), Contents::Blank(_)));
    let mut own = volume(&mut disk);
    for number in 1..8 {
        let header = save(&mut disk, &mut own, &state(number)).expect("it fits");
        assert_eq!(header.sequence, number as u64);
        assert_eq!(
            (header.bytes, header.saved_at_ms),
            (state(number).len() as u64, 7)
        );
        let (found, data) = restore(&mut disk);
        assert_eq!((found, data), (own, state(number)));
        assert!(matches!(open(&mut disk), Contents::Ours(_)));
        assert_eq!(own.checkpoints().count(), number.min(2));
    }
}

#[test]
fn a_cut_at_every_sector_leaves_the_old_or_the_new_state() {
    let mut cuts = 0;
    for (before, seed) in (0..4).flat_map(|before| (0..2).map(move |seed| (before, seed))) {
        let mut disk = PowerCutDisk::new(vec![0; BLOCKS * BLOCK_BYTES], seed);
        let mut own = volume(&mut disk);
        for number in 1..=before {
            save(&mut disk, &mut own, &state(number)).expect("it fits");
        }
        let (old, new) = (
            if before == 0 {
                Vec::new()
            } else {
                state(before)
            },
            state(before + 1),
        );
        let mut disk = PowerCutDisk::new(disk.bytes().to_vec(), seed + 10);
        save(&mut disk, &mut own, &new).expect("it fits");
        let header = disk
            .log
            .iter()
            .rposition(|event| matches!(event, Event::Write { .. }));
        let header = header.expect("something was written");
        let mut random = Random::new(seed + 20);
        for (steps, draw) in
            (0..=disk.log.len()).flat_map(|steps| (0..2).map(move |draw| (steps, draw)))
        {
            let left = disk.after_cut(steps, &mut random);
            let mut after = PowerCutDisk::new(left, seed + draw);
            let (mut found, data) = restore(&mut after);
            let what = (before, seed, steps, draw);
            if steps <= header {
                assert_eq!(data, old, "{what:?}");
            } else if steps == disk.log.len() {
                assert_eq!(data, new, "{what:?}");
            } else {
                assert!(data == old || data == new, "{what:?}");
            }
            // What was cut off is no hindrance to the next.
            let next = state(before + 2);
            save(&mut after, &mut found, &next).expect("it fits");
            assert_eq!(restore(&mut after).1, next, "{what:?}");
            cuts += 1;
        }
    }
    assert!(cuts > 1_500, "{cuts}");
}

#[test]
fn cuts_one_after_the_other_lose_nothing_that_was_saved() {
    let mut random = Random::new(5);
    for seed in 0..20 {
        let mut bytes = vec![0; BLOCKS * BLOCK_BYTES];
        let mut held = Vec::new();
        for number in 1..12 {
            let mut disk = PowerCutDisk::new(bytes, seed);
            let (mut own, data) = restore(&mut disk);
            assert_eq!(data, held, "seed {seed}, save {number}");
            save(&mut disk, &mut own, &state(number)).expect("it fits");
            let steps = random.below(disk.log.len() as u32 + 1) as usize;
            bytes = disk.after_cut(steps, &mut random);
            let (_, data) = restore(&mut PowerCutDisk::new(bytes.clone(), seed));
            assert!(
                data == held || data == state(number),
                "seed {seed}, save {number}"
            );
            held = data;
        }
    }
}

#[test]
fn a_device_that_fails_at_any_request_costs_the_checkpoint_and_not_the_one_before() {
    for fails_after in 0..12 {
        let mut disk = PowerCutDisk::new(vec![0; BLOCKS * BLOCK_BYTES], 3);
        let mut own = volume(&mut disk);
        save(&mut disk, &mut own, &state(1)).expect("it fits");
        disk.fails_after = fails_after;
        let outcome = save(&mut disk, &mut own, &state(4));
        let was_enough = outcome.is_ok();
        disk.fails_after = usize::MAX;
        let (_, data) = restore(&mut disk);
        match was_enough {
            true => assert_eq!(data, state(4)),
            // The header may have been written before its flush failed.
            false => assert!(data == state(1) || data == state(4), "{fails_after}"),
        }
        save(&mut disk, &mut own, &state(3)).expect("it fits");
        assert_eq!(restore(&mut disk).1, state(3));
    }
}

#[test]
fn what_does_not_fit_a_slot_is_refused_and_the_one_before_stays() {
    let mut disk = PowerCutDisk::new(vec![0; BLOCKS * BLOCK_BYTES], 4);
    let mut own = volume(&mut disk);
    save(&mut disk, &mut own, &state(1)).expect("it fits");
    let room = own.capacity_bytes() as usize;
    save(&mut disk, &mut own, &vec![1; room + 1]).expect_err("one byte too many");
    assert_eq!(restore(&mut disk).1, state(1));
    save(&mut disk, &mut own, &vec![1; room]).expect("it fits");
    assert_eq!(restore(&mut disk).1, vec![1; room]);
}

#[test]
fn a_flipped_bit_costs_the_checkpoint_that_it_is_in_and_no_other() {
    let mut disk = PowerCutDisk::new(vec![0; BLOCKS * BLOCK_BYTES], 6);
    let mut own = volume(&mut disk);
    save(&mut disk, &mut own, &state(4)).expect("it fits");
    save(&mut disk, &mut own, &state(1)).expect("it fits");
    let newest = own.checkpoints().next().expect("there are two");
    let geometry = Geometry::of(BLOCKS as u64).expect("large enough");
    let used = state(1).len();
    let mut random = Random::new(8);
    for draw in 0..200 {
        let in_data = random.below(used as u32) as usize;
        let (first, at) = match draw % 4 {
            0 => (geometry.header(newest.0), random.below(512) as usize),
            _ => (geometry.data(newest.0), in_data),
        };
        let mut bytes = disk.bytes().to_vec();
        bytes[first as usize * BLOCK_BYTES + at] ^= 1 << random.below(8);
        let (found, data) = restore(&mut PowerCutDisk::new(bytes, draw));
        assert_eq!(data, state(4), "{draw}");
        assert_eq!(found.next().0, newest.0, "the bad one is written over next");
    }
}

#[test]
fn disks_of_others_are_told_and_never_taken() {
    let blank = vec![0; 4096 * BLOCK_BYTES];
    let end = blank.len();
    // A boot sector, ext4's superblock, LVM's label, btrfs' superblock, a partition table's copy at the end.
    for at in [0, 510, 1080, 512, 65_600, end - 512, end - 65_536] {
        let mut bytes = blank.clone();
        bytes[at] = 0x55;
        let mut disk = PowerCutDisk::new(bytes, 1);
        assert_eq!(open(&mut disk), Contents::Foreign, "{at}");
    }
    let mut tiny = PowerCutDisk::new(vec![0; 30 * BLOCK_BYTES], 1);
    assert_eq!(open(&mut tiny), Contents::TooSmall);
    let mut small = PowerCutDisk::new(vec![0; 40 * BLOCK_BYTES], 1);
    let mut own = volume(&mut small);
    save(&mut small, &mut own, b"a little").expect("it fits");
    assert_eq!(restore(&mut small).1, b"a little");
}

#[test]
fn a_damaged_disk_is_told_and_a_formatted_one_taken() {
    let mut disk = PowerCutDisk::new(vec![0; BLOCKS * BLOCK_BYTES], 1);
    let mut own = volume(&mut disk);
    save(&mut disk, &mut own, &state(1)).expect("it fits");
    save(&mut disk, &mut own, &state(2)).expect("it fits");
    let whole = disk.bytes().to_vec();
    let flipped = |places: &[usize]| {
        let mut bytes = whole.clone();
        places.iter().for_each(|&at| bytes[at] ^= 0x10);
        PowerCutDisk::new(bytes, 2)
    };
    let geometry = Geometry::of(BLOCKS as u64).expect("large enough");
    let headers = [0, 1].map(|slot| geometry.header(slot) as usize * BLOCK_BYTES + 17);
    assert_eq!(open(&mut flipped(&[17])), Contents::Damaged);
    assert_eq!(open(&mut flipped(&headers)), Contents::Damaged);
    assert_eq!(open(&mut flipped(&[0])), Contents::Foreign);
    // Shrunk: the second slot is not all there.
    let shrunk = whole[..whole.len() - 16 * BLOCK_BYTES].to_vec();
    assert_eq!(open(&mut PowerCutDisk::new(shrunk, 1)), Contents::Damaged);
    // Grown: the slots are where they were.
    let grown = [&whole[..], &vec![7; 64 * BLOCK_BYTES]].concat();
    assert_eq!(restore(&mut PowerCutDisk::new(grown, 1)).1, state(2));

    let mut formatted = flipped(&headers);
    let mut own = Volume::format(BLOCKS as u64).expect("large enough");
    save(&mut formatted, &mut own, &state(3)).expect("it fits");
    let (found, data) = restore(&mut formatted);
    assert_eq!(data, state(3));
    assert_eq!(
        found.checkpoints().count(),
        1,
        "what was there before is gone"
    );
}

#[test]
fn a_device_that_is_done_at_once_serves_as_well() {
    let device = MemoryDevice::new(BLOCKS).expect("memory");
    let mut queue = Immediate::new(device).expect("memory");
    let mut own = volume(&mut queue);
    save(&mut queue, &mut own, &state(4)).expect("it fits");
    queue.device_mut().lose_power();
    assert_eq!(restore(&mut queue).1, state(4));
}

#[test]
fn records_are_read_as_they_were_written_whole_or_not_at_all() {
    use record::{KeyRecord, Read, Record};
    let mut out = Vec::new();
    Record::append_part(&mut out, "settings", |state| state.try_append(b"a\0b")).expect("memory");
    let keys = [(0, None), (15, Some(u64::MAX)), (3, Some(0))].map(|(database, expires_at_ms)| {
        KeyRecord {
            database,
            key: b"k\xff\0",
            value: &b"\r\n\0value"[..database % 8],
            expires_at_ms,
            notes: 0x0bcd_ef01 + database as u32,
        }
    });
    out.reserve(1000);
    keys.iter().for_each(|key| key.append(&mut out));
    Record::append_end(&mut out, 3).expect("memory");
    for len in 0..=out.len() {
        let (mut at, mut seen) = (0, Vec::new());
        while let Read::Whole(record, used) = Record::read(&out[at..len], 100).expect("sound") {
            at += used;
            seen.push(record);
            if matches!(record, Record::End { .. }) {
                break;
            }
        }
        let name = &b"settings"[..];
        let mut all = vec![Record::Part {
            name,
            state: b"a\0b",
        }];
        all.extend(keys.map(Record::Key));
        all.push(Record::End { keys: 3 });
        assert_eq!(seen, all[..seen.len()]);
        assert_eq!(seen.len() == 5, len == out.len());
        if seen.len() < 5 {
            let rest = Record::read(&out[at..len], 100).expect("sound");
            assert!(matches!(rest, Read::Needs(bytes) if at + bytes > len));
        }
    }
    assert!(Record::read(&[0; 12], 100).is_err());
    assert!(
        Record::read(&out[23..], 2).is_err(),
        "longer than anything was"
    );
}
