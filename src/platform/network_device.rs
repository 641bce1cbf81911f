//! What the network stack needs of a network device, so that it runs on a host without one.
//!
//! A device is two halves that are used at once: a frame is answered while it is still in the
//! receiver's buffer. Nothing is copied here: frames are read and written where the device does.

/// Bytes of an Ethernet header without a VLAN tag.
pub const ETHERNET_HEADER_BYTES: usize = 14;

/// An Ethernet device.
pub trait NetworkDevice {
    /// Its receiving half.
    type Receiver: Receiver;
    /// Its sending half.
    type Transmitter: Transmitter;

    /// Its hardware address.
    fn mac(&self) -> [u8; 6];

    /// Longest IP packet it carries, in bytes (the Ethernet header not counted).
    fn mtu(&self) -> usize;

    /// Who takes care of IPv4, TCP, UDP and ICMP checksums.
    fn checksums(&self) -> Checksums;

    /// Both halves at once.
    fn split(&mut self) -> (&mut Self::Receiver, &mut Self::Transmitter);
}

/// Who takes care of checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksums {
    /// Frames given out by the receiver have TCP and UDP checksums that were verified already.
    pub receive_verified: bool,
    /// The transmitter fills in TCP and UDP checksums.
    pub transmit_filled: bool,
}

/// The receiving half of a device.
pub trait Receiver {
    /// The oldest frame received and not yet released, if there is one.
    fn peek(&mut self) -> Option<&[u8]>;

    /// Asks for an interrupt with the next frame. Answers false if a frame is there already: then there
    /// is nothing to wait for.
    fn await_interrupt(&mut self) -> bool;

    /// Releases the frame that [`Receiver::peek`] showed; its buffer goes back to the device.
    fn release(&mut self);
}

/// The sending half of a device.
pub trait Transmitter {
    /// True if another frame can be sent now.
    fn has_room(&mut self) -> bool;

    /// Queues a frame of `len` bytes that `fill` writes; `fill` must write every byte it wants sent.
    ///
    /// # Panics
    /// If there is no room: the caller asked [`Transmitter::has_room`] before.
    fn send<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R;

    /// Tells the device of all frames queued since the last kick, at most one notification.
    fn kick(&mut self);
}

/// A sending half whose frames are written before it is known whether they are sent: [`Transmitter::send`] in two steps,
/// for who stands in between.
pub trait StagedTransmitter: Transmitter {
    /// Room for a frame of `len` bytes, which are undefined. It is given again until it is queued.
    ///
    /// # Panics
    /// As [`Transmitter::send`].
    fn room_for(&mut self, len: usize) -> &mut [u8];

    /// Queues the frame of `len` bytes that was written to that room.
    fn queue(&mut self, len: usize);
}
