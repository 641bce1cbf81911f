//! Commands that ask the server about itself.

use super::Context;
use super::connection::REDIS_VERSION;
use crate::app::cache_server::number::{integer, refused_text};
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::word::Word;
use crate::error::Result;

/// `TIME`
pub(super) fn time(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    let clock = context.server.clock;
    let micros = (clock.boot_unix_nanos() + clock.now().as_nanos()) / 1000;
    context.reply.array(2);
    context.reply.bulk_integer((micros / 1_000_000) as i64);
    context.reply.bulk_integer((micros % 1_000_000) as i64);
    Ok(())
}

/// `DEBUG subcommand [argument ...]`: as where `enable-debug-command` is off.
pub(super) fn debug(_: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    Err(refused_text(
        "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can \
         run it from a local connection, otherwise you need to set this option in the configuration \
         file, and then restart the server.",
    ))
}

/// `LOLWUT [VERSION version]`: the version, as Redis answers where it has no picture to draw.
pub(super) fn lolwut(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    if args.len() > 2 && args.at(1).is_word(b"VERSION") {
        integer(args.at(2))?;
    }
    let start = context.reply.begin_text();
    context
        .reply
        .raw(&[b"Redis ver. ", REDIS_VERSION.as_bytes(), b"\n"]);
    context.reply.end_text(start)
}
