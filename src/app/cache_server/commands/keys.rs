//! Commands on keys of any type, and what OBJECT and MEMORY tell of them.

use super::Context;
use crate::app::cache_server::number::{integer, parse_i64, refused, refused_text};
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::store::{DATABASES, Encoding, Touch};
use crate::app::cache_server::word::Word;
use crate::cache::eviction::Ranking;
use crate::error::{CommandFault, Result};

/// Integers below this are one shared object in Redis, which OBJECT REFCOUNT shows.
const SHARED_INTEGERS: i64 = 10_000;
/// The reference count of a shared object.
const SHARED_REFERENCES: i64 = i32::MAX as i64;

/// `DEL key [key ...]`, and UNLINK: freeing a value takes no longer than forgetting it.
pub(super) fn del(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let database = context.database();
    let removed = args
        .from(1)
        .filter(|key| context.server.store.remove(database, key))
        .count();
    context.reply.count(removed);
    Ok(())
}

/// `EXISTS key [key ...]`
pub(super) fn exists(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    count_present(context, args, Touch::LookOnly)
}

/// `TOUCH key [key ...]`
pub(super) fn touch(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    count_present(context, args, Touch::Use)
}

fn count_present(context: &mut Context<'_>, args: Args<'_>, touch: Touch) -> Result<()> {
    let database = context.session.database;
    let server = &mut context.server;
    let found = args
        .from(1)
        .filter(|key| server.read(database, key, touch).is_some())
        .count();
    context.reply.count(found);
    Ok(())
}

/// `TYPE key`
pub(super) fn type_of(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let database = context.session.database;
    let is_there = context
        .server
        .read(database, args.at(1), Touch::LookOnly)
        .is_some();
    context
        .reply
        .status(if is_there { "string" } else { "none" });
    Ok(())
}

/// `RANDOMKEY`
pub(super) fn randomkey(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    let database = context.database();
    let key = context.server.store.random_key(database);
    context.reply.bulk_or_null(key);
    Ok(())
}

/// `RENAME key newkey`
pub(super) fn rename(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    rename_to(context, args.at(1), args.at(2))?;
    context.reply.ok();
    Ok(())
}

/// `RENAMENX key newkey`
pub(super) fn renamenx(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let (from, to, database) = (args.at(1), args.at(2), context.database());
    let store = &mut context.server.store;
    let is_there = store.get(database, from, Touch::Use).is_some();
    if is_there && store.get(database, to, Touch::Use).is_some() {
        context.reply.integer(0);
        return Ok(());
    }
    rename_to(context, from, to)?;
    context.reply.integer(1);
    Ok(())
}

fn rename_to(context: &mut Context<'_>, from: &[u8], to: &[u8]) -> Result<()> {
    let database = context.database();
    let store = &mut context.server.store;
    if from == to && store.get(database, from, Touch::Use).is_some() {
        return Ok(());
    }
    if from == to || !store.rename((database, from), (database, to))? {
        return Err(refused(CommandFault::NoSuchKey));
    }
    Ok(())
}

/// A database number among the arguments.
pub(super) fn database_argument(text: &[u8]) -> Result<usize> {
    let number = integer(text)?;
    if i32::try_from(number).is_err() {
        return Err(refused_text(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        ));
    }
    match usize::try_from(number) {
        Ok(database) if database < DATABASES => Ok(database),
        _ => Err(refused_text("ERR DB index is out of range")),
    }
}

const SAME_OBJECT: &str = "ERR source and destination objects are the same";

/// `MOVE key db`
pub(super) fn move_key(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let (key, from) = (args.at(1), context.database());
    let to = database_argument(args.at(2))?;
    if from == to {
        return Err(refused_text(SAME_OBJECT));
    }
    let store = &mut context.server.store;
    let is_free = store.get(to, key, Touch::LookOnly).is_none();
    let is_moved = is_free && store.rename((from, key), (to, key))?;
    context.server.totals.moves += 1;
    context.reply.integer(i64::from(is_moved));
    Ok(())
}

