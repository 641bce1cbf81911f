//! Our address: DHCP, ARP, ICMP.

use super::client::{OUR_ADDRESS, PEER_ADDRESS, PEER_MAC, Peer, World, config};
use super::echo::Behaviour;
use super::frames::{Tcp, arp, arp_from, ipv4};
use super::wire::OUR_MAC;
use crate::net::config::{AddressConfig, StackConfig};
use crate::net::frame::control;
use crate::platform::time::Duration;
use core::net::Ipv4Addr;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::tcp::State;
use smoltcp::wire::{
    ArpOperation, ArpPacket, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, EthernetFrame,
    EthernetProtocol, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, UdpPacket, UdpRepr,
};
use std::vec;
use std::vec::Vec;

#[test]
fn an_arp_request_is_answered() {
    let mut world = World::new(config(), Behaviour::Echo);
    world.give(arp(ArpOperation::Request, EthernetAddress::BROADCAST));
    let frames = world.take_frames();
    let frame = EthernetFrame::new_checked(&frames[0]).expect("a whole frame");
    assert_eq!(frame.ethertype(), EthernetProtocol::Arp);
    assert_eq!(frame.dst_addr(), EthernetAddress(PEER_MAC));
    let answer = ArpPacket::new_checked(frame.payload()).expect("a whole message");
    assert_eq!(answer.operation(), ArpOperation::Reply);
    assert_eq!(answer.source_hardware_addr(), OUR_MAC);
}

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

#[test]
fn a_syn_from_an_unknown_neighbour_is_answered_as_soon_as_arp_has_found_it() {
    let mut world = World::new(config(), Behaviour::Echo);
    world.give(Tcp::syn(5_000).frame());
    assert!(world.take_segments().is_empty());
    world.give(arp(ArpOperation::Reply, EthernetAddress(OUR_MAC)));
    let answer = world
        .take_segments()
        .pop()
        .expect("the SYN is answered now");
    assert_eq!(answer.control, control::SYN | control::ACK);
    assert_eq!(world.counters.retransmits(), 0);
}

#[test]
fn two_hundred_clients_on_the_link_are_told_apart() {
    let mut world = World::new(config(), Behaviour::Echo);
    let host = |number: u8| ([2, 0, 0, 0, 1, number], Ipv4Addr::new(10, 0, 0, number));
    for number in 10..210 {
        world.give(arp_from(
            host(number),
            ArpOperation::Request,
            EthernetAddress::BROADCAST,
        ));
    }
    world.take_frames();
    for number in 10..210 {
        let (mac, source) = host(number);
        world.give(
            Tcp {
                source,
                ..Tcp::syn(5_000)
            }
            .frame(),
        );
        let frames = world.take_frames();
        assert_eq!(frames.len(), 1, "no question is asked again");
        assert_eq!(frames[0][..6], mac);
    }
    assert_eq!(world.counters.connections(State::SynReceived), 200);
}

/// Takes what we sent to the DHCP server: the kind of message and its transaction.
fn asked(world: &World) -> (DhcpMessageType, u32) {
    let frames: Vec<_> = world.cable.borrow_mut().from_us.drain(..).collect();
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
