//! Snapshots against a copy of the whole keyspace made at their beginning, under every kind of change.

use super::snapshot::Progress;
use super::testing::host_frames;
use super::{DATABASES, Encoding, EvictionPolicy, Expiry, Store, Touch};
use crate::cache::random::Random;
use crate::error::Grow;
use crate::storage::checkpoint::record::{Read, Record};
use std::collections::BTreeMap;
use std::format;
use std::vec;
use std::vec::Vec;

type Keys = BTreeMap<(usize, Vec<u8>), (Vec<u8>, Option<u64>)>;

fn store(seed: u64) -> Store {
    let policy = EvictionPolicy::ALLKEYS_LRU;
    let mut store = Store::new(host_frames(64 << 20), 48 << 20, policy, seed);
    store.set_time(1_000_000);
    store
}

/// All that is there, by the roads that clients take.
fn all(store: &mut Store) -> Keys {
    let mut names = Vec::new();
    for database in 0..DATABASES {
        store.keys(database, |key| names.push((database, key.to_vec())));
    }
    let mut keys = Keys::new();
    for (database, key) in names {
        let value = store
            .get(database, &key, Touch::LookOnly)
            .expect("listed")
            .bytes
            .to_vec();
        let expiry = store
            .expiry(database, &key, Touch::LookOnly)
            .expect("listed");
        keys.insert((database, key), (value, expiry));
    }
    keys
}

/// The keys in the records of a snapshot.
fn keys_of(bytes: &[u8]) -> Keys {
    let (mut keys, mut at) = (Keys::new(), 0);
    loop {
        match Record::read(&bytes[at..], 5 << 20).expect("sound") {
            Read::Whole(Record::Key(key), used) => {
                let value = (key.value.to_vec(), key.expires_at_ms);
                let before = keys.insert((key.database, key.key.to_vec()), value);
                assert_eq!(before, None, "{:?} is saved twice", key.key);
                at += used;
            }
            Read::Whole(Record::Part { name, state }, used) => {
                assert_eq!((name, state), (&b"part"[..], &b"state"[..]));
                at += used;
            }
            Read::Whole(Record::End { keys: count }, used) => {
                assert_eq!((count, at + used), (keys.len() as u64, bytes.len()));
                return keys;
            }
            Read::Needs(_) => panic!("a record is cut short"),
        }
    }
}

fn begin(store: &mut Store) {
    let part = |_: &Store, out: &mut Vec<u8>| {
        Record::append_part(out, "part", |out| out.try_append(b"state"))
    };
    assert!(store.begin_snapshot(part).expect("memory"));
}

/// Takes up to `limit` bytes of what was saved.
fn take(store: &mut Store, into: &mut Vec<u8>, limit: usize) {
    let mut piece = vec![0; limit];
    let len = store.take_saved(&mut piece);
    into.extend_from_slice(&piece[..len]);
}

fn marks_are_settled(store: &Store) -> bool {
    let mut from = None;
    while let Some(handle) = store.arena.next_live(from) {
        from = Some(handle);
        if super::Entry::at(&store.arena, handle).mark() != store.snapshot.stamp(0).1 {
            return false;
        }
    }
    true
}

fn finish(store: &mut Store) {
    while store.snapshot() != Progress::Nothing {
        store.walk_snapshot();
        assert_eq!(store.saved_bytes(), 0);
    }
    assert!(marks_are_settled(store));
    assert_eq!(store.inconsistency(), None);
}

/// One random change; few keys, so that most concern one that is there.
fn change(store: &mut Store, random: &mut Random) {
    let key = |random: &mut Random| format!("key:{}", random.below(3_000)).into_bytes();
    let (one, other) = (key(random), key(random));
    let database = random.below(3) as usize;
    let len = [0, 9, 30, 31, 200, 1_500, 9_000][random.below(7) as usize];
    let value: Vec<u8> = (0..len).map(|_| random.below(256) as u8).collect();
    let expiry = match random.below(5) {
        0 => Expiry::AtMs(store.now_ms() + 1 + u64::from(random.below(100_000))),
        1 => Expiry::Keep,
        _ => Expiry::Never,
    };
    let outcome = match random.below(16) {
        0..6 => {
            if !store.overwrite(database, &one, &value, Encoding::Raw) {
                store
                    .set(database, &one, &value, Encoding::Raw, expiry)
                    .expect("memory");
            }
            Ok(true)
        }
        6 => store
            .patch(database, &one, random.below(300) as usize, &value)
            .map(|()| true),
        7 => store.copy((database, &one), (random.below(3) as usize, &other)),
        8 => store.rename((database, &one), (random.below(3) as usize, &other)),
        9 => store.set_expiry(database, &one, expiry),
        10..13 => Ok(store.remove(database, &one)),
        13 => {
            store.set_time(store.now_ms() + 5);
            Ok(store.expire_due(20))
        }
        14 => Ok(store.make_room(1)),
        _ => {
            store.swap(database, random.below(3) as usize);
            Ok(true)
        }
    };
    outcome.expect("memory");
}

