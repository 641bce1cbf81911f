//! Tests of requests and their answers.

use crate::bus::envelope::Correlation;
use crate::bus::testing::{Bench, SetClock};
use crate::bus::*;
use crate::error::{Kind, Result};
use crate::platform::time::Instant;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

type Answers = Arc<Mutex<Vec<core::result::Result<u32, Kind>>>>;

struct Pair {
    bench: Bench,
    client: Arc<Port>,
    server: Arc<Port>,
    service: Arc<Service<u32, u32>>,
    executor: Executor,
    answers: Answers,
    clock: SetClock,
}

impl Pair {
    fn new(policy: Policy, open: usize) -> Self {
        let bench = Bench::new();
        let (client, _) = bench.port("client");
        let (server, _) = bench.port("server");
        let service = Service::new(bench.plan(&server, 2, policy), open).expect("memory");
        Self {
            executor: Executor::new(client.clone(), 8).expect("memory"),
            service: Arc::new(service),
            answers: Answers::default(),
            clock: SetClock::default(),
            bench,
            client,
            server,
        }
    }

    /// Asks, and notes the answer when it comes.
    fn ask(&mut self, question: u32, deadline: u64) {
        let (service, port) = (self.service.clone(), self.client.clone());
        let answers = self.answers.clone();
        let ask = async move {
            let deadline = Instant::from_nanos(deadline);
            let answer = service.request(&port, question, deadline).await;
            let answer = answer.map_err(|error| error.kind());
            answers.lock().expect("one thread").push(answer);
        };
        self.executor.spawn(ask).expect("room");
        self.run();
    }

    fn run(&mut self) {
        self.executor.run(&self.clock);
    }

    fn answers(&self) -> Vec<core::result::Result<u32, Kind>> {
        std::mem::take(&mut *self.answers.lock().expect("one thread"))
    }

    /// A question, as the server takes it.
    fn question(&self) -> Option<(u32, Option<Correlation>)> {
        let envelope = self.service.questions().try_receive()?;
        Some((envelope.body, envelope.correlation))
    }

    fn reply(&self, correlation: Option<Correlation>, answer: u32) -> Result<()> {
        self.service.reply(&self.server, correlation, Ok(answer))
    }
}

#[test]
fn an_answer_comes_back_to_the_task_that_asked() {
    let mut pair = Pair::new(Policy::Refuse, 4);
    pair.ask(1, 100);
    pair.ask(2, 100);
    let (first, second) = (pair.question(), pair.question());
    let (Some((1, first)), Some((2, second))) = (first, second) else {
        panic!("both were asked");
    };
    pair.reply(second, 20).expect("it waits");
    pair.run();
    assert_eq!(pair.answers(), [Ok(20)]);
    pair.reply(first, 10).expect("it waits");
    pair.run();
    assert_eq!(
        (pair.answers(), pair.service.open()),
        (Vec::from([Ok(10)]), 0)
    );
}

#[test]
fn no_answer_in_time_is_an_error_and_a_late_one_is_counted() {
    let mut pair = Pair::new(Policy::Refuse, 4);
    pair.ask(1, 100);
    let (_, correlation) = pair.question().expect("asked");
    pair.clock.set(99);
    pair.run();
    assert_eq!(pair.answers(), []);
    pair.clock.set(100);
    pair.run();
    assert_eq!(pair.answers(), [Err(Kind::TimedOut { peer: "server" })]);
    let late = pair.reply(correlation, 10).expect_err("too late");
    assert!(matches!(late.kind(), Kind::StaleHandle { .. }));
    assert_eq!(pair.service.late(), 1);
}

#[test]
fn who_waits_for_a_server_that_dies_is_told_its_name() {
    let mut pair = Pair::new(Policy::Refuse, 4);
    let (supervisor, _) = pair.bench.port("supervisor");
    pair.ask(1, 100);
    pair.ask(2, 100);
    let (_, taken) = pair.question().expect("asked");
    assert_eq!(pair.service.server_died(&supervisor), 2);
    pair.run();
    let died = Err(Kind::PeerDied { peer: "server" });
    assert_eq!(pair.answers(), [died, died]);
    // The next incarnation is not bothered with what nobody waits for any more.
    let mut server = Executor::new(pair.server.clone(), 1).expect("memory");
    let service = pair.service.clone();
    let serve = async move {
        service.next().await;
        panic!("a question that was answered already");
    };
    server.spawn(serve).expect("room");
    server.run(&pair.clock);
    assert_eq!(pair.service.tally().dropped(Reason::NoReader), 1);
    assert_eq!(pair.service.tally().delivered, 1);
    assert!(pair.reply(taken, 1).is_err());
}

#[test]
fn requests_of_a_client_that_died_are_forgotten() {
    let mut pair = Pair::new(Policy::Refuse, 2);
    let (supervisor, _) = pair.bench.port("supervisor");
    pair.ask(1, 100);
    pair.ask(2, 100);
    let (_, first) = pair.question().expect("asked");
    pair.reply(first, 10).expect("it waits");
    pair.service.client_died(&supervisor, pair.server.id());
    assert_eq!(pair.service.open(), 2, "another one's are left alone");
    // The client's tasks are gone without a destructor.
    std::mem::forget(std::mem::replace(
        &mut pair.executor,
        Executor::new(pair.server.clone(), 0).expect("memory"),
    ));
    pair.client.end_incarnation();
    pair.service.client_died(&supervisor, pair.client.id());
    assert_eq!(pair.service.open(), 0);
    let (_, second) = pair.question().expect("asked");
    assert!(pair.reply(second, 20).is_err());
}

#[test]
fn a_request_that_is_displaced_or_refused_ends_with_that_error() {
    let full = Err(Kind::QueueFull { topic: "server" });
    let mut pair = Pair::new(Policy::DropOldest, 8);
    for question in 1..=3 {
        pair.ask(question, 100);
    }
    pair.run();
    assert_eq!(pair.answers(), [full]);
    assert_eq!(pair.question().map(|(body, _)| body), Some(2));

    let mut pair = Pair::new(Policy::Refuse, 8);
    for question in 1..=3 {
        pair.ask(question, 100);
    }
    assert_eq!(pair.answers(), [full]);

    let mut pair = Pair::new(Policy::Refuse, 1);
    pair.ask(1, 100);
    pair.ask(2, 100);
    let limit = Kind::LimitReached {
        what: "open requests",
        limit: 1,
    };
    assert_eq!(pair.answers(), [Err(limit)]);
}

#[test]
fn a_request_that_is_dropped_gives_its_slot_back() {
    let mut pair = Pair::new(Policy::Refuse, 4);
    pair.ask(1, 100);
    assert_eq!(pair.service.open(), 1);
    pair.executor = Executor::new(pair.client.clone(), 0).expect("memory");
    assert_eq!(pair.service.open(), 0);
}
