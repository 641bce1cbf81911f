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
    /// The empty arena of `owner`.
    const fn new(owner: Owner) -> Self {
        let mut classes = [const { Lock::new(Class::new(0, Owner::KERNEL)) }; CLASS_BYTES.len()];
        let mut i = 0;
        while i < classes.len() {
            classes[i] = Lock::new(Class::new(i, owner));
            i += 1;
        }
        Self {
            classes,
            large_allocations: Counter::new(),
            large_bytes: Gauge::new(),
        }
    }

    /// The empty arenas of all owners.
    pub(super) const fn all() -> [Self; Owner::COUNT] {
        let mut arenas = [const { Self::new(Owner::KERNEL) }; Owner::COUNT];
        let mut i = 0;
        while i < arenas.len() {
            if let Some(owner) = Owner::new(i as u8) {
                arenas[i] = Self::new(owner);
            }
            i += 1;
        }
        arenas
    }
}
