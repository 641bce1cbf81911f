//! Connections whose service answers later, by message: the stack pauses them and keeps them for that.

use super::client::{PORT, Peer, World, config};
use super::echo::{Behaviour, Seen, TestService};
use crate::bus::{Exchange, Mute, Owner};
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
    let world = World::with_service(config(), relay, seen, Checksums::default());
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
