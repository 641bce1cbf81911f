//! Which keys changed: written down while somebody wants to know.
//!
//! Written down is what Redis signals as modified: every write of a key, be it of the same value, its
//! removal, its expiry and its eviction, a change of when it ends, and the flushing of databases. Not SWAPDB.
//!
//! While nobody wants to know, that costs a test where keys are not overwritten in place; the roads of
//! [`Store::look`] and [`Store::overwrite`] ask nothing that they did not ask before, as they are closed
//! meanwhile.
//!
//! The log is on the heap of an incarnation and ends with it: [`Store::abandon_changes`].

use super::{Ranking, Road, Store};
use crate::error::{Grow, Result};
use crate::platform::crc32c::is_computed;
use alloc::vec::Vec;

/// Why a key changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A command asked for it.
    Command,
    /// The key ended by its expiry, or was evicted.
    End,
}

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Of that key, in whatever database.
    Key(&'a [u8], Cause),
    /// Of keys that are not told one by one: databases were flushed, or there was no memory to write down more.
    Everything,
}

/// Bytes before a key: what it is, and the key's length.
const HEAD_BYTES: usize = 5;
const EVERYTHING: u8 = 0;
const COMMAND: u8 = 1;
const END: u8 = 2;

/// Changes, in their order.
#[derive(Debug, Default)]
pub struct ChangeLog {
    bytes: Vec<u8>,
    is_incomplete: bool,
}

impl ChangeLog {
    /// True if nothing changed.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.is_incomplete
    }

    /// The changes.
    pub fn iter(&self) -> impl Iterator<Item = Change<'_>> {
        let mut rest = &self.bytes[..];
        let written = core::iter::from_fn(move || {
            let (&[kind, len @ ..], after) = rest.split_first_chunk::<HEAD_BYTES>()?;
            let (key, after) = after.split_at(u32::from_le_bytes(len) as usize);
            rest = after;
            Some(match kind {
                COMMAND => Change::Key(key, Cause::Command),
                END => Change::Key(key, Cause::End),
                _ => Change::Everything,
            })
        });
        written.chain(self.is_incomplete.then_some(Change::Everything))
    }

    #[cold]
    fn note(&mut self, kind: u8, key: &[u8]) {
        self.is_incomplete |= self.push(kind, key).is_err();
    }

    fn push(&mut self, kind: u8, key: &[u8]) -> Result<()> {
        self.bytes.try_reserve(HEAD_BYTES + key.len())?;
        self.bytes.push_reserved(kind);
        // A key fits a block of 4 MiB.
        self.bytes
            .append_reserved(&(key.len() as u32).to_le_bytes());
        self.bytes.append_reserved(key);
        Ok(())
    }
}

/// What the store keeps of it.
#[derive(Default)]
pub(super) struct Changes {
    is_wanted: bool,
    log: ChangeLog,
}

impl Changes {
    /// Notes that a key changed.
    #[inline]
    pub(super) fn note(&mut self, key: &[u8], cause: Cause) {
        if self.is_wanted {
            let kind = if cause == Cause::Command {
                COMMAND
            } else {
                END
            };
            self.log.note(kind, key);
        }
    }

    /// Notes that databases were flushed.
    pub(super) fn note_flush(&mut self) {
        if self.is_wanted {
            self.log.note(EVERYTHING, b"");
        }
    }
}

impl Store {
    /// Has changes written down from now on, or no more.
    pub fn want_changes(&mut self, is_wanted: bool) {
        self.changes = Changes {
            is_wanted,
            log: ChangeLog::default(),
        };
        self.choose_road();
    }

    /// Takes what changed since the last time.
    pub fn take_changes(&mut self) -> ChangeLog {
        core::mem::take(&mut self.changes.log)
    }

    /// Has nothing written down any more, and forgets what was, whose memory is gone.
    pub fn abandon_changes(&mut self) {
        core::mem::forget(self.take_changes());
        self.want_changes(false);
    }

