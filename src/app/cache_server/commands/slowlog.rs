//! SLOWLOG: the commands that took long.

use super::Context;
use crate::app::cache_server::number::{parse_i64, refused_text};
use crate::app::cache_server::resp::Args;
use crate::error::Result;
use core::fmt::Write;

/// Entries that SLOWLOG GET shows unless told otherwise.
const DEFAULT_ENTRIES: usize = 10;

/// `SLOWLOG GET [count]`
pub(super) fn get(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    if args.len() > 3 {
        return context.refuse_words(args, "'. Try SLOWLOG HELP.");
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
pub(super) fn len(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    let len = context.server.slowlog.len();
    context.reply.count(len);
    Ok(())
}

/// `SLOWLOG RESET`
pub(super) fn reset(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.server.slowlog.clear();
    context.reply.ok();
    Ok(())
}

/// `SLOWLOG HELP`
pub(super) fn help(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.help(
        "SLOWLOG",
        "GET [<count>]\n\
         \x20   Return top <count> entries from the slowlog (default: 10, -1 mean all).\n\
         \x20   Entries are made of:\n\
         \x20   id, timestamp, time in microseconds, arguments array, client IP and port,\n\
         \x20   client name\n\
         LEN\n\
         \x20   Return the length of the slowlog.\n\
         RESET\n\
         \x20   Reset the slowlog.",
    );
    Ok(())
}
