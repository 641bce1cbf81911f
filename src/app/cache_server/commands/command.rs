//! COMMAND: the command table, told to clients.

use super::{COMMANDS, Command, Context, Flags, Group, find, subcommand};
use crate::app::cache_server::glob;
use crate::app::cache_server::number::{refused, refused_text};
use crate::app::cache_server::reply::Reply;
use crate::app::cache_server::resp::Args;
use crate::error::{CommandFault, Result};

/// Flags that clients are told, by name.
const FLAG_NAMES: [(&str, Flags); 9] = [
    ("write", Flags::WRITE),
    ("readonly", Flags::READONLY),
    ("denyoom", Flags::DENYOOM),
    ("admin", Flags::ADMIN),
    ("noscript", Flags::NOSCRIPT),
    ("loading", Flags::LOADING),
    ("stale", Flags::STALE),
    ("fast", Flags::FAST),
    ("no_auth", Flags::NO_AUTH),
];

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
    context.reply.array(COMMANDS.len());
    COMMANDS
        .iter()
        .for_each(|command| describe(&mut context.reply, command));
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
    context.reply.array(args.len() - 2);
    for name in args.from(2) {
        match named(name) {
            Some(command) => describe(&mut context.reply, command),
            None => context.reply.null_array(),
        }
    }
    Ok(())
}

/// `COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]`
pub(super) fn list(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let is = |at: usize, name: &str| {
        args.get(at)
            .is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    let shows: &dyn Fn(&Command) -> bool = match args.len() {
        2 => &|_| true,
        5 if is(2, "FILTERBY") && is(3, "MODULE") => &|_| false,
        5 if is(2, "FILTERBY") && is(3, "ACLCAT") => &|command| {
            categories(command).any(|category| args.at(4).eq_ignore_ascii_case(category.as_bytes()))
        },
        5 if is(2, "FILTERBY") && is(3, "PATTERN") => {
            &|command| glob::matches(args.at(4), command.name.as_bytes())
        }
        _ => return Err(refused(CommandFault::Syntax)),
    };
    let reply = &mut context.reply;
    reply.array(COMMANDS.iter().filter(|command| shows(command)).count());
    for command in COMMANDS.iter().filter(|command| shows(command)) {
        reply.bulk(command.name.as_bytes());
    }
    Ok(())
}

/// `COMMAND DOCS [name ...]`
pub(super) fn docs(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let reply = &mut context.reply;
    if args.len() == 2 {
        reply.map(COMMANDS.len());
        COMMANDS.iter().for_each(|command| document(reply, command));
        return Ok(());
    }
    reply.map(args.from(2).filter(|name| named(name).is_some()).count());
    args.from(2)
        .filter_map(named)
        .for_each(|command| document(reply, command));
    Ok(())
}

/// `COMMAND GETKEYS command [argument ...]`
pub(super) fn getkeys(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let mut command = named(args.at(2)).ok_or(refused_text("ERR Invalid command specified"))?;
    if !command.subcommands.is_empty()
        && let Some(found) = args.get(3).and_then(|name| subcommand(command, name))
    {
        command = found;
    }
    if command.keys.first == 0 {
        return Err(refused_text("ERR The command has no key arguments"));
    }
    let count = args.len() - 2;
    if !command.fits(count) {
        return Err(refused_text(
            "ERR Invalid number of arguments specified for command",
        ));
    }
    let keys = command.keys;
    let last = match usize::try_from(keys.last) {
        Ok(last) => last,
        Err(_) => count - usize::from(keys.last.unsigned_abs()),
    };
    let numbers = (usize::from(keys.first)..=last).step_by(usize::from(keys.step));
    context.reply.array(numbers.clone().count());
    numbers.for_each(|number| context.reply.bulk(args.at(number + 2)));
    Ok(())
}

/// `COMMAND HELP`
pub(super) fn help(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.help(
        "COMMAND",
        &[
            "(no subcommand)",
            "    Return details about all Redis commands.",
            "COUNT",
            "    Return the total number of commands in this Redis server.",
            "LIST",
            "    Return a list of all commands in this Redis server.",
            "INFO [<command-name> ...]",
            "    Return details about multiple Redis commands.",
            "    If no command names are given, documentation details for all",
            "    commands are returned.",
            "DOCS [<command-name> ...]",
            "    Return documentation details about multiple Redis commands.",
            "    If no command names are given, documentation details for all",
            "    commands are returned.",
            "GETKEYS <full-command>",
            "    Return the keys from a full Redis command.",
        ],
    );
    Ok(())
}

/// The ACL categories that Redis derives from a command's flags and group, without their `@`.
fn categories(command: &Command) -> impl Iterator<Item = &'static str> {
    let flags = command.flags;
    [
        ("write", flags.has(Flags::WRITE)),
        ("read", flags.has(Flags::READONLY)),
        ("keyspace", command.group == Group::Generic),
        ("string", command.group == Group::String),
        ("connection", command.group == Group::Connection),
        ("admin", flags.has(Flags::ADMIN)),
        ("dangerous", flags.has(Flags::ADMIN)),
        ("fast", flags.has(Flags::FAST)),
        ("slow", !flags.has(Flags::FAST)),
    ]
    .into_iter()
    .filter_map(|(name, applies)| applies.then_some(name))
}

/// Writes the ten facts of COMMAND INFO.
fn describe(reply: &mut Reply<'_>, command: &Command) {
    reply.array(10);
    reply.bulk(command.name.as_bytes());
    reply.integer(i64::from(command.arity));
    let flags = FLAG_NAMES
        .iter()
        .filter(|(_, flag)| command.flags.has(*flag));
    reply.set(flags.clone().count());
    flags.for_each(|(name, _)| reply.status(name));
    reply.integer(i64::from(command.keys.first));
    reply.integer(i64::from(command.keys.last));
    reply.integer(i64::from(command.keys.step));
    reply.set(categories(command).count());
    categories(command).for_each(|name| reply.raw(&[b"+@", name.as_bytes(), b"\r\n"]));
    // Tips and key specifications: none beyond what the three numbers above say.
    reply.array(0);
    reply.array(0);
    reply.array(command.subcommands.len());
    command
        .subcommands
        .iter()
        .for_each(|subcommand| describe(reply, subcommand));
}

/// Writes the documentation of one command, its name first.
fn document(reply: &mut Reply<'_>, command: &Command) {
    reply.bulk(command.name.as_bytes());
    let has_subcommands = !command.subcommands.is_empty();
    reply.map(3 + usize::from(has_subcommands));
    for (key, value) in [
        ("summary", command.summary),
        ("since", command.since),
        ("group", command.group.name()),
    ] {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
    if has_subcommands {
        reply.bulk(b"subcommands");
        reply.map(command.subcommands.len());
        command
            .subcommands
            .iter()
            .for_each(|subcommand| document(reply, subcommand));
    }
}
