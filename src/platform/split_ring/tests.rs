//! The ring's protocol against the device of the tests: order, wrap-around, and who asks for a kick when.

use super::device::{Buffer, Device, driver_at};
use super::{Memory, Virtio, Writer};
use std::collections::VecDeque;

const RING: usize = 8;

/// A seeded generator: xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize % bound
    }
}

#[test]
fn two_hundred_thousand_buffers_in_batches_lose_no_notification_and_no_interrupt() {
    const BUFFERS: u32 = 200_000;
    let memory = Memory::<RING>::at(0);
    let mut driver = driver_at::<RING, _, Virtio>(&memory, 0);
    let mut device = Device::at(&memory, 0);
    let mut random = Random(1);
    let mut free: VecDeque<u16> = (0..RING as u16).collect();
    let mut held: VecDeque<Buffer> = VecDeque::new();
    let (mut is_device_awake, mut is_driver_awake) = (false, true);
    let (mut sent, mut seen, mut back) = (0, 0, 0);
    // Turns of random length; a side that sleeps takes none, and is woken by the other alone.
    while back < BUFFERS {
        assert!(is_device_awake || is_driver_awake, "both sleep at {back}");
        if is_driver_awake && (!is_device_awake || random.below(2) == 0) {
            while let Some((n, len)) = driver.take_used() {
                assert_eq!(len, back);
                back += 1;
                free.push_back(n);
            }
            for _ in 0..random.below(RING + 1) {
                if sent == BUFFERS {
                    break;
                }
                let Some(n) = free.pop_front() else { break };
                driver.describe(n, u64::from(sent), sent, Writer::Driver);
                driver.offer(n);
                sent += 1;
            }
            is_device_awake |= driver.publish();
            let must_wait = free.is_empty() || sent == BUFFERS;
            is_driver_awake = !(must_wait && driver.want_interrupts(true));
        } else if is_device_awake {
            device.want_notifications(false);
            for _ in 0..random.below(RING + 1) {
                let Some(found) = device.take_available() else {
                    break;
                };
                assert_eq!((found.address, found.len), (u64::from(seen), seen));
                seen += 1;
                held.push_back(found);
            }
            for _ in 0..random.below(RING + 1) {
                let Some(buffer) = held.pop_front() else {
                    break;
                };
                if device.give_back(u32::from(buffer.n), buffer.len) {
                    is_driver_awake = true;
                    driver.want_interrupts(false);
                }
            }
            is_device_awake = !(held.is_empty() && device.want_notifications(true));
        }
    }
}

#[test]
fn a_batch_across_the_wrap_asks_for_one_notification() {
    for index in (0..=u16::MAX).rev().take(2 * RING).chain(0..RING as u16) {
        let memory = Memory::<RING>::at(index);
        let mut driver = driver_at::<RING, _, Virtio>(&memory, index);
        let mut device = Device::at(&memory, index);
        for n in 0..RING as u16 {
            driver.describe(n, 1, 1, Writer::Driver);
            driver.offer(n);
        }
        assert!(driver.publish(), "the device waits at {index}");
        assert!(!driver.publish(), "nothing new at {index}");
        let found = core::iter::from_fn(|| device.take_available());
        assert_eq!(found.count(), RING, "from {index}");
    }
}

#[test]
fn a_device_that_wants_no_notification_gets_none() {
    let memory = Memory::<RING>::at(0);
    let mut driver = driver_at::<RING, _, Virtio>(&memory, 0);
    let mut device = Device::at(&memory, 0);
    device.want_notifications(false);
    driver.offer(0);
    assert!(!driver.publish());
    assert!(
        !device.want_notifications(true),
        "it finds the buffer itself"
    );
}

#[test]
fn a_buffer_that_the_device_does_not_have_breaks_the_ring() {
    for claimed in [1, 7, 8, u32::MAX] {
        let memory = Memory::<RING>::at(0);
        let mut driver = driver_at::<RING, _, Virtio>(&memory, 0);
        let mut device = Device::at(&memory, 0);
        driver.offer(0);
        driver.publish();
        device.give_back(claimed, 0);
        assert_eq!(driver.take_used(), None, "claimed {claimed}");
        device.give_back(0, 0);
        assert!(!driver.has_used(), "a broken ring gives nothing more");
    }
}
