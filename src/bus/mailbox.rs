//! Mailboxes: bounded queues of messages of one type, with many senders and one reader.
//!
//! A mailbox has two lanes, urgent and normal; what is urgent is received first, and each lane keeps its
//! order. Sending is one queue operation and one ring of the reader's bell, on whatever CPU the reader is.
//!
//! No message is lost silently. One that cannot be queued comes back to its sender with the error; one that is
//! dropped later (displaced by a newer one, past its deadline, its reader gone) is counted by reason and its
//! sender told ([`Port::lost`]). What the reader took is its own: if it dies with it, that is its fault to answer
//! for, and requests are answered for it ([`super::Service`]).
//!
//! The composition root makes mailboxes; they outlive both ends. Sending and receiving allocate nothing.
//!
//! `in_place` is for bodies that are too large to be moved more than once.

mod in_place;

use super::envelope::{Address, Envelope, Message, MessageId, NEVER, Priority, SubsystemId};
use super::parcel::Owner;
use super::port::{Door, Exchange, Port};
use super::ready::{Bell, Knock, ReadyWord};
use super::ring::{Claim, Ring};
use super::sync::{self, AcqRel};
use super::tally::{Drops, Queue, RECENT, Reason, Tally};
use crate::error::{Error, Kind, Result, Subsystem};
use crate::platform::time::Instant;
use alloc::sync::Arc;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::task::{Context, Poll};

/// Slots of the urgent lane: control messages are few (a guess).
const URGENT_SLOTS: usize = 8;

/// What a mailbox does with a message when its lane is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Gives it back to its sender.
    Refuse,
    /// Drops the oldest of the lane, and tells that one's sender.
    DropOldest,
    /// Gives it back, or, to a sender that awaits [`Mailbox::send_within`], takes it when there is room.
    Wait,
}

/// What became of a message that was sent.
#[must_use = "a refused message is lost unless it is sent again"]
#[derive(Debug)]
pub enum Sent<M> {
    /// It waits in the mailbox.
    Queued,
    /// It was not taken; here it is again, and why.
    Refused(Envelope<M>, Error),
}

impl<M> Sent<M> {
    /// Whether it was queued.
    pub fn is_queued(&self) -> bool {
        matches!(self, Self::Queued)
    }

    /// The error of a refused one; the message is dropped.
    ///
    /// # Errors
    /// `Full`, `Expired` or `NoReader`, with the topic.
    pub fn into_result(self) -> Result<()> {
        match self {
            Self::Queued => Ok(()),
            Self::Refused(_, error) => Err(error),
        }
    }
}

/// The ready word of a subsystem.
type ReaderWord = ReadyWord<&'static dyn Bell>;

/// What became of a message at the queue.
enum Enqueued<M> {
    Done,
    Full(Envelope<M>),
    Closed(Envelope<M>),
}

/// What a mailbox is made from.
#[derive(Clone)]
pub struct Plan {
    /// What its messages are counted under: its reader's name, or its topic's.
    pub topic: &'static str,
    /// Whom its messages are for.
    pub address: Address,
    /// Who reads it.
    pub reader: Arc<Port>,
    /// Where senders are found that must be told of a loss.
    pub exchange: Arc<Exchange>,
    /// Messages that the normal lane holds; rounded up to a power of two.
    pub capacity: usize,
    /// What happens when that is not enough.
    pub policy: Policy,
}

/// A mailbox.
pub struct Mailbox<M> {
    normal: Ring<Envelope<M>>,
    urgent: Ring<Envelope<M>>,
    reader: Arc<Port>,
    door: Door,
    knock: Knock,
    policy: Policy,
    address: Address,
    topic: &'static str,
    /// Messages received; written by the reader alone.
    received: AtomicU64,
    drops: Drops,
    /// Subsystems that wait for room, one bit each.
    waiting: sync::AtomicU64,
    exchange: Arc<Exchange>,
}

impl<M: Message> Mailbox<M> {
    /// Makes a mailbox.
    ///
    /// # Errors
    /// `OutOfMemory`; `LimitReached` if the reader has too many mailboxes.
    pub fn new(plan: Plan) -> Result<Self> {
        let (normal, urgent) = (Ring::new(plan.capacity)?, Ring::new(URGENT_SLOTS)?);
        let door = plan.reader.take_door()?;
        Ok(Self {
            normal,
            urgent,
            knock: door.knock(),
            door,
            reader: plan.reader,
            policy: plan.policy,
            address: plan.address,
            topic: plan.topic,
            received: AtomicU64::new(0),
            drops: Drops::default(),
            waiting: sync::AtomicU64::new(0),
            exchange: plan.exchange,
        })
    }

