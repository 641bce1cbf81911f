//! Counters: integers kept as their text.

use super::Context;
use super::strings::encoding_of_text;
use crate::app::cache_server::number::{integer, parse_i64, refused, refused_text};
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::store::{Encoding, Expiry, Touch};
use crate::error::{CommandFault, Result};

/// `INCR key`
pub(super) fn incr(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    add(context, args, 1)
}

/// `DECR key`
pub(super) fn decr(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    add(context, args, -1)
}

/// `INCRBY key increment`
pub(super) fn incrby(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let amount = integer(args.at(2))?;
    add(context, args, amount)
}

/// `DECRBY key decrement`
pub(super) fn decrby(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let amount = integer(args.at(2))?
        .checked_neg()
        .ok_or(refused_text("ERR decrement would overflow"))?;
    add(context, args, amount)
}

fn add(context: &mut Context<'_>, args: Args<'_>, amount: i64) -> Result<()> {
    let (key, database) = (args.at(1), context.database());
    let store = &mut context.server.store;
    let old = match store.get(database, key, Touch::LookOnly) {
        Some(value) => parse_i64(value.bytes).ok_or(refused(CommandFault::NotAnInteger))?,
        None => 0,
    };
    let new = old
        .checked_add(amount)
        .ok_or(refused(CommandFault::Overflow))?;
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(new).as_bytes();
    store.set(database, key, text, Encoding::Int, Expiry::Keep)?;
    context.reply.integer(new);
    Ok(())
}

/// `INCRBYFLOAT key increment`
pub(super) fn incrbyfloat(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    use super::float::Extended;
    let (key, database) = (args.at(1), context.database());
    let not_a_float = refused(CommandFault::NotAFloat);
    let store = &mut context.server.store;
    let old = match store.get(database, key, Touch::LookOnly) {
        Some(value) => Extended::parse(value.bytes).ok_or(not_a_float)?,
        None => Extended::ZERO,
    };
    let amount = Extended::parse(args.at(2)).ok_or(not_a_float)?;
    let sum = old
        .add(amount)
        .ok_or(refused_text("ERR increment would produce NaN or Infinity"))?;
    let text = sum.to_text()?;
    store.set(database, key, &text, encoding_of_text(&text), Expiry::Keep)?;
    context.reply.bulk(&text);
    Ok(())
}
