//! Which clients have read which keys, until those change.
//!
//! The client of a key that is gone, or has stopped tracking, stays named until the key changes or is
//! dropped for another: finding its keys would take a walk through all.

use crate::error::{Grow, Result, try_box, try_to_vec};
use crate::net::service::ConnectionId;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Chains of the first keys.
const CHAINS_MIN: usize = 16;
/// Keys for each chain, at most: so many only where there is no memory for more chains.
const KEYS_PER_CHAIN_MAX: usize = 8;

/// A key and who has read it.
pub(super) struct Row {
    hash: u32,
    key: Vec<u8>,
    /// The first to read it.
    client: ConnectionId,
    others: Vec<ConnectionId>,
    next: Chain,
}

/// Rows whose hashes share their low bits.
type Chain = Option<Box<Row>>;

impl Row {
    /// The key.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Who has read it.
    pub(super) fn clients(&self) -> impl Iterator<Item = ConnectionId> {
        [self.client].into_iter().chain(self.others.iter().copied())
    }

    /// The memory it takes, with its chain and what the heap rounds up.
    fn bytes(&self) -> u64 {
        let others = size_of_val(&*self.others);
        (2 * size_of::<Self>() + self.key.len() + others) as u64
    }
}

/// The table.
#[derive(Default)]
pub(super) struct Table {
    /// A power of two of them, or none.
    chains: Vec<Chain>,
    keys: usize,
    items: usize,
    bytes: u64,
    /// Where the search for a row to drop goes on.
    hand: usize,
}

impl Table {
    /// Keys in it.
    pub(super) fn len(&self) -> usize {
        self.keys
    }

    /// Pairs of a key and a client.
    pub(super) fn items(&self) -> usize {
        self.items
    }

    /// True if another key would be one more than `keys_max` (0 for no bound), or take more memory than
    /// `bytes_max`, and there is a key to drop.
    pub(super) fn is_full(&self, keys_max: u64, bytes_max: u64) -> bool {
        let has_too_many = keys_max != 0 && self.keys as u64 >= keys_max;
        self.keys > 0 && (has_too_many || self.bytes >= bytes_max)
    }

    /// True if that key is in it.
    pub(super) fn contains(&mut self, hash: u32, key: &[u8]) -> bool {
        self.link(hash, key).is_some_and(|link| link.is_some())
    }

    /// Remembers that a client has read a key.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn remember(&mut self, hash: u32, key: &[u8], client: ConnectionId) -> Result<()> {
        self.make_room()?;
        let Some(link) = self.link(hash, key) else {
            return Ok(());
        };
        if let Some(row) = link {
            if row.clients().any(|one| one == client) {
                return Ok(());
            }
            row.others.try_push(client)?;
            self.bytes += size_of::<ConnectionId>() as u64;
        } else {
            let row = try_box(Row {
                hash,
                key: try_to_vec(key)?,
                client,
                others: Vec::new(),
                next: None,
            })?;
            let bytes = row.bytes();
            *link = Some(row);
            self.keys += 1;
            self.bytes += bytes;
        }
        self.items += 1;
        Ok(())
    }

    /// Takes a key out.
    pub(super) fn forget(&mut self, hash: u32, key: &[u8]) -> Chain {
        let row = take_first(self.link(hash, key)?);
        self.note_gone(row)
    }

    /// Takes some key out: they leave in turn, in no order that a peer would know.
    pub(super) fn forget_any(&mut self) -> Chain {
        for _ in 0..self.chains.len() {
            let chain = self.chains.get_mut(self.hand)?;
            let row = take_first(chain);
            if row.is_some() {
                return self.note_gone(row);
            }
            self.hand = (self.hand + 1) & (self.chains.len() - 1);
        }
        None
    }

    fn note_gone(&mut self, row: Chain) -> Chain {
        if let Some(row) = &row {
            self.keys -= 1;
            self.items -= 1 + row.others.len();
            self.bytes -= row.bytes();
        }
        row
    }

    /// The link that holds the row of a key, or would; `None` without any chain.
    fn link(&mut self, hash: u32, key: &[u8]) -> Option<&mut Chain> {
        let mask = self.chains.len().checked_sub(1)?;
        let mut link = self.chains.get_mut(hash as usize & mask)?;
        while link.as_ref().is_some_and(|row| row.key != key) {
            link = &mut link.as_mut()?.next;
        }
        Some(link)
    }

    /// Makes chains enough for one more key; fewer will do where there is no memory.
    fn make_room(&mut self) -> Result<()> {
        let count = self.chains.len();
        if self.keys < count {
            return Ok(());
        }
        let (wanted, mut chains) = ((2 * count).max(CHAINS_MIN), Vec::new());
        if let Err(error) = chains.try_resize_with(wanted, || None) {
            let is_enough = self.keys < count * KEYS_PER_CHAIN_MAX;
            return if is_enough { Ok(()) } else { Err(error) };
        }
        for mut chain in core::mem::replace(&mut self.chains, chains) {
            while let Some(mut row) = take_first(&mut chain) {
                if let Some(link) = self.chains.get_mut(row.hash as usize & (wanted - 1)) {
                    row.next = link.take();
                    *link = Some(row);
                }
            }
        }
        self.hand = 0;
        Ok(())
    }
}

/// Takes the first row of a chain out.
fn take_first(chain: &mut Chain) -> Chain {
    let mut row = chain.take()?;
    *chain = row.next.take();
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::cache_server::tests::connection as client;
    use std::format;

    #[test]
    fn a_key_is_known_with_its_clients_until_it_is_taken_out() {
        let mut table = Table::default();
        for (key, slot) in [("a", 1), ("a", 2), ("a", 1), ("b", 1)] {
            // Both have one hash: only the key tells them apart.
            let remembered = table.remember(7, key.as_bytes(), client(slot));
            remembered.expect("memory");
        }
        assert_eq!((table.len(), table.items()), (2, 3));
        assert!(table.contains(7, b"a") && !table.contains(7, b"c"));
        let row = table.forget(7, b"a").expect("there");
        assert_eq!(row.key(), b"a");
        assert!(row.clients().eq([client(1), client(2)]));
        assert!(table.forget(7, b"a").is_none());
        assert!(table.forget(7, b"b").is_some());
        assert_eq!((table.len(), table.items(), table.bytes), (0, 0, 0));
    }

    #[test]
    fn a_full_table_gives_up_every_key_in_turn() {
        let mut table = Table::default();
        assert!(!table.is_full(1, 0), "nothing to drop");
        for number in 0..100_u32 {
            let hash = number.wrapping_mul(0x9e37_79b9);
            let key = format!("key {number}");
            let remembered = table.remember(hash, key.as_bytes(), client(number));
            remembered.expect("memory");
        }
        assert!(table.is_full(100, u64::MAX) && !table.is_full(101, u64::MAX));
        assert!(table.is_full(0, table.bytes) && !table.is_full(0, table.bytes + 1));
        let mut left = 100;
        while let Some(row) = table.forget_any() {
            left -= 1;
            assert!(!table.contains(row.hash, row.key()));
            assert_eq!(table.len(), left);
        }
        assert_eq!((left, table.items(), table.bytes), (0, 0, 0));
    }
}
