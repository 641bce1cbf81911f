//! Commands that ask the server about itself, or end it: TIME, SLOWLOG, SHUTDOWN.

use super::Context;
use crate::app::cache_server::number::{parse_i64, refused, refused_text};
use crate::app::cache_server::reply::QUOTED_BYTES_MAX;
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::session::Fate;
use crate::error::{CommandFault, Result};
use core::fmt::Write;

/// Entries that SLOWLOG GET shows unless told otherwise.
const DEFAULT_ENTRIES: usize = 10;

/// `TIME`
pub(super) fn time(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    let clock = context.server.clock;
    let micros = (clock.boot_unix_nanos() + clock.now().as_nanos()) / 1000;
    context.reply.array(2);
    context.reply.bulk_integer((micros / 1_000_000) as i64);
    context.reply.bulk_integer((micros % 1_000_000) as i64);
    Ok(())
}

/// `SLOWLOG GET [count]`
pub(super) fn slowlog_get(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    if args.len() > 3 {
        context
            .reply
            .raw(&[b"-ERR unknown subcommand or wrong number of arguments for '"]);
        context.reply.quoted(args.at(1), QUOTED_BYTES_MAX);
        context.reply.raw(&[b"'. Try SLOWLOG HELP.\r\n"]);
        return Ok(());
    }
    let count = match args.get(2) {
        None => DEFAULT_ENTRIES,
        Some(text) => match parse_i64(text) {
            Some(-1) => usize::MAX,
            count => count
                .and_then(|count| usize::try_from(count).ok())
                .ok_or(refused_text(
                    "ERR count should be greater than or equal to -1",
                ))?,
        },
    };
    let Context { server, reply, .. } = context;
    let shown = server.slowlog.len().min(count);
    reply.array(shown);
    for entry in server.slowlog.entries().take(shown) {
        reply.array(6);
        reply.integer(entry.id as i64);
        reply.integer(entry.unix_secs as i64);
        reply.integer(entry.micros as i64);
        reply.array(entry.arguments.len());
        entry
            .arguments
            .iter()
            .for_each(|argument| reply.bulk(argument));
        let mut peer = heapless::String::<24>::new();
        write!(peer, "{}", entry.peer)?;
        reply.bulk(peer.as_bytes());
        reply.bulk(&entry.client_name);
    }
    Ok(())
}

/// `SLOWLOG LEN`
pub(super) fn slowlog_len(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    let len = context.server.slowlog.len();
    context.reply.count(len);
    Ok(())
}

/// `SLOWLOG RESET`
pub(super) fn slowlog_reset(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.server.slowlog.clear();
    context.reply.ok();
    Ok(())
}

/// `SLOWLOG HELP`
pub(super) fn slowlog_help(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.help(
        "SLOWLOG",
        &[
            "GET [<count>]",
            "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
            "    Entries are made of:",
            "    id, timestamp, time in microseconds, arguments array, client IP and port,",
            "    client name",
            "LEN",
            "    Return the length of the slowlog.",
            "RESET",
            "    Reset the slowlog.",
        ],
    );
    Ok(())
}

/// `SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]`: nothing is saved, and the machine goes off at once.
pub(super) fn shutdown(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let has = |name: &str| {
        args.from(1)
            .any(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    let known = ["NOSAVE", "SAVE", "NOW", "FORCE", "ABORT"];
    let is_known = |word: &[u8]| {
        known
            .iter()
            .any(|k| word.eq_ignore_ascii_case(k.as_bytes()))
    };
    if !args.from(1).all(is_known) || has("NOSAVE") && has("SAVE") || has("ABORT") && args.len() > 2
    {
        return Err(refused(CommandFault::Syntax));
    }
    if has("ABORT") {
        return Err(refused_text("ERR No shutdown in progress."));
    }
    context.session.fate = Fate::Closing;
    context.server.power.off();
    Ok(())
}
