//! What clients that track keys are told, as redis-server 7.0.15 tells it.

use crate::app::cache_server::tests::{Fixture, connection};
use crate::net::service::{Next, Service};
use crate::platform::time::Clock;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

/// A server with clients in slots 0 to `count` - 1, all of RESP3.
pub(super) fn fixture(count: u32) -> Fixture {
    let mut fixture = Fixture::new(&[]);
    for slot in 0..count {
        if slot > 0 {
            fixture.open(slot);
        }
        fixture.ask_as(slot, "HELLO 3");
    }
    fixture
}

/// What the clients that are called again are sent, by slot.
pub(super) fn mail(fixture: &mut Fixture) -> Vec<(u32, String)> {
    let mut mail = Vec::new();
    while let Some(client) = fixture.server.take_ready() {
        fixture.output.clear();
        fixture.receive(client.slot, b"");
        let text = String::from_utf8_lossy(fixture.output.as_slice());
        mail.push((client.slot, text.trim_end().replace("\r\n", " ")));
    }
    mail
}

pub(super) fn invalid(key: &str) -> String {
    format!(">2 $10 invalidate *1 ${} {key}", key.len())
}

pub(super) const ALL_INVALID: &str = ">2 $10 invalidate _";

pub(super) fn is_watching(fixture: &Fixture) -> bool {
    fixture.server.server.gate.is_attentive()
}

#[test]
fn a_client_is_told_once_of_a_key_it_has_read_in_whatever_database() {
    let mut fixture = fixture(2);
    assert_eq!(fixture.ask("CLIENT TRACKING ON"), "+OK");
    assert_eq!(fixture.ask("GET k"), "_");
    assert_eq!(fixture.ask_as(1, "SET other 1"), "+OK");
    assert_eq!(mail(&mut fixture), []);
    fixture.ask_as(1, "SELECT 5");
    assert_eq!(fixture.ask_as(1, "SET k 1"), "+OK");
    assert_eq!(mail(&mut fixture), [(0, invalid("k"))]);
    fixture.ask_as(1, "SET k 1");
    assert_eq!(mail(&mut fixture), []);
    assert_eq!(
        fixture.ask("GET k"),
        "_",
        "the other database: but it is remembered"
    );
    fixture.ask_as(1, "DEL k");
    assert_eq!(mail(&mut fixture), [(0, invalid("k"))]);
}

#[test]
fn what_a_client_changes_itself_it_is_told_behind_the_reply_unless_it_asked_not_to_be() {
    let mut fixture = fixture(1);
    let told = format!("+OK {}", invalid("k"));
    let line = "CLIENT TRACKING ON\r\nGET k\r\nSET k 1\r\nGET k\r\nSET k 2\r\nSET k 3";
    assert_eq!(
        fixture.ask(line),
        format!("+OK _ {told} $1 1 {told} +OK"),
        "all in one segment"
    );
    fixture.ask("CLIENT TRACKING ON NOLOOP");
    fixture.ask("GET k");
    assert_eq!(fixture.ask("SET k 1"), "+OK");
    assert_eq!(mail(&mut fixture), []);
    fixture.ask("CLIENT TRACKING ON");
    assert_eq!(
        fixture.ask("GET k\r\nCLIENT REPLY OFF\r\nSET k 1\r\nCLIENT REPLY ON"),
        format!("$1 1 {} +OK", invalid("k")),
        "a message is no reply"
    );
}

#[test]
fn reads_are_remembered_and_writes_are_not() {
    let mut fixture = fixture(2);
    fixture.ask("CLIENT TRACKING ON");
    for (line, keys) in [
        ("MGET a b", &["a", "b"][..]),
        ("EXISTS c", &["c"]),
        ("GETRANGE d x y", &["d"]),
        ("OBJECT ENCODING e", &["e"]),
        ("MEMORY USAGE f", &["f"]),
        ("LCS g h", &["g", "h"]),
        ("TTL i", &["i"]),
        ("get", &[]),
        ("GET k x", &[]),
        ("MEMORY USAGE", &[]),
        ("GETEX k", &[]),
        ("GETSET k 1", &[]),
        ("KEYS k", &[]),
        ("NOSUCH k", &[]),
    ] {
        fixture.ask(line);
        assert_eq!(fixture.ask_as(1, "MSET a 1 b 1 c 1 d 1 e 1 f 1"), "+OK");
        assert_eq!(fixture.ask_as(1, "MSET g 1 h 1 i 1 k 1 x 1"), "+OK");
        let told: Vec<_> = keys.iter().copied().map(invalid).collect();
        let mail: String = mail(&mut fixture)
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        assert_eq!(mail.replace("i>2", "i >2"), told.join(" "), "{line}");
    }
}

