//! MEMORY: what memory is spent on.

use super::Context;
use crate::app::cache_server::number::{integer, refused};
use crate::app::cache_server::reply::Reply;
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::store::DATABASES;
use crate::app::cache_server::word::Word;
use crate::error::{CommandFault, Result};
use core::fmt::Write;

/// `MEMORY USAGE key [SAMPLES count]`
pub(super) fn usage(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let mut number = 3;
    while let Some(word) = args.get(number) {
        let count = args.get(number + 1).filter(|_| word.is_word(b"SAMPLES"));
        let count = integer(count.ok_or(refused(CommandFault::Syntax))?)?;
        if count < 0 {
            return Err(refused(CommandFault::Syntax));
        }
        number += 2;
    }
    let database = context.database();
    match context.server.store.usage_bytes(database, args.at(2)) {
        Some(bytes) => context.reply.count(bytes),
        None => context.reply.null(),
    }
    Ok(())
}

/// `MEMORY PURGE`: empty slabs go back by themselves, so there is nothing to purge.
pub(super) fn purge(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.ok();
    Ok(())
}

/// Below this a server is too empty to be judged (Redis' bound).
const JUDGED_BYTES_MIN: u64 = 5 << 20;

/// `MEMORY DOCTOR`: Redis' two answers where nothing is wrong, and the one thing that can be here: slots that
/// are held for sizes nobody uses any more.
pub(super) fn doctor(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    let sizes = context.server.store.sizes();
    context.reply.verbatim(if sizes.used_bytes < JUDGED_BYTES_MIN {
        b"Hi Sam, this instance is empty or is using very little memory, my issues detector can't be used in these \
          conditions. Please, leave for your mission on Earth and fill it with some data. The new Sam and I will be \
          back to our programming as soon as I finished rebooting.\n"
    } else if sizes.used_bytes / 7 > sizes.entry_bytes / 5 {
        b"Sam, I detected a few issues in this instance memory implants:\n\n \
          * High allocator fragmentation: more than 1.4 times the memory of all entries is held. It goes to new \
          entries of any size, and back as keys leave.\n\nI'm here to keep you safe, Sam. I want to help you.\n"
    } else {
        b"Hi Sam, I can't find any memory issue in your instance. I can only account for what occurs on this base.\n"
    });
    Ok(())
}

/// `MEMORY MALLOC-STATS`
pub(super) fn malloc_stats(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    let sizes = context.server.store.sizes();
    let reply = &mut context.reply;
    let start = reply.begin_text();
    for (name, bytes) in [
        ("held", sizes.used_bytes),
        ("held at most so far", sizes.peak_bytes),
        ("in live entries", sizes.entry_bytes),
        ("limit", sizes.limit_bytes),
    ] {
        writeln!(reply, "{name}: {bytes} bytes")?;
    }
    reply.end_text(start)
}

/// `MEMORY STATS`
pub(super) fn stats(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    let server = &context.server;
    let sizes = server.store.sizes();
    let keys = server.store.total_len() as u64;
    let used = sizes.used_bytes;
    let overhead = used.saturating_sub(sizes.entry_bytes);
    let databases = (0..DATABASES).filter(|&database| server.store.len(database) > 0);
    let clients = server.client_bytes(context.session);
    let reply = &mut context.reply;
    reply.map(25 + databases.clone().count());
    let number = |reply: &mut Reply<'_>, name: &str, value: u64| {
        reply.bulk(name.as_bytes());
        reply.integer(i64::try_from(value).unwrap_or(i64::MAX));
    };
    let ratio = |reply: &mut Reply<'_>, name: &str, one: u64, of: u64| {
        reply.bulk(name.as_bytes());
        reply.ratio(one, of);
    };
    for (name, value) in [
        ("peak.allocated", sizes.peak_bytes),
        ("total.allocated", used),
        ("startup.allocated", 0),
        ("replication.backlog", 0),
        ("clients.slaves", 0),
        ("clients.normal", clients),
        ("cluster.links", 0),
        ("aof.buffer", 0),
        ("lua.caches", 0),
        ("functions.caches", 0),
    ] {
        number(reply, name, value);
    }
    for database in databases {
        let mut name = heapless::String::<8>::new();
        write!(name, "db.{database}")?;
        reply.bulk(name.as_bytes());
        reply.map(3);
        let links = server.store.len(database) as u64 * size_of::<u64>() as u64;
        number(reply, "overhead.hashtable.main", links);
        let expiring = server.store.expiring_len(database) as u64;
        let nodes = expiring * 2 * size_of::<u64>() as u64;
        number(reply, "overhead.hashtable.expires", nodes);
        number(reply, "overhead.hashtable.slot-to-keys", 0);
    }
    number(reply, "overhead.total", overhead);
    number(reply, "keys.count", keys);
    number(
        reply,
        "keys.bytes-per-key",
        used.checked_div(keys).unwrap_or(0),
    );
    number(reply, "dataset.bytes", sizes.entry_bytes);
    ratio(reply, "dataset.percentage", sizes.entry_bytes * 100, used);
    ratio(reply, "peak.percentage", used * 100, sizes.peak_bytes);
    number(reply, "allocator.allocated", sizes.entry_bytes);
    number(reply, "allocator.active", used);
    number(reply, "allocator.resident", used);
    ratio(
        reply,
        "allocator-fragmentation.ratio",
        used,
        sizes.entry_bytes,
    );
    number(reply, "allocator-fragmentation.bytes", overhead);
    // The keyspace holds frames and nothing else: what is resident is what is held.
    ratio(reply, "allocator-rss.ratio", 1, 1);
    number(reply, "allocator-rss.bytes", 0);
    ratio(reply, "fragmentation", used, sizes.entry_bytes);
    number(reply, "fragmentation.bytes", overhead);
    Ok(())
}

/// `MEMORY HELP`
pub(super) fn help(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.help(
        "MEMORY",
        "DOCTOR\n\
         \x20   Return memory problems reports.\n\
         MALLOC-STATS\n\
         \x20   Return internal statistics report from the memory allocator.\n\
         PURGE\n\
         \x20   Attempt to purge dirty pages for reclamation by the allocator.\n\
         STATS\n\
         \x20   Return information about the memory usage of the server.\n\
         USAGE <key> [SAMPLES <count>]\n\
         \x20   Return memory in bytes used by <key> and its value. Nested values are\n\
         \x20   sampled up to <count> times (default: 5, 0 means sample all).",
    );
    Ok(())
}
