//! Operations on whole databases: sizes, flushing, exchanging, and walking through their keys.

use super::entry::Entry;
use super::table::Table;
use super::{DATABASES, Store};

impl Store {
    /// Keys in a database.
    pub fn len(&self, database: usize) -> usize {
        self.table(database).map_or(0, Table::len)
    }

    /// Keys in all databases.
    #[inline]
    pub fn total_len(&self) -> usize {
        self.live_keys
    }

    /// Keys with an expiry in a database.
    pub fn expiring_len(&self, database: usize) -> usize {
        self.expiring[usize::from(self.table_of[database])]
    }

    /// Exchanges two databases.
    pub fn swap(&mut self, one: usize, other: usize) {
        self.table_of.swap(one, other);
    }

    /// Removes all keys of a database.
    pub fn flush(&mut self, database: usize) {
        let index = usize::from(self.table_of[database]);
        if self
            .tables
            .iter()
            .enumerate()
            .all(|(i, table)| i == index || table.is_none())
        {
            return self.flush_all();
        }
        let Some(table) = self.tables[index].take() else {
            return;
        };
        for link in table.iter() {
            if let Some(position) = Entry::at(&self.arena, link.handle).expiry_position() {
                self.expiries
                    .remove(position, &mut self.arena, &mut self.budget);
            }
            self.arena.free(link.handle, &mut self.budget);
        }
        self.live_keys -= table.len();
        table.release(&mut self.budget);
        self.expiring[index] = 0;
        self.candidates.clear();
    }

    /// Removes all keys of all databases: gives blocks back, and looks at no key.
    pub fn flush_all(&mut self) {
        for table in self.tables.iter_mut().filter_map(Option::take) {
            table.release(&mut self.budget);
        }
        self.arena.clear(&mut self.budget);
        self.expiries.clear(&mut self.budget);
        self.live_keys = 0;
        self.expiring = [0; DATABASES];
        self.candidates.clear();
    }

    /// A random key of a database.
    pub fn random_key(&mut self, database: usize) -> Option<&[u8]> {
        loop {
            let index = usize::from(self.table_of[database]);
            let link = self.tables[index].as_ref()?.random(&mut self.random)?;
            if self.is_expired(link.handle) {
                self.remove_handle(link.handle);
                self.events.expired_lazily += 1;
                continue;
            }
            return Some(Entry::at(&self.arena, link.handle).key());
        }
    }

    /// One step of a scan: calls `see` with keys that are not expired; returns the next cursor, 0 at the
    /// end. See [`Table::scan`] for what is promised.
    pub fn scan(&self, database: usize, cursor: u32, mut see: impl FnMut(&[u8])) -> u32 {
        let Some(table) = self.table(database) else {
            return 0;
        };
        table.scan(cursor, |link| {
            if !self.is_expired(link.handle) {
                see(Entry::at(&self.arena, link.handle).key());
            }
        })
    }

    /// Calls `see` with every key of a database that is not expired.
    pub fn keys(&self, database: usize, mut see: impl FnMut(&[u8])) {
        let links = self.table(database).into_iter().flat_map(Table::iter);
        for link in links.filter(|link| !self.is_expired(link.handle)) {
            see(Entry::at(&self.arena, link.handle).key());
        }
    }
}
