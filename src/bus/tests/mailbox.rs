//! Tests of mailboxes and parcels.

use crate::bus::testing::{Bench, SetClock};
use crate::bus::*;
use crate::error::Kind;
use crate::memory::frames::{Block, FrameSource, Order, Pfn};
use crate::platform::time::Instant;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

fn bodies(mailbox: &Mailbox<u32>) -> Vec<u32> {
    core::iter::from_fn(|| mailbox.try_receive())
        .map(|envelope| envelope.body)
        .collect()
}

fn refusal<M: core::fmt::Debug>(sent: Sent<M>) -> Kind {
    sent.into_result().expect_err("refused").kind()
}

#[test]
fn a_message_says_who_sent_it_to_whom_and_rings_the_reader_once() {
    let bench = Bench::new();
    let (sender, _) = bench.port("sender");
    let (reader, bell) = bench.port("reader");
    let mailbox = bench.mailbox(&reader, 4, Policy::Refuse);
    assert!(mailbox.send(&sender, 5_u32).is_queued());
    assert_eq!(bell.get(), 1);
    let envelope = mailbox.try_receive().expect("queued");
    assert_eq!(envelope.sender, sender.id());
    assert_eq!(envelope.to, Address::Receiver(reader.id()));
    assert_eq!((envelope.body, envelope.correlation), (5, None));
    assert!(mailbox.send(&sender, 6).is_queued());
    assert!(mailbox.try_receive().expect("queued").id > envelope.id);
    assert_eq!(mailbox.tally().delivered, 2);
}

#[test]
fn a_mailbox_remembers_which_messages_were_received_last() {
    let bench = Bench::new();
    let (sender, _) = bench.port("sender");
    let (reader, _) = bench.port("reader");
    let mailbox = bench.mailbox(&reader, 8, Policy::Refuse);
    assert_eq!(mailbox.recent(), [None; RECENT]);
    for number in 0..RECENT as u32 + 2 {
        assert!(mailbox.send(&sender, number).is_queued());
    }
    let first = mailbox.try_receive().expect("queued").id;
    assert_eq!(mailbox.recent()[..2], [Some(first), None]);
    assert_eq!((first.sender(), first.count()), (sender.id(), 1));
    assert_eq!(bodies(&mailbox).len(), RECENT + 1);
    let counts = mailbox
        .recent()
        .map(|id| id.expect("there were more").count());
    assert_eq!(counts, [6, 5, 4, 3]);
}

#[test]
fn a_message_that_was_left_rings_when_its_sender_says() {
    let bench = Bench::new();
    let (sender, _) = bench.port("sender");
    let (reader, bell) = bench.port("reader");
    let mailbox = bench.mailbox(&reader, 2, Policy::Refuse);
    assert!(mailbox.is_surely_empty());
    let leave = |number: u32| mailbox.leave_in_place(&sender, || number, |_| {});
    assert!(leave(1));
    assert!(!mailbox.is_surely_empty() && !mailbox.is_full());
    assert!(leave(2));
    assert!(mailbox.is_full() && !leave(3));
    assert_eq!(bell.get(), 0);
    mailbox.ring();
    assert_eq!(bell.get(), 1);
    assert_eq!(bodies(&mailbox), [1, 2]);
    mailbox.close(drop);
    assert!(!leave(4));
}

/// A body that others see the end of.
struct Large(Vec<Arc<()>>);

impl Message for Large {}

#[test]
fn a_large_body_is_made_in_its_slot_and_taken_to_its_place() {
    let bench = Bench::new();
    let (sender, _) = bench.port("sender");
    let (reader, bell) = bench.port("reader");
    let mailbox = bench.mailbox(&reader, 2, Policy::Refuse);
    let value = Arc::new(());
    let empty = || Large(Vec::new());
    let push = |body: &mut Large| body.0.push(value.clone());
    assert!(mailbox.send_in_place(&sender, empty, push));
    assert_eq!(bell.get(), 1);
    assert!(mailbox.leave_in_place(&sender, empty, push));
    assert_eq!(bell.get(), 1);
    // Without room nothing is made.
    let never = || panic!("there is no room");
    assert!(!mailbox.send_in_place(&sender, never, push));
    assert_eq!(mailbox.tally().dropped[Reason::Full as usize], 1);

    // What was in the place is dropped, and what is urgent comes first.
    let urgent = mailbox.envelope(&sender, empty()).urgent();
    assert!(mailbox.post(&sender, urgent).is_queued());
    let mut place = Some(Large(Vec::from([value.clone()])));
    for (is_any, len, owners) in [(true, 0, 3), (true, 1, 3), (true, 1, 2), (false, 1, 2)] {
        let received = mailbox.receive_to(|body| {
            assert_eq!(body.0.len(), len);
            &mut place
        });
        assert_eq!(received, is_any);
        assert_eq!(place.as_ref().map(|body| body.0.len()), Some(len));
        assert_eq!(Arc::strong_count(&value), owners);
    }
    assert_eq!(mailbox.tally().delivered, 3);
    mailbox.close(drop);
    assert!(!mailbox.leave_in_place(&sender, never, push));
    assert_eq!(mailbox.tally().dropped[Reason::NoReader as usize], 1);
}

