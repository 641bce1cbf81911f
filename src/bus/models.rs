//! Models of the lock-free structures, checked by loom in every interleaving and reordering: `make loom`.
//!
//! Each holds as it is, and fails once all its releases, or all its acquires, are taken as relaxed: so the models
//! see orderings go. Weakened runs end at the first order of steps that breaks the model.

use super::envelope::Correlation;
use super::executor::Token;
use super::ready::{Bell, ReadyWord};
use super::ready_set::{ReadySet, bit};
use super::replies::{Answer, Filled, ReplyTable};
use super::ring::{Claim, Ring};
use super::sync::{UnsafeCell, Weaken, weakened};
use crate::bus::{Address, Exchange, Mailbox, Message, Owner, Plan, Policy, Sent};
use loom::sync::Notify;
use loom::thread;
use std::sync::Arc;
use std::vec::Vec;

/// Checks that a model holds, and fails without its releases and without its acquires.
macro_rules! models {
    ($($name:ident),* $(,)?) => { $(
        mod $name {
            use super::{Weaken, weakened};

            #[test]
            fn holds() {
                weakened(Weaken::Nothing, super::$name);
            }

            #[test]
            #[should_panic]
            fn fails_without_its_releases() {
                weakened(Weaken::Releases, super::$name);
            }

            #[test]
            #[should_panic]
            fn fails_without_its_acquires() {
                weakened(Weaken::Acquires, super::$name);
            }
        }
    )* };
}

models!(
    two_senders_and_a_reader,
    a_slot_is_written_again,
    a_sender_that_drops_the_oldest,
    what_was_written_before_a_wake_is_seen_after_it,
    an_answer_and_who_takes_it,
    an_answer_and_who_gives_it_up,
    a_slot_of_the_table_is_used_again,
    a_sender_that_waits_for_room,
);

fn push(ring: &Ring<u64>, value: u64) -> bool {
    match ring.claim() {
        Claim::Place(place) => {
            place.fill(value);
            true
        }
        _ => false,
    }
}

fn pop(ring: &Ring<u64>) -> u64 {
    loop {
        match ring.pop() {
            Some(value) => return value,
            None => thread::yield_now(),
        }
    }
}

fn two_senders_and_a_reader() {
    let ring = Arc::new(Ring::new(2).expect("memory"));
    let senders: Vec<_> = [1, 2]
        .map(|value| {
            let ring = ring.clone();
            thread::spawn(move || assert!(push(&ring, value)))
        })
        .into();
    let sum = pop(&ring) + pop(&ring);
    assert_eq!((sum, ring.pop()), (3, None));
    for sender in senders {
        sender.join().expect("no assertion failed");
    }
}

fn a_slot_is_written_again() {
    let ring = Arc::new(Ring::new(2).expect("memory"));
    assert!(push(&ring, 1) && push(&ring, 2));
    let sender = {
        let ring = ring.clone();
        thread::spawn(move || {
            while !push(&ring, 3) {
                thread::yield_now();
            }
        })
    };
    assert_eq!((pop(&ring), pop(&ring), pop(&ring)), (1, 2, 3));
    sender.join().expect("no assertion failed");
}

fn a_sender_that_drops_the_oldest() {
    let ring = Arc::new(Ring::new(2).expect("memory"));
    assert!(push(&ring, 1) && push(&ring, 2));
    let sender = {
        let ring = ring.clone();
        thread::spawn(move || {
            let oldest = ring.pop();
            let pushed = push(&ring, 4);
            (oldest, if pushed { 0 } else { 4 })
        })
    };
    let read = ring.pop();
    let (oldest, refused) = sender.join().expect("no assertion failed");
    let mut sum = read.unwrap_or(0) + oldest.unwrap_or(0) + refused;
    while let Some(value) = ring.pop() {
        sum += value;
    }
    assert_eq!(sum, 7, "each value once");
}

/// Wakes a thread of the model.
struct Notice(Arc<Notify>);

impl Bell for Notice {
    fn ring(&self) {
        self.0.notify();
    }
}

