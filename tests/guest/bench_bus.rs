//! Inside QEMU, under -icount: the instructions of the bus, beside those of other queues. Run by
//! `scripts/bench-bus.sh`, which makes a table of the rows printed here, and by `scripts/test.sh guest`, for the
//! limits. With one CPU it measures what happens on one, with more what crosses from one to another.
#![no_std]
#![no_main]

extern crate alloc;

mod counting;
mod fiber_support;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use counting::{Measured, afresh, instructions, written};
use crossbeam_queue::ArrayQueue;
use fiber_support::{Machine, run, this_machine};
use nos::arch::aarch64::BootInfo;
use nos::bus::{
    Address, Envelope, Exchange, Executor, Mailbox, Message, Mute, NEVER, Owner, Plan, Policy,
    Port, Service, Topic, TopicId,
};
use nos::kernel::bell::FiberBell;
use nos::kernel::scheduler::{Entry, FiberId};
use nos::platform::console::print;
use nos::platform::time::Duration;
use spin::Once;
use thingbuf::ThingBuf;
use thingbuf::recycling::Recycle;

/// Times that each is measured.
const ROUNDS: u64 = 100;
/// Messages that each queue holds.
const CAPACITY: usize = 64;
/// Subscribers of the larger topic.
const SUBSCRIBERS: usize = 8;

/// Most instructions of sending, waking and receiving on one CPU.
const ONE_CPU_MAX: u64 = 120;
/// Most of a switch from one fiber's `park` to the return of another's.
const SWITCH_MAX: u64 = 150;
/// Most of sending on one CPU and receiving on another.
const ACROSS_MAX: u64 = 250;

#[unsafe(no_mangle)]
extern "C" fn nos_main(boot: &BootInfo) -> ! {
    run(
        boot,
        &[
            ("instructions are counted", |_| counting::set_up()),
            ("a message on one CPU", one_cpu),
            ("the queues alone", queues),
            ("a request and its reply", request),
            ("a message to subscribers", publish),
            ("a message to another CPU", across),
            ("the limits hold", limits),
        ],
    )
}

/// What is sent: two words.
#[derive(Clone, Debug, PartialEq)]
struct Note([u64; 2]);

impl Message for Note {}

impl Note {
    /// A note that the compiler does not know.
    fn new() -> Self {
        Self([7, 8].map(core::hint::black_box))
    }

    fn check(&self) {
        assert_eq!(self.0, [7, 8]);
    }
}

/// Prints a row for the script: what, whose, its mean, its dearest call, its limit.
fn row(case: &str, subject: &str, parts: &[&Measured], limit: Option<u64>) -> u64 {
    let mean: u64 = parts.iter().map(|part| part.mean()).sum();
    let most: u64 = parts.iter().map(|part| part.most()).sum();
    print(format_args!("\nrow {case} {subject} {mean} {most} "));
    match limit {
        Some(limit) => print(format_args!("{limit}\n")),
        None => print(format_args!("-\n")),
    }
    assert!(parts.iter().all(|part| part.times() >= ROUNDS && mean > 0));
    if limit.is_some_and(|limit| mean > limit) {
        MISSED.fetch_add(1, Relaxed);
    }
    mean
}

static MISSED: AtomicU64 = AtomicU64::new(0);

fn limits(_: &'static Machine) {
    assert_eq!(MISSED.load(Relaxed), 0, "limits missed");
}

/// A fiber that parks first, so that its port can be made before it looks for it.
fn fiber(machine: &Machine, name: &'static str, cpu: usize, priority: u8, entry: Entry) -> FiberId {
    machine.spawn(name, cpu, priority, entry, 0)
}

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

fn mailbox(reader: &Arc<Port>) -> Mailbox<Note> {
    Mailbox::new(plan(reader, Policy::Refuse)).expect("memory")
}

/// Sends one note from `port`, measured.
#[inline(always)]
fn send(mailbox: &Mailbox<Note>, port: &Port, measured: &Measured) {
    let note = Note::new();
    let began = instructions();
    let is_queued = afresh(mailbox).send(afresh(port), note).is_queued();
    let ended = instructions();
    assert!(is_queued);
    measured.note(began, ended);
}

