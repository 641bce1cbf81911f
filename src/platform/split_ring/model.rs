//! Driver and device in two threads, in every order of their steps and with every value that the memory model
//! lets a load see (loom): `make loom`. Indices begin just before they wrap.
//!
//! Each order that the driver keeps is left out once, and the model must then fail.

use super::device::{Buffer, Device, driver_at};
use super::{Memory, Orders, Virtio, Writer};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::thread;
use std::string::String;

const RING: usize = 2;
/// The second buffer's index is 0 again.
const BEFORE_WRAP: u16 = u16::MAX;

fn buffer(n: u16) -> Buffer {
    Buffer {
        n,
        address: 0x1000 + u64::from(n),
        len: 100 + u32::from(n),
    }
}

/// Wakes the other side: a notification or an interrupt, which stays pending until it is looked for.
fn wake(other: &AtomicBool) {
    // Swapped on both sides: loom leaves plain stores of two threads without an order.
    other.swap(true, Ordering::AcqRel);
}

fn was_woken(this: &AtomicBool) -> bool {
    this.swap(false, Ordering::AcqRel)
}

/// Two buffers, each published alone, to a device that may fall asleep between them: it reads what was
/// described, and does not sleep over a buffer without a notification under way.
fn no_kick_is_lost<O: Orders + 'static>() {
    loom::model(|| {
        let memory = Arc::new(Memory::<RING>::at(BEFORE_WRAP));
        let notified = Arc::new(AtomicBool::new(false));
        let mut device = Device::at(memory.clone(), BEFORE_WRAP);
        device.want_notifications(false);
        let mut driver = driver_at::<RING, _, O>(memory, BEFORE_WRAP);

        let at_device = notified.clone();
        let device = thread::spawn(move || {
            let mut taken = 0;
            loop {
                while let Some(found) = device.take_available() {
                    assert_eq!(found, buffer(taken), "read before it was published");
                    taken += 1;
                }
                if !device.want_notifications(true) {
                    continue;
                }
                if !was_woken(&at_device) {
                    return taken;
                }
                device.want_notifications(false);
            }
        });
        for n in 0..RING as u16 {
            let Buffer { address, len, .. } = buffer(n);
            driver.describe(n, address, len, Writer::Driver);
            driver.offer(n);
            if driver.publish() {
                wake(&notified);
            }
        }
        let taken = device.join().expect("the device does not panic");
        let is_woken = was_woken(&notified);
        assert!(taken == RING as u16 || is_woken, "asleep after {taken}");
    });
}

/// Two buffers, each given back alone, to a driver that may fall asleep between them: it reads what the device
/// wrote, and does not sleep over a buffer without an interrupt under way.
fn no_interrupt_is_lost<O: Orders + 'static>() {
    loom::model(|| {
        let memory = Arc::new(Memory::<RING>::at(BEFORE_WRAP));
        let contents = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let interrupted = Arc::new(AtomicBool::new(false));
        let mut device = Device::at(memory.clone(), BEFORE_WRAP);
        let mut driver = driver_at::<RING, _, O>(memory, BEFORE_WRAP);
        driver.want_interrupts(false);
        for n in 0..RING as u16 {
            driver.describe(n, 0, 0, Writer::Device);
            driver.offer(n);
        }
        driver.publish();

        let (at_device, written) = (interrupted.clone(), contents.clone());
        let device = thread::spawn(move || {
            while let Some(Buffer { n, .. }) = device.take_available() {
                written[usize::from(n)].store(7 + u32::from(n), Ordering::Relaxed);
                if device.give_back(u32::from(n), buffer(n).len) {
                    wake(&at_device);
                }
            }
        });
        let mut taken = 0;
        loop {
            while let Some((n, len)) = driver.take_used() {
                assert_eq!((n, len), (taken, buffer(taken).len), "read too early");
                let content = contents[usize::from(n)].load(Ordering::Relaxed);
                assert_eq!(content, 7 + u32::from(n), "read too early");
                taken += 1;
            }
            // It gives up on a number that it reads before the device wrote it.
            assert!(!driver.is_broken, "read too early");
            if !driver.want_interrupts(true) {
                continue;
            }
            if !was_woken(&interrupted) {
                break;
            }
            driver.want_interrupts(false);
        }
        device.join().expect("the device does not panic");
        let is_woken = was_woken(&interrupted);
        assert!(taken == RING as u16 || is_woken, "asleep after {taken}");
    });
}

/// A buffer that comes back is described anew while the device looks on: it finds the new description.
fn a_buffer_is_described_anew<O: Orders + 'static>() {
    const TURNS: u16 = 2;
    loom::model(|| {
        let memory = Arc::new(Memory::<1>::at(BEFORE_WRAP));
        let mut device = Device::at(memory.clone(), BEFORE_WRAP);
        let mut driver = driver_at::<1, _, O>(memory, BEFORE_WRAP);
        let device = thread::spawn(move || {
            for turn in 0..TURNS {
                let found = loop {
                    match device.take_available() {
                        Some(found) => break found,
                        None => thread::yield_now(),
                    }
                };
                assert_eq!((found.address, found.len), (0x2000 + u64::from(turn), 5));
                device.give_back(0, u32::from(turn));
            }
        });
        for turn in 0..TURNS {
            driver.describe(0, 0x2000 + u64::from(turn), 5, Writer::Driver);
            driver.offer(0);
            driver.publish();
            let back = loop {
                match driver.take_used() {
                    Some(back) => break back,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(back, (0, u32::from(turn)));
        }
        device.join().expect("the device does not panic");
    });
}

enum WithoutBarrier {}
impl Orders for WithoutBarrier {
    fn barrier() {}
}

enum IndexStoredRelaxed {}
impl Orders for IndexStoredRelaxed {
    const PUBLISH: Ordering = Ordering::Relaxed;
}

enum IndexLoadedRelaxed {}
impl Orders for IndexLoadedRelaxed {
    const LOOK: Ordering = Ordering::Relaxed;
}

#[test]
fn no_notification_is_lost() {
    no_kick_is_lost::<Virtio>();
}

#[test]
fn no_interrupt_is_lost_either() {
    no_interrupt_is_lost::<Virtio>();
}

#[test]
fn a_reused_buffer_is_seen_as_described_last() {
    a_buffer_is_described_anew::<Virtio>();
}

/// The message of a model that must fail.
fn failure(model: fn()) -> String {
    let cause = std::panic::catch_unwind(model).expect_err("the model finds nothing wrong");
    let formatted = cause.downcast_ref::<String>().cloned();
    let plain = cause.downcast_ref::<&str>().map(|text| String::from(*text));
    formatted.or(plain).unwrap_or_default()
}

#[test]
fn without_the_barrier_a_notification_is_lost() {
    let told = failure(no_kick_is_lost::<WithoutBarrier>);
    assert!(told.contains("asleep after"), "{told}");
}

#[test]
fn without_the_barrier_an_interrupt_is_lost() {
    let told = failure(no_interrupt_is_lost::<WithoutBarrier>);
    assert!(told.contains("asleep after"), "{told}");
}

#[test]
fn with_a_relaxed_store_of_the_index_a_descriptor_is_read_too_early() {
    let told = failure(no_kick_is_lost::<IndexStoredRelaxed>);
    assert!(told.contains("read before it was published"), "{told}");
}

#[test]
fn with_a_relaxed_load_of_the_index_a_buffer_is_read_too_early() {
    let told = failure(no_interrupt_is_lost::<IndexLoadedRelaxed>);
    assert!(told.contains("read too early"), "{told}");
}
