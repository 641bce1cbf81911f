//! The virtio network device: a thin driver on two virtqueues, frames read and written in place.
//!
//! Why not the crate's own driver: it negotiates no checksum offload and copies. Here each frame lives in
//! one fixed buffer behind its virtio header; received ones are shown where the device wrote them and go
//! back to the ring when released, sent ones are composed where the device reads them.
//!
//! Always true: a buffer belongs to the device from `offer` to `take_used` and to nobody else meanwhile.
//! What the device writes is checked: a buffer it never had ends the queue (no more frames), a length
//! beyond the buffer drops the frame. Runs on one CPU; interrupts only wake it.
//!
//! Source: virtio 1.2, 5.1 (network device), 2.7 (split virtqueues).

use super::ring::Ring;
use crate::error::{Error, Grow, Kind, Result, Subsystem};
use crate::platform::checksum::Segment;
use crate::platform::network_device::{
    Checksums, ETHERNET_HEADER_BYTES, NetworkDevice, Receiver, StagedTransmitter, Transmitter,
};
use crate::platform::split_ring::Writer;
use alloc::alloc::alloc_zeroed;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::cell::RefCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
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

features!(
    CSUM = 0,
    GUEST_CSUM = 1,
    MAC = 5,
    ANY_LAYOUT = 27,
    VERSION_1 = 32
);

/// Frames the device handed over damaged.
pub static BAD_CHECKSUM_FRAMES: AtomicU64 = AtomicU64::new(0);

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

    /// Where buffer `index` begins, as the device sees it.
    #[inline]
    fn address(&self, index: u16) -> u64 {
        self.start.as_ptr() as u64 + u64::from(index) * BUFFER_BYTES as u64
    }

    /// The first `len` bytes of buffer `index`.
    ///
    /// # Safety
    /// The device must not own the buffer, and no other slice of it may be in use.
    #[inline]
    unsafe fn get<'a>(&self, index: u16, len: usize) -> &'a mut [u8] {
        assert!(usize::from(index) < RING && len <= BUFFER_BYTES);
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
        let features: Features = transport.begin_init(Features::all());
        let header_bytes = if features.contains(Features::VERSION_1) {
            12
        } else {
            10
        };
        let mut mac = [0; 6];
        for (offset, byte) in mac.iter_mut().enumerate() {
            *byte = transport.read_config_space(offset).map_err(|_| {
                let what = "the address of a network device";
                Error::new(Subsystem::Platform, Kind::Device { what })
            })?;
        }
        let mut received = Ring::new(&mut transport, RECEIVE_QUEUE)?;
        let mut sent = Ring::new(&mut transport, TRANSMIT_QUEUE)?;
        // Sent frames are collected when there is other work, never by interrupt.
        sent.want_interrupts(false);
        transport.finish_init();

        let checksums = Checksums {
            receive_verified: features.contains(Features::GUEST_CSUM),
            transmit_filled: features.contains(Features::CSUM),
        };
        let (receive_buffers, send_buffers) = (Buffers::new()?, Buffers::new()?);
        for n in 0..RING as u16 {
            let bytes = BUFFER_BYTES as u32;
            received.describe(n, receive_buffers.address(n), bytes, Writer::Device);
            received.offer(n);
        }
        if received.publish() {
            received.notify(&mut transport);
        }
        let mut free = Vec::new();
        free.try_reserve_exact(RING)?;
        free.extend_reserved(0..RING as u16);
        #[expect(
            clippy::disallowed_methods,
            reason = "at boot; there is no other way to an `Rc`"
        )]
        let transport = Rc::new(RefCell::new(transport));
        let receiver = VirtioReceiver {
            transport: transport.clone(),
            ring: received,
            buffers: receive_buffers,
            header_bytes,
            current: None,
            verifies: checksums.receive_verified,
            interrupts_wanted: true,
        };
        let transmitter = VirtioTransmitter {
            transport,
            ring: sent,
            buffers: send_buffers,
            free,
            header_bytes,
            fills_checksums: checksums.transmit_filled,
        };
        Ok(Self {
            mac,
            checksums,
            receiver,
            transmitter,
        })
    }

    /// Its two halves, for who stands between them and the stack.
    #[cfg(feature = "fault-injection")]
    pub fn into_halves(self) -> (VirtioReceiver<T>, VirtioTransmitter<T>) {
        (self.receiver, self.transmitter)
    }
}

impl<T: Transport> NetworkDevice for VirtioNetwork<T> {
    type Receiver = VirtioReceiver<T>;
    type Transmitter = VirtioTransmitter<T>;

    #[inline]
    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn mtu(&self) -> usize {
        MTU
    }

    #[inline]
    fn checksums(&self) -> Checksums {
        self.checksums
    }

    #[inline]
    fn split(&mut self) -> (&mut VirtioReceiver<T>, &mut VirtioTransmitter<T>) {
        (&mut self.receiver, &mut self.transmitter)
    }
}

/// The receiving half.
pub struct VirtioReceiver<T: Transport> {
    transport: Shared<T>,
    ring: Ring<RING>,
    buffers: Buffers,
    header_bytes: usize,
    /// The frame shown: its buffer and the bytes the device wrote.
    current: Option<(u16, usize)>,
    verifies: bool,
    interrupts_wanted: bool,
}

