//! The other side of the ring, as a correct device keeps it: for the tests and the model.

use super::{
    AtomicU16, AtomicU32, AtomicU64, Available, Descriptor, Memory, NOT_WANTED, OnOwnPage,
    Ordering, SplitRing, Used, UsedElement, fence,
};
use core::array::from_fn;
use core::ops::Deref;

impl<const N: usize> Memory<N> {
    /// The memory of a ring that has turned until its indices are `index`.
    pub(super) fn at(index: u16) -> Self {
        let zero = || AtomicU16::new(0);
        Self {
            descriptors: from_fn(|_| Descriptor {
                address: AtomicU64::new(0),
                len: AtomicU32::new(0),
                flags: zero(),
                next: zero(),
            }),
            available: Available {
                flags: zero(),
                index: AtomicU16::new(index),
                ring: from_fn(|_| zero()),
                used_event: zero(),
            },
            used: OnOwnPage(Used {
                flags: zero(),
                index: AtomicU16::new(index),
                ring: from_fn(|_| UsedElement {
                    id: AtomicU32::new(0),
                    len: AtomicU32::new(0),
                }),
                available_event: zero(),
            }),
        }
    }
}

/// A driver on memory whose indices are `index`.
pub(super) fn driver_at<const N: usize, M: Deref<Target = Memory<N>>, O: super::Orders>(
    memory: M,
    index: u16,
) -> SplitRing<N, M, O> {
    SplitRing {
        offered: index,
        published: index,
        taken: index,
        ..SplitRing::new(memory)
    }
}

/// A buffer as the device finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Buffer {
    pub(super) n: u16,
    pub(super) address: u64,
    pub(super) len: u32,
}

/// The device's side.
pub(super) struct Device<const N: usize, M> {
    memory: M,
    seen: u16,
    used: u16,
}

impl<const N: usize, M: Deref<Target = Memory<N>>> Device<N, M> {
    pub(super) fn at(memory: M, index: u16) -> Self {
        Self {
            memory,
            seen: index,
            used: index,
        }
    }

    fn has_available(&self) -> bool {
        // Acquire: pairs with the driver's Release of the index.
        self.memory.available.index.load(Ordering::Acquire) != self.seen
    }

    /// The next buffer that the driver offered.
    pub(super) fn take_available(&mut self) -> Option<Buffer> {
        self.has_available().then(|| {
            let slot = usize::from(self.seen) % N;
            self.seen = self.seen.wrapping_add(1);
            // Relaxed: behind the index.
            let n = self.memory.available.ring[slot].load(Ordering::Relaxed);
            let descriptor = &self.memory.descriptors[usize::from(n)];
            Buffer {
                n,
                address: descriptor.address.load(Ordering::Relaxed),
                len: descriptor.len.load(Ordering::Relaxed),
            }
        })
    }

    /// Asks to be notified, or not to be. Answers whether nothing is there: then it may sleep.
    pub(super) fn want_notifications(&mut self, wanted: bool) -> bool {
        let flags = if wanted { 0 } else { NOT_WANTED };
        self.memory.used.0.flags.store(flags, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        !self.has_available()
    }

    /// Gives a buffer back. True if the driver wants to be interrupted.
    pub(super) fn give_back(&mut self, n: u32, len: u32) -> bool {
        let used = &self.memory.used.0;
        let element = &used.ring[usize::from(self.used) % N];
        self.used = self.used.wrapping_add(1);
        // Relaxed: shown by the Release of the index.
        element.id.store(n, Ordering::Relaxed);
        element.len.store(len, Ordering::Relaxed);
        used.index.store(self.used, Ordering::Release);
        fence(Ordering::SeqCst);
        self.memory.available.flags.load(Ordering::Relaxed) & NOT_WANTED == 0
    }
}
