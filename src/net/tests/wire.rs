//! A network device in memory, and what stands at its other end.

use crate::platform::network_device::{Checksums, NetworkDevice, Receiver, Transmitter};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

pub(super) const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// The cable: frames on their way, in both directions.
#[derive(Default)]
pub(super) struct Cable {
    pub(super) to_us: VecDeque<Vec<u8>>,
    pub(super) from_us: VecDeque<Vec<u8>>,
    /// Frames of ours that the device still takes; `None` for any number.
    pub(super) room: Option<usize>,
    pub(super) kicks: usize,
}

pub(super) type SharedCable = Rc<RefCell<Cable>>;

/// Our end of the cable.
pub(super) struct WireDevice {
    receiver: WireReceiver,
    transmitter: WireTransmitter,
    checksums: Checksums,
}

impl WireDevice {
    pub(super) fn new(cable: &SharedCable, checksums: Checksums) -> Self {
        Self {
            receiver: WireReceiver {
                cable: cable.clone(),
                current: None,
            },
            transmitter: WireTransmitter {
                cable: cable.clone(),
            },
            checksums,
        }
    }
}

pub(super) struct WireReceiver {
    cable: SharedCable,
    current: Option<Vec<u8>>,
}

pub(super) struct WireTransmitter {
    cable: SharedCable,
}

impl NetworkDevice for WireDevice {
    type Receiver = WireReceiver;
    type Transmitter = WireTransmitter;

    fn mac(&self) -> [u8; 6] {
        OUR_MAC
    }

    fn mtu(&self) -> usize {
        1500
    }

    fn checksums(&self) -> Checksums {
        self.checksums
    }

    fn split(&mut self) -> (&mut WireReceiver, &mut WireTransmitter) {
        (&mut self.receiver, &mut self.transmitter)
    }
}

impl Receiver for WireReceiver {
    fn peek(&mut self) -> Option<&[u8]> {
        if self.current.is_none() {
            self.current = self.cable.borrow_mut().to_us.pop_front();
        }
        self.current.as_deref()
    }

    fn await_interrupt(&mut self) -> bool {
        self.current.is_none() && self.cable.borrow().to_us.is_empty()
    }

    fn release(&mut self) {
        assert!(
            self.current.take().is_some(),
            "only a frame that was shown is released"
        );
    }
}

impl Transmitter for WireTransmitter {
    fn has_room(&mut self) -> bool {
        self.cable.borrow().room != Some(0)
    }

    fn send<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        assert!(self.has_room(), "the caller asked for room before");
        let mut frame = vec![0xaa; len];
        let result = fill(&mut frame);
        let mut cable = self.cable.borrow_mut();
        if let Some(room) = &mut cable.room {
            *room -= 1;
        }
        cable.from_us.push_back(frame);
        result
    }

    fn kick(&mut self) {
        self.cable.borrow_mut().kicks += 1;
    }
}
