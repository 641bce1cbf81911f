//! Inside QEMU: the network stack over a loopback in memory, with the cache server behind it.
//!
//! At the other end stands smoltcp itself, which verifies every checksum that this machine's code wrote.
#![no_std]
#![no_main]

extern crate alloc;

mod support;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::cell::RefCell;
use core::net::Ipv4Addr;
use nos::app::cache_server::CacheApplication;
use nos::app::{Application, Environment, Incarnation, Power};
use nos::arch::aarch64::BootInfo;
use nos::kernel::ground::Ground;
use nos::net::config::{AddressConfig, StackConfig};
use nos::net::counters::{DropReason, NetworkCounters};
use nos::net::stack::{Activity, Secrets, Stack};
use nos::platform::network_device::{Checksums, NetworkDevice, Receiver, Transmitter};
use nos::platform::time::{Clock, Duration, Instant};
use nos::storage::NoDisk;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};

const OUR_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PEER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const REDIS: u16 = 6379;
/// Longest value sent: several segments and windows.
const VALUE_BYTES: usize = 40_000;

#[unsafe(no_mangle)]
extern "C" fn nos_main(boot: &BootInfo) -> ! {
    support::run(
        boot,
        &[
            (
                "values of every size come back over the loopback",
                |ground| {
                    let mut world = World::new(ground);
                    let client = world.connect(REDIS);
                    for len in [0, 1, 64, 1_024, 1_460, 1_461, VALUE_BYTES] {
                        let value: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
                        let head = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${len}\r\n");
                        let set = [head.as_bytes(), &value, b"\r\n"].concat();
                        assert_eq!(world.ask(client, &set, 5), b"+OK\r\n", "{len} bytes");
                        let head = format!("${len}\r\n");
                        let whole = [head.as_bytes(), &value, b"\r\n"].concat();
                        let reply = world.ask(client, b"GET k\r\n", whole.len());
                        assert!(reply == whole, "{len} bytes");
                    }
                    assert_eq!(world.counters.retransmits(), 0);
                },
            ),
            ("a closed port is answered with a reset", |ground| {
                let mut world = World::new(ground);
                let client = world.open(REDIS + 1);
                world.run_until("a reset", |world| {
                    world.socket(client).state() == State::Closed
                });
                assert_eq!(world.counters.drops(DropReason::NoSocket), 1);
            }),
            (
                "a frame with a wrong checksum is dropped and sent again",
                |ground| {
                    let mut world = World::new(ground);
                    let client = world.connect(REDIS);
                    world.cable.borrow_mut().damages = 1;
                    assert_eq!(world.ask(client, b"PING\r\n", 7), b"+PONG\r\n");
                    assert_eq!(world.counters.drops(DropReason::Checksum), 1);
                },
            ),
            ("connections that end give back what they took", |ground| {
                let mut world = World::new(ground);
                // The first ones leave the spare sockets' rings behind.
                world.connect_and_close(50);
                let before = ground.memory_free_frames();
                world.connect_and_close(200);
                let after = ground.memory_free_frames();
                assert!(after + 8 >= before, "{before} frames free, then {after}");
            }),
        ],
    )
}

trait FreeFrames {
    fn memory_free_frames(&self) -> u64;
}

impl FreeFrames for Ground {
    fn memory_free_frames(&self) -> u64 {
        nos::memory::frames::FrameSource::free_frames(self.memory)
    }
}

/// Nothing here asks for it.
struct NoPower;

impl Power for NoPower {
    fn off(&self) {
        unreachable!("no test sends SHUTDOWN");
    }
}

/// Frames on their way, in both directions.
#[derive(Default)]
struct Cable {
    to_us: VecDeque<Vec<u8>>,
    from_us: VecDeque<Vec<u8>>,
    /// Frames to us with bytes behind their headers that are still to be damaged.
    damages: usize,
}

type SharedCable = Rc<RefCell<Cable>>;

/// Our end: both halves of the device.
struct OurEnd {
    receiver: OurReceiver,
    transmitter: OurTransmitter,
}

struct OurReceiver {
    cable: SharedCable,
    shown: Option<Vec<u8>>,
}

struct OurTransmitter(SharedCable);

impl NetworkDevice for OurEnd {
    type Receiver = OurReceiver;
    type Transmitter = OurTransmitter;

    fn mac(&self) -> [u8; 6] {
        [2, 0, 0, 0, 0, 1]
    }

    fn mtu(&self) -> usize {
        1_500
    }

    fn checksums(&self) -> Checksums {
        Checksums::default()
    }

    fn split(&mut self) -> (&mut OurReceiver, &mut OurTransmitter) {
        (&mut self.receiver, &mut self.transmitter)
    }
}

impl Receiver for OurReceiver {
    fn peek(&mut self) -> Option<&[u8]> {
        if self.shown.is_none() {
            self.shown = self.cable.borrow_mut().to_us.pop_front();
        }
        self.shown.as_deref()
    }

    fn await_interrupt(&mut self) -> bool {
        self.shown.is_none() && self.cable.borrow().to_us.is_empty()
    }

    fn release(&mut self) {
        self.shown = None;
    }
}

impl Transmitter for OurTransmitter {
    fn has_room(&mut self) -> bool {
        true
    }

    fn send<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        self.0.borrow_mut().from_us.push_back(frame);
        result
    }

    fn kick(&mut self) {}
}

/// The other end, as smoltcp's device.
struct PeerEnd(SharedCable);

