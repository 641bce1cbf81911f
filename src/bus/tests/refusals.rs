//! What the bus says when it refuses: the one sentence that each fault ends up as in a log or a report.

use crate::bus::registry::Registry;
use crate::bus::testing::{Bench, SetClock};
use crate::bus::*;
use crate::error::Error;
use crate::platform::time::Instant;
use std::format;
use std::string::String;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

fn said(error: Error) -> String {
    format!("{error}")
}

fn refusal<M: core::fmt::Debug>(sent: Sent<M>) -> String {
    said(sent.into_result().expect_err("refused"))
}

fn profile(name: &'static str, dependencies: &'static [&'static str]) -> Profile {
    Profile {
        name,
        dependencies,
        ..Profile::default()
    }
}

#[test]
fn a_full_mailbox_is_named() {
    let bench = Bench::new();
    let (sender, reader) = (bench.port("sender").0, bench.port("reader").0);
    let mailbox = bench.mailbox(&reader, 2, Policy::Refuse);
    assert!(mailbox.send(&sender, 1).is_queued() && mailbox.send(&sender, 2).is_queued());
    let said = refusal(mailbox.send(&sender, 3));
    assert_eq!(said, "bus: no room for a message to reader");
}

#[test]
fn a_receiver_that_is_slower_than_its_sender_waits_is_named() {
    let bench = Bench::new();
    let (sender, reader) = (bench.port("sender").0, bench.port("reader").0);
    let mailbox = bench.mailbox(&reader, 2, Policy::Wait);
    assert!(mailbox.send(&sender, 1).is_queued() && mailbox.send(&sender, 2).is_queued());
    let (clock, outcome) = (SetClock::default(), Arc::new(Mutex::new(None)));
    let mut executor = Executor::new(sender.clone(), 1).expect("memory");
    let noted = outcome.clone();
    let send = async move {
        let envelope = mailbox.envelope(&sender, 3);
        let sent = mailbox.send_within(&sender, envelope, Instant::from_nanos(10));
        *noted.lock().expect("one thread") = Some(refusal(sent.await));
    };
    executor.spawn(send).expect("room");
    executor.run(&clock);
    assert_eq!(*outcome.lock().expect("one thread"), None, "it waits");
    clock.set(10);
    executor.run(&clock);
    let said = outcome.lock().expect("one thread").take();
    assert_eq!(
        said.as_deref(),
        Some("bus: no room for a message to reader")
    );
}

#[test]
fn a_message_past_its_deadline_is_named_by_its_receiver() {
    let bench = Bench::new();
    let (sender, reader) = (bench.port("sender").0, bench.port("reader").0);
    let mailbox = bench.mailbox(&reader, 2, Policy::Refuse);
    Executor::new(sender.clone(), 1)
        .expect("memory")
        .step(Instant::from_nanos(5));
    let late = mailbox.envelope(&sender, 1).due(Instant::from_nanos(5));
    let said = refusal(mailbox.post(&sender, late));
    assert_eq!(said, "bus: a message to reader came too late");
}

/// Asks once, and says what came of it after `then`.
fn answer_after(then: impl FnOnce(&Service<u32, u32>, &Port, &SetClock)) -> String {
    let bench = Bench::new();
    let (client, server) = (bench.port("client").0, bench.port("server").0);
    let service = Service::new(bench.plan(&server, 2, Policy::Refuse), 1).expect("memory");
    let service = Arc::new(service);
    let (clock, outcome) = (SetClock::default(), Arc::new(Mutex::new(String::new())));
    let mut executor = Executor::new(client.clone(), 1).expect("memory");
    let (asked, noted) = (service.clone(), outcome.clone());
    let ask = async move {
        let answer = asked.request(&client, 1, Instant::from_nanos(10)).await;
        *noted.lock().expect("one thread") = said(answer.expect_err("nobody answers"));
    };
    executor.spawn(ask).expect("room");
    executor.run(&clock);
    assert_eq!(service.open(), 1, "it waits");
    then(&service, &bench.port("supervisor").0, &clock);
    executor.run(&clock);
    let said = outcome.lock().expect("one thread").clone();
    said
}

#[test]
fn a_receiver_that_dies_while_a_request_waits_is_named() {
    let said = answer_after(|service, supervisor, _| {
        assert_eq!(service.server_died(supervisor), 1);
    });
    assert_eq!(said, "bus: server died before it answered");
}

#[test]
fn a_receiver_that_does_not_answer_in_time_is_named() {
    let said = answer_after(|_, _, clock| clock.set(10));
    assert_eq!(said, "bus: no answer from server in time");
}

#[test]
fn a_name_that_is_taken_is_named_wherever_it_is_given() {
    let bench = Bench::new();
    let mut registry = Registry::new();
    let mut register = |name| {
        let (port, _) = bench.port(if name == "data" { "one" } else { "two" });
        registry.register_subsystem(profile("data", &[]), port, None, Vec::new())
    };
    register("data").expect("a new name");
    let twice = said(register("again").expect_err("taken"));
    assert_eq!(twice, "bus: data is registered already");
    let twice = bench.exchange.add("one", Owner::KERNEL, Arc::new(Mute));
    let twice = said(twice.map(drop).expect_err("taken"));
    assert_eq!(twice, "bus: one is registered already");
}

#[test]
fn a_dependency_that_is_missing_is_named_with_who_needs_it() {
    let bench = Bench::new();
    let mut registry = Registry::new();
    let (port, _) = bench.port("http");
    registry
        .register_subsystem(profile("http", &["data"]), port, None, Vec::new())
        .expect("a new name");
    let refused = registry.start_order().map(drop).expect_err("no data");
    assert_eq!(said(refused), "bus: http needs data, which is not there");
}
