//! What peers get: the same as from the server itself, whoever is slow.

use super::*;
use crate::net::tests::random::Random;
use std::format;
use toy::End;

/// Requests of all sizes, one after the other.
fn requests(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    match random.below(10) {
        0 => return GET_ONCE.to_vec(),
        1 => return GET_PAGE_ONCE.to_vec(),
        _ => {}
    }
    for _ in 0..1 + random.below(5) {
        match random.below(6) {
            0 => bytes.extend_from_slice(GET_PAGE),
            1 | 2 => {
                let len = random.below(40_000) as usize;
                let body = random.bytes(len);
                let head = format!(
                    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                bytes.extend_from_slice(head.as_bytes());
                bytes.extend_from_slice(&body);
            }
            3 if random.below(8) == 0 => bytes.extend_from_slice(b"nonsense\r\n\r\n"),
            _ => bytes.extend_from_slice(GET),
        }
    }
    bytes
}

#[test]
fn peers_get_what_the_server_says_in_every_interleaving() {
    let mut frames_taken = 0;
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let mut world = World::new();
        let mut expected = Vec::new();
        for _ in 0..1 + random.below(4) {
            let bytes = requests(&mut random);
            expected.push(direct(&bytes));
            world.network.connect(&bytes, world.now);
        }
        let clients = expected.len() as u64;
        for step in 0_u64.. {
            let client = random.below(clients) as usize;
            let scale = random.below(17);
            let most = 1 + random.below(1 << scale) as usize;
            // Frames come and go; one that is missing only makes more messages.
            world.frames.exhaust(random.below(10) == 0);
            match random.below(8) {
                0 | 1 => world.network.deliver(client, most),
                2 | 3 => world.network.read(client, most),
                4 | 5 => world.network.poll(world.now),
                6 => world.run_host(),
                _ => world.now = world.now + Duration::from_millis(1),
            }
            let is_done = |(i, (replies, _)): (usize, &(Vec<u8>, bool))| {
                world.network.clients[i].received.len() >= replies.len()
            };
            if expected.iter().enumerate().all(is_done) {
                break;
            }
            assert!(step < 200_000, "seed {seed} stalls");
        }
        world.settle();
        for (i, (replies, is_closed)) in expected.iter().enumerate() {
            let client = &world.network.clients[i];
            assert!(client.received == *replies, "seed {seed}, client {i}");
            assert_eq!(client.is_closed(), *is_closed, "seed {seed}, client {i}");
        }
        assert_eq!(world.frames.out(), 0, "seed {seed}");
        // What came behind a request that ended its connection is the only thing that may be dropped.
        let is_any_closed = expected.iter().any(|(_, is_closed)| *is_closed);
        let late = world.count(RelayEvent::LateMessage);
        assert!(late == 0 || is_any_closed, "seed {seed}");
        frames_taken += world.frames.taken();
    }
    assert!(frames_taken > 500);
}

#[test]
fn a_short_request_on_a_new_connection_is_one_message_each_way_and_no_frame() {
    use crate::bus::Queue;
    let mut world = World::new();
    for round in 1..10 {
        let client = world.network.connect(GET, world.now);
        world.network.poll(world.now);
        world.network.deliver(client, usize::MAX);
        world.settle();
        world.network.read(client, usize::MAX);
        assert!(
            world.network.clients[client]
                .received
                .starts_with(b"HTTP/1.1 200")
        );
        world.network.disconnect(client);
        assert_eq!(world.wires.to_http().tally().delivered, round);
        assert_eq!(world.wires.to_network().tally().delivered, round);
    }
    assert_eq!(world.frames.taken(), 0);
    // The last connection's end is told by itself.
    world.sleep(NEWS_AFTER);
    assert_eq!(world.wires.to_http().tally().delivered, 10);
    assert_eq!(world.host.expect("it runs").talks.len(), 0);
}