#[test]
fn opting_in_and_out_goes_by_the_command_before() {
    let mut fixture = fixture(2);
    let is_told = |fixture: &mut Fixture, read: &str| {
        fixture.ask(read);
        fixture.ask_as(1, "SET k 1");
        !mail(fixture).is_empty()
    };
    fixture.ask("CLIENT TRACKING ON OPTIN");
    assert!(!is_told(&mut fixture, "GET k"));
    assert!(is_told(&mut fixture, "CLIENT CACHING YES\r\nGET k"));
    assert!(is_told(
        &mut fixture,
        "CLIENT CACHING YES\r\nCLIENT ID\r\nGET k"
    ));
    assert!(!is_told(
        &mut fixture,
        "CLIENT CACHING YES\r\nPING\r\nGET k"
    ));
    fixture.ask("CLIENT CACHING YES");
    assert_eq!(
        fixture.ask("CLIENT TRACKINGINFO"),
        "%3 $5 flags ~3 $2 on $5 optin $11 caching-yes $8 redirect :0 $8 prefixes *0"
    );
    fixture.ask("CLIENT TRACKING OFF");
    fixture.ask("CLIENT TRACKING ON OPTOUT");
    assert!(is_told(&mut fixture, "GET k"));
    assert!(!is_told(&mut fixture, "CLIENT CACHING NO\r\nGET k"));
    assert!(is_told(&mut fixture, "GET k"));
}

#[test]
fn a_broadcasting_client_is_told_of_all_keys_with_its_prefixes_once_a_turn() {
    let mut fixture = fixture(3);
    let on = "CLIENT TRACKING ON BCAST PREFIX a PREFIX ba NOLOOP";
    assert_eq!(fixture.ask(on), "+OK");
    assert_eq!(fixture.ask_as(2, "CLIENT TRACKING ON BCAST"), "+OK");
    assert_eq!(
        fixture.ask_as(1, "SET a2 1\r\nMSET b 1 a1 1 bab 1\r\nSET a2 2\r\nGET a1"),
        "+OK +OK +OK $1 1"
    );
    let mut told = mail(&mut fixture);
    told.sort();
    let with_a = ">2 $10 invalidate *2 $2 a1 $2 a2";
    assert_eq!(told[0], (0, format!("{with_a} {}", invalid("bab"))));
    let all = ">2 $10 invalidate *4 $2 a1 $2 a2 $1 b $3 bab";
    assert_eq!(told[1], (2, all.to_string()));
    assert_eq!(fixture.ask("SET a1 1"), "+OK", "its own");
    assert_eq!(mail(&mut fixture), [(2, invalid("a1"))]);
    assert_eq!(
        fixture.ask_as(2, "SET b 1"),
        format!("+OK {}", invalid("b"))
    );
    assert_eq!(
        fixture.ask("CLIENT TRACKINGINFO"),
        "%3 $5 flags ~3 $2 on $5 bcast $6 noloop $8 redirect :0 $8 prefixes *2 $1 a $2 ba"
    );
    assert!(fixture.ask("INFO").contains("tracking_total_prefixes:3 "));
}

#[test]
fn keys_that_end_by_themselves_are_told_and_a_flush_tells_all() {
    let mut fixture = fixture(2);
    fixture.ask_as(1, "MSET k 1 evicted 1");
    fixture.ask_as(1, "PEXPIRE k 20");
    fixture.ask("CLIENT TRACKING ON NOLOOP");
    fixture.ask("MGET k evicted");
    fixture.pass_millis(30);
    let now = fixture.machine.now();
    fixture.server.tick(now);
    assert_eq!(mail(&mut fixture), [(0, invalid("k"))]);
    assert!(fixture.server.server.store.make_room(1));
    fixture.server.tick(now);
    assert_eq!(mail(&mut fixture), [(0, invalid("evicted"))]);
    fixture.ask("GET k");
    for (slot, line) in [(1, "FLUSHDB"), (1, "FLUSHALL")] {
        fixture.ask_as(slot, line);
        assert_eq!(mail(&mut fixture), [(0, ALL_INVALID.to_string())]);
    }
    fixture.ask_as(1, "SET k 1");
    assert_eq!(mail(&mut fixture), [], "the table is empty");
    assert_eq!(fixture.ask("FLUSHALL"), format!("+OK {ALL_INVALID}"));
    fixture.ask_as(1, "SWAPDB 0 1");
    assert_eq!(mail(&mut fixture), []);
}

