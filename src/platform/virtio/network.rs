//! The virtio network device: a thin driver on two virtqueues, frames read and written in place.
//!
//! Why not the crate's own driver: it negotiates no checksum offload and copies. Here each frame lives in
//! one fixed buffer behind its virtio header; received ones are shown where the device wrote them and go
//! back to the ring when released, sent ones are composed where the device reads them.
//!
//! Always true: a buffer belongs to the device from `add` to `pop_used` and to nobody else meanwhile.
//! What the device writes is checked: a token it never had ends the queue (no more frames), a length
//! beyond the buffer drops the frame. Runs on one CPU; interrupts only wake it.
//!
//! Source: virtio 1.2, 5.1 (network device), 2.7 (split virtqueues).

use super::DeviceMemory;
use crate::error::{Error, Kind, Result, Subsystem};
use crate::platform::checksum::Segment;
use crate::platform::network_device::{
    Checksums, ETHERNET_HEADER_BYTES, NetworkDevice, Receiver, Transmitter,
};
use alloc::alloc::alloc_zeroed;
use alloc::rc::Rc;
use alloc::vec::Vec;
use bitflags::bitflags;
use core::alloc::Layout;
use core::cell::RefCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;

/// Buffers in each direction; QEMU's rings have 256 entries.
const RING: usize = 128;
/// Bytes of a buffer: the header, an Ethernet header, 1,500 bytes, rounded up.
const BUFFER_BYTES: usize = 2048;
/// IP packet sizes are those of Ethernet.
const MTU: usize = 1500;
const RECEIVE_QUEUE: u16 = 0;
const TRANSMIT_QUEUE: u16 = 1;
/// Header flag: the checksum is partial, and the data is whole.
const NEEDS_CHECKSUM: u8 = 1;
/// Header flag: the checksum was verified.
const DATA_VALID: u8 = 2;

bitflags! {
    /// Features of the device and its transport that this driver knows (virtio 1.2, 5.1.3 and 6).
    #[derive(Clone, Copy, Debug)]
    struct Features: u64 {
        const CSUM = 1 << 0;
        const GUEST_CSUM = 1 << 1;
        const MAC = 1 << 5;
        const ANY_LAYOUT = 1 << 27;
        const VERSION_1 = 1 << 32;
    }
}

/// Frames the device handed over damaged.
pub static BAD_CHECKSUM_FRAMES: AtomicU64 = AtomicU64::new(0);

type Queue = VirtQueue<DeviceMemory, RING>;
type Shared<T> = Rc<RefCell<T>>;

/// The device.
pub struct VirtioNetwork<T: Transport> {
    mac: [u8; 6],
    checksums: Checksums,
    receiver: VirtioReceiver<T>,
    transmitter: VirtioTransmitter<T>,
}

/// Fixed buffers in one piece of memory that is never given back.
struct Buffers {
    start: NonNull<u8>,
}

impl Buffers {
    fn new() -> Result<Self> {
        let bytes = RING * BUFFER_BYTES;
        let layout = Layout::from_size_align(bytes, 4096).expect("a constant layout");
        // SAFETY: the layout is not empty.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) });
        start.map(|start| Self { start }).ok_or(Error::new(
            Subsystem::Platform,
            Kind::OutOfMemory {
                requested_bytes: bytes,
            },
        ))
    }

    /// The first `len` bytes of buffer `index`.
    ///
    /// # Safety
    /// The device must not own the buffer, and no other slice of it may be in use.
    unsafe fn get<'a>(&self, index: u16, len: usize) -> &'a mut [u8] {
        assert!(
            usize::from(index) < RING && len <= BUFFER_BYTES,
            "buffer {index}, {len} bytes"
        );
        // SAFETY: the piece of memory holds RING buffers of BUFFER_BYTES, initialised to zero and never
        // freed; our caller promises that this one is ours alone.
        unsafe {
            let start = self.start.as_ptr().add(usize::from(index) * BUFFER_BYTES);
            core::slice::from_raw_parts_mut(start, len)
        }
    }
}

