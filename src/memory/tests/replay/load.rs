//! A load made from a seed, of the same shape as those that are recorded (`scripts/trace_alloc.py`): what is asked for, in
//! which order, how far apart and on which CPU is as the traces of the image have it, but for the rest of the image.

use super::super::super::frames::Order;
use super::super::super::test_support::{Random, order};
use super::{Recorded, Step};
use std::vec::Vec;

/// Instructions that go before an allocation and before a free, on the mean, by phase: as the trace of seed 1 has them.
const STEADY_GAPS: [usize; 2] = [8_500, 8_000];
const BURST_GAPS: [usize; 2] = [10_000, 1_800];
const QUIET_GAPS: [usize; 2] = [8_500, 11_000];
const HTTP_GAPS: [usize; 2] = [8_500, 9_000];
/// Those before an allocation of an answer.
const ANSWER_GAP: usize = 150_000;
/// Values that are kept all the time.
const KEPT: usize = 400;
/// The block of a value: 8 to 16 KiB.
const VALUE: u8 = 2;
/// Who stores values, and who answers by HTTP.
const STORE: u8 = 2;
const HTTP: u8 = 3;

/// A load that is being made.
pub(super) struct Load {
    random: Random,
    now: u64,
    gaps: [usize; 2],
    /// Blocks so far: each has a number of its own.
    made: u64,
    kept: Vec<u64>,
    done: Recorded,
    allocations: usize,
}

impl Load {
    /// All phases, of at least so many allocations each.
    pub(super) fn phases(seed: u64, allocations: usize) -> Recorded {
        let mut load = Self {
            random: Random::new(seed),
            now: 0,
            gaps: STEADY_GAPS,
            made: 0,
            kept: Vec::new(),
            done: Recorded {
                steps: Vec::new(),
                phases: Vec::new(),
            },
            allocations: 0,
        };
        load.kept = load.allocate_values(KEPT);
        type Phase = (&'static str, [usize; 2], fn(&mut Load));
        let phases: [Phase; 4] = [
            ("steady", STEADY_GAPS, Self::steady),
            ("burst", BURST_GAPS, Self::burst),
            ("quiet", QUIET_GAPS, Self::quiet),
            ("burst-http", HTTP_GAPS, Self::burst_http),
        ];
        for (name, gaps, act) in phases {
            load.done.phases.push((name.into(), load.done.steps.len()));
            (load.gaps, load.allocations) = (gaps, 0);
            while load.allocations < allocations {
                act(&mut load);
            }
        }
        load.done
    }

    fn step(&mut self, cpu: usize, owner: u8, first: u64, order: Order, is_free: bool) {
        let gap = match cpu {
            0 => self.gaps[usize::from(is_free)],
            _ => ANSWER_GAP,
        };
        self.now += self.random.below(2 * gap) as u64;
        self.done.steps.push(Step {
            at: self.now,
            cpu,
            owner,
            first,
            order,
            is_free,
        });
    }

    fn allocate(&mut self, cpu: usize, owner: u8, of: u8) -> u64 {
        self.made += 1;
        self.allocations += 1;
        self.step(cpu, owner, self.made, order(of), false);
        self.made
    }

    fn free(&mut self, first: u64, of: u8) {
        self.step(0, STORE, first, order(of), true);
    }

    fn allocate_values(&mut self, count: usize) -> Vec<u64> {
        (0..count).map(|_| self.allocate(0, STORE, VALUE)).collect()
    }

    fn replace(&mut self, group: usize) {
        for _ in 0..group {
            let place = self.random.below(KEPT);
            self.free(self.kept[place], VALUE);
            self.kept[place] = self.allocate(0, STORE, VALUE);
            // What the heap and the connections need beside.
            let beside = match self.random.below(1_000) {
                0..2 => 0,
                2..32 => 1,
                _ => continue,
            };
            let block = self.allocate(0, STORE, beside);
            self.free(block, beside);
        }
    }

    fn steady(&mut self) {
        let group = 8 + self.random.below(25);
        self.replace(group);
    }

    fn quiet(&mut self) {
        let group = 1 + self.random.below(8);
        self.replace(group);
    }

    fn burst(&mut self) {
        let count = 50 + self.random.below(551);
        let mut values = self.allocate_values(count);
        while !values.is_empty() {
            let value = values.swap_remove(self.random.below(values.len()));
            self.free(value, VALUE);
        }
    }

    /// Answers that the other CPU makes and this one frees when they are sent, while the store goes on.
    fn burst_http(&mut self) {
        for _ in 0..4 {
            self.steady();
        }
        let mut answers = Vec::new();
        for _ in 0..4 + self.random.below(21) {
            let of = [0, 0, 0, 1, 2][self.random.below(5)];
            answers.push((self.allocate(1, HTTP, of), of));
        }
        for (answer, of) in answers {
            self.free(answer, of);
        }
    }
}
