//! The link: the device and smoltcp's interface on it, and what has gone over it in this poll.
//!
//! One step of smoltcp at a time: one received frame with one socket set, or one socket set's turn to send.

use super::arp::{self, Neighbour};
use super::counters::NetworkCounters;
use super::flow::Flow;
use super::frame::{ACK_BYTES, Segment, fill_header_sum, fill_segment_sum, write_ack};
use super::peers::Orphans;
use super::phy::{self, Step};
use crate::error::Result;
use crate::platform::network_device::{NetworkDevice, Receiver, Transmitter};
use crate::platform::time::Instant;
use alloc::sync::Arc;
use core::net::Ipv4Addr;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::DeviceCapabilities;
use smoltcp::wire::{EthernetAddress, HardwareAddress, Ipv4Cidr};

/// The time of a poll, as we and as smoltcp count it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) smoltcp: smoltcp::time::Instant,
}

impl Moment {
    #[inline]
    pub(super) fn new(now: Instant) -> Self {
        let micros = now.as_nanos() / 1_000;
        let smoltcp = smoltcp::time::Instant::from_micros(micros as i64);
        Self { now, smoltcp }
    }
}

pub(super) fn from_smoltcp(at: smoltcp::time::Instant) -> Instant {
    Instant::from_nanos((at.total_micros() as u64).saturating_mul(1_000))
}

/// How far a flow got with sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Egress {
    /// It had nothing to send.
    Silent,
    /// It sent all that it may.
    Sent,
    /// The device has no room for the rest.
    Exhausted,
    /// It does not know its neighbour's hardware address.
    NeighbourMissing,
}

/// What one poll has counted so far; added to the counters at its end.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) received_frames: u64,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
    /// The transmitter had no room for something.
    pub(super) is_exhausted: bool,
}

/// The device and what smoltcp knows of it.
pub(super) struct Link<D: NetworkDevice> {
    pub(super) device: D,
    pub(super) interface: Interface,
    pub(super) tally: Tally,
    pub(super) counters: Arc<NetworkCounters>,
    capabilities: DeviceCapabilities,
}

impl<D: NetworkDevice> Link<D> {
    /// Sets up the interface, without an address.
    ///
    /// # Errors
    /// `Device` if the device's address or packet length cannot be used.
    #[inline]
    pub(super) fn new(
        mut device: D,
        seed: u64,
        counters: Arc<NetworkCounters>,
        at: Moment,
    ) -> Result<Self> {
        let capabilities = phy::capabilities(&device)?;
        Ok(Self {
            interface: make_interface(&mut device, &capabilities, seed, at),
            device,
            tally: Tally::default(),
            counters,
            capabilities,
        })
    }

    /// Another interface on the same device, without an address, whose numbers come from `seed`.
    pub(super) fn another_interface(&mut self, seed: u64, at: Moment) -> Interface {
        make_interface(&mut self.device, &self.capabilities, seed, at)
    }

    /// Shows the frame that has come to smoltcp, with `sockets` alone. Every frame passes here.
    #[inline(always)]
    pub(super) fn show(&mut self, sockets: &mut SocketSet<'static>, at: Moment) {
        let (receiver, transmitter) = self.device.split();
        if let Some(frame) = receiver.peek() {
            let mut step = Step::receiving(frame, transmitter, &self.capabilities);
            self.interface
                .poll_ingress_single(at.smoltcp, &mut step, sockets);
            self.tally.sent_bytes += step.sent.bytes;
        }
    }

    /// As [`Link::show`], but to `interface`, for a frame that is not answered at once.
    pub(super) fn show_to(
        &mut self,
        interface: &mut Interface,
        sockets: &mut SocketSet<'static>,
        at: Moment,
    ) {
        let (receiver, transmitter) = self.device.split();
        if let Some(frame) = receiver.peek() {
            let mut step = Step::receiving(frame, transmitter, &self.capabilities);
            interface.poll_ingress_single(at.smoltcp, &mut step, sockets);
        }
    }

    /// Sends one frame that `sockets`, which are no flow's, have to send.
    pub(super) fn send_system(&mut self, sockets: &mut SocketSet<'static>, at: Moment) {
        let mut step = Step::sending(self.device.split().1, &self.capabilities);
        self.interface.poll_egress(at.smoltcp, &mut step, sockets);
        self.tally.sent_bytes += step.sent.bytes;
        self.tally.is_exhausted |= step.sent.is_exhausted;
    }

    /// Announces `address` as ours to everyone on the link; false if the device has no room for that now.
    pub(super) fn announce(&mut self, address: Ipv4Addr) -> bool {
        let mac = self.device.mac();
        let transmitter = self.device.split().1;
        if !transmitter.has_room() {
            self.tally.is_exhausted = true;
            return false;
        }
        transmitter.send(arp::FRAME_BYTES, |frame| {
            arp::write_announcement(frame, mac, address);
        });
        self.tally.sent_bytes += arp::FRAME_BYTES as u64;
        true
    }

