//! Server-assisted client-side caching: not served. What asks about it is answered as where it is off.

use super::Context;
use crate::app::cache_server::number::{refused, refused_text};
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::word::Word;
use crate::error::{CommandFault, Result};

/// `CLIENT TRACKING ON | OFF [option ...]`
pub(super) fn tracking(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let word = args.at(2);
    if word.is_word(b"ON") {
        return Err(refused_text(
            "ERR CLIENT TRACKING is not supported: client-side caching is not served",
        ));
    }
    if !word.is_word(b"OFF") {
        return Err(refused(CommandFault::Syntax));
    }
    context.reply.ok();
    Ok(())
}

/// `CLIENT TRACKINGINFO`
pub(super) fn info(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    let reply = &mut context.reply;
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(1);
    reply.bulk(b"off");
    reply.bulk(b"redirect");
    reply.integer(-1);
    reply.bulk(b"prefixes");
    reply.array(0);
    Ok(())
}

/// `CLIENT CACHING YES | NO`
pub(super) fn caching(_: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    Err(refused_text(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT \
         mode enabled",
    ))
}

/// `CLIENT GETREDIR`
pub(super) fn getredir(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.integer(-1);
    Ok(())
}
