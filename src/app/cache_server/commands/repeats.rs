//! Requests that repeat one before them: run in a row, with what they have in common looked at once.
//!
//! Only commands that touch the keyspace alone repeat: none of them changes what the row leans on, which
//! is the session, the settings, and that the store is within its limit (it never grows beyond).

use super::strings;
use super::{COMMANDS, Context, Flags, answer_error, attempt_with_room, count_failure};
use crate::app::cache_server::head::{HEAD_ARGUMENTS_MAX, Head, Series};
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::session::{Fate, Hearing};
use crate::error::Error;

/// What became of a row of requests.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Repeats {
    /// How many were run.
    pub(crate) count: u32,
    /// Bytes they took of the input.
    pub(crate) consumed: usize,
}

/// True if requests of `count` arguments for the command of that row may be run in a row: all of them run
/// the row's own handler, on the keyspace alone, and are not timed one by one.
#[inline]
pub(crate) fn can_repeat(row: u16, count: usize) -> bool {
    let command = &COMMANDS[usize::from(row)];
    let is_of_keys = command.flags.has(Flags::READONLY) || command.flags.has(Flags::WRITE);
    let is_timed = command.flags.has(Flags::TIMED);
    is_of_keys && !is_timed && command.subcommands.is_empty() && command.fits(count)
}

/// Runs the requests at the start of `input` that have this head, until one has another or the room for
/// replies ends. [`can_repeat`] said yes to its row and count.
#[inline]
pub(crate) fn execute_repeats(context: &mut Context<'_>, head: &Head, input: &[u8]) -> Repeats {
    let row = head.row();
    let command = &COMMANDS[usize::from(row)];
    let (session, server) = (&mut *context.session, &*context.server);
    let is_usual = session.is_authenticated
        && session.hearing == Hearing::All
        && session.fate == Fate::Open
        && server.config.slower_than_us != 0
        && !(command.flags.has(Flags::DENYOOM) && server.store.is_over_limit());
    if !is_usual {
        return Repeats::default();
    }
    session.last_command = Some(row);
    server.counters.runs(row);
    // What runs most becomes part of the loop.
    match (head.count(), command.name) {
        (2, "get") => run::<2>(context, head, input, 2, strings::get_usual),
        (3, "set") => run::<3>(context, head, input, 3, strings::set_usual),
        (count, _) => run::<HEAD_ARGUMENTS_MAX>(context, head, input, count, |_, _| false),
    }
}

/// Runs requests of `count` arguments, which are `N` at most: all code of it that concerns more is left out.
/// Each is run by the command's handler, unless `usual` says that it has done it.
#[inline(never)]
fn run<const N: usize>(
    context: &mut Context<'_>,
    head: &Head,
    input: &[u8],
    count: usize,
    usual: impl Fn(&mut Context<'_>, Args<'_>) -> bool,
) -> Repeats {
    let mut repeats = Repeats::default();
    let mut series = Series::<N>::new(head);
    while !context.reply.output.is_full() {
        let input = &input[repeats.consumed..];
        let Some(consumed) = series.read(input, count) else {
            break;
        };
        if !usual(context, series.args(input, count)) {
            handle(context, series.args(input, count), head.row());
        }
        repeats.consumed += consumed;
        repeats.count += 1;
    }
    repeats
}

/// Runs the handler of the command of that row, again if it failed for want of room in the keyspace; or replies with
/// its error.
#[inline(never)]
fn handle(context: &mut Context<'_>, args: Args<'_>, row: u16) {
    let command = &COMMANDS[usize::from(row)];
    let start = context.reply.output.len();
    if let Err(error) = (command.handler)(context, args) {
        recover(context, args, row, error, start);
    }
}

/// Runs a request again that failed, if it was for want of room in the keyspace, or replies with its error.
#[cold]
fn recover(context: &mut Context<'_>, args: Args<'_>, row: u16, error: Error, start: usize) {
    let command = &COMMANDS[usize::from(row)];
    if let Err(error) = attempt_with_room(context, args, command, Err(error)) {
        count_failure(context, row);
        answer_error(context, args, &error, start);
    }
}
