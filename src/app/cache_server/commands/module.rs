//! MODULE: what a Redis answers that has no modules and may load none.

use super::Context;
use crate::app::cache_server::number::refused_text;
use crate::app::cache_server::resp::Args;
use crate::error::Result;

/// `MODULE LIST`
pub(super) fn list(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.array(0);
    Ok(())
}

/// `MODULE LOAD | LOADEX | UNLOAD`: as where `enable-module-command` is off.
pub(super) fn not_allowed(_: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    Err(refused_text(
        "ERR MODULE command not allowed. If the enable-module-command option is set to \"local\", you can \
         run it from a local connection, otherwise you need to set this option in the configuration \
         file, and then restart the server.",
    ))
}

/// `MODULE HELP`
pub(super) fn help(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.help(
        "MODULE",
        "LIST\n\
         \x20   Return a list of loaded modules.\n\
         LOAD <path> [<arg> ...]\n\
         \x20   Load a module library from <path>, passing to it any optional arguments.\n\
         LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]\n\
         \x20   Load a module library from <path>, while passing it module configurations and optional arguments.\n\
         UNLOAD <name>\n\
         \x20   Unload a module.",
    );
    Ok(())
}
