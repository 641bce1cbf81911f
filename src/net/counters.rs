//! What the network stack counts: the `nos_network_*` and `nos_tcp_*` families.
//!
//! The stack adds to them at the end of each poll, or as a rare thing happens; a scrape reads them from
//! any CPU. Connections by state are kept up to date by each transition, so a scrape walks no connection.

use crate::metrics::{Counter, Encoder, Gauge, Label, Source, Value, Vitals, heading};
use smoltcp::socket::tcp::State;

/// The one device; METRICS.md has a label for it.
const DEVICE: (&str, Label) = ("device", Label::Word("eth0"));

/// Why a frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// A checksum of IPv4 or TCP is wrong.
    Checksum,
    /// No memory, no free connection or half-open place for what it asked for.
    NoBuffer,
    /// Its headers contradict themselves, or it is a fragment.
    Malformed,
    /// Nobody listens on its port.
    NoSocket,
}

impl DropReason {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Checksum, "checksum"),
        (Self::NoBuffer, "no_buffer"),
        (Self::Malformed, "malformed"),
        (Self::NoSocket, "no_socket"),
    ];
}

/// The states of RFC 9293 that a connection of a server can be in, with their labels.
const STATES: [(State, &str); 8] = [
    (State::SynReceived, "syn_received"),
    (State::Established, "established"),
    (State::FinWait1, "fin_wait_1"),
    (State::FinWait2, "fin_wait_2"),
    (State::CloseWait, "close_wait"),
    (State::Closing, "closing"),
    (State::LastAck, "last_ack"),
    (State::TimeWait, "time_wait"),
];

/// The place in [`STATES`] of a state that is not there.
const NOT_COUNTED: u8 = u8::MAX;

/// Where each state is in [`STATES`], by smoltcp's number of it.
const PLACES: [u8; State::TimeWait as usize + 1] = {
    let mut places = [NOT_COUNTED; State::TimeWait as usize + 1];
    let mut at = 0;
    while at < STATES.len() {
        places[STATES[at].0 as usize] = at as u8;
        at += 1;
    }
    places
};

/// The counters of the network stack.
#[derive(Debug, Default)]
pub struct NetworkCounters {
    pub(super) receive_bytes: Counter,
    pub(super) receive_packets: Counter,
    pub(super) transmit_bytes: Counter,
    pub(super) retransmits: Counter,
    drops: [Counter; DropReason::ALL.len()],
    connections: [Gauge; STATES.len()],
}

impl NetworkCounters {
    /// All at 0.
    pub const fn new() -> Self {
        Self {
            receive_bytes: Counter::new(),
            receive_packets: Counter::new(),
            transmit_bytes: Counter::new(),
            retransmits: Counter::new(),
            drops: [const { Counter::new() }; DropReason::ALL.len()],
            connections: [const { Gauge::new() }; STATES.len()],
        }
    }

    /// Connections in `state` now.
    pub fn connections(&self, state: State) -> u64 {
        Self::index(state).map_or(0, |at| self.connections[at].get())
    }

    /// Frames dropped for `reason` so far.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].get()
    }

    /// Segments sent again so far.
    pub fn retransmits(&self) -> u64 {
        self.retransmits.get()
    }

    pub(super) fn dropped(&self, reason: DropReason) {
        self.drops[reason as usize].increment();
    }

    /// No connection is in any state: the stack that knew them is gone.
    pub fn forget_connections(&self) {
        for gauge in &self.connections {
            gauge.set(0);
        }
    }

    /// A connection went from one state to another; CLOSED and LISTEN are not counted.
    #[inline]
    pub(super) fn moved(&self, from: State, to: State) {
        if let Some(at) = Self::index(from) {
            self.connections[at].sub(1);
        }
        if let Some(at) = Self::index(to) {
            self.connections[at].add(1);
        }
    }

    /// Where a state is among those that are counted.
    #[inline]
    fn index(state: State) -> Option<usize> {
        let place = PLACES[state as usize];
        (place != NOT_COUNTED).then_some(usize::from(place))
    }
}

impl Source for NetworkCounters {
    fn vitals(&self, vitals: &mut Vitals) {
        vitals.frames_received = self.receive_packets.get();
        vitals.checksum_drops = self.drops(DropReason::Checksum);
        vitals.no_buffer_drops = self.drops(DropReason::NoBuffer);
        vitals.retransmits = self.retransmits();
    }

    fn collect(&self, page: &mut Encoder<'_>) {
        for (heading, counter) in [
            (
                heading!(
                    Counter,
                    "nos_network_receive_bytes_total",
                    "Bytes received."
                ),
                &self.receive_bytes,
            ),
            (
                heading!(Counter, "nos_network_transmit_bytes_total", "Bytes sent."),
                &self.transmit_bytes,
            ),
            (
                heading!(
                    Counter,
                    "nos_network_receive_packets_total",
                    "Frames received."
                ),
                &self.receive_packets,
            ),
        ] {
            page.family(heading)
                .sample(&[DEVICE], Value::Whole(counter.get()));
        }
        let mut drops = page.family(heading!(
            Counter,
            "nos_network_drops_total",
            "Received frames that were dropped."
        ));
        for (reason, word) in DropReason::ALL {
            let labels = [DEVICE, ("reason", Label::Word(word))];
            drops.sample(&labels, Value::Whole(self.drops(reason)));
        }
        let mut connections = page.family(heading!(
            Gauge,
            "nos_tcp_connections",
            "Connections by state."
        ));
        for ((_, word), gauge) in STATES.iter().zip(&self.connections) {
            connections.sample(&[("state", Label::Word(word))], Value::Whole(gauge.get()));
        }
        page.counter(
            heading!(Counter, "nos_tcp_retransmits_total", "Segments sent again."),
            self.retransmits.get(),
        );
    }

    fn collect_compat(&self, page: &mut Encoder<'_>) {
        for (heading, counter) in [
            (
                heading!(
                    Counter,
                    "node_network_receive_bytes_total",
                    "Network device statistic receive_bytes."
                ),
                &self.receive_bytes,
            ),
            (
                heading!(
                    Counter,
                    "node_network_transmit_bytes_total",
                    "Network device statistic transmit_bytes."
                ),
                &self.transmit_bytes,
            ),
        ] {
            page.family(heading)
                .sample(&[DEVICE], Value::Whole(counter.get()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Format;
    use std::string::String;
    use std::vec::Vec;

    #[test]
    fn every_reason_and_state_is_shown_from_the_first_scrape() {
        let counters = NetworkCounters::new();
        counters.moved(State::Listen, State::SynReceived);
        counters.moved(State::SynReceived, State::Established);
        counters.dropped(DropReason::Malformed);
        let mut bytes = Vec::new();
        let mut page = Encoder::new(&mut bytes, Format::Text);
        counters.collect(&mut page);
        page.finish().expect("the host has memory");
        let text = String::from_utf8(bytes).expect("the encoder writes text");
        for line in [
            "nos_network_receive_bytes_total{device=\"eth0\"} 0\n",
            "nos_network_drops_total{device=\"eth0\",reason=\"checksum\"} 0\n",
            "nos_network_drops_total{device=\"eth0\",reason=\"malformed\"} 1\n",
            "nos_tcp_connections{state=\"syn_received\"} 0\n",
            "nos_tcp_connections{state=\"established\"} 1\n",
            "nos_tcp_connections{state=\"time_wait\"} 0\n",
            "nos_tcp_retransmits_total 0\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
