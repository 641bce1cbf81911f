//! Frames that no honest peer sends: nothing panics, nothing leaks, everyone else is served on.

use super::client::{OUR_ADDRESS, PEER_ADDRESS, Peer, World, config};
use super::echo::Behaviour;
use super::frames::{Tcp, arp, ipv4};
use super::random::Random;
use super::wire::OUR_MAC;
use crate::net::counters::DropReason;
use crate::net::frame::control;
use crate::platform::network_device::Checksums;
use crate::platform::time::Duration;
use core::net::Ipv4Addr;
use smoltcp::wire::{ArpOperation, EthernetAddress, IpProtocol, Ipv4Packet};
use std::vec;
use std::vec::Vec;

/// Gives a connected client's world each of `frames`, and checks that the client is still served.
fn survives(frames: impl Iterator<Item = Vec<u8>>, checksums: Checksums) -> World {
    let mut world = World::with_checksums(config(), Behaviour::Echo, checksums);
    let mut peer = Peer::new(&world);
    let client = peer.connected(&mut world);
    for frame in frames {
        world.give(frame);
        world.now = world.now + Duration::from_millis(1);
    }
    world.take_frames();
    peer.send(client, b"still served");
    peer.exchange(&mut world);
    assert_eq!(peer.receive(client), b"still served");
    world.sleep(Duration::from_secs(700));
    world
}

fn samples() -> Vec<Vec<u8>> {
    let mut samples = vec![
        arp(ArpOperation::Request, EthernetAddress::BROADCAST),
        ipv4(
            PEER_ADDRESS,
            OUR_ADDRESS,
            IpProtocol::Icmp,
            &[8, 0, 0, 0, 0, 0, 0, 0],
        ),
        ipv4(
            PEER_ADDRESS,
            OUR_ADDRESS,
            IpProtocol::Udp,
            &[0, 67, 0, 68, 0, 8, 0, 0],
        ),
        ipv4(
            PEER_ADDRESS,
            OUR_ADDRESS,
            IpProtocol::Unknown(200),
            b"whatever",
        ),
    ];
    for flags in [
        control::SYN,
        control::ACK,
        control::RST,
        control::FIN | control::ACK,
        0xff,
        0,
    ] {
        let segment = Tcp {
            control: flags,
            payload: b"some payload",
            ..Tcp::syn(5_000 + u16::from(flags))
        };
        samples.push(segment.frame());
        let payload = b"";
        samples.push(Tcp { payload, ..segment }.frame());
    }
    samples
}

#[test]
fn random_bytes_do_no_harm() {
    for seed in 0..4 {
        let mut random = Random::new(seed);
        let frames = (0..5_000).map(|_| {
            let len = random.below(200) as usize;
            let mut frame = random.bytes(len);
            // Most would not even be looked at otherwise.
            if frame.len() >= 34 {
                frame[..6].copy_from_slice(&OUR_MAC);
                frame[12..14]
                    .copy_from_slice([[8, 0], [8, 6]][random.below(2) as usize].as_slice());
                frame[14] = 0x45 + random.below(3) as u8;
                frame[23] = [1, 6, 17, 200][random.below(4) as usize];
                frame[30..34].copy_from_slice(&OUR_ADDRESS.octets());
                mend_ipv4(&mut frame);
            }
            frame
        });
        survives(
            frames,
            Checksums {
                receive_verified: true,
                transmit_filled: false,
            },
        );
    }
}

/// Gives a frame the IPv4 length and checksum that let it pass the first look.
fn mend_ipv4(frame: &mut [u8]) {
    let total = (frame.len() - 14) as u16;
    let mut packet = Ipv4Packet::new_unchecked(&mut frame[14..]);
    packet.set_total_len(total);
    packet.set_frag_offset(0);
    packet.set_more_frags(false);
    if usize::from(packet.header_len()) <= usize::from(total) {
        packet.fill_checksum();
    }
}

#[test]
fn every_prefix_of_a_frame_does_no_harm() {
    let samples = samples();
    let prefixes = samples
        .iter()
        .flat_map(|frame| (0..frame.len()).map(|len| frame[..len].to_vec()));
    let world = survives(prefixes, Checksums::default());
    assert!(world.counters.drops(DropReason::Malformed) > 100);
}

