//! A device in memory, with faults before it.

use super::network::TestClock;
use super::{leak, turned};
use crate::error::Kind;
use crate::injection::{BLOCK_POINTS, FaultyBlockDevice, Group, Knob};
use crate::platform::time::{Clock, Duration};
use crate::storage::{BLOCK_BYTES, BlockDevice, MemoryDevice};
use std::vec;
use std::vec::Vec;

const BLOCKS: usize = 8;

struct World {
    device: FaultyBlockDevice<MemoryDevice>,
    group: &'static Group,
    clock: &'static TestClock,
}

fn world() -> World {
    let group: &'static Group = leak(Group::new(BLOCK_POINTS).expect("memory"));
    let clock: &'static TestClock = leak(TestClock::new());
    let device = MemoryDevice::new(BLOCKS).expect("memory");
    World {
        device: FaultyBlockDevice::new(device, group, clock),
        group,
        clock,
    }
}

impl World {
    fn arm(&self, name: &str, knobs: &[(Knob, u64)]) {
        let at = BLOCK_POINTS.iter().position(|point| point.name == name);
        self.group.arm(at.expect(name), &turned(knobs));
    }

    fn read(&mut self) -> Vec<u8> {
        let mut bytes = vec![0xee; BLOCKS * BLOCK_BYTES];
        self.device.inner_mut().read(0, &mut bytes).expect("whole");
        bytes
    }
}

fn bits(bytes: &[u8]) -> u32 {
    bytes.iter().map(|byte| byte.count_ones()).sum()
}

#[test]
fn each_kind_of_call_fails_when_its_point_says_so_and_then_not_again() {
    let mut world = world();
    let mut block = [1; BLOCK_BYTES];
    for name in ["block-read-error", "block-write-error", "block-flush-error"] {
        world.arm(name, &[]);
        let mut kinds = |world: &mut World| {
            [
                world.device.read(0, &mut block).is_err(),
                world.device.write(0, &[1; BLOCK_BYTES]).is_err(),
                world.device.flush().is_err(),
            ]
        };
        let failed = kinds(&mut world);
        assert_eq!(failed.iter().filter(|&&failed| failed).count(), 1, "{name}");
        assert_eq!(kinds(&mut world), [false; 3], "{name}");
    }
    world.arm("block-write-error", &[]);
    let error = world.device.write(1, &[2; BLOCK_BYTES]).expect_err("armed");
    assert!(matches!(error.kind(), Kind::Device { .. }));
    assert!(world.read()[BLOCK_BYTES..].iter().all(|&byte| byte == 0));
}

#[test]
fn a_torn_write_leaves_the_start_of_what_was_written_and_then_what_was_there() {
    let mut cuts = Vec::new();
    for seed in 0..64 {
        let mut world = world();
        world.arm("block-write-torn", &[(Knob::Seed, seed)]);
        assert!(world.device.write(2, &[0xff; 4 * BLOCK_BYTES]).is_err());
        let bytes = world.read();
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
    world
        .device
        .write(0, &[0; 2 * BLOCK_BYTES])
        .expect("nothing is told");
    assert_eq!(bits(&world.read()), 1);
    world
        .device
        .write(0, &[0; 2 * BLOCK_BYTES])
        .expect("it is over");
    world.arm("block-read-corrupt", &[]);
    let mut bytes = [0; 2 * BLOCK_BYTES];
    world.device.read(0, &mut bytes).expect("nothing is told");
    assert_eq!((bits(&bytes), bits(&world.read())), (1, 0));
}

#[test]
fn what_a_lost_flush_was_to_keep_does_not_survive() {
    let mut world = world();
    world.arm("block-flush-lost", &[]);
    world
        .device
        .write(0, &[1; BLOCK_BYTES])
        .expect("it is whole");
    world.device.flush().expect("nothing is told");
    world.device.inner_mut().lose_power();
    assert_eq!(bits(&world.read()), 0);
}

#[test]
fn a_slow_call_takes_as_long_as_its_amount_says() {
    let mut world = world();
    world.arm("block-slow", &[(Knob::Amount, 500)]);
    let before = world.clock.now();
    world.device.flush().expect("it is only slow");
    let took = world.clock.now().since(before);
    assert!(took >= Duration::from_nanos(500_000), "{took:?}");
    let before = world.clock.now();
    world.device.flush().expect("whole");
    assert!(world.clock.now().since(before) < Duration::from_nanos(10));
}
