//! Compaction in the background: pageblocks are recovered one by one while nobody has anything better to do.
//!
//! The law: once there was work, memory is looked at when the foreground has been quiet for [`QUIET`]. If more
//! of free memory lies scattered than the policy bears, one pageblock is recovered in a step, and as long as steps recover
//! something the next follows at once. A step ends before its next move if the foreground takes a turn, and quiet
//! is waited for anew. When there is nothing to be had nobody is woken again until there was work.
//!
//! Flow: a fiber of the lowest rank calls [`Background::poll`] whenever it runs, and runs when that says. Without a movable
//! page's owner a call costs a few instructions, and nobody is ever woken for it.

use super::{Compacted, CompactionPolicy};
use crate::memory::local_cpu::LocalCpu;
use crate::memory::manager::MemoryManager;
use crate::platform::time::{Duration, Instant};

/// How long the foreground takes no turn before it is called quiet: as long as the detectors wait between two samples.
pub const QUIET: Duration = Duration::from_secs(1);

/// What compaction makes way for.
pub trait Foreground: Sync {
    /// A number that changes with each turn it takes.
    fn turns(&self) -> u64;
}

/// Compaction of one memory manager's pages, behind one foreground.
pub struct Background<C: 'static> {
    memory: &'static MemoryManager<C>,
    foreground: &'static dyn Foreground,
    policy: CompactionPolicy,
    /// When there is something to do next, if there is.
    due: Option<Instant>,
    /// The foreground's turns at the last look.
    seen_turns: u64,
}

impl<C: LocalCpu> Background<C> {
    /// One that has not looked at anything yet.
    pub fn new(
        memory: &'static MemoryManager<C>,
        foreground: &'static dyn Foreground,
        policy: CompactionPolicy,
    ) -> Self {
        Self {
            memory,
            foreground,
            policy,
            due: None,
            seen_turns: 0,
        }
    }

    /// Does what is due at `now`: one step at most. Answers when it is to be called again, if nothing else calls it before.
    pub fn poll(&mut self, now: Instant) -> Option<Instant> {
        if !self.memory.has_movers() {
            return None;
        }
        let turns = self.foreground.turns();
        match self.due {
            Some(due) if now < due => return self.due,
            Some(_) if turns == self.seen_turns => self.due = self.step(turns, now),
            _ => self.due = Some(now + QUIET),
        }
        self.seen_turns = turns;
        self.due
    }

    fn step(&self, turns: u64, now: Instant) -> Option<Instant> {
        let is_busy = || self.foreground.turns() != turns;
        let done = self.memory.compact_in_background(self.policy, &is_busy);
        if is_busy() {
            return Some(now + QUIET);
        }
        (done != Compacted::default()).then_some(now)
    }
}
