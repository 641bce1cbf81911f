//! What tests of the bus share: an exchange, ports whose bells count, a clock that is set.

use super::{Address, Bell, Exchange, Mailbox, Message, Owner, Plan, Policy, Port};
use crate::platform::time::{Clock, Instant};
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::Arc;

/// Counts how often it rings.
#[derive(Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn get(&self) -> u64 {
        self.0.load(SeqCst)
    }
}

impl Bell for Count {
    fn ring(&self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Shows the time it is set to.
#[derive(Default)]
pub(super) struct SetClock(AtomicU64);

impl SetClock {
    pub(super) fn set(&self, nanos: u64) {
        self.0.store(nanos, SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.load(SeqCst))
    }

    fn boot_unix_nanos(&self) -> u64 {
        0
    }
}

/// Some ports on one exchange.
pub(super) struct Bench {
    pub(super) exchange: Arc<Exchange>,
    pub(super) clock: SetClock,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self {
            exchange: Arc::new(Exchange::new()),
            clock: SetClock::default(),
        }
    }

    /// A port, charged to an owner of its own, and its bell.
    pub(super) fn port(&self, name: &'static str) -> (Arc<Port>, Arc<Count>) {
        let bell = Arc::new(Count::default());
        let owner = Owner(self.exchange.ports().count() as u8 + 1);
        let port = self.exchange.add(name, owner, bell.clone());
        (port.expect("a new name"), bell)
    }

    pub(super) fn plan(&self, reader: &Arc<Port>, capacity: usize, policy: Policy) -> Plan {
        Plan {
            topic: reader.name(),
            address: Address::Receiver(reader.id()),
            reader: reader.clone(),
            exchange: self.exchange.clone(),
            capacity,
            policy,
        }
    }

    pub(super) fn mailbox<M: Message>(
        &self,
        reader: &Arc<Port>,
        capacity: usize,
        policy: Policy,
    ) -> Arc<Mailbox<M>> {
        let plan = self.plan(reader, capacity, policy);
        Arc::new(Mailbox::new(plan).expect("memory"))
    }
}

impl Message for u32 {}