    /// A message from `port` to this mailbox, with the next number.
    #[inline(always)]
    pub fn envelope(&self, port: &Port, body: M) -> Envelope<M> {
        Envelope {
            id: port.next_message(),
            deadline: NEVER,
            correlation: None,
            sender: port.id(),
            to: self.address,
            priority: Priority::Normal,
            body,
        }
    }

    /// Sends `body` from `port`.
    #[inline(always)]
    pub fn send(&self, port: &Port, body: M) -> Sent<M> {
        // Without a deadline there is none to look at.
        self.deliver(port, self.envelope(port, body), drop)
    }

    /// Rings the reader's bell for what was left ([`Mailbox::leave_in_place`]).
    #[inline(always)]
    pub fn ring(&self) {
        self.reader.ready.ring();
    }

    /// Sends a message that was made before; one that was refused keeps its number.
    #[inline(always)]
    pub fn post(&self, port: &Port, envelope: Envelope<M>) -> Sent<M> {
        self.post_displacing(port, envelope, drop)
    }

    /// As [`Mailbox::post`], with what a message displaced given to `displaced`.
    #[inline(always)]
    pub(super) fn post_displacing(
        &self,
        port: &Port,
        envelope: Envelope<M>,
        displaced: impl FnMut(Envelope<M>),
    ) -> Sent<M> {
        if envelope.deadline <= port.now() {
            return self.refuse(envelope, Reason::Expired);
        }
        self.deliver(port, envelope, displaced)
    }

    #[inline(always)]
    fn deliver(
        &self,
        port: &Port,
        envelope: Envelope<M>,
        displaced: impl FnMut(Envelope<M>),
    ) -> Sent<M> {
        match self.enqueue(port, envelope, ReadyWord::knock) {
            Enqueued::Done => Sent::Queued,
            Enqueued::Full(envelope) => self.overfull(port, envelope, displaced),
            Enqueued::Closed(envelope) => self.refuse(envelope, Reason::NoReader),
        }
    }

    /// Queues a message and tells its reader, if there is room; if not, it is the sender's as before.
    #[inline(always)]
    fn enqueue(
        &self,
        port: &Port,
        mut envelope: Envelope<M>,
        tell: impl FnOnce(&ReaderWord, Knock),
    ) -> Enqueued<M> {
        let section = port.section();
        match self.lane(envelope.priority).claim() {
            Claim::Place(place) => {
                envelope.body.recharge(Owner::KERNEL);
                place.fill(envelope);
                tell(&self.reader.ready, self.knock);
                drop(section);
                Enqueued::Done
            }
            Claim::Full => Enqueued::Full(envelope),
            Claim::Closed => Enqueued::Closed(envelope),
        }
    }

    #[inline(always)]
    fn lane(&self, priority: Priority) -> &Ring<Envelope<M>> {
        match priority {
            Priority::Normal => &self.normal,
            Priority::Urgent => &self.urgent,
        }
    }

    #[cold]
    fn overfull(
        &self,
        port: &Port,
        mut envelope: Envelope<M>,
        mut displaced: impl FnMut(Envelope<M>),
    ) -> Sent<M> {
        if self.policy != Policy::DropOldest {
            return self.refuse(envelope, Reason::Full);
        }
        loop {
            let oldest = {
                let _section = port.section();
                self.lane(envelope.priority).pop()
            };
            let found_one = oldest.is_some();
            if let Some(oldest) = oldest {
                self.lose(&oldest, Reason::Full);
                displaced(oldest);
            }
            envelope = match self.enqueue(port, envelope, ReadyWord::knock) {
                Enqueued::Done => return Sent::Queued,
                Enqueued::Closed(envelope) => return self.refuse(envelope, Reason::NoReader),
                // Others took the room, or the oldest is still being written by one that is preempted.
                Enqueued::Full(envelope) if found_one => envelope,
                Enqueued::Full(envelope) => return self.refuse(envelope, Reason::Full),
            };
        }
    }

    #[cold]
    fn refuse(&self, envelope: Envelope<M>, reason: Reason) -> Sent<M> {
        self.drops.count(reason);
        let topic = self.topic;
        Sent::Refused(envelope, dropped(topic, reason))
    }

