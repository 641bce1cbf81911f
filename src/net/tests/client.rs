//! A world for tests: our stack, a cable, a clock, and at the other end a host with smoltcp's own sockets.

use super::echo::{Behaviour, Seen, TestService};
use super::wire::{Cable, SharedCable, WireDevice};
use crate::net::config::{AddressConfig, StackConfig};
use crate::net::counters::NetworkCounters;
use crate::net::peers::PeerTable;
use crate::net::service::Service;
use crate::net::stack::{Activity, Secrets, Stack};
use crate::platform::network_device::Checksums;
use crate::platform::time::{Duration, Instant};
use alloc::sync::Arc;
use core::net::Ipv4Addr;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};
use std::boxed::Box;
use std::cell::RefCell;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

pub(super) const OUR_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(super) const PEER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(super) const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(super) const PORT: u16 = 6379;
pub(super) const SECRETS: Secrets = Secrets {
    sequence_key: [1, 2],
    hash_seed: 3,
    interface_seed: 4,
};

pub(super) fn config() -> StackConfig {
    StackConfig {
        address: AddressConfig::Static {
            address: OUR_ADDRESS,
            prefix_len: 24,
            gateway: None,
        },
        ..StackConfig::default()
    }
}

/// Our stack with one test service, on a cable.
pub(super) struct World {
    pub(super) stack: Stack<WireDevice>,
    pub(super) cable: SharedCable,
    pub(super) seen: Rc<RefCell<Seen>>,
    pub(super) counters: Arc<NetworkCounters>,
    pub(super) now: Instant,
}

impl World {
    pub(super) fn new(config: StackConfig, behaviour: Behaviour) -> Self {
        Self::with_checksums(config, behaviour, Checksums::default())
    }

    pub(super) fn with_checksums(
        config: StackConfig,
        behaviour: Behaviour,
        checksums: Checksums,
    ) -> Self {
        let seen = Rc::new(RefCell::new(Seen::default()));
        let service: Box<dyn Service> = Box::new(TestService {
            port: PORT,
            behaviour,
            seen: seen.clone(),
        });
        Self::with_service(config, service, seen, checksums)
    }

    pub(super) fn with_service(
        config: StackConfig,
        service: Box<dyn Service>,
        seen: Rc<RefCell<Seen>>,
        checksums: Checksums,
    ) -> Self {
        let cable = Rc::new(RefCell::new(Cable::default()));
        let counters = Arc::new(NetworkCounters::new());
        let now = Instant::from_nanos(5_000_000_000);
        let device = WireDevice::new(&cable, checksums);
        let stack = Stack::new(
            device,
            config,
            vec![service],
            SECRETS,
            counters.clone(),
            now,
        );
        Self {
            stack: stack.expect("the host has memory"),
            cable,
            seen,
            counters,
            now,
        }
    }

    /// Has the stack die without a word, and another take its place on the cable, with its peers noted in `peers`.
    pub(super) fn restart(&mut self, peers: &'static PeerTable) {
        let service: Box<dyn Service> = Box::new(TestService {
            port: PORT,
            behaviour: Behaviour::Echo,
            seen: self.seen.clone(),
        });
        let device = WireDevice::new(&self.cable, Checksums::default());
        let counters = self.counters.clone();
        let stack = Stack::new(device, config(), vec![service], SECRETS, counters, self.now);
        self.stack = stack.expect("the host has memory");
        let remembered = self.stack.remember_in(peers);
        remembered.expect("the host has memory");
    }

    /// Polls until there is nothing left to do at this moment.
    pub(super) fn poll(&mut self) {
        for _ in 0..10_000 {
            if self.stack.poll(self.now) != Activity::More {
                return;
            }
            if self.cable.borrow().room == Some(0) {
                return;
            }
        }
        panic!("the stack has something to do for ever");
    }

    pub(super) fn opened(&self) -> usize {
        self.seen.borrow().opened.len()
    }

    pub(super) fn closed(&self) -> usize {
        self.seen.borrow().closed.len()
    }

    /// Lets that much time pass, polling when the stack wants it; tells how often it did.
    pub(super) fn sleep(&mut self, length: Duration) -> usize {
        let end = self.now + length;
        let mut polls = 0;
        while let Some(deadline) = self.stack.deadline().filter(|&deadline| deadline <= end) {
            self.now = self.now.max(deadline);
            self.poll();
            polls += 1;
            assert!(polls < 100_000, "the stack does not sleep");
        }
        self.now = end;
        polls
    }
}

/// Tells of a frame, and of whether it is ours, whether it is lost.
pub(super) type Loses = Box<dyn FnMut(&[u8], bool) -> bool>;

/// The host at the other end.
pub(super) struct Peer {
    interface: Interface,
    pub(super) sockets: SocketSet<'static>,
    cable: SharedCable,
    next_port: u16,
    /// Which frames the cable loses.
    pub(super) loses: Loses,
}

