//! Ethernet frames made and read by hand: ARP, IPv4, TCP, ICMP echo.
//!
//! Only what the tests of the wire need: no options, no reassembly, checksums always right unless a test
//! spoils them afterwards.

use std::net::Ipv4Addr;

pub(crate) const GUEST_MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
pub(crate) const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const ETHERNET: usize = 14;
const IPV4: usize = 20;
const TCP_HEADER: usize = 20;

/// Host `number` of the guest's network, 10.0.0.0/16, and its hardware address.
pub(crate) fn host(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 0, high, low)
}

pub(crate) fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [2, 0, a, b, c, d]
}

/// A TCP segment between a host of ours and the guest, whichever sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) host: (Ipv4Addr, u16),
    pub(crate) guest_port: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledged: u32,
    pub(crate) control: u8,
    pub(crate) window: u16,
    pub(crate) payload: Vec<u8>,
}

impl Segment {
    /// A SYN from `host` to the guest's `port`.
    pub(crate) fn syn(host: (Ipv4Addr, u16), guest_port: u16) -> Self {
        Self {
            host,
            guest_port,
            sequence: 1_000,
            acknowledged: 0,
            control: SYN,
            window: u16::MAX,
            payload: Vec::new(),
        }
    }

    /// The frame in which the host sends it.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.host.1.to_be_bytes());
        tcp.extend(self.guest_port.to_be_bytes());
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledged.to_be_bytes());
        tcp.extend([(TCP_HEADER as u8 / 4) << 4, self.control]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(&self.payload);
        let mut pseudo = Vec::new();
        pseudo.extend(self.host.0.octets());
        pseudo.extend(GUEST.octets());
        pseudo.extend([0, TCP]);
        pseudo.extend((tcp.len() as u16).to_be_bytes());
        pseudo.extend(&tcp);
        tcp[16..18].copy_from_slice(&checksum(&pseudo).to_be_bytes());
        ipv4(self.host.0, TCP, &tcp)
    }

    /// Reads a frame of the guest's; `None` if it is no segment.
    pub(crate) fn from_guest(frame: &[u8]) -> Option<Self> {
        let (address, protocol, tcp) = packet_from_guest(frame)?;
        if protocol != TCP {
            return None;
        }
        let word = |at: usize| Some(u32::from_be_bytes(tcp.get(at..at + 4)?.try_into().ok()?));
        let half = |at: usize| Some(u16::from_be_bytes(tcp.get(at..at + 2)?.try_into().ok()?));
        Some(Self {
            host: (address, half(2)?),
            guest_port: half(0)?,
            sequence: word(4)?,
            acknowledged: word(8)?,
            control: *tcp.get(13)?,
            window: half(14)?,
            payload: tcp.get(usize::from(tcp[12] >> 4) * 4..)?.to_vec(),
        })
    }
}

/// The receiver, the protocol and the payload of an IPv4 frame that the guest sent to the right hardware
/// address.
fn packet_from_guest(frame: &[u8]) -> Option<(Ipv4Addr, u8, &[u8])> {
    if frame.get(12..ETHERNET)? != ETHERTYPE_IPV4.to_be_bytes() {
        return None;
    }
    let packet = &frame[ETHERNET..];
    let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    let octets: [u8; 4] = packet.get(16..IPV4)?.try_into().ok()?;
    let address = Ipv4Addr::from(octets);
    assert_eq!(frame[..6], mac_of(address), "{address} is not there");
    assert_eq!(frame[6..12], GUEST_MAC);
    assert_eq!(checksum(&packet[..IPV4]), 0, "its header's checksum");
    Some((address, packet[9], packet.get(IPV4..total)?))
}

/// A frame in which `source` sends the guest an IPv4 packet.
pub(crate) fn ipv4(source: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(GUEST_MAC);
    frame.extend(mac_of(source));
    frame.extend(ETHERTYPE_IPV4.to_be_bytes());
    frame.extend([0x45, 0]);
    frame.extend(((IPV4 + payload.len()) as u16).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    frame.extend(source.octets());
    frame.extend(GUEST.octets());
    frame.extend(payload);
    close_ipv4(&mut frame);
    frame
}

/// Makes the IPv4 header's checksum right after a test has changed the header.
pub(crate) fn close_ipv4(frame: &mut [u8]) {
    let header = &mut frame[ETHERNET..ETHERNET + IPV4];
    header[10..12].fill(0);
    let sum = checksum(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// The frame as a fragment: `offset` in units of 8 bytes, `more` to come.
pub(crate) fn as_fragment(mut frame: Vec<u8>, offset: u16, more: bool) -> Vec<u8> {
    let word = offset | u16::from(more) << 13;
    frame[ETHERNET + 6..ETHERNET + 8].copy_from_slice(&word.to_be_bytes());
    close_ipv4(&mut frame);
    frame
}

/// An ICMP echo request (8) from `source`, with an identifier and sequence number in front of `data`.
pub(crate) fn ping(source: Ipv4Addr, data: &[u8]) -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0];
    icmp.extend(data);
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv4(source, ICMP, &icmp)
}

/// What an ICMP echo reply of the guest's carries.
pub(crate) fn pong(frame: &[u8]) -> Option<Vec<u8>> {
    let (_, protocol, icmp) = packet_from_guest(frame)?;
    let is_reply = protocol == ICMP && icmp.get(..2)? == [0, 0] && checksum(icmp) == 0;
    is_reply.then(|| icmp[4..].to_vec())
}

/// The ARP request with which `source` asks everyone where the guest is.
pub(crate) fn arp_request(source: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(mac_of(source));
    frame.extend(ETHERTYPE_ARP.to_be_bytes());
    // Ethernet, IPv4, their lengths, request.
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac_of(source));
    frame.extend(source.octets());
    frame.extend([0; 6]);
    frame.extend(GUEST.octets());
    frame
}

/// The hardware address in the guest's ARP reply to `asker`.
pub(crate) fn arp_reply(frame: &[u8], asker: Ipv4Addr) -> Option<[u8; 6]> {
    let is_arp = frame.get(12..ETHERNET)? == ETHERTYPE_ARP.to_be_bytes();
    let message = frame.get(ETHERNET..ETHERNET + 28)?;
    let is_reply = message[6..8] == [0, 2]
        && message[14..18] == GUEST.octets()
        && message[24..28] == asker.octets();
    (is_arp && is_reply).then(|| message[8..14].try_into().ok())?
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum >> 16 != 0 {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}
