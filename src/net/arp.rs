//! ARP messages that smoltcp does not send by itself, or has to be told.
//!
//! Announcements (RFC 5227 2.3): whoever takes an address tells the link so, twice. Without, a peer that
//! forwards to us, but never asks, does not know us until we speak (passt: its connections then end in a
//! timeout), and a host that knew the address under another hardware address goes on with that.
//!
//! Replies: a peer on the link that sends us a segment has told its hardware address with it. smoltcp learns
//! neighbours from ARP alone, forgets them when it knows too many, and asks for one in a second, whoever it
//! is. So it is shown the reply that the peer would give.

use crate::platform::network_device::ETHERNET_HEADER_BYTES;
use crate::platform::time::{Duration, Instant};
use core::net::Ipv4Addr;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr,
};

/// Length of a frame with an ARP message for Ethernet and IPv4.
pub(super) const FRAME_BYTES: usize = ETHERNET_HEADER_BYTES + 28;

/// RFC 5227 1.1: ANNOUNCE_NUM and ANNOUNCE_INTERVAL.
const ANNOUNCEMENTS: u32 = 2;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);

/// A host's two addresses.
pub(super) type Neighbour = ([u8; 6], Ipv4Addr);

/// The announcements that are still to be sent.
#[derive(Debug)]
pub(super) struct Announcements {
    left: u32,
    /// When the next one is to be sent; [`Instant::NEVER`] if none is left.
    next_at: Instant,
}

impl Announcements {
    /// None.
    pub(super) const NONE: Self = Self {
        left: 0,
        next_at: Instant::NEVER,
    };

    /// All of them, from `now` on.
    pub(super) fn begin(now: Instant) -> Self {
        Self {
            left: ANNOUNCEMENTS,
            next_at: now,
        }
    }

    /// When the next one is to be sent; [`Instant::NEVER`] if none is left.
    #[inline]
    pub(super) fn deadline(&self) -> Instant {
        self.next_at
    }

    /// One has been sent.
    pub(super) fn note_sent(&mut self, now: Instant) {
        self.left -= 1;
        self.next_at = match self.left {
            0 => Instant::NEVER,
            _ => now + ANNOUNCE_INTERVAL,
        };
    }
}

/// Writes the announcement that `address` is at `mac`: a request for it to everyone, from itself.
pub(super) fn write_announcement(frame: &mut [u8], mac: [u8; 6], address: Ipv4Addr) {
    let message = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(mac),
        source_protocol_addr: address,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: address,
    };
    write(frame, mac, EthernetAddress::BROADCAST, &message);
}

/// Writes the reply in which `neighbour` tells us, at `ours`, where it is.
pub(super) fn write_reply(frame: &mut [u8], neighbour: Neighbour, ours: Neighbour) {
    let message = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: EthernetAddress(neighbour.0),
        source_protocol_addr: neighbour.1,
        target_hardware_addr: EthernetAddress(ours.0),
        target_protocol_addr: ours.1,
    };
    write(frame, neighbour.0, EthernetAddress(ours.0), &message);
}

fn write(frame: &mut [u8], source: [u8; 6], target: EthernetAddress, message: &ArpRepr) {
    let header = EthernetRepr {
        src_addr: EthernetAddress(source),
        dst_addr: target,
        ethertype: EthernetProtocol::Arp,
    };
    header.emit(&mut EthernetFrame::new_unchecked(&mut *frame));
    message.emit(&mut ArpPacket::new_unchecked(
        &mut frame[ETHERNET_HEADER_BYTES..],
    ));
}
