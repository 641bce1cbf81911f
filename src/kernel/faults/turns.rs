//! What can happen to a subsystem where one of its turns begins: it dies by some means, hangs, is slow, leaks, or answers
//! nobody. What can happen to the machine while it is the data plane's turn: its clock jumps, a bit of the store flips.
#![allow(unsafe_code, reason = "it does what only a bug would do")]

use crate::arch::aarch64::preemption::PreemptionGuard;
use crate::bus::{Mailbox, Message};
use crate::error::{Result, try_box};
use crate::injection::{Declaration, FaultyFrames, Group};
use crate::kernel::scheduler::Locked;
use crate::kernel::subsystems::{DATA_PLANE, DIAGNOSIS, HTTP};
use crate::kernel::supervision::Ward;
use crate::net::http::relay::Wires;
use crate::platform::clock::CounterClock;
use crate::platform::entropy::KeyedCounter;
use crate::platform::time::{Clock, Duration, NANOS_PER_MILLI};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use spin::Once;

/// Whom it may happen to.
const TARGETS: [&str; 3] = [DATA_PLANE.name, HTTP.name, DIAGNOSIS.name];

/// Whose messages from the other of the two may be lost.
const READERS: [&str; 2] = [DATA_PLANE.name, HTTP.name];

const fn task(name: &'static str) -> Declaration {
    Declaration::new(name).with_targets(&TARGETS)
}

/// The points; those with a fault of its own function first, in the order of [`FAULTS`].
const POINTS: &[Declaration] = &[
    task("task-panic"),
    task("task-wild-read"),
    task("task-wild-write"),
    task("task-wild-jump"),
    task("task-stack-overflow"),
    task("task-hang"),
    task("task-hang-pinned"),
    task("task-lock-held"),
    task("task-endless-allocation"),
    task("task-leak").with_amount("bytes", 64 << 10),
    task("task-slow").with_amount("microseconds", 1_000),
    task("task-deaf"),
    Declaration::new("message-drop").with_targets(&READERS),
    Declaration::new("store-bit-flip").with_amount("bytes", 4 << 20),
    Declaration::new("clock-jump").with_amount("milliseconds", 60_000),
    Declaration::new("clock-jump-back").with_amount("milliseconds", 60_000),
    Declaration::new("clock-drift").with_amount("parts per million", 500),
];

/// What those do that happen to the subsystem whose turn it is, and to nobody else.
const FAULTS: [fn(&Parts, &Ward); 12] = [
    |_, _| panic!("fault injected on purpose"),
    |_, _| {
        // SAFETY: none: the null page is not mapped, and that is the point.
        let _ = unsafe { black_box(0x10 as *const u64).read_volatile() };
    },
    |_, _| {
        let text = dive as *const () as *mut u64;
        // SAFETY: none: text is not writable, and that is the point.
        unsafe { text.write_volatile(0) };
    },
    |_, _| {
        // SAFETY: none: nothing is there to be run, and that is the point.
        let nowhere: fn() = unsafe { core::mem::transmute(black_box(0x1000_usize)) };
        nowhere();
    },
    |_, _| {
        black_box(dive(0));
    },
    |_, _| {
        loop {
            spin_loop();
        }
    },
    |_, _| {
        let _guard = PreemptionGuard::new();
        loop {
            spin_loop();
        }
    },
    |parts, _| {
        let _guard = parts.lock.lock();
        loop {
            spin_loop();
        }
    },
    |_, _| {
        loop {
            #[expect(clippy::disallowed_methods, reason = "to be refused is the death")]
            core::mem::forget(black_box(Vec::<u8>::with_capacity(64 << 10)));
        }
    },
    |parts, _| {
        let mut lost = Vec::<u8>::new();
        // Refused, it loses nothing.
        let _ = lost.try_reserve_exact(parts.group.amount(LEAK) as usize);
        // Opaque to the compiler, which may leave out an allocation that nobody uses.
        core::mem::forget(black_box(lost));
    },
    |parts, _| {
        let nanos = parts.group.amount(SLOW).saturating_mul(1_000);
        let until = parts.clock.now() + Duration::from_nanos(nanos);
        while parts.clock.now() < until {
            spin_loop();
        }
    },
    |_, ward| ward.deafen(),
];