fn what_was_written_before_a_wake_is_seen_after_it() {
    struct Shared {
        ready: ReadyWord<Silent>,
        written: UnsafeCell<u32>,
    }
    /// The word alone must hand over: loom's own notices would, too.
    struct Silent;
    impl Bell for Silent {
        fn ring(&self) {}
    }
    // SAFETY: what the model checks: the ready word hands the cell over.
    #[allow(unsafe_code, reason = "loom looks whether this is so")]
    unsafe impl Sync for Shared {}

    let shared = Arc::new(Shared {
        ready: ReadyWord::new(Silent),
        written: UnsafeCell::new(0),
    });
    let waker = {
        let shared = shared.clone();
        thread::spawn(move || {
            // SAFETY: before the wake it is this thread's.
            #[allow(unsafe_code, reason = "as above")]
            shared.written.with_mut(|place| unsafe { *place = 1 });
            assert!(shared.ready.wake(0, 0));
        })
    };
    while shared.ready.take().tasks() == 0 {
        thread::yield_now();
    }
    // SAFETY: after the wake it is this one's.
    #[allow(unsafe_code, reason = "as above")]
    shared
        .written
        .with_mut(|place| assert_eq!(unsafe { *place }, 1));
    waker.join().expect("no assertion failed");
}

/// What two CPUs do to one ready word, with an executor that sleeps until its bell rings: nobody sleeps on.
#[test]
fn no_wake_is_lost_between_the_last_look_and_the_sleep() {
    loom::model(|| {
        let notify = Arc::new(Notify::new());
        let ready = Arc::new(ReadyWord::new(Notice(notify.clone())));
        let wakers: Vec<_> = [0, 1]
            .map(|task| {
                let ready = ready.clone();
                thread::spawn(move || assert!(ready.wake(task, 0)))
            })
            .into();
        let mut seen = 0;
        while seen != 0b11 {
            match ready.take().tasks() {
                // loom reports a thread that sleeps for ever.
                0 => notify.wait(),
                tasks => {
                    assert_eq!(seen & tasks, 0, "each wake once");
                    seen |= tasks;
                }
            }
        }
        for waker in wakers {
            waker.join().expect("no assertion failed");
        }
    });
}

/// The same with the bell rung before the bit is set: the executor looks too early and sleeps for ever.
#[test]
#[should_panic(expected = "deadlock")]
fn a_bell_that_rings_before_the_bit_is_set_loses_a_wake() {
    struct Mute;
    impl Bell for Mute {
        fn ring(&self) {}
    }
    loom::model(|| {
        let notify = Arc::new(Notify::new());
        let ready = Arc::new(ReadyWord::new(Mute));
        let waker = {
            let (ready, notify) = (ready.clone(), notify.clone());
            thread::spawn(move || {
                notify.notify();
                ready.wake(0, 0)
            })
        };
        while ready.take().tasks() == 0 {
            notify.wait();
        }
        waker.join().expect("no assertion failed");
    });
}

/// A waker of the incarnation that ended never reaches the next one once that has begun to look.
#[test]
fn a_wake_for_an_incarnation_that_ended_does_nothing() {
    loom::model(|| {
        let ready = Arc::new(ReadyWord::new(super::Mute));
        ready.next_incarnation();
        let stale = {
            let ready = ready.clone();
            thread::spawn(move || ready.wake(0, 0))
        };
        assert_eq!(ready.take().tasks(), 0);
        assert!(!stale.join().expect("no assertion failed"));
        assert_eq!(ready.take().tasks(), 0);
    });
}

fn asker() -> Token {
    Token::from_u64(7)
}

fn table_with_request() -> (Arc<ReplyTable<u64>>, Correlation) {
    let table = Arc::new(ReplyTable::new(1).expect("memory"));
    let request = table.claim(asker()).expect("a free slot");
    (table, request)
}

fn an_answer_and_who_takes_it() {
    let table = Arc::new(ReplyTable::new(1).expect("memory"));
    let server = {
        let table = table.clone();
        thread::spawn(move || {
            // As the message that carries the question would tell it.
            let request = loop {
                match table.open().next() {
                    Some((request, _)) => break request,
                    None => thread::yield_now(),
                }
            };
            assert!(matches!(table.fill(request, 5), Filled::For(token) if token == asker()));
        })
    };
    let request = table.claim(asker()).expect("a free slot");
    loop {
        match table.take(request) {
            Answer::Ready(answer) => {
                assert_eq!(answer, 5);
                break;
            }
            Answer::Pending => thread::yield_now(),
            Answer::Stale => panic!("the request is open"),
        }
    }
    server.join().expect("no assertion failed");
}

fn an_answer_and_who_gives_it_up() {
    let (table, request) = table_with_request();
    let server = {
        let table = table.clone();
        thread::spawn(move || match table.fill(request, 5) {
            Filled::For(_) => 0,
            Filled::Late(answer) => answer,
        })
    };
    let taken = table.cancel(request).unwrap_or(0);
    let back = server.join().expect("no assertion failed");
    assert_eq!(taken + back, 5, "the answer goes to one of them");
    assert!(table.claim(asker()).is_some(), "and the slot is free");
}

