//! The virtio block device: a thin driver on one virtqueue whose requests never change their place.
//!
//! A slot is a buffer and the three parts of a request around it: a head that says what to do, the buffer, and the byte
//! in which the device says how it went. Descriptors `3n` to `3n + 2` are slot `n`'s for good.
//!
//! Always true: a slot is the device's from [`BlockQueue::submit`] until [`BlockQueue::take_done`] names it.
//! Runs on one CPU; interrupts only wake it. A device without [`Features::FLUSH`] writes through: a flush is done at
//! once.
//!
//! Source: virtio 1.2, 5.2 (block device).

use super::DeviceMemory;
use super::ring::Ring;
use crate::error::{Error, Kind, Result, Subsystem};
use crate::platform::block_device::{
    BLOCK_BYTES, BUFFER_BYTES, BlockQueue, Operation, check_range,
};
use crate::platform::split_ring::Writer;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use virtio_drivers::transport::Transport;
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE};

/// Requests at a time: enough for the device to be busy while the next buffer is filled.
const SLOTS: usize = 4;
/// Descriptors; three for each slot, and a power of two.
const RING: usize = 16;
const REQUEST_QUEUE: u16 = 0;
const PARTS: u16 = 3;

const READ: u32 = 0;
const WRITE: u32 = 1;
const FLUSH: u32 = 4;
/// The device's word for "done".
const DONE: u8 = 0;
/// What no device answers.
const UNANSWERED: u8 = 0xff;

const _: () = assert!(SLOTS * PARTS as usize <= RING);

features!(READ_ONLY = 5, FLUSH = 9, ANY_LAYOUT = 27, VERSION_1 = 32);

/// What a request has beside its buffer.
#[repr(C)]
struct Head {
    operation: AtomicU32,
    reserved: u32,
    first: AtomicU64,
    answer: AtomicU8,
    unused: [u8; 15],
}

const HEAD_BYTES: u32 = core::mem::offset_of!(Head, answer) as u32;
const _: () = assert!(HEAD_BYTES == 16 && size_of::<Head>() * SLOTS <= PAGE_SIZE);

/// What the slot's request is, while it is under way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Free,
    WithDevice,
    /// Done before the device heard of it.
    Done,
}

/// The device.
pub struct VirtioBlock<T: Transport> {
    transport: T,
    ring: Ring<RING>,
    heads: &'static [Head; SLOTS],
    buffers: NonNull<u8>,
    slots: [Slot; SLOTS],
    blocks: u64,
    is_read_only: bool,
    has_flush: bool,
}

/// Zeroed pages, shared with the device and never given back: they end with the heap that they came from, once the
/// device was reset.
fn pages(bytes: usize) -> Result<NonNull<u8>> {
    let (address, memory) =
        DeviceMemory::dma_alloc(bytes.div_ceil(PAGE_SIZE), BufferDirection::Both);
    if address == 0 {
        let requested_bytes = bytes;
        let kind = Kind::OutOfMemory { requested_bytes };
        return Err(Error::new(Subsystem::Platform, kind));
    }
    Ok(memory)
}

impl<T: Transport> VirtioBlock<T> {
    /// Takes the device into use.
    ///
    /// # Errors
    /// `Device` if it refuses its queue or does not tell its size; `OutOfMemory` if there is no room for its buffers.
    pub fn new(mut transport: T) -> Result<Self> {
        let features: Features = transport.begin_init(Features::all());
        let word = |transport: &T, offset| {
            let what = "the size of a block device";
            let failed = Error::new(Subsystem::Platform, Kind::Device { what });
            transport
                .read_config_space::<u32>(offset)
                .map_err(|_| failed)
        };
        let blocks = u64::from(word(&transport, 0)?) | u64::from(word(&transport, 4)?) << 32;
        let ring = Ring::new(&mut transport, REQUEST_QUEUE)?;
        let heads = pages(size_of::<[Head; SLOTS]>())?;
        let buffers = pages(SLOTS * BUFFER_BYTES)?;
        transport.finish_init();
        Ok(Self {
            transport,
            ring,
            // SAFETY: a page of ours, zeroed, never freed; what the device writes there is atomic.
            heads: unsafe { heads.cast().as_ref() },
            buffers,
            slots: [Slot::Free; SLOTS],
            blocks,
            is_read_only: features.contains(Features::READ_ONLY),
            has_flush: features.contains(Features::FLUSH),
        })
    }

    /// Describes the request of a slot to the device.
    fn describe(&mut self, slot: usize, operation: Operation, bytes: usize) {
        let head = &self.heads[slot];
        let [first, second, third] = [0, 1, 2].map(|part| slot as u16 * PARTS + part);
        let address = (&raw const *head) as u64;
        let ring = &mut self.ring;
        ring.describe(first, address, HEAD_BYTES, Writer::Driver);
        let answer = address + u64::from(HEAD_BYTES);
        ring.describe(third, answer, 1, Writer::Device);
        if operation == Operation::Flush {
            ring.continue_with(first, third);
            return;
        }
        let writer = match operation {
            Operation::Read => Writer::Device,
            _ => Writer::Driver,
        };
        let buffer = self.buffers.as_ptr() as u64 + (slot * BUFFER_BYTES) as u64;
        ring.describe(second, buffer, bytes as u32, writer);
        ring.continue_with(first, second);
        ring.continue_with(second, third);
    }
}

impl<T: Transport> BlockQueue for VirtioBlock<T> {
    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    fn slots(&self) -> usize {
        SLOTS
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        assert!(self.slots[slot] == Slot::Free, "slot {slot} is under way");
        // SAFETY: 1. as many bytes as that for each slot, zeroed at first, never freed. 2. The device does not have the
        // slot, and `&mut self` is the only way to it.
        unsafe {
            let start = self.buffers.as_ptr().add(slot * BUFFER_BYTES);
            core::slice::from_raw_parts_mut(start, BUFFER_BYTES)
        }
    }

    fn submit(
        &mut self,
        slot: usize,
        operation: Operation,
        first: u64,
        blocks: usize,
    ) -> Result<()> {
        let bytes = blocks * BLOCK_BYTES;
        assert!(self.slots[slot] == Slot::Free && bytes <= BUFFER_BYTES);
        check_range(first, blocks as u64, self.blocks)?;
        if operation == Operation::Flush && !self.has_flush {
            self.slots[slot] = Slot::Done;
            return Ok(());
        }
        let head = &self.heads[slot];
        let code = match operation {
            Operation::Read => READ,
            Operation::Write => WRITE,
            Operation::Flush => FLUSH,
        };
        // Relaxed: published with the request.
        head.operation.store(code, Relaxed);
        head.first.store(first, Relaxed);
        head.answer.store(UNANSWERED, Relaxed);
        self.describe(slot, operation, bytes);
        self.slots[slot] = Slot::WithDevice;
        self.ring.offer(slot as u16 * PARTS);
        if self.ring.publish() {
            self.ring.notify(&mut self.transport);
        }
        Ok(())
    }

    fn has_done(&self) -> bool {
        self.ring.has_used() || self.slots.contains(&Slot::Done)
    }

    fn take_done(&mut self) -> Option<(usize, bool)> {
        if let Some(slot) = self.slots.iter().position(|slot| *slot == Slot::Done) {
            self.slots[slot] = Slot::Free;
            return Some((slot, true));
        }
        let (first, _) = self.ring.take_used()?;
        let slot = usize::from(first / PARTS);
        self.slots[slot] = Slot::Free;
        // Relaxed: the device wrote it before it gave the request back.
        Some((slot, self.heads[slot].answer.load(Relaxed) == DONE))
    }
}