#[test]
fn messages_go_to_whom_the_client_redirects_to() {
    let mut fixture = fixture(2);
    let id = fixture.ask_as(1, "CLIENT ID")[1..].to_string();
    fixture.ask(&format!("CLIENT TRACKING ON REDIRECT {id}"));
    assert_eq!(fixture.ask("CLIENT GETREDIR"), format!(":{id}"));
    let change = "GET k\r\nSET k 1";
    assert_eq!(fixture.ask(change), "_ +OK");
    assert_eq!(mail(&mut fixture), [(1, invalid("k"))]);
    fixture.ask("GET k");
    assert_eq!(
        fixture.ask_as(1, "SET k 1"),
        format!("+OK {}", invalid("k"))
    );
    fixture.ask("HELLO 2");
    fixture.ask("FLUSHALL");
    let null = ">2 $10 invalidate $-1";
    assert_eq!(
        mail(&mut fixture),
        [(1, null.to_string())],
        "as Redis has it"
    );
    fixture.ask("HELLO 3");
    fixture.ask_as(1, "HELLO 2");
    fixture.ask(change);
    assert_eq!(mail(&mut fixture), [], "RESP2 has no messages");
    let list = fixture.ask("CLIENT LIST");
    assert!(list.contains(" flags=t ") && list.contains(&format!(" redir={id} ")));

    fixture.server.close(connection(1));
    let broken = format!(">2 $21 tracking-redir-broken :{id}");
    assert_eq!(fixture.ask(change), format!("$1 1 +OK {broken}"));
    assert!(fixture.ask("CLIENT LIST").contains(" flags=tR "));
    let info = fixture.ask("CLIENT TRACKINGINFO");
    assert!(
        info.contains("~2 $2 on $15 broken_redirect $8 redirect"),
        "{info}"
    );
    fixture.ask("CLIENT TRACKING ON");
    assert!(fixture.ask("CLIENT LIST").contains(" flags=t "));
}

#[test]
fn what_does_not_go_together_is_refused_and_changes_nothing() {
    let mut fixture = Fixture::new(&[]);
    let off = "*6 $5 flags *1 $3 off $8 redirect :-1 $8 prefixes *0";
    for (line, reply) in [
        (
            "ON PREFIX a",
            "-ERR PREFIX option requires BCAST mode to be enabled",
        ),
        (
            "ON BCAST OPTIN",
            "-ERR OPTIN and OPTOUT are not compatible with BCAST",
        ),
        (
            "ON OPTIN OPTOUT",
            "-ERR You can't specify both OPTIN mode and OPTOUT mode",
        ),
        (
            "ON REDIRECT 99",
            "-ERR The client ID you want redirect to does not exist",
        ),
        (
            "ON REDIRECT -1",
            "-ERR The client ID you want redirect to does not exist",
        ),
        (
            "ON REDIRECT x",
            "-ERR value is not an integer or out of range",
        ),
        (
            "ON REDIRECT 1 REDIRECT 1",
            "-ERR A client can only redirect to a single other client",
        ),
        ("ON REDIRECT", "-ERR syntax error"),
        ("ON FOO", "-ERR syntax error"),
        ("MAYBE", "-ERR syntax error"),
        (
            "ON BCAST PREFIX x PREFIX ab PREFIX a",
            "-ERR Prefix 'ab' overlaps with another provided prefix 'a'. Prefixes for a single client must \
             not overlap.",
        ),
    ] {
        assert_eq!(fixture.ask(&format!("CLIENT TRACKING {line}")), reply);
        assert_eq!(fixture.ask("CLIENT TRACKINGINFO"), off, "{line}");
    }
    let caching = |word: &str| format!("CLIENT CACHING {word}");
    assert!(
        fixture
            .ask(&caching("x"))
            .starts_with("-ERR CLIENT CACHING can be called only when")
    );
    fixture.ask("CLIENT TRACKING ON OPTIN");
    for (line, start) in [
        (
            "CLIENT TRACKING ON BCAST",
            "-ERR You can't switch BCAST mode on/off",
        ),
        (
            "CLIENT TRACKING ON OPTOUT",
            "-ERR You can't switch OPTIN/OPTOUT mode",
        ),
        ("CLIENT CACHING NO", "-ERR CLIENT CACHING NO is only valid"),
        ("CLIENT CACHING x", "-ERR syntax error"),
        ("CLIENT TRACKING ON", "+OK"),
        (
            "CLIENT CACHING YES",
            "-ERR CLIENT CACHING YES is only valid",
        ),
        ("CLIENT TRACKING OFF", "+OK"),
        ("CLIENT TRACKING ON BCAST PREFIX ab", "+OK"),
        (
            "CLIENT TRACKING ON BCAST PREFIX a",
            "-ERR Prefix 'a' overlaps with an existing prefix 'ab'. Prefixes",
        ),
        ("CLIENT TRACKING ON BCAST PREFIX c", "+OK"),
        (
            "CLIENT TRACKING ON",
            "-ERR You can't switch BCAST mode on/off",
        ),
    ] {
        let reply = fixture.ask(line);
        assert!(reply.starts_with(start), "{line}: {reply}");
    }
    let info = fixture.ask("CLIENT TRACKINGINFO");
    assert!(info.ends_with("$8 prefixes *2 $2 ab $1 c"), "{info}");
    assert!(fixture.ask("CLIENT LIST").contains(" flags=tB "));
}

