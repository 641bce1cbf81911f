//! A network device in memory, for a data plane that is preempted and preempts: frames lie in fixed buffers, and go
//! from one end to the other without a lock.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use nos::platform::network_device::{Checksums, NetworkDevice, Receiver, Transmitter};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};

/// Frames that a lane holds, and their bytes.
const FRAMES: usize = 8;
const FRAME_BYTES: usize = 1_536;

/// Frames on their way in one direction. One fiber puts them there, one takes them, both on one CPU.
pub(crate) struct Lane {
    frames: [UnsafeCell<[u8; FRAME_BYTES]>; FRAMES],
    lens: [AtomicUsize; FRAMES],
    /// Frames put there so far; those the taker may see; those taken.
    put: AtomicUsize,
    shown: AtomicUsize,
    taken: AtomicUsize,
}

// SAFETY: a buffer is its putter's until it is shown, and its taker's from then until it is taken; both are on one CPU.
unsafe impl Sync for Lane {}

/// From the peer to us, and back.
pub(crate) static TO_US: Lane = Lane::new();
pub(crate) static FROM_US: Lane = Lane::new();

impl Lane {
    const fn new() -> Self {
        Self {
            frames: [const { UnsafeCell::new([0; FRAME_BYTES]) }; FRAMES],
            lens: [const { AtomicUsize::new(0) }; FRAMES],
            put: AtomicUsize::new(0),
            shown: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
        }
    }

    fn has_room(&self) -> bool {
        self.put.load(Relaxed) - self.taken.load(Relaxed) < FRAMES
    }

    fn put<R>(&self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        assert!(self.has_room() && len <= FRAME_BYTES);
        let at = self.put.load(Relaxed);
        // SAFETY: not shown yet and room for it: its taker is done with it.
        let frame = unsafe { &mut *self.frames[at % FRAMES].get() };
        let result = fill(&mut frame[..len]);
        self.lens[at % FRAMES].store(len, Relaxed);
        self.put.store(at + 1, Relaxed);
        result
    }

    /// Shows all frames that were put; answers whether there are new ones.
    pub(crate) fn publish(&self) -> bool {
        let put = self.put.load(Relaxed);
        self.shown.swap(put, Relaxed) != put
    }

    fn front(&self) -> Option<&[u8]> {
        let at = self.taken.load(Relaxed);
        let len = self.lens[at % FRAMES].load(Relaxed);
        // SAFETY: it is shown and not taken.
        (at < self.shown.load(Relaxed))
            .then(|| unsafe { &(&*self.frames[at % FRAMES].get())[..len] })
    }

    fn take(&self) {
        self.taken.store(self.taken.load(Relaxed) + 1, Relaxed);
    }
}

/// Our end.
pub(crate) struct Wire {
    receiver: WireReceiver,
    transmitter: WireTransmitter,
}

pub(crate) struct WireReceiver;

/// With what is called when the device is told of frames.
pub(crate) struct WireTransmitter(fn());

impl Wire {
    pub(crate) fn new(on_kick: fn()) -> Self {
        Self {
            receiver: WireReceiver,
            transmitter: WireTransmitter(on_kick),
        }
    }
}

impl NetworkDevice for Wire {
    type Receiver = WireReceiver;
    type Transmitter = WireTransmitter;

    fn mac(&self) -> [u8; 6] {
        [2, 0, 0, 0, 0, 1]
    }

    fn mtu(&self) -> usize {
        1_500
    }

    /// The device's, as virtio devices offer it: that leaves the least to count.
    fn checksums(&self) -> Checksums {
        Checksums {
            receive_verified: true,
            transmit_filled: true,
        }
    }

    fn split(&mut self) -> (&mut WireReceiver, &mut WireTransmitter) {
        (&mut self.receiver, &mut self.transmitter)
    }
}

impl Receiver for WireReceiver {
    fn peek(&mut self) -> Option<&[u8]> {
        TO_US.front()
    }

    fn await_interrupt(&mut self) -> bool {
        TO_US.front().is_none()
    }

    fn release(&mut self) {
        TO_US.take();
    }
}

impl Transmitter for WireTransmitter {
    fn has_room(&mut self) -> bool {
        FROM_US.has_room()
    }

    fn send<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        FROM_US.put(len, fill)
    }

    fn kick(&mut self) {
        if FROM_US.publish() {
            (self.0)();
        }
    }
}

/// The other end, as smoltcp's device. What it sends is shown when the device interrupts.
pub(crate) struct PeerEnd;

pub(crate) struct Received;

pub(crate) struct Sending;

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        let result = read(FROM_US.front().expect("a token is for a frame"));
        FROM_US.take();
        result
    }
}

impl TxToken for Sending {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        TO_US.put(len, fill)
    }
}

impl Device for PeerEnd {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Received, Sending)> {
        FROM_US.front().map(|_| (Received, Sending))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Sending> {
        TO_US.has_room().then_some(Sending)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1_514;
        capabilities.checksum.tcp = Checksum::None;
        capabilities
    }
}
