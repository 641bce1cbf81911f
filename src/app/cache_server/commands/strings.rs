//! The string commands but for counters and LCS.

use super::Context;
use super::expiry::{Unit, expire_at, is_past};
use super::options::{Base, Condition, Options, Reader};
use crate::app::cache_server::number::{integer, parse_i64, refused, refused_text};
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::store::{Encoding, Expiry, Look, Touch};
use crate::error::{CommandFault, Result};

/// The longest string that Redis keeps in one piece with its header.
const EMBSTR_BYTES_MAX: usize = 44;
/// The longest text of a 64-bit integer.
const INTEGER_BYTES_MAX: usize = 20;

/// How Redis would encode a value that was set as a whole.
#[inline]
pub(super) fn encoding_of(value: &[u8]) -> Encoding {
    // Most values are told from a number by their length or first byte, without a call.
    let may_be_integer =
        value.len() <= INTEGER_BYTES_MAX && matches!(value, [b'-' | b'0'..=b'9', ..]);
    if may_be_integer && parse_i64(value).is_some() {
        Encoding::Int
    } else {
        encoding_of_text(value)
    }
}

/// How Redis would encode a value made by a command that does not look for integers.
#[inline]
pub(super) fn encoding_of_text(value: &[u8]) -> Encoding {
    if value.len() <= EMBSTR_BYTES_MAX {
        Encoding::Embstr
    } else {
        Encoding::Raw
    }
}

/// `SET key value [NX | XX] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`
pub(super) fn set(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    if args.len() > 3 {
        return set_with_options(context, args);
    }
    let (key, value, database) = (args.at(1), args.at(2), context.database());
    let store = &mut context.server.store;
    store.set(database, key, value, encoding_of(value), Expiry::Never)?;
    context.reply.ok();
    Ok(())
}

/// Does what [`set`] without options would do and tells true, if that is the usual write.
#[inline(always)]
pub(super) fn set_usual(context: &mut Context<'_>, args: Args<'_>) -> bool {
    let (key, value, database) = (args.at(1), args.at(2), context.database());
    let store = &mut context.server.store;
    let is_done = store.overwrite(database, key, value, encoding_of(value));
    if is_done {
        context.reply.ok_inline();
    }
    is_done
}

fn set_with_options(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let (key, value, database) = (args.at(1), args.at(2), context.database());
    let options = Options::parse(args, 3, Reader::Set)?;
    let expiry = options.expiry(context.server.store.now_ms(), "set")?;
    let is_there = if options.returns_old {
        read_value(context, key);
        context
            .server
            .store
            .get(database, key, Touch::LookOnly)
            .is_some()
    } else {
        options.condition != Condition::Always
            && context
                .server
                .store
                .get(database, key, Touch::LookOnly)
                .is_some()
    };
    let is_met = match options.condition {
        Condition::Always => true,
        Condition::IfMissing => !is_there,
        Condition::IfPresent => is_there,
    };
    if !is_met {
        if !options.returns_old {
            context.reply.null();
        }
        return Ok(());
    }
    let kept = if options.keeps_expiry {
        Expiry::Keep
    } else {
        Expiry::Never
    };
    let expiry = expiry.unwrap_or(kept);
    context
        .server
        .store
        .set(database, key, value, encoding_of(value), expiry)?;
    if !options.returns_old {
        context.reply.ok();
    }
    Ok(())
}

/// `GET key`
pub(super) fn get(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    read_value(context, args.at(1));
    Ok(())
}

/// Does what [`get`] would do, which cannot fail.
#[inline(always)]
pub(super) fn get_usual(context: &mut Context<'_>, args: Args<'_>) -> bool {
    read_out(context, args.at(1));
    true
}

/// Replies with the value of a key, or null.
#[inline(always)]
fn read_out(context: &mut Context<'_>, key: &[u8]) {
    let (server, database) = (&mut *context.server, context.session.database);
    match server.look(database, key) {
        Look::Found(value) => context.reply.bulk_inline(value),
        Look::Missing => context.reply.null(),
        Look::Unsure => {
            let value = server.read(database, key, Touch::Use);
            context.reply.bulk_or_null(value.map(|value| value.bytes));
        }
    }
}

