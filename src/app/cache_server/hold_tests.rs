//! Clients that are held up: by CLIENT PAUSE and by WAIT.

use super::tests::{Fixture, connection};
use super::*;
use crate::platform::time::Clock;
use std::string::String;
use std::vec;
use std::vec::Vec;

/// What of `input` is run now, and the reply.
fn send(fixture: &mut Fixture, slot: u32, input: &str) -> (usize, String) {
    fixture.output.clear();
    let progress = fixture.receive(slot, input.as_bytes());
    let reply = String::from_utf8_lossy(fixture.output.as_slice()).into_owned();
    (progress.consumed, reply)
}

fn released(fixture: &mut Fixture) -> Vec<ConnectionId> {
    core::iter::from_fn(|| fixture.server.take_ready()).collect()
}

#[test]
fn a_pause_holds_every_command_until_its_time_is_over() {
    let mut fixture = Fixture::new(&[]);
    fixture.open(1);
    fixture.open(2);
    assert_eq!(fixture.ask("CLIENT PAUSE 100"), "+OK");
    for slot in [0, 1] {
        assert_eq!(send(&mut fixture, slot, "PING\r\n"), (0, "".into()));
    }
    assert_eq!(released(&mut fixture), vec![], "still paused");
    let deadline = fixture.server.deadline().expect("the pause ends");
    fixture.pass_millis(99);
    assert!(fixture.machine.now() < deadline);
    fixture.pass_millis(1);
    fixture.server.tick(fixture.machine.now());
    assert_eq!(
        released(&mut fixture),
        [connection(0), connection(1)],
        "connection 2 asked nothing"
    );
    assert_eq!(send(&mut fixture, 1, "PING\r\n"), (6, "+PONG\r\n".into()));
    assert_eq!(fixture.server.deadline(), None, "nothing is held up");
}

#[test]
fn what_follows_a_pause_in_the_same_segment_is_held_too() {
    let mut fixture = Fixture::new(&[]);
    let input = "CLIENT PAUSE 50\r\nPING\r\n";
    assert_eq!(send(&mut fixture, 0, input), (17, "+OK\r\n".into()));
    fixture.pass_millis(50);
    fixture.server.tick(fixture.machine.now());
    assert_eq!(released(&mut fixture), [connection(0)]);
    assert_eq!(send(&mut fixture, 0, &input[17..]), (6, "+PONG\r\n".into()));
}

#[test]
fn a_pause_of_writes_lets_reads_pass_and_can_be_ended_early() {
    let mut fixture = Fixture::new(&[]);
    fixture.open(1);
    assert_eq!(fixture.ask("SET k 1"), "+OK");
    assert_eq!(fixture.ask("CLIENT PAUSE 10000 WRITE"), "+OK");
    assert_eq!(
        send(&mut fixture, 1, "GET k\r\nSET k 2\r\nGET k\r\n"),
        (7, "$1\r\n1\r\n".into())
    );
    assert!(fixture.ask("INFO clients").contains("blocked_clients:1 "));
    assert_eq!(fixture.ask("CLIENT UNPAUSE"), "+OK");
    assert_eq!(released(&mut fixture), [connection(1)]);
    assert_eq!(
        send(&mut fixture, 1, "SET k 2\r\nGET k\r\n"),
        (16, "+OK\r\n$1\r\n2\r\n".into())
    );
}

#[test]
fn a_held_client_may_send_no_more_than_the_query_buffer_limit() {
    let mut fixture = Fixture::new(&[("client-query-buffer-limit", "1mb")]);
    fixture.open(1);
    assert_eq!(fixture.ask("CLIENT PAUSE 10000"), "+OK");
    let input = "PING\r\n".repeat(200_000);
    fixture.output.clear();
    let progress = fixture.receive(1, input.as_bytes());
    assert_eq!(progress.next, Next::Close);
}

#[test]
fn a_wait_for_replicas_ends_with_its_time_or_when_it_is_unblocked() {
    let mut fixture = Fixture::new(&[]);
    fixture.open(1);
    assert_eq!(fixture.ask("WAIT 0 0"), ":0");
    let input = "WAIT 1 20\r\nPING\r\n";
    assert_eq!(send(&mut fixture, 1, input), (11, "".into()));
    assert_eq!(fixture.ask("PING"), "+PONG", "others go on");
    fixture.pass_millis(20);
    fixture.server.tick(fixture.machine.now());
    assert_eq!(released(&mut fixture), [connection(1)]);
    assert_eq!(
        send(&mut fixture, 1, &input[11..]),
        (6, ":0\r\n+PONG\r\n".into())
    );

    assert_eq!(send(&mut fixture, 1, "WAIT 1 0\r\n"), (10, "".into()));
    assert_eq!(fixture.server.deadline(), None, "for ever");
    assert_eq!(fixture.ask("CLIENT UNBLOCK 2 ERROR"), ":1");
    assert_eq!(fixture.ask("CLIENT UNBLOCK 2"), ":0", "once");
    assert_eq!(released(&mut fixture), [connection(1)]);
    let told = "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n";
    assert_eq!(send(&mut fixture, 1, ""), (0, told.into()));
    assert!(!fixture.server.server.gate.is_shut(), "nobody waits");
}

#[test]
fn a_client_that_leaves_while_it_waits_leaves_the_gate_open() {
    let mut fixture = Fixture::new(&[]);
    fixture.open(1);
    send(&mut fixture, 1, "WAIT 1 0\r\n");
    assert!(fixture.server.server.gate.is_shut());
    fixture.server.close(connection(1));
    assert!(!fixture.server.server.gate.is_shut());
}
