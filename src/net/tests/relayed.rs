//! Connections whose service answers later, by message: the stack pauses them and keeps them for that.

use super::client::{PORT, Peer, World, config};
use super::echo::{Behaviour, Seen, TestService};
use super::frames::Tcp;
use crate::bus::{Exchange, Mute, Owner};
use crate::net::config::StackConfig;
use crate::net::frame::control;
use crate::net::http::relay::{UNSEEN_BYTES, Wires, testing};
use crate::net::http::{Host, Relay};
use crate::platform::network_device::Checksums;
use crate::platform::time::Duration;
use alloc::sync::Arc;
use smoltcp::socket::tcp::State;
use std::boxed::Box;
use std::cell::RefCell;
use std::rc::Rc;
use std::vec::Vec;

/// Our stack with a relay to an echo service that runs when the test says.
fn world() -> (World, Peer, Host<TestService>) {
    world_of(config())
}

fn world_of(settings: StackConfig) -> (World, Peer, Host<TestService>) {
    let exchange = Arc::new(Exchange::new());
    let port = |name, owner| exchange.add(name, Owner::from_low_bits(owner), Arc::new(Mute));
    let network = port("data plane", 1).expect("a new name");
    let http = port("http", 2).expect("a new name");
    let wires = Wires::new(&exchange, &network, &http).expect("room");
    let relay = Box::new(Relay::new(&wires, testing::parcels(), PORT));
    let seen = Rc::new(RefCell::new(Seen::default()));
    let service = TestService {
        port: PORT,
        behaviour: Behaviour::Echo,
        seen: seen.clone(),
    };
    let world = World::with_service(settings, relay, seen, Checksums::default());
    let peer = Peer::new(&world);
    (world, peer, Host::new(&wires, testing::parcels(), service))
}

const STEP: Duration = Duration::from_millis(50);

#[test]
fn a_peer_that_closes_its_side_at_once_is_answered() {
    let (mut world, mut peer, mut host) = world();
    let client = peer.connected(&mut world);
    let bytes = [7; 3_000];
    assert_eq!(peer.send(client, &bytes), bytes.len());
    peer.socket(client).close();
    peer.sleep(&mut world, STEP);
    assert_eq!(peer.state(client), State::FinWait2);
    host.run(world.now);
    peer.sleep(&mut world, STEP);
    assert_eq!(peer.receive(client), bytes);
    assert_eq!(peer.state(client), State::TimeWait);
    assert_eq!(world.stack.connections(), 0);
}

#[test]
fn the_window_closes_while_the_service_does_not_run_and_nothing_is_lost() {
    let (mut world, mut peer, mut host) = world();
    let client = peer.connected(&mut world);
    let bytes: Vec<u8> = (0..400_000).map(|i| (i / 3) as u8).collect();
    let mut sent = 0;
    for _ in 0..100 {
        sent += peer.send(client, &bytes[sent..]);
        peer.sleep(&mut world, STEP);
    }
    let ring = config().receive_ring_bytes;
    let queued = peer.socket(client).send_queue();
    let taken = sent - queued;
    assert!(
        (UNSEEN_BYTES..=UNSEEN_BYTES + ring).contains(&taken),
        "{taken}"
    );
    let mut back = Vec::new();
    for _ in 0..10_000 {
        host.run(world.now);
        peer.sleep(&mut world, STEP);
        back.extend(peer.receive(client));
        sent += peer.send(client, &bytes[sent..]);
        if back.len() == bytes.len() {
            break;
        }
    }
    assert!(back == bytes, "{} bytes came back", back.len());
}

#[test]
fn a_short_request_is_acknowledged_within_the_delay_though_its_answer_takes_long() {
    let (mut world, mut peer, mut host) = world();
    let client = peer.connected(&mut world);
    for _ in 0..3 {
        peer.send(client, b"a request");
        peer.exchange(&mut world);
        assert_eq!(
            peer.socket(client).send_queue(),
            9,
            "the acknowledgement waits for the answer"
        );
        peer.sleep(&mut world, Duration::from_millis(12));
        assert_eq!(peer.socket(client).send_queue(), 0);
        host.run(world.now);
        peer.sleep(&mut world, STEP);
        assert_eq!(peer.receive(client), b"a request");
    }
    // So is one that comes in two segments before there is an answer.
    peer.send(client, b"a request");
    peer.exchange(&mut world);
    peer.send(client, b" in two parts");
    peer.sleep(&mut world, Duration::from_millis(12));
    assert_eq!(peer.socket(client).send_queue(), 0);
}

