//! Tests of the executor, its wakers and its timers.

use super::*;
use crate::bus::Policy;
use crate::bus::testing::{Bench, SetClock};
use core::future::poll_fn;
use core::task::Waker;
use std::sync::Mutex;
use std::vec::Vec;

/// What tasks note, in the order in which they run.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<u32>>>);

impl Notes {
    fn add(&self, note: u32) {
        self.0.lock().expect("no panic").push(note);
    }

    fn take(&self) -> Vec<u32> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

fn executor(bench: &Bench, name: &'static str) -> Executor {
    Executor::new(bench.port(name).0, 4).expect("memory")
}

/// A task that notes each poll, hands out its waker and never ends.
fn polled(notes: &Notes, wakers: &Arc<Mutex<Vec<Waker>>>) -> impl Future<Output = ()> + 'static {
    let (notes, wakers) = (notes.clone(), wakers.clone());
    poll_fn(move |context| {
        notes.add(1);
        wakers
            .lock()
            .expect("no panic")
            .push(context.waker().clone());
        Poll::Pending
    })
}

#[test]
fn tasks_that_yield_are_polled_in_turn() {
    let bench = Bench::new();
    let mut executor = executor(&bench, "a");
    let notes = Notes::default();
    for task in 1..=3 {
        let (notes, port) = (notes.clone(), executor.port().clone());
        let spawned = executor.spawn(async move {
            for _ in 0..2 {
                notes.add(task);
                port.yield_now().await;
            }
        });
        spawned.expect("room");
    }
    assert_eq!(executor.run(&bench.clock), NEVER);
    assert_eq!(notes.take(), [2, 3, 1, 2, 3, 1]);
    assert_eq!(executor.tasks(), 0);
}

#[test]
fn sleepers_wake_at_their_deadlines_and_the_executor_tells_the_next() {
    let bench = Bench::new();
    let mut executor = executor(&bench, "a");
    let notes = Notes::default();
    for nanos in [30, 10, 20] {
        let (notes, port) = (notes.clone(), executor.port().clone());
        let spawned = executor.spawn(async move {
            port.sleep_until(Instant::from_nanos(u64::from(nanos)))
                .await;
            notes.add(nanos);
        });
        spawned.expect("room");
    }
    for (now, next, woken) in [
        (0, 10, Vec::new()),
        (10, 20, Vec::from([10])),
        (19, 20, Vec::new()),
    ] {
        bench.clock.set(now);
        assert_eq!(executor.run(&bench.clock), Instant::from_nanos(next));
        assert_eq!(notes.take(), woken);
    }
    bench.clock.set(50);
    assert_eq!(executor.run(&bench.clock), NEVER);
    assert_eq!(notes.take(), [20, 30]);
}

#[test]
fn a_receiver_is_polled_when_a_message_comes_and_not_before() {
    let bench = Bench::new();
    let mut executor = executor(&bench, "reader");
    let (sender, _) = bench.port("sender");
    let mailbox = bench.mailbox::<u32>(&executor.port().clone(), 4, Policy::Refuse);
    let notes = Notes::default();
    let (reading, noting) = (mailbox.clone(), notes.clone());
    let spawned = executor.spawn(async move {
        loop {
            noting.add(reading.receive().await.body);
        }
    });
    spawned.expect("room");
    executor.run(&bench.clock);
    assert_eq!(executor.step(Instant::ZERO), Step::Idle(NEVER));
    for body in [5, 6] {
        assert!(mailbox.send(&sender, body).is_queued());
    }
    assert_eq!(executor.step(Instant::ZERO), Step::Polled(0));
    assert_eq!(notes.take(), [5, 6]);
    assert_eq!(executor.step(Instant::ZERO), Step::Idle(NEVER));
}