    /// Has those of `orphans` who have not been told find out that their connections are no more; false if the device
    /// has no room for all of them now.
    pub(super) fn tell(&mut self, orphans: &mut Orphans, network: Ipv4Cidr, at: Moment) -> bool {
        let ours = (self.device.mac(), network.address());
        while let Some(orphan) = orphans.next() {
            if network.contains_addr(&orphan.neighbour().1) {
                // What answers them goes out by smoltcp.
                self.teach(orphan.neighbour(), network, at);
            }
            for write in orphan.questions(ours) {
                let transmitter = self.device.split().1;
                if !transmitter.has_room() {
                    self.tally.is_exhausted = true;
                    return false;
                }
                transmitter.send(ACK_BYTES, write);
                self.tally.sent_bytes += ACK_BYTES as u64;
            }
            orphans.note_told();
        }
        true
    }

    /// Sends what a flow's socket has to send, from our address in `network`.
    #[inline]
    pub(super) fn send_from(
        &mut self,
        flow: &mut Flow,
        network: Option<Ipv4Cidr>,
        at: Moment,
    ) -> Egress {
        let mut is_taught = false;
        // One call in a loop, which is so made part of it.
        loop {
            let egress = self.send(flow, at);
            if egress != Egress::NeighbourMissing
                || is_taught
                || !network.is_some_and(|network| self.teach_peer(flow, network, at))
            {
                return egress;
            }
            is_taught = true;
        }
    }

    /// Tells smoltcp where a flow's peer is, which it does not know; false if that is not on the link. A peer that is has
    /// told by its segment; there is no need to wait for ARP.
    #[cold]
    fn teach_peer(&mut self, flow: &mut Flow, network: Ipv4Cidr, at: Moment) -> bool {
        let peer = *flow.key.peer().ip();
        let is_near = network.contains_addr(&peer);
        if is_near {
            flow.note_silenced();
            self.teach((flow.source_mac, peer), network, at);
        }
        is_near
    }

    /// Tells smoltcp a neighbour's hardware address, by the ARP reply that the neighbour might have sent.
    fn teach(&mut self, neighbour: Neighbour, network: Ipv4Cidr, at: Moment) {
        let mut frame = [0; arp::FRAME_BYTES];
        let ours = (self.device.mac(), network.address());
        arp::write_reply(&mut frame, neighbour, ours);
        let mut nobody = SocketSet::new(&mut [][..]);
        let transmitter = self.device.split().1;
        let mut step = Step::receiving(&frame, transmitter, &self.capabilities);
        self.interface
            .poll_ingress_single(at.smoltcp, &mut step, &mut nobody);
    }

    /// Answers `segment`, which came to our `address`, with an acknowledgement: our next sequence number, the peer's, and
    /// our window. The device must have room.
    pub(super) fn send_ack(
        &mut self,
        segment: &Segment,
        address: Ipv4Addr,
        numbers: (u32, u32),
        window: u16,
    ) {
        let mac = self.device.mac();
        let has_checksum = self.capabilities.checksum.tcp.tx();
        self.device.split().1.send(ACK_BYTES, |frame| {
            if let Some(frame) = frame.first_chunk_mut() {
                let peer = (segment.source_mac, segment.key);
                write_ack(frame, (mac, address), peer, numbers, window);
            }
            fill_header_sum(frame);
            if has_checksum {
                fill_segment_sum(frame, address, *segment.key.peer().ip());
            }
        });
        self.tally.sent_bytes += ACK_BYTES as u64;
    }

    #[inline]
    fn send(&mut self, flow: &mut Flow, at: Moment) -> Egress {
        let mut egress = Egress::Silent;
        loop {
            let mut step = Step::sending(self.device.split().1, &self.capabilities);
            self.interface
                .poll_egress(at.smoltcp, &mut step, flow.sockets());
            let sent = step.sent;
            if let Some(segment) = sent.segment {
                self.tally.sent_bytes += sent.bytes;
                if flow.note_sent(segment) {
                    self.counters.retransmits.increment();
                }
                egress = Egress::Sent;
                if segment.is_last() {
                    return egress;
                }
            } else if sent.is_exhausted {
                self.tally.is_exhausted = true;
                return Egress::Exhausted;
            } else if sent.is_neighbour_missing {
                self.tally.sent_bytes += sent.bytes;
                return Egress::NeighbourMissing;
            } else {
                return egress;
            }
        }
    }

    /// When a flow's socket next has something to do.
    pub(super) fn wakes_at(&mut self, flow: &mut Flow, at: Moment) -> Option<Instant> {
        let wakes_at = self.interface.poll_at(at.smoltcp, flow.sockets());
        wakes_at.map(from_smoltcp)
    }

    /// Tells the device and the counters what this poll did, and returns it.
    pub(super) fn settle(&mut self) -> Tally {
        let tally = core::mem::take(&mut self.tally);
        if tally.sent_bytes > 0 || tally.is_exhausted {
            self.device.split().1.kick();
            self.counters.transmit_bytes.add(tally.sent_bytes);
        }
        if tally.received_frames > 0 {
            self.counters.receive_packets.add(tally.received_frames);
            self.counters.receive_bytes.add(tally.received_bytes);
        }
        tally
    }
}

/// An interface without an address.
fn make_interface<D: NetworkDevice>(
    device: &mut D,
    capabilities: &DeviceCapabilities,
    seed: u64,
    at: Moment,
) -> Interface {
    let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(device.mac())));
    config.random_seed = seed;
    let mut step = Step::sending(device.split().1, capabilities);
    Interface::new(config, &mut step, at.smoltcp)
}
