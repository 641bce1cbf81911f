//! A cable between two ends, with faults at one.

use super::{leak, turned};
use crate::injection::network::*;
use crate::injection::{FaultyNetwork, Group, Knob, Knobs, NetworkFaults};
use crate::platform::network_device::{
    Checksums, NetworkDevice, Receiver, StagedTransmitter, Transmitter,
};
use crate::platform::time::{Clock, Duration, Instant};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::vec;
use std::vec::Vec;

pub(super) struct TestClock(AtomicU64);

impl TestClock {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(1))
    }

    pub(super) fn pass(&self, time: Duration) {
        self.0.fetch_add(time.as_nanos(), Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        // Whoever waits in a loop sees time pass.
        Instant::from_nanos(self.0.fetch_add(1, Relaxed))
    }

    fn boot_unix_nanos(&self) -> u64 {
        0
    }
}

#[derive(Default)]
struct Cable {
    to_us: VecDeque<Vec<u8>>,
    from_us: Vec<Vec<u8>>,
    kicks: usize,
    waits: usize,
}

struct End(Rc<RefCell<Cable>>, Option<Vec<u8>>);

impl Receiver for End {
    fn peek(&mut self) -> Option<&[u8]> {
        if self.1.is_none() {
            self.1 = self.0.borrow_mut().to_us.pop_front();
        }
        self.1.as_deref()
    }

    fn await_interrupt(&mut self) -> bool {
        self.0.borrow_mut().waits += 1;
        self.1.is_none() && self.0.borrow().to_us.is_empty()
    }

    fn release(&mut self) {
        assert!(
            self.1.take().is_some(),
            "only a frame that was shown is released"
        );
    }
}

impl Transmitter for End {
    fn has_room(&mut self) -> bool {
        true
    }

    fn send<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let result = fill(self.room_for(len));
        self.queue(len);
        result
    }

    fn kick(&mut self) {
        self.0.borrow_mut().kicks += 1;
    }
}

impl StagedTransmitter for End {
    fn room_for(&mut self, len: usize) -> &mut [u8] {
        self.1.insert(vec![0; len])
    }

    fn queue(&mut self, len: usize) {
        let frame = self.1.take().expect("it was written");
        assert_eq!(frame.len(), len);
        self.0.borrow_mut().from_us.push(frame);
    }
}

struct World {
    cable: Rc<RefCell<Cable>>,
    device: FaultyNetwork<End, End>,
    faults: &'static NetworkFaults,
    clock: &'static TestClock,
}

impl World {
    fn new(checksums: Checksums) -> Self {
        let clock: &'static TestClock = leak(TestClock::new());
        let faults = leak(NetworkFaults::new(clock).expect("memory"));
        let cable = Rc::new(RefCell::new(Cable::default()));
        let ends = (End(cable.clone(), None), End(cable.clone(), None));
        Self {
            device: FaultyNetwork::new(([2; 6], 1500, checksums), ends.0, ends.1, faults),
            cable,
            faults,
            clock,
        }
    }

    fn group(&self) -> &Group {
        self.faults.group()
    }

    fn arm(&self, point: usize, knobs: &[(Knob, u64)]) {
        let mut turned = turned(knobs);
        if let Some((_, usual)) = NETWORK_POINTS[point].amount {
            turned.put(Knob::Amount, usual);
        }
        self.group().arm(point, &turned);
    }

    /// The frames that are shown until there are none.
    fn receive(&mut self, frames: &[u8]) -> Vec<u8> {
        let sent = frames.iter().map(|&number| vec![number; 60]);
        self.cable.borrow_mut().to_us.extend(sent);
        self.take().iter().map(|frame| frame[0]).collect()
    }

    fn take(&mut self) -> Vec<Vec<u8>> {
        let mut taken = Vec::new();
        let (receiver, _) = self.device.split();
        while let Some(frame) = receiver.peek() {
            let frame = frame.to_vec();
            // As the stack does: it looks again before it releases.
            assert_eq!(receiver.peek(), Some(&frame[..]));
            receiver.release();
            taken.push(frame);
        }
        taken
    }

