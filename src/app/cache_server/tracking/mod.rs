//! Server-assisted client-side caching: tells clients that keep copies of keys which of them have changed
//! (Redis' `CLIENT TRACKING`).
//!
//! A client in the default mode is told of the keys it has read, each once ([`table`]); one that broadcasts
//! of all keys with its prefixes ([`prefixes`]). Keys go by name, whatever database they are in.
//!
//! Flow: the store writes down what changes while somebody tracks; after each request, and each tick,
//! [`delivery`] reads that and queues messages in the sessions of those who are to know. Those of the client
//! whose turn it is go behind its reply; the others get a turn for theirs.
//!
//! While nobody tracks nothing of this runs: the gate sends requests here, and the store keeps no log.
//! All of it is the incarnation's, and ends with it as the clients do.
//!
//! Limits: the table holds `tracking-table-max-keys` keys in a share of the memory; a key for which there is
//! no room is told as changed at once. There are [`PREFIXES_MAX`] prefixes: each change is held against all. A client that does not read its messages is ended ([`delivery`]).

#[cfg(test)]
mod coherence_tests;
mod delivery;
mod prefixes;
#[cfg(test)]
mod refusal_tests;
mod table;
#[cfg(test)]
mod tests;

use super::CacheServer;
use super::server::Server;
use super::session::Session;
use crate::error::Result;
use crate::net::service::ConnectionId;
use alloc::vec::Vec;
pub(super) use delivery::{Mail, hand_over};
use prefixes::Prefixes;
pub(super) use prefixes::{PREFIXES_MAX, too_many};
use table::Table;

/// When a client's reads are remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Caching {
    /// Always.
    #[default]
    Always,
    /// After CLIENT CACHING YES.
    OptIn,
    /// Unless after CLIENT CACHING NO.
    OptOut,
}

/// The client that messages go to in a tracking client's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    /// Its number.
    pub id: u64,
    /// Its connection.
    pub connection: ConnectionId,
}

/// How a client tracks keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tracker {
    /// It does at all.
    pub is_on: bool,
    /// It is told of all keys with its prefixes.
    pub is_broadcasting: bool,
    /// When its reads are remembered.
    pub caching: Caching,
    /// CLIENT CACHING was the last command.
    pub is_caching_given: bool,
    /// It does not want to hear of its own changes.
    pub ignores_own: bool,
    /// Who hears in its place.
    pub redirect: Option<Redirect>,
    /// That client was gone when there was something to tell.
    pub is_redirect_broken: bool,
}

/// What is known of all that track.
#[derive(Default)]
pub(super) struct Tracking {
    clients: usize,
    table: Table,
    prefixes: Prefixes,
    /// Clients with messages queued that have not been named to the stack.
    ready: Vec<ConnectionId>,
}

/// The share of the memory for keys that the table may take: one part in so many.
const TABLE_SHARE: u64 = 32;

impl Tracking {
    /// Forgets all, whose memory is gone.
    pub(super) fn abandon(&mut self) {
        core::mem::forget(core::mem::take(self));
    }

    /// Clients that track.
    pub(super) fn clients(&self) -> usize {
        self.clients
    }

    /// Keys in the table.
    pub(super) fn keys(&self) -> usize {
        self.table.len()
    }

    /// Pairs of a key in the table and a client that has read it.
    pub(super) fn items(&self) -> usize {
        self.table.items()
    }

    /// Prefixes that somebody broadcasts.
    pub(super) fn prefixes(&self) -> usize {
        self.prefixes.all().len()
    }

    /// The prefixes of a client, in order.
    pub(super) fn prefixes_of(&self, client: ConnectionId) -> impl Iterator<Item = &[u8]> + Clone {
        let all = self.prefixes.all().iter();
        let of_client = all.filter(move |prefix| prefix.is_of(client));
        of_client.map(|prefix| prefix.bytes())
    }

    /// The next client that has messages queued.
    pub(super) fn take_ready(&mut self) -> Option<ConnectionId> {
        self.ready.pop()
    }
}

impl Server {
    /// Has a client track keys as `tracker` says, and those with `prefixes` if it broadcasts.
    ///
    /// # Errors
    /// `OutOfMemory`, or what refuses more than [`PREFIXES_MAX`]; then it does not track any more.
    pub(super) fn track(
        &mut self,
        session: &mut Session,
        tracker: Tracker,
        prefixes: &[&[u8]],
    ) -> Result<()> {
        let client = session.connection;
        for prefix in prefixes {
            if let Err(error) = self.tracking.prefixes.add(prefix, client) {
                self.tracking.prefixes.remove(client);
                self.end_tracking(session);
                return Err(error);
            }
        }
        if !session.tracker.is_on {
            self.tracking.clients += 1;
            self.gate.attend();
            if self.tracking.clients == 1 {
                self.store.want_changes(true);
            }
        }
        session.tracker = tracker;
        Ok(())
    }

    /// Ends a client's tracking, if it does. With the last one that does all is forgotten.
    pub(super) fn end_tracking(&mut self, session: &mut Session) {
        let tracker = core::mem::take(&mut session.tracker);
        if !tracker.is_on {
            return;
        }
        if tracker.is_broadcasting {
            self.tracking.prefixes.remove(session.connection);
        }
        self.tracking.clients -= 1;
        self.gate.end_attention();
        if self.tracking.clients == 0 {
            self.store.want_changes(false);
            self.tracking.table = Table::default();
        }
    }
}

impl CacheServer {
    /// Forgets what concerns a client that is gone.
    pub(super) fn forget_tracker(&mut self, session: &mut Session) {
        self.server.end_tracking(session);
        if session.mail.is_any() {
            self.server.gate.end_attention();
        }
    }
}
