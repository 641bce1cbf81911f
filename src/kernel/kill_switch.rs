//! Ends a subsystem on purpose, by any means: `POST /kill` with `NAME MEANS`. For tests alone: the feature
//! `kill-switch` is off in every image that is shipped.
#![allow(unsafe_code, reason = "it does what only a bug would do")]

use super::supervision::Ward;
use crate::arch::aarch64::preemption::PreemptionGuard;
use alloc::vec::Vec;
use core::hint::black_box;

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

/// Runs the means of that number, if there is one.
pub(super) fn run(number: u8) {
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
    let ward = wards.iter().find(|ward| ward.profile.name == name)?;
    if means == "deaf" {
        ward.deafen();
        return Some(ward);
    }
    let at = MEANS.iter().position(|&(known, _)| known == means)?;
    ward.kill(at as u8 + 1);
    Some(ward)
}
