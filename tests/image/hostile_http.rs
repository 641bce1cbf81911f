//! Peers of port 9100 that misbehave: each gets a status or is closed, and nobody else notices.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::hostile_resp::reset;
use crate::support::guest::{Guest, connect};
use crate::support::http::{exchange, get, parse};
use crate::support::random::Random;

const REQUEST: &[u8] =
    b"GET /metrics?x=1 HTTP/1.1\r\nHost: nos\r\nAccept: text/plain;q=0.5, */*\r\nConnection: keep-alive\r\n\r\n";

pub(crate) fn every_prefix_of_a_request_leaves_others_served(guest: &Guest) {
    for length in 0..REQUEST.len() {
        let mut stream = connect(guest.http_port);
        stream
            .write_all(&REQUEST[..length])
            .expect("a prefix can be sent");
        if length % 2 == 0 {
            stream
                .shutdown(Shutdown::Write)
                .expect("our half can be closed");
        }
        drop(stream);
        if length % 8 == 0 {
            assert_eq!(
                get(guest.http_port, "/healthz").status,
                200,
                "after {length} bytes"
            );
        }
    }
}

pub(crate) fn malformed_requests_are_refused_by_their_codes(guest: &Guest) {
    let long_target = [
        b"GET /".as_slice(),
        &[b'a'; 20_000],
        b" HTTP/1.1\r\nHost: nos\r\n\r\n",
    ]
    .concat();
    let many_headers = [
        b"GET / HTTP/1.1\r\nHost: nos\r\n".as_slice(),
        &b"X: y\r\n".repeat(2_000),
        b"\r\n",
    ]
    .concat();
    let cases: [(&str, &[u8], &[u16]); 11] = [
        ("no version", b"GET /\r\n\r\n", &[400]),
        ("not HTTP", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", &[400]),
        ("a version to come", b"GET / HTTP/9.9\r\nHost: nos\r\n\r\n", &[400, 505]),
        ("no host", b"GET / HTTP/1.1\r\n\r\n", &[400]),
        ("two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", &[400]),
        ("a space in a header's name", b"GET / HTTP/1.1\r\nHost : nos\r\n\r\n", &[400]),
        ("two lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", &[400]),
        (
            "a length and chunks",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            &[400],
        ),
        ("a length below 0", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", &[400]),
        ("a long target", &long_target, &[414, 431]),
        ("many headers", &many_headers, &[431]),
    ];
    for (what, request, codes) in cases {
        let bytes = exchange(guest.http_port, request);
        let answer = parse(&bytes).unwrap_or_else(|| panic!("{what}: no answer but {bytes:?}"));
        assert!(
            codes.contains(&answer.status),
            "{what}: {} instead of {codes:?}",
            answer.status
        );
    }
}

pub(crate) fn a_head_without_end_is_refused(guest: &Guest) {
    for start in [&b""[..], b"GET / HTTP/1.1\r\nHost: nos\r\nX: "] {
        let bytes = exchange(guest.http_port, &[start, &[b'a'; 65_536]].concat());
        // Closed with our bytes unread: the reset may overtake the status.
        if !bytes.is_empty() {
            let answer = parse(&bytes).expect("what is answered is HTTP");
            assert!(
                [400, 414, 431].contains(&answer.status),
                "{}",
                answer.status
            );
        }
    }
}

pub(crate) fn random_bytes_leave_others_served(guest: &Guest) {
    let mut random = Random::seeded(0xbad_5eed);
    for round in 0..100 {
        let length = 1 + random.below(2_048);
        let mut stream = connect(guest.http_port);
        let _ = stream.write_all(&random.bytes(length));
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
        let _ = stream.read(&mut [0; 4_096]);
        drop(stream);
        if round % 10 == 0 {
            assert_eq!(
                get(guest.http_port, "/healthz").status,
                200,
                "after round {round}"
            );
        }
    }
}

pub(crate) fn resets_in_the_middle_of_an_answer_leave_others_served(guest: &Guest) {
    for round in 0..50 {
        let mut stream = connect(guest.http_port);
        stream.write_all(REQUEST).expect("a request can be sent");
        if round % 2 == 0 {
            stream.read_exact(&mut [0; 100]).expect("an answer begins");
        }
        reset(stream);
        if round % 10 == 0 {
            assert_eq!(
                get(guest.http_port, "/healthz").status,
                200,
                "after {round} resets"
            );
        }
    }
}

/// Requests in one segment, on one connection that stays; HEAD has GET's head.
pub(crate) fn pipelined_requests_are_answered_in_order_on_one_connection(guest: &Guest) {
    let mut stream = connect(guest.http_port);
    let request = |method: &str, path: &str, field: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: nos\r\n{field}\r\n")
    };
    let requests = [
        request("GET", "/healthz", ""),
        request("HEAD", "/healthz", ""),
        request("GET", "/nothing", ""),
        request("OPTIONS", "/metrics", ""),
        request("GET", "/readyz", "Connection: close\r\n"),
    ];
    stream
        .write_all(requests.concat().as_bytes())
        .expect("it reads");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("it closes");
    let statuses: Vec<&str> = reply
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|reply| &reply[..3])
        .collect();
    assert_eq!(statuses, ["200", "200", "404", "200", "200"], "{reply}");
    assert_eq!(reply.matches("{\"status\":\"ok\"}").count(), 1, "{reply}");
    assert_eq!(
        reply.matches("Content-Length: 16\r\n").count(),
        2,
        "{reply}"
    );
    assert!(reply.ends_with("{\"status\":\"ready\"}\n"), "{reply}");
}

/// It keeps its connection busy with a byte now and then, and is ended all the same.
pub(crate) fn a_request_that_trickles_in_is_told_408_and_closed(guest: &Guest) {
    let mut stream = connect(guest.http_port);
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\n")
        .expect("it reads");
    let mut writer = stream.try_clone().expect("a second handle");
    let is_answered = AtomicBool::new(false);
    let mut reply = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_answered.load(Relaxed) && writer.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        guest.assert_serves();
        // A byte that crosses the close may turn it into a reset; what was said before that counts.
        let _ = stream.read_to_end(&mut reply);
        is_answered.store(true, Relaxed);
    });
    let reply = String::from_utf8_lossy(&reply);
    assert!(reply.starts_with("HTTP/1.1 408 "), "{reply}");
}