    /// Closes the usual road while a look at a key counts, or an overwritten one is to be told, or saved before; and on a
    /// CPU that does not compute seals.
    pub(super) fn choose_road(&mut self) {
        let counts_uses = self.policy.ranking == Ranking::LeastFrequent;
        let is_closed =
            counts_uses || self.changes.is_wanted || self.snapshot.is_taken() || !is_computed();
        self.usual_road = if is_closed { Road::Closed } else { Road::Open };
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::host_frames;
    use super::super::{Encoding, EvictionPolicy, Expiry};
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn store() -> Store {
        let policy = EvictionPolicy::ALLKEYS_LRU;
        let mut store = Store::new(host_frames(16 << 20), 8 << 20, policy, 1);
        store.set_time(1_000);
        store
    }

    fn set(store: &mut Store, key: &str, expiry: Expiry) {
        let written = store.set(0, key.as_bytes(), b"value", Encoding::Embstr, expiry);
        written.expect("memory");
    }

    /// What changed since the last look, a key that ended with a dagger behind it.
    fn changed(store: &mut Store) -> Vec<String> {
        let log = store.take_changes();
        let shown = log.iter().map(|change| match change {
            Change::Key(key, cause) => {
                let mut shown = String::from_utf8_lossy(key).into_owned();
                shown.extend((cause == Cause::End).then_some('†'));
                shown
            }
            Change::Everything => "*".into(),
        });
        shown.collect()
    }

    #[test]
    fn every_change_of_a_key_is_written_down_and_no_look_is() {
        let mut store = store();
        set(&mut store, "before", Expiry::Never);
        store.want_changes(true);
        assert!(store.take_changes().is_empty());
        set(&mut store, "a", Expiry::Never);
        set(&mut store, "a", Expiry::Never);
        assert_eq!(changed(&mut store), ["a", "a"]);
        store.patch(0, b"a", 1, b"x").expect("memory");
        store.patch(0, b"a", 100, b"x").expect("memory");
        assert_eq!(changed(&mut store), ["a", "a"]);
        assert!(store.copy((0, b"a"), (3, b"b")).expect("memory"));
        assert!(store.rename((0, b"a"), (0, b"c")).expect("memory"));
        assert!(store.rename((0, b"c"), (0, b"c")).expect("memory"));
        assert!(!store.rename((0, b"none"), (0, b"c")).expect("memory"));
        assert_eq!(changed(&mut store), ["b", "a", "c"]);
        assert!(store.set_expiry(0, b"c", Expiry::Never).expect("memory"));
        let never = Expiry::AtMs(u64::MAX);
        assert!(store.set_expiry(0, b"c", never).expect("memory"));
        assert!(store.set_expiry(0, b"c", Expiry::Never).expect("memory"));
        assert!(!store.set_expiry(0, b"none", never).expect("memory"));
        assert_eq!(changed(&mut store), ["c", "c"]);
        assert!(!store.remove(0, b"none") && store.remove(0, b"c"));
        store.swap(0, 3);
        assert!(matches!(store.look(0, b"b"), super::super::Look::Unsure));
        assert_eq!(changed(&mut store), ["c"]);
        store.flush(0);
        store.flush_all();
        assert_eq!(changed(&mut store), ["*", "*"]);
        store.want_changes(false);
        set(&mut store, "after", Expiry::Never);
        assert!(store.take_changes().is_empty());
    }

    #[test]
    fn a_key_that_expires_or_is_evicted_is_written_down_as_its_own_end() {
        let mut store = store();
        store.want_changes(true);
        for key in ["looked at", "due", "evicted"] {
            let at_ms = if key == "evicted" { u64::MAX } else { 1_005 };
            set(&mut store, key, Expiry::AtMs(at_ms));
        }
        changed(&mut store);
        store.set_time(1_010);
        set(&mut store, "looked at", Expiry::Never);
        assert_eq!(changed(&mut store), ["looked at†", "looked at"]);
        assert!(!store.expire_due(10));
        assert_eq!(changed(&mut store), ["due†"]);
        store.remove(0, b"looked at");
        changed(&mut store);
        assert!(store.make_room(1));
        assert_eq!(changed(&mut store), ["evicted†"]);
    }

    #[test]
    fn while_changes_are_wanted_no_key_is_overwritten_behind_their_back() {
        let mut store = store();
        set(&mut store, "key", Expiry::Never);
        let overwrite = |store: &mut Store| store.overwrite(0, b"key", b"other", Encoding::Embstr);
        assert!(overwrite(&mut store));
        store.want_changes(true);
        assert!(!overwrite(&mut store));
        store.abandon_changes();
        assert!(overwrite(&mut store));
        store.set_policy(store.policy().renamed("allkeys-lfu").expect("a policy"));
        assert!(!overwrite(&mut store));
    }
}
