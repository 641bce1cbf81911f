//! From a change to the message about it.
//!
//! A message is queued in the session of the client it goes to, and handed to its connection in that
//! client's next turn, before its replies; that of the client whose turn it is, behind its reply.
//!
//! Who queues more than its `client-output-buffer-limit` allows, or [`MAIL_BYTES_MAX`] without one, or more
//! than there is memory for, is ended: its copies would be wrong otherwise. Nobody else notices.

use super::prefixes::Changed;
use super::{Caching, TABLE_SHARE};
use crate::app::cache_server::CacheServer;
use crate::app::cache_server::commands::{each_key_read, is_of_client};
use crate::app::cache_server::gate::Gate;
use crate::app::cache_server::reply::{Protocol, Reply};
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::server::Server;
use crate::app::cache_server::session::Session;
use crate::app::cache_server::store::{Cause, Change};
use crate::error::Grow;
use crate::net::service::{ConnectionId, Output};

/// Bytes of messages that a client may leave unread where no limit is set: Redis has none then, but it has
/// more memory.
const MAIL_BYTES_MAX: usize = 8 << 20;

/// Messages for a client that are not on its connection yet.
#[derive(Debug, Default)]
pub(in crate::app::cache_server) struct Mail {
    queued: Output,
    /// There were too many: the client is to be ended.
    pub(in crate::app::cache_server) is_overrun: bool,
}

impl Mail {
    /// True if there is anything for the client's next turn.
    pub(in crate::app::cache_server) fn is_any(&self) -> bool {
        self.is_overrun || !self.queued.is_empty()
    }

    /// Bytes queued.
    pub(in crate::app::cache_server) fn len(&self) -> usize {
        self.queued.len()
    }
}

/// What a client is told.
enum Message<'a> {
    /// A key it has read has changed.
    Key(&'a [u8]),
    /// All keys may have changed. Null, in the protocol of the client that tracks.
    Everything(Protocol),
    /// Keys with its prefix have changed; but those that this client changed itself.
    Keys(&'a [Changed], Option<ConnectionId>),
    /// The client that it redirects to, of that number, is gone.
    RedirectBroken(u64),
}

/// The keys that are told to `but`.
fn told(changed: &[Changed], but: Option<ConnectionId>) -> impl Iterator<Item = &Changed> + Clone {
    let is_told = move |one: &&Changed| but.is_none() || one.by != but;
    changed.iter().filter(is_told)
}

impl Message<'_> {
    fn write(&self, output: &mut Output) {
        let mut reply = Reply {
            output,
            protocol: Protocol::Resp3,
        };
        reply.push(2);
        if let Self::RedirectBroken(id) = *self {
            reply.bulk(b"tracking-redir-broken");
            return reply.count(id as usize);
        }
        reply.bulk(b"invalidate");
        match *self {
            Self::Key(key) => {
                reply.array(1);
                reply.bulk(key);
            }
            Self::Keys(changed, but) => {
                let told = told(changed, but);
                reply.array(told.clone().count());
                told.for_each(|one| reply.bulk(&one.key));
            }
            Self::Everything(protocol) => {
                reply.protocol = protocol;
                reply.null();
            }
            Self::RedirectBroken(_) => {}
        }
    }
}

/// Hands a client's messages to its connection; false if it is to be ended.
pub(in crate::app::cache_server) fn hand_over(
    gate: &mut Gate,
    session: &mut Session,
    output: &mut Output,
) -> bool {
    let mail = &mut session.mail;
    if !mail.queued.is_empty() && !mail.is_overrun {
        output.write(mail.queued.as_slice());
        mail.queued = Output::new();
        gate.end_attention();
    }
    !mail.is_overrun
}

