//! How many restarts in how long are borne.

use crate::error::{Grow, Result};
use crate::platform::time::{Duration, Instant};
use alloc::vec::Vec;

/// At most `restarts` within any `period`, as OTP's intensity and period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    /// Restarts borne within the period; 0 bears none.
    pub restarts: usize,
    /// The period.
    pub period: Duration,
}

/// The restarts that still count.
#[derive(Debug)]
pub(super) struct History {
    limit: Intensity,
    /// At most `limit.restarts`, oldest first.
    times: Vec<Instant>,
}

impl History {
    pub(super) fn new(limit: Intensity) -> Result<Self> {
        let mut times = Vec::new();
        times.try_reserve_exact(limit.restarts)?;
        Ok(Self { limit, times })
    }

    /// Notes a restart at `now`; false if it is one too many, and then it is not noted.
    pub(super) fn bears(&mut self, now: Instant) -> bool {
        let period = self.limit.period;
        self.times.retain(|&then| now.since(then) <= period);
        let bears = self.times.len() < self.limit.restarts;
        if bears {
            self.times.push_reserved(now);
        }
        bears
    }

    pub(super) fn clear(&mut self) {
        self.times.clear();
    }
}
