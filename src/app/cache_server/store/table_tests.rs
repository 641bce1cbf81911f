//! The table against a plain model, growing and shrinking.

use super::arena::Handle;
use super::buckets::{BUCKETS_PER_PAGE, PAGE_ORDER};
use super::budget::Budget;
use super::table::{Link, Place, Table};
use super::testing::host_frames;
use crate::cache::random::Random;
use std::collections::{HashMap, HashSet};
use std::vec::Vec;

/// A directory of few pages, of the table's or of overflow buckets.
const DIRECTORY_BYTES: u64 = 4096;

fn link(id: u32) -> Link {
    let hash = (u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32;
    Link {
        hash,
        handle: Handle::from_raw(id).expect("ids start at 1"),
    }
}

fn opened(budget: &mut Budget) -> Table {
    let mut table = Table::new();
    table.open(budget).expect("memory");
    table
}

fn find(table: &Table, id: u32) -> Option<Place> {
    let Link { hash, handle } = link(id);
    let (mut place, mut other) = table.first(hash)?;
    while other != handle {
        (place, other) = table.next(hash, place)?;
    }
    Some(place)
}

#[test]
fn it_holds_what_a_model_holds_while_it_grows_and_shrinks() {
    for seed in 0..5 {
        let mut budget = Budget::new(host_frames(16 << 20), 16 << 20);
        let mut table = opened(&mut budget);
        let mut random = Random::new(seed);
        let mut model = HashSet::new();
        for phase in [9, 1, 8, 2, 5, 0] {
            for _ in 0..20_000 {
                let id = random.below(30_000) + 1;
                let place = find(&table, id);
                assert_eq!(place.is_some(), model.contains(&id), "seed {seed} id {id}");
                match place {
                    None if random.below(10) < phase => {
                        table.insert(link(id), &mut budget).expect("memory");
                        model.insert(id);
                    }
                    Some(place) if random.below(10) >= phase => {
                        table.remove(place, &mut budget);
                        model.remove(&id);
                    }
                    _ => {}
                }
            }
            let seen: HashSet<u32> = table.iter().map(|link| link.handle.raw()).collect();
            assert_eq!(
                (seen.len(), table.len()),
                (model.len(), model.len()),
                "seed {seed}"
            );
        }
        for id in model {
            table.remove(find(&table, id).expect("the model holds it"), &mut budget);
        }
        assert_eq!(table.bucket_count(), BUCKETS_PER_PAGE);
        assert_eq!(
            budget.held_bytes(),
            PAGE_ORDER.bytes() as u64 + DIRECTORY_BYTES,
            "seed {seed}"
        );
        table.close(&mut budget);
        assert_eq!(budget.held_bytes(), 0);
    }
}

#[test]
fn a_scan_returns_every_key_that_is_there_throughout_whatever_else_happens() {
    for seed in 0..20 {
        let mut budget = Budget::new(host_frames(16 << 20), 16 << 20);
        let mut table = opened(&mut budget);
        let mut random = Random::new(seed);
        for id in 1..=2000 {
            table.insert(link(id), &mut budget).expect("memory");
        }
        let is_growing = seed % 2 == 0;
        let mut next_id = 2001;
        if !is_growing {
            for id in 2001..=12_000 {
                table.insert(link(id), &mut budget).expect("memory");
            }
        }
        let mut seen = HashMap::new();
        let mut cursor = 0;
        loop {
            cursor = table.scan(cursor, |link| {
                *seen.entry(link.handle.raw()).or_insert(0) += 1;
            });
            if cursor == 0 {
                break;
            }
            for _ in 0..random.below(30) {
                if is_growing && next_id < 60_000 {
                    table.insert(link(next_id), &mut budget).expect("memory");
                } else if !is_growing && next_id <= 12_000 {
                    let place = find(&table, next_id).expect("inserted above");
                    table.remove(place, &mut budget);
                }
                next_id += 1;
            }
        }
        let missed = (1..=2000).filter(|id| !seen.contains_key(id)).count();
        assert_eq!(missed, 0, "seed {seed}");
    }
}

#[test]
fn without_memory_to_grow_it_goes_on_with_longer_chains_until_those_are_refused() {
    let limit = PAGE_ORDER.bytes() as u64 + 3 * 4096 + DIRECTORY_BYTES;
    let mut budget = Budget::new(host_frames(1 << 20), limit);
    let mut table = opened(&mut budget);
    let mut held = 0;
    while table.insert(link(held + 1), &mut budget).is_ok() {
        held += 1;
    }
    assert!(held > 1500, "{held}");
    assert_eq!(table.len(), held as usize);
    assert!((1..=held).all(|id| find(&table, id).is_some()));
}

#[test]
fn random_links_come_from_all_over_the_table() {
    let mut budget = Budget::new(host_frames(1 << 20), 1 << 20);
    let mut table = opened(&mut budget);
    let mut random = Random::new(3);
    assert!(table.random(&mut random).is_none());
    (1..=50).for_each(|id| table.insert(link(id), &mut budget).expect("memory"));
    let seen: HashSet<u32> = (0..2000)
        .map(|_| table.random(&mut random).expect("not empty").handle.raw())
        .collect();
    assert_eq!(seen.len(), 50);
    let mut sampled = Vec::new();
    table.sample(&mut random, 5, |link| sampled.push(link.handle.raw()));
    assert_eq!(sampled.len(), 5);
}
