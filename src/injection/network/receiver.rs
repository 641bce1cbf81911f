//! The receiving half: frames lost, changed, doubled, out of order or held back; interrupts lost.

use super::{
    FRAME_BYTES_MAX, LOST_INTERRUPT, NetworkFaults, RECEIVE_CORRUPT, RECEIVE_DROP,
    RECEIVE_DUPLICATE, RECEIVE_REORDER, RECEIVE_STALL,
};
use crate::error::Grow;
use crate::platform::network_device::{Checksums, Receiver};
use crate::platform::time::Instant;
use alloc::vec::Vec;

/// Which frame is shown until it is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// None was decided on.
    Nothing,
    /// The device's.
    Theirs,
    /// The copy that was held back or changed.
    Held,
}

/// The receiving half.
pub struct FaultyReceiver<R> {
    is_armed: bool,
    inner: R,
    faults: &'static NetworkFaults,
    is_checked: bool,
    shown: Shown,
    /// The frame that is shown is shown once more.
    comes_again: bool,
    /// A frame of which the device has its buffer back; empty for none.
    held: Vec<u8>,
    stalled_until: Instant,
}

impl<R: Receiver> FaultyReceiver<R> {
    pub(super) fn new(inner: R, checksums: Checksums, faults: &'static NetworkFaults) -> Self {
        Self {
            is_armed: faults.is_busy(),
            inner,
            faults,
            is_checked: checksums.receive_verified,
            shown: Shown::Nothing,
            comes_again: false,
            held: Vec::new(),
            stalled_until: Instant::ZERO,
        }
    }

    /// Decides which frame is shown next, unless that is decided.
    fn decide(&mut self) {
        while self.shown == Shown::Nothing {
            let group = &self.faults.group;
            if self.faults.clock.now() < self.stalled_until {
                return;
            }
            let Some(frame) = self.inner.peek() else {
                // Nothing else comes that it could be shown after.
                if !self.held.is_empty() {
                    self.shown = Shown::Held;
                }
                return;
            };
            if group.fires(RECEIVE_STALL) {
                self.stalled_until = self.faults.ends_after(RECEIVE_STALL);
                return;
            }
            if self.faults.is_down() || group.fires(RECEIVE_DROP) {
                self.inner.release();
                continue;
            }
            let can_be_held = self.held.is_empty() && frame.len() <= FRAME_BYTES_MAX;
            if can_be_held && group.fires(RECEIVE_CORRUPT) {
                if self.held.try_append(frame).is_ok() {
                    self.inner.release();
                    let held = &mut self.held;
                    match self.faults.corrupt(RECEIVE_CORRUPT, held, self.is_checked) {
                        true => self.shown = Shown::Held,
                        false => held.clear(),
                    }
                }
                continue;
            }
            if can_be_held && group.fires(RECEIVE_REORDER) && self.held.try_append(frame).is_ok() {
                self.inner.release();
                continue;
            }
            self.comes_again = group.fires(RECEIVE_DUPLICATE);
            self.shown = Shown::Theirs;
        }
    }

    #[cold]
    #[inline(never)]
    fn peek_faultily(&mut self) -> Option<&[u8]> {
        self.decide();
        match self.shown {
            Shown::Nothing => {
                // It follows the group, but not before what was begun is at its end.
                self.is_armed = self.faults.is_busy() || self.is_unfinished();
                None
            }
            Shown::Held => Some(&self.held),
            Shown::Theirs => self.inner.peek(),
        }
    }

    #[cold]
    #[inline(never)]
    fn await_faultily(&mut self) -> bool {
        let is_unfinished = self.is_unfinished();
        if !is_unfinished && self.faults.group.fires(LOST_INTERRUPT) {
            // What comes is not told of: who waits finds it when something else wakes it.
            return true;
        }
        self.inner.await_interrupt() && !is_unfinished
    }

    #[cold]
    #[inline(never)]
    fn release_faultily(&mut self) {
        match core::mem::replace(&mut self.shown, Shown::Nothing) {
            Shown::Theirs if core::mem::take(&mut self.comes_again) => self.shown = Shown::Theirs,
            Shown::Held => self.held.clear(),
            _ => {
                self.inner.release();
                if !self.held.is_empty() {
                    self.shown = Shown::Held;
                }
            }
        }
    }

    fn is_unfinished(&self) -> bool {
        let is_stalled = self.faults.clock.now() < self.stalled_until;
        self.shown != Shown::Nothing || !self.held.is_empty() || is_stalled
    }
}

// What is inert is inline, as the device's own half is; what is not is a call.
impl<R: Receiver> Receiver for FaultyReceiver<R> {
    #[inline(always)]
    fn peek(&mut self) -> Option<&[u8]> {
        if self.is_armed {
            return self.peek_faultily();
        }
        let frame = self.inner.peek();
        if frame.is_none() {
            self.is_armed = self.faults.is_busy_now();
        }
        frame
    }

    #[inline(always)]
    fn await_interrupt(&mut self) -> bool {
        if self.is_armed {
            return self.await_faultily();
        }
        self.inner.await_interrupt()
    }

    #[inline(always)]
    fn release(&mut self) {
        if self.is_armed {
            self.release_faultily();
        } else {
            self.inner.release();
        }
    }
}