impl<T: Transport> VirtioNetwork<T> {
    /// Takes the device into use.
    ///
    /// # Errors
    /// `Device` if it refuses a queue; `OutOfMemory` if there is no room for its buffers.
    pub fn new(mut transport: T) -> Result<Self> {
        let refused = |_| {
            Error::new(
                Subsystem::Platform,
                Kind::Device {
                    what: "a virtio queue",
                },
            )
        };
        let features: Features = transport.begin_init(Features::all());
        let header_bytes = if features.contains(Features::VERSION_1) {
            12
        } else {
            10
        };
        let mut mac = [0; 6];
        for (offset, byte) in mac.iter_mut().enumerate() {
            *byte = transport.read_config_space(offset).map_err(refused)?;
        }
        let receive_queue =
            Queue::new(&mut transport, RECEIVE_QUEUE, false, false).map_err(refused)?;
        let mut transmit_queue =
            Queue::new(&mut transport, TRANSMIT_QUEUE, false, false).map_err(refused)?;
        // Sent frames are collected when there is other work, never by interrupt.
        transmit_queue.set_dev_notify(false);
        transport.finish_init();

        let transport = Rc::new(RefCell::new(transport));
        let checksums = Checksums {
            receive_verified: features.contains(Features::GUEST_CSUM),
            transmit_filled: features.contains(Features::CSUM),
        };
        let mut receiver = VirtioReceiver {
            transport: transport.clone(),
            queue: receive_queue,
            buffers: Buffers::new()?,
            buffer_of: [None; RING],
            header_bytes,
            current: None,
            verifies: checksums.receive_verified,
            has_released: false,
            interrupts_wanted: true,
        };
        for buffer in 0..RING as u16 {
            receiver.give_to_device(buffer)?;
        }
        receiver.notify();
        let mut free = Vec::new();
        free.try_reserve_exact(RING)?;
        free.extend(0..RING as u16);
        let transmitter = VirtioTransmitter {
            transport,
            queue: transmit_queue,
            buffers: Buffers::new()?,
            in_flight: [None; RING],
            free,
            header_bytes,
            fills_checksums: checksums.transmit_filled,
            has_queued: false,
        };
        Ok(Self {
            mac,
            checksums,
            receiver,
            transmitter,
        })
    }
}

impl<T: Transport> NetworkDevice for VirtioNetwork<T> {
    type Receiver = VirtioReceiver<T>;
    type Transmitter = VirtioTransmitter<T>;

    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn mtu(&self) -> usize {
        MTU
    }

    fn checksums(&self) -> Checksums {
        self.checksums
    }

    fn split(&mut self) -> (&mut VirtioReceiver<T>, &mut VirtioTransmitter<T>) {
        (&mut self.receiver, &mut self.transmitter)
    }
}

/// The receiving half.
pub struct VirtioReceiver<T: Transport> {
    transport: Shared<T>,
    queue: Queue,
    buffers: Buffers,
    /// Which buffer the device has under which token.
    buffer_of: [Option<u16>; RING],
    header_bytes: usize,
    /// The frame shown: its buffer and its length.
    current: Option<(u16, usize)>,
    verifies: bool,
    has_released: bool,
    interrupts_wanted: bool,
}

impl<T: Transport> VirtioReceiver<T> {
    fn give_to_device(&mut self, buffer: u16) -> Result<()> {
        // SAFETY: the buffer is not with the device (it was never given, or was popped and released), and
        // no slice of it is left: `peek`'s borrow of `self` ended before `release` could be called.
        let bytes = unsafe { self.buffers.get(buffer, BUFFER_BYTES) };
        // SAFETY: the buffer is touched again only after `pop_used` returned its token.
        let token = unsafe { self.queue.add(&[], &mut [bytes]) };
        let token = token.map_err(|_| {
            Error::new(
                Subsystem::Platform,
                Kind::Device {
                    what: "adding a receive buffer",
                },
            )
        })?;
        self.buffer_of[usize::from(token)] = Some(buffer);
        Ok(())
    }

    fn notify(&mut self) {
        if self.queue.should_notify() {
            self.transport.borrow_mut().notify(RECEIVE_QUEUE);
        }
    }

    /// Takes the next buffer the device has filled, with how many bytes it wrote.
    fn pop(&mut self) -> Option<(u16, usize)> {
        let token = self.queue.peek_used()?;
        // The token is the device's word: it must be one that the device has.
        let buffer = self.buffer_of.get_mut(usize::from(token))?.take()?;
        // SAFETY: the device has returned this buffer; it is the one added under the token.
        let bytes = unsafe { self.buffers.get(buffer, BUFFER_BYTES) };
        // SAFETY: as above: the same buffer that was added under this token.
        let written = unsafe { self.queue.pop_used(token, &[], &mut [bytes]) }.ok()?;
        Some((buffer, written as usize))
    }

    /// True if the frame in `buffer` is whole and its checksum is right or vouched for.
    fn is_sound(&self, buffer: u16, written: usize) -> bool {
        if !(self.header_bytes + ETHERNET_HEADER_BYTES..=BUFFER_BYTES).contains(&written) {
            return false;
        }
        // SAFETY: the buffer was popped: it is ours until it is given back.
        let (header, frame) =
            unsafe { self.buffers.get(buffer, written) }.split_at(self.header_bytes);
        if !self.verifies || header[0] & (NEEDS_CHECKSUM | DATA_VALID) != 0 {
            return true;
        }
        let is_right = Segment::of(frame).is_none_or(|segment| segment.verify(frame));
        if !is_right {
            BAD_CHECKSUM_FRAMES.fetch_add(1, Relaxed);
        }
        is_right
    }
}

