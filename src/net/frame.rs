//! The first look at a received frame: which flow it belongs to, before smoltcp sees it.
//!
//! A frame is a claim. [`classify`] checks what the flow table relies on (lengths, version, header
//! lengths, checksums unless the device has verified them, that it is addressed to us and is no fragment)
//! and tells what to do with it. What it lets through smoltcp parses again in full, options included.
//!
//! Limits: IPv4 without reassembly (a fragment is malformed), no VLAN tags. Malformed TCP options and
//! ports of 0 are left to smoltcp, which drops such segments without telling: they are not counted.

use super::counters::DropReason;
use crate::platform::network_device::ETHERNET_HEADER_BYTES;
use core::net::{Ipv4Addr, SocketAddrV4};
use smoltcp::wire::TcpPacket;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const IPV4_HEADER_BYTES: usize = 20;
const TCP_HEADER_BYTES: usize = 20;
/// More fragments, or a fragment offset other than 0.
const FRAGMENT_BITS: u16 = 0x3fff;
const DHCP_CLIENT_PORT: u16 = 68;

/// TCP control bits (RFC 9293 3.1).
pub(super) mod control {
    pub(in crate::net) const FIN: u8 = 0x01;
    pub(in crate::net) const SYN: u8 = 0x02;
    pub(in crate::net) const RST: u8 = 0x04;
    pub(in crate::net) const PSH: u8 = 0x08;
    pub(in crate::net) const ACK: u8 = 0x10;
}

/// What is to happen with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A TCP segment to our address.
    Segment(Segment),
    /// For the system's sockets: ICMP, DHCP, a protocol to be refused.
    System,
    /// ARP, after which a flow that waits for a neighbour may go on.
    Arp,
    /// Not for us.
    Foreign,
    /// Not to be used.
    Drop(DropReason),
}

/// The names of the two ends of a connection with us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FlowKey(u64);

impl FlowKey {
    /// The key of the connection between `peer` and our `port`.
    #[inline]
    pub(super) fn new(peer: SocketAddrV4, port: u16) -> Self {
        let address = u64::from(peer.ip().to_bits());
        Self(address << 32 | u64::from(peer.port()) << 16 | u64::from(port))
    }

    /// The other end.
    #[inline]
    pub(super) fn peer(self) -> SocketAddrV4 {
        SocketAddrV4::new(
            Ipv4Addr::from_bits((self.0 >> 32) as u32),
            (self.0 >> 16) as u16,
        )
    }

    /// Our port.
    #[inline]
    pub(super) fn port(self) -> u16 {
        self.0 as u16
    }

    /// All of it in one word, to be hashed.
    #[inline]
    pub(super) fn word(self) -> u64 {
        self.0
    }

    /// The key that [`FlowKey::word`] tells; 0 is that of no connection.
    pub(super) fn from_word(word: u64) -> Self {
        Self(word)
    }
}

/// What the flow table needs to know of a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) key: FlowKey,
    /// The hardware address that it came from: the peer's, or a router's.
    pub(super) source_mac: [u8; 6],
    pub(super) sequence: u32,
    /// What it acknowledges, if its control bits say that it does.
    pub(super) acknowledged: u32,
    pub(super) payload_len: u16,
    pub(super) control: u8,
}

impl Segment {
    /// True for a segment that wants to open a connection.
    #[inline]
    pub(super) fn opens(&self) -> bool {
        self.control & (control::SYN | control::ACK | control::RST | control::FIN) == control::SYN
    }

    /// Sequence number of what would follow it, if it is a FIN.
    #[inline]
    pub(super) fn end(&self) -> u32 {
        let taken = u32::from(self.payload_len) + 1;
        self.sequence.wrapping_add(taken)
    }

    /// True for a segment that carries nothing but an acknowledgement and a window.
    #[inline]
    pub(super) fn is_bare_ack(&self) -> bool {
        self.payload_len == 0 && self.control & (control::SYN | control::FIN | control::RST) == 0
    }
}

