//! The device as smoltcp sees it, for one step: at most one received frame, and the transmitter.
//!
//! smoltcp polls a device until it is empty; here a frame has been looked up before smoltcp sees it, so
//! each step shows it that frame and no other. What is sent is noted in [`Sent`] on the way through.

use super::frame::{SentSegment, fill_header_sum};
use crate::error::{Error, Kind, Result, Subsystem};
use crate::platform::network_device::{ETHERNET_HEADER_BYTES, NetworkDevice, Transmitter};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, RxToken, TxToken};
use smoltcp::time::Instant;

/// What was sent in one step.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Bytes of all frames.
    pub(super) bytes: u64,
    /// The last TCP segment.
    pub(super) segment: Option<SentSegment>,
    /// smoltcp had something to send and did not: it does not know the neighbour's hardware address.
    pub(super) is_neighbour_missing: bool,
    /// smoltcp had something to send and the device had no room.
    pub(super) is_exhausted: bool,
}

/// One step's view of the device.
pub(super) struct Step<'a, T: Transmitter> {
    frame: Option<&'a [u8]>,
    transmitter: &'a mut T,
    capabilities: &'a DeviceCapabilities,
    pub(super) sent: Sent,
}

impl<'a, T: Transmitter> Step<'a, T> {
    /// A step that receives `frame`. The transmitter has room for one answer.
    #[inline]
    pub(super) fn receiving(
        frame: &'a [u8],
        transmitter: &'a mut T,
        capabilities: &'a DeviceCapabilities,
    ) -> Self {
        Self {
            frame: Some(frame),
            transmitter,
            capabilities,
            sent: Sent::default(),
        }
    }

    /// A step that only sends.
    #[inline]
    pub(super) fn sending(transmitter: &'a mut T, capabilities: &'a DeviceCapabilities) -> Self {
        Self {
            frame: None,
            transmitter,
            capabilities,
            sent: Sent::default(),
        }
    }
}

/// What smoltcp is told of `device`.
///
/// Received TCP and IPv4 checksums were seen to in `frame::classify`, where what is dropped is counted. Those of IPv4
/// headers that are sent are filled in as the frame passes here.
///
/// # Errors
/// `Device` if its hardware address is no host's, or it cannot carry the packets that every host must.
#[inline]
pub(super) fn capabilities(device: &impl NetworkDevice) -> Result<DeviceCapabilities> {
    /// RFC 1122 3.3.3: what every host must be able to receive.
    const LEAST_MTU: usize = 576;
    let refuse = |what| Error::new(Subsystem::Network, Kind::Device { what });
    let mac = device.mac();
    if mac[0] & 1 != 0 || mac == [0; 6] {
        return Err(refuse("its hardware address is no host's"));
    }
    if device.mtu() < LEAST_MTU {
        return Err(refuse("it carries less than 576 bytes"));
    }
    let checksums = device.checksums();
    let mut capabilities = DeviceCapabilities::default();
    capabilities.max_transmission_unit = device.mtu() + ETHERNET_HEADER_BYTES;
    capabilities.checksum.ipv4 = Checksum::None;
    capabilities.checksum.tcp = match checksums.transmit_filled {
        true => Checksum::None,
        false => Checksum::Tx,
    };
    capabilities.checksum.udp = match (checksums.receive_verified, checksums.transmit_filled) {
        (true, true) => Checksum::None,
        (true, false) => Checksum::Tx,
        (false, true) => Checksum::Rx,
        (false, false) => Checksum::Both,
    };
    Ok(capabilities)
}

impl<T: Transmitter> Device for Step<'_, T> {
    type RxToken<'t>
        = Received<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Sending<'t, T>
    where
        Self: 't;

    #[inline]
    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Sending<'_, T>)> {
        let frame = self.frame.take()?;
        let sending = Sending {
            transmitter: self.transmitter,
            sent: &mut self.sent,
        };
        Some((Received(frame), sending))
    }

    #[inline]
    fn transmit(&mut self, _: Instant) -> Option<Sending<'_, T>> {
        if !self.transmitter.has_room() {
            self.sent.is_exhausted = true;
            return None;
        }
        // Until the token is used: smoltcp drops it when it finds no hardware address.
        self.sent.is_neighbour_missing = true;
        Some(Sending {
            transmitter: self.transmitter,
            sent: &mut self.sent,
        })
    }

    #[inline]
    fn capabilities(&self) -> DeviceCapabilities {
        self.capabilities.clone()
    }
}

/// The frame received.
pub(super) struct Received<'t>(&'t [u8]);

impl RxToken for Received<'_> {
    #[inline]
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

/// Leave to send one frame.
pub(super) struct Sending<'t, T: Transmitter> {
    transmitter: &'t mut T,
    sent: &'t mut Sent,
}

impl<T: Transmitter> TxToken for Sending<'_, T> {
    #[inline]
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let sent = self.sent;
        self.transmitter.send(len, |frame| {
            let result = write(frame);
            fill_header_sum(frame);
            sent.bytes += len as u64;
            sent.segment = SentSegment::of(frame);
            // An ARP request in place of the segment means the same as nothing.
            sent.is_neighbour_missing = sent.segment.is_none();
            result
        })
    }
}
