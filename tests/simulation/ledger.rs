//! What the subsystems did, as they noted it themselves, to be held against what the bus counts.

use std::collections::{BTreeMap, BTreeSet};

use nos::bus::{MessageId, Published, Reason, Sent, Tally};

/// The notes of one queue.
#[derive(Default)]
pub(crate) struct Queued {
    queued: u64,
    refused: u64,
    received: BTreeSet<(usize, MessageId)>,
}

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) queues: BTreeMap<&'static str, Queued>,
    /// Requests that each subsystem waits for.
    pub(crate) waiting: BTreeMap<usize, usize>,
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) fault: Option<String>,
    /// A hash of all that happened, in order (FNV-1a).
    pub(crate) trace: u64,
}

impl Ledger {
    pub(crate) fn trace(&mut self, word: u64) {
        for byte in word.to_le_bytes() {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    pub(crate) fn complain(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }

    fn queue(&mut self, name: &'static str) -> &mut Queued {
        self.queues.entry(name).or_default()
    }

    pub(crate) fn sent<M>(&mut self, queue: &'static str, sent: &Sent<M>) {
        let queued = sent.is_queued();
        self.trace(u64::from(queued));
        let queue = self.queue(queue);
        queue.queued += u64::from(queued);
        queue.refused += u64::from(!queued);
    }

    pub(crate) fn published(&mut self, queue: &'static str, published: Published) {
        self.trace(published.queued as u64);
        let queue = self.queue(queue);
        queue.queued += published.queued as u64;
        queue.refused += published.dropped as u64;
    }

    pub(crate) fn received(&mut self, queue: &'static str, reader: usize, id: MessageId) {
        self.trace(id.as_u64());
        if !self.queue(queue).received.insert((reader, id)) {
            self.complain(format!(
                "{queue}: message {:#x} received twice",
                id.as_u64()
            ));
        }
    }

    pub(crate) fn asked(&mut self, who: usize) {
        *self.waiting.entry(who).or_default() += 1;
    }

    pub(crate) fn answered(&mut self, who: usize, well: bool) {
        *self.waiting.entry(who).or_default() -= 1;
        self.trace(u64::from(well));
        if well {
            self.answered += 1;
        } else {
            self.failed += 1;
        }
    }

    /// Compares with what the bus counts; returns how many it dropped after they had been queued.
    pub(crate) fn check(&mut self, queue: &'static str, tally: Tally) -> u64 {
        let notes = self.queue(queue);
        let (queued, refused) = (notes.queued, notes.refused);
        let received = notes.received.len() as u64;
        let dropped: u64 = Reason::ALL
            .iter()
            .map(|&reason| tally.dropped(reason))
            .sum();
        let lost = dropped.saturating_sub(refused);
        if refused > dropped {
            self.complain(format!(
                "{queue}: {refused} refused, {dropped} counted as dropped"
            ));
        }
        if received != tally.delivered {
            self.complain(format!(
                "{queue}: {received} received, {} counted as delivered: lost silently, or doubled",
                tally.delivered
            ));
        }
        if queued != tally.delivered + tally.depth + lost {
            self.complain(format!(
                "{queue}: {queued} queued, but {} received, {} waiting, {lost} dropped: lost silently, or doubled",
                tally.delivered, tally.depth
            ));
        }
        lost
    }
}
