//! The full consistency check: whether everything agrees with the live slots.

use super::entry::Entry;
use super::intent::Intent;
use super::{DATABASES, Lookup, Store};

impl Store {
    /// What does not agree with the entries, if anything. Looks at every key: for recovery and tests.
    pub fn inconsistency(&self) -> Option<&'static str> {
        if self.record.read() != Intent::Nothing || self.budget.is_unsettled() {
            return Some("an operation is under way");
        }
        let mut held_bytes = 0;
        self.each_block(&mut |word| held_bytes += word.bytes() as u64);
        if held_bytes != self.budget.held_bytes() {
            return Some("the budget is not what the slots hold");
        }
        self.arena
            .inconsistency()
            .or_else(|| self.expiries.inconsistency(&self.arena))
            .or_else(|| self.tables.iter().find_map(|table| table.inconsistency()))
            .or_else(|| self.misplaced_database())
            .or_else(|| self.misplaced_entry())
    }

    /// Each database has a table of its own.
    fn misplaced_database(&self) -> Option<&'static str> {
        let seen = self
            .table_of
            .iter()
            .fold(0_u32, |seen, table| seen | 1 << table);
        (seen != (1 << DATABASES) - 1).then_some("two databases have one table")
    }

    /// Each entry is named by one link, that of its key; and there are no other links.
    fn misplaced_entry(&self) -> Option<&'static str> {
        let mut keys = [0; DATABASES];
        let mut expiring = [0; DATABASES];
        let mut from = None;
        while let Some(handle) = self.arena.next_live(from) {
            from = Some(handle);
            let entry = Entry::at(&self.arena, handle);
            if !entry.is_plausible() {
                return Some("an entry is not as it was written");
            }
            let index = entry.table();
            let found = self.lookup(index, self.hash(entry.key()), entry.key());
            if !matches!(found, Lookup::Done(Some(found)) if found.handle == handle) {
                return Some("an entry is not where its key is looked for");
            }
            keys[index] += 1;
            if let Some(position) = entry.expiry_position() {
                expiring[index] += 1;
                if self.expiries.handle_at(position) != Some(handle) {
                    return Some("an entry's expiry is another's");
                }
            }
        }
        if expiring != self.expiring || expiring.iter().sum::<usize>() != self.expiries.len() {
            return Some("expiries are miscounted");
        }
        let is_linked = (0..DATABASES).all(|index| {
            let links = self.tables[index].iter().count();
            keys[index] == links && links == self.tables[index].len()
        });
        if !is_linked || keys.iter().sum::<usize>() != self.live_keys {
            return Some("links are not one for each entry");
        }
        None
    }
}
