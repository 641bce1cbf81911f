//! Connections from their SYN to their end.

use super::client::{PORT, Peer, World, config};
use super::echo::Behaviour;
use super::random::Random;
use crate::platform::time::Duration;
use smoltcp::socket::tcp::State;
use std::vec::Vec;

fn world(behaviour: Behaviour) -> (World, Peer) {
    let world = World::new(config(), behaviour);
    let peer = Peer::new(&world);
    (world, peer)
}

/// Sends `bytes` as the peer's and our windows allow, and returns what came back.
fn echoed(
    world: &mut World,
    peer: &mut Peer,
    handle: smoltcp::iface::SocketHandle,
    bytes: &[u8],
) -> Vec<u8> {
    let mut sent = 0;
    let mut back = Vec::new();
    while back.len() < bytes.len() {
        sent += peer.send(handle, &bytes[sent..]);
        let before = back.len();
        peer.sleep(world, Duration::from_millis(50));
        back.extend(peer.receive(handle));
        assert!(
            back.len() > before || sent < bytes.len(),
            "the connection stalls"
        );
    }
    back
}

#[test]
fn a_client_connects_is_echoed_and_closes() {
    let (mut world, mut peer) = world(Behaviour::Echo);
    let client = peer.connected(&mut world);
    assert_eq!(world.opened(), 1);
    assert_eq!(world.counters.connections(State::Established), 1);
    peer.send(client, b"PING\r\n");
    peer.exchange(&mut world);
    assert_eq!(peer.receive(client), b"PING\r\n");
    peer.socket(client).close();
    peer.exchange(&mut world);
    assert_eq!(world.closed(), 1);
    assert_eq!(world.stack.connections(), 0);
    assert_eq!(world.counters.connections(State::Established), 0);
    assert_eq!(peer.state(client), State::TimeWait);
}

#[test]
fn a_request_and_its_acknowledgement_and_reply_are_two_frames() {
    let (mut world, mut peer) = world(Behaviour::Echo);
    let client = peer.connected(&mut world);
    peer.send(client, b"PING\r\n");
    let mut frames = 0;
    let count = std::rc::Rc::new(std::cell::Cell::new(0));
    let counted = count.clone();
    peer.loses = std::boxed::Box::new(move |_, is_ours| {
        frames += usize::from(is_ours);
        counted.set(frames);
        false
    });
    peer.exchange(&mut world);
    assert_eq!(count.get(), 1, "the acknowledgement rides on the reply");
}

#[test]
fn what_was_asked_before_a_half_close_is_answered_before_ours() {
    let (mut world, mut peer) = world(Behaviour::Amplify(100));
    let client = peer.connected(&mut world);
    peer.send(client, &[b'x'; 2_000]);
    peer.socket(client).close();
    let mut answer = Vec::new();
    for _ in 0..200 {
        peer.sleep(&mut world, Duration::from_millis(20));
        answer.extend(peer.receive(client));
    }
    assert_eq!(answer.len(), 200_000);
    assert_eq!((world.closed(), world.stack.connections()), (1, 0));
}

#[test]
fn a_service_that_closes_is_heard_out_before_the_fin() {
    let (mut world, mut peer) = world(Behaviour::OneLine);
    let client = peer.connected(&mut world);
    peer.send(client, b"bye\n");
    peer.exchange(&mut world);
    assert_eq!(peer.receive(client), b"bye\n");
    assert_eq!(peer.state(client), State::CloseWait);
    assert_eq!(world.closed(), 1, "the service is told at once");
    peer.socket(client).close();
    peer.exchange(&mut world);
    assert_eq!(world.counters.connections(State::TimeWait), 1);
    world.sleep(Duration::from_secs(11));
    assert_eq!(world.stack.connections(), 0);
    assert_eq!(world.counters.connections(State::TimeWait), 0);
}

#[test]
fn a_service_may_greet_and_close_when_a_connection_opens() {
    let (mut world, mut peer) = world(Behaviour::Greet);
    let client = peer.connect(1024);
    peer.exchange(&mut world);
    assert_eq!(peer.receive(client), b"hello and goodbye");
    assert_eq!(peer.state(client), State::CloseWait);
    assert_eq!((world.opened(), world.closed()), (1, 1));
}

#[test]
fn a_service_that_aborts_resets_its_peer() {
    let (mut world, mut peer) = world(Behaviour::OneLine);
    let client = peer.connected(&mut world);
    peer.send(client, b"abort\n");
    peer.exchange(&mut world);
    assert_eq!(peer.state(client), State::Closed);
    assert_eq!((world.closed(), world.stack.connections()), (1, 0));
}

#[test]
fn a_reset_from_the_peer_ends_the_connection_and_no_other() {
    let (mut world, mut peer) = world(Behaviour::Echo);
    let (client, other) = (peer.connected(&mut world), peer.connected(&mut world));
    peer.socket(client).abort();
    peer.exchange(&mut world);
    assert_eq!((world.closed(), world.stack.connections()), (1, 1));
    peer.send(other, b"still here");
    peer.exchange(&mut world);
    assert_eq!(peer.receive(other), b"still here");
}

#[test]
fn a_connection_that_its_service_dooms_is_told_why_and_closed() {
    let (mut world, mut peer) = world(Behaviour::Echo);
    let client = peer.connected(&mut world);
    let id = world.seen.borrow().opened[0];
    world.seen.borrow_mut().doomed.push(id);
    peer.exchange(&mut world);
    assert_eq!(peer.receive(client), b"too late");
    assert_eq!(peer.state(client), State::CloseWait);
    assert_eq!(world.closed(), 1);
    world.seen.borrow_mut().doomed.push(id);
    peer.exchange(&mut world);
    assert_eq!(world.closed(), 1, "it is doomed once");
}