    fn send(&mut self, frames: &[u8]) -> Vec<u8> {
        let (_, transmitter) = self.device.split();
        for &number in frames {
            assert!(transmitter.has_room());
            let answer = transmitter.send(60, |frame| {
                frame.fill(number);
                number
            });
            assert_eq!(answer, number);
        }
        transmitter.kick();
        let sent = core::mem::take(&mut self.cable.borrow_mut().from_us);
        sent.iter().map(|frame| frame[0]).collect()
    }
}

const NONE: Checksums = Checksums {
    receive_verified: false,
    transmit_filled: false,
};
const ALL: Checksums = Checksums {
    receive_verified: true,
    transmit_filled: true,
};

/// Frames up to here are there before the point is armed: an inert device looks when it runs dry.
fn warmed() -> World {
    let mut world = World::new(NONE);
    assert_eq!(world.receive(&[0]), [0]);
    assert_eq!(world.send(&[0]), [0]);
    world
}

#[test]
fn received_frames_are_dropped_doubled_and_swapped() {
    let expected: [(usize, &[u8]); 3] = [
        (RECEIVE_DROP, &[1, 3, 4]),
        (RECEIVE_DUPLICATE, &[1, 2, 2, 3, 4]),
        (RECEIVE_REORDER, &[1, 3, 2, 4]),
    ];
    for (point, expected) in expected {
        let mut world = warmed();
        world.arm(point, &[(Knob::Nth, 2)]);
        assert_eq!(world.receive(&[]), []);
        assert_eq!(world.receive(&[1, 2, 3, 4]), expected, "{point}");
        assert_eq!(world.receive(&[5, 6]), [5, 6], "{point}");
    }
}

#[test]
fn a_frame_that_nothing_overtakes_is_shown_in_its_place() {
    let mut world = warmed();
    world.arm(RECEIVE_REORDER, &[]);
    assert_eq!(world.receive(&[]), []);
    assert_eq!(world.receive(&[1]), [1]);
    assert_eq!(world.receive(&[2, 3]), [2, 3]);
}

#[test]
fn sent_frames_are_dropped_doubled_and_swapped() {
    let expected: [(usize, &[u8]); 3] = [
        (SEND_DROP, &[1, 3, 4]),
        (SEND_DUPLICATE, &[1, 2, 2, 3, 4]),
        (SEND_REORDER, &[1, 3, 2, 4]),
    ];
    for (point, expected) in expected {
        let mut world = warmed();
        world.arm(point, &[(Knob::Nth, 2)]);
        assert_eq!(world.send(&[]), []);
        assert_eq!(world.send(&[1, 2, 3, 4]), expected, "{point}");
        assert_eq!(world.send(&[5, 6]), [5, 6], "{point}");
    }
    let mut world = warmed();
    world.arm(SEND_REORDER, &[]);
    world.send(&[]);
    assert_eq!(world.send(&[1]), [1], "the kick sends what waits");
}

#[test]
fn a_corrupt_frame_differs_in_one_bit() {
    let mut world = warmed();
    world.arm(RECEIVE_CORRUPT, &[(Knob::Times, Knobs::UNLIMITED)]);
    world.receive(&[]);
    world
        .cable
        .borrow_mut()
        .to_us
        .extend((0..50).map(|_| vec![0; 60]));
    let bits = |frame: &Vec<u8>| frame.iter().map(|byte| byte.count_ones()).sum::<u32>();
    let taken = world.take();
    assert_eq!(taken.iter().map(bits).collect::<Vec<_>>(), [1; 50]);
    let mut places: Vec<_> = taken
        .iter()
        .map(|frame| frame.iter().position(|&b| b > 0))
        .collect();
    places.dedup();
    assert!(
        places.len() > 25,
        "it is not always the same bit: {places:?}"
    );
}

/// A TCP segment without data.
fn segment() -> Vec<u8> {
    let mut frame = vec![0; 54];
    frame[12] = 8;
    frame[14] = 0x45;
    frame[17] = 40;
    frame[23] = 6;
    frame
}

