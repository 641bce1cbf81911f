//! The keyspace as a whole: values, limits, expiry, eviction and scans.

use super::testing::{heap_requests, host_frames};
use super::*;
use crate::error::{CommandFault, Kind, Result};
use std::collections::HashMap;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

fn store_of(limit_bytes: u64, policy: &str) -> Store {
    let policy = EvictionPolicy::ALLKEYS_LRU
        .renamed(policy)
        .expect("a policy");
    let mut store = Store::new(host_frames(limit_bytes * 2), limit_bytes, policy, 42);
    store.set_time(1_000_000);
    store
}

fn set(store: &mut Store, key: &str, value: &[u8]) -> Result<()> {
    store.set(0, key.as_bytes(), value, Encoding::Raw, Expiry::Never)
}

/// Sets a key as the dispatcher does: makes room until it fits.
fn set_with_room(store: &mut Store, key: &str, value: &[u8], expiry: Expiry) -> bool {
    loop {
        match store.set(0, key.as_bytes(), value, Encoding::Raw, expiry) {
            Ok(()) => return true,
            Err(error) => {
                let Kind::OutOfMemory { requested_bytes } = error.kind() else {
                    panic!("{error}")
                };
                if !store.make_room(requested_bytes) {
                    return false;
                }
            }
        }
    }
}

#[test]
fn it_holds_what_a_model_holds_under_random_writes_expiries_and_resizes() {
    for seed in 0..3 {
        let mut store = store_of(64 << 20, "noeviction");
        let mut random = Random::new(seed);
        let mut model: HashMap<(usize, String), (Vec<u8>, Option<u64>)> = HashMap::new();
        let mut now = 1_000_000;
        for step in 0..20_000_u32 {
            now += u64::from(random.below(3));
            store.set_time(now);
            model.retain(|_, (_, at)| at.is_none_or(|at| at >= now));
            let database = random.below(2) as usize;
            let name = format!("key:{}", random.below(400));
            let key = name.as_bytes();
            let slot = (database, name.clone());
            match random.below(10) {
                0..4 => {
                    let len = random.below(if step % 50 == 0 { 30_000 } else { 300 });
                    let value = vec![step as u8; len as usize];
                    let at = now + u64::from(random.below(5000));
                    let expiry = match random.below(3) {
                        0 => Expiry::Never,
                        1 => Expiry::Keep,
                        _ => Expiry::AtMs(at),
                    };
                    store
                        .set(database, key, &value, Encoding::Raw, expiry)
                        .expect("room");
                    let old = model.get(&slot).and_then(|(_, at)| *at);
                    let at = match expiry {
                        Expiry::Never => None,
                        Expiry::Keep => old,
                        Expiry::AtMs(at) => Some(at),
                    };
                    model.insert(slot, (value, at));
                }
                4 => {
                    let there = model.remove(&slot).is_some();
                    assert_eq!(
                        store.remove(database, key),
                        there,
                        "seed {seed} step {step}"
                    );
                }
                5 => {
                    let offset = random.below(500) as usize;
                    let patch = vec![step as u8; random.below(100) as usize];
                    store.patch(database, key, offset, &patch).expect("room");
                    let entry = model.entry(slot).or_default();
                    let end = offset + patch.len();
                    entry.0.resize(entry.0.len().max(end), 0);
                    entry.0[offset..end].copy_from_slice(&patch);
                }
                6 => {
                    let at = now + u64::from(random.below(3000));
                    let there = store
                        .set_expiry(database, key, Expiry::AtMs(at))
                        .expect("room");
                    let known = model.get_mut(&slot).map(|entry| entry.1 = Some(at));
                    assert_eq!(there, known.is_some(), "seed {seed} step {step}");
                }
                7 => {
                    let to = format!("key:{}", random.below(400));
                    let is_renamed = random.below(2) == 0;
                    let (from, to_key) = ((database, key), (1, to.as_bytes()));
                    let done = if is_renamed {
                        store.rename(from, to_key).expect("room")
                    } else {
                        store.copy(from, to_key).expect("room")
                    };
                    let source = model.get(&slot).cloned();
                    assert_eq!(done, source.is_some(), "seed {seed} step {step}");
                    if is_renamed {
                        model.remove(&slot);
                    }
                    if let Some(source) = source {
                        model.insert((1, to), source);
                    }
                }
                _ => {
                    let value = store
                        .get(database, key, Touch::Use)
                        .map(|v| v.bytes.to_vec());
                    let known = model.get(&slot).map(|(value, _)| value.clone());
                    assert_eq!(value, known, "seed {seed} step {step} {name}");
                }
            }
            if step % 1000 == 0 {
                assert_eq!(store.inconsistency(), None, "seed {seed} step {step}");
                while store.expire_due(10) {}
                let expected = |database| model.keys().filter(|key| key.0 == database).count();
                assert_eq!([store.len(0), store.len(1)], [expected(0), expected(1)]);
                let expiring = model.iter().filter(|(key, v)| key.0 == 0 && v.1.is_some());
                assert_eq!(store.expiring_len(0), expiring.count(), "seed {seed}");
                let soonest = model.values().filter_map(|(_, at)| *at).min();
                assert_eq!(store.next_expiry_ms(), soonest, "seed {seed} step {step}");
            }
        }
        store.flush(0);
        store.flush(1);
        assert_eq!(store.budget.held_bytes(), 0, "seed {seed}");
    }
}

