//! Commands on whole databases.

use super::Context;
use super::keys::database_argument;
use crate::app::cache_server::number::{parse_i64, refused, refused_text};
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::store::DATABASES;
use crate::app::cache_server::word::Word;
use crate::error::{CommandFault, Result};

/// `SELECT index`
pub(super) fn select(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    context.session.database = database_argument(args.at(1))? as u8;
    context.server.totals.moves += 1;
    context.reply.ok();
    Ok(())
}

/// `DBSIZE`
pub(super) fn dbsize(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    let keys = context.server.store.len(context.database());
    context.reply.count(keys);
    Ok(())
}

/// `FLUSHDB [ASYNC | SYNC]`
pub(super) fn flushdb(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    check_mode(args)?;
    let database = context.database();
    context.server.store.flush(database);
    context.reply.ok();
    Ok(())
}

/// `FLUSHALL [ASYNC | SYNC]`
pub(super) fn flushall(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    check_mode(args)?;
    context.server.store.flush_all();
    context.reply.ok();
    Ok(())
}

fn check_mode(args: Args<'_>) -> Result<()> {
    let is_mode = |word: &[u8]| word.is_word(b"ASYNC") || word.is_word(b"SYNC");
    match args.len() {
        1 => Ok(()),
        2 if is_mode(args.at(1)) => Ok(()),
        _ => Err(refused(CommandFault::Syntax)),
    }
}

/// `SWAPDB index1 index2`
pub(super) fn swapdb(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let number = |at: usize, text| {
        let number = parse_i64(args.at(at)).and_then(|number| i32::try_from(number).ok());
        number.ok_or(refused_text(text))
    };
    let one = number(1, "ERR invalid first DB index")?;
    let other = number(2, "ERR invalid second DB index")?;
    let database = |number: i32| {
        let database = usize::try_from(number)
            .ok()
            .filter(|&database| database < DATABASES);
        database.ok_or(refused_text("ERR DB index is out of range"))
    };
    context.server.store.swap(database(one)?, database(other)?);
    context.server.totals.moves += 1;
    context.reply.ok();
    Ok(())
}
