//! Frames that are lost, peers that fall silent, and the timers for both.

use super::client::{Peer, World, config};
use super::echo::Behaviour;
use super::frames::Tcp;
use super::random::Random;
use crate::net::config::StackConfig;
use crate::net::frame::control;
use crate::platform::time::{Duration, Instant};
use smoltcp::socket::tcp::State;
use std::boxed::Box;
use std::cell::Cell;
use std::rc::Rc;
use std::vec::Vec;

#[test]
fn a_lost_reply_is_sent_again_and_counted() {
    let mut world = World::new(config(), Behaviour::Echo);
    let mut peer = Peer::new(&world);
    let client = peer.connected(&mut world);
    let lost = Rc::new(Cell::new(0));
    let count = lost.clone();
    peer.loses = Box::new(move |_, is_ours| {
        let is_lost = is_ours && count.get() == 0;
        count.set(count.get() + usize::from(is_lost));
        is_lost
    });
    peer.send(client, b"again");
    peer.sleep(&mut world, Duration::from_secs(5));
    assert_eq!(lost.get(), 1);
    assert_eq!(peer.receive(client), b"again");
    assert_eq!(world.counters.retransmits(), 1);
}

#[test]
fn a_stream_survives_random_loss_in_both_directions() {
    for seed in 0..6 {
        let mut world = World::new(config(), Behaviour::Echo);
        let mut peer = Peer::new(&world);
        let client = peer.connected(&mut world);
        let mut random = Random::new(seed);
        let mut dice = Random::new(seed + 100);
        peer.loses = Box::new(move |_, _| dice.below(12) == 0);
        let bytes = random.bytes(60_000);
        let (mut sent, mut back) = (0, Vec::new());
        let limit = world.now + Duration::from_secs(3_600);
        while back.len() < bytes.len() {
            sent += peer.send(client, &bytes[sent..]);
            peer.sleep(&mut world, Duration::from_millis(200));
            back.extend(peer.receive(client));
            assert!(
                world.now < limit,
                "seed {seed}: the stream stalls at {}",
                back.len()
            );
        }
        assert!(back == bytes, "seed {seed}");
        assert!(world.counters.retransmits() > 0, "seed {seed}");
    }
}

#[test]
fn a_peer_that_vanishes_while_it_owes_an_acknowledgement_is_dropped() {
    let mut world = World::new(config(), Behaviour::Echo);
    let mut peer = Peer::new(&world);
    let client = peer.connected(&mut world);
    peer.send(client, b"last words");
    peer.loses = Box::new(|_, is_ours| is_ours);
    peer.exchange(&mut world);
    peer.forget(client);
    world.cable.borrow_mut().to_us.clear();
    world.sleep(Duration::from_secs(100));
    assert_eq!(world.closed(), 0);
    assert!(
        world.counters.retransmits() >= 5,
        "{}",
        world.counters.retransmits()
    );
    world.sleep(Duration::from_secs(30));
    assert_eq!((world.closed(), world.stack.connections()), (1, 0));
    assert_eq!(world.stack.deadline(), None, "nothing is left to wake for");
}

#[test]
fn an_idle_peer_is_probed_and_stays_while_it_answers() {
    let mut world = World::new(config(), Behaviour::Echo);
    let mut peer = Peer::new(&world);
    let client = peer.connected(&mut world);
    let probes = Rc::new(Cell::new(0));
    let count = probes.clone();
    peer.loses = Box::new(move |frame, is_ours| {
        // ARP asks for the peer's hardware address before each probe.
        let is_probe = is_ours && frame[12..14] == [8, 0];
        count.set(count.get() + usize::from(is_probe));
        false
    });
    peer.sleep(&mut world, Duration::from_secs(3_000));
    assert!(
        (9..=10).contains(&probes.get()),
        "a probe in 300 s: {}",
        probes.get()
    );
    assert_eq!(
        world.counters.retransmits(),
        0,
        "a probe is no retransmission"
    );
    assert_eq!(peer.state(client), State::Established);
    peer.forget(client);
    peer.loses = Box::new(|_, is_ours| is_ours);
    world.cable.borrow_mut().to_us.clear();
    peer.sleep(&mut world, Duration::from_secs(620));
    assert_eq!((world.closed(), world.stack.connections()), (1, 0));
}

