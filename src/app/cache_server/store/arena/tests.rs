//! The arena against the budget it takes from.

use super::super::testing::host_frames;
use super::*;
use crate::cache::random::Random;
use std::vec::Vec;

#[test]
fn slots_never_overlap_and_all_memory_goes_back() {
    let frames = host_frames(64 << 20);
    for seed in 0..20 {
        let mut budget = Budget::new(frames, 64 << 20);
        let mut arena = Arena::new();
        let mut random = Random::new(seed);
        let mut live: Vec<(Handle, u8, usize)> = Vec::new();
        for step in 0..3000_u32 {
            if random.below(5) < 3 {
                let bytes = match random.below(20) {
                    0 => 9000 + random.below(60_000) as usize,
                    1..4 => 8 + random.below(8000) as usize,
                    _ => 8 + random.below(200) as usize,
                };
                let handle = arena
                    .allocate(bytes, &mut budget)
                    .expect("64 MiB are enough");
                let fill = (step % 255 + 1) as u8;
                arena.slot_mut(handle)[..bytes].fill(fill);
                live.push((handle, fill, bytes));
            } else if !live.is_empty() {
                let at = random.below(live.len() as u32) as usize;
                let (handle, fill, bytes) = live.swap_remove(at);
                let slot = &arena.slot(handle)[..bytes];
                assert!(slot.iter().all(|&b| b == fill), "seed {seed} step {step}");
                arena.free(handle, &mut budget);
            }
        }
        for (handle, ..) in live {
            arena.free(handle, &mut budget);
        }
        assert_eq!(
            (budget.held_bytes(), arena.live_bytes()),
            (0, 0),
            "seed {seed}"
        );
    }
}

#[test]
fn a_request_beyond_the_limit_is_refused_and_changes_nothing() {
    let mut budget = Budget::new(host_frames(1 << 20), 20 << 10);
    let mut arena = Arena::new();
    let first = arena.allocate(100, &mut budget).expect("one slab fits");
    assert!(arena.allocate(2000, &mut budget).is_err());
    assert!(arena.allocate(5 << 20, &mut budget).is_err());
    assert_eq!(
        budget.held_bytes(),
        (16 << 10) + (4 << 10),
        "a slab and the directory"
    );
    arena.free(first, &mut budget);
    assert_eq!(budget.held_bytes(), 0);
}
