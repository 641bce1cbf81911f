//! Inside QEMU, under -icount: what a loop in another subsystem costs the data plane's clients.
//!
//! The network stack with the cache server behind it runs as a fiber of its own, as in the image, on a network device of
//! this file. Its interrupt is that of the physical timer, which nobody else uses, set to pseudo-random instants;
//! with it a frame is there, made by smoltcp at the other end: a GET of a key that is there. Counted are the
//! instructions from the device's interrupt to the kick that tells the device of the answer: on one CPU, with
//! the other fiber parked, with one that computes for ever, and with one that allocates and frees for ever.
//!
//! Under -icount shift=0 an instruction is a nanosecond of virtual time, and the timer interrupts when the time it
//! is set to has come, to the instruction. So the whole way is read from the counter of the timer, a tick of which is 16
//! instructions: what keeps the interrupt from being taken counts. The way from the handler on is read from
//! INST_RETIRED beside it. Run by `scripts/bench-preemption.sh`, and by `scripts/test.sh guest` for the limit.
#![no_std]
#![no_main]

extern crate alloc;

mod counting;
mod fiber_support;
mod lane;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::arch::asm;
use core::hint::black_box;
use core::net::Ipv4Addr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use counting::instructions;
use fiber_support::{Machine, run, this_machine};
use lane::{PeerEnd, TO_US, Wire};
use nos::app::cache_server::CacheApplication;
use nos::app::{Application, Environment, Incarnation, Power};
use nos::arch::aarch64::{BootInfo, cpu, timer};
use nos::kernel::scheduler::{Entry, FiberId, FiberSpec};
use nos::net::config::{AddressConfig, StackConfig};
use nos::net::counters::NetworkCounters;
use nos::net::stack::{Activity, Secrets, Stack};
use nos::platform::console::print;
use nos::platform::device_tree::Interrupt;
use nos::platform::interrupts::{self, Binding, Source};
use nos::platform::network_device::{NetworkDevice, Receiver};
use nos::platform::time::{Clock, Duration, Instant};
use nos::storage::NoDisk;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};
use spin::Once;

/// Requests that are measured of each kind, and those before them that warm up.
const REQUESTS: usize = 4_000;
const WARM_UP: usize = 100;
/// Ticks from a request's making to its interrupt: at least, and at most so many more.
const GAP_TICKS: u64 = 1_250;
const SPREAD_TICKS: u64 = 4_096;
/// Instructions that a tick of the timer takes under -icount shift=0.
const TICK_INSTRUCTIONS: u64 = 16;
/// How much longer a hundredth of all requests may take with another fiber busy, in percent.
const SLOWER_PERCENT_MAX: u64 = 20;
/// What other fibers have in the image: none hangs here, but the watchdog looks.
const HANG_MILLIS: u64 = 5_000;
/// The physical timer's interrupt: private, number 14, level.
const PHYSICAL_TIMER: [u32; 3] = [1, 14, 4];

const OUR_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PEER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const REDIS: u16 = 6379;
const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$16\r\n0123456789abcdef\r\n";
const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n";
const VALUE: &[u8] = b"$16\r\n0123456789abcdef\r\n";

#[unsafe(no_mangle)]
extern "C" fn nos_main(boot: &BootInfo) -> ! {
    run(
        boot,
        &[
            ("instructions are counted", |_| counting::set_up()),
            ("requests are served by a data plane of one CPU", begin),
            ("with the other fiber parked", |machine| {
                measure(machine, "parked", parks)
            }),
            ("with a fiber that computes for ever", |machine| {
                measure(machine, "computes", computes)
            }),
            ("with a fiber that allocates for ever", |machine| {
                measure(machine, "allocates", allocates)
            }),
            ("the limit holds", limit),
        ],
    )
}

/// Nothing here asks for it.
struct NoPower;

impl Power for NoPower {
    fn off(&self) {
        unreachable!("no test sends SHUTDOWN");
    }
}

