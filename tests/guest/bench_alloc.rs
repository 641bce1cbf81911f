//! Inside QEMU, under -icount: the instructions of the memory manager's frames and heap, beside those of other
//! allocators. Run by `scripts/bench-alloc.sh`, which makes a table of the rows printed here.
//!
//! Each call is counted by itself, between two readings of the counter, so that the loop around it does not count and the
//! dearest call is known; a reading is 32 bits wide, and no call is longer. What is measured runs as a fiber with an
//! owner of its own, as every subsystem does, with statistics, hardening and interrupts on; nothing else runs.
//!
//! The words after the binary's name say what to measure: `frames`, `heap`, and `peers` for the other allocators as well.
#![no_std]
#![no_main]

extern crate alloc;

mod bench_alloc_frames;
mod bench_alloc_heap;
mod counting;
mod fiber_support;

use alloc::vec::Vec;
use core::arch::asm;
use core::fmt::Display;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use counting::empty_pair;
use fiber_support::{Machine, run, this_machine};
use nos::arch::aarch64::BootInfo;
use nos::kernel::scheduler::Entry;
use nos::memory::frames::{FrameSource, Order, PAGE_SHIFT, Pfn};
use nos::platform::console::print;

#[unsafe(no_mangle)]
extern "C" fn nos_main(boot: &BootInfo) -> ! {
    run(
        boot,
        &[
            ("instructions are counted", |_| counting::set_up()),
            ("the frames", |_| {
                in_fiber_if("frames", bench_alloc_frames::of_nos)
            }),
            ("the frames of others", |_| {
                in_fiber_if("frames peers", bench_alloc_frames::of_peers)
            }),
            ("the heap", |_| {
                in_fiber_if("heap", bench_alloc_heap::of_nos)
            }),
            ("the heap of the kernel", |machine| {
                if is_asked("heap") {
                    bench_alloc_heap::of_the_kernel(machine);
                }
            }),
            ("the heaps of others", |_| {
                in_fiber_if("heap peers", bench_alloc_heap::of_peers)
            }),
        ],
    )
}

/// Whether each of these words is on the command line.
fn is_asked(words: &str) -> bool {
    const SYS_GET_CMDLINE: u64 = 0x15;
    let mut line = [0u8; 256];
    let mut block = [line.as_mut_ptr() as u64, line.len() as u64];
    let status: i64;
    // SAFETY: writes the command line to `line` and its length to the second word of `block`.
    unsafe {
        asm!("hlt #0xf000", inlateout("x0") SYS_GET_CMDLINE => status, in("x1") block.as_mut_ptr(), options(nostack));
    }
    assert_eq!(status, 0, "the command line is told");
    let line = core::str::from_utf8(&line[..block[1] as usize]).expect("it is text");
    words
        .split(' ')
        .all(|word| line.split(' ').any(|asked| asked == word))
}

/// Fibers that have measured what they should.
static FINISHED: AtomicUsize = AtomicUsize::new(0);

/// Runs it in a fiber above this one, if these words are on the command line: it has ended when this returns.
fn in_fiber_if(words: &str, measure: Entry) {
    if is_asked(words) {
        let machine = this_machine();
        let before = FINISHED.load(Relaxed);
        let fiber = machine.spawn("measured", 0, 1, measure, 0);
        assert_eq!(FINISHED.load(Relaxed), before + 1, "it went to its end");
        machine.fibers.stop(fiber);
        machine.await_death(fiber);
    }
}

/// Ends such a fiber.
pub(crate) fn finish() {
    FINISHED.fetch_add(1, Relaxed);
    this_machine().fibers.park(None);
}

/// What was counted of one kind of call.
#[derive(Clone, Copy, Default)]
pub(crate) struct Calls {
    pub(crate) count: u64,
    pub(crate) sum: u64,
    pub(crate) most: u64,
}

impl Calls {
    /// Notes what lies between two readings.
    #[inline(always)]
    pub(crate) fn note(&mut self, began: u64, ended: u64) {
        let spent = ended.wrapping_sub(began) & 0xffff_ffff;
        self.count += 1;
        self.sum += spent;
        self.most = self.most.max(spent);
    }

    /// Tenths of instructions a call, rounded, without the readings.
    fn tenths(&self) -> u64 {
        assert!(self.count > 0, "something was measured");
        (self.sum * 10 + self.count / 2) / self.count - empty_pair() * 10
    }

    fn dearest(&self) -> u64 {
        self.most - empty_pair()
    }
}

/// What was counted of allocations and of frees.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counted {
    pub(crate) allocations: Calls,
    pub(crate) frees: Calls,
}

impl Counted {
    /// Prints rows for the script: the means, of the pair with its limit, and the dearest call.
    pub(crate) fn print(&self, case: &str, subject: &str, limit: Option<u64>) {
        let [allocation, free] = [&self.allocations, &self.frees].map(Calls::tenths);
        let tenths = |metric, tenths: u64, limit| {
            let value = format_args!("{}.{}", tenths / 10, tenths % 10);
            row(case, subject, metric, value, limit);
        };
        tenths("instructions_per_pair", allocation + free, limit);
        tenths("instructions_per_allocation", allocation, None);
        tenths("instructions_per_free", free, None);
        let dearest = self.allocations.dearest().max(self.frees.dearest());
        row(case, subject, "instructions_dearest", dearest, None);
    }
}

/// Prints one row for the script.
pub(crate) fn row(
    case: &str,
    subject: &str,
    metric: &str,
    value: impl Display,
    limit: Option<u64>,
) {
    print(format_args!("\nrow {case} {subject} {metric} {value} "));
    match limit {
        Some(limit) => print(format_args!("{limit}\n")),
        None => print(format_args!("-\n")),
    }
}

/// Pseudo-random numbers (xorshift64*), the same in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        (high as usize * end) >> 32
    }
}

/// All of the machine's memory but for a few MiB, taken from the manager until this is dropped: for other allocators.
pub(crate) struct Taken {
    machine: &'static Machine,
    blocks: Vec<Pfn>,
}

impl Taken {
    pub(crate) fn all(machine: &'static Machine) -> Self {
        let mut blocks = Vec::with_capacity(16 << 10);
        while let Ok(block) = machine.ground.memory.allocate(Order::MAX) {
            blocks.push(block);
        }
        blocks.sort_unstable();
        Self { machine, blocks }
    }

    /// The longest stretch of addresses in it.
    pub(crate) fn longest(&self) -> Range<usize> {
        let adjoin = |a: &Pfn, b: &Pfn| a.0 + Order::MAX.frames() == b.0;
        let runs = self.blocks.chunk_by(adjoin);
        let longest = runs.max_by_key(|run| run.len()).expect("there are blocks");
        let start = longest[0].address();
        start..start + longest.len() * Order::MAX.bytes()
    }

    /// The frames of that stretch.
    pub(crate) fn longest_frames(&self) -> Range<usize> {
        let addresses = self.longest();
        addresses.start >> PAGE_SHIFT..addresses.end >> PAGE_SHIFT
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        for &block in &self.blocks {
            let freed = self.machine.ground.memory.free(block, Order::MAX);
            freed.expect("it was given out");
        }
    }
}
