//! Who is connected, kept where it outlives the stack: so that the next one can end what the last one left open.
//!
//! A stack that dies tells nobody. A peer that then waits for an answer would wait for ever: its own probes, if it
//! sends any, come hours apart. The next stack has lost the sequence numbers that a reset needs, and asks for them: it
//! sends the peer a segment that no window takes. The peer answers that with an acknowledgement of what it
//! expects (RFC 9293 3.10.7.4, "if an incoming segment is not acceptable"), which belongs to no flow any more and
//! is so answered with the reset that the peer takes for true.
//!
//! A row is written when a flow opens and when it is removed, in single stores whose order keeps a row that was cut
//! in between either whole or empty. Whoever finds the rows takes them for claims all the same.

use super::arp::Neighbour;
use super::frame::{FlowKey, fill_header_sum, fill_segment_sum, write_ack};
use crate::error::{Grow, Result};
use alloc::vec::Vec;
use core::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, Release},
    compiler_fence,
};

/// How often each is told: a question may be lost, and so may its answer or the reset (smoltcp drops what it would
/// send to a neighbour that it has to ask for first).
const ROUNDS: u32 = 2;

/// Two sequence numbers half the space apart: no window, at most a quarter of it wide, takes both. They are what is
/// acknowledged, too: a peer that looks at that first and says nothing to what it has long known (smoltcp) finds one of
/// them not sent yet.
const SEQUENCES: [u32; 2] = [0x2bad_5e90, 0xabad_5e90];

/// The peer of a flow, by the flow's slot.
#[derive(Debug)]
struct Row {
    /// The flow's key; 0 if there is none.
    key: AtomicU64,
    /// The hardware address that its segments come from.
    mac: AtomicU64,
}

/// The peers of all flows of a stack.
#[derive(Debug)]
pub struct PeerTable(Vec<Row>);

/// Peers whose connections were cut, and how far they have been told.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    all: Vec<Orphan>,
    told: usize,
    rounds: u32,
}

/// A peer whose connection was cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Orphan {
    pub(super) key: FlowKey,
    mac: [u8; 6],
}

impl PeerTable {
    /// A table that remembers nobody.
    pub const NONE: &'static Self = &Self(Vec::new());

    /// A table for the flows of that many slots; flows beyond it are not remembered.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(slots: u32) -> Result<Self> {
        let mut rows = Vec::new();
        rows.try_reserve_exact(slots as usize)?;
        rows.extend_reserved((0..slots).map(|_| Row {
            key: AtomicU64::new(0),
            mac: AtomicU64::new(0),
        }));
        Ok(Self(rows))
    }

    /// Notes the peer of a flow that opens.
    #[inline]
    pub(super) fn note(&self, slot: u32, key: FlowKey, mac: [u8; 6]) {
        if let Some(row) = self.0.get(slot as usize) {
            let [a, b, c, d, e, f] = mac;
            row.mac
                .store(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]), Relaxed);
            // A row with a key has its address.
            compiler_fence(Release);
            row.key.store(key.word(), Relaxed);
        }
    }

    /// Forgets the peer of a flow that is removed.
    #[inline]
    pub(super) fn forget(&self, slot: u32) {
        if let Some(row) = self.0.get(slot as usize) {
            row.key.store(0, Relaxed);
        }
    }

    /// Takes all rows with a key that is `wanted`, and forgets every one.
    ///
    /// # Errors
    /// `OutOfMemory`: then they are forgotten as well.
    pub(super) fn take_all(&self, wanted: impl Fn(FlowKey) -> bool) -> Result<Orphans> {
        let mut orphans = Orphans::default();
        let mut outcome = Ok(());
        for row in &self.0 {
            let key = FlowKey::from_word(row.key.swap(0, Relaxed));
            if key.word() == 0 || !wanted(key) {
                continue;
            }
            let [a, b, c, d, e, f, ..] = row.mac.load(Relaxed).to_le_bytes();
            let mac = [a, b, c, d, e, f];
            match orphans.all.try_reserve(1) {
                Ok(()) => orphans.all.push_reserved(Orphan { key, mac }),
                Err(error) => outcome = Err(error.into()),
            }
        }
        outcome.map(|()| orphans)
    }
}

