//! Our address: DHCP, announcements, ICMP.

use super::client::{OUR_ADDRESS, PEER_ADDRESS, Peer, World, config};
use super::echo::Behaviour;
use super::frames::{Tcp, announced, arp, ipv4};
use super::wire::OUR_MAC;
use crate::net::config::{AddressConfig, StackConfig};
use crate::platform::time::Duration;
use core::net::Ipv4Addr;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::tcp::State;
use smoltcp::wire::{
    ArpOperation, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, Icmpv4Packet, Icmpv4Repr,
    IpProtocol, Ipv4Packet, UdpPacket, UdpRepr,
};
use std::vec;
use std::vec::Vec;

#[test]
fn a_ping_is_answered() {
    let mut world = World::new(config(), Behaviour::Echo);
    world.introduce_peer();
    let ping = Icmpv4Repr::EchoRequest {
        ident: 7,
        seq_no: 9,
        data: b"abcdefgh",
    };
    let mut payload = vec![0; ping.buffer_len()];
    ping.emit(
        &mut Icmpv4Packet::new_unchecked(&mut payload),
        &ChecksumCapabilities::default(),
    );
    world.give(ipv4(PEER_ADDRESS, OUR_ADDRESS, IpProtocol::Icmp, &payload));
    let frames = world.take_frames();
    let packet = Ipv4Packet::new_checked(&frames[0][14..]).expect("a whole packet");
    let answer = Icmpv4Packet::new_checked(packet.payload()).expect("a whole message");
    assert!(answer.verify_checksum());
    let pong = Icmpv4Repr::parse(&answer, &ChecksumCapabilities::default());
    let expected = Icmpv4Repr::EchoReply {
        ident: 7,
        seq_no: 9,
        data: b"abcdefgh",
    };
    assert_eq!(pong, Ok(expected));
}

/// Takes what we sent to the DHCP server: the kind of message and its transaction.
fn asked(world: &World) -> (DhcpMessageType, u32) {
    let mut frames: Vec<_> = world.cable.borrow_mut().from_us.drain(..).collect();
    frames.retain(|frame| announced(frame).is_none());
    let frame = frames.last().expect("a message to the DHCP server");
    let packet = Ipv4Packet::new_checked(&frame[14..]).expect("a whole packet");
    assert_eq!(packet.next_header(), IpProtocol::Udp);
    let udp = UdpPacket::new_checked(packet.payload()).expect("a whole datagram");
    let message = DhcpPacket::new_checked(udp.payload()).expect("a whole message");
    let message = DhcpRepr::parse(&message).expect("a right message");
    (message.message_type, message.transaction_id)
}

/// What the server says.
fn says(
    message_type: DhcpMessageType,
    transaction_id: u32,
    address: Ipv4Addr,
    router: Ipv4Addr,
) -> Vec<u8> {
    let message = DhcpRepr {
        message_type,
        transaction_id,
        secs: 0,
        client_hardware_address: EthernetAddress(OUR_MAC),
        client_ip: Ipv4Addr::UNSPECIFIED,
        your_ip: address,
        server_ip: PEER_ADDRESS,
        router: Some(router),
        subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: false,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(PEER_ADDRESS),
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        lease_duration: Some(1_000),
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    };
    let datagram = UdpRepr {
        src_port: 67,
        dst_port: 68,
    };
    let mut payload = vec![0; 8 + message.buffer_len()];
    datagram.emit(
        &mut UdpPacket::new_unchecked(&mut payload),
        &PEER_ADDRESS.into(),
        &address.into(),
        message.buffer_len(),
        |bytes| {
            let emitted = message.emit(&mut DhcpPacket::new_unchecked(bytes));
            emitted.expect("the buffer is long enough");
        },
        &ChecksumCapabilities::default(),
    );
    ipv4(PEER_ADDRESS, address, IpProtocol::Udp, &payload)
}

fn dhcp_world() -> World {
    let settings = StackConfig {
        address: AddressConfig::Dhcp,
        ..config()
    };
    World::new(settings, Behaviour::Echo)
}

/// Goes through a lease of `address`.
fn lease(world: &mut World, address: Ipv4Addr, router: Ipv4Addr) {
    let (kind, transaction) = asked(world);
    assert_eq!(kind, DhcpMessageType::Discover);
    world.give(says(DhcpMessageType::Offer, transaction, address, router));
    let (kind, transaction) = asked(world);
    assert_eq!(kind, DhcpMessageType::Request);
    world.give(says(DhcpMessageType::Ack, transaction, address, router));
}

#[test]
fn an_address_is_leased_and_served_on() {
    let mut world = dhcp_world();
    assert!(!world.stack.is_configured());
    world.poll();
    lease(&mut world, OUR_ADDRESS, PEER_ADDRESS);
    assert!(world.stack.is_configured());
    assert_eq!(world.stack.address(), Some(OUR_ADDRESS));
    let mut peer = Peer::new(&world);
    let client = peer.connected(&mut world);
    peer.send(client, b"leased");
    peer.exchange(&mut world);
    assert_eq!(peer.receive(client), b"leased");
    let renewal = world.stack.deadline().expect("a lease is renewed");
    assert!(renewal.since(world.now) <= Duration::from_secs(500));
}

