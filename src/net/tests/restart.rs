//! A stack that dies without a word, and the next one, which ends what that left open.

use super::client::{Peer, World, config};
use super::echo::Behaviour;
use crate::net::peers::PeerTable;
use crate::platform::time::Duration;
use smoltcp::socket::tcp::State;
use std::boxed::Box;
use std::vec::Vec;

/// A stack that has nothing to end, and a peer.
fn world() -> (World, Peer, &'static PeerTable) {
    let peers = Box::leak(Box::new(PeerTable::new(64).expect("the host has memory")));
    let mut world = World::new(config(), Behaviour::Echo);
    world.restart(peers);
    let peer = Peer::new(&world);
    (world, peer, peers)
}

#[test]
fn peers_that_only_wait_are_reset_by_the_next_stack() {
    let (mut world, mut peer, peers) = world();
    let waiting: Vec<_> = (0..40).map(|_| peer.connected(&mut world)).collect();
    for (number, &client) in waiting.iter().enumerate() {
        // None of them is answered any more: what they have sent is at different places.
        peer.send(client, &[b'x'; 100][..number]);
        peer.exchange(&mut world);
    }
    world.restart(peers);
    peer.exchange(&mut world);
    for client in waiting {
        assert_eq!(peer.state(client), State::Closed);
    }
    let client = peer.connected(&mut world);
    peer.send(client, b"PING");
    peer.exchange(&mut world);
    assert_eq!(peer.receive(client), b"PING");
}

#[test]
fn peers_are_told_as_the_device_has_room() {
    let (mut world, mut peer, peers) = world();
    let waiting: Vec<_> = (0..10).map(|_| peer.connected(&mut world)).collect();
    world.restart(peers);
    // A question more than one peer needs: the second is asked again.
    world.cable.borrow_mut().room = Some(3);
    world.poll();
    assert_eq!(world.cable.borrow().from_us.len(), 3);
    world.cable.borrow_mut().room = None;
    peer.exchange(&mut world);
    for client in waiting {
        assert_eq!(peer.state(client), State::Closed);
    }
}

#[test]
fn who_has_gone_is_not_asked() {
    let (mut world, mut peer, peers) = world();
    let client = peer.connected(&mut world);
    peer.socket(client).abort();
    let closing = peer.connected(&mut world);
    peer.socket(closing).close();
    peer.exchange(&mut world);
    world.sleep(Duration::from_secs(11));
    assert_eq!(world.stack.connections(), 0);
    world.restart(peers);
    world.cable.borrow_mut().from_us.clear();
    world.poll();
    // An announcement of the address, and nothing else.
    assert_eq!(world.cable.borrow().from_us.len(), 1);
}

#[test]
fn a_connection_that_is_new_after_a_restart_is_remembered_for_the_next() {
    let (mut world, mut peer, peers) = world();
    for _ in 0..3 {
        let client = peer.connected(&mut world);
        world.restart(peers);
        peer.exchange(&mut world);
        assert_eq!(peer.state(client), State::Closed);
        // Neighbours answer segments that they do not take once a second.
        peer.sleep(&mut world, Duration::from_secs(2));
    }
}