impl CacheServer {
    /// What is to be done behind each request while clients track keys.
    #[inline(never)]
    pub(in crate::app::cache_server) fn after_request(
        &mut self,
        session: &mut Session,
        args: Args<'_>,
        output: &mut Output,
    ) {
        let mut post = Post::of(self.server, Some(session));
        post.tell_changes();
        post.remember_reads(args);
        if !is_of_client(args) {
            session.tracker.is_caching_given = false;
        }
        hand_over(&mut self.server.gate, session, output);
    }

    /// Tells the changes that no request brought, and what is told together: at the end of each turn and tick
    /// while clients track keys.
    pub(in crate::app::cache_server) fn tell_all(&mut self, own: Option<&mut Session>) {
        let mut post = Post::of(self.server, own);
        post.tell_changes();
        post.broadcast();
    }
}

/// Who can be told something: all clients, that whose turn it is among them.
struct Post<'a> {
    server: &'a mut Server,
    own: Option<&'a mut Session>,
    own_id: Option<ConnectionId>,
}

impl<'a> Post<'a> {
    fn of(server: &'a mut Server, own: Option<&'a mut Session>) -> Self {
        let own_id = own.as_ref().map(|session| session.connection);
        Self {
            server,
            own,
            own_id,
        }
    }

    fn session(&mut self, client: ConnectionId) -> Option<&mut Session> {
        match &mut self.own {
            Some(own) if own.connection == client => Some(own),
            _ => self.server.sessions.get_mut(client),
        }
    }

    /// Tells what changed since the last time.
    fn tell_changes(&mut self) {
        let log = self.server.store.take_changes();
        for change in log.iter() {
            match change {
                Change::Key(key, cause) => self.tell_key(key, cause),
                Change::Everything => self.tell_everything(),
            }
        }
    }

    fn tell_key(&mut self, key: &[u8], cause: Cause) {
        let by = self.own_id.filter(|_| cause == Cause::Command);
        for number in 0..self.server.tracking.prefixes() {
            match self.server.tracking.prefixes.at(number).gather(key, by) {
                Ok(false) => {}
                Ok(true) => self.broadcast_prefix(number),
                Err(_) => {
                    self.server.tracking.prefixes.at(number).take_gathered();
                    self.each_of(number, |post, client| post.send_everything(client));
                }
            }
        }
        let hash = self.server.store.hash_of(key);
        if let Some(row) = self.server.tracking.table.forget(hash, key) {
            for client in row.clients() {
                self.tell_reader(client, key);
            }
        }
    }

    /// Tells a client that a key it has read has changed, if it still wants to know.
    fn tell_reader(&mut self, client: ConnectionId, key: &[u8]) {
        let own_id = self.own_id;
        let wants = |session: &mut Session| {
            let tracker = session.tracker;
            let is_unheard = tracker.ignores_own && own_id == Some(client);
            tracker.is_on && !tracker.is_broadcasting && !is_unheard
        };
        if self.session(client).is_some_and(wants) {
            self.send(client, &Message::Key(key));
        }
    }

    /// Tells everybody who tracks that any key may have changed.
    fn tell_everything(&mut self) {
        self.server.tracking.table = super::Table::default();
        for slot in 0..self.server.sessions.slots() {
            if let Some(session) = self.server.sessions.at(slot) {
                let client = session.connection;
                self.send_everything(client);
            }
        }
        if let Some(own) = self.own_id {
            self.send_everything(own);
        }
    }

    fn send_everything(&mut self, client: ConnectionId) {
        if let Some(session) = self.session(client) {
            let message = Message::Everything(session.protocol);
            self.send(client, &message);
        }
    }

    /// Does something for each client of a prefix.
    fn each_of(&mut self, prefix: usize, mut act: impl FnMut(&mut Self, ConnectionId)) {
        let count = self.server.tracking.prefixes.at(prefix).clients().len();
        for number in 0..count {
            let client = self.server.tracking.prefixes.at(prefix).clients()[number];
            act(self, client);
        }
    }

    /// Tells the keys that were gathered.
    fn broadcast(&mut self) {
        for number in 0..self.server.tracking.prefixes() {
            self.broadcast_prefix(number);
        }
    }

