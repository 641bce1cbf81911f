//! How a part stands now: written by the supervisor, read by whoever asks, on any CPU.

use crate::metrics::Counter;
use crate::platform::time::{Instant, NANOS_PER_MILLI};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

/// Where a subsystem is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Known, not started yet.
    #[default]
    Registered,
    /// Being started, for the first time or again.
    Starting,
    /// Running.
    Running,
    /// Dead; the supervisor decides what becomes of it.
    Dead,
    /// Stopped in order.
    Stopped,
    /// Dead, and not started again: too many restarts.
    GivenUp,
}

impl State {
    const ALL: [Self; 6] = [
        Self::Registered,
        Self::Starting,
        Self::Running,
        Self::Dead,
        Self::Stopped,
        Self::GivenUp,
    ];

    /// Its name on the page.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Dead => "dead",
            Self::Stopped => "stopped",
            Self::GivenUp => "given_up",
        }
    }
}

/// Why a subsystem died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// It panicked.
    Panic,
    /// It reached for memory that is not there or not its to write.
    Abort,
    /// It ran what is no instruction, or jumped to nowhere.
    Undefined,
    /// It used up its stack.
    StackOverflow,
    /// It did not return to its executor in time.
    Hang,
    /// Its start failed.
    Start,
}

impl Cause {
    const ALL: [Self; 6] = [
        Self::Panic,
        Self::Abort,
        Self::Undefined,
        Self::StackOverflow,
        Self::Hang,
        Self::Start,
    ];

    /// Its name on the page.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Abort => "abort",
            Self::Undefined => "undefined_instruction",
            Self::StackOverflow => "stack_overflow",
            Self::Hang => "hang",
            Self::Start => "start_failed",
        }
    }
}

/// A death: why and when, to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Why.
    pub cause: Cause,
    /// When.
    pub at: Instant,
}

impl Fault {
    /// In one word, so that a reader never sees half of one: the milliseconds above the cause and a 1.
    fn pack(self) -> u64 {
        self.at.as_millis() << 8 | (self.cause as u64) << 1 | 1
    }

    fn unpack(word: u64) -> Option<Self> {
        let cause = Cause::ALL.get((word as u8 >> 1) as usize)?;
        (word & 1 == 1).then_some(Self {
            cause: *cause,
            at: Instant::from_nanos((word >> 8) * NANOS_PER_MILLI),
        })
    }
}

/// The state, place and history of one part.
#[derive(Debug, Default)]
pub struct Status {
    state: AtomicU8,
    cpu: AtomicU8,
    healthy: AtomicBool,
    fault: AtomicU64,
    recovered: Counter,
    failed: Counter,
}

impl Status {
    /// Where it is in its life.
    pub fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Relaxed))]
    }

    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as u8, Relaxed);
        if state != State::Running {
            self.healthy.store(false, Relaxed);
        }
    }

    /// The CPU it runs on.
    pub fn cpu(&self) -> u8 {
        self.cpu.load(Relaxed)
    }

    /// Says on which CPU it runs.
    pub fn set_cpu(&self, cpu: u8) {
        self.cpu.store(cpu, Relaxed);
    }

    /// Whether it runs and its last health check passed.
    pub fn is_up(&self) -> bool {
        self.healthy.load(Relaxed)
    }

    /// Notes a health check.
    pub fn set_healthy(&self, passed: bool) {
        let runs = self.state() == State::Running;
        self.healthy.store(passed && runs, Relaxed);
    }

    /// Its last death.
    pub fn fault(&self) -> Option<Fault> {
        Fault::unpack(self.fault.load(Relaxed))
    }

    pub(super) fn set_fault(&self, fault: Fault) {
        self.fault.store(fault.pack(), Relaxed);
    }

    /// Counts a restart after which its health check passed, or did not.
    pub fn count_restart(&self, passed: bool) {
        if passed {
            &self.recovered
        } else {
            &self.failed
        }
        .increment();
    }

    /// Restarts: those after which it was well, those after which it was not.
    pub fn restarts(&self) -> (u64, u64) {
        (self.recovered.get(), self.failed.get())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_kept_with_its_cause_and_time() {
        let status = Status::default();
        assert_eq!(status.fault(), None);
        for cause in Cause::ALL {
            let at = Instant::from_nanos(7_000 * NANOS_PER_MILLI);
            status.set_fault(Fault { cause, at });
            assert_eq!(status.fault(), Some(Fault { cause, at }));
        }
    }

    #[test]
    fn what_does_not_run_is_not_up() {
        let status = Status::default();
        status.set_healthy(true);
        assert!(!status.is_up());
        status.set_state(State::Running);
        status.set_healthy(true);
        assert!(status.is_up());
        status.set_state(State::Dead);
        assert!(!status.is_up());
    }
}