/// [`read_out`] for the other commands that tell a value.
#[inline(never)]
fn read_value(context: &mut Context<'_>, key: &[u8]) {
    read_out(context, key);
}

/// `GETSET key value`
pub(super) fn getset(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    read_value(context, args.at(1));
    let value = args.at(2);
    let database = context.database();
    context.server.store.set(
        database,
        args.at(1),
        value,
        encoding_of(value),
        Expiry::Never,
    )
}

/// `GETDEL key`
pub(super) fn getdel(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    read_value(context, args.at(1));
    let database = context.database();
    context.server.store.remove(database, args.at(1));
    Ok(())
}

/// `GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]`
pub(super) fn getex(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let options = Options::parse(args, 2, Reader::GetEx)?;
    let (key, database) = (args.at(1), context.database());
    let now_ms = context.server.store.now_ms();
    let expiry = options.expiry(now_ms, "getex");
    read_value(context, args.at(1));
    if context
        .server
        .store
        .get(database, key, Touch::LookOnly)
        .is_none()
    {
        return Ok(());
    }
    match (expiry?, options.persists) {
        (Some(Expiry::AtMs(at_ms)), _) if is_past(at_ms, now_ms) => {
            context.server.store.remove(database, key);
        }
        (Some(expiry), _) => {
            context.server.store.set_expiry(database, key, expiry)?;
        }
        (None, true) => {
            context
                .server
                .store
                .set_expiry(database, key, Expiry::Never)?;
        }
        (None, false) => {}
    }
    Ok(())
}

/// `SETNX key value`
pub(super) fn setnx(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let (key, value, database) = (args.at(1), args.at(2), context.database());
    if context
        .server
        .store
        .get(database, key, Touch::LookOnly)
        .is_some()
    {
        context.reply.integer(0);
        return Ok(());
    }
    context
        .server
        .store
        .set(database, key, value, encoding_of(value), Expiry::Never)?;
    context.reply.integer(1);
    Ok(())
}

/// `SETEX key seconds value`
pub(super) fn setex(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    set_expiring(context, args, Unit::Seconds, "setex")
}

/// `PSETEX key milliseconds value`
pub(super) fn psetex(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    set_expiring(context, args, Unit::Millis, "psetex")
}

fn set_expiring(
    context: &mut Context<'_>,
    args: Args<'_>,
    unit: Unit,
    command: &'static str,
) -> Result<()> {
    let (value, database) = (args.at(3), context.database());
    let now_ms = context.server.store.now_ms();
    let at_ms = expire_at(integer(args.at(2))?, unit, Base::Now, now_ms, command)?;
    let expiry = Expiry::AtMs(at_ms);
    context
        .server
        .store
        .set(database, args.at(1), value, encoding_of(value), expiry)?;
    context.reply.ok();
    Ok(())
}

/// `MGET key [key ...]`
pub(super) fn mget(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    context.reply.array(args.len() - 1);
    args.from(1).for_each(|key| read_value(context, key));
    Ok(())
}

/// `MSET key value [key value ...]`
pub(super) fn mset(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    if args.len().is_multiple_of(2) {
        return Err(refused(CommandFault::WrongArity("mset")));
    }
    set_all(context, args)?;
    context.reply.ok();
    Ok(())
}

/// `MSETNX key value [key value ...]`
pub(super) fn msetnx(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    if args.len().is_multiple_of(2) {
        return Err(refused(CommandFault::WrongArity("msetnx")));
    }
    let database = context.database();
    let store = &mut context.server.store;
    let is_any_there = args
        .from(1)
        .step_by(2)
        .any(|key| store.get(database, key, Touch::LookOnly).is_some());
    if is_any_there {
        context.reply.integer(0);
        return Ok(());
    }
    if let Err(error) = set_all(context, args) {
        // None was there before: without those set so far it can be run again.
        for key in args.from(1).step_by(2) {
            context.server.store.remove(database, key);
        }
        return Err(error);
    }
    context.reply.integer(1);
    Ok(())
}

