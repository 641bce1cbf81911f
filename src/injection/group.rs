//! Points that one part asks for together.

use super::knobs::{Knob, Knobs};
use super::point::{Declaration, Point};
use crate::error::{Result, try_boxed_slice};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The points of one part, numbered as it declared them.
pub struct Group {
    /// How many of them are armed. First, as every call looks at it.
    armed: AtomicU64,
    points: Box<[Point]>,
    declarations: &'static [Declaration],
}

impl Group {
    /// A group of those points, none of them armed.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(declarations: &'static [Declaration]) -> Result<Self> {
        Ok(Self {
            armed: AtomicU64::new(0),
            points: try_boxed_slice(declarations.len(), |at| Point::new(&declarations[at]))?,
            declarations,
        })
    }

    /// Whether any of its points is armed.
    #[inline(always)]
    pub fn is_armed(&self) -> bool {
        self.armed.load(Relaxed) != 0
    }

    /// Whether this call at that point fails.
    pub fn fires(&self, at: usize) -> bool {
        self.fires_for(at, 1)
    }

    /// Whether this call at that point fails, which takes `size` of the point's space.
    pub fn fires_for(&self, at: usize, size: u64) -> bool {
        self.points[at].fires(size, &self.armed)
    }

    /// Whether this call at that point fails, which takes `size` of the point's space, if the point is armed for that one
    /// of its targets; a call of another is none.
    pub fn fires_at(&self, at: usize, target: usize, size: u64) -> bool {
        let point = &self.points[at];
        point.is_armed() && point.knob(Knob::Target) == target as u64 && self.fires_for(at, size)
    }

    /// How much: the point's amount.
    pub fn amount(&self, at: usize) -> u64 {
        self.points[at].knob(Knob::Amount)
    }

    /// Random bits for a call that fails, which follow from the point's seed and the number of the call.
    pub fn draw(&self, at: usize) -> u64 {
        self.points[at].last_draw()
    }

    /// Arms a point.
    pub fn arm(&self, at: usize, knobs: &Knobs) {
        self.points[at].arm(knobs, &self.armed);
    }

    /// Disarms a point.
    pub fn disarm(&self, at: usize) {
        self.points[at].disarm(&self.armed);
    }

    /// Its points, each with what was declared of it.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&'static Declaration, &Point)> {
        self.declarations.iter().zip(&self.points)
    }

    /// What was declared of a point.
    pub(super) fn declaration(&self, at: usize) -> &'static Declaration {
        &self.declarations[at]
    }
}
