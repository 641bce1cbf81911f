//! CONFIG: the settings, shown and changed while the server runs.

use super::Context;
use crate::app::cache_server::config::{PARAMETERS, Parameter};
use crate::app::cache_server::glob;
use crate::app::cache_server::number::{refused, refused_text};
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::server::CommandTotals;
use crate::error::{CommandFault, Kind, Result};

/// `CONFIG GET pattern [pattern ...]`
pub(super) fn get(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let is_asked = |parameter: &&Parameter| {
        args.from(2)
            .any(|pattern| glob::matches(&pattern.to_ascii_lowercase(), parameter.name.as_bytes()))
    };
    let reply = &mut context.reply;
    reply.map(PARAMETERS.iter().filter(is_asked).count());
    for parameter in PARAMETERS.iter().filter(is_asked) {
        reply.bulk(parameter.name.as_bytes());
        parameter.show(&context.server.config, |value| reply.bulk(value));
    }
    Ok(())
}

/// `CONFIG SET name value [name value ...]`: all of them or none.
pub(super) fn set(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    if !args.len().is_multiple_of(2) {
        return Err(refused(CommandFault::Syntax));
    }
    let mut changed = context.server.config.clone();
    for number in (2..args.len()).step_by(2) {
        let name = args.at(number);
        let Some(parameter) = Parameter::named(name) else {
            let start: &[u8] = b"-ERR Unknown option or number of arguments for CONFIG SET - '";
            return fail(context, start, name, b"'");
        };
        let is_repeated = (2..number)
            .step_by(2)
            .any(|other| args.at(other).eq_ignore_ascii_case(name));
        let outcome = if is_repeated {
            Err(refused_text("duplicate parameter"))
        } else {
            parameter.change(&mut changed, args.at(number + 1))
        };
        if let Err(error) = outcome {
            let why = match error.kind() {
                Kind::BadValue { expected, .. } => expected,
                Kind::Command(CommandFault::Text(text)) => text,
                _ => return Err(error),
            };
            let start: &[u8] = b"-ERR CONFIG SET failed (possibly related to argument '";
            context.reply.raw(&[start]);
            context.reply.quoted(name, usize::MAX);
            context.reply.raw(&[b"') - ", why.as_bytes(), b"\r\n"]);
            return Ok(());
        }
    }
    context.server.config = changed;
    context.server.apply_settings();
    context.reply.ok();
    Ok(())
}

fn fail(context: &mut Context<'_>, start: &[u8], name: &[u8], end: &[u8]) -> Result<()> {
    context.reply.raw(&[start]);
    context.reply.quoted(name, usize::MAX);
    context.reply.raw(&[end, b"\r\n"]);
    Ok(())
}

/// `CONFIG RESETSTAT`
pub(super) fn resetstat(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    let server = &mut context.server;
    server.totals.events = server.store.events();
    server.totals_at_reset = server.totals;
    server.commands.fill(CommandTotals::default());
    server.store.reset_peak();
    context.reply.ok();
    Ok(())
}

/// `CONFIG REWRITE`: there is no file to write.
pub(super) fn rewrite(_: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    Err(refused_text(
        "ERR The server is running without a config file",
    ))
}

/// `CONFIG HELP`
pub(super) fn help(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.help(
        "CONFIG",
        &[
            "GET <pattern>",
            "    Return parameters matching the glob-like <pattern> and their values.",
            "SET <directive> <value>",
            "    Set the configuration <directive> to <value>.",
            "RESETSTAT",
            "    Reset statistics reported by the INFO command.",
            "REWRITE",
            "    Rewrite the configuration file.",
        ],
    );
    Ok(())
}