#[test]
fn a_snapshot_is_of_one_moment_whatever_is_done_meanwhile() {
    for seed in 0..12 {
        let (mut store, mut random) = (store(seed), Random::new(seed));
        let size = [0, 10, 3_000, 9_000][seed as usize % 4];
        (0..size).for_each(|_| change(&mut store, &mut random));
        // One after the other, so that the marks are used with both meanings.
        for _ in 0..3 {
            let expected = all(&mut store);
            begin(&mut store);
            let mut bytes = Vec::new();
            while store.snapshot() == Progress::Walking || store.saved_bytes() > 0 {
                for _ in 0..random.below(60) {
                    change(&mut store, &mut random);
                }
                store.walk_snapshot();
                take(&mut store, &mut bytes, 40_000);
            }
            assert_eq!(store.snapshot(), Progress::Saved);
            store.end_snapshot();
            let found = keys_of(&bytes);
            assert_eq!(found.len(), expected.len(), "seed {seed}");
            assert!(found == expected, "seed {seed}");
            assert!(marks_are_settled(&store));
            assert_eq!(store.inconsistency(), None);
            (0..50).for_each(|_| change(&mut store, &mut random));
        }
    }
}

#[test]
fn growing_and_shrinking_tables_lose_nothing_and_save_nothing_twice() {
    for grows in [false, true] {
        let mut store = store(3);
        let set = |store: &mut Store, number: usize, value: &[u8]| {
            let key = format!("key:{number}");
            store
                .set(0, key.as_bytes(), value, Encoding::Raw, Expiry::Never)
                .expect("memory");
        };
        (0..20_000).for_each(|number| set(&mut store, number, b"old"));
        let expected = all(&mut store);
        begin(&mut store);
        let (mut bytes, mut turn) = (Vec::new(), 0);
        while store.snapshot() == Progress::Walking || store.saved_bytes() > 0 {
            for number in turn * 400..turn * 400 + 400 {
                match grows {
                    true => set(&mut store, 20_000 + number, b"new"),
                    false => _ = store.remove(0, format!("key:{number}").as_bytes()),
                }
            }
            turn += 1;
            store.walk_snapshot();
            take(&mut store, &mut bytes, 1 << 20);
        }
        store.end_snapshot();
        assert!(keys_of(&bytes) == expected, "grows: {grows}");
        assert!(marks_are_settled(&store));
    }
}

#[test]
fn a_flush_spoils_a_snapshot_and_the_next_is_of_what_is_left() {
    for database in [None, Some(1), Some(9)] {
        let (mut store, mut random) = (store(4), Random::new(4));
        (0..5_000).for_each(|_| change(&mut store, &mut random));
        begin(&mut store);
        store.walk_snapshot();
        match database {
            Some(database) => store.flush(database),
            None => store.flush_all(),
        }
        // One that was empty costs nothing.
        let is_spoilt = database != Some(9);
        let expected = [Progress::Walking, Progress::Flushed][usize::from(is_spoilt)];
        assert_eq!(store.snapshot(), expected);
        assert!(
            !store.begin_snapshot(|_, _| Ok(())).expect("memory"),
            "one at a time"
        );
        store.end_snapshot();
        finish(&mut store);
        let expected = all(&mut store);
        begin(&mut store);
        let mut bytes = Vec::new();
        while store.snapshot() == Progress::Walking || store.saved_bytes() > 0 {
            store.walk_snapshot();
            take(&mut store, &mut bytes, 1 << 20);
        }
        store.end_snapshot();
        assert!(keys_of(&bytes) == expected);
    }
}

