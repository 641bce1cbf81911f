//! COMMAND: the command table, told to clients.

use super::describe::{categories, describe_all, describe_one, document_all, document_one};
use super::document::{Document, Documents, KeySpec};
use super::{COMMANDS, Command, Context, find, subcommand};
use crate::app::cache_server::glob;
use crate::app::cache_server::number::{refused, refused_text};
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::word::Word;
use crate::error::{CommandFault, Result};

/// The row, or the subcommand, of a name such as `get` or `client|list`.
fn named(name: &[u8]) -> Option<&'static Command> {
    let mut parts = name.splitn(2, |&byte| byte == b'|');
    let command = &COMMANDS[usize::from(find(parts.next()?)?)];
    match parts.next() {
        Some(name) => subcommand(command, name),
        None => Some(command),
    }
}

/// `COMMAND`
pub(super) fn all(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    describe_all(&mut context.reply, &Documents::read()?);
    Ok(())
}

/// `COMMAND COUNT`
pub(super) fn count(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.count(COMMANDS.len());
    Ok(())
}

/// `COMMAND INFO [name ...]`
pub(super) fn info(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    if args.len() == 2 {
        return all(context, args);
    }
    let documents = Documents::read()?;
    context.reply.array(args.len() - 2);
    for name in args.from(2) {
        match named(name) {
            Some(command) => describe_one(&mut context.reply, &documents, command),
            None => context.reply.null_array(),
        }
    }
    Ok(())
}

/// `COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]`
pub(super) fn list(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let is = |at: usize, name: &str| {
        args.get(at)
            .is_some_and(|word| word.is_word(name.as_bytes()))
    };
    let shows: &dyn Fn(&Document<'_>) -> bool = match args.len() {
        2 => &|_| true,
        5 if is(2, "FILTERBY") && is(3, "MODULE") => &|_| false,
        5 if is(2, "FILTERBY") && is(3, "ACLCAT") => &|document| {
            categories(*document).any(|category| args.at(4).is_word(category.as_bytes()))
        },
        5 if is(2, "FILTERBY") && is(3, "PATTERN") => {
            &|document| glob::matches(args.at(4), document.name().as_bytes())
        }
        _ => return Err(refused(CommandFault::Syntax)),
    };
    let reply = &mut context.reply;
    let documents = Documents::read()?;
    reply.array(documents.all().filter(|document| shows(document)).count());
    for document in documents.all().filter(|document| shows(document)) {
        reply.bulk(document.name().as_bytes());
    }
    Ok(())
}

/// `COMMAND DOCS [name ...]`
pub(super) fn docs(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let documents = Documents::read()?;
    let reply = &mut context.reply;
    if args.len() == 2 {
        document_all(reply, &documents);
        return Ok(());
    }
    reply.map(args.from(2).filter(|name| named(name).is_some()).count());
    args.from(2)
        .filter_map(named)
        .for_each(|command| document_one(reply, &documents, command));
    Ok(())
}

/// The command that the arguments from 2 on are, its own name among them.
fn given(args: Args<'_>) -> Result<&'static Command> {
    let invalid = refused_text("ERR Invalid command specified");
    let name = args.at(2);
    let mut command = named(name).filter(|_| !name.contains(&b'|'));
    if let Some(container) = command
        && !container.subcommands.is_empty()
        && let Some(name) = args.get(3)
    {
        command = subcommand(container, name);
    }
    let command = command.ok_or(invalid)?;
    if command.keys.first == 0 {
        return Err(refused_text("ERR The command has no key arguments"));
    }
    if !command.fits(args.len() - 2) {
        return Err(refused_text(
            "ERR Invalid number of arguments specified for command",
        ));
    }
    Ok(command)
}

/// `COMMAND GETKEYS command [argument ...]`
pub(super) fn getkeys(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let keys = given(args)?.keys;
    let last = keys.last_of(args.len() - 2);
    let numbers = (usize::from(keys.first)..=last).step_by(usize::from(keys.step));
    context.reply.array(numbers.clone().count());
    numbers.for_each(|number| context.reply.bulk(args.at(number + 2)));
    Ok(())
}

/// `COMMAND GETKEYSANDFLAGS command [argument ...]`
pub(super) fn getkeysandflags(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let command = given(args)?;
    let documents = Documents::read()?;
    let document = documents.from(command.name).next();
    let specs = document.into_iter().flat_map(Document::key_specs);
    let numbers = |spec: &KeySpec<'_>| {
        let [first, last, step, _] = spec
            .numbers
            .map(|number| usize::from(number.unsigned_abs()));
        let end = match spec.numbers[1] {
            0.. => first + last,
            _ => args.len() - 2 - last,
        };
        (first..=end).step_by(step)
    };
    let reply = &mut context.reply;
    reply.array(specs.clone().map(|spec| numbers(&spec).count()).sum());
    for spec in specs {
        let flags = match command.name {
            // The one command here whose flags depend on its options.
            "set" if args.from(5).any(|word| word.is_word(b"GET")) => "RW access update",
            "set" => "OW update",
            _ => spec.flags,
        };
        for number in numbers(&spec) {
            reply.array(2);
            reply.bulk(args.at(number + 2));
            reply.set(flags.split(' ').count());
            flags.split(' ').for_each(|flag| reply.status(flag));
        }
    }
    Ok(())
}

/// `COMMAND HELP`
pub(super) fn help(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.help(
        "COMMAND",
        "(no subcommand)\n\
         \x20   Return details about all Redis commands.\n\
         COUNT\n\
         \x20   Return the total number of commands in this Redis server.\n\
         LIST\n\
         \x20   Return a list of all commands in this Redis server.\n\
         INFO [<command-name> ...]\n\
         \x20   Return details about multiple Redis commands.\n\
         \x20   If no command names are given, documentation details for all\n\
         \x20   commands are returned.\n\
         DOCS [<command-name> ...]\n\
         \x20   Return documentation details about multiple Redis commands.\n\
         \x20   If no command names are given, documentation details for all\n\
         \x20   commands are returned.\n\
         GETKEYS <full-command>\n\
         \x20   Return the keys from a full Redis command.\n\
         GETKEYSANDFLAGS <full-command>\n\
         \x20   Return the keys and the access flags from a full Redis command.",
    );
    Ok(())
}