#[test]
fn a_full_mailbox_that_refuses_gives_the_message_back_and_counts_it() {
    let bench = Bench::new();
    let (sender, _) = bench.port("sender");
    let (reader, _) = bench.port("reader");
    let mailbox = bench.mailbox(&reader, 2, Policy::Refuse);
    assert!(mailbox.send(&sender, 1).is_queued() && mailbox.send(&sender, 2).is_queued());
    let Sent::Refused(envelope, error) = mailbox.send(&sender, 3) else {
        panic!("there was room");
    };
    assert_eq!(error.kind(), Kind::QueueFull { topic: "reader" });
    assert_eq!(
        std::format!("{error}"),
        "bus: no room for a message to reader"
    );
    assert_eq!(mailbox.tally().dropped(Reason::Full), 1);
    // It keeps its number when it is sent again.
    let id = envelope.id;
    assert!(mailbox.try_receive().is_some());
    assert!(mailbox.post(&sender, envelope).is_queued());
    assert!(mailbox.try_receive().is_some());
    assert_eq!(mailbox.try_receive().expect("queued").id, id);
}

#[test]
fn a_mailbox_that_drops_the_oldest_tells_its_sender() {
    let bench = Bench::new();
    let (slow, bell) = bench.port("slow");
    let (fast, _) = bench.port("fast");
    let (reader, _) = bench.port("reader");
    let mailbox = bench.mailbox(&reader, 2, Policy::DropOldest);
    assert!(mailbox.send(&slow, 1).is_queued());
    let lost = mailbox.envelope(&slow, 0).id.as_u64() - 1;
    for body in [2, 3] {
        assert!(mailbox.send(&fast, body).is_queued());
    }
    assert_eq!(slow.lost(), [1, 0, 0]);
    assert_eq!(slow.last_lost().map(MessageId::as_u64), Some(lost));
    assert_eq!((bell.get(), fast.lost()), (1, [0; 3]));
    assert_eq!(bodies(&mailbox), [2, 3]);
    assert_eq!(mailbox.tally().dropped(Reason::Full), 1);
}

#[test]
fn a_sender_that_waits_for_losses_is_woken_by_one() {
    let bench = Bench::new();
    let (sender, _) = bench.port("sender");
    let (reader, _) = bench.port("reader");
    let mailbox = bench.mailbox(&reader, 2, Policy::DropOldest);
    let mut executor = Executor::new(sender.clone(), 1).expect("memory");
    let port = sender.clone();
    let wait = async move {
        assert_eq!(port.more_lost(0).await, 1);
    };
    executor.spawn(wait).expect("room");
    executor.run(&bench.clock);
    for body in 0..3 {
        assert_eq!(executor.tasks(), 1);
        assert!(mailbox.send(&sender, body).is_queued());
        executor.run(&bench.clock);
    }
    assert_eq!(executor.tasks(), 0);
}

#[test]
fn what_is_urgent_comes_first_and_each_lane_keeps_its_order() {
    let bench = Bench::new();
    let (sender, _) = bench.port("sender");
    let (reader, _) = bench.port("reader");
    let mailbox = bench.mailbox(&reader, 4, Policy::Refuse);
    for body in 1..=4 {
        let envelope = mailbox.envelope(&sender, body);
        let even = body % 2 == 0;
        let envelope = if even { envelope.urgent() } else { envelope };
        assert!(mailbox.post(&sender, envelope).is_queued());
    }
    assert_eq!(mailbox.depth(), 4);
    assert_eq!(bodies(&mailbox), [2, 4, 1, 3]);
}