/// Who a frame must be for, and how far it is to be believed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addressee {
    pub(super) mac: [u8; 6],
    pub(super) address: Option<Ipv4Addr>,
    /// The device has verified TCP and UDP checksums.
    pub(super) is_verified: bool,
}

/// Looks at `frame` and tells what is to happen with it.
#[inline]
pub(super) fn classify(frame: &[u8], addressee: &Addressee) -> Frame {
    let Some((ethernet, packet)) = frame.split_first_chunk::<ETHERNET_HEADER_BYTES>() else {
        return Frame::Drop(DropReason::Malformed);
    };
    let is_unicast = ethernet[..6] == addressee.mac;
    if !is_unicast && ethernet[0] & 1 == 0 {
        return Frame::Foreign;
    }
    match u16_at(ethernet, 12) {
        ETHERTYPE_IPV4 => classify_ipv4(ethernet, packet, is_unicast, addressee),
        ETHERTYPE_ARP => Frame::Arp,
        _ => Frame::Foreign,
    }
}

#[inline]
fn classify_ipv4(
    ethernet: &[u8; ETHERNET_HEADER_BYTES],
    packet: &[u8],
    is_unicast: bool,
    addressee: &Addressee,
) -> Frame {
    let malformed = Frame::Drop(DropReason::Malformed);
    let Some(header) = packet.first_chunk::<IPV4_HEADER_BYTES>() else {
        return malformed;
    };
    if header[0] >> 4 != 4 {
        return malformed;
    }
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let total_len = usize::from(u16_at(header, 2));
    if header_len < IPV4_HEADER_BYTES || total_len < header_len || packet.len() < total_len {
        return malformed;
    }
    if !is_sum_right(header, &packet[IPV4_HEADER_BYTES..header_len]) {
        return Frame::Drop(DropReason::Checksum);
    }
    if u16_at(header, 6) & FRAGMENT_BITS != 0 {
        return malformed;
    }
    let (source, target) = (address_at(header, 12), address_at(header, 16));
    let is_ours = is_unicast && addressee.address == Some(target);
    let payload = &packet[header_len..total_len];
    match header[9] {
        PROTOCOL_TCP if is_ours => classify_tcp(ethernet, payload, (source, target), addressee),
        PROTOCOL_TCP => Frame::Foreign,
        PROTOCOL_UDP if payload.len() < 8 => malformed,
        PROTOCOL_UDP if u16_at(payload, 2) == DHCP_CLIENT_PORT => Frame::System,
        PROTOCOL_UDP if is_ours => Frame::Drop(DropReason::NoSocket),
        PROTOCOL_UDP => Frame::Foreign,
        PROTOCOL_ICMP => Frame::System,
        _ if is_ours => Frame::System,
        _ => Frame::Foreign,
    }
}

#[inline]
fn classify_tcp(
    ethernet: &[u8; ETHERNET_HEADER_BYTES],
    bytes: &[u8],
    (source, target): (Ipv4Addr, Ipv4Addr),
    addressee: &Addressee,
) -> Frame {
    let Some(header) = bytes.first_chunk::<TCP_HEADER_BYTES>() else {
        return Frame::Drop(DropReason::Malformed);
    };
    let header_len = usize::from(header[12] >> 4) * 4;
    // No peer has our own address or a loopback address (RFC 1122 3.2.1.3).
    let is_martian = source == target || source.is_loopback();
    if header_len < TCP_HEADER_BYTES || bytes.len() < header_len || is_martian {
        return Frame::Drop(DropReason::Malformed);
    }
    if !addressee.is_verified
        && !TcpPacket::new_unchecked(bytes).verify_checksum(&source.into(), &target.into())
    {
        return Frame::Drop(DropReason::Checksum);
    }
    Frame::Segment(Segment {
        key: FlowKey::new(
            SocketAddrV4::new(source, u16_at(bytes, 0)),
            u16_at(bytes, 2),
        ),
        source_mac: source_mac(ethernet),
        sequence: u32_at(bytes, 4),
        acknowledged: u32_at(bytes, 8),
        payload_len: (bytes.len() - header_len) as u16,
        control: bytes[13],
    })
}

