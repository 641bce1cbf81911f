//! Damage: what is done with bytes that are not as they were written.
//!
//! One flipped bit is put right ([`super::seal`]). An entry that more has happened to is dropped: a miss is no wrong
//! answer, and who it was does not matter, for nothing else is known by its bytes. All but the entries is made again
//! then, from those that are left.

use super::arena::Handle;
use super::entry::{Entry, EntryMut};
use super::intent::Intent;
use super::{Store, Table};

/// What was not as it was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Entries of which one bit was put right.
    pub corrected: u64,
    /// Entries that were dropped.
    pub dropped: u64,
    /// Buckets and nodes of expiries of which one bit was put right.
    pub index_corrected: u64,
}

impl Damage {
    /// Counts what is being ended, one flipped bit not explaining it; true if it was an entry.
    fn count(&mut self, ended: &EntryMut<'_>) -> bool {
        let was_free = ended.entry().was_free();
        self.corrected += u64::from(was_free);
        self.dropped += u64::from(!was_free);
        !was_free
    }
}

impl Store {
    /// Puts an entry right that is damaged, or drops it. Not within an operation.
    #[cold]
    #[inline(never)]
    pub(super) fn settle_damage(&mut self, handle: Handle) {
        let mut entry = EntryMut::at(&mut self.arena, handle);
        if entry.mend() {
            self.events.damage.corrected += 1;
            return;
        }
        self.record.prepare(None, None);
        self.record.change(Some(handle));
        self.events.damage.count(&entry);
        entry.end();
        self.candidates.clear();
        self.rebuild(Intent::Nothing);
        self.record.end();
    }

    /// Puts the node of an entry's expiry right, if a bit of it flipped.
    pub(super) fn mend_expiry(&mut self, handle: Handle) {
        let position = Entry::at(&self.arena, handle).expiry_position();
        let is_mended = position.is_some_and(|position| self.expiries.mend(position));
        self.events.damage.index_corrected += u64::from(is_mended);
    }

    /// True if an entry is as it was written, now at least: else it is gone.
    #[inline]
    pub(super) fn can_trust(&mut self, handle: Handle) -> bool {
        if Entry::at(&self.arena, handle).is_sealed() {
            return true;
        }
        self.settle_damage(handle);
        self.arena.live_slot(handle).is_some()
    }

    /// Settles what is damaged among the entries that `links` names of a table.
    pub(super) fn settle_all(
        &mut self,
        index: usize,
        links: impl Fn(&Table, &mut dyn FnMut(Handle)),
    ) {
        loop {
            let mut damaged = None;
            links(&self.tables[index], &mut |handle| {
                if damaged.is_none() && !Entry::at(&self.arena, handle).is_sealed() {
                    damaged = Some(handle);
                }
            });
            match damaged {
                Some(handle) => self.settle_damage(handle),
                None => return,
            }
        }
    }

    /// For recovery: puts right what is damaged of the live slots, or ends them; tells how many.
    pub(super) fn settle_slots(&mut self) -> u64 {
        let (mut from, mut lost) = (None, 0);
        while let Some(handle) = self.arena.next_live(from) {
            from = Some(handle);
            let mut entry = EntryMut::at(&mut self.arena, handle);
            if entry.entry().is_sealed() {
                continue;
            }
            if entry.mend() {
                self.events.damage.corrected += 1;
            } else {
                lost += u64::from(self.events.damage.count(&entry));
                entry.end();
            }
        }
        lost
    }
}
