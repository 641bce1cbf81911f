//! CLIENT: what clients say of themselves, and what others see of them.

use super::{COMMANDS, Context};
use crate::app::cache_server::number::{integer, parse_i64, refused, refused_text};
use crate::app::cache_server::reply::{Protocol, Reply};
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::session::{Fate, Hearing, Session};
use crate::error::{CommandFault, Result};
use crate::platform::time::Instant;
use alloc::vec::Vec;
use core::fmt::Write;

/// True for bytes that would break the lines of CLIENT LIST.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

fn kept(text: &[u8]) -> Result<Vec<u8>> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(text.len())?;
    copy.extend_from_slice(text);
    Ok(copy)
}

/// Sets the client's name; an empty one takes it away.
pub(super) fn set_name(context: &mut Context<'_>, name: &[u8]) -> Result<()> {
    if !is_plain(name) {
        return Err(refused_text(
            "ERR Client names cannot contain spaces, newlines or special characters.",
        ));
    }
    context.session.name = kept(name)?;
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

/// `CLIENT SETINFO LIB-NAME name | LIB-VER version` (Redis 7.2, but libraries send it to all)
pub(super) fn setinfo(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let (field, text) = (args.at(2), args.at(3));
    let number = match field {
        _ if field.eq_ignore_ascii_case(b"LIB-NAME") => 0,
        _ if field.eq_ignore_ascii_case(b"LIB-VER") => 1,
        _ => {
            context.reply.raw(&[b"-ERR Unrecognized option '"]);
            context.reply.quoted(field, usize::MAX);
            context.reply.raw(&[b"'\r\n"]);
            return Ok(());
        }
    };
    if !is_plain(text) {
        return Err(refused_text(if number == 0 {
            "ERR lib-name cannot contain spaces, newlines or special characters."
        } else {
            "ERR lib-ver cannot contain spaces, newlines or special characters."
        }));
    }
    context.session.library[number] = kept(text)?;
    context.reply.ok();
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
    reply.end_text(start);
    Ok(())
}

/// `CLIENT LIST [TYPE type] [ID id ...]`
pub(super) fn list(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let mut ids = Vec::new();
    let mut is_normal = true;
    match args.get(2) {
        None => {}
        Some(word) if word.eq_ignore_ascii_case(b"TYPE") && args.len() == 4 => {
            match client_type(context, args.at(3)) {
                Some(known) => is_normal = known,
                None => return Ok(()),
            }
        }
        Some(word) if word.eq_ignore_ascii_case(b"ID") && args.len() > 3 => {
            for text in args.from(3) {
                let invalid = refused_text("ERR Invalid client ID");
                let id = integer(text).ok().and_then(|id| u64::try_from(id).ok());
                ids.try_reserve(1)?;
                ids.push(id.ok_or(invalid)?);
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
    reply.end_text(start);
    Ok(())
}

/// Whether a client type means ordinary clients; writes the error and returns `None` if there is no such
/// type.
fn client_type(context: &mut Context<'_>, word: &[u8]) -> Option<bool> {
    let known = ["normal", "master", "slave", "replica", "pubsub"];
    if known
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
    {
        return Some(word.eq_ignore_ascii_case(b"normal"));
    }
    context.reply.raw(&[b"-ERR Unknown client type '"]);
    context.reply.quoted(word, usize::MAX);
    context.reply.raw(&[b"'\r\n"]);
    None
}

/// Writes the line of one client.
fn describe(reply: &mut Reply<'_>, session: &Session, port: u16, now: Instant) -> Result<()> {
    let text = |bytes| core::str::from_utf8(bytes).unwrap_or_default();
    writeln!(
        reply,
        "id={} addr={} laddr=0.0.0.0:{port} fd={} name={} age={} idle={} flags=N db={} sub=0 psub=0 \
         ssub=0 multi=-1 qbuf={} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 \
         tot-mem={} events=r cmd={} user=default redir=-1 resp={} lib-name={} lib-ver={}",
        session.id,
        session.peer,
        session.connection.slot,
        text(&session.name),
        now.since(session.opened).as_secs(),
        now.since(session.last_active).as_secs(),
        session.database,
        session.query_bytes,
        session.query_bytes + size_of::<Session>(),
        session
            .last_command
            .map_or("NULL", |row| COMMANDS[usize::from(row)].name),
        if session.protocol == Protocol::Resp3 {
            3
        } else {
            2
        },
        text(&session.library[0]),
        text(&session.library[1]),
    )?;
    Ok(())
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
        let is = |name: &str| args.at(number).eq_ignore_ascii_case(name.as_bytes());
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
            match client_type(context, value) {
                Some(is_normal) => victims.nobody |= !is_normal,
                None => return Ok(()),
            }
        } else if is("USER") {
            if value != b"default" {
                context.reply.raw(&[b"-ERR No such user '"]);
                context.reply.quoted(value, usize::MAX);
                context.reply.raw(&[b"'\r\n"]);
                return Ok(());
            }
        } else if is("SKIPME") && value.eq_ignore_ascii_case(b"yes") {
            skips_me = true;
        } else if is("SKIPME") && value.eq_ignore_ascii_case(b"no") {
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
        server.doomed.try_reserve(1)?;
        server.doomed.push(other.connection);
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
        () if word.eq_ignore_ascii_case(b"ON") => {
            context.reply.ok();
            Hearing::All
        }
        () if word.eq_ignore_ascii_case(b"OFF") => Hearing::Nothing,
        () if word.eq_ignore_ascii_case(b"SKIP") => match context.session.hearing {
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
        () if word.eq_ignore_ascii_case(b"ON") => true,
        () if word.eq_ignore_ascii_case(b"OFF") => false,
        () => return Err(refused(CommandFault::Syntax)),
    };
    context.reply.ok();
    Ok(())
}

/// `CLIENT GETREDIR`: there is no tracking, so no redirection.
pub(super) fn getredir(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.integer(-1);
    Ok(())
}

/// `CLIENT UNBLOCK id`: no command blocks, so no client is unblocked.
pub(super) fn unblock(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let is_reason =
        |word: &[u8]| word.eq_ignore_ascii_case(b"TIMEOUT") || word.eq_ignore_ascii_case(b"ERROR");
    if args.get(3).is_some_and(|word| !is_reason(word)) {
        return Err(refused_text(
            "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR",
        ));
    }
    integer(args.at(2))?;
    context.reply.integer(0);
    Ok(())
}

/// `CLIENT HELP`
pub(super) fn help(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.help(
        "CLIENT",
        &[
            "GETNAME",
            "    Return the name of the current connection.",
            "GETREDIR",
            "    Return the client ID we are redirecting to when tracking is enabled.",
            "ID",
            "    Return the ID of the current connection.",
            "INFO",
            "    Return information about the current client connection.",
            "KILL <ip:port>",
            "    Kill connection made from <ip:port>.",
            "KILL <option> <value> [<option> <value> [...]]",
            "    Kill connections. Options are: ADDR, LADDR, TYPE, USER, ID, SKIPME.",
            "LIST [options ...]",
            "    Return information about client connections. Options are: TYPE, ID.",
            "NO-EVICT (ON|OFF)",
            "    Protect current client connection from eviction.",
            "REPLY (ON|OFF|SKIP)",
            "    Control the replies sent to the current connection.",
            "SETINFO <option> <value>",
            "    Set client meta attr. Options are: LIB-NAME, LIB-VER.",
            "SETNAME <name>",
            "    Assign the name <name> to the current connection.",
            "UNBLOCK <clientid> [TIMEOUT|ERROR]",
            "    Unblock the specified blocked client.",
        ],
    );
    Ok(())
}
