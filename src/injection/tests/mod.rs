//! The law of each knob, orders and refusals, and what each wrapper does.

mod block;
mod frames;
mod network;
mod orders;

use super::{Declaration, Group, Knob, Knobs};
use std::boxed::Box;
use std::vec::Vec;

const POINTS: &[Declaration] = &[
    Declaration::new("plain"),
    Declaration::new("aimed").with_targets(&["here", "there"]),
];

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn armed(knobs: &[(Knob, u64)]) -> Group {
    let group = Group::new(POINTS).expect("memory");
    group.arm(0, &turned(knobs));
    group
}

fn turned(knobs: &[(Knob, u64)]) -> Knobs {
    let mut turned = Knobs::of(&POINTS[0]);
    for &(knob, value) in knobs {
        turned.put(knob, value);
    }
    turned
}

/// Which of the first calls fail, counted from 1.
fn failing(group: &Group, calls: u64) -> Vec<u64> {
    (1..=calls).filter(|_| group.fires(0)).collect()
}

const FOR_EVER: (Knob, u64) = (Knob::Times, Knobs::UNLIMITED);

#[test]
fn nothing_fails_before_it_is_armed_or_after_it_is_disarmed() {
    let group = Group::new(POINTS).expect("memory");
    assert!(!group.is_armed() && failing(&group, 100).is_empty());
    group.arm(0, &turned(&[FOR_EVER]));
    assert!(group.is_armed() && group.fires(0));
    group.disarm(0);
    assert!(!group.is_armed() && failing(&group, 100).is_empty());
    // Twice is no more than once.
    group.disarm(0);
    assert!(!group.is_armed());
}

#[test]
fn unless_told_otherwise_the_next_call_fails_and_none_after_it() {
    let group = armed(&[]);
    assert_eq!(failing(&group, 100), [1]);
    assert!(!group.is_armed());
}

#[test]
fn times_bounds_how_many_calls_fail() {
    let group = armed(&[(Knob::Times, 3)]);
    assert_eq!(failing(&group, 100), [1, 2, 3]);
    assert!(!group.is_armed());
    assert_eq!(failing(&armed(&[FOR_EVER]), 1_000).len(), 1_000);
    // Linux has a point with no times left suppress all.
    let group = armed(&[(Knob::Times, 0)]);
    assert!(failing(&group, 100).is_empty() && !group.is_armed());
}

#[test]
fn one_call_in_an_interval_fails() {
    let group = armed(&[FOR_EVER, (Knob::Interval, 7)]);
    assert_eq!(failing(&group, 30), [7, 14, 21, 28]);
}

#[test]
fn a_probability_is_that_of_each_call() {
    for percent in [0, 1, 30, 99, 100] {
        let group = armed(&[FOR_EVER, (Knob::Probability, percent)]);
        let failed = failing(&group, 100_000).len() as u64;
        // Five standard deviations of a binomial are at most 791.
        assert!(
            failed.abs_diff(1_000 * percent) < 800,
            "{percent}: {failed}"
        );
        assert!(percent % 100 != 0 || failed == 1_000 * percent);
    }
}

#[test]
fn the_same_seed_fails_the_same_calls_and_another_seed_others() {
    let run = |seed| {
        failing(
            &armed(&[FOR_EVER, (Knob::Probability, 50), (Knob::Seed, seed)]),
            256,
        )
    };
    for seed in 0..50 {
        assert_eq!(run(seed), run(seed), "{seed}");
        let (one, other) = (run(seed), run(seed + 1));
        let shared = one.iter().filter(|call| other.contains(call)).count();
        assert!((30..100).contains(&shared), "{seed}: {shared}");
    }
    // Armed anew, a point begins anew.
    let knobs = [FOR_EVER, (Knob::Probability, 50), (Knob::Seed, 7)];
    let group = armed(&knobs);
    let first = (failing(&group, 100), group.draw(0));
    group.arm(0, &turned(&knobs));
    assert_eq!((failing(&group, 100), group.draw(0)), first);
}

#[test]
fn nothing_fails_before_the_space_is_used_up() {
    let group = armed(&[FOR_EVER, (Knob::Space, 4)]);
    assert_eq!(failing(&group, 6), [5, 6]);
    let group = armed(&[FOR_EVER, (Knob::Space, 10_000)]);
    let fires: Vec<bool> = (0..4).map(|_| group.fires_for(0, 4_096)).collect();
    assert_eq!(fires, [false, false, true, true]);
}

#[test]
fn the_nth_call_alone_fails_whatever_the_other_knobs_say() {
    let others = [
        (Knob::Probability, 0),
        (Knob::Interval, 9),
        (Knob::Space, 99),
    ];
    for nth in [1, 2, 77] {
        let knobs: Vec<_> = others.into_iter().chain([(Knob::Nth, nth)]).collect();
        let group = armed(&knobs);
        assert_eq!(failing(&group, 200), [nth]);
        assert!(!group.is_armed());
    }
}

#[test]
fn space_and_interval_do_not_use_up_what_comes_after_them() {
    let knobs = [(Knob::Times, 2), (Knob::Space, 5), (Knob::Interval, 3)];
    assert_eq!(failing(&armed(&knobs), 100), [8, 11]);
}

#[test]
fn a_point_with_targets_fails_for_the_one_it_is_armed_for() {
    let group = Group::new(POINTS).expect("memory");
    let fires = |target| group.fires_at(1, target, 1);
    assert!(!fires(0) && !fires(1));
    group.arm(1, &turned(&[(Knob::Target, 1), (Knob::Times, 2)]));
    assert!(!fires(0) && fires(1));
    assert!(!fires(0) && fires(1) && !fires(1));
}
