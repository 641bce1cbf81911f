//! Bits that flip in what is stored: one is put right, more are a miss or put right, and none makes a wrong answer.

use super::intent::Intent;
use super::testing::{STALE, host_frames};
use super::*;
use crate::cache::random::Random;
use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

const NOW_MS: u64 = 1_000_000;
/// What is known of a key: database, name, value, expiry.
type Row = (usize, String, Vec<u8>, Option<u64>);

/// Keys of several sizes in two databases, some with an expiry, some slots free, one bucket with a chain.
fn furnished() -> (Store, Vec<Row>) {
    let mut store = Store::new(
        host_frames(8 << 20),
        8 << 20,
        EvictionPolicy::ALLKEYS_LRU,
        42,
    );
    store.set_time(NOW_MS);
    let mut rows = Vec::new();
    for id in 0..18_usize {
        let expires = (id % 2 == 0).then(|| NOW_MS + 1000 + id as u64 * 7919 % 100);
        let value = vec![id as u8 + 1; [3, 64, 20, 150, 1, 0][id % 6]];
        rows.push((id % 7 / 6, format!("key:{id}"), value, expires));
    }
    rows.push((0, "".into(), b"of the empty key".to_vec(), None));
    for row in &rows {
        put(&mut store, row);
    }
    for id in 0..6 {
        let gone = (
            0,
            format!("gone:{id}"),
            vec![id; 20 * usize::from(id)],
            None,
        );
        put(&mut store, &gone);
        store.remove(0, gone.1.as_bytes());
    }
    (store, rows)
}

fn put(store: &mut Store, (database, key, value, expires): &Row) {
    let expiry = expires.map_or(Expiry::Never, Expiry::AtMs);
    let key = key.as_bytes();
    store
        .set(*database, key, value, Encoding::Raw, expiry)
        .expect("room");
}

/// All that is stored, but for the directories of blocks.
fn each_stored(store: &mut Store, see: &mut dyn FnMut(&mut [u8])) {
    store.arena.stored(see);
    store.tables.iter_mut().for_each(|table| table.stored(see));
    store.expiries.stored(see);
}

/// Bytes of lines in which anything is written, counted through all that is stored.
fn written(store: &mut Store) -> Vec<usize> {
    let (mut at, mut written) = (0, Vec::new());
    each_stored(store, &mut |bytes| {
        for (line, bytes) in bytes.chunks(64).enumerate() {
            if bytes.iter().any(|&byte| byte != 0 && byte != STALE) {
                written.extend(at + line * 64..at + line * 64 + bytes.len());
            }
        }
        at += bytes.len();
    });
    written
}

/// Changes a byte, counted through all that is stored, to `change` of it; tells what it was.
fn with_byte(store: &mut Store, number: usize, change: impl Fn(u8) -> u8) -> u8 {
    let (mut at, mut was) = (0, 0);
    each_stored(store, &mut |bytes| {
        if let Some(byte) = number.checked_sub(at).and_then(|at| bytes.get_mut(at)) {
            was = *byte;
            *byte = change(was);
        }
        at += bytes.len();
    });
    was
}

/// Looks a key up on one of the roads that there are: `None` for a miss.
fn look(store: &mut Store, (database, key, ..): &Row, road: usize) -> Option<Vec<u8>> {
    let key = key.as_bytes();
    if road == 0 {
        match store.look(*database, key) {
            Look::Found(value) => return Some(value.to_vec()),
            Look::Missing => return None,
            Look::Unsure => {}
        }
    }
    let value = store.get(*database, key, Touch::Use);
    value.map(|value| value.bytes.to_vec())
}

/// The keys that SCAN or KEYS tell.
fn names(store: &mut Store, database: usize, road: usize) -> Vec<String> {
    let mut names = Vec::new();
    let mut see = |key: &[u8]| names.push(String::from_utf8_lossy(key).into_owned());
    if road == 0 {
        store.keys(database, see);
    } else {
        let mut cursor = 0;
        loop {
            cursor = store.scan(database, cursor, &mut see);
            if cursor == 0 {
                break;
            }
        }
    }
    names.sort();
    names
}

fn step() -> usize {
    match std::env::var_os("NOS_NIGHTLY") {
        Some(_) => 1,
        None => 61,
    }
}

