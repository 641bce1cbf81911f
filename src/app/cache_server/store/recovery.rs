//! Recovery: what comes between the death of whoever worked on the keyspace and the next one's work.
//!
//! The live slots are the truth: an entry says in which database it is, its key and value, and whether it
//! has an expiry. Recovery first does with slots what the intent says ([`super::intent`]), then makes the
//! rest again from them: lists and counts of the arena, every link of every table, the index of expiries
//! (whose nodes hold the times, so those are kept), the budget. Blocks on their way are given back unless a
//! slot holds them.
//!
//! Cost: a pass over all slots, some hundred instructions a key: a cut operation is rare, and only then are
//! links made again; after a death between two operations the pass only checks ([`Store::inconsistency`]).
//! It takes no memory but what a table needs that has lost its page. Whoever kills the keyspace's user does
//! not kill recovery.

use super::arena::Handle;
use super::blocks::Held;
use super::entry::{Entry, EntryMut};
use super::intent::Intent;
use super::table::Link;
use super::{DATABASES, Expiry, Store};
use crate::memory::frames::BlockWord;

/// How the keyspace was found, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No operation was under way, and everything agrees.
    Intact,
    /// An operation was cut off, and has been done to its end.
    Completed,
    /// An operation was cut off, and nothing is left of it.
    Undone,
    /// No operation was under way and yet something did not agree: all was made again from the entries.
    Rebuilt,
}

/// What [`Store::recover`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// What became of the operation.
    pub outcome: Outcome,
    /// Keys, and expiries of keys, that could not be kept. A cut alone costs none.
    pub lost: u64,
}

impl Store {
    /// Completes or undoes the operation that was cut off, if one was, and checks all else.
    pub fn recover(&mut self) -> Recovery {
        let intent = self.record.read();
        self.candidates.clear();
        self.settle();
        let mut lost = 0;
        let outcome = match intent {
            Intent::Nothing => Outcome::Intact,
            Intent::Build(_) => Outcome::Undone,
            _ => Outcome::Completed,
        };
        let is_rebuilt = self.resume(intent) || {
            self.record.end();
            self.inconsistency().is_some()
        };
        if is_rebuilt {
            lost = self.rebuild(intent);
        }
        self.record.end();
        let outcome = match outcome {
            Outcome::Intact if is_rebuilt => Outcome::Rebuilt,
            outcome => outcome,
        };
        Recovery { outcome, lost }
    }

    /// Finds out which blocks are held, and gives back what was on its way.
    fn settle(&mut self) {
        let on_their_way = self.budget.on_their_way();
        let (mut is_held, mut held_bytes) = ([false; 2], 0);
        self.each_block(&mut |word| {
            held_bytes += word.bytes() as u64;
            for (is_held, other) in is_held.iter_mut().zip(on_their_way) {
                *is_held |= word == other;
            }
        });
        self.budget.settle(is_held, held_bytes);
    }

    /// Looks at every block that is held. In one place, without an iterator of many parts at each caller.
    pub(super) fn each_block(&self, look: &mut dyn FnMut(BlockWord)) {
        let mut look = |held: &Held| {
            if held.is_some() {
                look(held.word());
            }
        };
        for table in &self.tables {
            table.blocks().for_each(&mut look);
        }
        self.arena.blocks().for_each(&mut look);
        self.expiries.blocks().for_each(&mut look);
    }

    /// Does with slots what the intent says; true if the rest is to be made again.
    fn resume(&mut self, intent: Intent) -> bool {
        match intent {
            Intent::Nothing => return false,
            Intent::Rewrite { is_wide, .. } => {
                self.redo(intent);
                return is_wide;
            }
            Intent::Build(new) => self.end_slot(new),
            Intent::Change(doomed) => {
                self.end_slot(doomed);
                self.end_slot(self.record.also);
            }
            Intent::Flush(Some(table)) => {
                let mut from = None;
                while let Some(handle) = self.arena.next_live(from) {
                    from = Some(handle);
                    if Entry::at(&self.arena, handle).table() == table {
                        self.end_slot(from);
                    }
                }
            }
            Intent::Flush(None) => self.flush_all(),
            Intent::Swap(wanted) => {
                for (database, table) in wanted {
                    self.table_of[database] = table;
                }
                return false;
            }
        }
        true
    }

    /// Rewrites a value from the record.
    fn redo(&mut self, intent: Intent) {
        let Intent::Rewrite {
            handle,
            encoding,
            len,
            is_part,
            ..
        } = intent
        else {
            return;
        };
        let (start, value_len) = if is_part { self.record.part } else { (0, len) };
        let mut entry = EntryMut::at(&mut self.arena, handle);
        entry.set_len(value_len, encoding);
        entry.value_mut()[start..start + len].copy_from_slice(&self.record.redo[..len]);
        entry.seal();
    }

    /// Ends a slot, if it is live.
    fn end_slot(&mut self, slot: Option<Handle>) {
        if let Some(handle) = slot.filter(|&handle| self.arena.live_slot(handle).is_some()) {
            EntryMut::at(&mut self.arena, handle).end();
        }
    }

    /// Makes everything again from the live slots; tells how much could not be kept.
    pub(super) fn rebuild(&mut self, intent: Intent) -> u64 {
        let (heir, expiry) = match intent {
            Intent::Change(Some(doomed)) => {
                let heir = self.record.heir.map(|heir| (doomed, heir));
                (heir, self.record.expiry)
            }
            Intent::Change(None) | Intent::Rewrite { is_wide: true, .. } => {
                (None, self.record.expiry)
            }
            _ => (None, None),
        };
        let mut lost = self.settle_slots();
        self.arena.rebuild(&mut self.budget);
        let redone = expiry.map(|(handle, _)| handle);
        lost += self
            .expiries
            .rebuild((&mut self.arena, &mut self.budget), heir, redone);
        lost += self.relink();
        if let Some((handle, at_ms)) = expiry {
            let is_ready = at_ms.is_none() || self.expiries.reserve(&mut self.budget).is_ok();
            lost += u64::from(!is_ready);
            if is_ready {
                self.apply_expiry(handle, at_ms.map_or(Expiry::Never, Expiry::AtMs));
            }
        }
        lost
    }

    /// Makes all links and counts again; tells how many entries found no place.
    fn relink(&mut self) -> u64 {
        for table in &mut self.tables {
            table.forget_links();
        }
        self.live_keys = 0;
        self.expiring = [0; DATABASES];
        let (mut from, mut lost) = (None, 0);
        while let Some(handle) = self.arena.next_live(from) {
            from = Some(handle);
            let entry = Entry::at(&self.arena, handle);
            let (index, hash) = (entry.table(), self.hash(entry.key()));
            self.expiring[index] += usize::from(entry.expiry_position().is_some());
            self.live_keys += 1;
            let table = &mut self.tables[index];
            let linked = table
                .open(&mut self.budget)
                .and_then(|()| table.relink(Link { hash, handle }, &mut self.budget));
            if linked.is_err() {
                self.apply_expiry(handle, Expiry::Never);
                self.arena.free(handle, &mut self.budget);
                self.live_keys -= 1;
                lost += 1;
            }
        }
        lost
    }
}
