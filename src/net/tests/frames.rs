//! Frames made by hand.

use super::client::{OUR_ADDRESS, PEER_ADDRESS, PEER_MAC, World};
use super::wire::OUR_MAC;
use crate::net::frame::control;
use core::net::Ipv4Addr;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, IpProtocol, Ipv4Packet, Ipv4Repr, TcpPacket,
};
use std::vec;
use std::vec::Vec;

/// A TCP segment to us.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tcp<'a> {
    pub(super) source: Ipv4Addr,
    pub(super) ports: (u16, u16),
    pub(super) sequence: u32,
    pub(super) acknowledged: u32,
    pub(super) control: u8,
    pub(super) payload: &'a [u8],
}

impl Tcp<'_> {
    /// A SYN from the peer's `port` to ours.
    pub(super) fn syn(port: u16) -> Tcp<'static> {
        Tcp {
            source: PEER_ADDRESS,
            ports: (port, super::client::PORT),
            sequence: 1_000,
            acknowledged: 0,
            control: control::SYN,
            payload: b"",
        }
    }

    /// The frame, with right checksums.
    pub(super) fn frame(&self) -> Vec<u8> {
        let mut segment = vec![0; 20 + self.payload.len()];
        segment[20..].copy_from_slice(self.payload);
        let mut packet = TcpPacket::new_unchecked(&mut segment);
        packet.set_src_port(self.ports.0);
        packet.set_dst_port(self.ports.1);
        packet.set_seq_number((self.sequence as i32).into_seq());
        packet.set_ack_number((self.acknowledged as i32).into_seq());
        packet.set_header_len(20);
        packet.set_window_len(60_000);
        packet.fill_checksum(&self.source.into(), &OUR_ADDRESS.into());
        segment[13] = self.control;
        TcpPacket::new_unchecked(&mut segment)
            .fill_checksum(&self.source.into(), &OUR_ADDRESS.into());
        ipv4(self.source, OUR_ADDRESS, IpProtocol::Tcp, &segment)
    }
}

trait IntoSeq {
    fn into_seq(self) -> smoltcp::wire::TcpSeqNumber;
}

impl IntoSeq for i32 {
    fn into_seq(self) -> smoltcp::wire::TcpSeqNumber {
        smoltcp::wire::TcpSeqNumber(self)
    }
}

/// A frame with an IPv4 packet to our hardware address.
pub(super) fn ipv4(
    source: Ipv4Addr,
    target: Ipv4Addr,
    protocol: IpProtocol,
    payload: &[u8],
) -> Vec<u8> {
    let header = Ipv4Repr {
        src_addr: source,
        dst_addr: target,
        next_header: protocol,
        payload_len: payload.len(),
        hop_limit: 64,
    };
    let mut frame = vec![0; 14 + 20 + payload.len()];
    ethernet(EthernetProtocol::Ipv4, EthernetAddress(OUR_MAC))
        .emit(&mut EthernetFrame::new_unchecked(&mut frame));
    header.emit(
        &mut Ipv4Packet::new_unchecked(&mut frame[14..]),
        &ChecksumCapabilities::default(),
    );
    frame[34..].copy_from_slice(payload);
    frame
}

/// The frame as if `mac` had sent it.
pub(super) fn ipv4_from(mac: [u8; 6], mut frame: Vec<u8>) -> Vec<u8> {
    frame[6..12].copy_from_slice(&mac);
    frame
}

/// The addresses that `frame` announces, if it is an announcement (RFC 5227).
pub(super) fn announced(frame: &[u8]) -> Option<([u8; 6], Ipv4Addr)> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Arp {
        return None;
    }
    let ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr,
        source_protocol_addr,
        target_hardware_addr,
        target_protocol_addr,
    } = ArpRepr::parse(&ArpPacket::new_checked(ethernet.payload()).ok()?).ok()?
    else {
        return None;
    };
    let is_announcement = ethernet.dst_addr() == EthernetAddress::BROADCAST
        && operation == ArpOperation::Request
        && target_hardware_addr == EthernetAddress([0; 6])
        && target_protocol_addr == source_protocol_addr;
    is_announcement.then_some((source_hardware_addr.0, source_protocol_addr))
}

/// An ARP message from the peer.
pub(super) fn arp(operation: ArpOperation, target: EthernetAddress) -> Vec<u8> {
    arp_from((PEER_MAC, PEER_ADDRESS), operation, target)
}

/// An ARP message from any host.
pub(super) fn arp_from(
    source: ([u8; 6], Ipv4Addr),
    operation: ArpOperation,
    target: EthernetAddress,
) -> Vec<u8> {
    let message = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress(source.0),
        source_protocol_addr: source.1,
        target_hardware_addr: EthernetAddress(OUR_MAC),
        target_protocol_addr: OUR_ADDRESS,
    };
    let mut frame = vec![0; 14 + message.buffer_len()];
    ethernet(EthernetProtocol::Arp, target).emit(&mut EthernetFrame::new_unchecked(&mut frame));
    message.emit(&mut ArpPacket::new_unchecked(&mut frame[14..]));
    frame
}

fn ethernet(ethertype: EthernetProtocol, target: EthernetAddress) -> EthernetRepr {
    EthernetRepr {
        src_addr: EthernetAddress(PEER_MAC),
        dst_addr: target,
        ethertype,
    }
}

/// What we sent, as far as tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) ports: (u16, u16),
    pub(super) sequence: u32,
    pub(super) acknowledged: u32,
    pub(super) control: u8,
    pub(super) payload: Vec<u8>,
}

impl World {
    /// Puts a frame on the cable to us, and polls.
    pub(super) fn give(&mut self, frame: Vec<u8>) {
        self.cable.borrow_mut().to_us.push_back(frame);
        self.poll();
    }

    /// Tells us the peer's hardware address, and takes our answer away.
    pub(super) fn introduce_peer(&mut self) {
        self.give(arp(ArpOperation::Request, EthernetAddress::BROADCAST));
        self.take_frames();
    }

    /// Takes the frames that we sent.
    pub(super) fn take_frames(&mut self) -> Vec<Vec<u8>> {
        self.cable.borrow_mut().from_us.drain(..).collect()
    }

    /// Takes the TCP segments that we sent.
    pub(super) fn take_segments(&mut self) -> Vec<Answer> {
        let frames = self.take_frames();
        frames.iter().filter_map(|frame| segment(frame)).collect()
    }
}

/// Reads a TCP segment that we sent.
pub(super) fn segment(frame: &[u8]) -> Option<Answer> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let packet = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
    assert!(packet.verify_checksum(), "our IPv4 checksum is right");
    if packet.next_header() != IpProtocol::Tcp {
        return None;
    }
    let tcp = TcpPacket::new_checked(packet.payload()).ok()?;
    Some(Answer {
        ports: (tcp.src_port(), tcp.dst_port()),
        sequence: tcp.seq_number().0 as u32,
        acknowledged: tcp.ack_number().0 as u32,
        control: packet.payload()[13],
        payload: tcp.payload().to_vec(),
    })
}
