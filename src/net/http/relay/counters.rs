//! What the two sides count: whatever did not go as its peer wished.

use crate::metrics::{Counter, Encoder, Label, Source, Value, heading};

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayEvent {
    /// A message came too late: it was of an earlier incarnation, or of a connection that was gone.
    LateMessage,
    /// A message was with the relay, not yet in the stack's hands, when HTTP died.
    OrphanedMessage,
    /// A connection was ended because HTTP died.
    PeerDied,
    /// A connection was ended because HTTP was down, or silent for too long.
    PeerDown,
    /// The host forgot a connection because the network's side died.
    NetworkDied,
    /// A connection was ended because there was no memory for it.
    OutOfMemory,
}

impl RelayEvent {
    const ALL: [(Self, &'static str); 6] = [
        (Self::LateMessage, "late_message"),
        (Self::OrphanedMessage, "orphaned_message"),
        (Self::PeerDied, "http_died"),
        (Self::PeerDown, "http_down"),
        (Self::NetworkDied, "network_died"),
        (Self::OutOfMemory, "out_of_memory"),
    ];
}

/// The counters of both sides; they outlive them.
#[derive(Debug, Default)]
pub struct RelayCounters([Counter; RelayEvent::ALL.len()]);

impl RelayCounters {
    /// How often that happened.
    pub fn get(&self, event: RelayEvent) -> u64 {
        self.0[event as usize].get()
    }

    pub(super) fn count(&self, event: RelayEvent) {
        self.0[event as usize].increment();
    }
}

impl Source for RelayCounters {
    fn collect(&self, page: &mut Encoder<'_>) {
        let mut family = page.family(heading!(
            Counter,
            "nos_http_relay_events_total",
            "Messages dropped and connections ended between the network and HTTP, by what happened."
        ));
        for (event, name) in RelayEvent::ALL {
            let value = Value::Whole(self.get(event));
            family.sample(&[("event", Label::Word(name))], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_listed_at_its_own_index() {
        for (i, (event, _)) in RelayEvent::ALL.into_iter().enumerate() {
            assert_eq!(event as usize, i);
        }
    }
}