#[test]
fn a_silent_dhcp_server_is_asked_again_every_two_seconds() {
    let mut world = dhcp_world();
    world.poll();
    world.sleep(Duration::from_secs(9));
    assert_eq!(world.take_frames().len(), 5);
}

#[test]
fn a_lease_that_runs_out_ends_the_connections_of_its_address() {
    let mut world = dhcp_world();
    world.poll();
    lease(&mut world, OUR_ADDRESS, PEER_ADDRESS);
    let mut peer = Peer::new(&world);
    peer.connected(&mut world);
    world.sleep(Duration::from_secs(1_100));
    assert!(!world.stack.is_configured());
    assert_eq!((world.closed(), world.stack.connections()), (1, 0));
    assert_eq!(world.counters.connections(State::Established), 0);
}

#[test]
fn a_dhcp_server_that_names_a_multicast_router_does_no_harm() {
    let mut world = dhcp_world();
    world.poll();
    lease(&mut world, OUR_ADDRESS, Ipv4Addr::new(224, 0, 0, 1));
    let far = Tcp {
        source: Ipv4Addr::new(192, 0, 2, 1),
        ..Tcp::syn(5_000)
    };
    world.give(far.frame());
    world.sleep(Duration::from_secs(20));
    assert!(world.stack.is_configured());
    assert_eq!(world.stack.connections(), 0);
}

#[test]
fn a_static_address_is_announced_twice_at_the_start() {
    let mut world = World::new(config(), Behaviour::Echo);
    world.poll();
    for frame in [0, 1] {
        let frames = world.take_frames();
        assert_eq!(frames.len(), 1, "announcement {frame}");
        assert_eq!(announced(&frames[0]), Some((OUR_MAC, OUR_ADDRESS)));
        world.sleep(Duration::from_millis(2_001));
    }
    world.sleep(Duration::from_secs(60));
    assert!(world.take_frames().is_empty(), "and no more");
}

#[test]
fn an_announcement_for_which_there_is_no_room_is_sent_later() {
    let mut world = World::new(config(), Behaviour::Echo);
    world.cable.borrow_mut().room = Some(0);
    world.poll();
    assert!(world.take_frames().is_empty());
    world.cable.borrow_mut().room = None;
    assert!(world.stack.deadline().is_some_and(|at| at <= world.now));
    world.poll();
    assert_eq!(world.take_frames().len(), 1);
}

#[test]
fn a_leased_address_is_announced_and_a_renewed_one_is_not() {
    let mut world = dhcp_world();
    world.poll();
    lease(&mut world, OUR_ADDRESS, PEER_ADDRESS);
    let is_announcement = |frame: &Vec<u8>| announced(frame).is_some();
    // The lease came in one poll, the announcement may have to wait for the next.
    world.sleep(Duration::from_secs(3));
    let told = world
        .take_frames()
        .iter()
        .filter(|frame| is_announcement(frame))
        .count();
    assert_eq!(told, 2);
    world.sleep(Duration::from_secs(500));
    renew(&mut world, OUR_ADDRESS);
    world.sleep(Duration::from_secs(3));
    assert!(!world.take_frames().iter().any(is_announcement));
}

/// Has the server answer the renewal of a lease that is due, with that address.
fn renew(world: &mut World, address: Ipv4Addr) {
    // The server is asked for its hardware address first.
    world.give(arp(ArpOperation::Reply, EthernetAddress(OUR_MAC)));
    world.sleep(Duration::from_secs(2));
    let (kind, transaction) = asked(world);
    assert_eq!(kind, DhcpMessageType::Request);
    world.give(says(
        DhcpMessageType::Ack,
        transaction,
        address,
        PEER_ADDRESS,
    ));
}

#[test]
fn another_address_forgets_the_connections_that_are_over_and_the_same_one_does_not() {
    for (address, remembered) in [(OUR_ADDRESS, 1), (Ipv4Addr::new(10, 0, 0, 9), 0)] {
        let mut world = dhcp_world();
        world.poll();
        lease(&mut world, OUR_ADDRESS, PEER_ADDRESS);
        world.sleep(Duration::from_secs(500));
        let mut peer = Peer::new(&world);
        let client = peer.connected(&mut world);
        let opened = world.seen.borrow().opened.clone();
        world.seen.borrow_mut().doomed = opened;
        peer.exchange(&mut world);
        peer.socket(client).close();
        peer.exchange(&mut world);
        assert_eq!(world.counters.connections(State::TimeWait), 1);
        renew(&mut world, address);
        assert_eq!(world.stack.address(), Some(address));
        assert_eq!(world.counters.connections(State::TimeWait), remembered);
    }
}