impl Orphans {
    /// Who is to be told next.
    pub(super) fn next(&self) -> Option<Orphan> {
        self.all.get(self.told).copied()
    }

    /// The next one was told.
    pub(super) fn note_told(&mut self) {
        self.told += 1;
    }

    /// All have been told: begins again, or forgets them.
    pub(super) fn end_round(&mut self) {
        self.told = 0;
        self.rounds += 1;
        if self.rounds == ROUNDS {
            self.all = Vec::new();
        }
    }
}

impl Orphan {
    /// Where its frames go: its address is that hardware's, if it is on the link.
    pub(super) fn neighbour(self) -> Neighbour {
        (self.mac, *self.key.peer().ip())
    }

    /// The frames that have the peer say what it expects: fillers of two bare acknowledgements.
    pub(super) fn questions(self, from: Neighbour) -> [impl FnOnce(&mut [u8]); 2] {
        SEQUENCES.map(|sequence| move |frame: &mut [u8]| self.write(frame, from, sequence))
    }

    /// Writes an acknowledgement from `from` that no peer takes, or the one with the other number; nothing where there is no
    /// room for it.
    fn write(self, frame: &mut [u8], from: Neighbour, sequence: u32) {
        if let Some(ack) = frame.first_chunk_mut() {
            write_ack(ack, from, (self.mac, self.key), (sequence, sequence), 0);
            fill_segment_sum(ack, from.1, *self.key.peer().ip());
            fill_header_sum(ack);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::frame::{ACK_BYTES, Addressee, Frame, classify};
    use core::net::{Ipv4Addr, SocketAddrV4};

    fn key(port: u16) -> FlowKey {
        FlowKey::new(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), port), 6379)
    }

    #[test]
    fn those_who_are_still_connected_are_found_once_with_their_addresses() {
        let table = PeerTable::new(3).expect("the host has memory");
        for slot in 0..4 {
            table.note(slot, key(1_000 + slot as u16), [2, 0, 0, 0, 0, slot as u8]);
        }
        table.forget(1);
        table.forget(7);
        let left = table.take_all(|_| true).expect("the host has memory");
        let left = left.all.iter().map(|left| (left.key, left.mac[5]));
        let left: std::vec::Vec<_> = left.collect();
        assert_eq!(left, [(key(1_000), 0), (key(1_002), 2)]);
        assert!(table.take_all(|_| true).expect("memory").next().is_none());
    }

    #[test]
    fn a_key_that_nobody_can_have_is_forgotten() {
        let table = PeerTable::new(1).expect("the host has memory");
        table.note(0, key(1_000), [2; 6]);
        let none = table.take_all(|key| key.port() == 9100);
        assert!(none.expect("memory").next().is_none());
        assert!(table.take_all(|_| true).expect("memory").next().is_none());
    }

    #[test]
    fn a_question_is_a_whole_segment_of_the_connection() {
        let (ours, theirs) = (Ipv4Addr::new(10, 0, 0, 1), [2, 0, 0, 0, 0, 9]);
        let orphan = Orphan {
            key: key(4_321),
            mac: theirs,
        };
        let at_peer = Addressee {
            mac: theirs,
            address: Some(Ipv4Addr::new(10, 0, 0, 2)),
            is_verified: false,
        };
        let mut sequences = std::vec::Vec::new();
        for write in orphan.questions(([2, 0, 0, 0, 0, 1], ours)) {
            let mut frame = [0xaa; ACK_BYTES];
            write(&mut frame);
            let Frame::Segment(segment) = classify(&frame, &at_peer) else {
                panic!("{frame:x?}");
            };
            assert_eq!(
                segment.key,
                FlowKey::new(SocketAddrV4::new(ours, 6379), 4_321)
            );
            assert!(segment.is_bare_ack());
            sequences.push(segment.sequence);
        }
        assert_eq!(sequences[0].wrapping_sub(sequences[1]), 1 << 31);
    }
}
