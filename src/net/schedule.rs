//! Which flows have something to do: now, at a time, or when a neighbour answers.
//!
//! Invariant: the timer wheel never holds a later time for a flow than the flow needs. It may hold an
//! earlier one: a busy flow is not re-armed by each packet but looked at again when the old timer fires.
//!
//! Acknowledgements that may wait have a list of their own, in the order of time: most are sent with an answer
//! long before, and then cost no timer.
//!
//! Marking a flow never allocates: [`Schedule::grow`] made room for every slot at once.

use super::flow::Flow;
use super::timer_wheel::TimerWheel;
use crate::error::{Grow, GrowQueue, Result};
use crate::platform::time::{Duration, Instant};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// How long an acknowledgement may wait for something to travel with: as long as smoltcp lets it.
pub(super) const ACK_DELAY: Duration = Duration::from_millis(10);

/// The lists of flows, by slot.
pub(super) struct Schedule {
    wheel: TimerWheel,
    /// Flows that have something to do, each at most once; in a round, after those that have had their turn.
    marked: Vec<u32>,
    is_marked: Vec<bool>,
    /// Flows that wait for a neighbour's hardware address, each at most once.
    waiting: Vec<u32>,
    is_waiting: Vec<bool>,
    /// Flows whose acknowledgement waits and until when, the earliest first. The first does wait; others may have sent
    /// it since, and may even be here again.
    deferred: VecDeque<(u32, Instant)>,
    is_deferred: Vec<bool>,
}

impl Schedule {
    /// Nothing to do, from `now` on.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            wheel: TimerWheel::new(now),
            marked: Vec::new(),
            is_marked: Vec::new(),
            waiting: Vec::new(),
            is_waiting: Vec::new(),
            deferred: VecDeque::new(),
            is_deferred: Vec::new(),
        }
    }

    /// Makes room for that many slots.
    ///
    /// # Errors
    /// `OutOfMemory`.
    #[inline]
    pub(super) fn grow(&mut self, slots: usize) -> Result<()> {
        // What is grown last says how far all were.
        match slots > self.is_deferred.len() {
            true => self.make_room(slots),
            false => Ok(()),
        }
    }

    #[cold]
    fn make_room(&mut self, slots: usize) -> Result<()> {
        self.wheel.grow(slots)?;
        // A flow that has had its turn may be marked again in the same round.
        let marked = &mut self.marked;
        marked.try_reserve((2 * slots).saturating_sub(marked.len()))?;
        let waiting = &mut self.waiting;
        waiting.try_reserve(slots.saturating_sub(waiting.len()))?;
        let deferred = &mut self.deferred;
        deferred.try_reserve(slots.saturating_sub(deferred.len()))?;
        for flags in [
            &mut self.is_marked,
            &mut self.is_waiting,
            &mut self.is_deferred,
        ] {
            let missing = slots.saturating_sub(flags.len());
            flags.try_reserve(missing)?;
            flags.resize_reserved(flags.len() + missing, false);
        }
        Ok(())
    }

    /// Marks a flow as having something to do.
    #[inline]
    pub(super) fn mark(&mut self, slot: u32) {
        if !core::mem::replace(&mut self.is_marked[slot as usize], true) {
            self.marked.push_reserved(slot);
        }
    }

    /// True when a flow has something to do now.
    #[inline]
    pub(super) fn has_marked(&self) -> bool {
        !self.marked.is_empty()
    }

    /// Begins a round of turns; returns how many there are. A flow marked from now on waits for the next.
    #[inline]
    pub(super) fn begin_round(&self) -> usize {
        self.marked.len()
    }

    /// The flow whose turn is number `at` of the round, which is no longer marked.
    #[inline]
    pub(super) fn take(&mut self, at: usize) -> u32 {
        let slot = self.marked[at];
        self.is_marked[slot as usize] = false;
        slot
    }

    /// Ends a round of so many turns.
    #[inline]
    pub(super) fn end_round(&mut self, turns: usize) {
        match turns == self.marked.len() {
            true => self.marked.clear(),
            false => self.forget_turns(turns),
        }
    }

    #[cold]
    fn forget_turns(&mut self, turns: usize) {
        self.marked.drain(..turns);
    }

    /// Takes a flow whose timer is due.
    #[inline]
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        self.wheel.pop_due(now)
    }

    /// When a flow next has something to do; [`Instant::NEVER`] if none has.
    #[inline]
    pub(super) fn next_deadline(&self) -> Instant {
        if self.has_marked() {
            return Instant::ZERO;
        }
        let timed = self.wheel.next_deadline();
        match self.deferred.front() {
            None => timed,
            Some(&(_, until)) => timed.min(until),
        }
    }

    /// Has the acknowledgement that the flow in `slot` owes since `now` wait for something to travel with; false if too
    /// many wait. A flow that is in the list from before has its turn earlier than need be.
    pub(super) fn defer(&mut self, slot: u32, now: Instant) -> bool {
        let has_room = self.deferred.len() < self.deferred.capacity();
        if has_room {
            self.is_deferred[slot as usize] = true;
            self.deferred.push_back_reserved((slot, now + ACK_DELAY));
        }
        has_room
    }

    /// The acknowledgement of the flow in `slot` waits no more.
    pub(super) fn end_deferral(&mut self, slot: u32) {
        self.is_deferred[slot as usize] = false;
        while let Some(&(first, _)) = self.deferred.front()
            && !self.is_deferred[first as usize]
        {
            self.deferred.pop_front();
        }
    }

    /// Takes a flow whose acknowledgement has waited long enough.
    #[inline]
    pub(super) fn pop_deferred(&mut self, now: Instant) -> Option<u32> {
        let &(slot, until) = self.deferred.front()?;
        (until <= now).then(|| {
            self.end_deferral(slot);
            slot
        })
    }

    /// Sees to it that the flow in `slot` has its turn by `at`.
    #[inline]
    pub(super) fn arm(&mut self, slot: u32, flow: &mut Flow, at: Option<Instant>) {
        if flow.armed == at {
            return;
        }
        flow.armed = at;
        match at {
            Some(at) => self.wheel.arm(slot, at),
            None => self.wheel.disarm(slot),
        }
    }

    /// Forgets the timer of the flow that was in `slot`.
    pub(super) fn disarm(&mut self, slot: u32) {
        self.wheel.disarm(slot);
    }

    /// Has the flow in `slot` wait for a neighbour as well.
    pub(super) fn await_neighbour(&mut self, slot: u32) {
        if !core::mem::replace(&mut self.is_waiting[slot as usize], true) {
            self.waiting.push_reserved(slot);
        }
    }

    /// Takes a flow that waits for a neighbour.
    pub(super) fn pop_waiting(&mut self) -> Option<u32> {
        let slot = self.waiting.pop()?;
        self.is_waiting[slot as usize] = false;
        Some(slot)
    }
}
