//! Tests of the registry.

use super::*;
use crate::bus::Policy;
use crate::bus::envelope::TopicId;
use crate::bus::testing::Bench;
use crate::metrics::Encoder;

struct Silent;

impl Source for Silent {
    fn collect(&self, _: &mut Encoder<'_>) {}
}

fn profile(name: &'static str) -> Profile {
    Profile {
        name,
        ..Profile::default()
    }
}

#[test]
fn parts_are_found_by_name_and_listed_in_the_order_they_came() {
    let mut registry = Registry::new();
    for name in ["memory", "network", "cache"] {
        registry
            .register(name, Arc::new(Silent))
            .expect("a new name");
    }
    assert!(registry.names().eq(["memory", "network", "cache"]));
    assert_eq!(registry.sources().count(), 3);
    assert!(registry.source("network").is_some());
    assert!(registry.source("disk").is_none());
}

#[test]
fn a_second_part_of_the_same_name_is_refused_and_the_first_stays() {
    let mut registry = Registry::new();
    let first: SharedSource = Arc::new(Silent);
    registry
        .register("memory", first.clone())
        .expect("a new name");
    let error = registry
        .register("memory", Arc::new(Silent))
        .expect_err("taken");
    assert_eq!(error.kind(), Kind::Duplicate { name: "memory" });
    assert_eq!(registry.names().count(), 1);
    assert!(Arc::ptr_eq(
        registry.source("memory").expect("there"),
        &first
    ));
}

#[test]
fn subsystems_are_found_by_what_they_do_and_started_after_what_they_need() {
    let bench = Bench::new();
    let mut registry = Registry::new();
    registry
        .register("memory", Arc::new(Silent))
        .expect("a new name");
    let http = Profile {
        dependencies: &["data", "memory"],
        capabilities: &["pages"],
        ..profile("http")
    };
    for profile in [http, profile("data")] {
        let (port, _) = bench.port(profile.name);
        registry
            .register_subsystem(profile, port, None, Vec::new())
            .expect("a new name");
    }
    let found: Vec<_> = registry.with_capability("pages").collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].profile().name, "http");
    let order = registry.start_order().expect("an order");
    let names = order.iter().map(|row| row.profile().name);
    assert!(
        names.eq(["data", "http"]),
        "the part that does not run is left out"
    );
}

#[test]
fn who_watches_is_told_of_every_change() {
    let bench = Bench::new();
    let (supervisor, _) = bench.port("supervisor");
    let (watcher, bell) = bench.port("watcher");
    let topic = Arc::new(Topic::new(TopicId(0), "registry", bench.exchange.clone()));
    let mailbox = topic.subscribe(watcher, 8, Policy::Refuse).expect("room");
    let mut registry = Registry::new();
    registry.publish_on(topic);
    let (port, _) = bench.port("data");
    registry
        .register_subsystem(profile("data"), port, None, Vec::new())
        .expect("a new name");
    let told = registry
        .set_state(&supervisor, "data", State::Running)
        .expect("there");
    assert_eq!((told.queued, bell.get()), (1, 1));
    let at = Instant::from_nanos(5_000_000);
    let _ = registry
        .set_dead(&supervisor, "data", Cause::Hang, at)
        .expect("there");
    let states: Vec<State> = core::iter::from_fn(|| mailbox.try_receive())
        .map(|envelope| envelope.body.state)
        .collect();
    assert_eq!(states, [State::Running, State::Dead]);
    let status = registry.find("data").expect("there").status();
    assert_eq!(status.state(), State::Dead);
    let cause = Cause::Hang;
    assert_eq!(status.fault(), Some(Fault { cause, at }));
    let error = registry
        .set_state(&supervisor, "disk", State::Running)
        .expect_err("not there");
    assert!(matches!(error.kind(), Kind::Missing { .. }));
}
