//! A block device whose failures are told, whoever uses it and whatever that makes of them.

use super::{BlockQueue, Operation};
use crate::error::Result;
use crate::platform::time::{Clock, Duration, Instant};
use alloc::boxed::Box;

/// What can be seen of a disk that is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskEvent {
    /// It failed a read.
    ReadFailed,
    /// It failed a write.
    WriteFailed,
    /// It failed a flush.
    FlushFailed,
    /// It answers late, again and again.
    Late,
    /// What was read is not what was written.
    ChecksumMismatch,
    /// A checkpoint's header is no whole one.
    SlotTorn,
    /// It holds something that is not ours.
    Foreign,
    /// A checkpoint could not be written.
    CheckpointFailed,
}

/// Who is told of it.
pub trait DiskWitness: Sync {
    /// Takes an event in, as it is seen.
    fn tell(&self, event: DiskEvent);
}

/// Nobody is.
#[derive(Clone, Copy, Debug)]
pub struct Unheard;

impl DiskWitness for Unheard {
    fn tell(&self, _: DiskEvent) {}
}

/// Slots that are used of a device, at most.
const SLOTS_MAX: usize = 8;
/// A read or write of one buffer that takes longer is late: 6 MB a second, where a slow disk does 100 (a guess). Flushes are
/// not judged: they take as long as there is to be kept.
const LATE: Duration = Duration::from_millis(5);
/// So many late ones in a row are told: two rounds of all slots, so that one stall of the host is none.
const LATE_IN_A_ROW: u8 = 8;

/// The device.
pub struct WatchedQueue {
    inner: Box<dyn BlockQueue>,
    clock: &'static dyn Clock,
    witness: &'static dyn DiskWitness,
    /// What each slot was asked for, and when.
    asked: [(Operation, Instant); SLOTS_MAX],
    late: u8,
}

impl WatchedQueue {
    /// A device that hands on what it is asked to `inner`.
    pub fn new(
        inner: Box<dyn BlockQueue>,
        clock: &'static dyn Clock,
        witness: &'static dyn DiskWitness,
    ) -> Self {
        Self {
            inner,
            clock,
            witness,
            asked: [(Operation::Read, Instant::ZERO); SLOTS_MAX],
            late: 0,
        }
    }

    fn judge(&mut self, slot: usize, is_done_as_asked: bool) {
        let (operation, since) = self.asked[slot];
        if !is_done_as_asked {
            return self.witness.tell(match operation {
                Operation::Read => DiskEvent::ReadFailed,
                Operation::Write => DiskEvent::WriteFailed,
                Operation::Flush => DiskEvent::FlushFailed,
            });
        }
        if operation == Operation::Flush {
            return;
        }
        let is_late = self.clock.now().since(since) > LATE;
        self.late = if is_late { self.late + 1 } else { 0 };
        if self.late == LATE_IN_A_ROW {
            self.late = 0;
            self.witness.tell(DiskEvent::Late);
        }
    }
}

impl BlockQueue for WatchedQueue {
    fn blocks(&self) -> u64 {
        self.inner.blocks()
    }

    fn is_read_only(&self) -> bool {
        self.inner.is_read_only()
    }

    fn slots(&self) -> usize {
        self.inner.slots().min(SLOTS_MAX)
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        self.inner.buffer(slot)
    }

    fn submit(
        &mut self,
        slot: usize,
        operation: Operation,
        first: u64,
        blocks: usize,
    ) -> Result<()> {
        self.asked[slot] = (operation, self.clock.now());
        self.inner.submit(slot, operation, first, blocks)
    }

    fn has_done(&self) -> bool {
        self.inner.has_done()
    }

    fn take_done(&mut self) -> Option<(usize, bool)> {
        let (slot, is_done_as_asked) = self.inner.take_done()?;
        self.judge(slot, is_done_as_asked);
        Some((slot, is_done_as_asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{BLOCK_BYTES, Immediate, MemoryDevice};
    use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use std::sync::Mutex;
    use std::vec::Vec;

    #[derive(Default)]
    struct Heard(Mutex<Vec<DiskEvent>>);

    impl DiskWitness for Heard {
        fn tell(&self, event: DiskEvent) {
            self.0.lock().expect("no test panics with it").push(event);
        }
    }

    struct Hands(AtomicU64);

    impl Clock for Hands {
        fn now(&self) -> Instant {
            Instant::from_nanos(self.0.load(Relaxed))
        }

        fn boot_unix_nanos(&self) -> u64 {
            0
        }
    }

    /// A device that fails what is asked of its last block.
    struct Failing(MemoryDevice);

    impl crate::storage::BlockDevice for Failing {
        fn blocks(&self) -> u64 {
            self.0.blocks()
        }

        fn read(&mut self, first: u64, into: &mut [u8]) -> Result<()> {
            self.0.read(first + 1, into)
        }

        fn write(&mut self, first: u64, from: &[u8]) -> Result<()> {
            self.0.write(first + 1, from)
        }

        fn flush(&mut self) -> Result<()> {
            let mut beyond = [0; BLOCK_BYTES];
            self.0.read(self.0.blocks(), &mut beyond)
        }
    }

    fn world() -> (WatchedQueue, &'static Heard, &'static Hands) {
        let heard: &Heard = Box::leak(Box::default());
        let hands: &Hands = Box::leak(Box::new(Hands(AtomicU64::new(0))));
        let device = Failing(MemoryDevice::new(4).expect("memory"));
        let inner = Box::new(Immediate::new(device).expect("memory"));
        (WatchedQueue::new(inner, hands, heard), heard, hands)
    }

    #[test]
    fn each_failure_is_told_as_what_it_is_and_what_works_is_not() {
        let (mut queue, heard, _) = world();
        for (operation, first, blocks) in [
            (Operation::Write, 0, 1),
            (Operation::Read, 3, 1),
            (Operation::Write, 3, 1),
            (Operation::Flush, 0, 0),
            (Operation::Read, 0, 1),
        ] {
            queue.submit(0, operation, first, blocks).expect("in range");
            assert!(queue.has_done() && queue.take_done().is_some());
        }
        let told = heard.0.lock().expect("no test panics with it").clone();
        let failures = [
            DiskEvent::ReadFailed,
            DiskEvent::WriteFailed,
            DiskEvent::FlushFailed,
        ];
        assert_eq!(told, failures);
    }

    #[test]
    fn late_requests_are_told_when_there_are_many_in_a_row() {
        let (mut queue, heard, hands) = world();
        let read = |queue: &mut WatchedQueue, millis: u64| {
            queue.submit(0, Operation::Read, 0, 1).expect("in range");
            hands.0.fetch_add(millis * 1_000_000, Relaxed);
            assert_eq!(queue.take_done(), Some((0, true)));
            heard.0.lock().expect("no test panics with it").len()
        };
        for _ in 1..LATE_IN_A_ROW {
            assert_eq!(read(&mut queue, 6), 0);
        }
        assert_eq!(read(&mut queue, 1), 0, "a quick one between");
        for _ in 1..LATE_IN_A_ROW {
            assert_eq!(read(&mut queue, 6), 0);
        }
        assert_eq!(read(&mut queue, 6), 1);
        assert_eq!(read(&mut queue, 6), 1, "and not each one from then on");
    }
}