fn a_slot_of_the_table_is_used_again() {
    let (table, first) = table_with_request();
    assert!(matches!(table.fill(first, 1), Filled::For(_)));
    let other = {
        let table = table.clone();
        thread::spawn(move || {
            let second = loop {
                match table.claim(asker()) {
                    Some(request) => break request,
                    None => thread::yield_now(),
                }
            };
            assert!(matches!(table.fill(second, 2), Filled::For(_)));
            assert_eq!(table.take(second), Answer::Ready(2));
        })
    };
    assert_eq!(table.take(first), Answer::Ready(1));
    other.join().expect("no assertion failed");
}

#[derive(Debug)]
struct Number;

impl Message for Number {}

/// A full mailbox whose sender says that it waits, and whose reader makes room meanwhile: the sender finds the
/// room itself, or is told of it.
fn a_sender_that_waits_for_room() {
    let exchange = Arc::new(Exchange::new());
    let bell = || Arc::new(super::Mute);
    let port = |name| exchange.add(name, Owner::KERNEL, bell()).expect("room");
    let (sender, reader) = (port("sender"), port("reader"));
    let mailbox = Mailbox::new(Plan {
        topic: "reader",
        address: Address::Receiver(reader.id()),
        reader,
        exchange,
        capacity: 2,
        policy: Policy::Wait,
    });
    let mailbox = Arc::new(mailbox.expect("memory"));
    for _ in 0..2 {
        assert!(mailbox.send(&sender, Number).is_queued());
    }
    let receiving = {
        let mailbox = mailbox.clone();
        thread::spawn(move || assert!(mailbox.try_receive().is_some()))
    };
    mailbox.wait_for_room(&sender);
    let sent = match mailbox.send(&sender, Number) {
        Sent::Queued => true,
        Sent::Refused(..) => false,
    };
    receiving.join().expect("no assertion failed");
    assert!(
        sent || sender.ready.take().doors() != 0,
        "nobody tells it of the room"
    );
}

/// Two CPUs wake fibers of a third that looks for work and sleeps: it runs both, and sleeps on neither.
fn a_cpu_that_is_woken_on_its_way_to_sleep() {
    let set = Arc::new(ReadySet::new());
    let interrupt = Arc::new(Notify::new());
    let wakers: Vec<_> = [3, 5]
        .map(|rank| {
            let (set, interrupt) = (set.clone(), interrupt.clone());
            thread::spawn(move || {
                if set.add(rank, bit(rank)) && set.ring() {
                    interrupt.notify();
                }
            })
        })
        .into();
    let mut left = bit(3) | bit(5);
    while left != 0 {
        match set.pick(|ready| ready) {
            Some(rank) => {
                set.take(bit(rank));
                left &= !bit(rank);
            }
            None => {
                if set.may_sleep(|ready| ready) {
                    // loom reports a thread that sleeps for ever.
                    interrupt.wait();
                    set.answer();
                }
                set.look_out();
            }
        }
    }
    for waker in wakers {
        waker.join().expect("no assertion failed");
    }
}

/// A fiber is woken while its CPU picks one that ranks lower: the CPU picks it after all, or is interrupted.
fn a_cpu_that_picks_the_lower_of_two() {
    let set = Arc::new(ReadySet::new());
    set.mark(bit(5));
    let waker = {
        let set = set.clone();
        thread::spawn(move || set.add(3, bit(3)) && set.ring())
    };
    let picked = set.pick(|ready| ready);
    let is_told = waker.join().expect("no assertion failed");
    assert!(picked == Some(3) || is_told, "{picked:?} runs on");
}

/// Two wakers of a CPU that runs something lower: each finds it told, or tells it, and it sees both bits.
fn an_interrupt_that_is_under_way_for_another() {
    let set = Arc::new(ReadySet::new());
    let waker = {
        let set = set.clone();
        thread::spawn(move || {
            set.mark(bit(3));
            set.ring()
        })
    };
    // One has told it of another: it answers and looks.
    let is_under_way = !set.ring();
    set.answer();
    let seen = set.bits();
    let tells = waker.join().expect("no assertion failed");
    assert!(is_under_way || tells || seen == bit(3), "nobody tells it");
}

macro_rules! fenced_models {
    ($($name:ident),* $(,)?) => { $(
        mod $name {
            use super::{Weaken, weakened};

            #[test]
            fn holds() {
                weakened(Weaken::Nothing, super::$name);
            }

            #[test]
            #[should_panic]
            fn fails_without_its_fences() {
                weakened(Weaken::Fences, super::$name);
            }
        }
    )* };
}

fenced_models!(
    a_cpu_that_is_woken_on_its_way_to_sleep,
    a_cpu_that_picks_the_lower_of_two,
    an_interrupt_that_is_under_way_for_another,
);