struct Frame(Vec<u8>);

impl RxToken for Frame {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for PeerEnd {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        let mut cable = self.0.borrow_mut();
        // Headers of Ethernet, IPv4 and TCP: 54 bytes; what is longer carries something.
        if cable.damages > 0 && len > 54 {
            cable.damages -= 1;
            frame[len - 1] ^= 0x40;
        }
        cable.to_us.push_back(frame);
        result
    }
}

impl Device for PeerEnd {
    type RxToken<'a> = Frame;
    type TxToken<'a> = PeerEnd;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Frame, PeerEnd)> {
        let frame = self.0.borrow_mut().from_us.pop_front()?;
        Some((Frame(frame), PeerEnd(self.0.clone())))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<PeerEnd> {
        Some(PeerEnd(self.0.clone()))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1_514;
        capabilities
    }
}

/// Our stack and a client of it, on a clock of their own.
struct World {
    stack: Stack<OurEnd>,
    cable: SharedCable,
    counters: Arc<NetworkCounters>,
    interface: Interface,
    sockets: SocketSet<'static>,
    next_port: u16,
    now: Instant,
}

impl World {
    fn new(ground: &Ground) -> Self {
        let mut application = CacheApplication::default();
        let environment = Environment {
            frames: ground.memory,
            memory_budget_bytes: 16 << 20,
            clock: ground.clock,
            seed: 7,
            keep_alive_seconds: 300,
            power: Box::leak(Box::new(NoPower)),
            disk: &NoDisk,
            parts: &[],
        };
        application.prepare(environment).expect("there is memory");
        let application: &'static CacheApplication = Box::leak(Box::new(application));
        // SAFETY: each world has an application of its own, and this is its one incarnation.
        let incarnation = unsafe { Incarnation::new(1) };
        let services = application
            .serve(environment, &incarnation)
            .expect("there is memory");
        let cable = SharedCable::default();
        let device = OurEnd {
            receiver: OurReceiver {
                cable: cable.clone(),
                shown: None,
            },
            transmitter: OurTransmitter(cable.clone()),
        };
        let config = StackConfig {
            address: AddressConfig::Static {
                address: OUR_ADDRESS,
                prefix_len: 24,
                gateway: None,
            },
            ..StackConfig::default()
        };
        let secrets = Secrets {
            sequence_key: [1, 2],
            hash_seed: 3,
            interface_seed: 4,
        };
        let counters = Arc::new(NetworkCounters::new());
        let now = ground.clock.now();
        let stack = Stack::new(device, config, services, secrets, counters.clone(), now);

        let mac = HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, 2]));
        let mut end = PeerEnd(cable.clone());
        let mut interface = Interface::new(Config::new(mac), &mut end, peer_time(now));
        interface.update_ip_addrs(|addresses| {
            let own = IpCidr::new(PEER_ADDRESS.into(), 24);
            addresses.push(own).expect("there is room for one address");
        });
        Self {
            stack: stack.expect("there is memory"),
            cable,
            counters,
            interface,
            sockets: SocketSet::new(Vec::new()),
            next_port: 40_000,
            now,
        }
    }

    fn socket(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Begins a connection.
    fn open(&mut self, port: u16) -> SocketHandle {
        let ring = || SocketBuffer::new(vec![0; VALUE_BYTES]);
        let mut socket = Socket::new(ring(), ring());
        self.next_port += 1;
        socket
            .connect(
                self.interface.context(),
                (OUR_ADDRESS, port),
                self.next_port,
            )
            .expect("a new socket can connect");
        self.sockets.add(socket)
    }

    fn connect(&mut self, port: u16) -> SocketHandle {
        let handle = self.open(port);
        self.run_until("a connection", |world| world.socket(handle).may_send());
        handle
    }

    fn connect_and_close(&mut self, times: usize) {
        for _ in 0..times {
            let handle = self.connect(REDIS);
            assert_eq!(self.ask(handle, b"PING\r\n", 7), b"+PONG\r\n");
            self.socket(handle).close();
            self.run_until("an end", |world| {
                matches!(
                    world.socket(handle).state(),
                    State::Closed | State::TimeWait
                )
            });
            self.sockets.remove(handle);
        }
    }

    /// Sends `request` and reads as many bytes as the reply has.
    fn ask(&mut self, handle: SocketHandle, request: &[u8], reply_len: usize) -> Vec<u8> {
        let (mut sent, mut reply) = (0, Vec::new());
        self.run_until("a reply", |world| {
            let socket = world.socket(handle);
            sent += socket.send_slice(&request[sent..]).expect("it is open");
            let read = socket.recv(|bytes| {
                reply.extend_from_slice(bytes);
                (bytes.len(), ())
            });
            read.expect("it is open");
            reply.len() >= reply_len
        });
        assert_eq!(reply.len(), reply_len);
        reply
    }

    /// Lets both ends work, a millisecond at a time, until `is_so`; ten seconds of theirs at most.
    fn run_until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        for _ in 0..10_000 {
            let mut end = PeerEnd(self.cable.clone());
            self.interface
                .poll(peer_time(self.now), &mut end, &mut self.sockets);
            while self.stack.poll(self.now) == Activity::More {}
            if is_so(self) {
                return;
            }
            self.now = self.now + Duration::from_millis(1);
        }
        panic!("no {what} within ten seconds");
    }
}

fn peer_time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros((now.as_nanos() / 1_000) as i64)
}