/// The fibers that serve and ask, and what is measured of one request.
static DATA_PLANE: Once<FiberId> = Once::new();
static CLIENT: Once<FiberId> = Once::new();
/// The timer is set for a request; it was kicked of the answer.
static IS_ARMED: AtomicBool = AtomicBool::new(false);
static IS_ANSWERED: AtomicBool = AtomicBool::new(false);
/// The tick of the interrupt, and the counter when its handler began.
static DUE: AtomicU64 = AtomicU64::new(0);
static HANDLED: AtomicU64 = AtomicU64::new(0);
/// Instructions from interrupt to kick, and from handler to kick.
static WHOLE: AtomicU64 = AtomicU64::new(0);
static FROM_HANDLER: AtomicU64 = AtomicU64::new(0);

/// Our device was told of frames to send.
fn on_kick() {
    let (ticks, counted) = (timer::ticks(), instructions());
    if IS_ARMED.swap(false, Relaxed) {
        let whole = (ticks - DUE.load(Relaxed)) * TICK_INSTRUCTIONS;
        WHOLE.store(whole, Relaxed);
        let from_handler = counted.wrapping_sub(HANDLED.load(Relaxed)) & 0xffff_ffff;
        FROM_HANDLER.store(from_handler, Relaxed);
    }
    IS_ANSWERED.store(true, Relaxed);
    let client = CLIENT.get().expect("whoever asks is there first");
    this_machine().fibers.wake(*client);
}

/// The device's interrupt handler, as that of the network device in the image.
fn on_interrupt() {
    HANDLED.store(instructions(), Relaxed);
    disarm();
    TO_US.publish();
    let data_plane = DATA_PLANE.get().expect("it is there first");
    this_machine().fibers.wake(*data_plane);
}

/// Has the device interrupt when the counter reaches `due`.
fn arm(due: u64) {
    DUE.store(due, Relaxed);
    // SAFETY: the physical timer is this device's alone; its interrupt is bound before it is first set.
    unsafe {
        asm!("msr cntp_cval_el0, {}", "msr cntp_ctl_el0, {}", "isb",
            in(reg) due, in(reg) 1_u64, options(nostack));
    }
}

fn disarm() {
    // SAFETY: as in `arm`.
    unsafe { asm!("msr cntp_ctl_el0, xzr", "isb", options(nostack)) };
}

/// Serves, as the data plane of the image does.
fn serves(stack: usize) {
    // SAFETY: `begin` leaked a stack for this one fiber.
    let stack = unsafe { &mut *(stack as *mut Stack<Wire>) };
    let machine = this_machine();
    loop {
        if stack.poll(machine.ground.clock.now()) == Activity::More {
            machine.fibers.beat();
            continue;
        }
        let deadline = stack.deadline();
        cpu::mask_interrupts();
        let (receiver, _) = stack.device_mut().split();
        if receiver.await_interrupt() {
            machine.fibers.park(deadline);
        } else {
            cpu::unmask_interrupts();
            machine.fibers.beat();
        }
    }
}

fn parks(_: usize) {
    loop {
        this_machine().fibers.park(None);
    }
}

fn computes(_: usize) {
    let mut value = 1_u64;
    loop {
        value = black_box(value.wrapping_mul(6_364_136_223_846_793_005) ^ value >> 29);
    }
}

/// Its locks keep the CPU from being taken away, for as long as each is held.
fn allocates(_: usize) {
    loop {
        for bytes in [64, 1_000, 4_096, 40_000] {
            drop(black_box(Vec::<u8>::with_capacity(bytes)));
        }
    }
}

/// Whoever asks: smoltcp at the other end.
struct Client {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    random: u64,
}

