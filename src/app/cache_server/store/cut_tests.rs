//! Every operation cut off after every machine step: recovery leaves the old state or the new one.

use super::stepping::Stage;
use super::*;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

const NOW_MS: u64 = 1_000_000;
/// One key with all that is known of it.
type Row = (usize, String, Vec<u8>, Encoding, Option<u64>);

/// What may be found after a cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Between {
    /// The state before, or the one after.
    Nothing,
    /// As many keys gone as the operation came to: it is several, one after another.
    SomeGone,
}

fn stage(pages: usize, policy: &str) -> Stage {
    let policy = EvictionPolicy::ALLKEYS_LRU
        .renamed(policy)
        .expect("a policy");
    let mut stage = Stage::new(pages, (pages * 4096) as u64, policy);
    stage.store().set_time(NOW_MS);
    stage
}

fn set(store: &mut Store, key: &str, value: &[u8], expiry: Expiry) {
    store
        .set(0, key.as_bytes(), value, Encoding::Raw, expiry)
        .expect("room");
}

/// A store with keys of several sizes, some with an expiry, in two databases.
fn furnished() -> Stage {
    let mut stage = stage(128, "allkeys-lru");
    let store = stage.store();
    for id in 0..24_u64 {
        let expiry = if id % 2 == 0 {
            Expiry::AtMs(NOW_MS + 1000 + id * 7919 % 100)
        } else {
            Expiry::Never
        };
        let len = [3, 64, 20, 300, 100, 2000][id as usize % 6];
        set(store, &format!("key:{id}"), &vec![id as u8; len], expiry);
    }
    let other = store.set(3, b"key:1", b"elsewhere", Encoding::Raw, Expiry::Never);
    other.expect("room");
    stage
}

fn rows(store: &mut Store) -> Vec<Row> {
    let mut names = Vec::new();
    for database in 0..DATABASES {
        store.keys(database, |key| {
            names.push((database, String::from_utf8_lossy(key).into_owned()));
        });
    }
    names.sort();
    let row = |(database, name): (usize, String)| {
        let key = name.as_bytes();
        let expiry = store.expiry(database, key, Touch::LookOnly).expect("a key");
        let value = store.get(database, key, Touch::LookOnly).expect("a key");
        let (bytes, encoding) = (value.bytes.to_vec(), value.encoding);
        (database, name, bytes, encoding, expiry)
    };
    names.into_iter().map(row).collect()
}

/// Cuts `operation` off at every step. `seen` is what the store is looked at as, at which time.
fn cut(stage: &mut Stage, between: Between, now_ms: u64, operation: impl Fn(&mut Store)) -> usize {
    let look = |store: &mut Store| {
        let now = store.now_ms();
        store.set_time(now_ms);
        let rows = rows(store);
        store.set_time(now);
        rows
    };
    let before = look(stage.store());
    let mut found = Vec::new();
    let steps = stage.step_through(&operation, |stage| {
        let recovery = stage.store().recover();
        assert_eq!(recovery.lost, 0, "{recovery:?}");
        assert_eq!(stage.store().inconsistency(), None, "{recovery:?}");
        let held_bytes = stage.store().sizes().used_bytes;
        assert_eq!(stage.taken_bytes(), held_bytes, "{recovery:?}");
        found.push((look(stage.store()), recovery));
        operation(stage.store());
        assert_eq!(stage.store().inconsistency(), None, "after {recovery:?}");
    });
    // The child has run it to its end.
    assert_eq!(stage.store().inconsistency(), None);
    let after = look(stage.store());
    let is_old_or_new = |rows: &[Row]| rows == before || rows == after;
    let is_some_gone = |rows: &[Row]| {
        let is_within = |few: &[Row], many: &[Row]| few.iter().all(|row| many.contains(row));
        is_within(&after, rows) && is_within(rows, &before)
    };
    for (step, (rows, recovery)) in found.iter().enumerate() {
        let is_right = match between {
            Between::Nothing => is_old_or_new(rows),
            Between::SomeGone => is_some_gone(rows),
        };
        let beside = |rows: &[Row], known: &[Row]| -> Vec<Row> {
            let strange = rows.iter().filter(|row| !known.contains(row));
            strange.cloned().collect()
        };
        assert!(
            is_right,
            "step {step} of {steps}, {recovery:?}: not before {:?}, not after {:?}, before is more by {:?}",
            beside(rows, &before),
            beside(rows, &after),
            beside(&before, rows)
        );
    }
    assert!(found.iter().any(|(rows, _)| *rows == after));
    steps
}

