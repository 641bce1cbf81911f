//! What an echo costs, counted in instructions: not run by default.
//!
//! `valgrind --tool=callgrind --toggle-collect='*measured_poll*'` round the release build of one of these
//! tests counts what [`measured_poll`] executes and nothing else. `IDLE` in the environment is the number
//! of idle connections beside those that are measured. The device copies nothing and has checksum offload.

use super::client::{SECRETS, config};
use super::frames::{Tcp, arp};
use super::wire::OUR_MAC;
use crate::net::counters::NetworkCounters;
use crate::net::frame::{SentSegment, control};
use crate::net::service::{ConnectionId, Next, Output, Progress, Service, Turn};
use crate::net::stack::{Activity, Stack};
use crate::platform::network_device::{Checksums, NetworkDevice, Receiver, Transmitter};
use crate::platform::time::{Duration, Instant};
use alloc::sync::Arc;
use core::net::SocketAddrV4;
use smoltcp::socket::tcp::State;
use smoltcp::wire::{ArpOperation, EthernetAddress};
use std::boxed::Box;
use std::{eprintln, vec};

const ECHOES: u32 = 1_000;

/// Two buffers.
struct LeanDevice {
    receiver: Slot,
    transmitter: Slot,
}

struct Slot {
    bytes: [u8; 1_514],
    len: Option<usize>,
}

impl NetworkDevice for LeanDevice {
    type Receiver = Slot;
    type Transmitter = Slot;

    fn mac(&self) -> [u8; 6] {
        OUR_MAC
    }

    fn mtu(&self) -> usize {
        1_500
    }

    fn checksums(&self) -> Checksums {
        Checksums {
            receive_verified: true,
            transmit_filled: true,
        }
    }

    fn split(&mut self) -> (&mut Slot, &mut Slot) {
        (&mut self.receiver, &mut self.transmitter)
    }
}

impl Receiver for Slot {
    fn peek(&mut self) -> Option<&[u8]> {
        self.len.map(|len| &self.bytes[..len])
    }

    fn await_interrupt(&mut self) -> bool {
        self.len.is_none()
    }

    fn release(&mut self) {
        self.len = None;
    }
}

impl Transmitter for Slot {
    fn has_room(&mut self) -> bool {
        true
    }

    fn send<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        self.len = Some(len);
        fill(&mut self.bytes[..len])
    }

    fn kick(&mut self) {}
}

struct LeanEcho;

impl Service for LeanEcho {
    fn port(&self) -> u16 {
        super::client::PORT
    }

    fn open(&mut self, _: ConnectionId, _: SocketAddrV4, _: Instant, _: &mut Output) -> Next {
        Next::MORE
    }

    fn receive(&mut self, turn: Turn<'_>) -> Progress {
        turn.output.write(turn.input);
        Progress {
            consumed: turn.input.len(),
            next: Next::MORE,
        }
    }

    fn close(&mut self, _: ConnectionId) {}

    fn tick(&mut self, _: Instant) {}

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn take_doomed(&mut self) -> Option<ConnectionId> {
        None
    }
}

#[inline(never)]
fn measured_poll(stack: &mut Stack<LeanDevice>, now: Instant) -> Activity {
    stack.poll(now)
}

fn give(stack: &mut Stack<LeanDevice>, frame: &[u8]) {
    let slot = &mut stack.device_mut().receiver;
    slot.bytes[..frame.len()].copy_from_slice(frame);
    slot.len = Some(frame.len());
}

/// Our last frame, as a segment.
fn answer(stack: &mut Stack<LeanDevice>) -> SentSegment {
    let slot = &stack.device_mut().transmitter;
    let len = slot.len.expect("a frame is answered");
    SentSegment::of(&slot.bytes[..len]).expect("the answer is a segment")
}

/// Opens a connection; returns the last segment of its handshake.
fn open(stack: &mut Stack<LeanDevice>, port: u16, now: Instant) -> Tcp<'static> {
    give(stack, &Tcp::syn(port).frame());
    stack.poll(now);
    let ack = Tcp {
        sequence: 1_001,
        acknowledged: answer(stack).end,
        control: control::ACK,
        ..Tcp::syn(port)
    };
    give(stack, &ack.frame());
    stack.poll(now);
    ack
}

/// A stack with as many idle connections as `IDLE` says.
fn stack(now: Instant) -> Stack<LeanDevice> {
    let idle: u16 = std::env::var("IDLE").map_or(0, |idle| idle.parse().expect("a number"));
    let slot = || Slot {
        bytes: [0; 1_514],
        len: None,
    };
    let device = LeanDevice {
        receiver: slot(),
        transmitter: slot(),
    };
    let counters = Arc::new(NetworkCounters::new());
    let services: vec::Vec<Box<dyn Service>> = vec![Box::new(LeanEcho)];
    let stack = Stack::new(device, config(), services, SECRETS, counters.clone(), now);
    let mut stack = stack.expect("the host has memory");
    give(
        &mut stack,
        &arp(ArpOperation::Request, EthernetAddress::BROADCAST),
    );
    stack.poll(now);
    for port in 0..idle {
        open(&mut stack, 10_000 + port, now);
    }
    assert_eq!(counters.connections(State::Established), u64::from(idle));
    eprintln!("{idle} idle connections");
    stack
}

#[test]
#[ignore = "of use only under callgrind"]
fn an_echo_of_100_bytes() {
    let mut now = Instant::from_nanos(1_000_000_000);
    let mut stack = stack(now);
    let mut request = open(&mut stack, 9_999, now);
    request.payload = &[b'x'; 100];
    request.control = control::ACK | control::PSH;
    for _ in 0..ECHOES {
        now = now + Duration::from_nanos(50_000);
        give(&mut stack, &request.frame());
        assert_eq!(measured_poll(&mut stack, now), Activity::Done);
        request.sequence += 100;
        request.acknowledged = answer(&mut stack).end;
    }
}

#[test]
#[ignore = "of use only under callgrind"]
fn a_connection_with_one_echo() {
    let mut now = Instant::from_nanos(1_000_000_000);
    let mut stack = stack(now);
    for port in 0..ECHOES as u16 {
        let mut segment = Tcp::syn(20_000 + port);
        let steps: [(u8, &[u8]); 4] = [
            (control::SYN, b""),
            (control::ACK, b""),
            (control::ACK | control::PSH, &[b'x'; 100]),
            (control::ACK | control::FIN, b""),
        ];
        for (flags, payload) in steps {
            now = now + Duration::from_nanos(50_000);
            (segment.control, segment.payload) = (flags, payload);
            give(&mut stack, &segment.frame());
            measured_poll(&mut stack, now);
            segment.sequence += payload.len() as u32 + u32::from(flags == control::SYN);
            segment.acknowledged = answer(&mut stack).end;
        }
        (segment.control, segment.payload) = (control::ACK, b"");
        segment.sequence += 1;
        give(&mut stack, &segment.frame());
        measured_poll(&mut stack, now);
    }
}
