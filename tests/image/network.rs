//! The network from the wire: floods, neighbours, connections in number, and frames that no client sends.

use std::time::{Duration, Instant};

use crate::support::frames::{
    ACK, GUEST_MAC, RST, SYN, Segment, arp_reply, arp_request, as_fragment, host, ping, pong,
};
use crate::support::random::Random;
use crate::support::wire::{Connection, Wire};

const REDIS: u16 = 6379;
const SYN_RECEIVED: &str = "nos_tcp_connections{state=\"syn_received\"}";
const ESTABLISHED: &str = "nos_tcp_connections{state=\"established\"}";

fn dropped(reason: &str) -> String {
    format!("nos_network_drops_total{{device=\"eth0\",reason=\"{reason}\"}}")
}

pub(crate) fn a_flood_of_syns_is_bounded_and_clients_are_served_in_it_and_after_it() {
    let wire = Wire::boot("64M");
    let (client, observer) = ((host(1), 40_000), host(2));
    let mut established = Connection::open(&wire, client, REDIS);
    established.ping(&wire);
    let mut most = 0;
    for round in 0..20_u16 {
        for flooder in 0..500 {
            let address = host(1_000 + flooder);
            wire.send(&Segment::syn((address, 1_024 + round), REDIS).frame());
        }
        established.ping(&wire);
        let half_open = wire.metric((observer, 41_000 + round), SYN_RECEIVED);
        most = most.max(half_open);
    }
    // An eighth of what fits into 64 MB, and the scrape's own connection does not count.
    assert!((100..=400).contains(&most), "{most} half-open connections");
    let refused = wire.metric((observer, 42_000), &dropped("no_buffer"));
    assert!(refused > 1_000, "{refused} SYNs made room for others");
    let mut late = Connection::open(&wire, (host(3), 40_000), REDIS);
    late.ping(&wire);
    let until = Instant::now() + Duration::from_secs(60);
    let mut port = 43_000;
    while wire.metric((observer, port), SYN_RECEIVED) > 0 {
        assert!(Instant::now() < until, "half-open connections stay");
        port += 1;
        std::thread::sleep(Duration::from_secs(1));
    }
    established.ping(&wire);
    late.ping(&wire);
    assert_eq!(wire.metric((observer, port + 1), &dropped("malformed")), 0);
}

pub(crate) fn three_hundred_neighbours_are_served_in_turns() {
    let wire = Wire::boot("64M");
    let mut clients: Vec<Connection> = (0..300)
        .map(|number| Connection::open(&wire, (host(1_000 + number), 40_000), REDIS))
        .collect();
    for _ in 0..3 {
        // Every other one is asked for by nobody else meanwhile: more than the image remembers.
        for client in &mut clients {
            client.ping(&wire);
        }
    }
    assert_eq!(
        wire.metric((host(1), 40_000), "nos_tcp_retransmits_total"),
        0
    );
}

pub(crate) fn ten_thousand_connections_fit_in_256_mb_and_all_are_served() {
    const IDLE: u16 = 9_999;
    let wire = Wire::boot("256M");
    let observer = host(1);
    let free = |port| wire.metric((observer, port), "nos_memory_free_bytes");
    let before = free(40_000);
    let mut clients = Vec::new();
    for number in 0..IDLE {
        let client = (host(1_000 + number / 1_000), 20_000 + number % 1_000);
        let mut client = Connection::open(&wire, client, REDIS);
        client.ping(&wire);
        clients.push(client);
    }
    let taken = before - free(40_001);
    let each = taken / u64::from(IDLE);
    println!("  {IDLE} connections take {taken} bytes, {each} each");
    let mut late = Connection::open(&wire, (host(2), 40_000), REDIS);
    let set = late.request(&wire, b"SET k v\r\n", is_line);
    assert_eq!(set, b"+OK\r\n");
    let connected = wire.metric((observer, 40_002), "nos_kv_clients_connected");
    assert_eq!(connected, 10_000);
    // One more than Redis lets in by default.
    let mut refused = Connection::open(&wire, (host(2), 40_001), REDIS);
    let told = refused.request(&wire, b"PING\r\n", is_line);
    assert_eq!(told, b"-ERR max number of clients reached\r\n");
    for client in &mut clients {
        client.ping(&wire);
    }
    // And the scrape's own, which may not be counted yet.
    assert!(wire.metric((observer, 40_003), ESTABLISHED) >= 10_000);
}

fn is_line(answer: &[u8]) -> bool {
    answer.ends_with(b"\r\n")
}

