//! A split virtqueue whose descriptors are fixed: descriptor `n` is buffer `n`, for good.
//!
//! The crate's own queue allots descriptors anew for each buffer and copies them twice, 230 instructions a
//! frame. A driver whose buffers never change needs none of that: to offer a buffer is to write its number
//! into the available ring, to take one back is to read a number from the used ring.
//!
//! Always true: a buffer is the device's from [`Ring::offer`] until [`Ring::take_used`] names it,
//! and the ring keeps account of which. What the device writes is a claim: a number that it does not hold breaks
//! the ring, which then gives nothing more.
//!
//! Order, as virtio 1.2 has it (2.7.13, 2.7.14): descriptor and ring entry are written before the available
//! index (Release), entries are read after the used index (Acquire), and between the store of an index or a
//! flag and the load of what the device answers to it stands a full barrier.

use super::DeviceMemory;
use crate::error::{Error, Kind, Result, Subsystem};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, Ordering, fence};
use virtio_drivers::transport::Transport;
use virtio_drivers::{BufferDirection, Hal};

/// Descriptor flag: the device writes the buffer.
const DEVICE_WRITES: u16 = 2;
/// Ring flag of the driver: no interrupt, please. Of the device: no notification, please.
const NOT_WANTED: u16 = 1;

/// Who writes the buffers of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// The driver; the device reads.
    Driver,
    /// The device; the driver reads.
    Device,
}

#[repr(C)]
struct Descriptor {
    address: u64,
    len: u32,
    flags: u16,
    next: u16,
}

#[repr(C)]
struct Available<const N: usize> {
    flags: AtomicU16,
    index: AtomicU16,
    ring: [AtomicU16; N],
    used_event: AtomicU16,
}

#[repr(C)]
struct UsedElement {
    id: u32,
    len: u32,
}

#[repr(C)]
struct Used<const N: usize> {
    flags: AtomicU16,
    index: AtomicU16,
    ring: [UsedElement; N],
    available_event: AtomicU16,
}

/// The three parts in one piece of memory, as a legacy device wants them: the used ring on its own page.
#[repr(C, align(4096))]
struct Memory<const N: usize> {
    descriptors: [Descriptor; N],
    available: Available<N>,
    used: OnOwnPage<Used<N>>,
}

#[repr(C, align(4096))]
struct OnOwnPage<T>(T);

/// A virtqueue of `N` fixed buffers.
pub(super) struct Ring<const N: usize> {
    memory: NonNull<Memory<N>>,
    queue: u16,
    /// Our copy of the available index, ahead of what was published.
    offered: u16,
    published: u16,
    taken: u16,
    is_offered: [bool; N],
    is_broken: bool,
}

impl<const N: usize> Ring<N> {
    const SIZE: () = assert!(
        N.is_power_of_two() && N <= 256,
        "a ring of QEMU's virtio-net"
    );

    /// Sets queue `queue` of a device up.
    ///
    /// # Errors
    /// `Device` if the device has no such queue of that size; `OutOfMemory`.
    pub(super) fn new(transport: &mut impl Transport, queue: u16) -> Result<Self> {
        let () = Self::SIZE;
        let refused = Kind::Device {
            what: "a virtio queue",
        };
        if transport.queue_used(queue) || transport.max_queue_size(queue) < N as u32 {
            return Err(Error::new(Subsystem::Platform, refused));
        }
        let bytes = size_of::<Memory<N>>();
        let (address, memory) = DeviceMemory::dma_alloc(
            bytes.div_ceil(virtio_drivers::PAGE_SIZE),
            BufferDirection::Both,
        );
        if address == 0 {
            let kind = Kind::OutOfMemory {
                requested_bytes: bytes,
            };
            return Err(Error::new(Subsystem::Platform, kind));
        }
        let part = |offset: usize| address + offset as u64;
        transport.queue_set(
            queue,
            N as u32,
            address,
            part(core::mem::offset_of!(Memory<N>, available)),
            part(core::mem::offset_of!(Memory<N>, used)),
        );
        Ok(Self {
            memory: memory.cast(),
            queue,
            offered: 0,
            published: 0,
            taken: 0,
            is_offered: [false; N],
            is_broken: false,
        })
    }

    fn available(&self) -> &Available<N> {
        // SAFETY: the memory was allocated for this ring, zeroed, and is never freed; all fields are
        // atomics, so a device that writes meanwhile is no data race.
        unsafe { &(*self.memory.as_ptr()).available }
    }

