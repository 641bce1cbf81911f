//! A disk that loses its power: for the tests. It does requests in an order drawn at random, and knows what can be left
//! of them after each step.

use crate::cache::random::Random;
use crate::error::Result;
use crate::storage::{BLOCK_BYTES, BUFFER_BYTES, BlockQueue, Operation};
use std::vec;
use std::vec::Vec;

const SLOTS: usize = 4;

/// What happened to the disk, one step after the other. Writes are of one block each.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Write {
        block: u64,
        data: Vec<u8>,
    },
    /// The writes of these numbers are done; they count from the start of the log.
    Done(Vec<usize>),
    FlushAsked,
    FlushDone,
}

/// The disk.
pub(super) struct PowerCutDisk {
    /// Before the log.
    durable: Vec<u8>,
    now: Vec<u8>,
    pub(super) log: Vec<Event>,
    buffers: Vec<Vec<u8>>,
    /// Requests under way: slot, operation, and the numbers of its writes.
    under_way: Vec<(usize, Operation, Vec<usize>)>,
    random: Random,
    /// Answers requests with an error from that many on.
    pub(super) fails_after: usize,
}

impl PowerCutDisk {
    pub(super) fn new(bytes: Vec<u8>, seed: u64) -> Self {
        Self {
            now: bytes.clone(),
            durable: bytes,
            log: Vec::new(),
            buffers: vec![vec![0xee; BUFFER_BYTES]; SLOTS],
            under_way: Vec::new(),
            random: Random::new(seed),
            fails_after: usize::MAX,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.now
    }

    /// What may be left when the power goes after the first `steps` of the log: what was flushed, and of the rest some,
    /// in any order, the last of which may be torn.
    pub(super) fn after_cut(&self, steps: usize, random: &mut Random) -> Vec<u8> {
        let (mut durable_until, mut asked) = (0, 0);
        for (at, event) in self.log[..steps].iter().enumerate() {
            match event {
                Event::FlushAsked => asked = at,
                Event::FlushDone => durable_until = asked,
                _ => {}
            }
        }
        let mut is_durable = vec![false; steps];
        for event in &self.log[..durable_until] {
            if let Event::Done(writes) = event {
                writes.iter().for_each(|&write| is_durable[write] = true);
            }
        }
        let mut bytes = self.durable.clone();
        let mut put = |block: u64, data: &[u8]| {
            let start = block as usize * BLOCK_BYTES;
            bytes[start..start + data.len()].copy_from_slice(data);
        };
        let mut maybe = Vec::new();
        for (at, event) in self.log[..steps].iter().enumerate() {
            if let Event::Write { block, data } = event {
                match is_durable[at] {
                    true => put(*block, data),
                    false => maybe.push((*block, data)),
                }
            }
        }
        // None, all, or some of them; one block is written once between two flushes, so their order is of no matter.
        let share = random.below(4);
        for (number, (block, data)) in maybe.iter().enumerate() {
            let is_last = number + 1 == maybe.len();
            let keeps = match share {
                0 => false,
                1 => true,
                _ => random.below(2) == 0,
            };
            if is_last && random.below(2) == 0 {
                put(*block, &data[..random.below(BLOCK_BYTES as u32) as usize]);
            } else if keeps {
                put(*block, data);
            }
        }
        bytes
    }
}

impl BlockQueue for PowerCutDisk {
    fn blocks(&self) -> u64 {
        (self.now.len() / BLOCK_BYTES) as u64
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn slots(&self) -> usize {
        SLOTS
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        assert!(self.under_way.iter().all(|(other, ..)| *other != slot));
        &mut self.buffers[slot]
    }

    fn submit(
        &mut self,
        slot: usize,
        operation: Operation,
        first: u64,
        blocks: usize,
    ) -> Result<()> {
        assert!(self.under_way.iter().all(|(other, ..)| *other != slot));
        assert!(first + blocks as u64 <= self.blocks());
        let mut writes = Vec::new();
        if operation == Operation::Flush {
            self.log.push(Event::FlushAsked);
        }
        if operation == Operation::Write {
            for number in 0..blocks {
                let block = first + number as u64;
                let from = number * BLOCK_BYTES;
                let data = self.buffers[slot][from..from + BLOCK_BYTES].to_vec();
                let start = block as usize * BLOCK_BYTES;
                self.now[start..start + BLOCK_BYTES].copy_from_slice(&data);
                writes.push(self.log.len());
                self.log.push(Event::Write { block, data });
            }
        }
        if operation == Operation::Read {
            let start = first as usize * BLOCK_BYTES;
            let bytes = blocks * BLOCK_BYTES;
            self.buffers[slot][..bytes].copy_from_slice(&self.now[start..start + bytes]);
        }
        self.under_way.push((slot, operation, writes));
        Ok(())
    }

    fn has_done(&self) -> bool {
        !self.under_way.is_empty()
    }

    fn take_done(&mut self) -> Option<(usize, bool)> {
        // A third of the time nothing is done yet.
        if self.under_way.is_empty() || self.random.below(3) == 0 {
            return None;
        }
        let one = self.random.below(self.under_way.len() as u32) as usize;
        let (slot, operation, writes) = self.under_way.swap_remove(one);
        self.log.push(match operation {
            Operation::Flush => Event::FlushDone,
            _ => Event::Done(writes),
        });
        if self.fails_after == 0 {
            return Some((slot, false));
        }
        self.fails_after -= 1;
        Some((slot, true))
    }
}