#[test]
fn a_turn_saves_a_bounded_piece_of_many_keys_or_one_value() {
    for (keys, len) in [(30_000, 40), (600, 60_000), (15, 1 << 20)] {
        let mut store = store(9);
        let value = vec![3; len];
        for number in 0..keys {
            let key = format!("key:{number}");
            let set = store.set(0, key.as_bytes(), &value, Encoding::Raw, Expiry::Never);
            set.expect("memory");
        }
        begin(&mut store);
        let (mut bytes, mut saved) = (Vec::new(), 0);
        while store.snapshot() == Progress::Walking || store.saved_bytes() > 0 {
            store.walk_snapshot();
            let now = store.snapshot_keys();
            assert!(now - saved <= 64 * 12, "{} keys in one turn", now - saved);
            assert!(store.saved_bytes() < (64 << 10) + len + 100);
            saved = now;
            take(&mut store, &mut bytes, 32 << 10);
        }
        store.end_snapshot();
        assert_eq!(keys_of(&bytes).len(), keys);
    }
}

#[test]
fn a_snapshot_that_nobody_takes_is_given_up_and_takes_no_memory() {
    let policy = EvictionPolicy::ALLKEYS_LRU;
    let mut store = Store::new(host_frames(96 << 20), 90 << 20, policy, 5);
    let value = vec![7; 1_000_000];
    for number in 0..80 {
        let key = [b'k', number];
        let set = store.set(0, &key, &value, Encoding::Raw, Expiry::Never);
        set.expect("memory");
    }
    begin(&mut store);
    for number in 0..80 {
        let is_taken = store.snapshot() == Progress::Walking;
        assert_eq!(is_taken, number <= 67, "{number}");
        assert!(store.remove(0, &[b'k', number]));
    }
    assert_eq!(
        (store.snapshot(), store.saved_bytes()),
        (Progress::GivenUp, 0)
    );
    finish(&mut store);
    begin(&mut store);
    store.end_snapshot();
    finish(&mut store);
}

#[test]
fn what_a_death_cuts_off_leaves_a_keyspace_that_can_be_saved() {
    let (mut store, mut random) = (store(6), Random::new(6));
    (0..3_000).for_each(|_| change(&mut store, &mut random));
    for _ in 0..3 {
        begin(&mut store);
        store.walk_snapshot();
        (0..50).for_each(|_| change(&mut store, &mut random));
        store.abandon_changes();
        store.abandon_snapshot();
        assert_eq!(store.recover().lost, 0);
        finish(&mut store);
    }
}

#[test]
fn what_was_saved_is_restored_with_its_expiries_and_its_use() {
    let (mut before, mut random) = (store(7), Random::new(7));
    (0..5_000).for_each(|_| change(&mut before, &mut random));
    before
        .set(
            2,
            b"soon",
            b"over",
            Encoding::Raw,
            Expiry::AtMs(before.now_ms() + 1),
        )
        .expect("memory");
    before
        .set(2, b"number", b"17", Encoding::Int, Expiry::Never)
        .expect("memory");
    begin(&mut before);
    let mut bytes = Vec::new();
    while before.snapshot() == Progress::Walking || before.saved_bytes() > 0 {
        before.walk_snapshot();
        take(&mut before, &mut bytes, 1 << 20);
    }
    before.set_time(before.now_ms() + 2);
    let mut after = store(8);
    after.set_time(before.now_ms());
    let (mut at, mut ended) = (0, 0);
    after.expect_keys(1, 1_000);
    after.begin_restoring();
    while let Read::Whole(record, used) = Record::read(&bytes[at..], 5 << 20).expect("sound") {
        at += used;
        match record {
            Record::Key(key) => ended += u64::from(!after.restore(&key).expect("memory")),
            Record::Part { .. } => {}
            Record::End { .. } => break,
        }
    }
    after.end_restoring();
    assert!(ended > 0);
    assert_eq!(after.inconsistency(), None);
    assert!(all(&mut after) == all(&mut before));
    let encoding = after
        .get(2, b"number", Touch::LookOnly)
        .expect("there")
        .encoding;
    assert_eq!(encoding, Encoding::Int);
    assert_eq!(
        after.idle_seconds(2, b"number"),
        before.idle_seconds(2, b"number")
    );
}
