//! A record of every block of frames that is given out and taken back, for a policy to be tried on: the feature
//! `alloc-trace`, off in every image that is shipped.
//!
//! The records lie in a static region that begins with [`MAGIC`], by which whoever reads the machine's memory from outside
//! finds them (`scripts/trace_alloc.py`); `tests/replay.rs` plays them again. One is a word:
//!
//! | bits | |
//! | --- | --- |
//! | 0-31 | instructions retired, as the CPU counts them, modulo 2^32 |
//! | 32-51 | the block's first frame, from the start of memory |
//! | 52-55 | its order |
//! | 56-59 | the owner that runs |
//! | 60-61 | the CPU |
//! | 62 | 1 for a movable page |
//! | 63 | 1 for a free |
//!
//! Limits: 4 GiB of memory, 4 CPUs, [`RECORDS`] records; what comes after them is counted and lost.

use super::frames::{Order, Pfn};
use super::local_cpu::LocalCpu;
use super::zone::owners::Use;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Where memory starts on the machines that are traced.
const FIRST_FRAME: u64 = 0x4000_0000 >> super::frames::PAGE_SHIFT;
/// Room: 32 MiB.
const RECORDS: usize = 4 << 20;
/// What the region begins with.
const MAGIC: [u64; 2] = [0x616c_6c6f_632d_7472, 0x6163_6520_6265_6769];

/// What is found from outside.
#[repr(C, align(4096))]
struct Trace {
    magic: [AtomicU64; 2],
    /// Records that were made, those included that had no room.
    made: AtomicU64,
    records: [AtomicU64; RECORDS],
}

// A global, since what is outside of the machine looks for it.
static TRACE: Trace = Trace {
    magic: [const { AtomicU64::new(0) }; 2],
    made: AtomicU64::new(0),
    records: [const { AtomicU64::new(0) }; RECORDS],
};

/// What happens to a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It has been given out for that.
    Allocated(Use),
    /// It is about to be taken back.
    Freed,
}

/// Records what happens to a block.
pub(super) fn note(cpu: &impl LocalCpu, event: Event, first: Pfn, order: Order) {
    let place = TRACE.made.fetch_add(1, Relaxed) as usize;
    if place == 0 {
        for (word, value) in TRACE.magic.iter().zip(MAGIC) {
            word.store(value, Relaxed);
        }
    }
    let Some(record) = TRACE.records.get(place) else {
        return;
    };
    let word = cpu.pinned(|| {
        let fields = [
            (first.0 - FIRST_FRAME, 32),
            (u64::from(order.get()), 52),
            (cpu.owner().index() as u64, 56),
            (cpu.current() as u64, 60),
            (u64::from(event == Event::Allocated(Use::Movable)), 62),
            (u64::from(event == Event::Freed), 63),
        ];
        let fields = fields.into_iter().map(|(value, shift)| value << shift);
        u64::from(cpu.retired()) | fields.fold(0, |word, field| word | field)
    });
    record.store(word, Relaxed);
}
