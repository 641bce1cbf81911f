//! Inside QEMU: messages and requests between fibers, on one CPU and across all that there are.
#![no_std]
#![no_main]

extern crate alloc;

mod fiber_support;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use fiber_support::{Machine, run, this_machine};
use nos::arch::aarch64::BootInfo;
use nos::bus::{
    Address, Envelope, Exchange, Executor, Mailbox, Message, Mute, NEVER, Owner, Plan, Policy,
    Port, Queue, Reason, Service,
};
use nos::error::Kind;
use nos::kernel::bell::FiberBell;
use nos::kernel::scheduler::FiberId;
use nos::platform::time::{Clock, Duration, Instant};
use spin::Once;

/// Messages of each stream.
const MESSAGES: u64 = 100_000;
/// Slots of their mailbox: few, so that it is full again and again.
const CAPACITY: usize = 16;
/// CPUs that streams come from, at most.
const CPUS_MAX: usize = 8;

#[unsafe(no_mangle)]
extern "C" fn nos_main(boot: &BootInfo) -> ! {
    run(
        boot,
        &[
            (
                "100,000 messages from fibers of its CPU reach a fiber, none lost or doubled",
                on_one_cpu,
            ),
            ("as many from every CPU do", from_every_cpu),
            (
                "a request whose server dies is answered with that, and the next server answers",
                a_server_dies,
            ),
            ("a full mailbox does what its policy says", full),
            ("a message past its deadline is not received", expired),
        ],
    )
}

/// Who sent it, and its number among those.
#[derive(Clone, Debug)]
struct Numbered(usize, u64);

impl Message for Numbered {}

fn exchange() -> &'static Arc<Exchange> {
    static EXCHANGE: Once<Arc<Exchange>> = Once::new();
    EXCHANGE.call_once(|| Arc::new(Exchange::new()))
}

fn port(machine: &Machine, name: &'static str, fiber: FiberId) -> Arc<Port> {
    let bell = FiberBell::new(machine.fibers, fiber);
    exchange()
        .add(name, Owner::KERNEL, bell)
        .expect("a new name")
}

/// A port of one that is polled, not woken.
fn mute(name: &'static str) -> Arc<Port> {
    exchange()
        .add(name, Owner::KERNEL, Mute)
        .expect("a new name")
}

fn plan(reader: &Arc<Port>, policy: Policy) -> Plan {
    Plan {
        topic: reader.name(),
        address: Address::Receiver(reader.id()),
        reader: reader.clone(),
        exchange: exchange().clone(),
        capacity: CAPACITY,
        policy,
    }
}

fn mailbox(reader: &Arc<Port>, policy: Policy) -> Mailbox<Numbered> {
    Mailbox::new(plan(reader, policy)).expect("memory")
}

/// Runs one task on `port`'s executor, for ever.
fn run_task(port: &Arc<Port>, task: impl Future<Output = ()> + 'static) -> ! {
    let machine = this_machine();
    let mut executor = Executor::new(port.clone(), 1).expect("memory");
    executor.spawn(task).expect("room");
    loop {
        let deadline = executor.run(machine.ground.clock);
        let deadline = (deadline != NEVER).then_some(deadline);
        machine.fibers.park(deadline);
    }
}

/// Senders that wait for room, and the reader that they share.
struct Stream {
    senders: Vec<Arc<Port>>,
    reader: Arc<Port>,
    mailbox: Mailbox<Numbered>,
    received: AtomicU64,
}

static STREAMS: [Once<Stream>; 2] = [const { Once::new() }; 2];