    /// Counts a message that had been queued, and tells its sender.
    #[cold]
    fn lose(&self, envelope: &Envelope<M>, reason: Reason) {
        self.drops.count(reason);
        self.exchange
            .tell_lost(envelope.sender, envelope.id, reason);
    }

    /// Sends a message once there is room, if that is before `deadline`. While it waits, nothing is counted.
    pub fn send_within<'a>(
        &'a self,
        port: &'a Port,
        envelope: Envelope<M>,
        deadline: Instant,
    ) -> SendWithin<'a, M> {
        SendWithin {
            mailbox: self,
            port,
            envelope: Some(envelope),
            deadline,
        }
    }

    /// The next message, if one waits. For the reader alone.
    ///
    /// What is common is inline, and moves the message once; what is not is a call.
    #[inline(always)]
    pub fn try_receive(&self) -> Option<Envelope<M>> {
        // A push that the reader was rung for has moved the tail by then; a look at it costs less than a pop.
        if self.policy == Policy::Wait || !self.urgent.is_surely_empty() {
            return self.receive_from_both();
        }
        let reader = &*self.reader;
        let section = reader.section();
        let found = self.normal.find()?;
        if found.look(|envelope| envelope.deadline) <= reader.now() {
            let expired = found.take();
            drop(section);
            self.lose(&expired, Reason::Expired);
            return self.receive_from_both();
        }
        self.count_received();
        found.note(found.look(|envelope| envelope.id.as_u64()));
        let mut envelope = found.take();
        envelope.body.recharge(reader.owner());
        drop(section);
        Some(envelope)
    }

    /// The next message of the urgent lane, or else of the normal one.
    #[inline(never)]
    fn receive_from_both(&self) -> Option<Envelope<M>> {
        loop {
            let section = self.reader.section();
            let found = match self.urgent.find() {
                Some(urgent) => urgent,
                None => self.normal.find()?,
            };
            found.note(found.look(|envelope| envelope.id.as_u64()));
            let mut envelope = found.take();
            if self.policy == Policy::Wait {
                self.tell_room();
            }
            if envelope.deadline > self.reader.now() {
                self.count_received();
                envelope.body.recharge(self.reader.owner());
                return Some(envelope);
            }
            drop(section);
            self.lose(&envelope, Reason::Expired);
        }
    }

    #[inline(always)]
    fn count_received(&self) {
        let received = self.received.load(Relaxed);
        self.received.store(received + 1, Relaxed);
    }

    /// The next message, once there is one. For the reader alone.
    pub fn receive(&self) -> Receive<'_, M> {
        Receive(self)
    }

    /// The next message; without one, the task that is polled now is polled again when there is one.
    pub fn poll_receive(&self) -> Poll<Envelope<M>> {
        if let Some(envelope) = self.try_receive() {
            return Poll::Ready(envelope);
        }
        // A message that comes after the look above knocks, and the executor finds the watcher then.
        self.reader.local.watch(self.door);
        Poll::Pending
    }

    /// Messages that the normal lane holds.
    pub fn capacity(&self) -> usize {
        self.normal.capacity()
    }

    /// Whether the normal lane has no room. Exact for who alone sends to it: what is free then is free until it sends.
    #[inline(always)]
    pub fn is_full(&self) -> bool {
        self.normal.len() >= self.normal.capacity()
    }

    /// Whether there is surely nothing to receive. Cheaper than to try.
    #[inline(always)]
    pub fn is_surely_empty(&self) -> bool {
        self.normal.is_surely_empty() && self.urgent.is_surely_empty()
    }

    /// Messages waiting.
    pub fn depth(&self) -> usize {
        self.urgent.len() + self.normal.len()
    }

    /// Takes a message that was received off the count again: it turned out that nobody wants it.
    pub(super) fn lose_received(&self, envelope: &Envelope<M>, reason: Reason) {
        self.received
            .store(self.received.load(Relaxed) - 1, Relaxed);
        self.lose(envelope, reason);
    }

    /// Refuses messages from now on and drops those that wait, each counted and told. For the supervisor, when
    /// the reader stopped for good. `dropped` gets each message.
    ///
    /// A message that was being sent may come in afterwards; it waits for the next call, or for a new reader.
    pub fn close(&self, mut dropped: impl FnMut(Envelope<M>)) {
        for lane in [&self.urgent, &self.normal] {
            lane.close();
            while let Some(envelope) = lane.pop() {
                self.lose(&envelope, Reason::NoReader);
                dropped(envelope);
            }
        }
        self.tell_room();
    }

    /// Takes messages again.
    pub fn reopen(&self) {
        self.urgent.reopen();
        self.normal.reopen();
    }

    /// Whether messages are refused because nobody reads.
    pub fn is_closed(&self) -> bool {
        self.normal.is_closed()
    }

    /// Who reads it.
    pub fn reader(&self) -> &Arc<Port> {
        &self.reader
    }

    pub(super) fn wait_for_room(&self, port: &Port) {
        // AcqRel: pairs with `tell_room`. Of this and its swap one comes first: either the swap sees the bit, or
        // this sees all that happened before the swap, and with it the slot that was freed.
        self.waiting.fetch_or(1 << port.id().index(), AcqRel);
    }

    #[cold]
    fn tell_room(&self) {
        // AcqRel: pairs with `wait_for_room`.
        let mut waiting = self.waiting.swap(0, AcqRel);
        while waiting != 0 {
            let id = SubsystemId::new(waiting.trailing_zeros() as usize);
            if let Some(port) = id.and_then(|id| self.exchange.port(id)) {
                port.ready.knock(Door::ROOM.knock());
            }
            waiting &= waiting - 1;
        }
    }
}

