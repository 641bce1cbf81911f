//! Which clients are told of all changes to keys that begin alike, and which keys those are at present.
//!
//! Keys are gathered over a turn and told together, each once, in their order: that is one message for a
//! turn of a hundred requests.

use crate::app::cache_server::number::refused_text;
use crate::error::{Error, Grow, Result, try_to_vec};
use crate::net::service::ConnectionId;
use alloc::vec::Vec;

/// Keys that are gathered at most, before they are told: sorting them in stays cheap.
const GATHERED_MAX: usize = 512;

/// Prefixes of all clients together: Redis sets no bound, and is slow with more.
pub(in crate::app::cache_server) const PREFIXES_MAX: usize = 1024;

/// The refusal of one more.
pub(in crate::app::cache_server) const fn too_many() -> Error {
    refused_text("ERR clients may track 1024 prefixes together")
}

/// A key that changed.
pub(super) struct Changed {
    /// The key.
    pub key: Vec<u8>,
    /// The client that changed it last; `None` for one that ended by itself.
    pub by: Option<ConnectionId>,
}

/// A prefix.
pub(super) struct Prefix {
    bytes: Vec<u8>,
    clients: Vec<ConnectionId>,
    gathered: Vec<Changed>,
}

impl Prefix {
    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// True if a client is told.
    #[inline(never)]
    pub(super) fn is_of(&self, client: ConnectionId) -> bool {
        self.clients.contains(&client)
    }

    /// Who is told.
    pub(super) fn clients(&self) -> &[ConnectionId] {
        &self.clients
    }

    /// Takes the keys that are to be told.
    pub(super) fn take_gathered(&mut self) -> Vec<Changed> {
        core::mem::take(&mut self.gathered)
    }

    /// Gathers a key, if it has this prefix; true if it is time to tell.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn gather(&mut self, key: &[u8], by: Option<ConnectionId>) -> Result<bool> {
        if !key.starts_with(&self.bytes) {
            return Ok(false);
        }
        match self.gathered.binary_search_by(|one| (*one.key).cmp(key)) {
            Ok(at) => self.gathered[at].by = by,
            Err(at) => {
                self.gathered.try_reserve(1)?;
                let key = try_to_vec(key)?;
                self.gathered.insert_reserved(at, Changed { key, by });
            }
        }
        Ok(self.gathered.len() >= GATHERED_MAX)
    }
}

/// All prefixes, in order.
#[derive(Default)]
pub(super) struct Prefixes(Vec<Prefix>);

impl Prefixes {
    /// All of them.
    pub(super) fn all(&self) -> &[Prefix] {
        &self.0
    }

    /// Prefix `number`.
    pub(super) fn at(&mut self, number: usize) -> &mut Prefix {
        &mut self.0[number]
    }

    /// Has a client told of the keys with a prefix.
    ///
    /// # Errors
    /// `OutOfMemory`, or [`too_many`]: then [`Prefixes::remove`] is to be called.
    pub(super) fn add(&mut self, bytes: &[u8], client: ConnectionId) -> Result<()> {
        let found = self.0.binary_search_by(|one| (*one.bytes).cmp(bytes));
        let at = found.unwrap_or_else(|at| at);
        if found.is_err() {
            if self.0.len() >= PREFIXES_MAX {
                return Err(too_many());
            }
            self.0.try_reserve(1)?;
            let prefix = Prefix {
                bytes: try_to_vec(bytes)?,
                clients: Vec::new(),
                gathered: Vec::new(),
            };
            self.0.insert_reserved(at, prefix);
        }
        let prefix = &mut self.0[at];
        match prefix.is_of(client) {
            true => Ok(()),
            false => prefix.clients.try_push(client),
        }
    }

    /// Has a client told of no prefix any more. One that is nobody's goes.
    pub(super) fn remove(&mut self, client: ConnectionId) {
        self.0.retain_mut(|prefix| {
            prefix.clients.retain(|&one| one != client);
            !prefix.clients.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::cache_server::tests::connection as client;
    use std::format;
    use std::vec::Vec;

    #[test]
    fn prefixes_stand_in_order_as_long_as_somebody_has_them() {
        let mut prefixes = Prefixes::default();
        for (bytes, slot) in [("b", 1), ("a", 1), ("b", 2), ("b", 2)] {
            prefixes
                .add(bytes.as_bytes(), client(slot))
                .expect("memory");
        }
        let shown = |prefixes: &Prefixes| -> Vec<(Vec<u8>, usize)> {
            let all = prefixes.all().iter();
            all.map(|one| (one.bytes().to_vec(), one.clients().len()))
                .collect()
        };
        assert_eq!(shown(&prefixes), [(b"a".to_vec(), 1), (b"b".to_vec(), 2)]);
        prefixes.remove(client(1));
        assert_eq!(shown(&prefixes), [(b"b".to_vec(), 1)]);
        prefixes.remove(client(2));
        assert!(prefixes.all().is_empty());
    }

    #[test]
    fn keys_are_gathered_once_in_order_with_who_changed_them_last() {
        let mut prefixes = Prefixes::default();
        prefixes.add(b"k", client(1)).expect("memory");
        let prefix = prefixes.at(0);
        for (key, by) in [
            ("kb", Some(1)),
            ("ka", None),
            ("kb", Some(2)),
            ("x", Some(1)),
        ] {
            let is_time = prefix.gather(key.as_bytes(), by.map(client));
            assert!(!is_time.expect("memory"));
        }
        let gathered = prefix.take_gathered();
        let shown: Vec<_> = gathered.iter().map(|one| (&*one.key, one.by)).collect();
        assert_eq!(shown, [(&b"ka"[..], None), (b"kb", Some(client(2)))]);
        for number in 1..=GATHERED_MAX {
            let is_time = prefix.gather(format!("k{number}").as_bytes(), None);
            assert_eq!(is_time.expect("memory"), number == GATHERED_MAX);
        }
    }
}
