//! Flows that have something to do: their turns, and their end.

use super::flow::{Flow, Leaves, Visit};
use super::link::{Egress, Moment};
use super::schedule::{ACK_DELAY, Schedule};
use super::service::ConnectionId;
use super::stack::Stack;
use crate::platform::network_device::NetworkDevice;
use crate::platform::time::{Duration, Instant};
use smoltcp::socket::tcp::State;

/// The shortest of smoltcp's timers but the delayed ACK's: the least retransmission timeout. A flow that
/// has just sent an ACK or data needs no timer sooner.
const SHORTEST_TIMER: Duration = Duration::from_secs(1);
/// When to look again at a flow that says it has something to send and does not send it.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

impl<D: NetworkDevice> Stack<D> {
    /// Marks the flows whose timers are due.
    #[inline]
    pub(super) fn mark_due(&mut self, now: Instant) {
        while let Some(slot) = self.schedule.pop_due(now) {
            if let Some(flow) = self.flows.get_mut(slot) {
                flow.armed = None;
                self.schedule.mark(slot);
            }
        }
        while let Some(slot) = self.schedule.pop_deferred(now) {
            self.schedule.mark(slot);
        }
    }

    /// Marks the flows that wait for a neighbour: ARP may have found it.
    pub(super) fn mark_waiting(&mut self) {
        while let Some(slot) = self.schedule.pop_waiting() {
            self.schedule.mark(slot);
        }
    }

    /// Gives each marked flow its turn. Flows that could not send for want of room are marked again.
    #[inline]
    pub(super) fn take_turns(&mut self, at: Moment) {
        let turns = self.schedule.begin_round();
        self.turns += turns;
        for turn in 0..turns {
            let slot = self.schedule.take(turn);
            self.take_turn(slot, at);
        }
        self.schedule.end_round(turns);
    }

    #[inline]
    fn take_turn(&mut self, slot: u32, at: Moment) {
        let id = self.flows.id(slot);
        let Some(flow) = self.flows.get_mut(slot) else {
            return;
        };
        let was_half_open = flow.is_half_open();
        let is_bare_opening = was_half_open && flow.has_no_input();
        let leaves = flow.turn(&mut Visit {
            id,
            now: at.now,
            service: &mut *self.services[flow.service],
            output: &mut self.output,
            policy: &self.policy,
        });
        if was_half_open && !flow.is_half_open() {
            self.half_open.left();
        }
        let may_be_quiet = is_bare_opening || leaves == Leaves::Ack;
        let is_quiet =
            may_be_quiet && keeps_quiet(flow, leaves, &mut self.schedule, (slot, at.now));
        let egress = match is_quiet {
            true => Egress::Silent,
            false => self.link.send_from(flow, self.system.network(), at),
        };
        if flow.defers_ack && egress == Egress::Sent {
            flow.defers_ack = false;
            self.schedule.end_deferral(slot);
        }
        let (before, state) = (flow.counted_as, flow.state());
        let is_last = matches!(state, State::Closed | State::Listen | State::TimeWait);
        if before != state {
            flow.counted_as = state;
            self.link.counters.moved(before, state);
        }
        if is_last && egress != Egress::Exhausted && self.leaves(slot, egress, at) {
            return;
        }
        if !is_quiet {
            self.see_to_next_turn(slot, egress, at);
        }
    }

    /// Sees to it that the flow has its next turn in time.
    #[inline]
    fn see_to_next_turn(&mut self, slot: u32, egress: Egress, at: Moment) {
        let Some(flow) = self.flows.get_mut(slot) else {
            return;
        };
        match egress {
            Egress::Exhausted => return self.schedule.mark(slot),
            Egress::NeighbourMissing => {
                flow.note_silenced();
                self.schedule.await_neighbour(slot);
            }
            // A timer that fires too early costs one look in a second; arming one by each packet costs more, and so does
            // asking when the first one, after our SYN, has to fire.
            Egress::Sent => {
                let soon = at.now + SHORTEST_TIMER;
                match flow.armed {
                    Some(armed) if armed <= soon => return,
                    None if flow.is_half_open() => {
                        return self.schedule.arm(slot, flow, Some(soon));
                    }
                    _ => {}
                }
            }
            Egress::Silent => {}
        }
        let own = flow.own_deadline(&self.policy);
        let wakes_at = self.link.wakes_at(flow, at).into_iter().chain(own).min();
        let late_enough = wakes_at.map(|wakes_at| match wakes_at <= at.now {
            true => at.now + LOOK_AGAIN,
            false => wakes_at,
        });
        self.schedule.arm(slot, flow, late_enough);
    }