/// The error for a message to `topic` that was dropped.
pub(super) fn dropped(topic: &'static str, reason: Reason) -> Error {
    let kind = match reason {
        Reason::Full => Kind::QueueFull { topic },
        Reason::Expired => Kind::MessageExpired { topic },
        Reason::NoReader => Kind::NoReader { topic },
    };
    Error::new(Subsystem::Bus, kind)
}

impl<M: Message> Queue for Mailbox<M> {
    fn is_lossy(&self) -> bool {
        self.policy == Policy::DropOldest
    }

    fn topic(&self) -> &'static str {
        self.topic
    }

    fn tally(&self) -> Tally {
        Tally {
            delivered: self.received.load(Relaxed),
            dropped: self.drops.get(),
            depth: self.depth() as u64,
        }
    }

    fn recent(&self) -> [Option<MessageId>; RECENT] {
        let mut notes = self.urgent.notes().chain(self.normal.notes());
        core::array::from_fn(|_| notes.next().map(MessageId::from_u64))
    }
}

/// Waits for a message.
#[must_use = "a future does nothing unless it is awaited"]
pub struct Receive<'a, M>(&'a Mailbox<M>);

impl<M: Message> Future for Receive<'_, M> {
    type Output = Envelope<M>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Envelope<M>> {
        self.0.poll_receive()
    }
}

/// Waits for room.
#[must_use = "a future does nothing unless it is awaited"]
pub struct SendWithin<'a, M> {
    mailbox: &'a Mailbox<M>,
    port: &'a Port,
    envelope: Option<Envelope<M>>,
    deadline: Instant,
}

// Nothing in it is pinned: the envelope is moved in and out whole.
impl<M> Unpin for SendWithin<'_, M> {}

impl<M: Message> Future for SendWithin<'_, M> {
    type Output = Sent<M>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Sent<M>> {
        let (mailbox, port) = (self.mailbox, self.port);
        let envelope = self.envelope.take().expect("not polled after it was ready");
        if mailbox.policy != Policy::Wait || envelope.deadline <= port.now() {
            return Poll::Ready(mailbox.post(port, envelope));
        }
        let envelope = match mailbox.enqueue(port, envelope, ReadyWord::knock) {
            Enqueued::Full(envelope) => envelope,
            Enqueued::Done => return Poll::Ready(Sent::Queued),
            Enqueued::Closed(envelope) => {
                return Poll::Ready(mailbox.refuse(envelope, Reason::NoReader));
            }
        };
        if self.deadline <= port.now() {
            return Poll::Ready(mailbox.refuse(envelope, Reason::Full));
        }
        mailbox.wait_for_room(port);
        // Once more: the reader may have made room before it could see that somebody waits.
        match mailbox.enqueue(port, envelope, ReadyWord::knock) {
            Enqueued::Done => Poll::Ready(Sent::Queued),
            Enqueued::Closed(envelope) => Poll::Ready(mailbox.refuse(envelope, Reason::NoReader)),
            Enqueued::Full(envelope) => {
                let until = self.deadline.min(envelope.deadline);
                self.envelope = Some(envelope);
                port.local.watch(Door::ROOM);
                port.local.wake_at(until);
                Poll::Pending
            }
        }
    }
}