/// Receives one note, measured with all of its envelope.
#[inline(always)]
fn receive(mailbox: &Mailbox<Note>, measured: &Measured) {
    let began = instructions();
    let received = afresh(mailbox).try_receive();
    written(&received);
    let ended = instructions();
    received.expect("it was sent").body.check();
    measured.note(began, ended);
}

/// A sender, a receiver and what they share.
struct Pair {
    sender: Arc<Port>,
    mailbox: Mailbox<Note>,
}

static BEGAN: AtomicU64 = AtomicU64::new(0);
static SEND: Measured = Measured::new();
static SWITCH: Measured = Measured::new();
static RECEIVE: Measured = Measured::new();

/// The sender ranks above the receiver: its wake makes it ready, and the switch comes when the sender parks.
fn one_cpu(machine: &'static Machine) {
    static PAIR: Once<Pair> = Once::new();
    fn sends(_: usize) {
        let fibers = this_machine().fibers;
        fibers.park(None);
        let pair = PAIR.get().expect("made before the first wake");
        loop {
            send(&pair.mailbox, &pair.sender, &SEND);
            BEGAN.store(instructions(), Relaxed);
            fibers.park(None);
        }
    }
    fn receives(_: usize) {
        let fibers = this_machine().fibers;
        fibers.park(None);
        let pair = PAIR.get().expect("made before the first wake");
        loop {
            SWITCH.note(BEGAN.load(Relaxed), instructions());
            receive(&pair.mailbox, &RECEIVE);
            fibers.park(None);
        }
    }
    if machine.blocks.len() > 1 {
        return;
    }
    let high = fiber(machine, "sends", 0, 1, sends);
    let low = fiber(machine, "receives", 0, 2, receives);
    let sender = port(machine, "sends", high);
    let mailbox = mailbox(&port(machine, "receives", low));
    PAIR.call_once(|| Pair { sender, mailbox });
    // Both rank above this one: it is over when the wake returns.
    for _ in 0..ROUNDS {
        machine.fibers.wake(high);
    }
    row("send+wake", "nos", &[&SEND], None);
    row("receive", "nos", &[&RECEIVE], None);
    let all = [&SEND, &RECEIVE];
    row("send+wake+receive", "nos", &all, Some(ONE_CPU_MAX));
    row("switch", "nos", &[&SWITCH], Some(SWITCH_MAX));
}

/// Makes the envelopes that lie in a `ThingBuf` before anything was pushed.
struct Blank(Envelope<Note>);

impl Recycle<Envelope<Note>> for Blank {
    fn new_element(&self) -> Envelope<Note> {
        self.0.clone()
    }

    fn recycle(&self, _: &mut Envelope<Note>) {}
}

/// The same message through each queue, with nobody to wake.
fn queues(machine: &'static Machine) {
    static NOS: Measured = Measured::new();
    static NOS_OUT: Measured = Measured::new();
    static CROSSBEAM: Measured = Measured::new();
    static CROSSBEAM_OUT: Measured = Measured::new();
    static THINGBUF: Measured = Measured::new();
    static THINGBUF_OUT: Measured = Measured::new();
    if machine.blocks.len() > 1 {
        return;
    }
    let port = exchange().add("queues", Owner::KERNEL, Mute);
    let port = port.expect("a new name");
    let mailbox = mailbox(&port);
    let array = ArrayQueue::<Envelope<Note>>::new(CAPACITY);
    let blank = Blank(mailbox.envelope(&port, Note::new()));
    let things = ThingBuf::with_recycle(CAPACITY, blank);
    for _ in 0..ROUNDS {
        send(&mailbox, &port, &NOS);
        receive(&mailbox, &NOS_OUT);
        let push = |envelope| afresh(&array).push(envelope).is_ok();
        other(
            &mailbox,
            &port,
            push,
            || afresh(&array).pop(),
            &CROSSBEAM,
            &CROSSBEAM_OUT,
        );
        let push = |envelope| afresh(&things).push(envelope).is_ok();
        other(
            &mailbox,
            &port,
            push,
            || afresh(&things).pop(),
            &THINGBUF,
            &THINGBUF_OUT,
        );
    }
    for (subject, parts) in [
        ("nos", [&NOS, &NOS_OUT]),
        ("crossbeam-ArrayQueue", [&CROSSBEAM, &CROSSBEAM_OUT]),
        ("thingbuf-ThingBuf", [&THINGBUF, &THINGBUF_OUT]),
    ] {
        row("push", subject, &parts[..1], None);
        row("pop", subject, &parts[1..], None);
        row("push+pop", subject, &parts, None);
    }
}

