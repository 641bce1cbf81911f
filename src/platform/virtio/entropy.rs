//! The virtio entropy device: asked once for a few random bytes, then reset and left alone.
//!
//! The wait is bounded: a device whose own source is silent must not keep the image from starting.
//!
//! Source: virtio 1.2, 5.4.

use super::DeviceMemory;
use super::ring::Ring;
use crate::arch::aarch64::timer;
use crate::error::{Error, Kind, Result, Subsystem};
use crate::platform::entropy::fold;
use crate::platform::split_ring::Writer;
use core::sync::atomic::{AtomicU64, Ordering};
use virtio_drivers::transport::Transport;
use virtio_drivers::{BufferDirection, Hal};

const REQUEST_QUEUE: u16 = 0;
/// Bytes asked for: two keys' worth.
const WORDS: usize = 4;
/// How long the device may take: half a second. QEMU answers in far less.
const PARTS_OF_SECOND: u64 = 2;

features!(VERSION_1 = 32);

/// Random bytes from the device, folded to a key.
///
/// # Errors
/// `Device` if it refuses its queue or gives nothing in time; `OutOfMemory`.
pub fn draw(mut transport: impl Transport) -> Result<u128> {
    let failed = |what| Error::new(Subsystem::Platform, Kind::Device { what });
    let _: Features = transport.begin_init(Features::all());
    let mut ring = Ring::<2>::new(&mut transport, REQUEST_QUEUE)?;
    ring.want_interrupts(false);
    transport.finish_init();
    // Never given back: a device that is late writes there still.
    let (address, memory) = DeviceMemory::dma_alloc(1, BufferDirection::DeviceToDriver);
    if address == 0 {
        let requested_bytes = virtio_drivers::PAGE_SIZE;
        let kind = Kind::OutOfMemory { requested_bytes };
        return Err(Error::new(Subsystem::Platform, kind));
    }
    // SAFETY: a page of ours, zeroed, never freed; atomics, because the device writes there.
    let words: &[AtomicU64; WORDS] = unsafe { memory.cast().as_ref() };

    ring.describe(0, address, size_of_val(words) as u32, Writer::Device);
    ring.offer(0);
    if ring.publish() {
        ring.notify(&mut transport);
    }
    let deadline = timer::ticks() + timer::frequency() / PARTS_OF_SECOND;
    let written = loop {
        if let Some((_, written)) = ring.take_used() {
            break written as usize;
        }
        if timer::ticks() > deadline {
            return Err(failed("a silent entropy device"));
        }
        core::hint::spin_loop();
    };
    if written < size_of::<u128>() {
        return Err(failed("an entropy device with too few bytes"));
    }
    // Relaxed: the device wrote them before it gave the buffer back. What it did not write is zero.
    let bytes = words.iter().map(|word| word.load(Ordering::Relaxed));
    Ok(bytes.fold(0, |key, word| fold(key, &word.to_le_bytes())))
}