fn cut_furnished(operation: impl Fn(&mut Store)) -> usize {
    cut(&mut furnished(), Between::Nothing, NOW_MS, operation)
}

fn cut_set(key: &str, len: usize, expiry: Expiry) {
    cut_furnished(|store| set(store, key, &vec![0xee; len], expiry));
}

#[test]
fn a_set_of_a_new_key_is_done_or_not() {
    cut_set("new", 40, Expiry::Never);
    cut_set("new", 40, Expiry::AtMs(NOW_MS + 1));
    cut_set("a size of its own", 700, Expiry::Never);
    cut_set("a block of its own", 9000, Expiry::AtMs(NOW_MS + 1));
}

#[test]
fn an_overwrite_in_place_is_done_or_not() {
    for (key, len) in [
        ("key:1", 64),
        ("key:1", 60),
        ("key:3", 300),
        ("key:11", 2000),
    ] {
        cut_set(key, len, Expiry::Never);
        cut_furnished(|store| {
            let value = vec![0xee; len];
            if !store.overwrite(0, key.as_bytes(), &value, Encoding::Embstr) {
                set(store, key, &value, Expiry::Never);
            }
        });
    }
    cut_furnished(|store| assert!(store.overwrite(3, b"key:1", b"elsewhen!", Encoding::Int)));
}

#[test]
fn an_overwrite_that_changes_size_or_expiry_is_done_or_not() {
    cut_set("key:1", 500, Expiry::Never);
    cut_set("key:3", 5, Expiry::AtMs(NOW_MS + 1050));
    cut_set("key:2", 20, Expiry::AtMs(NOW_MS + 1));
    cut_set("key:2", 20, Expiry::AtMs(NOW_MS + 5000));
    cut_set("key:2", 20, Expiry::Never);
    cut_set("key:2", 120, Expiry::Keep);
    cut_set("key:2", 120, Expiry::Never);
    cut_set("key:10", 9000, Expiry::AtMs(NOW_MS + 1));
}

#[test]
fn a_patch_is_done_or_not() {
    for (key, offset, len) in [
        ("key:2", 20, 1),
        ("key:2", 5, 10),
        ("key:2", 15, 7),
        ("key:2", 22, 2),
        ("key:2", 15, 70),
        ("key:5", 100, 1500),
        ("new", 3, 30),
    ] {
        cut_furnished(|store| {
            let patch = vec![0xee; len];
            store
                .patch(0, key.as_bytes(), offset, &patch)
                .expect("room");
        });
    }
}

#[test]
fn a_change_of_expiry_is_done_or_not() {
    for (key, expiry) in [
        ("key:1", Expiry::AtMs(NOW_MS + 1)),
        ("key:1", Expiry::AtMs(NOW_MS + 9999)),
        ("key:6", Expiry::AtMs(NOW_MS + 1)),
        ("key:6", Expiry::AtMs(NOW_MS + 9999)),
        ("key:0", Expiry::Never),
        ("key:8", Expiry::Never),
    ] {
        cut_furnished(|store| {
            assert!(store.set_expiry(0, key.as_bytes(), expiry).expect("room"));
        });
    }
}

#[test]
fn a_removal_is_done_or_not() {
    for key in ["key:1", "key:0", "key:8", "key:22"] {
        cut_furnished(|store| {
            store.remove(0, key.as_bytes());
        });
    }
    let mut lonely = stage(32, "allkeys-lru");
    set(lonely.store(), "k", b"v", Expiry::AtMs(NOW_MS + 1));
    cut(&mut lonely, Between::Nothing, NOW_MS, |store| {
        store.remove(0, b"k");
    });
    assert_eq!(lonely.store().arena.live_bytes(), 0);
}

#[test]
fn a_rename_or_copy_leaves_one_name_or_two_and_one_value_each() {
    for (from, to) in [
        ("key:1", "new"),
        ("key:2", "key:1"),
        ("key:1", "key:4"),
        ("key:2", "key:4"),
    ] {
        cut_furnished(|store| {
            let renamed = store.rename((0, from.as_bytes()), (0, to.as_bytes()));
            renamed.expect("room");
        });
        cut_furnished(|store| {
            store
                .copy((0, from.as_bytes()), (3, to.as_bytes()))
                .expect("room");
        });
    }
    cut_furnished(|store| {
        store.rename((0, b"key:2"), (3, b"key:1")).expect("room");
    });
}

#[test]
fn an_eviction_takes_one_key_or_none() {
    for policy in ["allkeys-lru", "volatile-ttl", "allkeys-random"] {
        let mut stage = furnished();
        let policy = EvictionPolicy::ALLKEYS_LRU.renamed(policy);
        stage.store().set_policy(policy.expect("a policy"));
        stage.store().set_limit(0);
        cut(&mut stage, Between::SomeGone, NOW_MS, |store| {
            store.make_room(1);
        });
        assert_eq!(stage.store().events().evicted, 1);
    }
}