#[test]
fn an_idle_connection_costs_a_few_wake_ups_an_hour() {
    let mut world = World::new(config(), Behaviour::Echo);
    let mut peer = Peer::new(&world);
    let client = peer.connected(&mut world);
    peer.send(client, b"hello");
    peer.exchange(&mut world);
    let start = world.now;
    let mut wakes = 0;
    while world.now.since(start) < Duration::from_secs(3_600) {
        let deadline = world.stack.deadline().expect("keep-alive has a deadline");
        assert!(deadline > Instant::ZERO);
        world.now = world.now.max(deadline);
        world.poll();
        peer.exchange(&mut world);
        wakes += 1;
    }
    assert!(wakes <= 40, "{wakes}");
}

#[test]
fn an_idle_timeout_closes_silent_connections_only() {
    let settings = StackConfig {
        idle_timeout: Some(Duration::from_secs(10)),
        ..config()
    };
    let mut world = World::new(settings, Behaviour::Echo);
    let mut peer = Peer::new(&world);
    let (silent, talking) = (peer.connected(&mut world), peer.connected(&mut world));
    for _ in 0..6 {
        peer.send(talking, b"x");
        peer.sleep(&mut world, Duration::from_secs(3));
        peer.receive(talking);
    }
    assert_eq!(peer.state(silent), State::CloseWait);
    assert_eq!(peer.state(talking), State::Established);
    assert_eq!(world.closed(), 1);
}

#[test]
fn a_peer_that_never_closes_its_side_is_reset_in_the_end() {
    let mut world = World::new(config(), Behaviour::OneLine);
    let mut peer = Peer::new(&world);
    let client = peer.connected(&mut world);
    peer.send(client, b"bye\n");
    peer.exchange(&mut world);
    assert_eq!(world.counters.connections(State::FinWait2), 1);
    peer.sleep(&mut world, Duration::from_secs(59));
    peer.send(client, b"but I am still talking");
    peer.sleep(&mut world, Duration::from_secs(2));
    assert_eq!(peer.state(client), State::Closed);
    assert_eq!(world.stack.connections(), 0);
}

#[test]
fn a_syn_that_is_never_acknowledged_is_answered_a_few_times_and_forgotten() {
    let mut world = World::new(config(), Behaviour::Echo);
    world.introduce_peer();
    world.give(Tcp::syn(5_000).frame());
    world.sleep(Duration::from_secs(11));
    let answers = world.take_segments();
    let syns = answers
        .iter()
        .filter(|answer| answer.control == control::SYN | control::ACK);
    assert_eq!(syns.count(), 4, "at 0, 1, 3 and 7 s");
    assert_eq!(world.stack.connections(), 0);
    assert_eq!(world.opened(), 0);
    assert_eq!(world.counters.retransmits(), 3);
}

#[test]
fn a_reset_of_a_half_open_connection_forgets_it() {
    let mut world = World::new(config(), Behaviour::Echo);
    world.introduce_peer();
    world.give(Tcp::syn(5_000).frame());
    assert_eq!(world.stack.connections(), 1);
    let reset = Tcp {
        sequence: 1_001,
        control: control::RST,
        ..Tcp::syn(5_000)
    };
    world.give(reset.frame());
    assert_eq!(world.stack.connections(), 0);
    assert_eq!(world.counters.connections(State::SynReceived), 0);
}

#[test]
fn an_unanswered_byte_is_acknowledged_within_the_delay() {
    let mut world = World::new(config(), Behaviour::Blocks(100));
    let mut peer = Peer::new(&world);
    let client = peer.connected(&mut world);
    peer.send(client, b"half a block");
    peer.exchange(&mut world);
    assert_eq!(
        peer.socket(client).send_queue(),
        12,
        "the acknowledgement waits for a reply"
    );
    peer.sleep(&mut world, Duration::from_millis(12));
    assert_eq!(peer.socket(client).send_queue(), 0);
}