#[test]
fn a_message_past_its_deadline_is_refused_or_dropped_and_its_sender_told() {
    let bench = Bench::new();
    let (sender, _) = bench.port("sender");
    let (reader, _) = bench.port("reader");
    let mailbox = bench.mailbox(&reader, 4, Policy::Refuse);
    let due = |body| mailbox.envelope(&sender, body).due(Instant::from_nanos(5));
    for body in [1, 2] {
        assert!(mailbox.post(&sender, due(body)).is_queued());
    }
    let mut executor = Executor::new(reader.clone(), 1).expect("memory");
    executor.step(Instant::from_nanos(4));
    assert_eq!(mailbox.try_receive().expect("in time").body, 1);
    executor.step(Instant::from_nanos(5));
    assert!(mailbox.try_receive().is_none());
    assert_eq!(sender.lost(), [0, 1, 0]);
    // The sender's own clock refuses it at once.
    let mut executor = Executor::new(sender.clone(), 1).expect("memory");
    executor.step(Instant::from_nanos(5));
    let topic = "reader";
    let kind = refusal(mailbox.post(&sender, due(3)));
    assert_eq!(kind, Kind::MessageExpired { topic });
    assert_eq!(mailbox.tally().dropped(Reason::Expired), 2);
}

#[test]
fn closing_drops_what_waits_tells_its_senders_and_refuses_more() {
    let bench = Bench::new();
    let (sender, _) = bench.port("sender");
    let (reader, _) = bench.port("reader");
    let mailbox = bench.mailbox(&reader, 4, Policy::Refuse);
    assert!(mailbox.send(&sender, 1).is_queued());
    let mut dropped = Vec::new();
    mailbox.close(|envelope| dropped.push(envelope.body));
    assert!(mailbox.is_closed());
    assert_eq!((dropped, sender.lost()), (Vec::from([1]), [0, 0, 1]));
    let kind = refusal(mailbox.send(&sender, 2));
    assert_eq!(kind, Kind::NoReader { topic: "reader" });
    mailbox.reopen();
    assert!(mailbox.send(&sender, 3).is_queued());
    assert_eq!(bodies(&mailbox), [3]);
    assert_eq!(mailbox.tally().dropped(Reason::NoReader), 2);
}

#[test]
fn a_sender_that_waits_for_a_slow_receiver_gets_through_when_there_is_room() {
    let bench = Bench::new();
    let (sender, bell) = bench.port("sender");
    let (reader, _) = bench.port("reader");
    let mailbox = bench.mailbox(&reader, 2, Policy::Wait);
    assert!(mailbox.send(&sender, 1).is_queued() && mailbox.send(&sender, 2).is_queued());
    let mut executor = Executor::new(sender.clone(), 2).expect("memory");
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    for (body, deadline) in [(3, 100), (4, 10)] {
        let (mailbox, port) = (mailbox.clone(), sender.clone());
        let outcomes = outcomes.clone();
        let send = async move {
            let envelope = mailbox.envelope(&port, body);
            let until = Instant::from_nanos(deadline);
            let sent = mailbox.send_within(&port, envelope, until).await;
            outcomes
                .lock()
                .expect("one thread")
                .push((body, sent.into_result().map_err(|error| error.kind())));
        };
        executor.spawn(send).expect("room");
    }
    let clock = SetClock::default();
    assert_eq!(executor.run(&clock), Instant::from_nanos(10));
    assert_eq!(mailbox.tally().dropped, [0; 3], "waiting drops nothing");
    clock.set(10);
    assert_eq!(executor.run(&clock), Instant::from_nanos(100));
    assert_eq!(bell.get(), 0);
    assert_eq!(mailbox.try_receive().expect("queued").body, 1);
    assert_eq!(bell.get(), 1, "the reader tells of the room it made");
    executor.run(&clock);
    let topic = "reader";
    let expected = [(4, Err(Kind::QueueFull { topic })), (3, Ok(()))];
    assert_eq!(*outcomes.lock().expect("one thread"), expected);
    assert_eq!(bodies(&mailbox), [2, 3]);
}

/// Frames from the host's heap, and whom they are charged to.
#[derive(Default)]
struct Accounts {
    charges: Mutex<Vec<Owner>>,
    out: Mutex<i64>,
}