#[test]
fn every_single_byte_changed_does_no_harm() {
    let samples = samples();
    let mut random = Random::new(9);
    let mut changed = Vec::new();
    for frame in &samples {
        for at in 0..frame.len() {
            let mut copy = frame.clone();
            copy[at] ^= 1 + random.below(255) as u8;
            let mut mended = copy.clone();
            changed.push(copy);
            mend_ipv4(&mut mended);
            changed.push(mended);
        }
    }
    let unchecked = Checksums {
        receive_verified: true,
        transmit_filled: false,
    };
    survives(changed.clone().into_iter(), unchecked);
    let world = survives(changed.into_iter(), Checksums::default());
    assert!(world.counters.drops(DropReason::Checksum) > 100);
}

#[test]
fn a_wrong_checksum_is_counted_and_believed_only_of_a_device_that_has_verified_it() {
    let mut frame = Tcp::syn(5_000).frame();
    frame[14 + 20 + 16] ^= 0x55;
    let mut world = World::new(config(), Behaviour::Echo);
    world.give(frame.clone());
    assert_eq!(world.counters.drops(DropReason::Checksum), 1);
    assert_eq!(world.stack.connections(), 0);
    let checksums = Checksums {
        receive_verified: true,
        transmit_filled: true,
    };
    let mut world = World::with_checksums(config(), Behaviour::Echo, checksums);
    world.give(frame);
    assert_eq!(world.counters.drops(DropReason::Checksum), 0);
    assert_eq!(world.stack.connections(), 1);
}

#[test]
fn fragments_and_martians_are_malformed() {
    let mut world = World::new(config(), Behaviour::Echo);
    let mut fragment = Tcp::syn(5_000).frame();
    let mut packet = Ipv4Packet::new_unchecked(&mut fragment[14..]);
    packet.set_more_frags(true);
    packet.fill_checksum();
    world.give(fragment);
    for source in [OUR_ADDRESS, Ipv4Addr::LOCALHOST] {
        world.give(
            Tcp {
                source,
                ..Tcp::syn(5_000)
            }
            .frame(),
        );
    }
    assert_eq!(world.counters.drops(DropReason::Malformed), 3);
    assert_eq!(world.stack.connections(), 0);
}

#[test]
fn sources_that_cannot_be_answered_leave_no_connection_behind() {
    let mut world = World::new(config(), Behaviour::Echo);
    for source in [
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::BROADCAST,
        Ipv4Addr::new(224, 0, 0, 9),
        Ipv4Addr::new(10, 0, 0, 255),
    ] {
        world.give(
            Tcp {
                source,
                ..Tcp::syn(5_000)
            }
            .frame(),
        );
        assert_eq!(world.stack.connections(), 0, "{source}");
    }
    world.give(
        Tcp {
            ports: (0, super::client::PORT),
            ..Tcp::syn(0)
        }
        .frame(),
    );
    assert_eq!(world.stack.connections(), 0);
}

#[test]
fn a_packet_with_ip_options_is_taken() {
    let mut world = World::new(config(), Behaviour::Echo);
    world.introduce_peer();
    let plain = Tcp::syn(5_000).frame();
    let mut frame = plain[..34].to_vec();
    // Three no-operations and an end of options.
    frame.extend_from_slice(&[1, 1, 1, 0]);
    frame.extend_from_slice(&plain[34..]);
    frame[14] = 0x46;
    mend_ipv4(&mut frame);
    world.give(frame);
    assert_eq!(world.take_segments().len(), 1);
    assert_eq!(world.stack.connections(), 1);
}

#[test]
fn frames_for_others_are_left_alone() {
    let mut world = World::new(config(), Behaviour::Echo);
    world.introduce_peer();
    let mut frame = Tcp::syn(5_000).frame();
    frame[5] ^= 1;
    world.give(frame);
    world.give(ipv4(
        PEER_ADDRESS,
        Ipv4Addr::new(10, 0, 0, 77),
        IpProtocol::Tcp,
        &[0; 20],
    ));
    let mut broadcast = Tcp::syn(5_000).frame();
    broadcast[..6].fill(0xff);
    world.give(broadcast);
    assert!(world.take_frames().is_empty());
    assert_eq!(world.stack.connections(), 0);
}
