//! CONFIG: the settings, shown and changed while the server runs.

use super::Context;
use crate::app::cache_server::glob;
use crate::app::cache_server::number::{refused, refused_text};
use crate::app::cache_server::parameters::{IMMUTABLE, PARAMETERS, Parameter};
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::server::CommandTotals;
use crate::app::cache_server::word::Word;
use crate::error::{CommandFault, Kind, Result};

/// `CONFIG GET pattern [pattern ...]`
pub(super) fn get(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    // What asks: the parameter is shown under its own name, or as it was spelled where that is no pattern.
    let asking = |parameter: &Parameter| {
        args.from(2).find_map(|pattern| {
            let name = parameter.name.as_bytes();
            let is_pattern = pattern.iter().any(|byte| b"*?[".contains(byte));
            if !is_pattern {
                return pattern.is_word(name).then_some(pattern);
            }
            glob::matches(&pattern.to_ascii_lowercase(), name).then_some(name)
        })
    };
    let asked = PARAMETERS
        .iter()
        .filter_map(|one| Some((one, asking(one)?)));
    let reply = &mut context.reply;
    reply.map(asked.clone().count());
    for (parameter, name) in asked {
        reply.bulk(name);
        parameter.show(&context.server.config, |value| reply.bulk(value));
    }
    Ok(())
}

/// `CONFIG SET name value [name value ...]`: all of them or none.
pub(super) fn set(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    if !args.len().is_multiple_of(2) {
        return Err(refused(CommandFault::Syntax));
    }
    // All names are looked at before any value.
    for number in (2..args.len()).step_by(2) {
        let name = args.at(number);
        let Some(parameter) = Parameter::named(name) else {
            let start = "ERR Unknown option or number of arguments for CONFIG SET - '";
            return context.refuse(start, name, "'");
        };
        let is_repeated = (2..number)
            .step_by(2)
            .any(|other| args.at(other).is_word(name));
        if parameter.is_immutable() {
            return fail(context, name, IMMUTABLE);
        }
        if is_repeated {
            return fail(context, name, "duplicate parameter");
        }
    }
    let mut changed = context.server.config.clone();
    for number in (2..args.len()).step_by(2) {
        let name = args.at(number);
        let Some(parameter) = Parameter::named(name) else {
            continue;
        };
        if let Err(error) = parameter.set(&mut changed, args.at(number + 1)) {
            return match error.kind() {
                Kind::BadValue { expected, .. } => {
                    fail(context, parameter.name.as_bytes(), expected)
                }
                _ => Err(error),
            };
        }
        changed.changed |= parameter.bit();
    }
    context.server.change_settings(changed);
    context.reply.ok();
    Ok(())
}

fn fail(context: &mut Context<'_>, name: &[u8], why: &str) -> Result<()> {
    let start: &[u8] = b"-ERR CONFIG SET failed (possibly related to argument '";
    context.reply.raw(&[start]);
    context.reply.quoted(name, usize::MAX);
    context.reply.raw(&[b"') - ", why.as_bytes(), b"\r\n"]);
    Err(refused(CommandFault::Told))
}

/// `CONFIG RESETSTAT`
pub(super) fn resetstat(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    let server = &mut context.server;
    server.totals.events = server.store.events();
    server.totals_at_reset = server.totals;
    server.commands.fill(CommandTotals::default());
    server.error_words.fill(0);
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
        "GET <pattern>\n\
         \x20   Return parameters matching the glob-like <pattern> and their values.\n\
         SET <directive> <value>\n\
         \x20   Set the configuration <directive> to <value>.\n\
         RESETSTAT\n\
         \x20   Reset statistics reported by the INFO command.\n\
         REWRITE\n\
         \x20   Rewrite the configuration file.",
    );
    Ok(())
}