#[test]
fn a_waker_wakes_its_task_from_another_thread() {
    let bench = Bench::new();
    let (port, bell) = bench.port("a");
    let mut executor = Executor::new(port, 4).expect("memory");
    let (notes, wakers) = (Notes::default(), Arc::default());
    executor.spawn(polled(&notes, &wakers)).expect("room");
    executor.run(&bench.clock);
    let waker = wakers.lock().expect("no panic").pop().expect("one poll");
    std::thread::spawn(move || {
        waker.wake_by_ref();
        waker.wake();
    })
    .join()
    .expect("no panic");
    assert_eq!(bell.get(), 2);
    executor.run(&bench.clock);
    assert_eq!(notes.take(), [1, 1], "once for both wakes");
}

#[test]
fn a_waker_of_an_incarnation_that_ended_does_nothing() {
    let bench = Bench::new();
    let (port, bell) = bench.port("a");
    let (notes, wakers) = (Notes::default(), Arc::default());
    let mut first = Executor::new(port.clone(), 4).expect("memory");
    first.spawn(polled(&notes, &wakers)).expect("room");
    first.run(&bench.clock);
    // It dies: nothing of it is dropped.
    std::mem::forget(first);
    port.end_incarnation();
    let mut second = Executor::new(port.clone(), 4).expect("memory");
    second.spawn(polled(&notes, &wakers)).expect("room");
    second.run(&bench.clock);
    let (of_the_dead, of_the_living) = {
        let mut wakers = wakers.lock().expect("no panic");
        let living = wakers.pop().expect("two polls");
        (wakers.pop().expect("two polls"), living)
    };
    assert!(!of_the_dead.will_wake(&of_the_living));
    of_the_dead.wake();
    assert_eq!(bell.get(), 0);
    assert_eq!(second.step(Instant::ZERO), Step::Idle(NEVER));
    of_the_living.wake();
    assert_eq!(second.step(Instant::ZERO), Step::Polled(0));
    assert_eq!((bell.get(), port.incarnation()), (1, 1));
}

#[test]
fn wakers_keep_a_count_of_their_port_and_give_it_back() {
    let bench = Bench::new();
    let (port, _) = bench.port("a");
    let (notes, wakers) = (Notes::default(), Arc::<Mutex<Vec<Waker>>>::default());
    let mut executor = Executor::new(port.clone(), 4).expect("memory");
    let before = Arc::strong_count(&port);
    executor.spawn(polled(&notes, &wakers)).expect("room");
    executor.run(&bench.clock);
    assert_eq!(Arc::strong_count(&port), before + 1);
    wakers.lock().expect("no panic").clear();
    assert_eq!(Arc::strong_count(&port), before);
}

#[test]
fn a_wake_for_a_task_that_is_done_is_for_nobody() {
    let bench = Bench::new();
    let mut executor = executor(&bench, "a");
    let waker = Arc::new(Mutex::new(None));
    let kept = waker.clone();
    let spawned = executor.spawn(poll_fn(move |context| {
        *kept.lock().expect("no panic") = Some(context.waker().clone());
        Poll::Ready(())
    }));
    spawned.expect("room");
    executor.run(&bench.clock);
    waker.lock().expect("no panic").take().expect("kept").wake();
    assert_eq!(executor.run(&bench.clock), NEVER);
}

#[test]
fn tasks_beyond_the_capacity_are_refused() {
    let bench = Bench::new();
    let mut executor = Executor::new(bench.port("a").0, 1).expect("memory");
    executor.spawn(async {}).expect("room");
    let error = executor.spawn(async {}).expect_err("full");
    assert!(matches!(error.kind(), Kind::LimitReached { limit: 1, .. }));
    executor.run(&SetClock::default());
    executor.spawn(async {}).expect("the first is done");
    assert!(Executor::new(executor.port().clone(), TASKS_MAX + 1).is_err());
}

#[test]
#[should_panic(expected = "awaited outside the port's executor")]
fn the_bus_is_awaited_on_its_own_executor_only() {
    let bench = Bench::new();
    let (port, _) = bench.port("a");
    let mut sleep = core::pin::pin!(port.sleep_until(Instant::from_nanos(1)));
    let _ = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}