impl<T: Transport> Receiver for VirtioReceiver<T> {
    fn peek(&mut self) -> Option<&[u8]> {
        while self.current.is_none() {
            let Some((buffer, written)) = self.pop() else {
                if core::mem::take(&mut self.has_released) {
                    self.notify();
                }
                return None;
            };
            if core::mem::take(&mut self.interrupts_wanted) {
                self.queue.set_dev_notify(false);
            }
            self.current = Some((buffer, written));
            if !self.is_sound(buffer, written) {
                self.release();
            }
        }
        self.current.map(|(buffer, written)| {
            // SAFETY: the buffer was popped and is ours until `release`, which this borrow forbids.
            let bytes: &[u8] = unsafe { self.buffers.get(buffer, written) };
            &bytes[self.header_bytes..]
        })
    }

    fn await_interrupt(&mut self) -> bool {
        if !core::mem::replace(&mut self.interrupts_wanted, true) {
            self.queue.set_dev_notify(true);
        }
        // The device must see the wish before we look a last time: else a frame between the two would
        // come without an interrupt (virtio 1.2, 2.7.7).
        core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
        self.current.is_none() && !self.queue.can_pop()
    }

    fn release(&mut self) {
        if let Some((buffer, _)) = self.current.take() {
            self.give_to_device(buffer)
                .expect("the ring has a place for each buffer");
            self.has_released = true;
        }
    }
}

/// The sending half.
pub struct VirtioTransmitter<T: Transport> {
    transport: Shared<T>,
    queue: Queue,
    buffers: Buffers,
    /// Which buffer the device has under which token, and how much of it.
    in_flight: [Option<(u16, usize)>; RING],
    free: Vec<u16>,
    header_bytes: usize,
    fills_checksums: bool,
    has_queued: bool,
}

impl<T: Transport> VirtioTransmitter<T> {
    /// Takes back the buffers that the device has sent.
    fn reap(&mut self) {
        while let Some(token) = self.queue.peek_used() {
            // The token is the device's word: it must be one that the device has.
            let Some((buffer, len)) = self
                .in_flight
                .get_mut(usize::from(token))
                .and_then(Option::take)
            else {
                return;
            };
            // SAFETY: the device has returned this buffer; it is the one added under the token.
            let bytes = unsafe { self.buffers.get(buffer, len) };
            // SAFETY: as above: the same bytes that were added under this token.
            if unsafe { self.queue.pop_used(token, &[bytes], &mut []) }.is_err() {
                return;
            }
            self.free.push(buffer);
        }
    }

    /// Writes the virtio header of a frame, and the partial checksum that goes with it.
    fn write_header(&self, header: &mut [u8], frame: &mut [u8]) {
        header.fill(0);
        if !self.fills_checksums {
            return;
        }
        if let Some(segment) = Segment::of(frame) {
            let at = segment.start + segment.checksum_offset;
            frame[at..at + 2].copy_from_slice(&segment.partial().to_be_bytes());
            header[0] = NEEDS_CHECKSUM;
            header[6..8].copy_from_slice(&(segment.start as u16).to_le_bytes());
            header[8..10].copy_from_slice(&(segment.checksum_offset as u16).to_le_bytes());
        }
    }
}

impl<T: Transport> Transmitter for VirtioTransmitter<T> {
    fn has_room(&mut self) -> bool {
        if self.free.is_empty() {
            self.reap();
            if self.free.is_empty() && self.has_queued {
                // The device may not know of what is queued: else nothing would ever come back.
                self.kick();
                self.reap();
            }
        }
        !self.free.is_empty()
    }

    fn send<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let buffer = self.free.pop().expect("the caller asked has_room");
        let total = self.header_bytes + len;
        // SAFETY: the buffer came from the free list: the device does not have it.
        let bytes = unsafe { self.buffers.get(buffer, total) };
        let (header, frame) = bytes.split_at_mut(self.header_bytes);
        let result = fill(frame);
        self.write_header(header, frame);
        // SAFETY: the buffer is touched again only after `pop_used` returned its token.
        let token = unsafe { self.queue.add(&[bytes], &mut []) };
        let token = token.expect("the ring has a place for each buffer");
        self.in_flight[usize::from(token)] = Some((buffer, total));
        self.has_queued = true;
        result
    }

    fn kick(&mut self) {
        if core::mem::take(&mut self.has_queued) && self.queue.should_notify() {
            self.transport.borrow_mut().notify(TRANSMIT_QUEUE);
        }
    }
}