const LEAK: usize = 9;
const SLOW: usize = 10;
const MESSAGE_DROP: usize = FAULTS.len();
const BIT_FLIP: usize = MESSAGE_DROP + 1;
const JUMP: usize = BIT_FLIP + 1;
const JUMP_BACK: usize = BIT_FLIP + 2;
const DRIFT: usize = BIT_FLIP + 3;
const _: () = assert!(POINTS.len() == DRIFT + 1);

fn dive(depth: u64) -> u64 {
    let room = black_box([depth; 64]);
    if depth == u64::MAX {
        return 0;
    }
    dive(depth + 1) + room[(depth % 64) as usize]
}

/// What the beginning of a turn asks.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Turns(&'static Parts);

struct Parts {
    group: Group,
    clock: &'static CounterClock,
    lock: &'static Locked<KeyedCounter>,
    store: &'static FaultyFrames,
    wires: Once<Wires>,
    /// When the clock last went too fast, in nanoseconds; 0 for never.
    drifted_at: AtomicU64,
}

impl Turns {
    pub(super) fn new(
        clock: &'static CounterClock,
        lock: &'static Locked<KeyedCounter>,
        store: &'static FaultyFrames,
    ) -> Result<Self> {
        let parts = Parts {
            group: Group::new(POINTS)?,
            clock,
            lock,
            store,
            wires: Once::new(),
            drifted_at: AtomicU64::new(0),
        };
        Ok(Self(Box::leak(try_box(parts)?)))
    }

    /// Has messages on those wires be lost, where a point says so. Called once.
    pub(super) fn attach(self, wires: &Wires) {
        self.0.wires.call_once(|| wires.clone());
    }

    pub(super) fn group(self) -> &'static Group {
        &self.0.group
    }

    /// A turn of `ward` begins.
    #[inline(always)]
    pub(in crate::kernel) fn begin(self, ward: &Ward) {
        if self.0.group.is_armed() {
            self.0.suffer(ward);
        }
    }
}

impl Parts {
    #[cold]
    #[inline(never)]
    fn suffer(&self, ward: &Ward) {
        if !ward.was_up() {
            return;
        }
        let name = ward.profile.name;
        if let Some(target) = TARGETS.iter().position(|&target| target == name) {
            for (at, fault) in FAULTS.iter().enumerate() {
                if self.group.fires_at(at, target, 1) {
                    fault(self, ward);
                }
            }
        }
        if let Some(wires) = self.wires.get() {
            match READERS.iter().position(|&reader| reader == name) {
                Some(0) => self.lose_of(wires.to_network(), 0),
                Some(_) => self.lose_of(wires.to_http(), 1),
                None => {}
            }
        }
        if name == DATA_PLANE.name {
            self.happen();
        }
    }

    /// Loses the message that waits longest, as if it had never come. For the mailbox's reader.
    fn lose_of<M: Message>(&self, mailbox: &Mailbox<M>, reader: usize) {
        if !mailbox.is_surely_empty() && self.group.fires_at(MESSAGE_DROP, reader, 1) {
            drop(mailbox.try_receive());
        }
    }

    fn happen(&self) {
        let group = &self.group;
        if group.fires(BIT_FLIP) {
            // SAFETY: the store's user is the data plane, which runs this now; that it bears any change is the point.
            unsafe {
                self.store
                    .flip(group.draw(BIT_FLIP), group.amount(BIT_FLIP) as usize)
            };
        }
        let millis = |point| group.amount(point).saturating_mul(NANOS_PER_MILLI) as i64;
        if group.fires(JUMP) {
            self.clock.shift_wall(millis(JUMP));
        }
        if group.fires(JUMP_BACK) {
            self.clock.shift_wall(-millis(JUMP_BACK));
        }
        if group.fires(DRIFT) {
            let now = self.clock.now().as_nanos();
            let elapsed = match self.drifted_at.swap(now, Relaxed) {
                0 => 0,
                before => now - before,
            };
            let ahead = u128::from(elapsed) * u128::from(group.amount(DRIFT)) / 1_000_000;
            self.clock.shift_wall(ahead as i64);
        }
    }
}