impl Peer {
    pub(super) fn new(world: &World) -> Self {
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(PEER_MAC)));
        config.random_seed = 99;
        let mut end = PeerEnd {
            cable: world.cable.clone(),
        };
        let mut interface = Interface::new(config, &mut end, at(world.now));
        interface.update_ip_addrs(|addresses| {
            let ours = IpCidr::new(PEER_ADDRESS.into(), 24);
            addresses.push(ours).expect("there is room for one address");
        });
        Self {
            interface,
            sockets: SocketSet::new(Vec::new()),
            cable: world.cable.clone(),
            next_port: 40_000,
            loses: Box::new(|_, _| false),
        }
    }

    /// Begins a connection, with buffers of that size.
    pub(super) fn connect(&mut self, buffer: usize) -> SocketHandle {
        let ring = || SocketBuffer::new(vec![0; buffer]);
        let mut socket = Socket::new(ring(), ring());
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        self.next_port += 1;
        let remote = (OUR_ADDRESS, PORT);
        socket
            .connect(self.interface.context(), remote, self.next_port)
            .expect("a new socket can connect");
        self.sockets.add(socket)
    }

    pub(super) fn socket(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub(super) fn state(&mut self, handle: SocketHandle) -> State {
        self.socket(handle).state()
    }

    /// Sends as much as fits; returns how much that was.
    pub(super) fn send(&mut self, handle: SocketHandle, bytes: &[u8]) -> usize {
        self.socket(handle)
            .send_slice(bytes)
            .expect("the connection is open")
    }

    /// Takes all that has come.
    pub(super) fn receive(&mut self, handle: SocketHandle) -> Vec<u8> {
        let mut bytes = Vec::new();
        let socket = self.socket(handle);
        while socket.can_recv() {
            let taken = socket.recv(|part| (part.len(), bytes.extend_from_slice(part)));
            taken.expect("there is something to receive");
        }
        bytes
    }

    fn poll(&mut self, now: Instant) {
        let mut end = PeerEnd {
            cable: self.cable.clone(),
        };
        let loses = &mut self.loses;
        self.cable
            .borrow_mut()
            .from_us
            .retain(|frame| !loses(frame, true));
        let queued = self.cable.borrow().to_us.len();
        self.interface.poll(at(now), &mut end, &mut self.sockets);
        let mut sent = self.cable.borrow_mut().to_us.split_off(queued);
        sent.retain(|frame| !loses(frame, false));
        self.cable.borrow_mut().to_us.append(&mut sent);
    }

    /// Lets both sides talk until neither has anything to say at this moment.
    pub(super) fn exchange(&mut self, world: &mut World) {
        for _ in 0..100_000 {
            self.poll(world.now);
            world.poll();
            let cable = world.cable.borrow();
            if cable.to_us.is_empty() && cable.from_us.is_empty() || cable.room == Some(0) {
                return;
            }
        }
        panic!("the two sides talk for ever");
    }

    /// Lets time pass for both sides.
    pub(super) fn sleep(&mut self, world: &mut World, length: Duration) {
        let end = world.now + length;
        self.exchange(world);
        loop {
            let theirs = self.interface.poll_at(at(world.now), &self.sockets);
            let theirs = theirs.map(|at| Instant::from_nanos(at.total_micros() as u64 * 1_000));
            let next = world.stack.deadline().into_iter().chain(theirs).min();
            let Some(next) = next.filter(|&next| next <= end) else {
                break;
            };
            world.now = next.max(world.now + Duration::from_nanos(1_000));
            self.exchange(world);
        }
        world.now = end;
        self.exchange(world);
    }

    /// Connects and completes the handshake.
    pub(super) fn connected(&mut self, world: &mut World) -> SocketHandle {
        let handle = self.connect(64 * 1024);
        self.exchange(world);
        assert_eq!(self.state(handle), State::Established);
        handle
    }

    /// Forgets a socket without a word to anyone.
    pub(super) fn forget(&mut self, handle: SocketHandle) {
        self.sockets.remove(handle);
    }
}

pub(super) fn at(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros((now.as_nanos() / 1_000) as i64)
}

/// The peer's end of the cable.
struct PeerEnd {
    cable: SharedCable,
}

struct Incoming(Vec<u8>);

struct Outgoing(SharedCable);

impl Device for PeerEnd {
    type RxToken<'t> = Incoming;
    type TxToken<'t> = Outgoing;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Incoming, Outgoing)> {
        let frame = self.cable.borrow_mut().from_us.pop_front()?;
        Some((Incoming(frame), Outgoing(self.cable.clone())))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Outgoing> {
        Some(Outgoing(self.cable.clone()))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

impl RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Outgoing {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut frame = vec![0; len];
        let result = write(&mut frame);
        self.0.borrow_mut().to_us.push_back(frame);
        result
    }
}