#[test]
fn a_service_is_ticked_when_its_deadline_comes_and_not_before() {
    let mut world = World::new(config(), Behaviour::Echo);
    let deadline = world.now + Duration::from_millis(7);
    world.seen.borrow_mut().deadline = Some(deadline);
    world.poll();
    assert_eq!(world.stack.deadline(), Some(deadline));
    assert_eq!(world.seen.borrow().ticks, 0);
    assert_eq!(world.sleep(Duration::from_millis(8)), 1);
    assert_eq!(world.seen.borrow().ticks, 1);
}

#[test]
fn a_peer_that_does_not_read_is_not_read_from_until_it_does() {
    const AMPLIFIED: usize = 100;
    let (mut world, mut peer) = world(Behaviour::Amplify(AMPLIFIED));
    let client = peer.connect(16 * 1024);
    peer.exchange(&mut world);
    let mut asked = 0;
    for _ in 0..50 {
        asked += peer.send(client, &[b'y'; 1_000]);
        peer.sleep(&mut world, Duration::from_millis(20));
    }
    assert!(asked < 30_000, "our window closes: {asked}");
    let calls = world.seen.borrow().calls;
    peer.sleep(&mut world, Duration::from_millis(500));
    assert_eq!(
        world.seen.borrow().calls,
        calls,
        "the service is left alone meanwhile"
    );
    let mut answer = 0;
    for _ in 0..20_000 {
        answer += peer.receive(client).len();
        if answer == asked * AMPLIFIED {
            return;
        }
        peer.sleep(&mut world, Duration::from_millis(20));
    }
    panic!("{answer} of {} bytes came", asked * AMPLIFIED);
}

#[test]
fn any_segmentation_is_seen_in_order_and_in_one_piece() {
    for seed in 0..12 {
        let mut random = Random::new(seed);
        let block = 1 + random.below(20_000) as usize;
        let (mut world, mut peer) = world(Behaviour::Blocks(block));
        let client = peer.connected(&mut world);
        let total = block * (1 + 200_000 / block);
        let bytes = random.bytes(total);
        let (mut sent, mut back) = (0, Vec::new());
        while back.len() < total {
            if sent < total {
                let len = 1 + random.below(3_000) as usize;
                sent += peer.send(client, &bytes[sent..total.min(sent + len)]);
            }
            peer.sleep(&mut world, Duration::from_millis(random.below(30)));
            back.extend(peer.receive(client));
        }
        assert!(back == bytes, "seed {seed}");
        let id = world.seen.borrow().opened[0];
        assert!(world.seen.borrow().consumed[&id] == bytes, "seed {seed}");
    }
}

#[test]
fn a_service_that_waits_for_many_bytes_is_called_only_when_they_are_there() {
    let (mut world, mut peer) = world(Behaviour::Blocks(50_000));
    let client = peer.connected(&mut world);
    let bytes = Random::new(1).bytes(50_000);
    assert_eq!(echoed(&mut world, &mut peer, client, &bytes), bytes);
    let calls = world.seen.borrow().calls;
    assert!(
        calls <= 3,
        "one look at the first bytes, one at all of them: {calls}"
    );
}

#[test]
fn two_thousand_connections_are_served_side_by_side() {
    let (mut world, mut peer) = world(Behaviour::Echo);
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.extend((0..500).map(|_| peer.connect(64)));
        peer.exchange(&mut world);
    }
    assert_eq!(world.counters.connections(State::Established), 2_000);
    for &client in clients.iter().step_by(37) {
        peer.send(client, b"hello");
        peer.exchange(&mut world);
        assert_eq!(peer.receive(client), b"hello");
    }
    for client in clients {
        peer.socket(client).abort();
    }
    peer.exchange(&mut world);
    assert_eq!((world.closed(), world.stack.connections()), (2_000, 0));
}

#[test]
fn a_slot_that_is_used_again_has_another_name() {
    let (mut world, mut peer) = world(Behaviour::Echo);
    for _ in 0..300 {
        let client = peer.connected(&mut world);
        peer.send(client, b"x");
        peer.exchange(&mut world);
        assert_eq!(peer.receive(client), b"x");
        peer.socket(client).abort();
        peer.exchange(&mut world);
        peer.forget(client);
    }
    let seen = world.seen.borrow();
    let names: std::collections::BTreeSet<_> = seen.opened.iter().collect();
    assert_eq!(names.len(), 300);
    assert!(seen.opened.iter().all(|id| id.slot == 0));
}

#[test]
fn a_device_without_room_is_waited_for_and_nothing_is_lost() {
    let (mut world, mut peer) = world(Behaviour::Echo);
    let client = peer.connected(&mut world);
    world.cable.borrow_mut().room = Some(0);
    peer.send(client, b"are you there");
    peer.exchange(&mut world);
    assert!(world.cable.borrow().from_us.is_empty());
    world.cable.borrow_mut().room = Some(5);
    peer.exchange(&mut world);
    assert_eq!(peer.receive(client), b"are you there");
}

#[test]
fn two_services_cannot_have_one_port() {
    use super::client::SECRETS;
    use super::echo::TestService;
    use super::wire::WireDevice;
    let world = World::new(config(), Behaviour::Echo);
    let service = || -> std::boxed::Box<dyn crate::net::service::Service> {
        std::boxed::Box::new(TestService {
            port: PORT,
            behaviour: Behaviour::Echo,
            seen: world.seen.clone(),
        })
    };
    let device = WireDevice::new(&world.cable, Default::default());
    let services = std::vec![service(), service()];
    let counters = world.counters.clone();
    let refused =
        crate::net::stack::Stack::new(device, config(), services, SECRETS, counters, world.now);
    assert!(refused.is_err());
}