/// What the fibers of a test share, once it is made: a fiber on another CPU may begin before.
fn shared<T>(place: &'static Once<T>) -> &'static T {
    loop {
        match place.get() {
            Some(made) => return made,
            None => this_machine().fibers.park(None),
        }
    }
}

fn sends(argument: usize) {
    let stream = shared(&STREAMS[argument / CPUS_MAX]);
    let number = argument % CPUS_MAX;
    let port = &stream.senders[number];
    run_task(port, async move {
        for count in 0..MESSAGES / stream.senders.len() as u64 {
            let envelope = stream.mailbox.envelope(port, Numbered(number, count));
            let sent = stream.mailbox.send_within(port, envelope, NEVER).await;
            sent.into_result().expect("it waits for ever");
        }
    });
}

fn receives(argument: usize) {
    let stream = shared(&STREAMS[argument / CPUS_MAX]);
    run_task(&stream.reader, async move {
        let mut next = [0; CPUS_MAX];
        loop {
            let Numbered(number, count) = stream.mailbox.receive().await.body;
            assert_eq!(count, next[number], "of sender {number}");
            next[number] += 1;
            stream.received.fetch_add(1, Relaxed);
        }
    });
}

/// Runs a stream from senders of those CPUs and priorities to a reader of priority 4, till all is received.
fn run_stream(
    machine: &'static Machine,
    number: usize,
    reads_on: usize,
    senders: &[(&'static str, usize, u8)],
    reads: &'static str,
) {
    let all = MESSAGES / senders.len() as u64 * senders.len() as u64;
    let argument = number * CPUS_MAX;
    let reader = machine.spawn(reads, reads_on, 4, receives, argument);
    let mut fibers = Vec::from([reader]);
    let mut ports = Vec::new();
    for (number, &(name, cpu, priority)) in senders.iter().enumerate() {
        let fiber = machine.spawn(name, cpu, priority, sends, argument + number);
        ports.push(port(machine, name, fiber));
        fibers.push(fiber);
    }
    let reader = port(machine, reads, reader);
    let stream = STREAMS[number].call_once(|| Stream {
        senders: ports,
        mailbox: mailbox(&reader, Policy::Wait),
        reader,
        received: AtomicU64::new(0),
    });
    for &fiber in &fibers {
        machine.fibers.wake(fiber);
    }
    // Slow is no failure, to stand still is.
    loop {
        let before = stream.received.load(Relaxed);
        if before == all {
            break;
        }
        let more = || stream.received.load(Relaxed) > before;
        machine.wait_until("more are received", more);
    }
    assert!(machine.fibers.dead().next().is_none());
    let tally = stream.mailbox.tally();
    assert_eq!((tally.delivered, tally.depth), (all, 0));
    assert_eq!(tally.dropped, [0; 3]);
    assert!(stream.senders.iter().all(|port| port.lost() == [0; 3]));
}

/// One sender ranks above the reader, one below.
fn on_one_cpu(machine: &'static Machine) {
    let senders = [("higher", 0, 3), ("lower", 0, 5)];
    run_stream(machine, 0, 0, &senders, "reads on one");
}

fn from_every_cpu(machine: &'static Machine) {
    const NAMES: [&str; CPUS_MAX] = [
        "on 0", "on 1", "on 2", "on 3", "on 4", "on 5", "on 6", "on 7",
    ];
    let cpus = machine.blocks.len().min(CPUS_MAX);
    let named = NAMES.into_iter().enumerate().take(cpus);
    let senders: Vec<_> = named.map(|(cpu, name)| (name, cpu, 5)).collect();
    run_stream(machine, 1, cpus - 1, &senders, "reads from all");
}

fn a_server_dies(machine: &'static Machine) {
    struct Asking {
        client: Arc<Port>,
        server: Arc<Port>,
        service: Service<Numbered, Numbered>,
    }
    static ASKING: Once<Asking> = Once::new();
    static PEER_DIED: AtomicU32 = AtomicU32::new(0);
    static ANSWERED: AtomicU32 = AtomicU32::new(0);
    fn serves(incarnation: usize) {
        let asking = shared(&ASKING);
        run_task(&asking.server, async move {
            loop {
                let Envelope {
                    correlation, body, ..
                } = asking.service.next().await;
                assert!(incarnation > 0, "as the test wants");
                let replied = asking.service.reply(&asking.server, correlation, Ok(body));
                replied.expect("it waits");
            }
        });
    }
    fn asks(_: usize) {
        let asking = shared(&ASKING);
        run_task(&asking.client, async {
            // Until the next incarnation answers.
            while ANSWERED.load(Relaxed) == 0 {
                let question = Numbered(0, 1);
                let answer = asking.service.request(&asking.client, question, NEVER);
                match answer.await.map_err(|error| error.kind()) {
                    Ok(Numbered(0, 1)) => ANSWERED.fetch_add(1, Relaxed),
                    Err(Kind::PeerDied { peer: "serves" }) => PEER_DIED.fetch_add(1, Relaxed),
                    other => panic!("answered {other:?}"),
                };
            }
        });
    }
    let elsewhere = machine.blocks.len() - 1;
    let serving = machine.spawn("serves", elsewhere, 3, serves, 0);
    let asking = machine.spawn("asks", 0, 3, asks, 0);
    let (client, server) = (
        port(machine, "asks", asking),
        port(machine, "serves", serving),
    );
    let service = Service::new(plan(&server, Policy::Refuse), 4).expect("memory");
    let bus = ASKING.call_once(|| Asking {
        client,
        server,
        service,
    });
    machine.fibers.wake(serving);
    machine.fibers.wake(asking);
    machine.await_death(serving);
    assert_eq!(PEER_DIED.load(Relaxed), 0, "nobody told it yet");
    bus.server.end_incarnation();
    // One that asks again meanwhile, as this client does, is told as well.
    assert!(bus.service.server_died(&mute("supervises")) >= 1);
    machine.wait_until("it is told", || PEER_DIED.load(Relaxed) >= 1);
    // The last question waits for the next incarnation.
    let restarted = machine.fibers.restart(serving, serves, 1);
    restarted.expect("it is dead");
    machine.fibers.wake(serving);
    machine.wait_until("it is answered", || ANSWERED.load(Relaxed) == 1);
    assert_eq!((bus.service.open(), bus.service.late()), (0, 0));
    assert_eq!(bus.service.tally().delivered, 2);
}

fn full(_: &'static Machine) {
    let (sender, reader) = (mute("fills"), mute("never reads"));
    let fill = |policy| {
        let mailbox = mailbox(&reader, policy);
        for count in 0..CAPACITY as u64 {
            assert!(mailbox.send(&sender, Numbered(0, count)).is_queued());
        }
        let sent = mailbox.send(&sender, Numbered(0, CAPACITY as u64));
        let oldest = mailbox.try_receive().expect("it is full").body.1;
        let sent = sent.into_result().map_err(|error| error.kind());
        let tally = mailbox.tally();
        assert_eq!((tally.delivered, tally.dropped), (1, [1, 0, 0]));
        (sent, oldest)
    };
    let topic = "never reads";
    assert_eq!(fill(Policy::Refuse), (Err(Kind::QueueFull { topic }), 0));
    assert_eq!(fill(Policy::Wait), (Err(Kind::QueueFull { topic }), 0));
    assert_eq!(sender.lost(), [0; 3], "it was told at once");
    assert_eq!(fill(Policy::DropOldest), (Ok(()), 1));
    assert_eq!(sender.lost(), [1, 0, 0], "it was told of the oldest");
}

fn expired(machine: &'static Machine) {
    let (sender, reader) = (mute("is late"), mute("reads late"));
    let mailbox = mailbox(&reader, Policy::Refuse);
    let now = machine.ground.clock.now();
    let due = |count, deadline: Instant| {
        let envelope = mailbox.envelope(&sender, Numbered(0, count)).due(deadline);
        assert!(mailbox.post(&sender, envelope).is_queued());
    };
    due(0, now + Duration::from_millis(1));
    due(1, NEVER);
    machine.sleep_millis(2);
    // An executor tells the port the time.
    let mut executor = Executor::new(reader.clone(), 1).expect("memory");
    executor.run(machine.ground.clock);
    assert_eq!(mailbox.try_receive().expect("the second").body.1, 1);
    assert!(mailbox.try_receive().is_none());
    assert_eq!(mailbox.tally().dropped(Reason::Expired), 1);
    assert_eq!(sender.lost(), [0, 1, 0]);
}
