//! Tests of the supervisor's policy.

use super::Action::{Start, Stop, WarmReboot};
use super::*;
use crate::platform::time::Duration;

fn intensity(restarts: usize, seconds: u64) -> Intensity {
    Intensity {
        restarts,
        period: Duration::from_secs(seconds),
    }
}

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

/// a, b, c below a root of that strategy, all started.
fn three(strategy: Strategy, restarts: usize) -> (Supervisor, [NodeId; 3]) {
    let mut tree = Supervisor::new(strategy, intensity(restarts, 10)).expect("memory");
    let nodes = ["a", "b", "c"].map(|name| tree.worker(Supervisor::ROOT, name).expect("new"));
    assert_eq!(tree.start_all(), [Start("a"), Start("b"), Start("c")]);
    (tree, nodes)
}

#[test]
fn one_for_one_restarts_the_one_that_died() {
    let (mut tree, [_, b, _]) = three(Strategy::OneForOne, 3);
    assert_eq!(tree.died(b, at(1)), [Start("b")]);
}

#[test]
fn rest_for_one_restarts_it_and_those_after_it() {
    let (mut tree, [_, b, _]) = three(Strategy::RestForOne, 3);
    assert_eq!(tree.died(b, at(1)), [Stop("c"), Start("b"), Start("c")]);
}

#[test]
fn one_for_all_stops_the_others_in_reverse_and_starts_all_in_order() {
    let (mut tree, [_, b, _]) = three(Strategy::OneForAll, 3);
    let actions = [Stop("c"), Stop("a"), Start("a"), Start("b"), Start("c")];
    assert_eq!(tree.died(b, at(1)), actions);
}

#[test]
fn restarts_are_counted_in_a_window_that_slides() {
    let (mut tree, [a, b, _]) = three(Strategy::OneForOne, 2);
    assert_eq!(tree.died(a, at(1)), [Start("a")]);
    assert_eq!(tree.died(b, at(8)), [Start("b")]);
    // The first is 11 seconds old, the second 4.
    assert_eq!(tree.died(a, at(12)), [Start("a")]);
    assert_eq!(tree.died(a, at(13)), [Stop("c"), Stop("b"), WarmReboot]);
    assert!(!tree.is_alive(a));
}

#[test]
fn a_restart_as_old_as_the_period_still_counts() {
    let (mut tree, [a, ..]) = three(Strategy::OneForOne, 1);
    assert_eq!(tree.died(a, at(0)), [Start("a")]);
    assert_eq!(tree.died(a, at(10)).last(), Some(&WarmReboot));
}

#[test]
fn an_intensity_of_none_gives_up_at_the_first_death() {
    let (mut tree, [a, ..]) = three(Strategy::OneForOne, 0);
    assert_eq!(tree.died(a, at(0)), [Stop("c"), Stop("b"), WarmReboot]);
}

#[test]
fn who_is_not_to_run_cannot_die() {
    let (mut tree, [a, ..]) = three(Strategy::OneForOne, 3);
    assert_eq!(tree.stop_all(), [Stop("c"), Stop("b"), Stop("a")]);
    assert!(tree.died(a, at(1)).is_empty());
}

/// data, then services (log, http), one-for-all below a root that restarts the rest.
fn two_levels() -> (Supervisor, NodeId, NodeId) {
    let mut tree = Supervisor::new(Strategy::RestForOne, intensity(1, 10)).expect("memory");
    let data = tree.worker(Supervisor::ROOT, "data").expect("new");
    let services = tree
        .supervisor(
            Supervisor::ROOT,
            "services",
            Strategy::OneForAll,
            intensity(1, 10),
        )
        .expect("new");
    tree.worker(services, "log").expect("new");
    let http = tree.worker(services, "http").expect("new");
    assert_eq!(tree.start_all().len(), 3);
    (tree, data, http)
}

#[test]
fn one_too_many_is_the_death_of_the_level_which_the_one_above_restarts() {
    let (mut tree, _, http) = two_levels();
    let within = [Stop("log"), Start("log"), Start("http")];
    assert_eq!(tree.died(http, at(1)), within);
    // The level gives up: it is restarted by the root, and begins with a clean record,
    assert_eq!(tree.died(http, at(2)), within);
    assert_eq!(tree.died(http, at(3)), within);
    // until the root has had enough as well.
    assert_eq!(
        tree.died(http, at(4)),
        [Stop("log"), Stop("data"), WarmReboot]
    );
}

#[test]
fn a_level_that_comes_after_is_restarted_with_the_rest() {
    let (mut tree, data, http) = two_levels();
    let actions = [
        Stop("http"),
        Stop("log"),
        Start("data"),
        Start("log"),
        Start("http"),
    ];
    assert_eq!(tree.died(data, at(1)), actions);
    assert!(tree.is_alive(http));
}

#[test]
fn a_second_node_of_the_same_name_is_refused() {
    let (mut tree, _, _) = two_levels();
    let error = tree.worker(Supervisor::ROOT, "log").expect_err("taken");
    assert_eq!(error.kind(), Kind::Duplicate { name: "log" });
}