    /// The used ring; its entries are read one by one, volatile.
    fn used(&self) -> NonNull<Used<N>> {
        // SAFETY: as in `available`; no reference is made to what the device writes.
        unsafe { NonNull::new_unchecked(&raw mut (*self.memory.as_ptr()).used.0) }
    }

    fn used_index(&self) -> u16 {
        // SAFETY: the index lies in the ring's memory and is an atomic.
        let index = unsafe { &(*self.used().as_ptr()).index };
        // Acquire: pairs with the device's release of the index after it wrote the entry and the buffer.
        index.load(Ordering::Acquire)
    }

    /// Says where buffer `n` is: `len` bytes at `address`, written by `writer`.
    ///
    /// # Panics
    /// If the device has the buffer.
    pub(super) fn describe(&mut self, n: u16, address: u64, len: u32, writer: Writer) {
        assert!(
            !self.is_offered[usize::from(n)],
            "buffer {n} is the device's"
        );
        let flags = match writer {
            Writer::Driver => 0,
            Writer::Device => DEVICE_WRITES,
        };
        // SAFETY: `n` was checked against N by the index above; the device does not look at a descriptor
        // that is not offered.
        unsafe {
            let descriptor = &raw mut (*self.memory.as_ptr()).descriptors[usize::from(n)];
            descriptor.write_volatile(Descriptor {
                address,
                len,
                flags,
                next: 0,
            });
        }
    }

    /// Gives buffer `n` to the device, from the next [`Ring::publish`] on.
    ///
    /// # Panics
    /// If the device has it already.
    #[inline]
    pub(super) fn offer(&mut self, n: u16) {
        let is_offered = &mut self.is_offered[usize::from(n)];
        assert!(!*is_offered, "buffer {n} is offered twice");
        *is_offered = true;
        let slot = usize::from(self.offered) % N;
        // Relaxed: published by the Release in `publish`.
        self.available().ring[slot].store(n, Ordering::Relaxed);
        self.offered = self.offered.wrapping_add(1);
    }

    /// Shows the device all that was offered. True if it wants to be notified of it.
    #[inline]
    pub(super) fn publish(&mut self) -> bool {
        if self.published == self.offered {
            return false;
        }
        self.published = self.offered;
        // Release: descriptors and ring entries before the index, for the device's acquiring read of it.
        self.available()
            .index
            .store(self.offered, Ordering::Release);
        // The index before the device's flag is read: else both could miss each other (2.7.13.1).
        fence(Ordering::SeqCst);
        // SAFETY: the flags lie in the ring's memory and are an atomic.
        let flags = unsafe { &(*self.used().as_ptr()).flags };
        flags.load(Ordering::Relaxed) & NOT_WANTED == 0
    }

    /// Tells the device that there is something in this queue.
    pub(super) fn notify(&self, transport: &mut impl Transport) {
        transport.notify(self.queue);
    }

    /// Asks for interrupts, or not to be interrupted. Answers whether nothing is there to be taken: then an
    /// interrupt will come with the next buffer.
    pub(super) fn want_interrupts(&mut self, wanted: bool) -> bool {
        let flags = if wanted { 0 } else { NOT_WANTED };
        self.available().flags.store(flags, Ordering::Relaxed);
        // The wish before the last look: a buffer between the two would come without an interrupt (2.7.7.1).
        fence(Ordering::SeqCst);
        !self.has_used()
    }

    /// True if a buffer can be taken back.
    #[inline]
    pub(super) fn has_used(&self) -> bool {
        !self.is_broken && self.used_index() != self.taken
    }

    /// Takes the next buffer back: its number and the bytes the device says it wrote.
    #[inline]
    pub(super) fn take_used(&mut self) -> Option<(u16, u32)> {
        if !self.has_used() {
            return None;
        }
        let slot = usize::from(self.taken) % N;
        // SAFETY: the slot is below N; the device wrote it before the index that was read just now, and
        // writes it again only after N more buffers were offered.
        let element = unsafe { (&raw const (*self.used().as_ptr()).ring[slot]).read_volatile() };
        match self.is_offered.get_mut(element.id as usize) {
            Some(is_offered) if *is_offered => *is_offered = false,
            _ => {
                self.give_up(element.id);
                return None;
            }
        }
        self.taken = self.taken.wrapping_add(1);
        Some((element.id as u16, element.len))
    }

    #[cold]
    fn give_up(&mut self, id: u32) {
        log::error!("a virtio device gave back buffer {id}, which it does not have");
        self.is_broken = true;
    }
}
