//! Topics: what is published reaches every subscriber, each through a mailbox of its own.
//!
//! A subscriber's mailbox has its own policy: a slow one refuses or drops what it cannot hold and holds up
//! nobody. Each copy is a message; each that is dropped is counted under the topic and the publisher is
//! told how many. With no subscriber at all, that is one drop for want of a reader.
//!
//! Publishing takes no lock: subscriptions are slots that are filled once and switched on and off.

use super::Envelope;
use super::envelope::{Address, Message, NEVER, Priority, TopicId};
use super::mailbox::{Mailbox, Plan, Policy, Sent};
use super::port::{Exchange, Port};
use super::tally::{Drops, Queue, Reason, Tally};
use crate::error::{Error, Kind, Result, Subsystem, arc_at_boot};
use crate::platform::time::Instant;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering::AcqRel, Ordering::Acquire};
use spin::Once;

/// Subscribers that a topic has at most, those that left counted (a guess: subsystems are few dozens).
pub const SUBSCRIBERS_MAX: usize = 32;

/// A topic on which bodies `M` are published.
pub struct Topic<M> {
    id: TopicId,
    name: &'static str,
    slots: [Once<Arc<Mailbox<M>>>; SUBSCRIBERS_MAX],
    /// Slots that were given out, whether filled yet or not; only subscribing changes it.
    taken: AtomicU32,
    /// Slots whose subscriber listens now.
    listening: AtomicU32,
    drops: Drops,
    exchange: Arc<Exchange>,
}

/// What became of what was published.
#[must_use = "a subscriber may have missed it"]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Subscribers whose mailboxes took it.
    pub queued: usize,
    /// Copies that were dropped; one if there was no subscriber.
    pub dropped: usize,
}

impl<M: Message + Clone> Topic<M> {
    /// A topic without subscribers.
    pub fn new(id: TopicId, name: &'static str, exchange: Arc<Exchange>) -> Self {
        Self {
            id,
            name,
            slots: [const { Once::new() }; SUBSCRIBERS_MAX],
            taken: AtomicU32::new(0),
            listening: AtomicU32::new(0),
            drops: Drops::default(),
            exchange,
        }
    }

    /// Its name, under which its messages are counted.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Makes a mailbox for `reader` and subscribes it.
    ///
    /// # Errors
    /// `LimitReached` beyond [`SUBSCRIBERS_MAX`], or if the reader has too many mailboxes; `OutOfMemory`.
    pub fn subscribe(
        &self,
        reader: Arc<Port>,
        capacity: usize,
        policy: Policy,
    ) -> Result<Arc<Mailbox<M>>> {
        let free = (!self.taken.load(Acquire)).trailing_zeros() as usize;
        if free >= SUBSCRIBERS_MAX {
            let (what, limit) = ("subscribers of one topic", SUBSCRIBERS_MAX as u64);
            return Err(Error::new(
                Subsystem::Bus,
                Kind::LimitReached { what, limit },
            ));
        }
        let mailbox = arc_at_boot(Mailbox::new(Plan {
            topic: self.name,
            address: Address::Topic(self.id),
            reader: reader.clone(),
            exchange: self.exchange.clone(),
            capacity,
            policy,
        })?);
        if self.taken.fetch_or(1 << free, AcqRel) & 1 << free != 0 {
            // Another CPU took that slot meanwhile.
            return self.subscribe(reader, capacity, policy);
        }
        self.slots[free].call_once(|| mailbox.clone());
        self.listening.fetch_or(1 << free, AcqRel);
        Ok(mailbox)
    }

    /// Ends a subscription: what waits is dropped, counted and told. It may be taken up again.
    pub fn unsubscribe(&self, mailbox: &Arc<Mailbox<M>>) {
        if let Some(slot) = self.slot_of(mailbox) {
            self.listening.fetch_and(!(1 << slot), AcqRel);
            mailbox.close(drop);
        }
    }

    /// Takes an ended subscription up again.
    ///
    /// # Errors
    /// `NoReader` if the mailbox was never subscribed here.
    pub fn resubscribe(&self, mailbox: &Arc<Mailbox<M>>) -> Result<()> {
        let slot = self.slot_of(mailbox);
        let slot = slot.ok_or(super::mailbox::dropped(self.name, Reason::NoReader))?;
        mailbox.reopen();
        self.listening.fetch_or(1 << slot, AcqRel);
        Ok(())
    }

    fn slot_of(&self, mailbox: &Arc<Mailbox<M>>) -> Option<usize> {
        let same =
            |slot: &Once<Arc<Mailbox<M>>>| slot.get().is_some_and(|m| Arc::ptr_eq(m, mailbox));
        self.slots.iter().position(same)
    }

    /// Publishes `body` from `port`, to be received before `deadline`. All copies have one number.
    pub fn publish(&self, port: &Port, body: M, deadline: Instant) -> Published {
        let envelope = Envelope {
            id: port.next_message(),
            deadline,
            correlation: None,
            sender: port.id(),
            to: Address::Topic(self.id),
            priority: Priority::Normal,
            body,
        };
        let mut published = Published::default();
        let mut listening = self.listening.load(Acquire);
        while listening != 0 {
            let slot = &self.slots[listening.trailing_zeros() as usize];
            listening &= listening - 1;
            let Some(mailbox) = slot.get() else { continue };
            match mailbox.post(port, envelope.clone()) {
                Sent::Queued => published.queued += 1,
                Sent::Refused(..) => published.dropped += 1,
            }
        }
        if published == Published::default() {
            self.drops.count(Reason::NoReader);
            published.dropped = 1;
        }
        published
    }

    /// As [`Topic::publish`], without a deadline.
    pub fn publish_now(&self, port: &Port, body: M) -> Published {
        self.publish(port, body, NEVER)
    }
}

impl<M: Message + Clone> Queue for Topic<M> {
    fn topic(&self) -> &'static str {
        self.name
    }

    /// Its own drops and all its subscribers' counts.
    fn tally(&self) -> Tally {
        let mut sum = Tally {
            dropped: self.drops.get(),
            ..Tally::default()
        };
        for mailbox in self.slots.iter().filter_map(Once::get) {
            sum.add(mailbox.tally());
        }
        sum
    }
}
