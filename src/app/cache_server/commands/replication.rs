//! Commands about other servers: there are none, and this one is always the master.

use super::Context;
use crate::app::cache_server::number::{integer, parse_i64, refused_text};
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::word::Word;
use crate::error::Result;

/// `ROLE`: a master without replicas.
pub(super) fn role(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.array(3);
    context.reply.bulk(b"master");
    context.reply.integer(0);
    context.reply.array(0);
    Ok(())
}

/// `REPLICAOF host port | NO ONE`
pub(super) fn replicaof(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    if args.at(1).is_word(b"NO") && args.at(2).is_word(b"ONE") {
        context.reply.ok();
        return Ok(());
    }
    Err(refused_text(
        "ERR this server cannot be a replica: replication is not served",
    ))
}

/// `WAIT numreplicas timeout`: no replica ever acknowledges.
pub(super) fn wait(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let replicas = integer(args.at(1))?;
    let timeout_ms = timeout(args.at(2))?;
    if replicas <= 0 {
        context.reply.integer(0);
        return Ok(());
    }
    context.wait(timeout_ms)
}

/// A time to wait, in milliseconds.
pub(super) fn timeout(text: &[u8]) -> Result<u64> {
    let millis = parse_i64(text).ok_or(refused_text(
        "ERR timeout is not an integer or out of range",
    ))?;
    u64::try_from(millis).map_err(|_| refused_text("ERR timeout is negative"))
}

/// CLUSTER, and the commands that only a cluster serves.
pub(super) fn no_cluster(_: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    Err(refused_text(
        "ERR This instance has cluster support disabled",
    ))
}