#[test]
fn prefixes_are_bounded_and_who_wants_too_many_does_not_track() {
    let mut fixture = fixture(2);
    let with = |numbers: core::ops::Range<u32>| {
        let words: String = numbers.map(|n| format!(" PREFIX p{n:04}:")).collect();
        format!("CLIENT TRACKING ON BCAST{words}")
    };
    let refusal = "-ERR clients may track 1024 prefixes together";
    assert_eq!(fixture.ask(&with(0..1025)), refusal);
    assert_eq!(fixture.ask(&with(0..1024)), "+OK");
    assert_eq!(fixture.ask_as(1, &with(0..9)), "+OK", "the same ones");
    assert_eq!(fixture.ask_as(1, &with(1024..1025)), refusal);
    assert!(
        fixture
            .ask_as(1, "CLIENT TRACKINGINFO")
            .contains(" $3 off ")
    );
    fixture.ask("CLIENT TRACKING OFF");
    assert!(!is_watching(&fixture));
    assert_eq!(fixture.ask_as(1, &with(1024..1025)), "+OK");
}

#[test]
fn a_full_table_gives_a_key_up_as_if_it_had_changed() {
    let mut fixture = fixture(2);
    assert_eq!(fixture.ask("CONFIG SET tracking-table-max-keys 2"), "+OK");
    fixture.ask("CLIENT TRACKING ON");
    fixture.ask_as(1, "CLIENT TRACKING ON");
    fixture.ask("MGET a b");
    fixture.ask_as(1, "MGET a b");
    let info = fixture.ask("INFO");
    assert!(info.contains("tracking_clients:2 "));
    assert!(
        info.contains("tracking_total_keys:2 tracking_total_items:4 "),
        "{info}"
    );
    let reply = fixture.ask("GET c");
    let lost = if reply.ends_with('a') { "a" } else { "b" };
    assert_eq!(reply, format!("_ {}", invalid(lost)));
    assert_eq!(mail(&mut fixture), [(1, invalid(lost))]);
    assert!(
        fixture
            .ask("INFO")
            .contains("tracking_total_keys:2 tracking_total_items:3 ")
    );
}

#[test]
fn who_does_not_read_its_messages_is_ended_and_nobody_else() {
    let mut fixture = fixture(3);
    let limit = "CONFIG SET client-output-buffer-limit \"normal 1000 0 0\"";
    assert_eq!(fixture.ask_as(1, limit), "+OK");
    fixture.ask("CLIENT TRACKING ON BCAST");
    fixture.ask_as(2, "CLIENT TRACKING ON BCAST PREFIX x");
    let mut ended = Vec::new();
    for number in 0..40 {
        assert_eq!(fixture.ask_as(1, &format!("SET key{number} 1")), "+OK");
        ended.extend(core::iter::from_fn(|| fixture.server.take_doomed()));
    }
    assert_eq!(ended, [connection(0)]);
    fixture.output.clear();
    assert_eq!(fixture.receive(0, b"").next, Next::Abort);
    fixture.server.close(connection(0));
    fixture.ask_as(1, "SET x 1");
    let told = mail(&mut fixture).into_iter();
    let told: Vec<_> = told.filter(|(_, text)| !text.is_empty()).collect();
    assert_eq!(told, [(2, invalid("x"))]);
    fixture.server.close(connection(2));
    assert!(!is_watching(&fixture));
}

#[test]
fn with_the_last_client_that_tracks_all_watching_ends() {
    let mut fixture = fixture(3);
    for last in ["CLIENT TRACKING OFF", "RESET"] {
        fixture.ask("CLIENT TRACKING ON");
        fixture.ask_as(1, "CLIENT TRACKING ON");
        fixture.ask("GET k");
        fixture.ask_as(2, "SET k 1");
        fixture.ask("GET k");
        fixture.ask_as(1, "CLIENT TRACKING OFF");
        fixture.ask(last);
        let read = mail(&mut fixture);
        assert_eq!(
            read.len(),
            1,
            "called in vain: its messages went before its replies"
        );
        assert!(!is_watching(&fixture), "{last}");
        assert!(fixture.ask_as(2, "INFO").contains("tracking_total_keys:0 "));
    }
    fixture.ask_as(1, "CLIENT TRACKING ON\r\nGET k");
    fixture.ask_as(2, "SET k 1");
    fixture.server.close(connection(1));
    assert!(!is_watching(&fixture));
    assert_eq!(fixture.ask("SET k 2\r\nSET k 3"), "+OK +OK");
    assert!(fixture.server.server.store.take_changes().is_empty());
}
