//! Two CPUs, as threads of the host: how often an order-0 operation writes to a line that CPUs share.
//!
//! Counted are the visits to what they share: the zone, each taken for [`LINES_A_VISIT`] lines (its lock, its counters and
//! sets, the trees), and the accounts, a line each. The lines of the owner map, of 64 frames each, are shared only as far as
//! the frames of two CPUs lie side by side; a write to one is counted when another CPU wrote it last. How the threads
//! meet differs from run to run, and so do these: most runs see hardly any, one saw three in ten operations. They are
//! told; the visits and the accounts are held to the limit.

use super::super::frames::{FrameSource, Order, PAGE_SIZE, Pfn};
use super::super::manager::MemoryManager;
use super::super::page_cache::PageCachePolicy;
use super::super::test_support::{HostCpu, Random, manager, owner, shared_writes, steps};
use super::MIB;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::Barrier;
use std::vec::Vec;
use std::{fs, println, thread};

const CPUS: usize = 2;
const MEMORY_BYTES: usize = 64 * MIB;
/// Operations of each thread: allocations and frees.
const OPERATIONS: usize = 200_000;
/// Lines that a visit to the zone writes.
const LINES_A_VISIT: u64 = 8;
/// At least so many operations for a write to a shared line.
const OPERATIONS_A_WRITE: u64 = 32;
/// Frames whose bytes in the owner map lie in one line.
const LINE_FRAMES: usize = 64;

/// What each thread does: it takes a run of pages and gives back a run of those it holds, at random, again and again.
struct Work {
    name: &'static str,
    /// Pages that it holds at most; half of them before it is looked at.
    held: usize,
    /// Pages taken or given back before it turns, at most.
    run: usize,
    /// Whether the target is for it.
    is_limited: bool,
}

const WORK: [Work; 3] = [
    Work {
        name: "repeat",
        held: 1,
        run: 1,
        is_limited: true,
    },
    Work {
        name: "churn",
        held: 1_000,
        run: 1,
        is_limited: true,
    },
    Work {
        name: "bursts",
        held: 1_000,
        run: 200,
        is_limited: false,
    },
];

/// What a thread did.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    operations: u64,
    visits: u64,
    changes: u64,
    line_moves: u64,
    nanos: Option<u64>,
}

/// CPU time of this thread, where the host tells it.
fn cpu_nanos() -> Option<u64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// The CPU that last wrote each line of the owner map, one more than its number.
struct Lines {
    first: u64,
    writers: Vec<AtomicU8>,
}

impl Lines {
    /// Those of all memory, of which `probe` is a frame.
    fn around(probe: Pfn) -> Self {
        let frames = MEMORY_BYTES / PAGE_SIZE;
        let count = 2 * frames / LINE_FRAMES + 2;
        Self {
            first: (probe.0 - frames as u64) / LINE_FRAMES as u64 * LINE_FRAMES as u64,
            writers: (0..count).map(|_| AtomicU8::new(0)).collect(),
        }
    }

    /// True if another CPU wrote the line of `page` last.
    fn has_moved(&self, page: Pfn, cpu: usize) -> bool {
        let line = (page.0 - self.first) as usize / LINE_FRAMES;
        let before = self.writers[line].swap(cpu as u8 + 1, Relaxed);
        before != 0 && before != cpu as u8 + 1
    }
}

fn work(cpu: usize, work: &Work, memory: &MemoryManager<HostCpu>, lines: &Lines) -> Done {
    let mut random = Random::new(cpu as u64 + 1);
    let mut pages: Vec<Pfn> = Vec::new();
    let mut done = Done::default();
    let operations = steps(OPERATIONS) as u64;
    let mut begun = None;
    while done.operations < operations {
        // What fills the table is not what is looked at.
        if begun.is_none() && pages.len() >= work.held / 2 {
            begun = Some((shared_writes(), cpu_nanos()));
            done = Done::default();
        }
        for _ in 0..1 + random.below(work.run) {
            if pages.len() < work.held {
                let page = memory.allocate(Order::ZERO).expect("there is memory");
                done.line_moves += u64::from(lines.has_moved(page, cpu));
                pages.push(page);
                done.operations += 1;
            }
        }
        if begun.is_none() {
            continue;
        }
        for _ in 0..1 + random.below(work.run) {
            if !pages.is_empty() {
                let page = pages.swap_remove(random.below(pages.len()));
                done.line_moves += u64::from(lines.has_moved(page, cpu));
                memory.free(page, Order::ZERO).expect("it is in hand");
                done.operations += 1;
            }
        }
    }
    let (before, began) = begun.expect("it was filled");
    let after = shared_writes();
    done.visits = after.visits - before.visits;
    done.changes = after.changes - before.changes;
    let ended = cpu_nanos();
    done.nanos = ended.and_then(|ended| Some(ended - began?));
    for page in pages {
        memory.free(page, Order::ZERO).expect("it is in hand");
    }
    done
}

#[test]
fn two_cpus_hardly_write_to_lines_that_they_share() {
    for kind in &WORK {
        let memory = manager(MEMORY_BYTES, &[], CPUS, PageCachePolicy::DEFAULT);
        let probe = memory.allocate(Order::ZERO).expect("there is memory");
        memory.free(probe, Order::ZERO).expect("it is in hand");
        let lines = Lines::around(probe);
        let start = Barrier::new(CPUS);
        let run = |cpu| {
            HostCpu::run_as(cpu);
            HostCpu::run_for(owner(cpu as u8 + 1));
            start.wait();
            work(cpu, kind, memory, &lines)
        };
        let done = thread::scope(|scope| {
            let threads = [0, 1].map(|cpu| scope.spawn(move || run(cpu)));
            threads.map(|thread| thread.join().expect("it does not panic"))
        });
        for (cpu, done) in done.iter().enumerate() {
            let writes = done.visits * LINES_A_VISIT + done.changes + done.line_moves;
            println!(
                "{} on CPU {cpu}: {} operations, {} visits to the zone, {} changes of accounts, {} lines of the owner map \
                 from another CPU: {:.4} writes an operation; {} ns of CPU time each",
                kind.name,
                done.operations,
                done.visits,
                done.changes,
                done.line_moves,
                writes as f64 / done.operations as f64,
                done.nanos.map_or(0, |nanos| nanos / done.operations),
            );
            // Two batches that lie side by side may share a line of the owner map, and then each call writes to it: that
            // is told, and not held to the limit.
            let held = writes - done.line_moves;
            assert!(
                !kind.is_limited || held * OPERATIONS_A_WRITE <= done.operations,
                "{}: {done:?}",
                kind.name
            );
        }
    }
}