/// What the stack needs to know of a TCP segment that smoltcp has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SentSegment {
    /// Sequence number of what would follow it.
    pub(super) end: u32,
    pub(super) acknowledged: u32,
    pub(super) payload_len: u16,
    pub(super) control: u8,
}

impl SentSegment {
    /// Reads a frame of our own making; `None` if it is no TCP segment.
    #[inline]
    pub(super) fn of(frame: &[u8]) -> Option<Self> {
        let (ethernet, packet) = frame.split_first_chunk::<ETHERNET_HEADER_BYTES>()?;
        // smoltcp writes no IPv4 options.
        let (header, bytes) = packet.split_first_chunk::<IPV4_HEADER_BYTES>()?;
        if u16_at(ethernet, 12) != ETHERTYPE_IPV4 || header[9] != PROTOCOL_TCP {
            return None;
        }
        let tcp = bytes.first_chunk::<TCP_HEADER_BYTES>()?;
        let payload_len = bytes.len() - usize::from(tcp[12] >> 4) * 4;
        let control = tcp[13];
        let flags = u32::from(control & control::SYN != 0) + u32::from(control & control::FIN != 0);
        Some(Self {
            end: u32_at(tcp, 4).wrapping_add(payload_len as u32 + flags),
            acknowledged: u32_at(tcp, 8),
            payload_len: payload_len as u16,
            control,
        })
    }

    /// True if it takes a sequence number of its own.
    #[inline]
    pub(super) fn is_flagged(&self) -> bool {
        self.control & (control::SYN | control::FIN) != 0
    }

    /// True if smoltcp had nothing to add: it sets PSH or FIN on the last of its data, and sends a bare
    /// acknowledgement only when it has no data to send.
    #[inline]
    pub(super) fn is_last(&self) -> bool {
        const LAST: u8 = control::PSH | control::FIN | control::SYN | control::RST;
        self.payload_len == 0 || self.control & LAST != 0
    }
}

/// True if an IPv4 header, checksum and all, sums up to ones (RFC 1071).
#[inline]
fn is_sum_right(header: &[u8; IPV4_HEADER_BYTES], options: &[u8]) -> bool {
    sum_of(header, options) == 0xffff
}

/// Fills in the checksum of the IPv4 header in a frame of our own making, if there is one. It holds 0 so far.
#[inline]
pub(super) fn fill_header_sum(frame: &mut [u8]) {
    let Some((ethernet, packet)) = frame.split_first_chunk_mut::<ETHERNET_HEADER_BYTES>() else {
        return;
    };
    // smoltcp writes no IPv4 options.
    if u16_at(ethernet, 12) == ETHERTYPE_IPV4
        && let Some(header) = packet.first_chunk_mut::<IPV4_HEADER_BYTES>()
    {
        let sum = !(sum_of(header, &[]) as u16);
        header[10..12].copy_from_slice(&sum.to_ne_bytes());
    }
}

/// Fills in the checksum of the segment in a frame of our own making.
#[cold]
pub(super) fn fill_segment_sum(frame: &mut [u8], source: Ipv4Addr, target: Ipv4Addr) {
    let segment = &mut frame[ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES..];
    TcpPacket::new_unchecked(segment).fill_checksum(&source.into(), &target.into());
}

/// Length of a frame with a bare acknowledgement.
pub(super) const ACK_BYTES: usize = ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + TCP_HEADER_BYTES;

