//! The reply table: a fixed number of slots in which answers come back, each used again and again.
//!
//! A slot goes free → claimed (its requester writes itself in) → waiting → filling (somebody writes the answer)
//! → ready → free, in one word with a generation that is new for each use. An answer is taken by the request
//! it is for or by none: a late one finds another generation and comes back to whoever gave it.
//!
//! A requester that gives up while its answer is being written leaves the slot orphaned; the writer frees it.
#![allow(
    unsafe_code,
    reason = "a slot's answer is written and read by whoever its state says"
)]

use super::envelope::Correlation;
use super::executor::Token;
use super::sync::{
    AcqRel, Acquire, AtomicU64, AtomicUsize, Relaxed, Release, UnsafeCell, can_look,
};
use crate::error::{Result, try_boxed_slice};
use alloc::boxed::Box;
use core::mem::MaybeUninit;
use core::num::NonZero;

#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u64)]
enum Phase {
    Free,
    Claimed,
    Waiting,
    Filling,
    Ready,
    Orphaned,
}

/// A phase and the generation it belongs to, in one word.
#[derive(Clone, Copy, PartialEq)]
struct State {
    phase: Phase,
    generation: NonZero<u32>,
}

impl State {
    fn pack(self) -> u64 {
        u64::from(self.generation.get()) << 32 | self.phase as u64
    }

    fn unpack(word: u64) -> Self {
        let phase = match word as u32 {
            0 => Phase::Free,
            1 => Phase::Claimed,
            2 => Phase::Waiting,
            3 => Phase::Filling,
            4 => Phase::Ready,
            _ => Phase::Orphaned,
        };
        let generation = NonZero::new((word >> 32) as u32).expect("it begins at 1 and skips 0");
        Self { phase, generation }
    }

    fn next_free(generation: NonZero<u32>) -> u64 {
        Self {
            phase: Phase::Free,
            generation: generation.checked_add(1).unwrap_or(NonZero::<u32>::MIN),
        }
        .pack()
    }
}

struct Slot<R> {
    state: AtomicU64,
    requester: AtomicU64,
    answer: UnsafeCell<MaybeUninit<R>>,
}

/// What became of an answer.
pub(super) enum Filled<R> {
    /// It waits for that task.
    For(Token),
    /// Nobody waits for it any more.
    Late(R),
}

/// How a request stands.
#[derive(Debug, PartialEq)]
pub(super) enum Answer<R> {
    Ready(R),
    Pending,
    /// The correlation is of an earlier use.
    Stale,
}

/// The table.
pub(super) struct ReplyTable<R> {
    slots: Box<[Slot<R>]>,
    /// Where to look for a free slot first.
    hint: AtomicUsize,
}

// SAFETY: an answer goes from who fills a slot to who empties it, once, handed over by the slot's state with
// Release and Acquire, so it need only be `Send`; all else is atomic or never written.
unsafe impl<R: Send> Sync for ReplyTable<R> {}
// SAFETY: as above.
unsafe impl<R: Send> Send for ReplyTable<R> {}

impl<R> ReplyTable<R> {
    pub(super) fn new(slots: usize) -> Result<Self> {
        let made = try_boxed_slice(slots, |_| Slot {
            state: AtomicU64::new(State::next_free(NonZero::<u32>::MAX)),
            requester: AtomicU64::new(0),
            answer: UnsafeCell::new(MaybeUninit::uninit()),
        })?;
        Ok(Self {
            slots: made,
            hint: AtomicUsize::new(0),
        })
    }

    pub(super) fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Takes a free slot for `requester`; none if all are in use.
    pub(super) fn claim(&self, requester: Token) -> Option<Correlation> {
        let first = self.hint.load(Relaxed);
        let slots = self.slots.len();
        for slot in (first..slots).chain(0..first.min(slots)) {
            let place = &self.slots[slot];
            let word = place.state.load(Relaxed);
            let State { phase, generation } = State::unpack(word);
            let claimed = State {
                phase: Phase::Claimed,
                generation,
            };
            // Acquire: pairs with the Release that freed the slot.
            if phase != Phase::Free
                || place
                    .state
                    .compare_exchange(word, claimed.pack(), Acquire, Relaxed)
                    .is_err()
            {
                continue;
            }
            place.requester.store(requester.as_u64(), Relaxed);
            let waiting = State {
                phase: Phase::Waiting,
                generation,
            };
            // Release: pairs with the Acquire in `fill`, which reads the requester.
            place.state.store(waiting.pack(), Release);
            self.hint.store(slot + 1, Relaxed);
            return Some(Correlation {
                slot: slot as u32,
                generation,
            });
        }
        None
    }

    /// Answers the request, if it still waits. Wakes nobody: the token says whom to wake.
    pub(super) fn fill(&self, correlation: Correlation, answer: R) -> Filled<R> {
        let Some(slot) = self.slots.get(correlation.slot as usize) else {
            return Filled::Late(answer);
        };
        let generation = correlation.generation;
        let state = |phase| State { phase, generation }.pack();
        // Acquire: pairs with the Release in `claim`.
        if slot
            .state
            .compare_exchange(
                state(Phase::Waiting),
                state(Phase::Filling),
                Acquire,
                Relaxed,
            )
            .is_err()
        {
            return Filled::Late(answer);
        }
        let requester = Token::from_u64(slot.requester.load(Relaxed));
        // SAFETY: the exchange made this the only one that may touch the answer until the state changes.
        slot.answer
            .with_mut(|place| unsafe { (*place).write(answer) });
        // Release: pairs with the Acquire in `take`. Acquire: who left it orphaned is done with it.
        match slot.state.compare_exchange(
            state(Phase::Filling),
            state(Phase::Ready),
            AcqRel,
            Relaxed,
        ) {
            Ok(_) => Filled::For(requester),
            Err(_) => Filled::Late(self.empty(slot, generation)),
        }
    }

