//! CLIENT: what clients say of themselves, and what others see of them.

use super::{COMMANDS, Context};
use crate::app::cache_server::gate::Held;
use crate::app::cache_server::number::{integer, parse_i64, refused, refused_text};
use crate::app::cache_server::reply::{Protocol, Reply};
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::session::{Fate, Hearing, Session};
use crate::app::cache_server::word::Word;
use crate::error::{CommandFault, Grow, Result, try_to_vec};
use crate::platform::time::Instant;
use alloc::vec::Vec;
use core::fmt::Write;

/// True for bytes that would break the lines of CLIENT LIST.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

/// Sets the client's name; an empty one takes it away.
pub(super) fn set_name(context: &mut Context<'_>, name: &[u8]) -> Result<()> {
    if !is_plain(name) {
        return Err(refused_text(
            "ERR Client names cannot contain spaces, newlines or special characters.",
        ));
    }
    context.session.name = try_to_vec(name)?;
    Ok(())
}

/// `CLIENT SETNAME name`
pub(super) fn setname(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    set_name(context, args.at(2))?;
    context.reply.ok();
    Ok(())
}

/// `CLIENT GETNAME`
pub(super) fn getname(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    let name = &context.session.name;
    context
        .reply
        .bulk_or_null((!name.is_empty()).then_some(name));
    Ok(())
}

/// `CLIENT ID`
pub(super) fn id(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context
        .reply
        .integer(i64::try_from(context.session.id).unwrap_or(i64::MAX));
    Ok(())
}

/// `CLIENT INFO`
pub(super) fn info(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    let Context {
        server,
        session,
        reply,
    } = context;
    let start = reply.begin_text();
    describe(reply, session, server.config.port, server.now)?;
    reply.end_text(start)
}

/// `CLIENT LIST [TYPE type] [ID id ...]`
pub(super) fn list(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let mut ids = Vec::new();
    let mut is_normal = true;
    match args.get(2) {
        None => {}
        Some(word) if word.is_word(b"TYPE") && args.len() == 4 => {
            is_normal = is_normal_type(context, args.at(3))?;
        }
        Some(word) if word.is_word(b"ID") && args.len() > 3 => {
            for text in args.from(3) {
                let invalid = refused_text("ERR Invalid client ID");
                let id = integer(text).ok().and_then(|id| u64::try_from(id).ok());
                ids.try_push(id.ok_or(invalid)?)?;
            }
        }
        Some(_) => return Err(refused(CommandFault::Syntax)),
    }
    let Context {
        server,
        session,
        reply,
    } = context;
    let start = reply.begin_text();
    let all = server.sessions.iter().chain([&**session]);
    for one in all.filter(|one| is_normal && (ids.is_empty() || ids.contains(&one.id))) {
        describe(reply, one, server.config.port, server.now)?;
    }
    reply.end_text(start)
}

/// Whether a client type means ordinary clients.
fn is_normal_type(context: &mut Context<'_>, word: &[u8]) -> Result<bool> {
    let known = ["normal", "master", "slave", "replica", "pubsub"];
    let is = |name: &&str| word.is_word(name.as_bytes());
    if !known.iter().any(is) {
        return context.refuse("ERR Unknown client type '", word, "'");
    }
    Ok(is(&"normal"))
}

/// Writes the line of one client.
fn describe(reply: &mut Reply<'_>, session: &Session, port: u16, now: Instant) -> Result<()> {
    let text = |bytes| core::str::from_utf8(bytes).unwrap_or_default();
    let tracker = &session.tracker;
    let flag = |is_set, letter| if is_set { letter } else { "" };
    let (is_held, spares) = (session.held != Held::Free, session.is_no_evict);
    writeln!(
        reply,
        "id={} addr={} laddr=0.0.0.0:{port} fd={} name={} age={} idle={} flags={}{}{}{}{}{} db={} sub=0 psub=0 \
         ssub=0 multi=-1 qbuf={} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 \
         tot-mem={} events=r cmd={} user=default redir={} resp={}",
        session.id,
        session.peer,
        session.connection.slot,
        text(&session.name),
        now.since(session.opened).as_secs(),
        now.since(session.last_active).as_secs(),
        flag(is_held, "b"),
        flag(tracker.is_on, "t"),
        flag(tracker.is_redirect_broken, "R"),
        flag(tracker.is_broadcasting, "B"),
        flag(spares, "e"),
        flag(!is_held && !tracker.is_on && !spares, "N"),
        session.database,
        session.query_bytes,
        session.bytes(),
        session
            .last_command
            .map_or("NULL", |row| COMMANDS[usize::from(row)].name),
        redirection(session),
        if session.protocol == Protocol::Resp3 {
            3
        } else {
            2
        },
    )?;
    Ok(())
}

/// The number of the client that another redirects its messages to, as Redis tells it: 0 for itself, -1 for
/// one that does not track.
pub(super) fn redirection(session: &Session) -> i64 {
    let redirect = session
        .tracker
        .redirect
        .map_or(0, |redirect| redirect.id as i64);
    if session.tracker.is_on { redirect } else { -1 }
}

/// Which clients CLIENT KILL ends.
#[derive(Default)]
struct Victims<'a> {
    id: Option<u64>,
    peer: Option<&'a [u8]>,
    nobody: bool,
}

impl Victims<'_> {
    fn contain(&self, session: &Session) -> bool {
        !self.nobody
            && self.id.is_none_or(|id| id == session.id)
            && self.peer.is_none_or(|peer| {
                let mut shown = heapless::String::<24>::new();
                write!(shown, "{}", session.peer).is_ok() && shown.as_bytes() == peer
            })
    }
}

