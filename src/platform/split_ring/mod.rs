//! The protocol of a split virtqueue whose descriptors are fixed: descriptor `n` is buffer `n`, for good.
//!
//! The crate's own queue allots descriptors anew for each buffer and copies them twice, 230 instructions a
//! frame. A driver whose buffers never change needs none of that: to offer a buffer is to write its number
//! into the available ring, to take one back is to read a number from the used ring.
//!
//! Always true: a buffer is the device's from [`SplitRing::offer`] until [`SplitRing::take_used`] names it,
//! and the ring keeps account of which. What the device writes is a claim: a number that it does not hold breaks
//! the ring, which then gives nothing more.
//!
//! Order, as virtio 1.2 has it (2.7.13, 2.7.14): descriptor and ring entry are written before the available
//! index (Release), entries are read after the used index (Acquire), and between the store of an index or a
//! flag and the load of what the device answers to it stands a full barrier. `make loom` walks through every
//! order in which driver and device can meet, and shows that each of the three is needed; a house rule finds
//! them in the built image.
//!
//! Who wants to be told is said by flags, not by event indices: a flag is one bit, where an index has to be
//! compared across the wrap of 16 bits, and an image with one frame in flight or a full batch gains nothing by it.
//!
//! Plain Rust on atomics: the memory may as well be a test's, and the atomics those of the model.

#[cfg(test)]
mod device;
#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(not(all(test, loom)))]
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

use core::marker::PhantomData;
use core::ops::Deref;

/// Descriptor flag: the buffer goes on in another descriptor.
const CONTINUES: u16 = 1;
/// Descriptor flag: the device writes the buffer.
const DEVICE_WRITES: u16 = 2;
/// Ring flag of the driver: no interrupt, please. Of the device: no notification, please.
const NOT_WANTED: u16 = 1;

/// Who writes the buffers of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The driver; the device reads.
    Driver,
    /// The device; the driver reads.
    Device,
}

#[derive(Debug)]
#[repr(C)]
struct Descriptor {
    address: AtomicU64,
    len: AtomicU32,
    flags: AtomicU16,
    /// With `CONTINUES`: the descriptor of the buffer's next part.
    next: AtomicU16,
}

#[derive(Debug)]
#[repr(C)]
struct Available<const N: usize> {
    flags: AtomicU16,
    index: AtomicU16,
    ring: [AtomicU16; N],
    used_event: AtomicU16,
}

#[derive(Debug)]
#[repr(C)]
struct UsedElement {
    id: AtomicU32,
    len: AtomicU32,
}

#[derive(Debug)]
#[repr(C)]
struct Used<const N: usize> {
    flags: AtomicU16,
    index: AtomicU16,
    ring: [UsedElement; N],
    available_event: AtomicU16,
}

/// What driver and device share, zeroed at first: all of it atomics, so that a device that writes meanwhile is no
/// data race. In one piece, as a legacy device wants it: the used ring on its own page.
#[derive(Debug)]
#[cfg_attr(not(all(test, loom)), repr(C, align(4096)))] // the model's threads have small stacks
pub struct Memory<const N: usize> {
    descriptors: [Descriptor; N],
    available: Available<N>,
    used: OnOwnPage<Used<N>>,
}

#[derive(Debug)]
#[cfg_attr(not(all(test, loom)), repr(C, align(4096)))]
struct OnOwnPage<T>(T);

impl<const N: usize> Memory<N> {
    /// Where the available ring begins.
    pub const AVAILABLE_OFFSET: usize = core::mem::offset_of!(Self, available);
    /// Where the used ring begins.
    pub const USED_OFFSET: usize = core::mem::offset_of!(Self, used);
}

#[cfg(not(all(test, loom)))]
const _: () = {
    // Virtio 1.2, 2.7.5, 2.7.6 and 2.7.8.
    assert!(size_of::<Descriptor>() == 16);
    assert!(size_of::<UsedElement>() == 8);
    assert!(core::mem::offset_of!(Available<4>, ring) == 4);
    assert!(core::mem::offset_of!(Used<4>, ring) == 4);
    assert!(Memory::<4>::AVAILABLE_OFFSET == 64 && Memory::<4>::USED_OFFSET == 4096);
};

/// The orders that the protocol leans on. The model weakens one at a time, to show that it is needed.
pub trait Orders {
    /// Of the store of an index: after what it shows.
    const PUBLISH: Ordering = Ordering::Release;
    /// Of the load of an index: before what it shows.
    const LOOK: Ordering = Ordering::Acquire;

    /// Stands between a store and the load of the other side's answer to it: else both could miss each other.
    #[inline]
    fn barrier() {
        fence(Ordering::SeqCst);
    }
}

/// The orders that virtio 1.2 asks for.
#[derive(Debug)]
pub enum Virtio {}
impl Orders for Virtio {}

/// The driver's side of a virtqueue of `N` fixed buffers.
#[derive(Debug)]
pub struct SplitRing<const N: usize, M = &'static Memory<N>, O = Virtio> {
    memory: M,
    /// Our copy of the available index, ahead of what was published.
    offered: u16,
    published: u16,
    taken: u16,
    is_offered: [bool; N],
    is_broken: bool,
    orders: PhantomData<O>,
}