#[test]
fn a_peer_that_wants_one_answer_leaves_nothing_with_http() {
    for request in [GET_ONCE, GET_PAGE_ONCE] {
        let mut world = World::new();
        let client = world.network.connect(request, world.now);
        world.network.deliver(client, usize::MAX);
        world.network.poll(world.now);
        world.run_host();
        // A short answer is the end of it; a long one waits for its turn.
        let host = world.host.as_ref().expect("it runs");
        assert_eq!(host.talks.len(), usize::from(request == GET_PAGE_ONCE));
        for _ in 0..100 {
            world.settle();
            world.network.read(client, usize::MAX);
        }
        let (expected, is_closed) = direct(request);
        assert!(is_closed && world.network.clients[client].is_closed());
        assert!(world.network.clients[client].received == expected);
        assert_eq!(world.host.expect("it runs").talks.len(), 0);
        assert_eq!(world.wires.counters().get(RelayEvent::LateMessage), 0);
    }
}

#[test]
fn http_stops_when_its_peer_does_not_read() {
    let mut world = World::new();
    let client = world.network.connect(&GET_PAGE.repeat(10), world.now);
    for _ in 0..100 {
        world.network.deliver(client, usize::MAX);
        world.settle();
    }
    // What the stack has, what the relay has; HTTP keeps the rest of the one answer that it began.
    let most = PIECES_UNDER_WAY as u64 * 4;
    assert!(world.frames.out() <= most, "{} blocks", world.frames.out());
    let (expected, _) = direct(&GET_PAGE.repeat(10));
    while world.network.clients[client].received.len() < expected.len() {
        world.network.read(client, 10_000);
        world.network.poll(world.now);
        world.run_host();
    }
    assert!(world.network.clients[client].received == expected);
}

#[test]
fn a_peers_window_closes_when_http_does_not_work() {
    let mut world = World::new();
    let flood = GET.repeat(3_000);
    let client = world.network.connect(&flood, world.now);
    for _ in 0..1_000 {
        world.network.deliver(client, usize::MAX);
        world.network.poll(world.now);
    }
    let taken = flood.len() - world.network.clients[client].rest.len();
    // A share with HTTP and a full ring.
    assert!(
        (UNSEEN_BYTES..=UNSEEN_BYTES + 8 * 1024).contains(&taken),
        "{taken}"
    );
    let (expected, _) = direct(&flood);
    while world.network.clients[client].received.len() < expected.len() {
        world.network.deliver(client, usize::MAX);
        world.network.poll(world.now);
        world.run_host();
        world.network.read(client, usize::MAX);
    }
    assert!(world.network.clients[client].received == expected);
}

#[test]
fn a_peer_that_has_ended_its_side_gets_its_answer_first() {
    let mut world = World::new();
    let client = world.network.connect(GET_PAGE, world.now);
    world.network.clients[client].is_half_closed = true;
    world.network.deliver(client, usize::MAX);
    for _ in 0..1_000 {
        world.network.poll(world.now);
        world.run_host();
        world.network.read(client, 5_000);
    }
    let (expected, _) = direct(GET_PAGE);
    assert!(world.network.clients[client].received == expected);
    assert_eq!(world.network.clients[client].end, Some(End::Closed));
    // Of half a request nothing is to be expected.
    let client = world.network.connect(&GET[..20], world.now);
    world.network.clients[client].is_half_closed = true;
    world.network.deliver(client, usize::MAX);
    world.settle();
    assert_eq!(world.network.clients[client].end, Some(End::Closed));
}

#[test]
fn a_silent_connection_is_announced_and_ended_by_the_server() {
    let mut world = World::new();
    let client = world.network.connect(b"", world.now);
    world.settle();
    assert_eq!(world.host.as_ref().expect("it runs").talks.len(), 0);
    world.sleep(NEWS_AFTER);
    assert_eq!(world.host.as_ref().expect("it runs").talks.len(), 1);
    world.sleep(Limits::DEFAULT.idle);
    assert_eq!(world.network.clients[client].end, Some(End::Closed));
    assert!(world.network.clients[client].received.is_empty());
}

