//! Counts instructions inside QEMU, under -icount: single calls, their mean and the dearest of them.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Instructions that were retired, modulo 2^32; all memory accesses before it are made, none after it.
#[inline(always)]
pub(crate) fn instructions() -> u64 {
    let count: u64;
    // SAFETY: only reads a register, after all instructions before it.
    unsafe { asm!("isb", "mrs {}, pmevcntr0_el0", out(reg) count, options(nostack)) };
    count
}

/// What two readings around nothing differ by.
pub(crate) fn empty_pair() -> u64 {
    let before = instructions();
    instructions() - before
}

/// The same reference, to a compiler that cannot know what was read through it before. Costs nothing.
#[inline(always)]
pub(crate) fn afresh<T>(reference: &T) -> &T {
    let mut place = core::ptr::from_ref(reference);
    // SAFETY: does nothing, so the reference is the one that was given.
    unsafe {
        asm!("/* {0} */", inlateout(reg) place, options(nostack));
        &*place
    }
}

/// Has `value` be in memory here, whole. Costs its address.
#[inline(always)]
pub(crate) fn written<T>(value: &T) {
    // SAFETY: does nothing.
    unsafe { asm!("/* {0} */", in(reg) core::ptr::from_ref(value), options(nostack)) };
}

/// Sets up the counter of this CPU and shows that it counts.
///
/// # Panics
/// If instructions are not counted.
pub(crate) fn set_up() {
    let events: u64;
    // SAFETY: sets up a counter that nothing else uses: INST_RETIRED (8) on counter 0.
    unsafe {
        asm!(
            "mrs {events}, pmceid0_el0",
            "mov {value}, #8",
            "msr pmevtyper0_el0, {value}",
            "mov {value}, #1",
            "msr pmcntenset_el0, {value}",
            "mrs {value}, pmcr_el0",
            "orr {value}, {value}, #0x40",
            "orr {value}, {value}, #1",
            "msr pmcr_el0, {value}",
            "isb",
            events = out(reg) events,
            value = out(reg) _,
        );
    }
    assert!(
        events >> 8 & 1 == 1,
        "INST_RETIRED is not counted: run with -icount shift=0"
    );
    let pair = empty_pair();
    assert_eq!(empty_pair(), pair);
    let before = instructions();
    // SAFETY: does nothing.
    unsafe { asm!(".rept 100", "nop", ".endr", options(nostack)) };
    // The compiler may put an instruction or two of its own between the readings.
    let counted = instructions() - before - pair;
    assert!((100..=102).contains(&counted), "{counted} of 100");
}

/// What was measured of one thing: how often, their sum, the most.
pub(crate) struct Measured {
    times: AtomicU64,
    sum: AtomicU64,
    most: AtomicU64,
}

impl Measured {
    pub(crate) const fn new() -> Self {
        Self {
            times: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            most: AtomicU64::new(0),
        }
    }

    /// Notes what lies between two readings.
    #[inline(always)]
    pub(crate) fn note(&self, began: u64, ended: u64) {
        let spent = ended.wrapping_sub(began) & 0xffff_ffff;
        self.times.fetch_add(1, Relaxed);
        self.sum.fetch_add(spent, Relaxed);
        self.most.fetch_max(spent, Relaxed);
    }

    pub(crate) fn times(&self) -> u64 {
        self.times.load(Relaxed)
    }

    /// Instructions on the mean, rounded up, without the readings themselves.
    pub(crate) fn mean(&self) -> u64 {
        self.sum.load(Relaxed).div_ceil(self.times()) - empty_pair()
    }

    /// Instructions of the dearest call.
    pub(crate) fn most(&self) -> u64 {
        self.most.load(Relaxed) - empty_pair()
    }
}
