//! The machine's clock: the generic timer's counter in nanoseconds, and the PL031 for the time of day.
#![allow(
    unsafe_code,
    reason = "the PL031's register at an address from the device tree"
)]

use super::time::{Clock, Instant, NANOS_PER_SEC};
use crate::arch::aarch64::timer;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use safe_mmio::UniqueMmioPointer;
use safe_mmio::fields::ReadPure;

/// Fraction bits of the factor from ticks to nanoseconds.
const SHIFT: u32 = 32;

/// The counter as a clock.
#[derive(Debug)]
pub struct CounterClock {
    /// Nanoseconds a tick, in units of 2^-32.
    nanos_per_tick: u64,
    /// Ticks a nanosecond, in units of 2^-32.
    ticks_per_nano: u64,
    boot_unix_nanos: AtomicU64,
}

impl CounterClock {
    /// A clock on the counter of this machine.
    pub fn new() -> Self {
        let frequency = u128::from(timer::frequency().max(1));
        Self {
            nanos_per_tick: ((u128::from(NANOS_PER_SEC) << SHIFT) / frequency) as u64,
            ticks_per_nano: ((frequency << SHIFT) / u128::from(NANOS_PER_SEC)) as u64,
            boot_unix_nanos: AtomicU64::new(0),
        }
    }

    /// Nanoseconds since reset at `ticks` of the counter.
    #[inline]
    pub fn at_ticks(&self, ticks: u64) -> Instant {
        Instant::from_nanos(((u128::from(ticks) * u128::from(self.nanos_per_tick)) >> SHIFT) as u64)
    }

    /// The first tick not before `instant`.
    pub fn ticks_at(&self, instant: Instant) -> u64 {
        let ticks = (u128::from(instant.as_nanos()) * u128::from(self.ticks_per_nano)) >> SHIFT;
        u64::try_from(ticks).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Sets the time of day: `unix_seconds` is now.
    pub fn set_wall(&self, unix_seconds: u64) {
        let nanos = unix_seconds
            .saturating_mul(NANOS_PER_SEC)
            .saturating_sub(self.now().as_nanos());
        self.boot_unix_nanos.store(nanos, Relaxed);
    }

    /// Shifts the time of day by that many nanoseconds.
    #[cfg(feature = "fault-injection")]
    pub fn shift_wall(&self, nanos: i64) {
        // Two's complement: a sum that wraps is the difference.
        self.boot_unix_nanos.fetch_add(nanos as u64, Relaxed);
    }
}

impl Default for CounterClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for CounterClock {
    #[inline]
    fn now(&self) -> Instant {
        self.at_ticks(timer::ticks())
    }

    fn boot_unix_nanos(&self) -> u64 {
        self.boot_unix_nanos.load(Relaxed)
    }
}

/// Reads the seconds since the Unix epoch from a PL031.
///
/// # Safety
/// `address` must be that of a PL031's registers, mapped as device memory.
pub unsafe fn read_rtc(address: usize) -> u64 {
    let data = NonNull::new(address as *mut ReadPure<u32>).expect("a device is not at address 0");
    // SAFETY: our caller promises a PL031; its data register is the first word, and reading it changes
    // nothing.
    let data = unsafe { UniqueMmioPointer::new(data) };
    u64::from(data.read())
}
