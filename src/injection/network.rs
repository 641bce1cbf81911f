//! A network device whose frames are lost, changed, doubled, held back or out of order.
//!
//! Faults are those of a cable and of a device's queues. What is changed is what its checksum covers, as on a cable: where
//! the device verifies or fills in checksums of TCP and UDP, a frame with a changed segment is one that it, or the peer,
//! throws away. So no change here can come to a client as a wrong value.
//!
//! Inert, each call costs a look at one byte of its own. The byte follows the group whenever nothing more has been
//! received, and with each kick.

mod receiver;
mod transmitter;

pub use receiver::FaultyReceiver;
pub use transmitter::FaultyTransmitter;

use super::group::Group;
use super::point::Declaration;
use crate::error::Result;
use crate::platform::checksum::Segment;
use crate::platform::network_device::{Checksums, NetworkDevice, Receiver, StagedTransmitter};
use crate::platform::time::{Clock, Duration, Instant};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

const MILLISECONDS: &str = "milliseconds";

/// What a network device can be made to do.
pub const NETWORK_POINTS: &[Declaration] = &[
    Declaration::new("net-receive-drop"),
    Declaration::new("net-receive-corrupt"),
    Declaration::new("net-receive-reorder"),
    Declaration::new("net-receive-duplicate"),
    Declaration::new("net-receive-stall").with_amount(MILLISECONDS, 100),
    Declaration::new("net-lost-interrupt"),
    Declaration::new("net-send-drop"),
    Declaration::new("net-send-corrupt"),
    Declaration::new("net-send-reorder"),
    Declaration::new("net-send-duplicate"),
    Declaration::new("net-lost-kick"),
    Declaration::new("net-link-down").with_amount(MILLISECONDS, 1_000),
];

pub(super) const RECEIVE_DROP: usize = 0;
pub(super) const RECEIVE_CORRUPT: usize = 1;
pub(super) const RECEIVE_REORDER: usize = 2;
pub(super) const RECEIVE_DUPLICATE: usize = 3;
pub(super) const RECEIVE_STALL: usize = 4;
pub(super) const LOST_INTERRUPT: usize = 5;
pub(super) const SEND_DROP: usize = 6;
pub(super) const SEND_CORRUPT: usize = 7;
pub(super) const SEND_REORDER: usize = 8;
pub(super) const SEND_DUPLICATE: usize = 9;
pub(super) const LOST_KICK: usize = 10;
pub(super) const LINK_DOWN: usize = 11;
const _: () = assert!(NETWORK_POINTS.len() == LINK_DOWN + 1);

/// The longest frame that is copied; a longer one is left alone.
const FRAME_BYTES_MAX: usize = 2048;

/// The points of a network device, and what both of its halves have to know. It outlives the device.
pub struct NetworkFaults {
    group: Group,
    clock: &'static dyn Clock,
    /// When the link is up again, in nanoseconds.
    down_until: AtomicU64,
}

impl NetworkFaults {
    /// Points that are not armed; `clock` times what lasts.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(clock: &'static dyn Clock) -> Result<Self> {
        Ok(Self {
            group: Group::new(NETWORK_POINTS)?,
            clock,
            down_until: AtomicU64::new(0),
        })
    }

    /// The points.
    pub fn group(&self) -> &Group {
        &self.group
    }

    fn ends_after(&self, point: usize) -> Instant {
        self.clock.now() + Duration::from_millis(self.group.amount(point))
    }

    /// Whether the link is down for a frame: it is for a while from the frame on that the point took.
    fn is_down(&self) -> bool {
        if self.clock.now() < Instant::from_nanos(self.down_until.load(Relaxed)) {
            return true;
        }
        let goes_down = self.group.fires(LINK_DOWN);
        if goes_down {
            let until = self.ends_after(LINK_DOWN).as_nanos();
            self.down_until.store(until, Relaxed);
        }
        goes_down
    }

    /// Whether something is to be asked of the points, or lasts.
    #[inline(always)]
    fn is_busy(&self) -> bool {
        self.group.is_armed() || self.down_until.load(Relaxed) != 0 && self.is_down_now()
    }

    /// The same as a call: it stands where many copies are made of what it stands in.
    #[inline(never)]
    fn is_busy_now(&self) -> bool {
        self.is_busy()
    }

    #[cold]
    #[inline(never)]
    fn is_down_now(&self) -> bool {
        let is_down = self.clock.now() < Instant::from_nanos(self.down_until.load(Relaxed));
        if !is_down {
            self.down_until.store(0, Relaxed);
        }
        is_down
    }

    /// Changes one bit of a frame. False if that is found out before the frame is used: its checksum is another's matter.
    fn corrupt(&self, point: usize, frame: &mut [u8], is_checked: bool) -> bool {
        let bit = self.group.draw(point) as usize % (frame.len() * 8);
        let segment = Segment::of(frame);
        frame[bit / 8] ^= 1 << (bit % 8);
        let is_covered = segment.is_some_and(|segment| segment.start <= bit / 8);
        !(is_covered && is_checked)
    }
}

/// The device.
pub struct FaultyNetwork<R, T> {
    mac: [u8; 6],
    mtu: usize,
    checksums: Checksums,
    receiver: FaultyReceiver<R>,
    transmitter: FaultyTransmitter<T>,
}

impl<R: Receiver, T: StagedTransmitter> FaultyNetwork<R, T> {
    /// A device of those two halves, with the address, packet length and checksums of the one that they are of.
    pub fn new(
        (mac, mtu, checksums): ([u8; 6], usize, Checksums),
        receiver: R,
        transmitter: T,
        faults: &'static NetworkFaults,
    ) -> Self {
        Self {
            mac,
            mtu,
            checksums,
            receiver: FaultyReceiver::new(receiver, checksums, faults),
            transmitter: FaultyTransmitter::new(transmitter, checksums, faults),
        }
    }
}

impl<R: Receiver, T: StagedTransmitter> NetworkDevice for FaultyNetwork<R, T> {
    type Receiver = FaultyReceiver<R>;
    type Transmitter = FaultyTransmitter<T>;

    #[inline]
    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn mtu(&self) -> usize {
        self.mtu
    }

    #[inline]
    fn checksums(&self) -> Checksums {
        self.checksums
    }

    #[inline]
    fn split(&mut self) -> (&mut FaultyReceiver<R>, &mut FaultyTransmitter<T>) {
        (&mut self.receiver, &mut self.transmitter)
    }
}
