//! A point: the decision whether a call fails, and what is counted of it.

use super::knobs::{Knob, Knobs};
use crate::metrics::Counter;
use core::array;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::sync::atomic::{Ordering::Relaxed, fence};

/// What a part says of one of its points.
#[derive(Clone, Copy, Debug)]
pub struct Declaration {
    /// Its name: words joined by hyphens.
    pub name: &'static str,
    /// What its amount is counted in, and what it is unless told otherwise; none if it takes none.
    pub amount: Option<(&'static str, u64)>,
    /// Where the fault may happen, by name, if that is to be chosen.
    pub targets: &'static [&'static str],
}

impl Declaration {
    /// A point without an amount and targets.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            amount: None,
            targets: &[],
        }
    }

    /// The same with an amount: its unit, and what it is unless told otherwise.
    pub const fn with_amount(mut self, unit: &'static str, usual: u64) -> Self {
        self.amount = Some((unit, usual));
        self
    }

    /// The same with targets; the first is meant unless told otherwise.
    pub const fn with_targets(mut self, targets: &'static [&'static str]) -> Self {
        self.targets = targets;
        self
    }
}

/// What is counted of a point, as METRICS.md has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was armed.
    Armed,
    /// A call failed.
    Fired,
    /// A call came while it was armed and did not fail.
    Suppressed,
}

impl Outcome {
    pub(super) const ALL: [Self; 3] = [Self::Armed, Self::Fired, Self::Suppressed];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Armed => "armed",
            Self::Fired => "fired",
            Self::Suppressed => "suppressed",
        }
    }
}

/// A place where a fault can happen. Atomics, as it is armed from another CPU than it is asked on; asked on two at a
/// time it fails as often as it is to, but which calls do is theirs to race for.
pub(super) struct Point {
    is_armed: AtomicBool,
    knobs: [AtomicU64; Knob::ALL.len()],
    /// Calls since it was armed.
    calls: AtomicU64,
    /// Those of them that space let through.
    looked_at: AtomicU64,
    space_left: AtomicU64,
    times_left: AtomicU64,
    counts: [Counter; Outcome::ALL.len()],
}

/// splitmix64's way to spread the bits of a number.
const fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Point {
    pub(super) fn new(declaration: &Declaration) -> Self {
        let knobs = Knobs::of(declaration);
        Self {
            is_armed: AtomicBool::new(false),
            knobs: array::from_fn(|at| AtomicU64::new(knobs.get(Knob::ALL[at]))),
            calls: AtomicU64::new(0),
            looked_at: AtomicU64::new(0),
            space_left: AtomicU64::new(0),
            times_left: AtomicU64::new(0),
            counts: [const { Counter::new() }; Outcome::ALL.len()],
        }
    }

    pub(super) fn knob(&self, knob: Knob) -> u64 {
        self.knobs[knob as usize].load(Relaxed)
    }

    pub(super) fn count(&self, outcome: Outcome) -> u64 {
        self.counts[outcome as usize].get()
    }

    pub(super) fn is_armed(&self) -> bool {
        self.is_armed.load(Relaxed)
    }

    /// Arms it anew; the group counts in `armed` how many of its points are.
    pub(super) fn arm(&self, knobs: &Knobs, armed: &AtomicU64) {
        self.disarm(armed);
        for (place, knob) in self.knobs.iter().zip(Knob::ALL) {
            place.store(knobs.get(knob), Relaxed);
        }
        self.calls.store(0, Relaxed);
        self.looked_at.store(0, Relaxed);
        self.space_left.store(knobs.get(Knob::Space), Relaxed);
        self.times_left.store(knobs.get(Knob::Times), Relaxed);
        self.counts[Outcome::Armed as usize].increment();
        // Release: pairs with the fence in `fires`; who finds it armed sees the knobs.
        if !self.is_armed.swap(true, Ordering::Release) {
            armed.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn disarm(&self, armed: &AtomicU64) {
        if self.is_armed.swap(false, Relaxed) {
            armed.fetch_sub(1, Relaxed);
        }
    }

    /// Whether this call, which takes `size` of the space, fails.
    pub(super) fn fires(&self, size: u64, armed: &AtomicU64) -> bool {
        if !self.is_armed() {
            return false;
        }
        fence(Ordering::Acquire);
        let call = self.calls.fetch_add(1, Relaxed) + 1;
        let fires = self.decide(call, size);
        let outcome = if fires {
            Outcome::Fired
        } else {
            Outcome::Suppressed
        };
        self.counts[outcome as usize].increment();
        let nth = self.knob(Knob::Nth);
        if nth > 0 && call >= nth || nth == 0 && self.times_left.load(Relaxed) == 0 {
            self.disarm(armed);
        }
        fires
    }

    /// In the order of Linux' `should_fail_ex`: what space or the interval holds back does not touch what comes after.
    fn decide(&self, call: u64, size: u64) -> bool {
        match self.knob(Knob::Nth) {
            0 => {}
            nth => return call == nth,
        }
        let space = self.space_left.load(Relaxed);
        if space > 0 {
            self.space_left.store(space.saturating_sub(size), Relaxed);
            if space >= size {
                return false;
            }
        }
        let looked_at = self.looked_at.fetch_add(1, Relaxed) + 1;
        if !looked_at.is_multiple_of(self.knob(Knob::Interval)) {
            return false;
        }
        let chance = (u128::from(self.draw(call)) * 100) >> u64::BITS;
        if chance as u64 >= self.knob(Knob::Probability) {
            return false;
        }
        let one_less = |left| match left {
            0 => None,
            Knobs::UNLIMITED => Some(left),
            _ => Some(left - 1),
        };
        self.times_left
            .fetch_update(Relaxed, Relaxed, one_less)
            .is_ok()
    }

    /// Random bits that follow from the seed and the number of a call.
    fn draw(&self, call: u64) -> u64 {
        mixed(mixed(self.knob(Knob::Seed)) ^ call)
    }

    /// Random bits for what the last call does, where it fails: others than it was decided by.
    pub(super) fn last_draw(&self) -> u64 {
        mixed(!self.draw(self.calls.load(Relaxed)))
    }
}