#[test]
fn one_flipped_bit_anywhere_is_put_right_before_anybody_is_answered() {
    let (mut store, rows) = furnished();
    let places = written(&mut store);
    let mut seen = 0;
    for flip in (0..places.len() * 8).step_by(step()) {
        let (place, bit) = (places[flip / 8], flip % 8);
        let was = with_byte(&mut store, place, |byte| byte ^ 1 << bit);
        let road = flip % 3;
        if road == 2 {
            let mut all: Vec<String> = names(&mut store, 0, flip / 3 % 2);
            all.extend(names(&mut store, 1, 1));
            all.sort();
            let mut known: Vec<String> = rows.iter().map(|row| row.1.clone()).collect();
            known.sort();
            assert_eq!(all, known, "byte {place} bit {bit}");
        }
        for row in &rows {
            let found = look(&mut store, row, road);
            assert_eq!(
                found.as_ref(),
                Some(&row.2),
                "{row:?}: byte {place} bit {bit}"
            );
            let expiry = store.expiry(row.0, row.1.as_bytes(), Touch::LookOnly);
            assert_eq!(expiry, Some(row.3), "{row:?}: byte {place} bit {bit}");
        }
        seen += u64::from(with_byte(&mut store, place, |_| was) == was);
    }
    let Damage {
        corrected,
        dropped,
        index_corrected,
    } = store.events().damage;
    assert_eq!(dropped, 0);
    assert!(
        corrected > 10 && index_corrected > 10,
        "{:?}",
        store.events()
    );
    assert!(seen > 0);
    assert_eq!(store.inconsistency(), None);
}

#[test]
fn one_flipped_bit_anywhere_costs_no_key_when_keys_are_written_removed_or_recovered() {
    let (mut store, rows) = furnished();
    let count = written(&mut store).len() * 8;
    let mut random = Random::new(7);
    for round in 0..20_000 / step() {
        let places = written(&mut store);
        let flip = random.below(count.min(places.len() * 8) as u32) as usize;
        let (place, bit) = (places[flip / 8], flip % 8);
        with_byte(&mut store, place, |byte| byte ^ 1 << bit);
        let row = &rows[random.below(rows.len() as u32) as usize];
        let key = row.1.as_bytes();
        match round % 5 {
            0 => {
                store.remove(row.0, key);
                put(&mut store, row);
            }
            1 => {
                let is_done = store.overwrite(row.0, key, &row.2, Encoding::Raw);
                assert!(!is_done || row.3.is_none(), "round {round}");
                put(&mut store, row);
            }
            2 => {
                let other = (row.0, "another".into(), vec![9; 64], None);
                put(&mut store, &other);
                store.remove(row.0, b"another");
            }
            3 => {
                assert!(
                    store
                        .rename((row.0, key), (row.0, b"renamed"))
                        .expect("room")
                );
                assert!(
                    store
                        .rename((row.0, b"renamed"), (row.0, key))
                        .expect("room")
                );
            }
            _ => assert_eq!(
                store.recover().lost,
                0,
                "round {round}: byte {place} bit {bit}"
            ),
        }
        for row in &rows {
            assert_eq!(
                look(&mut store, row, round % 2).as_ref(),
                Some(&row.2),
                "round {round}"
            );
        }
        // What nobody looked at was not put right by anybody: now it is, so that the next bit is the only one.
        assert_eq!(store.rebuild(Intent::Nothing), 0, "round {round}");
    }
    assert_eq!(store.events().damage.dropped, 0);
    store.recover();
    assert_eq!(store.inconsistency(), None);
}

#[test]
fn two_flipped_bits_are_a_miss_or_put_right() {
    let (mut store, rows) = furnished();
    let mut random = Random::new(3);
    let mut outcomes = BTreeMap::new();
    for round in 0..10_000 / step() {
        let places = written(&mut store);
        let first = random.below(places.len() as u32) as usize;
        let second = (first + random.below(40) as usize).min(places.len() - 1);
        for place in [first, second] {
            let bit = random.below(8);
            with_byte(&mut store, places[place], |byte| byte ^ 1 << bit);
        }
        for (number, row) in rows.iter().enumerate() {
            let looked = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
                look(&mut store, row, (round + number) % 2)
            }));
            let outcome = match looked {
                Ok(Some(value)) => {
                    assert_eq!(value, row.2, "round {round}: {row:?}");
                    "right"
                }
                Ok(None) => "missed",
                Err(_) => {
                    store.recover();
                    "died"
                }
            };
            *outcomes.entry(outcome).or_insert(0) += 1;
        }
        // As if by an acknowledged write each: from here on all have to be there.
        if store.inconsistency().is_some() {
            store.recover();
        }
        for row in &rows {
            put(&mut store, row);
            assert_eq!(look(&mut store, row, 1).as_ref(), Some(&row.2));
        }
    }
    let dropped = store.events().damage.dropped;
    assert!(
        dropped > 0 && outcomes["right"] > outcomes["missed"],
        "{outcomes:?}"
    );
    assert!(outcomes["missed"] > 0, "{outcomes:?}");
}

#[test]
fn a_long_value_is_sealed_as_well_and_dropped_whole() {
    let (mut store, _) = furnished();
    let row: Row = (0, "long".into(), vec![7; 100_000], None);
    put(&mut store, &row);
    let handle = store.find(0, b"long").expect("it is there").handle;
    let flip = |store: &mut Store, at: usize| store.arena.slot_mut(handle)[at] ^= 4;
    flip(&mut store, 50_000);
    assert_eq!(look(&mut store, &row, 0), None);
    assert_eq!(store.events().damage.dropped, 1);
    assert_eq!(store.inconsistency(), None);
}