impl Client {
    fn new(machine: &Machine) -> Self {
        let mac = HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, 2]));
        let mut interface = Interface::new(Config::new(mac), &mut PeerEnd, now(machine));
        interface.update_ip_addrs(|addresses| {
            let own = IpCidr::new(PEER_ADDRESS.into(), 24);
            addresses.push(own).expect("there is room for one address");
        });
        let ring = || SocketBuffer::new(vec![0; 4_096]);
        let mut sockets = SocketSet::new(Vec::new());
        let mut socket = Socket::new(ring(), ring());
        socket
            .connect(interface.context(), (OUR_ADDRESS, REDIS), 40_000)
            .expect("a new socket can connect");
        let handle = sockets.add(socket);
        Self {
            interface,
            sockets,
            handle,
            random: 1,
        }
    }

    /// Sends `request` and waits for the reply; the device interrupts at a random instant for each frame of ours.
    fn ask(&mut self, machine: &Machine, request: &[u8], reply: &[u8]) {
        let (mut sent, mut got) = (0, Vec::new());
        while got.len() < reply.len() {
            self.interface
                .poll(now(machine), &mut PeerEnd, &mut self.sockets);
            let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
            if socket.may_send() {
                sent += socket.send_slice(&request[sent..]).expect("it is open");
            }
            if socket.can_recv() {
                let taken = socket.recv(|bytes| (bytes.len(), got.extend_from_slice(bytes)));
                taken.expect("it is open");
                continue;
            }
            self.interface
                .poll(now(machine), &mut PeerEnd, &mut self.sockets);
            self.deliver(machine);
        }
        assert_eq!(got, reply);
    }

    /// Has the device hand in what was sent, and waits for an answer or a millisecond.
    fn deliver(&mut self, machine: &Machine) {
        // xorshift64.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        IS_ANSWERED.store(false, Relaxed);
        IS_ARMED.store(true, Relaxed);
        let due = timer::ticks() + GAP_TICKS + self.random % SPREAD_TICKS;
        arm(due);
        let until = machine.ground.clock.now() + Duration::from_millis(1);
        while !IS_ANSWERED.load(Relaxed) && machine.ground.clock.now() < until {
            machine.fibers.park(Some(until));
        }
    }
}

fn now(machine: &Machine) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros((machine.ground.clock.now().as_nanos() / 1_000) as i64)
}

/// Makes the stack with its services, and connects.
fn begin(machine: &'static Machine) {
    let ground = &machine.ground;
    let mut application = CacheApplication::default();
    let environment = Environment {
        keep_alive_seconds: 300,
        frames: ground.memory,
        memory_budget_bytes: 16 << 20,
        clock: ground.clock,
        seed: 7,
        power: Box::leak(Box::new(NoPower)),
        disk: &NoDisk,
        parts: &[],
    };
    application.prepare(environment).expect("there is memory");
    let application: &'static CacheApplication = Box::leak(Box::new(application));
    // SAFETY: this is its one incarnation.
    let incarnation = unsafe { Incarnation::new(1) };
    let services = application
        .serve(environment, &incarnation)
        .expect("there is memory");
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
    let (device, counters) = (Wire::new(on_kick), Arc::new(NetworkCounters::new()));
    let stack = Stack::new(device, config, services, secrets, counters, Instant::ZERO);
    let stack = Box::leak(Box::new(stack.expect("there is memory")));
    let interrupt = Interrupt::from_cells(PHYSICAL_TIMER).expect("a private interrupt");
    let binding = Binding {
        interrupt,
        source: Source::Network,
        handler: Box::new(on_interrupt),
    };
    interrupts::bind(binding).expect("the GIC takes it");
    let client = Box::into_raw(Box::new(Client::new(machine))) as usize;
    let asking = fiber(machine, "asks", 2, fiber_support::LARGE_STACK_BYTES);
    CLIENT.call_once(|| asking);
    let serving = fiber(machine, "serves", 1, fiber_support::LARGE_STACK_BYTES);
    DATA_PLANE.call_once(|| serving);
    let address = core::ptr::from_mut(stack) as usize;
    for (fiber, entry, argument) in [(serving, serves as Entry, address), (asking, asks, client)] {
        machine
            .fibers
            .restart(fiber, entry, argument)
            .expect("it is new");
    }
    await_series(machine, 1);
}