#[test]
fn many_silent_connections_do_not_wait_for_their_announcement() {
    let mut world = World::new();
    for _ in 0..100 {
        world.network.connect(b"", world.now);
        world.settle();
    }
    assert_eq!(world.host.as_ref().expect("it runs").talks.len(), 84);
    for client in 0..100 {
        world.network.disconnect(client);
    }
    world.settle();
    world.sleep(NEWS_AFTER);
    assert_eq!(world.host.expect("it runs").talks.len(), 0);
}

#[test]
fn with_http_and_its_mailbox_full_nothing_is_lost() {
    let mut world = World::new();
    let mut clients = Vec::new();
    for _ in 0..200 {
        let client = world.network.connect(GET, world.now);
        world.network.deliver(client, usize::MAX);
        world.network.poll(world.now);
        clients.push(client);
    }
    clients.retain(|&client| world.network.clients[client].end.is_none());
    assert_eq!(world.wires.to_http().depth(), 64);
    assert!(clients.len() >= 64);
    for _ in 0..50 {
        world.sleep(RETRY_AFTER);
    }
    let (expected, _) = direct(GET);
    for client in clients {
        world.network.read(client, usize::MAX);
        assert_eq!(world.network.clients[client].received, expected);
    }
}

#[test]
fn the_network_is_rung_for_at_once_but_for_the_last_message_of_a_step() {
    let mut world = World::new();
    let clients = [GET, GET, GET_PAGE].map(|bytes| world.network.connect(bytes, world.now));
    for client in clients {
        world.network.deliver(client, usize::MAX);
        world.network.poll(world.now);
    }
    world.rings.take();
    let host = world.host.as_mut().expect("it runs");
    host.step(world.now);
    // For each of the short answers before the next request is looked at, and for each piece of the page, as there is more.
    assert_eq!(world.rings.take(), 2 + PIECES_UNDER_WAY);
    host.ring();
    assert_eq!(world.rings.take(), 0, "nothing was left");

    let mut world = World::new();
    let client = world.network.connect(GET, world.now);
    world.network.deliver(client, usize::MAX);
    world.network.poll(world.now);
    let host = world.host.as_mut().expect("it runs");
    host.step(world.now);
    assert_eq!(
        world.rings.take(),
        0,
        "its host rings when it is about to sleep"
    );
    host.run(world.now);
    assert_eq!(world.rings.take(), 1);
    host.run(world.now);
    assert_eq!(world.rings.take(), 0, "nothing was left");
}

#[test]
fn news_and_silence_are_seen_to_in_their_time_after_any_number_of_requests() {
    let mut world = World::new();
    for _ in 0..50 {
        let client = world.network.connect(GET, world.now);
        world.network.deliver(client, usize::MAX);
        world.settle();
        world.network.read(client, usize::MAX);
        assert_eq!(world.network.clients[client].received, direct(GET).0);
        world.network.disconnect(client);
        world.now = world.now + Duration::from_millis(300);
    }
    // One that says nothing is told of; HTTP, which does not run, owes nothing for that.
    let silent = world.network.connect(b"", world.now);
    world.network.poll(world.now + NEWS_AFTER);
    assert!(world.wires.to_http().depth() > 0);
    world
        .network
        .poll(world.now + NEWS_AFTER + PATIENCE + PATIENCE);
    assert_eq!(world.count(RelayEvent::PeerDown), 0);
    // One that asks is answered by HTTP, or told that nobody does.
    world.now = world.now + NEWS_AFTER + PATIENCE + PATIENCE;
    let asks = world.network.connect(GET, world.now);
    world.network.deliver(asks, usize::MAX);
    world.network.poll(world.now);
    world
        .network
        .poll(world.now + PATIENCE - Duration::from_millis(1));
    assert_eq!(world.count(RelayEvent::PeerDown), 0);
    world.network.poll(world.now + PATIENCE);
    world.network.poll(world.now + PATIENCE);
    world.network.read(asks, usize::MAX);
    assert!(
        world.network.clients[asks]
            .received
            .starts_with(b"HTTP/1.1 503")
    );
    assert_eq!(world.count(RelayEvent::PeerDown), 2);
    assert!(world.network.clients[silent].end.is_some());
}
