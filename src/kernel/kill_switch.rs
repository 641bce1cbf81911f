//! Ends a subsystem on purpose, by any means: `POST /kill` with `NAME MEANS`, or `NAME MEANS TIMES` for a series of
//! deaths, each once it is up again. After a series the console shows how many frames are free. For tests alone:
//! the feature `kill-switch` is off in every image that is shipped.
#![allow(unsafe_code, reason = "it does what only a bug would do")]

use super::supervision::Ward;
use super::this_cpu::ThisCpu;
use crate::arch::aarch64::preemption::PreemptionGuard;
use crate::memory::MemoryManager;
use crate::memory::accounts::Owner;
use crate::memory::frames::{FrameSource, PAGE_SIZE};
use crate::platform::console::print;
use alloc::vec::Vec;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};

/// The means, by the number a ward is told (one more: 0 is none).
const MEANS: [(&str, fn()); 8] = [
    ("panic", || panic!("killed on purpose")),
    ("unmapped", || {
        // SAFETY: none: the null page is not mapped, and that is the point.
        let _ = unsafe { black_box(0x10 as *const u64).read_volatile() };
    }),
    ("read-only", || {
        let text = run as *const () as *mut u64;
        // SAFETY: none: text is not writable, and that is the point.
        unsafe { text.write_volatile(0) };
    }),
    ("nowhere", || {
        // SAFETY: none: nothing is there to be run, and that is the point.
        let nowhere: fn() = unsafe { core::mem::transmute(black_box(0x1000_usize)) };
        nowhere();
    }),
    ("overflow", || {
        black_box(dive(0));
    }),
    ("loop", || {
        loop {
            core::hint::spin_loop();
        }
    }),
    ("loop-pinned", || {
        let _guard = PreemptionGuard::new();
        loop {
            core::hint::spin_loop();
        }
    }),
    ("allocate", || {
        loop {
            #[expect(clippy::disallowed_methods, reason = "to be refused is the death")]
            core::mem::forget(Vec::<u8>::with_capacity(64 << 10));
        }
    }),
];

fn dive(depth: u64) -> u64 {
    let room = black_box([depth; 64]);
    if depth == u64::MAX {
        return 0;
    }
    dive(depth + 1) + room[(depth % 64) as usize]
}

/// How a subsystem is to die: the number of the means, how often still, and whether that is a series.
pub(super) struct Doom {
    means: AtomicU8,
    left: AtomicU32,
    is_series: AtomicBool,
}

impl Doom {
    /// It is not to die.
    pub(super) const fn none() -> Self {
        Self {
            means: AtomicU8::new(0),
            left: AtomicU32::new(0),
            is_series: AtomicBool::new(false),
        }
    }

    pub(super) fn set(&self, means: u8, times: u32) {
        self.means.store(means, Relaxed);
        self.is_series.store(times > 1, Relaxed);
        self.left.store(times, Relaxed);
    }

    /// Dies, if it is to.
    pub(super) fn meet(&self) {
        let left = self.left.load(Relaxed);
        if left > 0 {
            self.left.store(left - 1, Relaxed);
            run(self.means.load(Relaxed));
        }
    }

    /// Shows, after the last death of a series and with all caches drained, how many frames are free.
    pub(super) fn tell(&self, name: &str, start: u32, memory: &MemoryManager<ThisCpu>) {
        if self.left.load(Relaxed) == 0 && self.is_series.swap(false, Relaxed) {
            memory.drain_all();
            let free = memory.free_frames();
            print(format_args!("nos: frames of each owner:"));
            for owner in Owner::all() {
                let frames = memory.usage(owner).used_bytes / PAGE_SIZE as u64;
                print(format_args!(" {frames}"));
            }
            print(format_args!(
                "\nnos: {free} frames free after start {start} of {name}\n"
            ));
        }
    }
}

/// Runs the means of that number, if there is one.
fn run(number: u8) {
    if let Some((_, means)) = usize::from(number)
        .checked_sub(1)
        .and_then(|at| MEANS.get(at))
    {
        means();
    }
}

/// Tells the ward that `order` names how to die, and answers it; none if there is no such ward or means.
pub(super) fn order(wards: &[&'static Ward], order: &str) -> Option<&'static Ward> {
    let (name, means) = order.trim().split_once(' ')?;
    let (means, times) = match means.split_once(' ') {
        Some((means, times)) => (means, times.parse().ok()?),
        None => (means, 1),
    };
    let ward = wards.iter().find(|ward| ward.profile.name == name)?;
    if means == "deaf" {
        ward.deafen();
        return Some(ward);
    }
    let at = MEANS.iter().position(|&(known, _)| known == means)?;
    ward.kill(at as u8 + 1, times);
    Some(ward)
}
