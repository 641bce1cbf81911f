//! Commands: the table of them, how one is found and run, and a module for each group.
//!
//! A row of the table ([`table`]) says all that dispatch and COMMAND need to know of a command; adding a
//! command is adding a row. A handler either writes one whole reply, or fails and has written nothing
//! that stays: what it wrote before an error is taken back.
//!
//! A handler that fails with `OutOfMemory` has changed nothing that running it again would not change in
//! the same way. So a full store is dispatch's business alone: it makes room and runs the handler again.

mod acl;
mod client;
mod command;
mod config;
mod connection;
mod counters;
mod database;
mod describe;
mod document;
mod expiry;
mod float;
mod info;
mod introspection;
mod keys;
mod latency;
mod lcs;
mod lookup;
mod memory;
mod module;
mod natural;
mod options;
mod pause;
mod persistence;
mod repeats;
mod replication;
mod scan;
mod slowlog;
mod strings;
mod table;
mod tracking;

use super::number::refused;
use super::reply::{QUOTED_BYTES_MAX, Reply};
use super::resp::Args;
use super::server::Server;
use super::session::{Hearing, Session};
use super::slowlog::{SlowCommand, kept_arguments};
use crate::app::cache_server::word::Word;
use crate::error::{CommandFault, Error, Kind, Result, Subsystem, try_to_vec};

pub(crate) use lookup::find;
pub(super) use repeats::{can_repeat, execute_repeats};
pub(super) use table::{COMMAND_COUNT, COMMANDS};

/// What a handler works on.
pub(super) struct Context<'a> {
    /// Keyspace, settings, clients.
    pub server: &'a mut Server,
    /// The client.
    pub session: &'a mut Session,
    /// Where its reply goes.
    pub reply: Reply<'a>,
}

impl Context<'_> {
    /// Answers with an error that repeats a word of the request, up to its first NUL as in C.
    ///
    /// # Errors
    /// `Told`, always.
    #[cold]
    pub(super) fn refuse<T>(&mut self, start: &str, word: &[u8], end: &str) -> Result<T> {
        self.reply.raw(&[b"-", start.as_bytes()]);
        let mut word = word.split(|&byte| byte == 0).next().unwrap_or_default();
        // Line ends become blanks, but at the very end they are cut.
        while let (true, [rest @ .., b'\r' | b'\n']) = (end.is_empty(), word) {
            word = rest;
        }
        self.reply.quoted(word, usize::MAX);
        self.reply.raw(&[end.as_bytes(), b"\r\n"]);
        Err(refused(CommandFault::Told))
    }

    /// Refuses a request with more words than its subcommand takes, where Redis names both mistakes in one text.
    ///
    /// # Errors
    /// `Told`, always.
    pub(super) fn refuse_words(&mut self, args: Args<'_>, end: &str) -> Result<()> {
        let start = "ERR unknown subcommand or wrong number of arguments for '";
        let word = args.at(1);
        self.refuse(start, &word[..word.len().min(QUOTED_BYTES_MAX)], end)
    }

    /// The selected database.
    #[inline]
    pub(super) fn database(&self) -> usize {
        usize::from(self.session.database)
    }
}

/// Runs a command.
pub(super) type Handler = fn(&mut Context<'_>, Args<'_>) -> Result<()>;

/// What kind of command it is; names and meanings are Redis'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags(u16);

impl Flags {
    /// Nothing special.
    pub(super) const NONE: Self = Self(0);
    /// May change keys.
    pub(super) const WRITE: Self = Self(1);
    /// Reads keys and changes none.
    pub(super) const READONLY: Self = Self(2);
    /// May need memory: room is made first.
    pub(super) const DENYOOM: Self = Self(4);
    /// For operators.
    pub(super) const ADMIN: Self = Self(8);
    /// Takes constant or logarithmic time.
    pub(super) const FAST: Self = Self(16);
    /// Runs without authentication.
    pub(super) const NO_AUTH: Self = Self(32);
    /// Not for scripts.
    pub(super) const NOSCRIPT: Self = Self(64);
    /// Fine while data is being loaded.
    pub(super) const LOADING: Self = Self(128);
    /// Fine on data that may be stale.
    pub(super) const STALE: Self = Self(256);
    /// Can take long: timed one by one for the slow log. Not a flag of Redis'.
    pub(super) const TIMED: Self = Self(512);

