//! Points and lengths of time, in nanoseconds, and the clock trait that parts are handed.
//!
//! Policy code takes the time as an argument ([`Instant`]); only what drives it holds a [`Clock`].

use core::ops::{Add, Sub};

/// Nanoseconds in a second.
pub const NANOS_PER_SEC: u64 = 1_000_000_000;
/// Nanoseconds in a millisecond.
pub const NANOS_PER_MILLI: u64 = 1_000_000;

/// A point of monotonic time: nanoseconds since reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

/// A length of time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(u64);

impl Instant {
    /// The moment of reset.
    pub const ZERO: Self = Self(0);
    /// A point that never comes: 584 years after reset.
    pub const NEVER: Self = Self(u64::MAX);

    /// The point that many nanoseconds after reset.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since reset.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since reset.
    pub const fn as_millis(self) -> u64 {
        self.0 / NANOS_PER_MILLI
    }

    /// Whole seconds since reset.
    pub const fn as_secs(self) -> u64 {
        self.0 / NANOS_PER_SEC
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

impl Duration {
    /// That many nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// That many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(NANOS_PER_MILLI))
    }

    /// That many seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(NANOS_PER_SEC))
    }

    /// Nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0 / NANOS_PER_MILLI
    }

    /// Whole seconds.
    pub const fn as_secs(self) -> u64 {
        self.0 / NANOS_PER_SEC
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, length: Duration) -> Self {
        Self(self.0.saturating_add(length.0))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, length: Duration) -> Self {
        Self(self.0.saturating_sub(length.0))
    }
}

/// Monotonic and wall time.
pub trait Clock: Sync {
    /// The monotonic time now.
    fn now(&self) -> Instant;

    /// Wall-clock time at [`Instant::ZERO`], nanoseconds since the Unix epoch; 0 when no source told.
    fn boot_unix_nanos(&self) -> u64;

    /// The wall-clock time now, milliseconds since the Unix epoch.
    fn unix_millis(&self) -> u64 {
        (self.boot_unix_nanos() + self.now().as_nanos()) / NANOS_PER_MILLI
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_before_an_earlier_point_is_zero_not_negative() {
        let later = Instant::from_nanos(5);
        assert_eq!(Instant::ZERO.since(later), Duration::from_nanos(0));
        assert_eq!(later - Duration::from_secs(1), Instant::ZERO);
    }
}
