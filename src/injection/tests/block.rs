//! A device in memory, with faults before it.

use super::network::TestClock;
use super::{leak, turned};
use crate::injection::{BLOCK_POINTS, FaultyBlockQueue, Group, Knob};
use crate::platform::time::{Clock, Duration};
use crate::storage::{BLOCK_BYTES, BlockDevice, BlockQueue, Immediate, MemoryDevice, Operation};
use std::boxed::Box;
use std::sync::{Arc, Mutex};
use std::vec;
use std::vec::Vec;

const BLOCKS: usize = 8;

/// A device that the test keeps in its hands.
#[derive(Clone)]
struct Platter(Arc<Mutex<MemoryDevice>>);

impl Platter {
    fn with<R>(&self, section: impl FnOnce(&mut MemoryDevice) -> R) -> R {
        section(&mut self.0.lock().expect("no test panics with it"))
    }
}

impl BlockDevice for Platter {
    fn blocks(&self) -> u64 {
        BLOCKS as u64
    }

    fn read(&mut self, first: u64, into: &mut [u8]) -> crate::error::Result<()> {
        self.with(|device| device.read(first, into))
    }

    fn write(&mut self, first: u64, from: &[u8]) -> crate::error::Result<()> {
        self.with(|device| device.write(first, from))
    }

    fn flush(&mut self) -> crate::error::Result<()> {
        self.with(MemoryDevice::flush)
    }
}

struct World {
    platter: Platter,
    device: FaultyBlockQueue,
    group: &'static Group,
    clock: &'static TestClock,
}

fn world() -> World {
    let group: &'static Group = leak(Group::new(BLOCK_POINTS).expect("memory"));
    let clock: &'static TestClock = leak(TestClock::new());
    let device = MemoryDevice::new(BLOCKS).expect("memory");
    let platter = Platter(Arc::new(Mutex::new(device)));
    let queue = Box::new(Immediate::new(platter.clone()).expect("memory"));
    World {
        platter,
        device: FaultyBlockQueue::new(queue, group, clock),
        group,
        clock,
    }
}

impl World {
    fn arm(&self, name: &str, knobs: &[(Knob, u64)]) {
        let at = BLOCK_POINTS.iter().position(|point| point.name == name);
        self.group.arm(at.expect(name), &turned(knobs));
    }

    /// What is on the device.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0xee; BLOCKS * BLOCK_BYTES];
        self.platter
            .with(|device| device.read(0, &mut bytes))
            .expect("whole");
        bytes
    }

    /// Whether it was done as asked, once it is done.
    fn ask(&mut self, operation: Operation, first: u64, blocks: usize) -> bool {
        self.device
            .submit(1, operation, first, blocks)
            .expect("in range");
        while self.device.has_done() {
            if let Some((slot, is_done_as_asked)) = self.device.take_done() {
                assert_eq!(slot, 1);
                return is_done_as_asked;
            }
        }
        panic!("it is never done");
    }

    fn write(&mut self, first: u64, byte: u8, blocks: usize) -> bool {
        self.device.buffer(1)[..blocks * BLOCK_BYTES].fill(byte);
        self.ask(Operation::Write, first, blocks)
    }
}

fn bits(bytes: &[u8]) -> u32 {
    bytes.iter().map(|byte| byte.count_ones()).sum()
}

#[test]
fn each_kind_of_request_fails_when_its_point_says_so_and_then_not_again() {
    let mut world = world();
    for name in ["block-read-error", "block-write-error", "block-flush-error"] {
        world.arm(name, &[]);
        let kinds = |world: &mut World| {
            [
                world.ask(Operation::Read, 0, 1),
                world.write(0, 1, 1),
                world.ask(Operation::Flush, 0, 0),
            ]
        };
        let done = kinds(&mut world);
        assert_eq!(done.iter().filter(|&&done| !done).count(), 1, "{name}");
        assert_eq!(kinds(&mut world), [true; 3], "{name}");
    }
    world.arm("block-write-error", &[]);
    assert!(!world.write(1, 2, 1));
    assert!(world.bytes()[BLOCK_BYTES..].iter().all(|&byte| byte == 0));
}

#[test]
fn what_is_beyond_the_device_is_refused_whatever_is_armed() {
    let mut world = world();
    world.arm("block-write-error", &[]);
    let beyond = world.device.submit(0, Operation::Write, BLOCKS as u64, 1);
    assert!(beyond.is_err() && !world.device.has_done());
    assert!(!world.write(0, 1, 1), "the point was not used up");
}

#[test]
fn a_torn_write_leaves_the_start_of_what_was_written_and_of_the_next_block_a_part() {
    let mut cuts = Vec::new();
    for seed in 0..64 {
        let mut world = world();
        world.arm("block-write-torn", &[(Knob::Seed, seed)]);
        assert!(!world.write(2, 0xff, 4));
        let bytes = world.bytes();
        let (before, rest) = bytes.split_at(2 * BLOCK_BYTES);
        let written = rest.iter().take_while(|&&byte| byte == 0xff).count();
        assert_eq!(bits(before) + bits(&rest[written..]), 0, "seed {seed}");
        assert!(written < 4 * BLOCK_BYTES, "seed {seed}");
        cuts.push(written);
    }
    assert!(
        cuts.iter().any(|cut| cut % BLOCK_BYTES != 0),
        "within blocks: {cuts:?}"
    );
    assert!(
        cuts.iter().any(|&cut| cut > 2 * BLOCK_BYTES),
        "behind whole ones: {cuts:?}"
    );
}

#[test]
fn one_bit_of_what_is_written_or_read_changes_in_silence() {
    let mut world = world();
    world.arm("block-write-corrupt", &[]);
    assert!(world.write(0, 0, 2), "nothing is told");
    assert_eq!(bits(&world.bytes()), 1);
    assert!(world.write(0, 0, 2), "it is over");
    world.arm("block-read-corrupt", &[]);
    assert!(world.ask(Operation::Read, 0, 2), "nothing is told");
    let read = bits(&world.device.buffer(1)[..2 * BLOCK_BYTES]);
    assert_eq!((read, bits(&world.bytes())), (1, 0));
}

#[test]
fn what_a_lost_flush_was_to_keep_does_not_survive() {
    let mut world = world();
    world.arm("block-flush-lost", &[]);
    assert!(world.write(0, 1, 1));
    assert!(world.ask(Operation::Flush, 0, 0), "nothing is told");
    world.platter.with(MemoryDevice::lose_power);
    assert_eq!(bits(&world.bytes()), 0);
}

#[test]
fn a_slow_request_is_done_as_late_as_its_amount_says() {
    let mut world = world();
    world.arm("block-slow", &[(Knob::Amount, 50)]);
    let before = world.clock.now();
    assert!(world.ask(Operation::Flush, 0, 0));
    let took = world.clock.now().since(before);
    assert!(took >= Duration::from_nanos(50_000), "{took:?}");
    let before = world.clock.now();
    assert!(world.ask(Operation::Flush, 0, 0));
    assert!(world.clock.now().since(before) < Duration::from_nanos(10));
}