#[test]
fn an_expired_key_is_gone_a_millisecond_after_its_time_and_not_before() {
    let mut store = store_of(1 << 20, "noeviction");
    store
        .set(0, b"k", b"v", Encoding::Raw, Expiry::AtMs(1_000_500))
        .expect("room");
    store.set_time(1_000_500);
    assert!(store.get(0, b"k", Touch::Use).is_some());
    store.set_time(1_000_501);
    assert!(store.get(0, b"k", Touch::Use).is_none());
    assert_eq!((store.len(0), store.events().expired_lazily), (0, 1));
}

#[test]
fn the_only_key_with_an_expiry_is_set_again_with_one_after_its_time() {
    let mut store = store_of(1 << 20, "noeviction");
    for now in [1_000_000, 1_001_000] {
        store.set_time(now);
        store
            .set(0, b"k", b"v", Encoding::Raw, Expiry::AtMs(now + 500))
            .expect("room");
        assert_eq!(store.expiry(0, b"k", Touch::Use), Some(Some(now + 500)));
    }
    assert_eq!((store.len(0), store.events().expired_lazily), (1, 1));
}

#[test]
fn a_full_store_evicts_what_was_unused_longest_and_stays_within_its_limit() {
    let mut store = store_of(1 << 20, "allkeys-lru");
    for id in 0..40_000_u64 {
        store.set_time(1_000_000 + id * 32);
        assert!(set_with_room(
            &mut store,
            &format!("key:{id}"),
            &[7; 64],
            Expiry::Never
        ));
        store.get(0, b"key:0", Touch::Use);
        assert!(store.sizes().used_bytes <= (1 << 20) + 65_536);
    }
    assert!(
        store.get(0, b"key:0", Touch::Use).is_some(),
        "used all the time"
    );
    let mut live = Vec::new();
    store.keys(0, |key| {
        live.push(
            String::from_utf8_lossy(&key[4..])
                .parse::<u64>()
                .expect("id"),
        )
    });
    let held = live.len() as u64;
    assert!(held > 7000, "64 B values with little overhead: {held}");
    let recent = live.iter().filter(|&&id| id >= 40_000 - held).count() as u64;
    assert!(
        recent * 100 > held * 75,
        "{recent} of {held} are the most recent ones"
    );
}

#[test]
fn under_a_volatile_policy_only_keys_with_an_expiry_leave() {
    for policy in [
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
    ] {
        let mut store = store_of(256 << 10, policy);
        for id in 0..200 {
            assert!(set_with_room(
                &mut store,
                &format!("stay:{id}"),
                &[1; 100],
                Expiry::Never
            ));
        }
        for id in 0..5000_u64 {
            let expiry = Expiry::AtMs(9_000_000 + id);
            assert!(
                set_with_room(&mut store, &format!("go:{id}"), &[1; 100], expiry),
                "{policy}"
            );
        }
        assert!(
            (0..200).all(|id| store.touch_key(0, format!("stay:{id}").as_bytes())),
            "{policy}"
        );
        assert!(store.events().evicted > 2000, "{policy}");
        // With nothing that may go left, a full store refuses.
        let refused = (0..5000)
            .any(|id| !set_with_room(&mut store, &format!("more:{id}"), &[1; 100], Expiry::Never));
        assert!(refused && store.expiring_len(0) == 0, "{policy}");
    }
}

#[test]
fn frequently_used_keys_outlive_recent_ones_under_lfu() {
    let mut store = store_of(256 << 10, "allkeys-lfu");
    for id in 0..100 {
        let key = format!("hot:{id}");
        assert!(set_with_room(&mut store, &key, &[1; 100], Expiry::Never));
        (0..200).for_each(|_| assert!(store.touch_key(0, key.as_bytes())));
    }
    for id in 0..10_000 {
        assert!(set_with_room(
            &mut store,
            &format!("cold:{id}"),
            &[1; 100],
            Expiry::Never
        ));
    }
    let hot = (0..100)
        .filter(|id| store.touch_key(0, format!("hot:{id}").as_bytes()))
        .count();
    assert!(hot >= 98, "{hot}");
}

#[test]
fn without_eviction_a_full_store_refuses_and_keeps_every_key() {
    let mut store = store_of(256 << 10, "noeviction");
    let held = (0..).take_while(|id| set(&mut store, &format!("key:{id}"), &[1; 100]).is_ok());
    let held = held.count();
    assert!(!store.make_room(100));
    assert_eq!(store.len(0), held);
    assert!((0..held).all(|id| store.touch_key(0, format!("key:{id}").as_bytes())));
}