#[test]
fn an_answer_that_comes_in_time_leaves_no_timer_of_the_acknowledgement() {
    let (mut world, mut peer, mut host) = world();
    let clients = [(); 3].map(|()| peer.connected(&mut world));
    // The timers of the handshakes are over.
    peer.sleep(&mut world, Duration::from_secs(3));
    for client in clients {
        peer.send(client, b"a request");
    }
    peer.exchange(&mut world);
    let in_time = world.now + Duration::from_millis(11);
    assert!(world.stack.deadline().is_some_and(|at| at <= in_time));
    host.run(world.now);
    peer.exchange(&mut world);
    for client in clients {
        assert_eq!(peer.receive(client), b"a request");
        assert_eq!(peer.socket(client).send_queue(), 0);
    }
    assert!(world.stack.deadline().is_none_or(|at| at > in_time));
}

#[test]
fn a_connection_that_ends_while_its_acknowledgement_waits_leaves_no_timer() {
    let (mut world, mut peer, _) = world();
    let client = peer.connected(&mut world);
    peer.sleep(&mut world, Duration::from_secs(3));
    peer.send(client, b"a request");
    peer.exchange(&mut world);
    let in_time = world.now + Duration::from_millis(11);
    peer.socket(client).abort();
    peer.exchange(&mut world);
    assert_eq!(world.stack.connections(), 0);
    assert!(world.stack.deadline().is_none_or(|at| at > in_time));
}

#[test]
fn a_connection_opens_with_its_first_request() {
    let (mut world, mut peer, mut host) = world();
    let client = peer.connected(&mut world);
    assert_eq!(world.counters.connections(State::SynReceived), 1);
    peer.send(client, b"a request");
    peer.exchange(&mut world);
    assert_eq!(world.counters.connections(State::Established), 1);
    host.run(world.now);
    peer.exchange(&mut world);
    assert_eq!(peer.receive(client), b"a request");
    assert_eq!(world.counters.retransmits(), 0);
}

#[test]
fn a_peer_that_says_nothing_is_connected_a_second_later() {
    let (mut world, mut peer, mut host) = world();
    let client = peer.connected(&mut world);
    peer.sleep(&mut world, Duration::from_millis(1_100));
    assert_eq!(world.counters.connections(State::Established), 1);
    assert_eq!(world.counters.connections(State::SynReceived), 0);
    assert_eq!(world.counters.retransmits(), 0, "nothing was lost");
    peer.send(client, b"at last");
    peer.exchange(&mut world);
    host.run(world.now);
    peer.exchange(&mut world);
    assert_eq!(peer.receive(client), b"at last");
}

#[test]
fn a_peer_that_leaves_without_a_request_leaves_nothing_behind() {
    let (mut world, mut peer, _) = world();
    let (closes, resets, vanishes) = (
        peer.connected(&mut world),
        peer.connected(&mut world),
        peer.connected(&mut world),
    );
    peer.socket(closes).close();
    peer.socket(resets).abort();
    peer.exchange(&mut world);
    assert_eq!(world.stack.connections(), 1);
    peer.forget(vanishes);
    peer.loses = Box::new(|_, _| true);
    peer.sleep(&mut world, Duration::from_secs(11));
    assert_eq!(world.stack.connections(), 0);
    assert_eq!(world.counters.connections(State::SynReceived), 0);
}

#[test]
fn connections_that_wait_for_a_request_are_not_half_open() {
    let settings = StackConfig {
        half_open_limit: 2,
        ..config()
    };
    let (mut world, mut peer, mut host) = world_of(settings);
    let clients = [(); 5].map(|()| peer.connected(&mut world));
    for port in 1_000..1_010 {
        world.give(Tcp::syn(port).frame());
    }
    assert_eq!(world.stack.connections(), clients.len() + 2);
    world.take_frames();
    for client in clients {
        peer.send(client, b"here");
    }
    peer.exchange(&mut world);
    host.run(world.now);
    peer.exchange(&mut world);
    for client in clients {
        assert_eq!(peer.receive(client), b"here");
    }
    world.sleep(Duration::from_secs(11));
    assert_eq!(world.stack.connections(), clients.len());
}

#[test]
fn an_acknowledgement_of_something_else_than_our_syn_is_refused() {
    let (mut world, _, _) = world();
    world.introduce_peer();
    world.give(Tcp::syn(5_000).frame());
    let answer = world.take_segments().pop().expect("a SYN is answered");
    let wrong = Tcp {
        sequence: 1_001,
        acknowledged: answer.sequence + 2,
        control: control::ACK,
        ..Tcp::syn(5_000)
    };
    world.give(wrong.frame());
    let refusal = world.take_segments().pop().expect("it is refused");
    assert_eq!(refusal.control, control::RST);
    let right = Tcp {
        acknowledged: answer.sequence + 1,
        ..wrong
    };
    world.give(right.frame());
    assert_eq!(world.take_segments(), []);
}
