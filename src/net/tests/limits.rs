//! Limits: half-open connections, connections in all, TIME-WAIT, memory.

use super::client::{PEER_ADDRESS, PORT, Peer, World, config};
use super::echo::Behaviour;
use super::frames::Tcp;
use crate::error::test_heap::refuse_blocks_above;
use crate::net::config::StackConfig;
use crate::net::counters::DropReason;
use crate::net::frame::control;
use crate::platform::time::Duration;
use core::net::Ipv4Addr;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;

#[test]
fn a_flood_of_syns_is_bounded_and_a_client_still_connects() {
    let settings = StackConfig {
        half_open_limit: 100,
        ..config()
    };
    let mut world = World::new(settings, Behaviour::Echo);
    let mut peer = Peer::new(&world);
    world.introduce_peer();
    for flooder in 0..5_000u32 {
        let syn = Tcp {
            source: Ipv4Addr::from_bits(PEER_ADDRESS.to_bits() + 1 + flooder % 200),
            ..Tcp::syn(1_024 + flooder as u16)
        };
        world.give(syn.frame());
        assert!(world.stack.connections() <= 101);
    }
    assert!(world.counters.connections(State::SynReceived) <= 100);
    assert!(world.counters.drops(DropReason::NoBuffer) >= 4_900);
    world.take_frames();
    let client = peer.connected(&mut world);
    peer.send(client, b"through");
    peer.exchange(&mut world);
    assert_eq!(peer.receive(client), b"through");
    world.sleep(Duration::from_secs(60));
    assert_eq!(
        world.stack.connections(),
        1,
        "what was half-open has timed out"
    );
    assert_eq!(world.counters.connections(State::SynReceived), 0);
}

#[test]
fn a_connection_beyond_the_limit_is_reset_and_one_that_ends_makes_room() {
    let settings = StackConfig {
        connection_limit: 3,
        ..config()
    };
    let mut world = World::new(settings, Behaviour::Echo);
    let mut peer = Peer::new(&world);
    let clients = [(); 3].map(|()| peer.connected(&mut world));
    let refused = peer.connect(64);
    peer.exchange(&mut world);
    assert_eq!(peer.state(refused), State::Closed);
    assert_eq!(world.counters.drops(DropReason::NoBuffer), 1);
    peer.socket(clients[0]).abort();
    peer.exchange(&mut world);
    peer.connected(&mut world);
    assert_eq!(world.stack.connections(), 3);
}

#[test]
fn connections_in_time_wait_make_room_for_one_another() {
    let settings = StackConfig {
        time_wait_limit: 5,
        ..config()
    };
    let mut world = World::new(settings, Behaviour::Greet);
    let mut peer = Peer::new(&world);
    for _ in 0..200 {
        let client = peer.connect(64);
        peer.exchange(&mut world);
        peer.socket(client).close();
        peer.exchange(&mut world);
        peer.forget(client);
        assert!(world.counters.connections(State::TimeWait) <= 5);
    }
    assert_eq!(world.closed(), 200);
    assert_eq!(world.stack.connections(), 5);
    world.sleep(Duration::from_secs(11));
    assert_eq!(world.stack.connections(), 0);
}

/// Goes through a whole connection of the greeting service from `port`, up to its TIME-WAIT.
fn greeted(world: &mut World, port: u16, sequence: u32) {
    let syn = Tcp {
        sequence,
        ..Tcp::syn(port)
    };
    world.give(syn.frame());
    let answer = world.take_segments().pop().expect("a SYN is answered");
    assert_eq!(answer.control, control::SYN | control::ACK);
    let after_syn = Tcp {
        sequence: sequence + 1,
        acknowledged: answer.sequence + 1,
        control: control::ACK,
        ..syn
    };
    world.give(after_syn.frame());
    let greeting = world.take_segments().pop().expect("the service greets");
    assert_eq!(greeting.control & control::FIN, control::FIN);
    let end = greeting.sequence + greeting.payload.len() as u32 + 1;
    let fin = Tcp {
        acknowledged: end,
        control: control::FIN | control::ACK,
        ..after_syn
    };
    world.give(fin.frame());
    assert_eq!(world.counters.connections(State::TimeWait), 1);
}

#[test]
fn a_syn_reopens_a_connection_in_time_wait_if_it_is_newer() {
    let mut world = World::new(config(), Behaviour::Greet);
    world.introduce_peer();
    greeted(&mut world, 5_000, 1_000);
    world.take_frames();
    let old = Tcp {
        sequence: 900,
        ..Tcp::syn(5_000)
    };
    world.give(old.frame());
    assert_eq!(world.opened(), 1, "an old duplicate opens nothing");
    world.take_frames();
    greeted(&mut world, 5_000, 2_000);
    assert_eq!((world.opened(), world.stack.connections()), (2, 1));
}

