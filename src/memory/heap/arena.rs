//! Arenas: each owner's own classes of slabs and count of large objects, so that all of it can be forgotten at once.

use super::super::accounts::Owner;
use super::super::lock::Lock;
use super::slab::{CLASS_BYTES, Class};
use crate::metrics::{Counter, Gauge};

/// One owner's part of the heap. No two share a line (two lines: they are fetched in pairs).
#[repr(align(128))]
pub(super) struct Arena {
    pub(super) classes: [Lock<Class>; CLASS_BYTES.len()],
    pub(super) large_allocations: Counter,
    pub(super) large_bytes: Gauge,
}

impl Arena {
    /// An arena of nobody's. All of it is zeros, so that an image need not hold it.
    pub(super) const fn empty() -> Self {
        Self {
            classes: [const { Lock::new(Class::EMPTY) }; CLASS_BYTES.len()],
            large_allocations: Counter::new(),
            large_bytes: Gauge::new(),
        }
    }

    /// Makes it the arena of `owner`, before it is used.
    pub(super) fn begin(&self, runner: Owner, owner: Owner) {
        for (index, class) in self.classes.iter().enumerate() {
            class.with(runner, |class| *class = Class::new(index, owner));
        }
    }
}