    fn broadcast_prefix(&mut self, number: usize) {
        let changed = self.server.tracking.prefixes.at(number).take_gathered();
        if changed.is_empty() {
            return;
        }
        self.each_of(number, |post, client| {
            let session = post.session(client);
            let ignores_own = session.is_some_and(|session| session.tracker.ignores_own);
            let but = ignores_own.then_some(client);
            if told(&changed, but).next().is_some() {
                post.send(client, &Message::Keys(&changed, but));
            }
        });
    }

    /// Remembers the keys that the client whose turn it is has read by a request.
    fn remember_reads(&mut self, args: Args<'_>) {
        let Some(own) = self.own.as_deref().filter(|own| own.is_authenticated) else {
            return;
        };
        let (client, tracker) = (own.connection, own.tracker);
        let wants = match tracker.caching {
            Caching::Always => true,
            Caching::OptIn => tracker.is_caching_given,
            Caching::OptOut => !tracker.is_caching_given,
        };
        if tracker.is_on && !tracker.is_broadcasting && wants {
            each_key_read(args, &mut |key| self.remember(key, client));
        }
    }

    /// Remembers that a client has read a key, in another's place where there is no room; or tells it at once
    /// that the key has changed.
    fn remember(&mut self, key: &[u8], client: ConnectionId) {
        let (keys_max, bytes_max) = (
            self.server.config.tracking_keys_max,
            self.server.budget_bytes / TABLE_SHARE,
        );
        let hash = self.server.store.hash_of(key);
        let is_known = self.server.tracking.table.contains(hash, key);
        while !is_known && self.server.tracking.table.is_full(keys_max, bytes_max) {
            if let Some(row) = self.server.tracking.table.forget_any() {
                for client in row.clients() {
                    self.tell_reader(client, row.key());
                }
            }
        }
        if self
            .server
            .tracking
            .table
            .remember(hash, key, client)
            .is_err()
        {
            self.tell_reader(client, key);
        }
    }

    /// Sends a message for a client that tracks: to it, or to whom it redirects to.
    fn send(&mut self, client: ConnectionId, message: &Message<'_>) {
        let Some(session) = self.session(client).filter(|session| session.tracker.is_on) else {
            return;
        };
        let Some(redirect) = session.tracker.redirect else {
            return self.queue(client, message);
        };
        if self.session(redirect.connection).is_some() {
            return self.queue(redirect.connection, message);
        }
        if let Some(session) = self.session(client) {
            session.tracker.is_redirect_broken = true;
        }
        self.queue(client, &Message::RedirectBroken(redirect.id));
    }

    /// Queues a message for a client that understands it.
    fn queue(&mut self, client: ConnectionId, message: &Message<'_>) {
        let limit = self.server.config.output_limit;
        let is_own = self.own_id == Some(client);
        let understands = |session: &&mut Session| {
            session.protocol == Protocol::Resp3 && !session.mail.is_overrun
        };
        let Some(session) = self.session(client).filter(understands) else {
            return;
        };
        let mail = &mut session.mail;
        let is_first = mail.queued.is_empty();
        message.write(&mut mail.queued);
        let len = mail.queued.len();
        mail.is_overrun = mail.queued.check().is_err()
            || !is_own && (limit.is_passed(len) || len > MAIL_BYTES_MAX);
        let is_overrun = mail.is_overrun;
        if is_overrun {
            mail.queued = Output::new();
        }
        let Server {
            gate,
            tracking,
            doomed,
            ..
        } = &mut *self.server;
        if is_first {
            gate.attend();
        }
        if is_overrun {
            // Without memory for the list it is ended by its next turn.
            _ = doomed.try_push(client);
        } else if is_first && !is_own {
            match tracking.ready.try_push(client) {
                Ok(()) => gate.note_news(),
                Err(_) => gate.wake(),
            }
        }
    }
}