#[test]
fn a_sweep_of_expired_keys_takes_each_or_leaves_it() {
    let mut stage = furnished();
    stage.store().set_time(NOW_MS + 1050);
    cut(&mut stage, Between::SomeGone, NOW_MS, |store| {
        store.expire_due(100);
    });
    assert!(stage.store().events().expired_actively > 3);
}

#[test]
#[ignore = "minutes of single steps: make nightly"]
fn a_flush_or_an_exchange_of_databases_is_done_or_not() {
    cut_furnished(|store| store.flush(0));
    cut_furnished(|store| store.flush(3));
    cut_furnished(Store::flush_all);
    cut_furnished(|store| store.swap(0, 3));
}

#[test]
#[ignore = "minutes of single steps: make nightly"]
fn a_table_that_splits_or_merges_keeps_every_key() {
    let mut stage = stage(128, "noeviction");
    let full = buckets::BUCKETS_PER_PAGE * 4;
    for id in 0..full {
        set(stage.store(), &format!("{id}"), b"v", Expiry::Never);
    }
    let count = |stage: &mut Stage| stage.store().tables[0].bucket_count();
    assert_eq!(count(&mut stage), buckets::BUCKETS_PER_PAGE);
    cut(&mut stage, Between::Nothing, NOW_MS, |store| {
        set(store, "one more", b"v", Expiry::Never)
    });
    assert_eq!(count(&mut stage), buckets::BUCKETS_PER_PAGE + 1);
    for id in buckets::BUCKETS_PER_PAGE..full {
        stage.store().remove(0, format!("{id}").as_bytes());
    }
    assert_eq!(count(&mut stage), buckets::BUCKETS_PER_PAGE + 1);
    cut(&mut stage, Between::Nothing, NOW_MS, |store| {
        store.remove(0, b"1");
    });
    assert_eq!(count(&mut stage), buckets::BUCKETS_PER_PAGE);
}

#[test]
#[ignore = "minutes of single steps: make nightly"]
fn a_compaction_moves_every_key_or_leaves_it() {
    let mut stage = stage(64, "noeviction");
    // Two slabs of slots for 900 bytes, one in eight in use.
    for id in 0..34_u64 {
        let expiry = Expiry::AtMs(NOW_MS + 100 - id);
        set(
            stage.store(),
            &format!("key:{id}"),
            &[id as u8; 900],
            expiry,
        );
    }
    for id in (0..34).filter(|id| id % 8 != 0) {
        stage.store().remove(0, format!("key:{id}").as_bytes());
    }
    let held_bytes = stage.store().sizes().used_bytes;
    cut(&mut stage, Between::Nothing, NOW_MS, |store| {
        store.make_room(1);
    });
    assert!(stage.store().sizes().used_bytes < held_bytes);
}

#[test]
#[ignore = "minutes of single steps: make nightly"]
fn a_directory_that_grows_keeps_every_key() {
    let mut stage = stage(900, "noeviction");
    // One slab each; a page of the directory holds 128, the first of them never used.
    for id in 0..127 {
        set(
            stage.store(),
            &format!("key:{id}"),
            &[id as u8; 9000],
            Expiry::Never,
        );
    }
    let held_bytes = stage.store().sizes().used_bytes;
    cut(&mut stage, Between::Nothing, NOW_MS, |store| {
        set(store, "one more", &[7; 9000], Expiry::Never);
    });
    let grown_bytes = stage.store().sizes().used_bytes - held_bytes;
    assert_eq!(grown_bytes, (16 + 4) << 10, "a slab, and two pages for one");
}

#[test]
fn damage_outside_an_operation_is_found_and_made_good() {
    let mut stage = furnished();
    let before = rows(stage.store());
    let damages: [fn(&mut Store); 4] = [
        |store| store.live_keys += 1,
        |store| store.tables[0].forget_links(),
        |store| store.expiring[0] = 0,
        |store| {
            let slot = store.arena.allocate(20, &mut store.budget);
            assert!(slot.is_ok());
        },
    ];
    for damage in damages {
        damage(stage.store());
        assert!(stage.store().inconsistency().is_some());
        let recovery = stage.store().recover();
        assert_eq!((recovery.outcome, recovery.lost), (Outcome::Rebuilt, 0));
        assert_eq!(rows(stage.store()), before);
    }
    assert_eq!(stage.store().recover().outcome, Outcome::Intact);
}