/// `COPY source destination [DB number] [REPLACE]`
pub(super) fn copy(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let (source, target, from) = (args.at(1), args.at(2), context.database());
    let (mut to, mut replaces, mut number) = (from, false, 3);
    while let Some(word) = args.get(number) {
        if word.is_word(b"REPLACE") {
            replaces = true;
        } else if word.is_word(b"DB")
            && let Some(text) = args.get(number + 1)
        {
            to = database_argument(text)?;
            number += 1;
        } else {
            return Err(refused(CommandFault::Syntax));
        }
        number += 1;
    }
    if from == to && source == target {
        return Err(refused_text(SAME_OBJECT));
    }
    let is_there = context
        .server
        .read(from as u8, source, Touch::Use)
        .is_some();
    let store = &mut context.server.store;
    let is_allowed = replaces || store.get(to, target, Touch::LookOnly).is_none();
    let is_copied = is_there && is_allowed && store.copy((from, source), (to, target))?;
    if is_copied {
        store.unshare(to, target);
    }
    context.reply.integer(i64::from(is_copied));
    Ok(())
}

/// `OBJECT ENCODING key`
pub(super) fn object_encoding(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let Context {
        server,
        session,
        reply,
    } = context;
    let value = server.read(session.database, args.at(2), Touch::LookOnly);
    reply.bulk_or_null(value.map(|value| value.encoding.name().as_bytes()));
    Ok(())
}

/// `OBJECT REFCOUNT key`
pub(super) fn object_refcount(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let Context {
        server,
        session,
        reply,
    } = context;
    let policy = server.config.policy.ranking;
    let tracks_use = matches!(policy, Ranking::LeastRecent | Ranking::LeastFrequent);
    let may_share = server.config.memory_max_bytes == 0 || !tracks_use;
    match server.read(session.database, args.at(2), Touch::LookOnly) {
        None => reply.null(),
        Some(value) => {
            let is_small =
                parse_i64(value.bytes).is_some_and(|v| (0..SHARED_INTEGERS).contains(&v));
            let is_shared = may_share && value.encoding == Encoding::Int && is_small;
            reply.integer(if is_shared { SHARED_REFERENCES } else { 1 });
        }
    }
    Ok(())
}

/// `OBJECT IDLETIME key`
pub(super) fn object_idletime(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let database = context.database();
    let idle_secs = context.server.store.idle_seconds(database, args.at(2));
    let tracks_frequency = context.server.config.policy.ranking == Ranking::LeastFrequent;
    match idle_secs {
        None => context.reply.null(),
        Some(_) if tracks_frequency => {
            return Err(refused_text(
                "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that \
                 when switching between policies at runtime LRU and LFU data will take some time \
                 to adjust.",
            ));
        }
        Some(secs) => context
            .reply
            .integer(i64::try_from(secs).unwrap_or(i64::MAX)),
    }
    Ok(())
}

/// `OBJECT FREQ key`
pub(super) fn object_freq(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let database = context.database();
    let frequency = context.server.store.frequency(database, args.at(2));
    let tracks_frequency = context.server.config.policy.ranking == Ranking::LeastFrequent;
    match frequency {
        None => context.reply.null(),
        Some(_) if !tracks_frequency => {
            return Err(refused_text(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please \
                 note that when switching between policies at runtime LRU and LFU data will take \
                 some time to adjust.",
            ));
        }
        Some(frequency) => context.reply.integer(i64::from(frequency)),
    }
    Ok(())
}

/// `OBJECT HELP`
pub(super) fn object_help(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.help(
        "OBJECT",
        "ENCODING <key>\n\
         \x20   Return the kind of internal representation used in order to store the value\n\
         \x20   associated with a <key>.\n\
         FREQ <key>\n\
         \x20   Return the access frequency index of the <key>. The returned integer is\n\
         \x20   proportional to the logarithm of the recent access frequency of the key.\n\
         IDLETIME <key>\n\
         \x20   Return the idle time of the <key>, that is the approximated number of\n\
         \x20   seconds elapsed since the last access to the key.\n\
         REFCOUNT <key>\n\
         \x20   Return the number of references of the value associated with the specified\n\
         \x20   <key>.",
    );
    Ok(())
}
