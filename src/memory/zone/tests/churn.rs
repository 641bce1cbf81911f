//! What random churn leaves of large blocks: bursts of 1/64 of memory freed at random and allocated again, 8 times
//! the memory in all, at 80 % full. As many CPUs as there are would make no difference here: the zone sees their
//! batches one after another.
//!
//! 1 GiB; single frames in 256 MiB, but for NOS_NIGHTLY.

use super::*;

/// What memory looks like before the churn.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Start {
    /// Filled once to 80 %.
    Easy,
    /// Filled to the last frame, then freed at random to 80 %.
    Hard,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Load {
    /// Movable single frames.
    Frames,
    /// Movable blocks, nine in ten of them single frames, the others of order 0 to 9.
    Mixed,
    /// Single frames, one in ten immovable.
    SomeImmovable,
}

/// Memory under churn.
pub(super) struct Churn {
    pub(super) bare: Bare,
    pub(super) held: Vec<(Pfn, Order, Mobility)>,
    pub(super) frames: u64,
    random: Random,
    load: Load,
    pub(super) used: u64,
}

impl Churn {
    pub(super) fn run(start: Start, load: Load, seed: u64) -> Self {
        let chunks = match (load, std::env::var_os("NOS_NIGHTLY")) {
            _ if cfg!(miri) => 8,
            (Load::Mixed, _) | (_, Some(_)) => 256,
            _ => 64,
        };
        let frames = chunks * CHUNK;
        let mut churn = Self::of(Bare::new(&[CHUNK..CHUNK + frames]), Vec::new(), seed);
        churn.load = load;
        let target = frames * 4 / 5;
        if start == Start::Hard {
            churn.fill(frames);
        } else {
            churn.fill(target);
        }
        churn.empty(target);
        for _ in 0..8 * 64 {
            churn.empty(target - frames / 64);
            churn.fill(target);
        }
        churn
    }

    /// Memory in which those blocks are held.
    pub(super) fn of(bare: Bare, held: Vec<(Pfn, Order, Mobility)>, seed: u64) -> Self {
        Self {
            frames: bare.managed_frames(),
            used: held.iter().map(|(_, order, _)| order.frames()).sum(),
            random: Random::new(seed),
            load: Load::Frames,
            bare,
            held,
        }
    }

    /// Allocates until so many frames are in use, or there are no more.
    fn fill(&mut self, target: u64) {
        while self.used < target {
            let random = &mut self.random;
            let mobility = match self.load {
                Load::SomeImmovable if random.below(10) == 0 => Mobility::Immovable,
                _ => Mobility::Movable,
            };
            let wanted = match self.load {
                Load::Mixed if random.below(10) == 0 => random.below(10),
                _ => 0,
            };
            let wanted = order(wanted as u8);
            if let Some(first) = self.bare.zone.take(wanted, mobility) {
                self.used += wanted.frames();
                self.held.push((first, wanted, mobility));
            } else if wanted == Order::ZERO {
                return;
            }
        }
    }

    /// Frees at random until at most so many frames are in use.
    fn empty(&mut self, target: u64) {
        while self.used > target {
            let index = self.random.below(self.held.len());
            let (first, order, _) = self.held.swap_remove(index);
            self.bare.zone.give_back(first, order);
            self.used -= order.frames();
        }
    }

    /// Per cent of the free memory that is in free pageblocks.
    pub(super) fn delivered(&self) -> u64 {
        let stats = self.bare.zone.stats();
        let whole = stats.free_blocks[10] * CHUNK + stats.free_blocks[9] * CHUNK / 2;
        100 * whole / stats.free_frames()
    }

    /// Per cent of the pageblocks that hold an immovable block.
    pub(super) fn with_immovable(&self) -> usize {
        let mut pageblocks = vec![false; self.bare.zone.trees.len()];
        for &(first, _, mobility) in &self.held {
            pageblocks[self.bare.zone.locate(first).0] |= mobility == Mobility::Immovable;
        }
        100 * pageblocks.iter().filter(|&&has_one| has_one).count() / pageblocks.len()
    }
}
