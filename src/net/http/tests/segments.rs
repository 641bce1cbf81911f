//! Bytes however they come: cut anywhere, ended anywhere, changed, or noise.

use super::*;

/// Requests of every framing, one after the other, and a bad one at the end.
fn session() -> Vec<u8> {
    let parts = [
        GET,
        "\r\nHEAD /json HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /echo?x HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "5\r\nhello\r\n6;e\r\n world\r\n0\r\nT: u\r\n\r\n",
        "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n",
        "BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        GET,
    ];
    parts.concat().into_bytes()
}

#[test]
fn replies_do_not_depend_on_how_the_bytes_were_cut() {
    let session = session();
    let whole = exchange([&session[..]]);
    assert!(whole.1);
    assert_eq!(whole.0.matches("HTTP/1.1 ").count(), 7, "{}", whole.0);
    assert_eq!(exchange(session.chunks(1)), whole);
    for at in 0..session.len() {
        let (before, after) = session.split_at(at);
        assert_eq!(exchange([before, after]), whole, "cut at {at}");
    }
}

#[test]
fn every_prefix_of_a_session_is_answered_by_a_prefix_of_its_replies() {
    let session = session();
    let whole = exchange([&session[..]]).0;
    for end in 0..session.len() {
        let (replies, _) = exchange([&session[..end]]);
        assert!(whole.starts_with(&replies), "prefix of {end}: {replies}");
    }
}

#[test]
fn heads_at_their_limits_get_the_same_reply_byte_by_byte() {
    let long = |n: usize| "a".repeat(n);
    for request in [
        format!("GET /{}", long(5000)),
        format!("G\u{1}T /{}", long(5000)),
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", long(9000)),
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\u{1}\r\n\r\n",
            long(9000)
        ),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(70)),
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            long(300)
        ),
    ] {
        let whole = exchange([request.as_bytes()]);
        assert!(whole.1);
        assert_eq!(
            exchange(request.as_bytes().chunks(1)),
            whole,
            "{}",
            &request[..30]
        );
    }
}

#[test]
fn random_bytes_never_end_the_server_and_never_reach_another_connection() {
    let seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = seed;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let session = session();
    let mut server = server();
    for round in 0..4000 {
        let mut peer = Peer::connect(&mut server, 1, at(1));
        // Half the rounds are noise, half are a session with a few bytes changed.
        let mut bytes = session.clone();
        if round % 2 == 0 {
            bytes.iter_mut().for_each(|byte| *byte = next() as u8);
        } else {
            for _ in 0..next() % 4 + 1 {
                let at = next() as usize % bytes.len();
                bytes[at] = next() as u8;
            }
        }
        for segment in bytes.chunks(next() as usize % 400 + 1) {
            peer.input.extend_from_slice(segment);
            let mut output = Output::new();
            let turn = Turn {
                id: peer.id,
                now: at(1),
                input: &peer.input,
                output: &mut output,
            };
            let progress = server.receive(turn);
            assert!(
                progress.consumed <= peer.input.len(),
                "seed {seed:#x} round {round}"
            );
            peer.input.drain(..progress.consumed);
            if progress.next == Next::Close {
                break;
            }
        }
        server.close(peer.id);
        let mut other = Peer::connect(&mut server, 2, at(1));
        other.feed(&mut server, GET.as_bytes(), at(1));
        assert!(
            other.replies.starts_with("HTTP/1.1 200 OK\r\n"),
            "seed {seed:#x} round {round}"
        );
        server.close(other.id);
    }
    assert_eq!(server.deadline(), None);
}