/// Writes a bare acknowledgement of the flow `key` from us (hardware address and address) to `peer_mac`, as smoltcp
/// writes it: with our next sequence number, the peer's, and a window. The checksums are 0.
#[inline]
pub(super) fn write_ack(
    frame: &mut [u8; ACK_BYTES],
    (mac, address): ([u8; 6], Ipv4Addr),
    (peer_mac, key): ([u8; 6], FlowKey),
    (sequence, acknowledged): (u32, u32),
    window: u16,
) {
    /// Version and length, total length, no fragment, time to live and protocol.
    const HEADER: [u8; 12] = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, PROTOCOL_TCP, 0, 0];
    let peer = key.peer();
    frame[..6].copy_from_slice(&peer_mac);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
    frame[14..26].copy_from_slice(&HEADER);
    frame[26..30].copy_from_slice(&address.octets());
    frame[30..34].copy_from_slice(&peer.ip().octets());
    frame[34..36].copy_from_slice(&key.port().to_be_bytes());
    frame[36..38].copy_from_slice(&peer.port().to_be_bytes());
    frame[38..42].copy_from_slice(&sequence.to_be_bytes());
    frame[42..46].copy_from_slice(&acknowledged.to_be_bytes());
    frame[46] = (TCP_HEADER_BYTES as u8 / 4) << 4;
    frame[47] = control::ACK;
    frame[48..50].copy_from_slice(&window.to_be_bytes());
    frame[50..].fill(0);
}

/// The sum of an IPv4 header, folded to sixteen bits in the order of this machine. In words of 32 bits: their sum
/// is the same when it is folded.
#[inline]
fn sum_of(header: &[u8; IPV4_HEADER_BYTES], options: &[u8]) -> u64 {
    let word = |bytes: &[u8; 4]| u64::from(u32::from_ne_bytes(*bytes));
    let words = header.as_chunks::<4>().0;
    // Written out: where code is kept small a loop stays one.
    let mut sum =
        word(&words[0]) + word(&words[1]) + word(&words[2]) + word(&words[3]) + word(&words[4]);
    if !options.is_empty() {
        sum += options.as_chunks::<4>().0.iter().map(word).sum::<u64>();
    }
    // Eighteen bits or fewer are left after the first fold, seventeen after the second.
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    (sum >> 16) + (sum & 0xffff)
}

#[inline]
fn source_mac(ethernet: &[u8; ETHERNET_HEADER_BYTES]) -> [u8; 6] {
    let [_, _, _, _, _, _, mac @ .., _, _] = *ethernet;
    mac
}

#[inline]
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline]
fn address_at(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::random::Random;
    use smoltcp::wire::Ipv4Packet;

    #[test]
    fn the_sum_filled_in_is_the_one_that_is_found_right() {
        const PACKET: usize = ETHERNET_HEADER_BYTES;
        for seed in 0..2_000 {
            let mut random = Random::new(seed);
            let mut frame = [0; PACKET + IPV4_HEADER_BYTES];
            frame.fill_with(|| [0, 0xff, random.next_u64() as u8][random.below(3) as usize]);
            frame[12..14].copy_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
            frame[PACKET] = 0x45;
            frame[PACKET + 10..PACKET + 12].fill(0);
            let mut expected = frame;
            Ipv4Packet::new_unchecked(&mut expected[PACKET..]).fill_checksum();
            fill_header_sum(&mut frame);
            assert_eq!(frame, expected, "seed {seed}");
            let header = frame[PACKET..].first_chunk().expect("a header");
            assert!(is_sum_right(header, &[]), "seed {seed}");
        }
    }

    #[test]
    fn what_is_no_ipv4_packet_is_left_alone() {
        let mut arp = [7; 60];
        arp[12..14].copy_from_slice(&ETHERTYPE_ARP.to_be_bytes());
        let before = arp;
        fill_header_sum(&mut arp);
        fill_header_sum(&mut [0; 20]);
        assert_eq!(arp, before);
    }
}