/// Pushes an envelope that is made in the measured section, as [`send`] makes one, and pops it as [`receive`].
#[inline(always)]
fn other(
    mailbox: &Mailbox<Note>,
    port: &Port,
    push: impl Fn(Envelope<Note>) -> bool,
    pop: impl Fn() -> Option<Envelope<Note>>,
    pushed: &Measured,
    popped: &Measured,
) {
    let note = Note::new();
    let began = instructions();
    let envelope = afresh(mailbox).envelope(afresh(port), note);
    let is_queued = push(envelope);
    let ended = instructions();
    assert!(is_queued);
    pushed.note(began, ended);
    let began = instructions();
    let received = pop();
    written(&received);
    let ended = instructions();
    received.expect("it was pushed").body.check();
    popped.note(began, ended);
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

/// From a task to another fiber's task and back, with both switches, wakes and executors.
fn request(machine: &'static Machine) {
    struct Asking {
        client: Arc<Port>,
        server: Arc<Port>,
        service: Service<Note, Note>,
    }
    static ASKING: Once<Asking> = Once::new();
    static ROUND_TRIP: Measured = Measured::new();
    fn asks(_: usize) {
        this_machine().fibers.park(None);
        let asking = ASKING.get().expect("made before the first wake");
        run_task(&asking.client, async {
            for _ in 0..ROUNDS {
                let note = Note::new();
                let began = instructions();
                let deadline = asking.client.now() + Duration::from_millis(1000);
                let request = asking.service.request(&asking.client, note, deadline);
                let answer = request.await;
                let ended = instructions();
                answer.expect("in time").check();
                ROUND_TRIP.note(began, ended);
            }
        });
    }
    fn answers(_: usize) {
        this_machine().fibers.park(None);
        let asking = ASKING.get().expect("made before the first wake");
        run_task(&asking.server, async {
            loop {
                let Envelope {
                    correlation, body, ..
                } = asking.service.next().await;
                let replied = asking.service.reply(&asking.server, correlation, Ok(body));
                replied.expect("it waits");
            }
        });
    }
    if machine.blocks.len() > 1 {
        return;
    }
    let high = fiber(machine, "asks", 0, 1, asks);
    let low = fiber(machine, "answers", 0, 2, answers);
    let (client, server) = (port(machine, "asks", high), port(machine, "answers", low));
    let service = Service::new(plan(&server, Policy::Refuse), CAPACITY).expect("memory");
    ASKING.call_once(|| Asking {
        client,
        server,
        service,
    });
    machine.fibers.wake(low);
    machine.fibers.wake(high);
    row("request+reply", "nos", &[&ROUND_TRIP], None);
}

/// Each subscriber is a fiber of its own, which is woken.
fn publish(machine: &'static Machine) {
    struct Publishing {
        port: Arc<Port>,
        one: Topic<Note>,
        all: Topic<Note>,
    }
    static PUBLISHING: Once<Publishing> = Once::new();
    static TO_ONE: Measured = Measured::new();
    static TO_ALL: Measured = Measured::new();
    /// Of the small topic, if it subscribes there, and of the large one.
    type Subscriptions = [Option<Arc<Mailbox<Note>>>; 2];
    static MAILBOXES: [Once<Subscriptions>; SUBSCRIBERS] = [const { Once::new() }; SUBSCRIBERS];
    fn publishes(_: usize) {
        let fibers = this_machine().fibers;
        fibers.park(None);
        let publishing = PUBLISHING.get().expect("made before the first wake");
        let subscribers = [1, SUBSCRIBERS];
        loop {
            let topics = [(&publishing.one, &TO_ONE), (&publishing.all, &TO_ALL)];
            for ((topic, measured), subscribers) in topics.into_iter().zip(subscribers) {
                let note = Note::new();
                let began = instructions();
                let published = topic.publish_now(&publishing.port, note);
                let ended = instructions();
                assert_eq!((published.queued, published.dropped), (subscribers, 0));
                measured.note(began, ended);
                fibers.park(None);
            }
        }
    }
    fn hears(number: usize) {
        loop {
            this_machine().fibers.park(None);
            for mailbox in MAILBOXES[number].get().into_iter().flatten().flatten() {
                while let Some(envelope) = mailbox.try_receive() {
                    envelope.body.check();
                }
            }
        }
    }
    if machine.blocks.len() > 1 {
        return;
    }
    let topic = |number, name| Topic::new(TopicId(number), name, exchange().clone());
    let (one, all) = (topic(0, "to one"), topic(1, "to all"));
    const NAMES: [&str; SUBSCRIBERS] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];
    for (number, name) in NAMES.into_iter().enumerate() {
        let fiber = machine.spawn(name, 0, 3, hears, number);
        let port = port(machine, name, fiber);
        let subscribe = |topic: &Topic<Note>| {
            let mailbox = topic.subscribe(port.clone(), CAPACITY, Policy::Refuse);
            mailbox.expect("memory")
        };
        let only = (number == 0).then(|| subscribe(&one));
        MAILBOXES[number].call_once(|| [only, Some(subscribe(&all))]);
    }
    let publisher = fiber(machine, "publishes", 0, 1, publishes);
    let port = port(machine, "publishes", publisher);
    PUBLISHING.call_once(|| Publishing { port, one, all });
    for _ in 0..2 * ROUNDS {
        machine.fibers.wake(publisher);
    }
    row("publish-to-1", "nos", &[&TO_ONE], None);
    row("publish-to-8", "nos", &[&TO_ALL], None);
}