impl<const N: usize, M: Deref<Target = Memory<N>>, O: Orders> SplitRing<N, M, O> {
    const SIZE: () = assert!(
        N.is_power_of_two() && N <= 256,
        "a ring of QEMU's virtio-net"
    );

    /// A ring in `memory`, which is zeroed.
    pub fn new(memory: M) -> Self {
        let () = Self::SIZE;
        Self {
            memory,
            offered: 0,
            published: 0,
            taken: 0,
            is_offered: [false; N],
            is_broken: false,
            orders: PhantomData,
        }
    }

    /// Says where buffer `n` is: `len` bytes at `address`, written by `writer`.
    ///
    /// # Panics
    /// If the device has the buffer.
    #[inline]
    pub fn describe(&mut self, n: u16, address: u64, len: u32, writer: Writer) {
        assert!(
            !self.is_offered[usize::from(n)],
            "buffer {n} is the device's"
        );
        let flags = match writer {
            Writer::Driver => 0,
            Writer::Device => DEVICE_WRITES,
        };
        let descriptor = &self.memory.descriptors[usize::from(n)];
        // Relaxed: published by `publish`, and the device does not look at it before.
        descriptor.address.store(address, Ordering::Relaxed);
        descriptor.len.store(len, Ordering::Relaxed);
        descriptor.flags.store(flags, Ordering::Relaxed);
    }

    /// Says that buffer `n`, which was described, goes on with buffer `next`: that one is offered with it, and not by
    /// itself. Describing `n` anew takes that back.
    ///
    /// # Panics
    /// If the device has the buffer.
    pub fn continue_with(&mut self, n: u16, next: u16) {
        assert!(
            !self.is_offered[usize::from(n)],
            "buffer {n} is the device's"
        );
        let descriptor = &self.memory.descriptors[usize::from(n)];
        let flags = descriptor.flags.load(Ordering::Relaxed);
        // Relaxed: as in `describe`.
        descriptor.flags.store(flags | CONTINUES, Ordering::Relaxed);
        descriptor.next.store(next, Ordering::Relaxed);
    }

    /// Gives buffer `n` to the device, from the next [`SplitRing::publish`] on.
    ///
    /// # Panics
    /// If the device has it already.
    #[inline]
    pub fn offer(&mut self, n: u16) {
        let is_offered = &mut self.is_offered[usize::from(n)];
        assert!(!*is_offered, "buffer {n} is offered twice");
        *is_offered = true;
        let slot = usize::from(self.offered) % N;
        // Relaxed: published by `publish`.
        self.memory.available.ring[slot].store(n, Ordering::Relaxed);
        self.offered = self.offered.wrapping_add(1);
    }

    /// Shows the device all that was offered. True if it wants to be notified of it.
    #[inline]
    pub fn publish(&mut self) -> bool {
        if self.published == self.offered {
            return false;
        }
        self.published = self.offered;
        let memory = &*self.memory;
        // Release: descriptors and ring entries before the index, for the device's acquiring read of it.
        memory.available.index.store(self.offered, O::PUBLISH);
        // The index before the device's flag is read (2.7.13.1).
        O::barrier();
        memory.used.0.flags.load(Ordering::Relaxed) & NOT_WANTED == 0
    }

    /// Asks for interrupts, or not to be interrupted. Answers whether nothing is there to be taken: then an
    /// interrupt will come with the next buffer.
    #[inline]
    pub fn want_interrupts(&mut self, wanted: bool) -> bool {
        let flags = if wanted { 0 } else { NOT_WANTED };
        let shared = &self.memory.available.flags;
        shared.store(flags, Ordering::Relaxed);
        // The wish before the last look: a buffer between the two would come without an interrupt (2.7.7.1).
        O::barrier();
        !self.has_used()
    }

    /// True if a buffer can be taken back.
    #[inline]
    pub fn has_used(&self) -> bool {
        // Acquire: pairs with the device's release of the index after it wrote the entry and the buffer.
        !self.is_broken && self.memory.used.0.index.load(O::LOOK) != self.taken
    }

    /// Takes the next buffer back: its number and the bytes the device says it wrote.
    #[inline]
    pub fn take_used(&mut self) -> Option<(u16, u32)> {
        if !self.has_used() {
            return None;
        }
        let slot = usize::from(self.taken) % N;
        // Relaxed: the device wrote the entry before the index that was read just now, and writes it again
        // only after N more buffers were offered.
        let element = &self.memory.used.0.ring[slot];
        let id = element.id.load(Ordering::Relaxed);
        let len = element.len.load(Ordering::Relaxed);
        match self.is_offered.get_mut(id as usize) {
            Some(is_offered) if *is_offered => *is_offered = false,
            _ => {
                self.give_up(id);
                return None;
            }
        }
        self.taken = self.taken.wrapping_add(1);
        Some((id as u16, len))
    }

    #[cold]
    fn give_up(&mut self, id: u32) {
        log::error!("a virtio device gave back buffer {id}, which it does not have");
        self.is_broken = true;
    }
}
