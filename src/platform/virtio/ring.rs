//! A virtqueue of fixed buffers in memory shared with a device: [`SplitRing`] set up on a transport.

use super::DeviceMemory;
use crate::error::{Error, Kind, Result, Subsystem};
use crate::platform::split_ring::{Memory, SplitRing};
use core::ops::{Deref, DerefMut};
use virtio_drivers::transport::Transport;
use virtio_drivers::{BufferDirection, Hal};

/// A virtqueue of `N` fixed buffers.
pub(super) struct Ring<const N: usize> {
    protocol: SplitRing<N>,
    queue: u16,
}

impl<const N: usize> Ring<N> {
    /// Sets queue `queue` of a device up.
    ///
    /// # Errors
    /// `Device` if the device has no such queue of that size; `OutOfMemory`.
    pub(super) fn new(transport: &mut impl Transport, queue: u16) -> Result<Self> {
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
            part(Memory::<N>::AVAILABLE_OFFSET),
            part(Memory::<N>::USED_OFFSET),
        );
        // SAFETY: the memory was allocated just now for this ring, page-aligned and zeroed, which atomics may
        // be; it is never freed, and all of it are atomics, so a device that writes meanwhile is no data race.
        let memory = unsafe { memory.cast().as_ref() };
        Ok(Self {
            protocol: SplitRing::new(memory),
            queue,
        })
    }

    /// Tells the device that there is something in this queue.
    #[inline]
    pub(super) fn notify(&self, transport: &mut impl Transport) {
        transport.notify(self.queue);
    }
}

impl<const N: usize> Deref for Ring<N> {
    type Target = SplitRing<N>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.protocol
    }
}

impl<const N: usize> DerefMut for Ring<N> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.protocol
    }
}
