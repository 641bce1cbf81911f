//! Tests of topics.

use crate::bus::testing::Bench;
use crate::bus::*;
use crate::error::Kind;
use crate::platform::time::Instant;
use std::sync::Arc;

fn topic(bench: &Bench) -> Topic<u32> {
    Topic::new(TopicId(3), "news", bench.exchange.clone())
}

#[test]
fn every_subscriber_gets_a_copy_under_one_number() {
    let bench = Bench::new();
    let (publisher, _) = bench.port("publisher");
    let topic = topic(&bench);
    let mailboxes = ["a", "b"].map(|name| {
        let reader = bench.port(name).0;
        topic.subscribe(reader, 4, Policy::Refuse).expect("room")
    });
    let published = topic.publish_now(&publisher, 7);
    assert_eq!((published.queued, published.dropped), (2, 0));
    let [a, b] = mailboxes.map(|mailbox| mailbox.try_receive().expect("published"));
    assert_eq!((a.body, a.to), (7, Address::Topic(TopicId(3))));
    assert_eq!(a, b);
    let tally = topic.tally();
    assert_eq!(
        (tally.delivered, tally.dropped, tally.depth),
        (2, [0; 3], 0)
    );
}

#[test]
fn publishing_to_nobody_is_one_drop_and_the_publisher_is_told() {
    let bench = Bench::new();
    let (publisher, _) = bench.port("publisher");
    let topic = topic(&bench);
    let published = topic.publish_now(&publisher, 7);
    assert_eq!((published.queued, published.dropped), (0, 1));
    assert_eq!(topic.tally().dropped(Reason::NoReader), 1);
}

#[test]
fn a_slow_subscriber_misses_what_it_has_no_room_for_and_holds_up_nobody() {
    let bench = Bench::new();
    let (publisher, _) = bench.port("publisher");
    let topic = topic(&bench);
    let (slow, fast) = (bench.port("slow").0, bench.port("fast").0);
    let slow = topic.subscribe(slow, 2, Policy::Refuse).expect("room");
    let fast = topic.subscribe(fast, 8, Policy::Refuse).expect("room");
    let missed = (0..4).map(|body| topic.publish_now(&publisher, body).dropped);
    assert!(missed.eq([0, 0, 1, 1]));
    assert_eq!((slow.depth(), fast.depth()), (2, 4));
    assert_eq!(topic.tally().dropped(Reason::Full), 2);
    assert_eq!(topic.tally().depth, 6);
}

#[test]
fn who_left_gets_nothing_until_it_is_back() {
    let bench = Bench::new();
    let (publisher, _) = bench.port("publisher");
    let topic = topic(&bench);
    let reader = bench.port("reader").0;
    let mailbox = topic
        .subscribe(reader.clone(), 4, Policy::Refuse)
        .expect("room");
    assert_eq!(topic.publish_now(&publisher, 1).queued, 1);
    topic.unsubscribe(&mailbox);
    assert_eq!(publisher.lost(), [0, 0, 1], "what it had not read");
    assert_eq!(topic.publish_now(&publisher, 2).dropped, 1);
    topic.resubscribe(&mailbox).expect("it was subscribed");
    assert_eq!(topic.publish_now(&publisher, 3).queued, 1);
    assert_eq!(mailbox.try_receive().expect("published").body, 3);
    let stranger = bench.mailbox(&reader, 2, Policy::Refuse);
    let error = topic.resubscribe(&stranger).expect_err("never subscribed");
    assert_eq!(error.kind(), Kind::NoReader { topic: "news" });
}

#[test]
fn subscribers_are_limited_by_number_and_by_mailboxes_of_one_reader() {
    let bench = Bench::new();
    let topic = topic(&bench);
    let names = ["a", "b", "c", "d"];
    let readers = names.map(|name| bench.port(name).0);
    let subscribed = (0..topic::SUBSCRIBERS_MAX)
        .map(|i| topic.subscribe(readers[i % 4].clone(), 2, Policy::Refuse))
        .filter(|mailbox| mailbox.is_ok());
    assert_eq!(subscribed.count(), topic::SUBSCRIBERS_MAX);
    let refused = topic.subscribe(readers[0].clone(), 2, Policy::Refuse).err();
    let limit = Kind::LimitReached {
        what: "subscribers of one topic",
        limit: topic::SUBSCRIBERS_MAX as u64,
    };
    assert_eq!(refused.map(|error| error.kind()), Some(limit));
    let doors: usize = (0..ready::DOORS_MAX)
        .map(|_| bench.plan(&readers[1], 2, Policy::Refuse))
        .filter_map(|plan| Mailbox::<u32>::new(plan).ok())
        .count();
    assert_eq!(
        doors,
        ready::DOORS_MAX - 2 - 8,
        "two are every subsystem's own"
    );
}

#[test]
fn a_copy_past_its_deadline_is_dropped_and_counted_under_the_topic() {
    let bench = Bench::new();
    let (publisher, _) = bench.port("publisher");
    let topic = topic(&bench);
    let reader = bench.port("reader").0;
    let mailbox = topic
        .subscribe(reader.clone(), 4, Policy::Refuse)
        .expect("room");
    let due = Instant::from_nanos(10);
    assert_eq!(topic.publish(&publisher, 1, due).queued, 1);
    let mut executor = Executor::new(Arc::clone(&reader), 1).expect("memory");
    executor.step(due);
    assert!(mailbox.try_receive().is_none());
    assert_eq!(topic.tally().dropped(Reason::Expired), 1);
}
