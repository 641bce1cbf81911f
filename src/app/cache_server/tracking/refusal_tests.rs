//! Tracking without memory: whoever is not told of a change is told more, or ended. No copy is ever wrong.

use super::tests::{ALL_INVALID, fixture, invalid, is_watching, mail};
use crate::app::cache_server::tests::{Fixture, connection};
use crate::error::test_heap::refuse_blocks_above;
use crate::net::service::{Next, Service};
use std::format;
use std::string::{String, ToString};

/// The largest block for which nothing of the clients' list, which takes four names at first, has room.
const NO_LIST: usize = 4 * 8 - 1;

/// Sends a request of a client while blocks of more than `bytes` are refused: the test's own means ask for none.
fn ask_within(fixture: &mut Fixture, bytes: usize, slot: u32, line: &str) -> String {
    let request = format!("{line}\r\n");
    fixture.output.clear();
    refuse_blocks_above(bytes);
    fixture.receive(slot, request.as_bytes());
    refuse_blocks_above(usize::MAX);
    let reply = String::from_utf8_lossy(fixture.output.as_slice());
    reply.trim_end().replace("\r\n", " ")
}

/// Client 0 has read `key`, which is there, and client 1 has made room for what it is about to do.
fn with_reader(key: &str) -> Fixture {
    let mut fixture = fixture(3);
    fixture.ask_as(1, &format!("SET {key} 1"));
    fixture.ask("CLIENT TRACKING ON");
    fixture.ask(&format!("GET {key}"));
    fixture
}

#[test]
fn a_key_that_cannot_be_remembered_is_invalid_at_once() {
    let mut fixture = fixture(2);
    fixture.ask("CLIENT TRACKING ON");
    // Chains for sixteen keys hold eight times as many where there is no memory for more.
    for number in 0..128 {
        let line = format!("GET k{number}");
        assert_eq!(ask_within(&mut fixture, 200, 0, &line), "_");
    }
    assert!(fixture.ask("INFO").contains("tracking_total_keys:128 "));
    let reply = ask_within(&mut fixture, 200, 0, "GET other");
    assert_eq!(reply, format!("_ {}", invalid("other")));
    assert!(fixture.ask("INFO").contains("tracking_total_keys:128 "));
    assert_eq!(fixture.ask("GET other"), "_", "there is memory again");
    assert!(fixture.ask("INFO").contains("tracking_total_keys:129 "));
    fixture.ask_as(1, "MSET k127 1 other 1");
    let told = mail(&mut fixture);
    let both = format!("{} {}", invalid("k127"), invalid("other"));
    assert_eq!(told, [(0, both)]);
}

#[test]
fn a_change_that_cannot_be_written_down_invalidates_everything() {
    let key = "k".repeat(3_000);
    let mut fixture = with_reader(&key);
    let line = format!("SET {key} 2");
    assert_eq!(ask_within(&mut fixture, 2_000, 1, &line), "+OK");
    assert_eq!(mail(&mut fixture), [(0, ALL_INVALID.to_string())]);
    assert_eq!(fixture.ask(&format!("GET {key}")), "$1 2");
    fixture.ask_as(1, &line);
    assert_eq!(mail(&mut fixture), [(0, invalid(&key))]);
}

#[test]
fn keys_that_cannot_be_gathered_invalidate_everything_for_those_who_are_told_of_them() {
    let key = "key-of-twenty-letters";
    let mut fixture = fixture(3);
    fixture.ask_as(1, &format!("SET {key} 1"));
    fixture.ask("CLIENT TRACKING ON BCAST");
    fixture.ask_as(2, "CLIENT TRACKING ON BCAST PREFIX other");
    assert_eq!(
        ask_within(&mut fixture, 100, 1, &format!("SET {key} 2")),
        "+OK"
    );
    assert_eq!(mail(&mut fixture), [(0, ALL_INVALID.to_string())]);
    fixture.ask_as(1, &format!("SET {key} 3"));
    assert_eq!(mail(&mut fixture), [(0, invalid(key))]);
}

/// Ends client 0 by a message that there is no memory for, and answers whether it was named to the stack.
fn end_reader(key: &str, bytes: usize) -> bool {
    let mut fixture = with_reader(key);
    let line = format!("SET {key} 2");
    assert_eq!(ask_within(&mut fixture, bytes, 1, &line), "+OK");
    let doomed = fixture.server.take_doomed();
    assert!(doomed.is_none_or(|client| client == connection(0)));
    fixture.output.clear();
    assert_eq!(fixture.receive(0, b"").next, Next::Abort);
    assert!(fixture.output.is_empty(), "no half of a message");
    fixture.server.close(connection(0));
    assert!(!is_watching(&fixture));
    assert_eq!(fixture.ask_as(1, "PING"), "+PONG");
    assert_eq!(mail(&mut fixture), []);
    doomed.is_some()
}

#[test]
fn who_cannot_be_told_is_ended_even_where_its_name_cannot_be_kept() {
    assert!(end_reader(&"k".repeat(100), 120));
    assert!(!end_reader("a-key-of-20-letters", NO_LIST));
}

#[test]
fn who_is_told_is_called_even_where_its_name_cannot_be_kept() {
    let mut fixture = with_reader("k");
    assert_eq!(ask_within(&mut fixture, NO_LIST, 1, "FLUSHALL"), "+OK");
    assert_eq!(mail(&mut fixture), [(0, ALL_INVALID.to_string())]);
}

#[test]
fn who_cannot_be_kept_under_its_prefix_does_not_track() {
    let mut fixture = fixture(2);
    let prefix = "p".repeat(500);
    let line = format!("CLIENT TRACKING ON BCAST PREFIX {prefix}");
    let reply = ask_within(&mut fixture, 400, 0, &line);
    assert!(reply.starts_with("-OOM"), "{reply}");
    assert!(fixture.ask("CLIENT TRACKINGINFO").contains(" $3 off "));
    assert!(!is_watching(&fixture));
    assert_eq!(fixture.ask(&line), "+OK");
}
