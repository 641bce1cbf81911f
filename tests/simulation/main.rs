//! The whole spine under a simulated clock and a seeded scheduler: executors, mailboxes, requests, topics,
//! parcels, the registry and the supervisor, with subsystems that are killed at random steps.
//!
//! One seed is one interleaving. After each step the world is compared with what it should be (`ledger.rs`,
//! `world.rs`): no message lost or doubled, no parcel with two owners or none, registry and reality agree,
//! restarts within their intensity. A failing seed is printed: `NOS_TEST_SEED=n` runs that one alone.
#![allow(unsafe_code, reason = "simulated frames are the host's memory")]

mod ledger;
mod memory;
mod toys;
mod world;

use world::{Breakage, World};

/// Seeds in `make test` and in `make nightly`, and steps of each.
const SEEDS: u64 = 2_000;
const SEEDS_NIGHTLY: u64 = 200_000;
const STEPS: usize = 250;

fn run(seed: u64, breakage: Breakage) -> Result<world::Outcome, String> {
    let mut world = World::new(seed, breakage);
    let outcome = world.run(STEPS);
    world.clear();
    outcome
}

#[test]
fn every_seed_keeps_the_promises_of_the_spine() {
    let only = std::env::var("NOS_TEST_SEED").ok();
    let (first, count) = match only.and_then(|seed| seed.parse().ok()) {
        Some(seed) => (seed, 1),
        None if std::env::var_os("NOS_NIGHTLY").is_some() => (0, SEEDS_NIGHTLY),
        None => (0, SEEDS),
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let mut sum = world::Outcome::default();
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let mut sum = world::Outcome::default();
                    for seed in (first..first + count)
                        .skip(thread as usize)
                        .step_by(threads as usize)
                    {
                        match run(seed, Breakage::None) {
                            Ok(outcome) => sum.add(&outcome),
                            Err(fault) => panic!("NOS_TEST_SEED={seed}: {fault}"),
                        }
                    }
                    sum
                })
            })
            .collect();
        for run in runs {
            sum.add(
                &run.join()
                    .unwrap_or_else(|fault| std::panic::resume_unwind(fault)),
            );
        }
    });
    println!("{count} seeds: {sum:?}");
    // All that could go wrong was tried, in a full run.
    if count > 1 {
        let tried = [
            sum.delivered,
            sum.dropped,
            sum.answered,
            sum.failed,
            sum.kills,
            sum.escalations,
            sum.reboots,
        ];
        assert!(tried.iter().all(|&number| number > 100), "{sum:?}");
    }
}

#[test]
fn one_seed_is_one_interleaving() {
    let trace = |seed| run(seed, Breakage::None).expect("a good seed").trace;
    for seed in 0..20 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
        assert_ne!(trace(seed), trace(seed + 1), "seed {seed} and the next");
    }
}

/// The simulation can fail: each deliberately broken part is seen within few seeds, for the right reason.
fn is_caught(breakage: Breakage, complaint: &str) {
    let fault = (0..50).find_map(|seed| run(seed, breakage).err());
    let fault = fault.unwrap_or_else(|| panic!("{breakage:?} goes unseen"));
    assert!(fault.contains(complaint), "{breakage:?}: {fault}");
}

#[test]
fn a_mailbox_that_loses_a_message_is_caught() {
    is_caught(Breakage::LosesMessages, "lost silently");
}

#[test]
fn a_mailbox_that_doubles_a_message_is_caught() {
    is_caught(Breakage::DoublesMessages, "received twice");
}

#[test]
fn a_mailbox_that_does_not_ring_is_caught() {
    is_caught(Breakage::DoesNotRing, "nobody was woken");
}

#[test]
fn a_charge_that_does_not_move_is_caught() {
    is_caught(Breakage::KeepsCharges, "parcel");
}

#[test]
fn a_supervisor_that_restarts_too_often_is_caught() {
    is_caught(Breakage::RestartsTooOften, "restarts within");
}

#[test]
fn a_death_that_the_registry_does_not_hear_of_is_caught() {
    is_caught(Breakage::HidesDeaths, "the registry says");
}

#[test]
fn a_request_to_a_dead_server_that_is_not_answered_is_caught() {
    is_caught(Breakage::ForgetsClients, "requests are open");
}