#[test]
fn a_port_that_nobody_listens_on_answers_with_a_reset() {
    let mut world = World::new(config(), Behaviour::Echo);
    world.introduce_peer();
    let syn = Tcp {
        ports: (5_000, 22),
        ..Tcp::syn(0)
    };
    world.give(syn.frame());
    let answer = world.take_segments().pop().expect("a closed port answers");
    assert_eq!(answer.control, control::RST | control::ACK);
    assert_eq!((answer.ports, answer.acknowledged), ((22, 5_000), 1_001));
    assert_eq!(world.counters.drops(DropReason::NoSocket), 1);
    let stray = Tcp {
        control: control::ACK,
        acknowledged: 77,
        ..Tcp::syn(5_001)
    };
    world.give(stray.frame());
    let answer = world
        .take_segments()
        .pop()
        .expect("a stray segment is answered");
    assert_eq!((answer.control, answer.sequence), (control::RST, 77));
    assert_eq!(answer.ports, (PORT, 5_001));
}

#[test]
fn sequence_numbers_are_those_of_rfc_6528() {
    use crate::net::isn::SequenceNumbers;
    let mut world = World::new(config(), Behaviour::Echo);
    world.introduce_peer();
    let numbers = SequenceNumbers::new(super::client::SECRETS.sequence_key);
    for port in 5_000..5_200 {
        world.now = world.now + Duration::from_millis(3);
        world.give(Tcp::syn(port).frame());
        let answer = world.take_segments().pop().expect("a SYN is answered");
        let local = (super::client::OUR_ADDRESS, PORT);
        let expected = numbers.number(local, (PEER_ADDRESS, port), world.now);
        assert_eq!(
            answer.sequence, expected,
            "smoltcp's generator is not what isn.rs takes it for"
        );
    }
}

#[test]
fn a_connection_that_finds_no_memory_is_given_what_the_services_can_spare() {
    let settings = StackConfig {
        spare_sockets: 0,
        ..config()
    };
    let mut world = World::new(settings, Behaviour::Echo);
    let mut peer = Peer::new(&world);
    peer.connected(&mut world);
    // Less than a ring: none for the next connection.
    refuse_blocks_above(1_000);
    let refused = peer.connect(64);
    peer.exchange(&mut world);
    assert_eq!(peer.state(refused), State::Closed);
    assert_eq!(world.seen.borrow().relieved_bytes.len(), 1);
    // The second piece that is given back is enough.
    world.seen.borrow_mut().spare_bytes = [usize::MAX as u64, 1_000].to_vec();
    let opened = peer.connect(64);
    peer.exchange(&mut world);
    assert_eq!(peer.state(opened), State::Established);
    assert_eq!(world.seen.borrow().relieved_bytes.len(), 3);
}

/// A peer that has sent the first 20,000 bytes of a block of 300,000, of which the heap lets 32 KiB be kept; and one beside
/// it.
fn half_a_large_block(world: &mut World, peer: &mut Peer) -> (SocketHandle, SocketHandle) {
    let (large, other) = (peer.connected(world), peer.connected(world));
    refuse_blocks_above(32 << 10);
    let mut sent = 0;
    while sent < 20_000 {
        let piece = peer.send(large, &[7; 1_000]);
        peer.exchange(world);
        if piece == 0 {
            break;
        }
        sent += piece;
    }
    (large, other)
}

#[test]
fn input_that_finds_no_memory_is_refused_in_its_place_and_its_peer_alone() {
    let mut world = World::new(config(), Behaviour::Blocks(300_000));
    let mut peer = Peer::new(&world);
    let (large, other) = half_a_large_block(&mut world, &mut peer);
    assert_eq!(peer.receive(large), b"no room");
    let seen = world.seen.borrow();
    assert_eq!(seen.relieved_bytes.len(), 1, "it said that it has nothing");
    assert_eq!(seen.closed.len(), 1);
    drop(seen);
    assert_eq!(
        peer.state(large),
        State::CloseWait,
        "and it is closed, not reset"
    );
    assert_eq!(peer.state(other), State::Established);
}

#[test]
fn input_waits_for_what_the_service_can_give_back_and_no_longer() {
    let mut world = World::new(config(), Behaviour::Blocks(300_000));
    let mut peer = Peer::new(&world);
    // The third piece of what it gives back is enough.
    world.seen.borrow_mut().spare_bytes = [1 << 20, 32 << 10, 32 << 10].to_vec();
    let (large, _) = half_a_large_block(&mut world, &mut peer);
    assert_eq!(peer.receive(large), b"");
    assert_eq!(peer.state(large), State::Established);
    let seen = world.seen.borrow();
    assert_eq!(seen.relieved_bytes.len(), 3);
    assert!(seen.relieved_bytes.iter().all(|&bytes| bytes >= 64 << 10));
    drop(seen);

    // What gives back without end, and is of no use.
    let mut world = World::new(config(), Behaviour::Blocks(300_000));
    let mut peer = Peer::new(&world);
    world.seen.borrow_mut().spare_bytes = [32 << 10; 1_000].to_vec();
    let (large, _) = half_a_large_block(&mut world, &mut peer);
    assert_eq!(peer.receive(large), b"no room");
    let asked = world.seen.borrow().relieved_bytes.len();
    assert!((2..100).contains(&asked), "{asked}");
}
