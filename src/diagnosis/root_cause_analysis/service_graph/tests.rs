//! Made systems: a front that calls `orders` and `search`, both of which call `store`; `view` is known by the front's
//! word alone.

use super::*;
use std::vec;

const FRONT: usize = 0;
const ORDERS: usize = 1;
const SEARCH: usize = 2;
const STORE: usize = 3;
const VIEW: usize = 4;
const COMPONENTS: usize = 5;

const CALLS: [(usize, usize); 5] = [
    (FRONT, ORDERS),
    (FRONT, SEARCH),
    (FRONT, VIEW),
    (ORDERS, STORE),
    (SEARCH, STORE),
];
const TIMES: [f64; 6] = [0.0, 60.0, 120.0, 180.0, 240.0, 300.0];
/// The first three samples are from before.
const BEGAN: f64 = 181.0;

/// A metric of a component, normally about `normal`, that is `later` since the incident.
struct Made(usize, Metric, f64, f64);

/// Ranks the components of a system in which these metrics are measured.
fn ranked(made: &[Made], reported: Option<(usize, Metric)>) -> Vec<Candidate> {
    let samples: Vec<[Vec<f64>; 2]> = made
        .iter()
        .map(|Made(_, _, normal, later)| {
            let wobble = |i: usize| normal * (0.98 + 0.01 * (i % 5) as f64);
            let window = (0..6).map(|i| {
                if i < 3 {
                    wobble(i)
                } else {
                    later * (0.99 + 0.01 * (i % 3) as f64)
                }
            });
            [(0..100).map(wobble).collect(), window.collect()]
        })
        .collect();
    let series: Vec<Series<'_>> = made
        .iter()
        .zip(&samples)
        .map(
            |(&Made(component, metric, _, _), [normal, window])| Series {
                component,
                metric,
                normal,
                window,
            },
        )
        .collect();
    let recording = Recording {
        components: COMPONENTS,
        candidates: COMPONENTS,
        calls: &CALLS,
        series: &series,
        times: &TIMES,
        began: Some(BEGAN),
        reported,
    };
    rank(&recording).expect("the host has memory")
}

/// Latencies: normal ones, but for those components that are slower by a factor.
fn latencies(slower: &[(usize, f64)]) -> Vec<Made> {
    let factor = |component| {
        slower
            .iter()
            .find(|slow| slow.0 == component)
            .map_or(1.0, |slow| slow.1)
    };
    let latency = |component| Made(component, Metric::Latency, 0.01, 0.01 * factor(component));
    (0..COMPONENTS).map(latency).collect()
}

fn first(candidates: &[Candidate]) -> usize {
    candidates[0].component
}

#[test]
fn of_a_chain_of_slow_components_the_deepest_is_ranked_first() {
    let all = latencies(&[(FRONT, 3.0), (ORDERS, 4.0), (SEARCH, 4.0), (STORE, 5.0)]);
    assert_eq!(first(&ranked(&all, Some((FRONT, Metric::Latency)))), STORE);
    let half = latencies(&[(FRONT, 3.0), (ORDERS, 4.0)]);
    assert_eq!(
        first(&ranked(&half, Some((FRONT, Metric::Latency)))),
        ORDERS
    );
}

#[test]
fn a_component_that_works_as_ever_is_not_blamed_for_its_callers() {
    let candidates = ranked(&latencies(&[(FRONT, 9.0)]), None);
    assert_eq!(first(&candidates), FRONT);
    let store = candidates
        .iter()
        .find(|candidate| candidate.component == STORE)
        .expect("all are ranked");
    assert!(store.posterior < 0.1, "{candidates:?}");
}

#[test]
fn hearsay_counts_less_than_what_several_say() {
    let candidates = ranked(
        &latencies(&[(FRONT, 3.0), (VIEW, 6.0), (SEARCH, 6.0)]),
        Some((FRONT, Metric::Latency)),
    );
    assert_eq!(first(&candidates), SEARCH);
}