#[test]
fn freed_slots_of_one_size_serve_another_size_by_moving_entries_not_by_eviction() {
    let mut store = store_of(1 << 20, "noeviction");
    let held = (0..).take_while(|id| set(&mut store, &format!("key:{id}"), &[1; 100]).is_ok());
    let held = held.count();
    (0..held)
        .step_by(2)
        .for_each(|id| assert!(store.remove(0, format!("key:{id}").as_bytes())));
    let mut placed = 0;
    while set_with_room(
        &mut store,
        &format!("big:{placed}"),
        &[2; 1000],
        Expiry::Never,
    ) {
        placed += 1;
    }
    assert!(
        placed * 1000 > held * 100 / 4,
        "{placed} big values after {held} small ones"
    );
    for id in (1..held).step_by(2) {
        let value = store
            .get(0, format!("key:{id}").as_bytes(), Touch::Use)
            .expect("kept");
        assert_eq!(value.bytes, [1; 100]);
    }
}

#[test]
fn a_value_may_fill_the_largest_block_and_no_more() {
    let mut store = store_of(16 << 20, "allkeys-lru");
    let value = vec![5; ENTRY_BYTES_MAX - 1];
    set(&mut store, "k", &value).expect("it fits exactly");
    assert_eq!(
        store.get(0, b"k", Touch::Use).map(|v| v.bytes.len()),
        Some(value.len())
    );
    let error = set(&mut store, "kk", &value).expect_err("one byte too long");
    assert_eq!(error.kind(), Kind::Command(CommandFault::TooLong));
    assert!(set_with_room(&mut store, "a", &value, Expiry::Never));
    assert!(set_with_room(&mut store, "b", &value, Expiry::Never));
    assert!(
        set_with_room(&mut store, "c", &value, Expiry::Never),
        "evicts one of them"
    );
}

#[test]
fn lowering_the_limit_lets_keys_go_until_it_holds() {
    let mut store = store_of(4 << 20, "allkeys-random");
    for id in 0..20_000 {
        set(&mut store, &format!("key:{id}"), &[1; 64]).expect("room");
    }
    store.set_limit(1 << 20);
    while store.is_over_limit() {
        assert!(store.make_room(0));
    }
    assert!(store.budget.held_bytes() <= 1 << 20);
    assert!(store.len(0) > 3000, "{}", store.len(0));
}

#[test]
fn swapped_databases_keep_their_keys_and_expiries() {
    let mut store = store_of(1 << 20, "noeviction");
    store
        .set(0, b"a", b"1", Encoding::Int, Expiry::AtMs(2_000_000))
        .expect("room");
    store
        .set(3, b"b", b"2", Encoding::Int, Expiry::Never)
        .expect("room");
    store.swap(0, 3);
    assert_eq!(store.expiry(3, b"a", Touch::Use), Some(Some(2_000_000)));
    assert_eq!(store.expiry(0, b"b", Touch::Use), Some(None));
    assert_eq!((store.expiring_len(0), store.expiring_len(3)), (0, 1));
    store.flush(3);
    assert_eq!(
        (store.len(0), store.len(3), store.next_expiry_ms()),
        (1, 0, None)
    );
}

#[test]
fn nothing_of_the_keyspace_is_on_the_heap() {
    let mut store = store_of(2 << 20, "allkeys-lru");
    let mut random = Random::new(9);
    let value = [7; 20_000];
    let before = heap_requests();
    let mut key = *b"key:0000";
    for step in 0..60_000_u64 {
        store.set_time(1_000_000 + step);
        let id = random.below(9000) as u16;
        key[4..6].copy_from_slice(&id.to_le_bytes());
        let database = random.below(3) as usize;
        let len = if step % 90 == 0 { 20_000 } else { 300 };
        let value = &value[..random.below(len) as usize];
        let done = match random.below(12) {
            0..6 => store.set(
                database,
                &key,
                value,
                Encoding::Raw,
                Expiry::AtMs(1_020_000 + step),
            ),
            6 => store.patch(database, &key, 50, &value[..value.len().min(100)]),
            7 => store.copy((database, &key), (0, b"copy")).map(drop),
            8 => store.rename((database, &key), (1, b"renamed")).map(drop),
            9 => store.set_expiry(database, &key, Expiry::Never).map(drop),
            10 => {
                store.remove(database, &key);
                Ok(())
            }
            _ => {
                store.get(database, &key, Touch::Use);
                Ok(())
            }
        };
        if done.is_err() {
            assert!(store.make_room(value.len()));
        }
        if step % 25_000 == 0 {
            store.expire_due(1000);
            store.flush(2);
            store.swap(0, 2);
        }
    }
    assert!(store.events().evicted > 0, "{:?}", store.sizes());
    assert!(store.total_len() > 500, "{}", store.total_len());
    store.recover();
    store.flush_all();
    assert_eq!(heap_requests() - before, 0);
    assert_eq!(store.sizes().used_bytes, 0);
}