#[allow(unsafe_code, reason = "test memory from the host's allocator")]
// SAFETY: each block is an allocation of its own, aligned to its size, until it is freed.
unsafe impl FrameSource for Accounts {
    fn allocate(&self, order: Order) -> crate::error::Result<Pfn> {
        *self.out.lock().expect("one thread") += 1;
        let layout = std::alloc::Layout::from_size_align(order.bytes(), order.bytes());
        // SAFETY: the layout is not empty.
        let start = unsafe { std::alloc::alloc_zeroed(layout.expect("a power of two")) };
        Ok(Pfn::containing(start.expose_provenance()))
    }

    fn free(&self, first: Pfn, order: Order) -> crate::error::Result<()> {
        *self.out.lock().expect("one thread") -= 1;
        let layout = std::alloc::Layout::from_size_align(order.bytes(), order.bytes());
        let start = std::ptr::with_exposed_provenance_mut(first.address());
        // SAFETY: `allocate` gave it out with the same layout.
        unsafe { std::alloc::dealloc(start, layout.expect("a power of two")) };
        Ok(())
    }

    fn free_frames(&self) -> u64 {
        0
    }

    fn total_frames(&self) -> u64 {
        0
    }
}

impl Charge for Accounts {
    fn recharge(&self, _: &Block, to: Owner) {
        self.charges.lock().expect("one thread").push(to);
    }
}

#[derive(Debug)]
struct Page(Parcel);

impl Message for Page {
    fn recharge(&mut self, to: Owner) {
        self.0.recharge(to);
    }
}

#[test]
fn the_charge_for_a_parcel_goes_to_the_queue_and_then_to_the_receiver() {
    let accounts: &'static Accounts = std::boxed::Box::leak(std::boxed::Box::default());
    let bench = Bench::new();
    let (sender, _) = bench.port("sender");
    let (reader, _) = bench.port("reader");
    let mailbox = bench.mailbox(&reader, 2, Policy::Refuse);
    let parcel = |len| Parcel::allocate(accounts, accounts, sender.owner(), len).expect("memory");
    let mut page = parcel(5_000);
    page[4_999] = 7;
    let address = page.as_ptr();
    assert!(mailbox.send(&sender, Page(page)).is_queued());
    let received = mailbox.try_receive().expect("queued").body.0;
    assert_eq!((received.len(), received[4_999]), (5_000, 7));
    assert_eq!(received.as_ptr(), address, "moved, not copied");
    let charges = [sender.owner(), Owner::KERNEL, reader.owner()];
    assert_eq!(*accounts.charges.lock().expect("one thread"), charges);
    // What is refused was the sender's all the time.
    mailbox.close(drop);
    accounts.charges.lock().expect("one thread").clear();
    let sent = mailbox.send(&sender, Page(parcel(1)));
    assert_eq!(
        *accounts.charges.lock().expect("one thread"),
        [sender.owner()]
    );
    drop((sent, received));
    assert_eq!(*accounts.out.lock().expect("one thread"), 0);
}

#[test]
fn a_parcel_in_an_answer_is_charged_to_the_table_until_it_is_taken() {
    let accounts: &'static Accounts = std::boxed::Box::leak(std::boxed::Box::default());
    let bench = Bench::new();
    let (client, _) = bench.port("client");
    let (server, _) = bench.port("server");
    let service = Service::<u32, Page>::new(bench.plan(&server, 2, Policy::Refuse), 2);
    let service = Arc::new(service.expect("memory"));
    let mut executor = Executor::new(client.clone(), 1).expect("memory");
    let (asking, port) = (service.clone(), client.clone());
    let ask = async move {
        let answer = asking.request(&port, 1, Instant::from_nanos(9)).await;
        assert_eq!(answer.expect("in time").0.len(), 100);
    };
    executor.spawn(ask).expect("room");
    executor.run(&bench.clock);
    let question = service.questions().try_receive().expect("asked");
    let page = Parcel::allocate(accounts, accounts, server.owner(), 100).expect("memory");
    let replied = service.reply(&server, question.correlation, Ok(Page(page)));
    replied.expect("it waits");
    executor.run(&bench.clock);
    assert_eq!(executor.tasks(), 0);
    let charges = [server.owner(), Owner::KERNEL, client.owner()];
    assert_eq!(*accounts.charges.lock().expect("one thread"), charges);
}