pub(crate) fn silent_peers_are_probed_and_idle_clients_ended_as_configured() {
    let wire = Wire::boot_with("64M", "nos.tcp-keepalive=1");
    let connected = |port| wire.metric((host(2), port), "nos_kv_clients_connected");
    let mut alive = Connection::open(&wire, (host(1), 40_000), REDIS);
    let mut dead = Connection::open(&wire, (host(1), 40_001), REDIS);
    alive.ping(&wire);
    dead.ping(&wire);
    assert_eq!(connected(50_000), 2);
    let until = Instant::now() + Duration::from_secs(60);
    let (mut probes, mut port) = (0, 50_001);
    while connected(port) > 1 {
        assert!(Instant::now() < until, "a dead peer is never given up");
        port += 1;
        while let Some(frame) = wire.receive(Duration::from_millis(300)) {
            probes += u32::from(alive.answer_probe(&wire, &frame));
        }
    }
    assert!(probes > 1, "{probes} probes of a silent peer");
    alive.ping(&wire);
    let set = alive.request(&wire, b"CONFIG SET timeout 1\r\n", is_line);
    assert_eq!(set, b"+OK\r\n");
    alive.wait_for_end(&wire);
    assert_eq!(connected(port + 1), 0);
}

pub(crate) fn arp_closed_ports_echo_requests_and_strange_frames_are_answered_as_the_rfcs_say() {
    let wire = Wire::boot("64M");
    let client = (host(1), 40_000);
    let mut established = Connection::open(&wire, client, REDIS);
    established.ping(&wire);

    let from = |port| (host(3), port);
    let answer_to = |segment: &Segment| {
        wire.ask(&segment.frame(), |frame| {
            Segment::from_guest(frame).filter(|answer| answer.host == segment.host)
        })
    };
    // As every host does before it sends.
    let mac = wire.ask(&arp_request(host(3)), |frame| arp_reply(frame, host(3)));
    assert_eq!(mac, GUEST_MAC);
    // RFC 9293 3.5.2: a reset that the sender believes.
    let refused = answer_to(&Segment::syn(from(1), 22));
    assert_eq!((refused.control, refused.acknowledged), (RST | ACK, 1_001));
    let stray = Segment {
        control: ACK,
        acknowledged: 77,
        ..Segment::syn(from(2), REDIS)
    };
    let refused = answer_to(&stray);
    assert_eq!((refused.control, refused.sequence), (RST, 77));
    let echo = wire.ask(&ping(host(3), b"\x00\x07\x00\x09abcdefgh"), pong);
    assert_eq!(echo, b"\x00\x07\x00\x09abcdefgh");

    strange_frames(&wire, from(3));
    established.ping(&wire);
    assert!(wire.metric(from(50_000), &dropped("malformed")) > 0);
    assert!(wire.metric(from(50_001), &dropped("checksum")) > 0);
    let open = wire.metric(from(50_002), "nos_kv_clients_connected");
    assert_eq!(open, 1, "nothing of all that became a client");
}

/// Resets, fragments, cut and spoilt frames, and random bytes: none of which is answered, except that a
/// changed byte may make another right frame.
fn strange_frames(wire: &Wire, from: (std::net::Ipv4Addr, u16)) {
    let reset = Segment {
        control: RST,
        ..Segment::syn(from, REDIS)
    };
    let both = Segment {
        control: SYN | RST,
        ..Segment::syn(from, REDIS)
    };
    wire.drain();
    let syn = Segment::syn(from, REDIS).frame();
    for frame in [
        reset.frame(),
        both.frame(),
        as_fragment(syn.clone(), 0, true),
        as_fragment(syn.clone(), 1, false),
        as_fragment(ping(from.0, &[0; 64]), 185, true),
    ] {
        wire.send(&frame);
    }
    // QEMU takes an empty datagram for the end of the network.
    for len in 1..syn.len() {
        wire.send(&syn[..len]);
    }
    let mut spoilt = syn.clone();
    spoilt[14 + 10] ^= 1;
    wire.send(&spoilt);
    let mut random = Random::seeded(9);
    for _ in 0..5_000 {
        let mut frame = syn.clone();
        for _ in 0..=random.below(4) {
            // From the Ethernet type on: the address stays ours, so that the guest looks further.
            let at = 12 + random.below(frame.len() - 12);
            frame[at] = random.next() as u8;
        }
        // Not by chance the SYN of a client: it was changed back, or its checksum still sums up.
        frame[14 + 20 + 13] &= !SYN;
        wire.send(&frame);
        let len = 1 + random.below(1_514);
        wire.send(&random.bytes(len));
    }
}