/// Sends here while the other CPU sleeps, and receives there while this one does.
fn across(machine: &'static Machine) {
    static PAIR: Once<Pair> = Once::new();
    static RECEIVED: AtomicU64 = AtomicU64::new(0);
    static SEND: Measured = Measured::new();
    static RECEIVE: Measured = Measured::new();
    fn receives(_: usize) {
        let machine = this_machine();
        counting::set_up();
        RECEIVED.store(1, Relaxed);
        machine.fibers.park(None);
        let pair = PAIR.get().expect("made before the first wake");
        loop {
            // This CPU may have been woken while the other one was still on its way to sleep.
            machine.sleep_millis(1);
            receive(&pair.mailbox, &RECEIVE);
            RECEIVED.fetch_add(1, Relaxed);
            machine.fibers.wake(machine.own);
            machine.fibers.park(None);
        }
    }
    if machine.blocks.len() < 2 {
        return;
    }
    let there = fiber(machine, "receives", 1, 1, receives);
    machine.wait_until("it counts", || RECEIVED.load(Relaxed) == 1);
    let sender = port(machine, "sends", machine.own);
    let mailbox = mailbox(&port(machine, "receives", there));
    let pair = PAIR.call_once(|| Pair { sender, mailbox });
    for sent in 1..=ROUNDS {
        // Until the other CPU sleeps again.
        machine.sleep_millis(1);
        send(&pair.mailbox, &pair.sender, &SEND);
        while RECEIVED.load(Relaxed) == sent {
            machine.fibers.park(None);
        }
    }
    row("send-to-another-cpu", "nos", &[&SEND], None);
    row("receive-from-another-cpu", "nos", &[&RECEIVE], None);
    let all = [&SEND, &RECEIVE];
    row("send+receive-across-cpus", "nos", &all, Some(ACROSS_MAX));
}
