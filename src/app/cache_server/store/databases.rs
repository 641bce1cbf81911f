//! Operations on whole databases: sizes, flushing, exchanging, and walking through their keys.

use super::entry::Entry;
use super::{DATABASES, Store};

impl Store {
    /// Keys in a database.
    pub fn len(&self, database: usize) -> usize {
        self.table(database).len()
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
        let wanted = [(one, self.table_of[other]), (other, self.table_of[one])];
        self.record.swap(wanted);
        for (database, table) in wanted {
            self.table_of[database] = table;
        }
        self.record.end();
    }

    /// Removes all keys of a database.
    pub fn flush(&mut self, database: usize) {
        let index = usize::from(self.table_of[database]);
        let mut others = (0..DATABASES).filter(|&other| other != index);
        if others.all(|other| !self.tables[other].is_open()) {
            return self.flush_all();
        }
        self.changes.note_flush();
        if !self.tables[index].is_open() {
            return;
        }
        self.settle_all(index, |table, see| {
            table.iter().for_each(|link| see(link.handle))
        });
        self.spoil_snapshot();
        self.record.flush(Some(index));
        for link in self.tables[index].iter() {
            if let Some(position) = Entry::at(&self.arena, link.handle).expiry_position() {
                self.expiries
                    .remove(position, &mut self.arena, &mut self.budget);
            }
            self.arena.free(link.handle, &mut self.budget);
        }
        self.live_keys -= self.tables[index].len();
        self.tables[index].close(&mut self.budget);
        self.expiring[index] = 0;
        self.candidates.clear();
        self.record.end();
    }

    /// Removes all keys of all databases: gives blocks back, and looks at no key.
    pub fn flush_all(&mut self) {
        self.changes.note_flush();
        self.spoil_snapshot();
        self.record.flush(None);
        for table in &mut self.tables {
            table.close(&mut self.budget);
        }
        self.arena.clear(&mut self.budget);
        self.expiries.clear(&mut self.budget);
        self.live_keys = 0;
        self.expiring = [0; DATABASES];
        self.candidates.clear();
        self.record.end();
    }

    /// A random key of a database.
    pub fn random_key(&mut self, database: usize) -> Option<&[u8]> {
        loop {
            let index = usize::from(self.table_of[database]);
            let link = self.tables[index].random(&mut self.random)?;
            if !self.can_trust(link.handle) {
                continue;
            }
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
    pub fn scan(&mut self, database: usize, cursor: u32, mut see: impl FnMut(&[u8])) -> u32 {
        self.settle_all(usize::from(self.table_of[database]), |table, see| {
            table.scan(cursor, |link| see(link.handle));
        });
        self.table(database).scan(cursor, |link| {
            if !self.is_expired(link.handle) {
                see(Entry::at(&self.arena, link.handle).key());
            }
        })
    }

    /// Calls `see` with every key of a database that is not expired.
    pub fn keys(&mut self, database: usize, mut see: impl FnMut(&[u8])) {
        let index = usize::from(self.table_of[database]);
        self.settle_all(index, |table, see| {
            table.iter().for_each(|link| see(link.handle))
        });
        let links = self.table(database).iter();
        for link in links.filter(|link| !self.is_expired(link.handle)) {
            see(Entry::at(&self.arena, link.handle).key());
        }
    }
}