impl<T: Transport> VirtioReceiver<T> {
    /// True if the frame in `buffer` is whole and its checksum is right or vouched for.
    #[inline]
    fn is_sound(&self, buffer: u16, written: usize) -> bool {
        if !(self.header_bytes + ETHERNET_HEADER_BYTES..=BUFFER_BYTES).contains(&written) {
            return false;
        }
        // SAFETY: the buffer was taken back: it is ours until it is offered again.
        let bytes = unsafe { self.buffers.get(buffer, written) };
        let is_vouched_for = bytes[0] & (NEEDS_CHECKSUM | DATA_VALID) != 0;
        !self.verifies || is_vouched_for || has_right_checksum(&bytes[self.header_bytes..])
    }

    /// Takes the next sound frame from the ring.
    #[inline(never)]
    fn advance(&mut self) {
        while let Some((buffer, written)) = self.ring.take_used() {
            if core::mem::take(&mut self.interrupts_wanted) {
                self.ring.want_interrupts(false);
            }
            if self.is_sound(buffer, written as usize) {
                self.current = Some((buffer, written as usize));
                return;
            }
            self.ring.offer(buffer);
        }
        // The end of a batch: what was released is the device's again.
        if self.ring.publish() {
            self.ring.notify(&mut *self.transport.borrow_mut());
        }
    }
}

/// Verifies what the device did not. Out of line: most devices vouch for every frame.
#[cold]
#[inline(never)]
fn has_right_checksum(frame: &[u8]) -> bool {
    let is_right = Segment::of(frame).is_none_or(|segment| segment.verify(frame));
    if !is_right {
        BAD_CHECKSUM_FRAMES.fetch_add(1, Relaxed);
    }
    is_right
}

impl<T: Transport> Receiver for VirtioReceiver<T> {
    #[inline]
    fn peek(&mut self) -> Option<&[u8]> {
        if self.current.is_none() {
            self.advance();
        }
        self.current.map(|(buffer, written)| {
            // SAFETY: the buffer was taken back and is ours until `release`, which this borrow forbids.
            let bytes: &[u8] = unsafe { self.buffers.get(buffer, written) };
            &bytes[self.header_bytes..]
        })
    }

    #[inline]
    fn await_interrupt(&mut self) -> bool {
        self.interrupts_wanted = true;
        self.ring.want_interrupts(true) && self.current.is_none()
    }

    #[inline]
    fn release(&mut self) {
        if let Some((buffer, _)) = self.current.take() {
            self.ring.offer(buffer);
        }
    }
}

/// The sending half.
pub struct VirtioTransmitter<T: Transport> {
    transport: Shared<T>,
    ring: Ring<RING>,
    buffers: Buffers,
    free: Vec<u16>,
    header_bytes: usize,
    fills_checksums: bool,
}

impl<T: Transport> VirtioTransmitter<T> {
    /// Takes back the buffers that the device has sent.
    #[inline]
    fn reap(&mut self) {
        while let Some((buffer, _)) = self.ring.take_used() {
            self.free.push_reserved(buffer);
        }
    }

    /// Whether there is room once it was looked for.
    #[inline(never)]
    fn finds_room(&mut self) -> bool {
        self.reap();
        if self.free.is_empty() {
            // The device may not know of what is queued: else nothing would ever come back.
            self.kick();
            self.reap();
        }
        !self.free.is_empty()
    }

    /// Writes the virtio header of a frame, and the partial checksum that goes with it.
    #[inline]
    fn write_header(&self, header: &mut [u8], frame: &mut [u8]) {
        // Ten bytes or twelve: two stores that overlap, without a call.
        if let Some(first) = header.first_chunk_mut::<8>() {
            *first = [0; 8];
        }
        if let Some(last) = header.last_chunk_mut::<8>() {
            *last = [0; 8];
        }
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
    #[inline]
    fn has_room(&mut self) -> bool {
        !self.free.is_empty() || self.finds_room()
    }

    #[inline]
    fn send<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let result = fill(self.room_for(len));
        self.queue(len);
        result
    }

    #[inline]
    fn kick(&mut self) {
        if self.ring.publish() {
            self.ring.notify(&mut *self.transport.borrow_mut());
        }
    }
}

impl<T: Transport> StagedTransmitter for VirtioTransmitter<T> {
    #[inline(always)]
    fn room_for(&mut self, len: usize) -> &mut [u8] {
        let buffer = *self.free.last().expect("the caller asked has_room");
        // SAFETY: the buffer is in the free list: the device does not have it.
        let bytes = unsafe { self.buffers.get(buffer, self.header_bytes + len) };
        &mut bytes[self.header_bytes..]
    }

    #[inline(always)]
    fn queue(&mut self, len: usize) {
        let buffer = self.free.pop().expect("the caller wrote to its room");
        let total = self.header_bytes + len;
        // SAFETY: the buffer came from the free list: the device does not have it.
        let bytes = unsafe { self.buffers.get(buffer, total) };
        let (header, frame) = bytes.split_at_mut(self.header_bytes);
        self.write_header(header, frame);
        let address = self.buffers.address(buffer);
        self.ring
            .describe(buffer, address, total as u32, Writer::Driver);
        self.ring.offer(buffer);
    }
}
