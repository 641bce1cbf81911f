//! From a received frame to its flow: look-up, new connections, and what belongs to no flow.
//!
//! A SYN to a port that a service listens on makes a flow; smoltcp answers it with a sequence number of
//! ours (see `isn`). A flood of SYNs is bounded by the half-open limit: the oldest half-open flow makes room.
//! When there are too many connections in all, or no memory for another and none to be given back, the SYN is answered
//! with a reset.

use super::counters::DropReason;
use super::flow::{Flow, Seat};
use super::frame::{Addressee, Frame, Segment, classify, control};
use super::isn::SequenceNumbers;
use super::link::Moment;
use super::stack::Stack;
use super::system::set_address;
use crate::error::{Error, Kind, Result};
use crate::platform::network_device::{NetworkDevice, Receiver, Transmitter};
use crate::platform::time::Instant;

/// Frames taken in one poll, so that timers and services have their turn in a flood. A guess: two
/// receive queues of the usual size make four polls.
pub(super) const FRAMES_PER_POLL: u64 = 128;

/// Bytes that the services are asked to give back when there is no memory for a connection: a few of them.
const RELIEF_BYTES: u64 = 64 << 10;
/// How often they are asked for one connection.
const RELIEFS: usize = 4;

impl<D: NetworkDevice> Stack<D> {
    /// Takes the frames that have come, as many as this poll may.
    #[inline]
    pub(super) fn take_frames(&mut self, at: Moment) {
        let mut addressee = Addressee {
            mac: self.link.device.mac(),
            address: self.system.address(),
            is_verified: self.link.device.checksums().receive_verified,
        };
        while self.link.tally.received_frames < FRAMES_PER_POLL {
            let (receiver, transmitter) = self.link.device.split();
            let Some(frame) = receiver.peek() else {
                return;
            };
            // Any frame may want an answer; without room for one it is left for the next poll.
            if !transmitter.has_room() {
                self.link.tally.is_exhausted = true;
                return;
            }
            self.link.tally.received_frames += 1;
            self.link.tally.received_bytes += frame.len() as u64;
            match classify(frame, &addressee) {
                Frame::Segment(segment) => self.take_segment(&segment, at),
                Frame::System => {
                    self.link.show(&mut self.system.sockets, at);
                    self.run_system(at);
                    addressee.address = self.system.address();
                }
                Frame::Arp => {
                    self.link.show(&mut self.system.sockets, at);
                    self.mark_waiting();
                }
                Frame::Foreign => {}
                Frame::Drop(reason) => self.link.counters.dropped(reason),
            }
            self.link.device.split().0.release();
        }
    }

    /// Shows a segment to the flow it belongs to.
    #[inline]
    fn take_segment(&mut self, segment: &Segment, at: Moment) {
        let found = self.flows.find(segment.key);
        let Some((slot, flow)) = found.and_then(|slot| Some((slot, self.flows.get_mut(slot)?)))
        else {
            return self.take_unknown(segment, at);
        };
        if segment.control & control::FIN != 0 {
            flow.peer_end = segment.end();
            if flow.is_ended_by(segment) {
                return self.end_with_ack(slot, segment, at);
            }
        }
        let is_bare_ack = segment.is_bare_ack();
        if is_bare_ack && flow.awaits_request && flow.defers_opening(segment) {
            return self.half_open.left();
        }
        flow.source_mac = segment.source_mac;
        self.link.show(flow.sockets(), at);
        if is_bare_ack && flow.is_quiet() {
            return;
        }
        self.schedule.mark(slot);
    }

    /// A segment of no flow: of a connection in TIME-WAIT, or it makes a flow, or has smoltcp answer with a reset.
    #[cold]
    fn take_unknown(&mut self, segment: &Segment, at: Moment) {
        if self.is_for_time_wait(segment) {
            return;
        }
        let port = segment.key.port();
        let service = self
            .services
            .iter()
            .position(|service| service.port() == port);
        let Some(service) = service.filter(|_| segment.opens()) else {
            self.link.counters.dropped(DropReason::NoSocket);
            return self.link.show(&mut self.system.sockets, at);
        };
        let mut admitted = self.admit(segment, service, at.now);
        for _ in 0..RELIEFS {
            let is_short = |error: &Error| matches!(error.kind(), Kind::OutOfMemory { .. });
            if !admitted.as_ref().is_err_and(is_short) || !self.relieve(RELIEF_BYTES, at.now) {
                break;
            }
            admitted = self.admit(segment, service, at.now);
        }
        match admitted {
            Ok(slot) => self.open(slot, segment, at),
            Err(error) => {
                log::debug!("connection from {} refused: {error}", segment.key.peer());
                self.link.counters.dropped(DropReason::NoBuffer);
                self.link.show(&mut self.system.sockets, at);
            }
        }
    }

    /// Makes a flow in LISTEN for a SYN, and the room that it needs.
    fn admit(&mut self, segment: &Segment, service: usize, now: Instant) -> Result<u32> {
        if self.half_open.live() >= self.config.half_open_limit {
            self.drop_oldest_half_open();
        }
        let slot = self.flows.reserve()?;
        self.schedule.grow(self.flows.slots() as usize)?;
        let seat = match self.flows.take_spare() {
            Some(seat) => seat,
            None => Seat::new(&self.policy)?,
        };
        let mut flow = Flow::new(seat, segment.key, service, &self.policy, now)?;
        flow.awaits_request = self.services[service].awaits_request();
        self.half_open.push(self.flows.id(slot));
        self.flows.insert(flow);
        Ok(slot)
    }

    /// Shows the SYN to its new flow, through an interface that draws our sequence number.
    fn open(&mut self, slot: u32, segment: &Segment, at: Moment) {
        let (Some(address), Some(flow)) = (self.system.address(), self.flows.get_mut(slot)) else {
            return;
        };
        flow.source_mac = segment.source_mac;
        self.peers.note(slot, segment.key, segment.source_mac);
        let (port, peer) = (segment.key.port(), segment.key.peer());
        let remote = (*peer.ip(), peer.port());
        let number = self.numbers.number((address, port), remote, at.now);
        let seed = SequenceNumbers::seed_for(number);
        let mut interface = self.link.another_interface(seed, at);
        set_address(&mut interface, self.system.network());
        self.link.show_to(&mut interface, flow.sockets(), at);
        self.schedule.mark(slot);
    }

    fn drop_oldest_half_open(&mut self) {
        while let Some(id) = self.half_open.pop() {
            if self
                .flows
                .named_mut(id)
                .is_some_and(|flow| flow.is_half_open())
            {
                self.link.counters.dropped(DropReason::NoBuffer);
                return self.remove(id.slot);
            }
        }
    }
}
