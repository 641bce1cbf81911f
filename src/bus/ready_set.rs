//! The ready set of a CPU: which of its fibers were woken, and whether whoever wakes one has to interrupt the CPU.
//!
//! A bit a fiber, the lowest bit ranking highest. Whoever wakes a fiber sets its bit ([`ReadySet::add`]) and
//! interrupts only if the fiber ranks above what the CPU says that it runs. The waker sets the bit and then reads
//! what runs; the CPU writes what runs and then looks at the bits again ([`ReadySet::pick`],
//! [`ReadySet::may_sleep`]). So either the waker sees that it has to interrupt, or the CPU sees the bit: no CPU
//! sleeps on a wake. In the same way a waker that finds an interrupt under way ([`ReadySet::ring`]) leaves it at
//! that, as the CPU looks after it answered ([`ReadySet::answer`]).
//!
//! What the CPU writes is parted from what it then reads by a fence, not by a release and an acquire: Arm keeps those
//! in order, but QEMU's TCG on an x86 host lets such a load pass the store before it (it puts its barriers before the
//! one and after the other), in about one of a hundred races.
//!
//! Limits: one CPU picks, sleeps and answers; any may wake. `models` has loom check it.

use super::sync::{AtomicBool, AtomicU32, AtomicU64, Relaxed, SeqCst, fence};

/// What a CPU says that is about to look for work: no need to interrupt it.
const AWAKE: u32 = 0;
/// What one says that sleeps: anything ranks above that.
const ASLEEP: u32 = u64::BITS;

/// The bits, the rank of what runs, and whether an interrupt is under way. The bits first: exclusive accesses of aarch64
/// take no offset.
#[repr(C)]
pub struct ReadySet {
    ready: AtomicU64,
    running: AtomicU32,
    rung: AtomicBool,
}

/// The bit of a rank.
#[inline]
pub fn bit(rank: u32) -> u64 {
    1 << rank
}

impl Default for ReadySet {
    fn default() -> Self {
        Self::new()
    }
}

impl ReadySet {
    /// Of a CPU that is about to look for work, and has none.
    pub fn new() -> Self {
        Self {
            ready: AtomicU64::new(0),
            running: AtomicU32::new(AWAKE),
            rung: AtomicBool::new(false),
        }
    }

    /// The bits now. They order nothing: [`ReadySet::take`] does.
    #[inline]
    pub fn bits(&self) -> u64 {
        self.ready.load(Relaxed)
    }

    /// Makes the fiber of that rank, and of the bit that is its, ready; true if its CPU has to be told. From any CPU.
    #[inline]
    pub fn add(&self, rank: u32, bit: u64) -> bool {
        // SeqCst, both: pairs with the fence in `run`. Whoever set the bit before tells the CPU.
        self.ready.fetch_or(bit, SeqCst) & bit == 0 && rank < self.running.load(SeqCst)
    }

    /// Sets these bits, on their own CPU, which looks at them afterwards.
    #[inline]
    pub fn mark(&self, bits: u64) {
        self.ready.fetch_or(bits, SeqCst);
    }

    /// Clears these bits: what was written before they were set is seen from now on.
    #[inline]
    pub fn take(&self, bits: u64) {
        self.ready.fetch_and(!bits, SeqCst);
    }

    /// Says what runs from now on; what is looked at after it is no older than what its wakers saw.
    #[inline]
    fn run(&self, rank: u32) {
        self.running.store(rank, Relaxed);
        // Pairs with the SeqCst of `add`.
        fence(SeqCst);
    }

    /// Says that the CPU is about to look for work: it is not interrupted before it has.
    #[inline]
    pub fn look_out(&self) {
        self.running.store(AWAKE, Relaxed);
    }

    /// The highest rank of the candidates, which `candidates` makes of the bits. It counts as running from now on,
    /// so that other CPUs interrupt for what ranks above it.
    #[inline]
    pub fn pick(&self, candidates: impl Fn(u64) -> u64) -> Option<u32> {
        let mut now = candidates(self.bits());
        while now != 0 {
            let rank = now.trailing_zeros();
            self.run(rank);
            now = candidates(self.bits());
            if now.trailing_zeros() == rank {
                return Some(rank);
            }
        }
        None
    }

    /// Says that the CPU sleeps from now on, so that any wake interrupts it; false if there are candidates, and it
    /// has to look first.
    #[inline]
    pub fn may_sleep(&self, candidates: impl Fn(u64) -> u64) -> bool {
        self.run(ASLEEP);
        candidates(self.bits()) == 0
    }

    /// Whether it said that it sleeps.
    #[inline]
    pub fn is_asleep(&self) -> bool {
        self.running.load(Relaxed) == ASLEEP
    }

    /// Notes that the CPU is told by an interrupt; false if one is under way.
    #[inline]
    pub fn ring(&self) -> bool {
        // SeqCst: pairs with the fence in `answer`.
        !self.rung.swap(true, SeqCst)
    }

    /// Notes that the interrupt came: the next wake sends another.
    #[inline]
    pub fn answer(&self) {
        self.rung.store(false, Relaxed);
        // Pairs with the SeqCst of `ring`: the bits of whoever did not interrupt are seen from now on.
        fence(SeqCst);
    }
}