/// Series of requests that were asked for, and those that are over.
static WANTED: AtomicU64 = AtomicU64::new(0);
static SERIES: AtomicU64 = AtomicU64::new(0);
static SAMPLES: [[AtomicU64; REQUESTS]; 2] = [const { [const { AtomicU64::new(0) }; REQUESTS] }; 2];

/// Asks: first to set the key, then one series after another.
fn asks(client: usize) {
    let machine = this_machine();
    // SAFETY: `begin` leaked a client for this one fiber.
    let client = unsafe { &mut *(client as *mut Client) };
    client.ask(machine, SET, b"+OK\r\n");
    loop {
        SERIES.fetch_add(1, Relaxed);
        while SERIES.load(Relaxed) > WANTED.load(Relaxed) {
            machine.fibers.park(None);
        }
        for _ in 0..WARM_UP {
            client.ask(machine, GET, VALUE);
        }
        for number in 0..REQUESTS {
            client.ask(machine, GET, VALUE);
            for (samples, sample) in SAMPLES.iter().zip([&WHOLE, &FROM_HANDLER]) {
                samples[number].store(sample.load(Relaxed), Relaxed);
            }
        }
        if let Some(other) = OTHER.lock().take() {
            machine.fibers.stop(other);
        }
    }
}

static OTHER: spin::Mutex<Option<FiberId>> = spin::Mutex::new(None);
/// The hundredth of each series that is dearest begins here.
static P99: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Asks for a series with that other fiber, and prints it.
fn measure(machine: &'static Machine, case: &'static str, entry: Entry) {
    let series = SERIES.load(Relaxed);
    WANTED.store(series, Relaxed);
    // It ranks below this one's client and above this fiber, which is back when it was stopped.
    let asking = *CLIENT.get().expect("`begin` made it");
    let other = fiber(machine, case, 3, fiber_support::STACK_BYTES);
    *OTHER.lock() = Some(other);
    machine.fibers.wake(asking);
    machine.fibers.restart(other, entry, 0).expect("it is new");
    await_series(machine, series + 1);
    for (samples, metric) in SAMPLES.iter().zip(["interrupt-to-kick", "handler-to-kick"]) {
        let mut sorted: Vec<u64> = samples.iter().map(|sample| sample.load(Relaxed)).collect();
        sorted.sort_unstable();
        let at = |percent: usize| sorted[(REQUESTS * percent).div_ceil(100) - 1];
        let (median, p99, most) = (at(50), at(99), at(100));
        print(format_args!(
            "\nrow {metric} {case} {median} {p99} {most}\n"
        ));
        assert!(median > 0);
        if metric == "interrupt-to-kick" {
            P99[series as usize - 1].store(p99, Relaxed);
        }
    }
}

/// Waits for the end of the series of that number; fibers that serve or ask must live.
fn await_series(machine: &Machine, number: u64) {
    let lives = [&DATA_PLANE, &CLIENT].map(|fiber| *fiber.get().expect("`begin` made it"));
    machine.wait_until("a series", || {
        for fiber in lives {
            let obituary = machine.fibers.take_obituary(fiber);
            assert!(obituary.is_none(), "{obituary:?}");
        }
        SERIES.load(Relaxed) == number
    });
}

/// A fiber that does not run yet, with the watchdog's look at it as in the image.
fn fiber(machine: &Machine, name: &'static str, priority: u8, stack_bytes: usize) -> FiberId {
    let spec = FiberSpec {
        name,
        cpu: 0,
        priority,
        stack_bytes,
        hang_limit: Some(Duration::from_millis(HANG_MILLIS)),
        owner: fiber_support::next_owner(),
    };
    let fiber = machine.fibers.create(&machine.ground.stacks, &spec);
    fiber.expect("there are stacks and ranks")
}

fn limit(_: &'static Machine) {
    let [parked, others @ ..] = P99.each_ref().map(|p99| p99.load(Relaxed));
    for p99 in others {
        assert!(
            p99 * 100 <= parked * (100 + SLOWER_PERCENT_MAX),
            "{p99} instructions of {parked}"
        );
    }
}
