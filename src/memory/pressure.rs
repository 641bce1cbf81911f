//! Watermarks, and who is told when free memory falls below them.
//!
//! The law: pressure begins when fewer than `low` frames are free, is urgent below `min`, and is over when more than
//! `high` are free again: in between nothing changes, so a level that sways is told once (Linux' zone watermarks,
//! mm/page_alloc.c; there too the gap keeps reclaim from running in spurts). Free is what lies in the zone: what the
//! page caches hold is asked back first when pressure begins.
//!
//! Looked at where the zone is visited anyway, so a request that a page cache meets costs nothing. This floor
//! knows nobody above it: the kernel hands in a [`PressureListener`].
//!
//! The last `min` frames are a *reserve*: owners that can do without are refused there, so that what keeps the image
//! alive finds its few pages ([`super::MemoryManager::keep_off_reserve`]).

use super::accounts::Owner;
use super::frames::Order;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use spin::Once;

/// How short memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// There is enough.
    #[default]
    None,
    /// What can be spared should be given back.
    Low,
    /// Requests are about to be refused.
    Min,
}

impl Pressure {
    /// Its name, as `GET /memory` shows it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Low => "low",
            Self::Min => "min",
        }
    }
}

/// Counts of free frames at which pressure begins, is urgent, and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// Below it requests are about to be refused: the reserve.
    pub min: u64,
    /// Below it memory is short.
    pub low: u64,
    /// Above it memory is short no more.
    pub high: u64,
}

impl Watermarks {
    /// The most that is kept in reserve: 16 MiB. The keyspace leaves 64 MiB of a large memory, so a full one alone is
    /// no pressure.
    const MIN_FRAMES_MAX: u64 = (16 << 20) / super::frames::PAGE_SIZE as u64;

    /// Linux' law (`calculate_min_free_kbytes`): `min` is 4 √KiB KiB, which in frames is 2 √frames; `low` is a
    /// quarter more, `high` a half. So 256 MiB have 2, 2.5 and 3 MiB, 8 MiB have 360, 450 and 540 KiB.
    pub const fn of(total_frames: u64) -> Self {
        let law = 2 * total_frames.isqrt();
        let min = if law < Self::MIN_FRAMES_MAX {
            law
        } else {
            Self::MIN_FRAMES_MAX
        };
        Self {
            min,
            low: min + min / 4,
            high: min + min / 2,
        }
    }

    /// The pressure when `free` frames are, after it was `before`.
    fn pressure(&self, free: u64, before: Pressure) -> Pressure {
        match free {
            _ if free < self.min => Pressure::Min,
            _ if free < self.low => Pressure::Low,
            _ if free > self.high => Pressure::None,
            // Neither low nor over: a level that was urgent is so no more.
            _ => before.min(Pressure::Low),
        }
    }
}

/// Is told when the pressure changes.
pub trait PressureListener: Sync {
    /// Memory is so short now. On whatever fiber allocates or frees, on any CPU, with preemption disabled and no lock
    /// held: it notes and wakes, and does neither allocate nor wait.
    fn pressure_changed(&self, pressure: Pressure);
}

/// The level, and who listens.
pub(super) struct PressureGauge {
    marks: Watermarks,
    /// The level, as what free frames are compared with: fewer need a closer look. It is `low` while there is enough,
    /// and more than there are frames under pressure.
    closer_below: AtomicU64,
    /// From which order each owner is kept off the reserve.
    kept_from: [AtomicU8; Owner::COUNT],
    listener: Once<&'static dyn PressureListener>,
}

/// What free frames are compared with while they are low, and below `min`.
const IS_LOW: u64 = u64::MAX;
const IS_MIN: u64 = u64::MAX - 1;

/// Of an owner that has all of the reserve: no order.
const NOT_KEPT: u8 = Order::COUNT as u8;

impl PressureGauge {
    pub(super) const fn new(marks: Watermarks) -> Self {
        Self {
            marks,
            closer_below: AtomicU64::new(marks.low),
            kept_from: [const { AtomicU8::new(NOT_KEPT) }; Owner::COUNT],
            listener: Once::new(),
        }
    }

    /// Has `listener` be told from now on.
    pub(super) fn set_listener(&self, listener: &'static dyn PressureListener) {
        self.listener.call_once(|| listener);
    }

    /// The watermarks.
    pub(super) fn marks(&self) -> Watermarks {
        self.marks
    }

    /// The level now.
    #[inline]
    pub(super) fn level(&self) -> Pressure {
        match self.closer_below.load(Relaxed) {
            IS_LOW => Pressure::Low,
            IS_MIN => Pressure::Min,
            _ => Pressure::None,
        }
    }

    const fn closer_below(&self, level: Pressure) -> u64 {
        match level {
            Pressure::None => self.marks.low,
            Pressure::Low => IS_LOW,
            Pressure::Min => IS_MIN,
        }
    }

    /// Keeps `owner` off the reserve with blocks from that order up.
    pub(super) fn keep_off(&self, owner: Owner, from: Order) {
        self.kept_from[owner.index()].store(from.get(), Relaxed);
    }

    /// True if `owner` may not have a block of that order while `free` frames are free. Of the smaller blocks that an
    /// owner is not kept off it is, too, while half the reserve is used.
    #[inline]
    pub(super) fn keeps_off(&self, owner: Owner, order: Order, free: u64) -> bool {
        free < self.marks.min + order.frames() && self.keeps_off_below_min(owner, order, free)
    }

    #[cold]
    #[inline(never)]
    fn keeps_off_below_min(&self, owner: Owner, order: Order, free: u64) -> bool {
        let from = self.kept_from[owner.index()].load(Relaxed);
        let is_used_up = free < self.marks.min / 2 + order.frames();
        order.get() >= from || from != NOT_KEPT && is_used_up
    }