#[test]
fn processor_time_tells_an_exhausted_component_from_those_that_wait_for_it() {
    let mut made = latencies(&[(FRONT, 3.0), (SEARCH, 4.0), (STORE, 4.0)]);
    for component in 0..COMPONENTS {
        let later = if component == SEARCH { 90.0 } else { 10.0 };
        made.push(Made(component, Metric::Cpu, 10.0, later));
    }
    let candidates = ranked(&made, None);
    assert_eq!(
        (first(&candidates), candidates[0].fault),
        (SEARCH, Fault::Exhausted)
    );
}

#[test]
fn a_component_that_all_its_callers_wait_for_is_ranked_first_though_it_is_quick_itself() {
    let mut made = latencies(&[(FRONT, 1.0)]);
    for caller in [FRONT, ORDERS, SEARCH] {
        let later = if caller == FRONT { 0.02 } else { 0.4 };
        made.push(Made(caller, Metric::CalleeLatency, 0.02, later));
    }
    for component in 0..COMPONENTS {
        made.push(Made(component, Metric::Requests, 100.0, 100.0));
    }
    assert_eq!(first(&ranked(&made, None)), STORE);
}

#[test]
fn a_component_that_fails_before_it_calls_another_starves_it() {
    let failing = |requests_of_store: f64| {
        let mut made = latencies(&[]);
        made.push(Made(FRONT, Metric::Success, 100.0, 95.0));
        for component in [FRONT, ORDERS, SEARCH] {
            made.push(Made(component, Metric::Requests, 100.0, 100.0));
        }
        made.push(Made(STORE, Metric::Requests, 200.0, requests_of_store));
        ranked(&made, Some((FRONT, Metric::Success)))
    };
    let of = |candidates: &[Candidate], component| {
        let candidate = candidates
            .iter()
            .find(|candidate| candidate.component == component);
        candidate.expect("all are ranked").posterior
    };
    let (starving, fed) = (failing(20.0), failing(200.0));
    assert!(
        of(&starving, SEARCH) > 2.0 * of(&fed, SEARCH),
        "{starving:?} {fed:?}"
    );
}

#[test]
fn where_nothing_is_measured_or_nothing_has_changed_the_posteriors_still_add_up_to_one() {
    for made in [vec![], latencies(&[])] {
        let candidates = ranked(&made, None);
        assert_eq!(candidates.len(), COMPONENTS);
        let total: f64 = candidates.iter().map(|candidate| candidate.posterior).sum();
        assert!((total - 1.0).abs() < 1e-9, "{candidates:?}");
    }
}

#[test]
fn components_that_call_each_other_in_a_circle_are_ranked() {
    let samples = [[1.0; 20], [9.0; 20]];
    let series = [Series {
        component: 0,
        metric: Metric::Latency,
        normal: &samples[0],
        window: &samples[1][..6],
    }];
    let recording = Recording {
        components: 2,
        candidates: 2,
        calls: &[(0, 1), (1, 0), (1, 1)],
        series: &series,
        times: &TIMES,
        began: None,
        reported: None,
    };
    assert_eq!(first(&rank(&recording).expect("the host has memory")), 0);
}

#[test]
fn a_sample_that_may_hold_the_beginning_is_not_taken_for_normal() {
    let before = |began| {
        let recording = Recording {
            components: 0,
            candidates: 0,
            calls: &[],
            series: &[],
            times: &TIMES,
            began,
            reported: None,
        };
        recording.samples_before()
    };
    assert_eq!(before(Some(180.0)), 3);
    assert_eq!(before(Some(179.0)), 2);
    assert_eq!(before(Some(-5.0)), 0);
    assert_eq!(before(None), 2);
}

#[test]
fn metrics_are_told_by_the_words_of_their_names() {
    for (name, metric) in [
        ("latency|Average", Metric::Latency),
        ("lat_client_p90", Metric::CalleeLatency),
        ("availability|Average", Metric::Success),
        ("cpu", Metric::Cpu),
        ("requests|Sum", Metric::Requests),
        ("ops", Metric::Requests),
        ("net_rx", Metric::Other),
        ("flat", Metric::Other),
    ] {
        assert_eq!(Metric::of_name(name), metric, "{name}");
    }
}