    /// How the request of that correlation stands; a ready answer is taken and its slot free.
    pub(super) fn take(&self, correlation: Correlation) -> Answer<R> {
        let Some(slot) = self.slots.get(correlation.slot as usize) else {
            return Answer::Stale;
        };
        // Acquire: pairs with the Release in `fill`.
        let state = State::unpack(slot.state.load(Acquire));
        match state.phase {
            _ if state.generation != correlation.generation => Answer::Stale,
            Phase::Ready => Answer::Ready(self.empty(slot, state.generation)),
            Phase::Waiting | Phase::Filling => Answer::Pending,
            Phase::Free | Phase::Claimed | Phase::Orphaned => Answer::Stale,
        }
    }

    /// Gives the request up, whatever became of it; an answer that was ready comes back.
    pub(super) fn cancel(&self, correlation: Correlation) -> Option<R> {
        let slot = self.slots.get(correlation.slot as usize)?;
        let generation = correlation.generation;
        let state = |phase| State { phase, generation }.pack();
        let mut word = slot.state.load(Acquire);
        loop {
            let now = State::unpack(word);
            let next = match now.phase {
                _ if now.generation != generation => return None,
                Phase::Waiting => State::next_free(generation),
                Phase::Filling => state(Phase::Orphaned),
                Phase::Ready => return Some(self.empty(slot, generation)),
                Phase::Free | Phase::Claimed | Phase::Orphaned => return None,
            };
            // Release: the next claim, or the filling one, comes after. Acquire: as in `take`.
            match slot.state.compare_exchange(word, next, AcqRel, Acquire) {
                Ok(_) => return None,
                Err(changed) => word = changed,
            }
        }
    }

    /// Takes the answer out of a slot that only the caller may touch, and frees the slot.
    fn empty(&self, slot: &Slot<R>, generation: NonZero<u32>) -> R {
        // SAFETY: the state is ready, seen by its one requester (or whoever stands in for it after its death), or
        // orphaned, seen by who filled it; either is alone with the answer, which was written.
        let answer = slot
            .answer
            .with_mut(|place| unsafe { (*place).assume_init_read() });
        // Release: pairs with the Acquire in the next `claim`.
        slot.state.store(State::next_free(generation), Release);
        answer
    }

    /// Whether somebody still waits for that answer.
    pub(super) fn waits(&self, correlation: Correlation) -> bool {
        let slot = self.slots.get(correlation.slot as usize);
        let waiting = State {
            phase: Phase::Waiting,
            generation: correlation.generation,
        };
        slot.is_some_and(|slot| slot.state.load(Relaxed) == waiting.pack())
    }

    /// All requests that have no answer yet or have not taken it, with who asked.
    pub(super) fn open(&self) -> impl Iterator<Item = (Correlation, Token)> {
        self.slots.iter().enumerate().filter_map(|(number, slot)| {
            // Acquire: pairs with the Release in `claim`, for the requester.
            let State { phase, generation } = State::unpack(slot.state.load(Acquire));
            let slot_number = number as u32;
            let correlation = Correlation {
                slot: slot_number,
                generation,
            };
            matches!(phase, Phase::Waiting | Phase::Filling | Phase::Ready).then(|| {
                let requester = Token::from_u64(slot.requester.load(Relaxed));
                (correlation, requester)
            })
        })
    }
}

impl<R> Drop for ReplyTable<R> {
    fn drop(&mut self) {
        for slot in self.slots.iter().take_while(|_| can_look()) {
            // Acquire: pairs with the Release in `fill`.
            let State { phase, generation } = State::unpack(slot.state.load(Acquire));
            if phase == Phase::Ready {
                drop(self.empty(slot, generation));
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const ASKER: Token = Token::from_u64(7);

    #[test]
    fn an_answer_reaches_its_request_and_a_second_one_is_late() {
        let table = ReplyTable::new(2).expect("memory");
        let request = table.claim(ASKER).expect("a free slot");
        assert_eq!(table.take(request), Answer::Pending);
        assert!(matches!(table.fill(request, 5), Filled::For(ASKER)));
        assert!(matches!(table.fill(request, 6), Filled::Late(6)));
        assert_eq!(table.take(request), Answer::Ready(5));
        assert_eq!(table.take(request), Answer::Stale);
    }

    #[test]
    fn a_slot_used_again_refuses_the_answer_to_its_earlier_request() {
        let table = ReplyTable::new(1).expect("memory");
        let first = table.claim(ASKER).expect("a free slot");
        assert!(table.claim(ASKER).is_none());
        assert_eq!(table.cancel(first), None);
        let second = table.claim(ASKER).expect("free again");
        assert_ne!(first, second);
        assert!(matches!(table.fill(first, 1), Filled::Late(1)));
        assert_eq!(table.take(second), Answer::Pending);
        assert!(table.waits(second) && !table.waits(first));
    }

    #[test]
    fn giving_up_brings_back_an_answer_that_was_ready() {
        let table = ReplyTable::new(1).expect("memory");
        let request = table.claim(ASKER).expect("a free slot");
        assert!(matches!(table.fill(request, 5), Filled::For(_)));
        assert_eq!(table.open().count(), 1);
        assert_eq!(table.cancel(request), Some(5));
        assert_eq!(table.open().count(), 0);
        assert_eq!(table.cancel(request), None);
    }
}
