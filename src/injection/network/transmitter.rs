//! The sending half: frames lost, changed, doubled or out of order; kicks lost.

use super::{
    FRAME_BYTES_MAX, LOST_KICK, NetworkFaults, SEND_CORRUPT, SEND_DROP, SEND_DUPLICATE,
    SEND_REORDER,
};
use crate::error::Grow;
use crate::platform::network_device::{Checksums, StagedTransmitter, Transmitter};
use alloc::vec::Vec;

/// The sending half.
pub struct FaultyTransmitter<T> {
    is_armed: bool,
    /// The frame that is written lies in `room`.
    is_staged: bool,
    inner: T,
    faults: &'static NetworkFaults,
    is_checked: bool,
    /// Where frames are written while it is armed; empty without memory.
    room: Vec<u8>,
    /// A frame that was overtaken by the next, which is sent after it or with the next kick; empty for none.
    held: Vec<u8>,
}

impl<T: StagedTransmitter> FaultyTransmitter<T> {
    pub(super) fn new(inner: T, checksums: Checksums, faults: &'static NetworkFaults) -> Self {
        Self {
            is_armed: faults.is_busy(),
            is_staged: false,
            inner,
            faults,
            is_checked: checksums.transmit_filled,
            room: Vec::new(),
            held: Vec::new(),
        }
    }

    /// Room of our own for a frame; the device's, if there is none.
    #[cold]
    #[inline(never)]
    fn room_faultily(&mut self, len: usize) -> &mut [u8] {
        let has_room = len <= FRAME_BYTES_MAX && self.room.try_resize(FRAME_BYTES_MAX, 0).is_ok();
        self.is_staged = has_room;
        if has_room {
            &mut self.room[..len]
        } else {
            self.inner.room_for(len)
        }
    }

    /// Sends the frame that was written, or does not.
    #[cold]
    #[inline(never)]
    fn queue_faultily(&mut self, len: usize) {
        if !core::mem::take(&mut self.is_staged) {
            return self.inner.queue(len);
        }
        let group = &self.faults.group;
        let frame = &mut self.room[..len];
        if self.faults.is_down() || group.fires(SEND_DROP) {
            return;
        }
        if group.fires(SEND_CORRUPT) && !self.faults.corrupt(SEND_CORRUPT, frame, self.is_checked) {
            return;
        }
        let overtakes = !self.held.is_empty();
        if !overtakes && group.fires(SEND_REORDER) && self.held.try_append(frame).is_ok() {
            return;
        }
        let times = 1 + usize::from(group.fires(SEND_DUPLICATE));
        for _ in 0..times {
            send_copy(&mut self.inner, &self.room[..len]);
        }
        if overtakes {
            self.send_held();
        }
    }

    fn send_held(&mut self) {
        if !self.held.is_empty() {
            send_copy(&mut self.inner, &self.held);
            self.held.clear();
        }
    }

    #[cold]
    #[inline(never)]
    fn kick_faultily(&mut self) {
        self.send_held();
        if !self.faults.group.fires(LOST_KICK) {
            self.inner.kick();
        }
        self.is_armed = self.faults.is_busy();
    }
}

/// Sends a frame, if there is room: without, it is lost, as one more on a full cable would be.
#[inline(never)]
fn send_copy(inner: &mut impl StagedTransmitter, frame: &[u8]) {
    if inner.has_room() {
        inner.room_for(frame.len()).copy_from_slice(frame);
        inner.queue(frame.len());
    }
}

impl<T: StagedTransmitter> Transmitter for FaultyTransmitter<T> {
    #[inline(always)]
    fn has_room(&mut self) -> bool {
        self.inner.has_room()
    }

    #[inline(always)]
    fn send<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        // Written in one place: what fills a frame is long, and stands here once.
        let room = match self.is_armed {
            true => self.room_faultily(len),
            false => self.inner.room_for(len),
        };
        let result = fill(room);
        if self.is_armed {
            self.queue_faultily(len);
        } else {
            self.inner.queue(len);
        }
        result
    }

    #[inline(always)]
    fn kick(&mut self) {
        if self.is_armed {
            return self.kick_faultily();
        }
        self.inner.kick();
        self.is_armed = self.faults.is_busy_now();
    }
}