/// `CLIENT KILL address` or `CLIENT KILL [ID id] [ADDR a] [LADDR a] [USER u] [TYPE t] [SKIPME yes | no]`
pub(super) fn kill(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let mut victims = Victims::default();
    if args.len() == 3 {
        victims.peer = Some(args.at(2));
        return match end_all(context, &victims, false)? {
            0 => Err(refused_text("ERR No such client")),
            _ => {
                context.reply.ok();
                Ok(())
            }
        };
    }
    let mut skips_me = true;
    for number in (2..args.len()).step_by(2) {
        let Some(value) = args.get(number + 1) else {
            return Err(refused(CommandFault::Syntax));
        };
        let is = |name: &str| args.at(number).is_word(name.as_bytes());
        if is("ID") {
            let id = integer(value).ok().and_then(|id| u64::try_from(id).ok());
            let id = id.filter(|&id| id > 0);
            let invalid = refused_text("ERR client-id should be greater than 0");
            victims.id = Some(id.ok_or(invalid)?);
        } else if is("ADDR") {
            victims.peer = Some(value);
        } else if is("LADDR") {
            // All clients are on the one address; naming another names nobody.
            let port = context.server.config.port;
            let text = value.rsplit(|&b| b == b':').next().unwrap_or_default();
            victims.nobody |= parse_i64(text) != Some(i64::from(port));
        } else if is("TYPE") {
            victims.nobody |= !is_normal_type(context, value)?;
        } else if is("USER") {
            if value != b"default" {
                return context.refuse("ERR No such user '", value, "'");
            }
        } else if is("SKIPME") && value.is_word(b"yes") {
            skips_me = true;
        } else if is("SKIPME") && value.is_word(b"no") {
            skips_me = false;
        } else {
            return Err(refused(CommandFault::Syntax));
        }
    }
    let killed = end_all(context, &victims, skips_me)?;
    context.reply.count(killed);
    Ok(())
}

/// Ends the clients that `victims` names; returns how many.
fn end_all(context: &mut Context<'_>, victims: &Victims<'_>, skips_me: bool) -> Result<usize> {
    let Context {
        server, session, ..
    } = context;
    let others = server
        .sessions
        .iter()
        .filter(|other| victims.contain(other));
    let mut count = 0;
    for other in others {
        server.doomed.try_push(other.connection)?;
        count += 1;
    }
    if !skips_me && victims.contain(session) {
        session.fate = Fate::Closing;
        count += 1;
    }
    Ok(count)
}

/// `CLIENT REPLY ON | OFF | SKIP`
pub(super) fn reply(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let word = args.at(2);
    context.session.hearing = match () {
        () if word.is_word(b"ON") => {
            context.reply.ok();
            Hearing::All
        }
        () if word.is_word(b"OFF") => Hearing::Nothing,
        () if word.is_word(b"SKIP") => match context.session.hearing {
            Hearing::Nothing => Hearing::Nothing,
            _ => Hearing::SkipThis,
        },
        () => return Err(refused(CommandFault::Syntax)),
    };
    Ok(())
}

/// `CLIENT NO-EVICT ON | OFF`
pub(super) fn no_evict(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let word = args.at(2);
    context.session.is_no_evict = match () {
        () if word.is_word(b"ON") => true,
        () if word.is_word(b"OFF") => false,
        () => return Err(refused(CommandFault::Syntax)),
    };
    context.reply.ok();
    Ok(())
}

/// `CLIENT HELP`
pub(super) fn help(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.help(
        "CLIENT",
        "CACHING (YES|NO)\n\
         \x20   Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.\n\
         GETREDIR\n\
         \x20   Return the client ID we are redirecting to when tracking is enabled.\n\
         GETNAME\n\
         \x20   Return the name of the current connection.\n\
         ID\n\
         \x20   Return the ID of the current connection.\n\
         INFO\n\
         \x20   Return information about the current client connection.\n\
         KILL <ip:port>\n\
         \x20   Kill connection made from <ip:port>.\n\
         KILL <option> <value> [<option> <value> [...]]\n\
         \x20   Kill connections. Options are:\n\
         \x20   * ADDR (<ip:port>|<unixsocket>:0)\n\
         \x20     Kill connections made from the specified address\n\
         \x20   * LADDR (<ip:port>|<unixsocket>:0)\n\
         \x20     Kill connections made to specified local address\n\
         \x20   * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)\n\
         \x20     Kill connections by type.\n\
         \x20   * USER <username>\n\
         \x20     Kill connections authenticated by <username>.\n\
         \x20   * SKIPME (YES|NO)\n\
         \x20     Skip killing current connection (default: yes).\n\
         LIST [options ...]\n\
         \x20   Return information about client connections. Options:\n\
         \x20   * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)\n\
         \x20     Return clients of specified type.\n\
         UNPAUSE\n\
         \x20   Stop the current client pause, resuming traffic.\n\
         PAUSE <timeout> [WRITE|ALL]\n\
         \x20   Suspend all, or just write, clients for <timeout> milliseconds.\n\
         REPLY (ON|OFF|SKIP)\n\
         \x20   Control the replies sent to the current connection.\n\
         SETNAME <name>\n\
         \x20   Assign the name <name> to the current connection.\n\
         UNBLOCK <clientid> [TIMEOUT|ERROR]\n\
         \x20   Unblock the specified blocked client.\n\
         TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]\n\
         \x20        [OPTIN] [OPTOUT] [NOLOOP]\n\
         \x20   Control server assisted client side caching.\n\
         TRACKINGINFO\n\
         \x20   Report tracking status for the current connection.\n\
         NO-EVICT (ON|OFF)\n\
         \x20   Protect current client connection from eviction.",
    );
    Ok(())
}