    /// Both.
    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True if all of `other` are among these.
    #[inline]
    pub(super) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Where keys stand among the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyRange {
    /// The first key; 0 for no keys.
    pub first: u8,
    /// The last; below 0 counted from the end.
    pub last: i8,
    /// From one key to the next.
    pub step: u8,
}

impl KeyRange {
    /// The last key's number among `count` arguments, the name among them.
    pub(super) fn last_of(self, count: usize) -> usize {
        match usize::try_from(self.last) {
            Ok(last) => last,
            Err(_) => count - usize::from(self.last.unsigned_abs()),
        }
    }
}

/// A row of the table.
pub(super) struct Command {
    /// Its name, in lower case; of a subcommand, `parent|name`.
    pub name: &'static str,
    /// Arguments with the name; below 0, at least so many.
    pub arity: i8,
    /// What kind it is.
    pub flags: Flags,
    /// Its keys.
    pub keys: KeyRange,
    /// Runs it.
    pub handler: Handler,
    /// Its subcommands; then `handler` is not called.
    pub subcommands: &'static [Command],
}

impl Command {
    /// True if a request of `count` arguments fits.
    #[inline]
    fn fits(&self, count: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        if self.arity >= 0 {
            count == arity
        } else {
            count >= arity
        }
    }
}

/// True if commands of that row may change keys.
pub(super) fn is_write(row: u16) -> bool {
    COMMANDS[usize::from(row)].flags.has(Flags::WRITE)
}

/// The command that a request names, if its arguments fit.
fn fitting(args: Args<'_>) -> Option<&'static Command> {
    let row = args.get(0).and_then(find)?;
    let command = COMMANDS.get(usize::from(row))?;
    let named = match args.get(1) {
        Some(name) if !command.subcommands.is_empty() => subcommand(command, name)?,
        _ => command,
    };
    (command.fits(args.len()) && named.fits(args.len())).then_some(named)
}

/// Shows `see` the keys that a request reads, if its command changes none.
pub(super) fn each_key_read(args: Args<'_>, see: &mut dyn FnMut(&[u8])) {
    let command = fitting(args).filter(|command| command.flags.has(Flags::READONLY));
    let Some(keys) = command
        .map(|command| command.keys)
        .filter(|keys| keys.first > 0)
    else {
        return;
    };
    let mut number = usize::from(keys.first);
    while number <= keys.last_of(args.len()) {
        see(args.at(number));
        number += usize::from(keys.step);
    }
}

/// True for a CLIENT command, whatever its words.
pub(super) fn is_of_client(args: Args<'_>) -> bool {
    args.get(0).is_some_and(|name| name.is_word(b"CLIENT"))
}

/// Runs one request and writes its reply. Returns the row it was counted under, if it ran.
#[inline]
pub(super) fn execute(context: &mut Context<'_>, args: Args<'_>) -> Option<u16> {
    let start = context.reply.output.len();
    let hearing = context.session.hearing;
    let row = lookup::find_inline(args.at(0));
    let outcome = match row {
        Some(row) => check(context, args, row),
        None => reject(context, CommandFault::Unknown, None),
    };
    if let Err(error) = outcome {
        answer_error(context, args, &error, start);
    }
    if hearing != Hearing::All || context.session.hearing != Hearing::All {
        suppress(context, hearing, start);
    }
    row
}

/// Writes the reply of a request that failed in place of what was written since `start`, and counts it by
/// its first word.
#[cold]
fn answer_error(context: &mut Context<'_>, args: Args<'_>, error: &Error, start: usize) {
    if !matches!(error.kind(), Kind::Command(CommandFault::Told)) {
        context.reply.output.truncate(start);
        context.reply.error(error, args);
    }
    let text = context.reply.output.as_slice().get(start..);
    context.server.count_error(text.unwrap_or_default());
}

/// Takes a reply back that the client does not want to hear (CLIENT REPLY).
#[cold]
fn suppress(context: &mut Context<'_>, before: Hearing, start: usize) {
    context.session.hearing = match (before, context.session.hearing) {
        (_, Hearing::All) => return,
        (_, Hearing::Nothing) => Hearing::Nothing,
        (_, Hearing::SkipThis) => Hearing::SkipNext,
        (_, Hearing::SkipNext) => Hearing::All,
    };
    context.reply.output.truncate(start);
}

#[cold]
fn reject(context: &mut Context<'_>, fault: CommandFault, row: Option<u16>) -> Result<()> {
    if let Some(row) = row {
        context.server.commands[usize::from(row)].rejected += 1;
    }
    Err(refused(fault))
}

/// Counts the arguments, finds the subcommand, and runs it.
fn check(context: &mut Context<'_>, args: Args<'_>, row: u16) -> Result<()> {
    let mut command = &COMMANDS[usize::from(row)];
    if !command.fits(args.len()) {
        return reject(context, CommandFault::WrongArity(command.name), Some(row));
    }
    if !command.subcommands.is_empty()
        && let Some(name) = args.get(1)
    {
        command = match subcommand(command, name) {
            Some(subcommand) if subcommand.fits(args.len()) => subcommand,
            Some(subcommand) => {
                return reject(
                    context,
                    CommandFault::WrongArity(subcommand.name),
                    Some(row),
                );
            }
            None => {
                let fault = CommandFault::UnknownSubcommand(command.name);
                return reject(context, fault, Some(row));
            }
        };
    }
    run(context, args, row, command)
}

#[inline]
fn run(context: &mut Context<'_>, args: Args<'_>, row: u16, command: &Command) -> Result<()> {
    if !context.session.is_authenticated && !command.flags.has(Flags::NO_AUTH) {
        return reject(context, CommandFault::AuthRequired, Some(row));
    }
    context.session.last_command = Some(row);
    context.server.counters.runs(row);
    if command.flags.has(Flags::DENYOOM) && context.server.store.is_over_limit() {
        shrink_to_limit(context)?;
    }
    let is_timed = command.flags.has(Flags::TIMED) || context.server.config.slower_than_us == 0;
    let outcome = if is_timed {
        run_timed(context, args, command)
    } else {
        attempt(context, args, command)
    };
    if outcome.is_err() {
        count_failure(context, row);
    }
    outcome
}

#[cold]
fn count_failure(context: &mut Context<'_>, row: u16) {
    context.server.commands[usize::from(row)].failed += 1;
    context.server.counters.errors[usize::from(row)].increment();
}

/// Finds a subcommand by its name without the parent's.
pub(super) fn subcommand(command: &Command, name: &[u8]) -> Option<&'static Command> {
    let start = command.name.len() + 1;
    command
        .subcommands
        .iter()
        .find(|subcommand| subcommand.name.as_bytes()[start..].is_word(name))
}

/// Runs a handler, and again with more room while memory is what it lacks.
#[inline]
fn attempt(context: &mut Context<'_>, args: Args<'_>, command: &Command) -> Result<()> {
    let outcome = (command.handler)(context, args);
    match outcome {
        Ok(()) => Ok(()),
        Err(error) => attempt_with_room(context, args, command, Err(error)),
    }
}

/// True for what eviction can help: what the keyspace lacks. The heap is another matter.
fn is_full(error: &Error) -> bool {
    matches!(error.kind(), Kind::OutOfMemory { .. }) && error.subsystem() == Subsystem::Cache
}

/// Bytes that one command may evict beyond twice what it asks for, before it is refused: more than the
/// slack of all size classes together, so it is reached only where the frame source itself is broken up.
const EVICTED_BYTES_MAX: u64 = 4 << 20;

#[cold]
fn attempt_with_room(
    context: &mut Context<'_>,
    args: Args<'_>,
    command: &Command,
    mut outcome: Result<()>,
) -> Result<()> {
    let start = context.reply.output.len();
    let before = context.server.store.sizes().entry_bytes;
    loop {
        let requested_bytes = match outcome {
            Err(error) if is_full(&error) => match error.kind() {
                Kind::OutOfMemory { requested_bytes } => requested_bytes,
                _ => 0,
            },
            _ => return outcome,
        };
        let evicted = before.saturating_sub(context.server.store.sizes().entry_bytes);
        let is_too_much = evicted > EVICTED_BYTES_MAX + 2 * requested_bytes as u64;
        if is_too_much || !context.server.store.make_room(requested_bytes) {
            return Err(refused(CommandFault::OutOfMemory));
        }
        context.reply.output.truncate(start);
        outcome = (command.handler)(context, args);
    }
}

/// Keys evicted for one command while the store is over a limit that was lowered: a bounded pause.
const EVICTIONS_PER_COMMAND: usize = 256;

#[cold]
fn shrink_to_limit(context: &mut Context<'_>) -> Result<()> {
    for _ in 0..EVICTIONS_PER_COMMAND {
        if !context.server.store.is_over_limit() {
            break;
        }
        if !context.server.store.make_room(0) {
            return Err(refused(CommandFault::OutOfMemory));
        }
    }
    Ok(())
}

#[cold]
fn run_timed(context: &mut Context<'_>, args: Args<'_>, command: &Command) -> Result<()> {
    let began = context.server.clock.now();
    let outcome = attempt(context, args, command);
    let micros = context.server.clock.now().since(began).as_nanos() / 1000;
    let threshold = context.server.config.slower_than_us;
    if u64::try_from(threshold).is_ok_and(|threshold| micros >= threshold) {
        let entry = SlowCommand {
            id: 0,
            unix_secs: context.server.store.now_ms() / 1000,
            micros,
            arguments: kept_arguments(args)?,
            peer: context.session.peer,
            client_name: try_to_vec(&context.session.name)?,
        };
        context.server.slowlog.push(entry)?;
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_carry_the_name_of_their_parent() {
        for command in COMMANDS {
            for sub in command.subcommands {
                let (parent, name) = sub.name.split_once('|').expect("parent|name");
                assert_eq!(parent, command.name);
                let found = super::subcommand(command, name.as_bytes()).expect("found");
                assert_eq!(found.name, sub.name);
            }
        }
    }
}