fn set_all(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let database = context.database();
    for number in (1..args.len()).step_by(2) {
        let (key, value) = (args.at(number), args.at(number + 1));
        let (encoding, store) = (encoding_of(value), &mut context.server.store);
        if !store.overwrite(database, key, value, encoding) {
            store.set(database, key, value, encoding, Expiry::Never)?;
        }
    }
    Ok(())
}

/// `STRLEN key`
pub(super) fn strlen(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let value = context
        .server
        .read(context.session.database, args.at(1), Touch::Use);
    let len = value.map_or(0, |value| value.bytes.len());
    context.reply.count(len);
    Ok(())
}

/// The length of a value before a command changes it.
fn present_len(context: &mut Context<'_>, key: &[u8]) -> Option<usize> {
    let database = context.database();
    context
        .server
        .store
        .get(database, key, Touch::LookOnly)
        .map(|value| value.bytes.len())
}

/// Refuses a string longer than `proto-max-bulk-len`.
fn check_len(context: &Context<'_>, len: u64) -> Result<usize> {
    match usize::try_from(len) {
        Ok(fitting) if len <= context.server.config.bulk_bytes_max => Ok(fitting),
        _ => Err(refused(CommandFault::TooLong)),
    }
}

/// `APPEND key value`
pub(super) fn append(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let (key, tail, database) = (args.at(1), args.at(2), context.database());
    let len = match present_len(context, key) {
        None => {
            let encoding = encoding_of(tail);
            context
                .server
                .store
                .set(database, key, tail, encoding, Expiry::Never)?;
            tail.len()
        }
        Some(old) => {
            let len = check_len(context, (old + tail.len()) as u64)?;
            context.server.store.patch(database, key, old, tail)?;
            len
        }
    };
    context.reply.count(len);
    Ok(())
}

/// `SETRANGE key offset value`
pub(super) fn setrange(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let (key, patch, database) = (args.at(1), args.at(3), context.database());
    let offset = integer(args.at(2))?;
    let Ok(offset) = u64::try_from(offset) else {
        return Err(refused_text("ERR offset is out of range"));
    };
    let old = present_len(context, key);
    if patch.is_empty() {
        context.reply.count(old.unwrap_or(0));
        return Ok(());
    }
    let end = check_len(context, offset.saturating_add(patch.len() as u64))?;
    let len = end.max(old.unwrap_or(0));
    let store = &mut context.server.store;
    store.patch(database, key, end - patch.len(), patch)?;
    context.reply.count(len);
    Ok(())
}

/// `GETRANGE key start end`, and its old name SUBSTR
pub(super) fn getrange(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let (start, end) = (integer(args.at(2))?, integer(args.at(3))?);
    let Context {
        server,
        session,
        reply,
    } = context;
    let value = server.read(session.database, args.at(1), Touch::Use);
    reply.bulk(slice_of(value.map_or(&[], |value| value.bytes), start, end));
    Ok(())
}

/// The bytes from `start` to `end`, both included; below 0 they count from the end.
fn slice_of(bytes: &[u8], start: i64, end: i64) -> &[u8] {
    if start < 0 && end < 0 && start > end {
        return &[];
    }
    let len = bytes.len() as i64;
    let from = |at: i64| if at < 0 { (len + at).max(0) } else { at };
    let (start, end) = (from(start), from(end).min(len - 1));
    if start > end {
        &[]
    } else {
        &bytes[start as usize..=end as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_the_value_from_either_end() {
        let cases: [(i64, i64, &[u8]); 9] = [
            (0, -1, b"hello"),
            (1, 3, b"ell"),
            (-3, -1, b"llo"),
            (-100, 1, b"he"),
            (3, 100, b"lo"),
            (3, 1, b""),
            (-1, -3, b""),
            (5, 9, b""),
            (i64::MIN, i64::MAX, b"hello"),
        ];
        for (start, end, slice) in cases {
            assert_eq!(slice_of(b"hello", start, end), slice, "{start} {end}");
        }
        assert_eq!(slice_of(b"", 0, -1), b"");
    }
}
