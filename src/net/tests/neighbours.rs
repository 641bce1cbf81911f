//! Neighbours: what is learnt from ARP and from segments, and more of them than smoltcp knows at a time.

use super::client::{OUR_ADDRESS, PEER_ADDRESS, PEER_MAC, World, config};
use super::echo::Behaviour;
use super::frames::{Tcp, arp, arp_from, ipv4_from};
use super::wire::OUR_MAC;
use crate::net::config::{AddressConfig, StackConfig};
use crate::net::frame::control;
use core::net::Ipv4Addr;
use smoltcp::socket::tcp::State;
use smoltcp::wire::{ArpOperation, ArpPacket, EthernetAddress, EthernetFrame, EthernetProtocol};
use std::vec::Vec;

#[test]
fn an_arp_request_is_answered() {
    let mut world = World::new(config(), Behaviour::Echo);
    world.poll();
    world.take_frames();
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
fn a_syn_from_an_unknown_neighbour_is_answered_at_once() {
    let mut world = World::new(config(), Behaviour::Echo);
    world.give(Tcp::syn(5_000).frame());
    let answer = world.take_segments().pop().expect("the SYN is answered");
    assert_eq!(answer.control, control::SYN | control::ACK);
    assert_eq!(world.counters.retransmits(), 0);
}

#[test]
fn a_syn_from_behind_an_unknown_router_is_answered_as_soon_as_arp_has_found_the_router() {
    let settings = StackConfig {
        address: AddressConfig::Static {
            address: OUR_ADDRESS,
            prefix_len: 24,
            gateway: Some(PEER_ADDRESS),
        },
        ..config()
    };
    let mut world = World::new(settings, Behaviour::Echo);
    let far = Tcp {
        source: Ipv4Addr::new(192, 0, 2, 1),
        ..Tcp::syn(5_000)
    };
    world.give(far.frame());
    assert!(world.take_segments().is_empty());
    world.give(arp(ArpOperation::Reply, EthernetAddress(OUR_MAC)));
    let answer = world
        .take_segments()
        .pop()
        .expect("the SYN is answered now");
    assert_eq!(answer.control, control::SYN | control::ACK);
    assert_eq!(world.counters.retransmits(), 0);
}

fn host(number: u16) -> ([u8; 6], Ipv4Addr) {
    let [high, low] = number.to_be_bytes();
    ([2, 0, 0, 1, high, low], Ipv4Addr::new(10, 0, high, low))
}

fn wide_network() -> StackConfig {
    StackConfig {
        address: AddressConfig::Static {
            address: OUR_ADDRESS,
            prefix_len: 16,
            gateway: None,
        },
        ..config()
    }
}

#[test]
fn two_hundred_clients_on_the_link_are_told_apart() {
    let mut world = World::new(wide_network(), Behaviour::Echo);
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

/// What we answer `segment` from `host` with: the segment, and the hardware address it goes to.
fn answered(world: &mut World, mac: [u8; 6], segment: Tcp<'_>) -> ([u8; 6], super::frames::Answer) {
    world.give(ipv4_from(mac, segment.frame()));
    let frames = world.take_frames();
    let answers: Vec<_> = frames
        .iter()
        .filter_map(|frame| Some((frame[..6].try_into().ok()?, super::frames::segment(frame)?)))
        .collect();
    assert_eq!(answers.len(), 1, "{segment:?} is answered at once");
    answers.into_iter().next().expect("there is one")
}

#[test]
fn six_hundred_clients_that_are_known_by_their_segments_alone_are_served_in_turns() {
    let mut world = World::new(wide_network(), Behaviour::Echo);
    world.poll();
    let mut next = Vec::new();
    for number in 300..900 {
        let (mac, source) = host(number);
        let syn = Tcp {
            source,
            ..Tcp::syn(5_000)
        };
        let (to, answer) = answered(&mut world, mac, syn);
        assert_eq!((to, answer.control), (mac, control::SYN | control::ACK));
        let first = Tcp {
            sequence: 1_001,
            acknowledged: answer.sequence + 1,
            control: control::ACK | control::PSH,
            ..syn
        };
        next.push((mac, first));
    }
    for round in 0..3u32 {
        for (mac, request) in &mut next {
            request.payload = [&b"one"[..], b"two", b"six"][round as usize];
            let (to, answer) = answered(&mut world, *mac, *request);
            assert_eq!((to, &answer.payload[..]), (*mac, request.payload));
            request.sequence += 3;
            request.acknowledged += 3;
        }
    }
    assert_eq!(world.counters.connections(State::Established), 600);
    assert_eq!(world.counters.retransmits(), 0);
}

#[test]
fn a_client_that_moves_to_another_hardware_address_is_answered_there() {
    use crate::platform::time::Duration;
    let mut world = World::new(wide_network(), Behaviour::Echo);
    let (mac, source) = host(7);
    let syn = Tcp {
        source,
        ..Tcp::syn(5_000)
    };
    let (_, answer) = answered(&mut world, mac, syn);
    let request = Tcp {
        sequence: 1_001,
        acknowledged: answer.sequence + 1,
        control: control::ACK | control::PSH,
        payload: b"here",
        ..syn
    };
    answered(&mut world, mac, request);
    // Long enough for what smoltcp knows to be forgotten; the echo is acknowledged by what comes then.
    let moved = Tcp {
        sequence: 1_005,
        acknowledged: answer.sequence + 5,
        ..request
    };
    world.give(ipv4_from(
        mac,
        Tcp {
            payload: b"",
            control: control::ACK,
            ..moved
        }
        .frame(),
    ));
    world.sleep(Duration::from_secs(61));
    world.take_frames();
    let (to, answer) = answered(&mut world, host(8).0, moved);
    assert_eq!((to, &answer.payload[..]), (host(8).0, &b"here"[..]));
}
