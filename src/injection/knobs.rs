//! The knobs of a point: which calls of it fail.

use super::point::Declaration;
use crate::error::Result;
use crate::platform::boot_arguments::bad_value;

/// One knob. The first five are those of Linux; a call must pass all of them to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knob {
    /// In percent, how likely a call fails.
    Probability,
    /// One call in so many is looked at.
    Interval,
    /// How many calls fail at most; [`Knobs::UNLIMITED`] is written -1.
    Times,
    /// No call fails until those before it took so much: bytes where calls have a size, else calls.
    Space,
    /// If not 0, that call alone fails, counted from 1, whatever the other knobs say.
    Nth,
    /// What the chances are drawn from.
    Seed,
    /// How much, in the unit that the point declares.
    Amount,
    /// Which of the targets that the point declares.
    Target,
}

impl Knob {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 8] = [
        Self::Probability,
        Self::Interval,
        Self::Times,
        Self::Space,
        Self::Nth,
        Self::Seed,
        Self::Amount,
        Self::Target,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Probability => "probability",
            Self::Interval => "interval",
            Self::Times => "times",
            Self::Space => "space",
            Self::Nth => "nth",
            Self::Seed => "seed",
            Self::Amount => "amount",
            Self::Target => "target",
        }
    }

    /// The knob of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|knob| knob.name() == name)
    }
}

/// A setting of all knobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knobs([u64; Knob::ALL.len()]);

impl Knobs {
    /// [`Knob::Times`] without an end.
    pub const UNLIMITED: u64 = u64::MAX;

    /// What a point is armed with if no knob is named: the next call fails, and none after it.
    pub(super) fn of(declaration: &Declaration) -> Self {
        let mut knobs = Self([0; Knob::ALL.len()]);
        knobs.put(Knob::Probability, 100);
        knobs.put(Knob::Interval, 1);
        knobs.put(Knob::Times, 1);
        knobs.put(Knob::Seed, 1);
        if let Some((_, usual)) = declaration.amount {
            knobs.put(Knob::Amount, usual);
        }
        knobs
    }

    /// A knob's value.
    pub const fn get(&self, knob: Knob) -> u64 {
        self.0[knob as usize]
    }

    /// Turns a knob, whatever the value is.
    pub(super) const fn put(&mut self, knob: Knob, value: u64) {
        self.0[knob as usize] = value;
    }

    /// Turns a knob of that point to what `value` says.
    ///
    /// # Errors
    /// `BadValue`, which names the knob and says what it takes.
    pub(super) fn set(&mut self, knob: Knob, value: &str, of: &Declaration) -> Result<()> {
        let refused = |expected| bad_value(knob.name(), expected);
        let number = value.parse::<u64>();
        let number = match knob {
            Knob::Probability => number
                .ok()
                .filter(|&percent| percent <= 100)
                .ok_or(refused("a percentage, 0 to 100"))?,
            Knob::Interval => number
                .ok()
                .filter(|&calls| calls > 0)
                .ok_or(refused("calls, at least 1"))?,
            Knob::Times if value == "-1" => Self::UNLIMITED,
            Knob::Amount if of.amount.is_none() => {
                return Err(refused("a point that takes an amount"));
            }
            Knob::Target => {
                let at = of.targets.iter().position(|&target| target == value);
                at.ok_or(refused("one of the point's targets"))? as u64
            }
            _ => number.map_err(|_| refused("a number"))?,
        };
        self.put(knob, number);
        Ok(())
    }
}