    /// Ends a flow that has nothing more to do, or only to wait in TIME-WAIT; false if its last acknowledgement waits.
    #[cold]
    fn leaves(&mut self, slot: u32, egress: Egress, at: Moment) -> bool {
        let Some(flow) = self.flows.get_mut(slot) else {
            return true;
        };
        if flow.state() != State::TimeWait {
            // Closed; or the peer has reset its own SYN, or the frame was none that smoltcp takes.
            self.remove(slot);
            return true;
        }
        let is_acknowledged = match egress {
            Egress::Sent => true,
            Egress::Silent => {
                let wakes_at = self.link.wakes_at(flow, at);
                wakes_at.is_none_or(|wakes_at| wakes_at > at.now + ACK_DELAY)
            }
            Egress::Exhausted | Egress::NeighbourMissing => false,
        };
        if is_acknowledged {
            self.enter_time_wait(slot, at.now);
        }
        is_acknowledged
    }

    /// Ends a connection that its service does not want any more.
    pub(super) fn cut(&mut self, id: ConnectionId, now: Instant) {
        let Some(flow) = self.flows.named_mut(id).filter(|flow| flow.is_open()) else {
            return;
        };
        flow.cut(&mut Visit {
            id,
            now,
            service: &mut *self.services[flow.service],
            output: &mut self.output,
            policy: &self.policy,
        });
        self.schedule.mark(id.slot);
    }

    /// Gives a connection a turn in which its service is called whether or not anything came.
    pub(super) fn call_again(&mut self, id: ConnectionId) {
        let flow = self.flows.named_mut(id).filter(|flow| flow.is_open());
        if let Some(flow) = flow {
            flow.call_again();
            self.schedule.mark(id.slot);
        }
    }

    /// Forgets a flow, and frees its slot for another.
    pub(super) fn remove(&mut self, slot: u32) {
        let id = self.flows.id(slot);
        let Some(flow) = self.flows.remove(slot) else {
            return;
        };
        self.peers.forget(slot);
        if flow.is_open() {
            self.services[flow.service].close(id);
        }
        if flow.is_half_open() {
            self.half_open.left();
        }
        self.link.counters.moved(flow.counted_as, State::Closed);
        self.schedule.disarm(slot);
        if flow.defers_ack {
            self.schedule.end_deferral(slot);
        }
        self.flows.keep_spare(flow.into_seat());
        if self.half_open.is_stale() {
            self.sweep_half_open();
        }
    }

    /// Forgets queued names of flows that have moved on.
    #[cold]
    fn sweep_half_open(&mut self) {
        let flows = &mut self.flows;
        self.half_open.retain(|&id| {
            let flow = flows.named_mut(id);
            flow.is_some_and(|flow| flow.is_half_open())
        });
    }
}

/// Whether the socket need not be asked for what it has to send: a handshake that is complete often leaves nothing to
/// say, and an acknowledgement may wait. What timers there are beside the latter's are armed already, and only became
/// later.
fn keeps_quiet(
    flow: &mut Flow,
    leaves: Leaves,
    schedule: &mut Schedule,
    (slot, now): (u32, Instant),
) -> bool {
    if flow.armed.is_none() {
        return false;
    }
    match leaves {
        // Once: if more comes before it is sent, smoltcp decides when it is.
        Leaves::Ack => {
            let defers = !flow.defers_ack && schedule.defer(slot, now);
            flow.defers_ack |= defers;
            defers
        }
        Leaves::Output => flow.is_quiet(),
    }
}
