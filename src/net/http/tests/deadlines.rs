//! What a connection may take: time, output, a place.

use super::*;

#[test]
fn many_requests_at_once_are_answered_in_turns_of_a_bounded_output() {
    let mut server = server();
    let mut peer = Peer::connect(&mut server, 0, at(1));
    let requests = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(200);
    let mut output = Output::new();
    let turn = Turn {
        id: peer.id,
        now: at(1),
        input: requests.as_bytes(),
        output: &mut output,
    };
    let progress = server.receive(turn);
    assert!(progress.consumed < requests.len());
    assert!(output.len() < 2 * Output::FULL);
    peer.input
        .extend_from_slice(&requests.as_bytes()[progress.consumed..]);
    let before = String::from_utf8(output.take()).expect("text");
    peer.feed(&mut server, b"", at(1));
    assert_eq!((before + &peer.replies).matches("200 OK").count(), 200);
}

#[test]
fn a_request_that_trickles_in_is_ended_at_its_deadline_however_often_it_moves() {
    let mut server = server();
    let mut peer = Peer::connect(&mut server, 0, at(0));
    assert_eq!(server.deadline(), Some(at(60)));
    for (second, byte) in b"GET / HTTP".chunks(1).enumerate() {
        peer.feed(&mut server, byte, at(5 + second as u64));
    }
    assert_eq!(server.deadline(), Some(at(15)));
    server.tick(at(15));
    assert_eq!(server.take_doomed(), Some(id(0)));
    assert_eq!((server.take_doomed(), server.deadline()), (None, None));
    let mut output = Output::new();
    server.farewell(id(0), &mut output);
    assert!(
        output
            .as_slice()
            .starts_with(b"HTTP/1.1 408 Request Timeout\r\n")
    );
    server.close(id(0));
}

#[test]
fn bytes_that_come_after_the_deadline_are_answered_408() {
    let mut server = server();
    let mut peer = Peer::connect(&mut server, 0, at(0));
    peer.feed(&mut server, b"GET / HTTP/1.1\r\n", at(1));
    peer.feed(&mut server, b"Host: a\r\n\r\n", at(11));
    assert!(
        peer.replies.starts_with("HTTP/1.1 408 ") && peer.is_closed,
        "{}",
        peer.replies
    );
}

#[test]
fn a_body_has_its_own_time_and_an_idle_connection_too() {
    let mut server = server();
    let mut peer = Peer::connect(&mut server, 0, at(0));
    let head = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
    peer.feed(&mut server, head, at(10));
    assert_eq!(server.deadline(), Some(at(40)));
    peer.feed(&mut server, b"ab", at(39));
    assert_eq!(server.deadline(), Some(at(40)));
    peer.feed(&mut server, b"c", at(39));
    assert!(peer.replies.ends_with("abc"));
    assert_eq!(server.deadline(), Some(at(99)));
    // Empty lines are no request and buy no time.
    peer.feed(&mut server, b"\r\n\r\n", at(90));
    assert_eq!(server.deadline(), Some(at(99)));
    server.tick(at(99));
    let mut output = Output::new();
    assert_eq!(server.take_doomed(), Some(id(0)));
    server.farewell(id(0), &mut output);
    assert!(output.is_empty());
}

#[test]
fn beyond_the_limit_the_longest_idle_gives_way_and_the_busy_do_not() {
    let mut server = server();
    let mut peers: Vec<Peer> = (0..4)
        .map(|slot| Peer::connect(&mut server, slot, at(0)))
        .collect();
    for peer in &mut peers[1..] {
        peer.feed(&mut server, b"G", at(0));
    }
    let fifth = Peer::connect(&mut server, 4, at(1));
    assert!(!fifth.is_closed);
    assert_eq!(server.take_doomed(), Some(id(0)));
    server.close(id(0));
    let mut fifth = fifth;
    fifth.feed(&mut server, b"G", at(1));
    let sixth = Peer::connect(&mut server, 5, at(1));
    assert!(
        sixth.is_closed && sixth.replies.starts_with("HTTP/1.1 503 "),
        "{}",
        sixth.replies
    );
    server.close(id(5));
    fifth.feed(&mut server, &GET.as_bytes()[1..], at(1));
    assert!(fifth.replies.starts_with("HTTP/1.1 200 "));
}
