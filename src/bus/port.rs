//! What a subsystem is to the bus, whether it runs or not: its number, its ready word, the numbers of its
//! messages, and what it is told of those that were lost.
//!
//! Ports outlive their subsystems: the composition root makes them once, in an [`Exchange`], and an incarnation
//! of a subsystem uses its port while it lasts. So whoever holds a port, a waker or a message of a dead one
//! holds nothing that went with it.

use super::envelope::{MessageId, SubsystemId};
use super::executor::Local;
use super::parcel::Owner;
use super::ready::{Bell, DOORS_MAX, Knock, ReadyWord};
use super::tally::{Drops, Reason};
use crate::error::{Error, Kind, Result, Subsystem, arc_at_boot, try_box};
use crate::platform::time::Instant;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::poll_fn;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use core::task::Poll;
use spin::Once;

/// One of the things that a subsystem waits for: a mailbox, or one of those that every subsystem has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Door(pub(super) u8);

impl Door {
    /// There is room in a mailbox that the subsystem waits to send to.
    pub(super) const ROOM: Self = Self(0);
    /// A message that it sent was lost after it had been queued.
    pub(super) const LOST: Self = Self(1);
    const FIRST_FREE: u8 = 2;

    /// What a knock on it sets.
    pub(super) const fn knock(self) -> Knock {
        Knock::on(self.0)
    }
}

/// A subsystem's place on the bus.
///
/// Aligned so that a waker can keep a task's number in the low bits of its address.
#[repr(align(64))]
pub struct Port {
    pub(super) ready: ReadyWord<&'static dyn Bell>,
    /// Messages sent so far; written by the subsystem alone.
    sent: AtomicU64,
    /// How deep it is in sections; written by the subsystem alone.
    sections: AtomicU32,
    id: SubsystemId,
    owner: Owner,
    pub(super) local: Local,
    name: &'static str,
    doors: AtomicU8,
    lost: Drops,
    last_lost: AtomicU64,
}

impl Port {
    fn new(id: SubsystemId, name: &'static str, owner: Owner, bell: &'static dyn Bell) -> Self {
        Self {
            ready: ReadyWord::new(bell),
            sent: AtomicU64::new(0),
            sections: AtomicU32::new(0),
            id,
            owner,
            local: Local::new(),
            name,
            doors: AtomicU8::new(Door::FIRST_FREE),
            lost: Drops::default(),
            last_lost: AtomicU64::new(0),
        }
    }

    /// The subsystem's number.
    #[inline(always)]
    pub fn id(&self) -> SubsystemId {
        self.id
    }

    /// The subsystem's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whom its memory is charged to.
    #[inline(always)]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// How often it was started again: 0 at first.
    pub fn incarnation(&self) -> u64 {
        self.ready.incarnation()
    }

    /// Ends this incarnation: wakers and waits of it do nothing from now on. For the supervisor, once the
    /// subsystem does not run any more.
    pub fn end_incarnation(&self) {
        self.ready.next_incarnation();
        self.ready.take();
        self.sections.store(0, Relaxed);
        self.local.reset();
    }

    /// Whether the subsystem is inside a section in which it must not be killed; it leaves it within a few
    /// dozen instructions of its own.
    pub fn is_in_section(&self) -> bool {
        self.sections.load(Relaxed) > 0
    }