    /// True if `owner` is kept off the reserve with some blocks, and memory is as short as that.
    #[inline]
    pub(super) fn may_keep_off(&self, owner: Owner) -> bool {
        self.level() == Pressure::Min && self.kept_from[owner.index()].load(Relaxed) != NOT_KEPT
    }

    /// Takes note of how many frames are free, and tells the listener if that changes the level. Of several callers
    /// at once one tells it; true for that one if memory is shorter now. A few instructions while there is enough.
    #[inline(always)]
    pub(super) fn look(&self, free: u64) -> bool {
        free < self.closer_below.load(Relaxed) && self.look_closely(free)
    }

    #[cold]
    #[inline(never)]
    fn look_closely(&self, free: u64) -> bool {
        let before = self.level();
        let now = self.marks.pressure(free, before);
        let change = || {
            let (from, to) = (self.closer_below(before), self.closer_below(now));
            self.closer_below
                .compare_exchange(from, to, Relaxed, Relaxed)
        };
        if now == before || change().is_err() {
            return false;
        }
        if let Some(listener) = self.listener.get() {
            listener.pressure_changed(now);
        }
        now > before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::sync::Mutex;
    use std::vec::Vec;

    /// Keeps what it is told.
    #[derive(Default)]
    struct Told(Mutex<Vec<Pressure>>);

    impl Told {
        /// What it was told since it was asked last.
        fn take(&self) -> Vec<Pressure> {
            core::mem::take(&mut self.0.lock().expect("no test panicked"))
        }
    }

    impl PressureListener for Told {
        fn pressure_changed(&self, pressure: Pressure) {
            self.0.lock().expect("no test panicked").push(pressure);
        }
    }

    fn gauge(total_frames: u64) -> (PressureGauge, &'static Told) {
        let told: &'static Told = Box::leak(Box::default());
        let gauge = PressureGauge::new(Watermarks::of(total_frames));
        gauge.set_listener(told);
        (gauge, told)
    }

    #[test]
    fn pressure_begins_below_low_is_urgent_below_min_and_ends_above_high() {
        let (gauge, told) = gauge(200 * 200);
        let (min, low, high) = (400, 500, 600);
        assert_eq!(gauge.marks(), Watermarks { min, low, high });
        for (free, expected) in [
            (10_000, None),
            (550, None),
            (500, None),
            (499, Some(Pressure::Low)),
            (450, None),
            (599, None),
            (600, None),
            (399, Some(Pressure::Min)),
            (0, None),
            (400, Some(Pressure::Low)),
            (550, None),
            (0, Some(Pressure::Min)),
            (550, Some(Pressure::Low)),
            (601, Some(Pressure::None)),
            (550, None),
            (0, Some(Pressure::Min)),
            (601, Some(Pressure::None)),
        ] {
            gauge.look(free);
            assert_eq!(told.take(), Vec::from_iter(expected), "{free} free");
        }
        assert_eq!(gauge.level(), Pressure::None);
    }

    #[test]
    fn a_level_that_sways_between_the_marks_is_told_once() {
        let (gauge, told) = gauge(200 * 200);
        for _ in 0..1_000 {
            for free in [520, 499, 401, 450, 599, 600] {
                gauge.look(free);
            }
        }
        assert_eq!(told.take(), [Pressure::Low]);
    }

    #[test]
    fn many_cpus_that_cross_a_mark_at_once_tell_it_once() {
        let (gauge, told) = gauge(200 * 200);
        for round in 0..100 {
            let (free, level) = match round % 2 {
                0 => (100, Pressure::Min),
                _ => (1_000, Pressure::None),
            };
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| gauge.look(free));
                }
            });
            assert_eq!(told.take(), [level]);
        }
    }

    #[test]
    fn watermarks_grow_as_the_root_of_memory_up_to_a_bound() {
        let mib = |mib: u64| Watermarks::of(mib * 256);
        let (min, low, high) = (90, 112, 135);
        assert_eq!(mib(8), Watermarks { min, low, high });
        assert_eq!(mib(32).min, 2 * mib(8).min);
        assert_eq!(mib(256).min, 512);
        assert_eq!(mib(16 << 10).high, (24 << 20) / 4096);
        assert_eq!(mib(64 << 10), mib(16 << 10));
        // The keyspace leaves at least an eighth or 1 MiB, at most 64 MiB.
        for size in (5..64).chain((64..70_000).step_by(64)) {
            let left = (size * 256 / 8).clamp(256, 64 * 256);
            assert!(mib(size).high < left, "{size} MiB");
        }
    }

    #[test]
    fn who_is_kept_off_the_reserve_gets_smaller_blocks_of_half_of_it() {
        let (gauge, _) = gauge(200 * 200);
        let owner = |number| Owner::new(number).expect("an owner");
        let order = |number| Order::new(number).expect("an order");
        gauge.keep_off(owner(3), order(4));
        assert!(gauge.keeps_off(owner(3), order(4), 415));
        assert!(!gauge.keeps_off(owner(3), order(4), 416), "400 are left");
        assert!(gauge.keeps_off(owner(3), order(4), 0));
        assert!(!gauge.keeps_off(owner(3), order(3), 208));
        assert!(
            gauge.keeps_off(owner(3), order(3), 207),
            "half of it is left"
        );
        assert!(!gauge.keeps_off(owner(2), order(10), 0));
        gauge.keep_off(owner(2), Order::ZERO);
        assert!(gauge.keeps_off(owner(2), order(0), 400));
        assert!(!gauge.keeps_off(owner(2), order(0), 401));
    }
}