#[test]
fn what_a_checksum_covers_and_the_device_verifies_is_thrown_away_when_it_changes() {
    for (checksums, are_passed) in [(NONE, true), (ALL, false)] {
        let mut world = World::new(checksums);
        world.arm(RECEIVE_CORRUPT, &[(Knob::Times, Knobs::UNLIMITED)]);
        world.arm(SEND_CORRUPT, &[(Knob::Times, Knobs::UNLIMITED)]);
        world.receive(&[]);
        world.send(&[]);
        let whole = segment();
        world
            .cable
            .borrow_mut()
            .to_us
            .extend(vec![whole.clone(); 100]);
        let received = world.take();
        for _ in 0..100 {
            let (_, transmitter) = world.device.split();
            transmitter.send(whole.len(), |frame| frame.copy_from_slice(&whole));
        }
        let sent = world.cable.borrow().from_us.clone();
        for frames in [received, sent] {
            let is_changed = |frame: &Vec<u8>| frame[34..] != whole[34..];
            assert_eq!(frames.iter().any(is_changed), are_passed);
            // Twenty of 54 bytes are the segment's.
            assert_eq!(frames.len() == 100, are_passed, "{}", frames.len());
            assert!(
                frames.len() > 40,
                "headers change as well: {}",
                frames.len()
            );
        }
    }
}

#[test]
fn a_queue_that_stalls_shows_its_frames_when_the_time_is_over() {
    let mut world = warmed();
    world.arm(RECEIVE_STALL, &[]);
    world.receive(&[]);
    assert_eq!(world.receive(&[1, 2]), []);
    world.clock.pass(Duration::from_millis(50));
    assert_eq!(world.receive(&[3]), []);
    assert!(
        !world.device.split().0.await_interrupt(),
        "frames are there"
    );
    world.clock.pass(Duration::from_millis(51));
    assert_eq!(world.receive(&[]), [1, 2, 3]);
    assert_eq!(world.receive(&[4]), [4]);
}

#[test]
fn a_link_that_is_down_carries_nothing_in_either_direction_for_a_while() {
    let mut world = warmed();
    world.arm(LINK_DOWN, &[]);
    world.receive(&[]);
    world.send(&[]);
    assert_eq!(world.receive(&[1, 2]), []);
    assert_eq!(world.send(&[3]), []);
    world.clock.pass(Duration::from_millis(999));
    assert_eq!((world.receive(&[4]), world.send(&[5])), (vec![], vec![]));
    world.clock.pass(Duration::from_millis(2));
    assert_eq!((world.receive(&[6]), world.send(&[7])), (vec![6], vec![7]));
}

#[test]
fn a_lost_interrupt_and_a_lost_kick_do_not_reach_the_device() {
    let mut world = warmed();
    world.arm(LOST_INTERRUPT, &[]);
    world.arm(LOST_KICK, &[]);
    world.receive(&[]);
    let kicks = world.cable.borrow().kicks;
    world.send(&[]);
    world.send(&[1]);
    assert_eq!(world.cable.borrow().kicks, kicks + 1, "one of them");
    let (receiver, _) = world.device.split();
    assert!(receiver.await_interrupt());
    assert_eq!(world.cable.borrow().waits, 0);
    assert!(world.device.split().0.await_interrupt());
    assert_eq!(world.cable.borrow().waits, 1);
}

#[test]
fn frames_come_once_and_in_order_whatever_was_armed_and_disarmed_before() {
    let mut world = warmed();
    let mut next = 1;
    for seed in 0..200 {
        let points = [RECEIVE_REORDER, RECEIVE_DUPLICATE, RECEIVE_CORRUPT];
        for point in points {
            world.arm(
                point,
                &[
                    (Knob::Times, Knobs::UNLIMITED),
                    (Knob::Probability, 30),
                    (Knob::Seed, seed),
                ],
            );
        }
        let shown = world.receive(&[200, 201, 202, 203]).len();
        assert!((4..=8).contains(&shown), "seed {seed}: {shown}");
        points.iter().for_each(|&point| world.group().disarm(point));
        world.receive(&[]);
        assert_eq!(
            world.receive(&[next, next + 1]),
            [next, next + 1],
            "seed {seed}"
        );
        next = next % 100 + 1;
    }
}