    #[inline(always)]
    pub(super) fn section(&self) -> Section<'_> {
        // One writer, so a load and a store do; who kills reads it on the same CPU, or with the fiber stopped.
        let outside = self.sections.load(Relaxed);
        self.sections.store(outside + 1, Relaxed);
        Section {
            port: self,
            outside,
        }
    }

    /// The time at which its executor began this step.
    #[inline(always)]
    pub fn now(&self) -> Instant {
        self.local.now()
    }

    /// The number of its next message. One writer: the subsystem itself.
    #[inline(always)]
    pub(super) fn next_message(&self) -> MessageId {
        let count = self.sent.load(Relaxed) + 1;
        self.sent.store(count, Relaxed);
        MessageId::new(self.id, count)
    }

    /// Messages of this subsystem that were lost after they had been queued, by [`Reason`].
    pub fn lost(&self) -> [u64; Reason::ALL.len()] {
        self.lost.get()
    }

    /// The last of them.
    pub fn last_lost(&self) -> Option<MessageId> {
        Some(self.last_lost.load(Relaxed))
            .filter(|&id| id != 0)
            .map(MessageId::from_u64)
    }

    /// Waits until more than `seen` messages of this subsystem were lost; returns how many.
    pub async fn more_lost(&self, seen: u64) -> u64 {
        poll_fn(|_| {
            let lost = self.lost().iter().sum();
            if lost > seen {
                return Poll::Ready(lost);
            }
            self.local.watch(Door::LOST);
            Poll::Pending
        })
        .await
    }

    fn tell_lost(&self, id: MessageId, reason: Reason) {
        self.last_lost.store(id.as_u64(), Relaxed);
        self.lost.count(reason);
        self.ready.knock(Door::LOST.knock());
    }

    pub(super) fn take_door(&self) -> Result<Door> {
        let door = self.doors.fetch_add(1, Relaxed);
        if usize::from(door) < DOORS_MAX {
            return Ok(Door(door));
        }
        self.doors.fetch_sub(1, Relaxed);
        Err(limit("mailboxes of one subsystem", DOORS_MAX))
    }
}

fn limit(what: &'static str, limit: usize) -> Error {
    let limit = limit as u64;
    Error::new(Subsystem::Bus, Kind::LimitReached { what, limit })
}

/// While it lasts the subsystem must not be killed: a queue or a reply is half written.
pub(super) struct Section<'p> {
    port: &'p Port,
    /// How deep the subsystem was before.
    outside: u32,
}

impl Drop for Section<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.port.sections.store(self.outside, Relaxed);
    }
}

/// All ports, by number.
pub struct Exchange {
    ports: [Once<Arc<Port>>; SubsystemId::MAX],
    count: AtomicU8,
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

impl Exchange {
    /// An exchange without ports.
    pub const fn new() -> Self {
        Self {
            ports: [const { Once::new() }; SubsystemId::MAX],
            count: AtomicU8::new(0),
        }
    }

    /// Adds a subsystem, with the next number. For the composition root, and no other at the same time.
    ///
    /// The bell is leaked: as ports live as long as anything may send to them, it is reached without a count.
    ///
    /// # Errors
    /// `Duplicate` if one has that name; `LimitReached` beyond [`SubsystemId::MAX`].
    pub fn add(
        &self,
        name: &'static str,
        owner: Owner,
        bell: impl Bell + 'static,
    ) -> Result<Arc<Port>> {
        if self.ports().any(|port| port.name == name) {
            return Err(Error::new(Subsystem::Bus, Kind::Duplicate { name }));
        }
        let number = usize::from(self.count.load(Relaxed));
        let id = SubsystemId::new(number).ok_or(limit("subsystems", SubsystemId::MAX))?;
        let bell = Box::leak(try_box(bell)?);
        let port = self.ports[number].call_once(|| arc_at_boot(Port::new(id, name, owner, bell)));
        self.count.store(number as u8 + 1, Relaxed);
        Ok(port.clone())
    }

    /// The port of that subsystem.
    pub fn port(&self, id: SubsystemId) -> Option<&Arc<Port>> {
        self.ports[id.index()].get()
    }

    /// All ports, by number.
    pub fn ports(&self) -> impl Iterator<Item = &Arc<Port>> {
        self.ports.iter().map_while(Once::get)
    }

    /// Tells the sender of a queued message that it will not be received.
    pub(super) fn tell_lost(&self, sender: SubsystemId, id: MessageId, reason: Reason) {
        if let Some(port) = self.port(sender) {
            port.tell_lost(id, reason);
        }
    }
}
