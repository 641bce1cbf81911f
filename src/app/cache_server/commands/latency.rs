//! LATENCY: how long commands take. There is no monitor of single events here, as in a Redis whose
//! `latency-monitor-threshold` is 0; the histograms of commands are kept.

use super::{COMMANDS, Context, find};
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::server::{CommandTotals, LATENCY_BUCKETS};
use crate::error::Result;

/// `LATENCY LATEST`, and HISTORY: no events.
pub(super) fn latest(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.array(0);
    Ok(())
}

/// `LATENCY HISTORY event`
pub(super) fn history(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    latest(context, args)
}

/// `LATENCY RESET [event ...]`: no series is there to be forgotten.
pub(super) fn reset(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.integer(0);
    Ok(())
}

/// `LATENCY GRAPH event`
pub(super) fn graph(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    context.refuse("ERR No samples available for event '", args.at(2), "'")
}

/// `LATENCY DOCTOR`
pub(super) fn doctor(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.verbatim(
        b"I'm sorry, Dave, I can't do that. Latency monitoring is disabled in this Redis instance. You may use \
          \"CONFIG SET latency-monitor-threshold <milliseconds>.\" in order to enable it. If we weren't in a deep \
          space mission I'd suggest to take a look at https://redis.io/topics/latency-monitor.\n",
    );
    Ok(())
}

/// `LATENCY HISTOGRAM [command ...]`
pub(super) fn histogram(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let totals = &context.server.commands;
    let was_called = |row: &usize| totals[*row].calls > 0;
    let all = (0..COMMANDS.len()).filter(was_called);
    let named = args.from(2).filter_map(find).map(usize::from);
    let named = named.filter(was_called);
    let is_all = args.len() == 2;
    let reply = &mut context.reply;
    reply.map(if is_all {
        all.clone().count()
    } else {
        named.clone().count()
    });
    let mut write = |row: usize| {
        reply.bulk(COMMANDS[row].name.as_bytes());
        reply.map(2);
        reply.bulk(b"calls");
        reply.integer(totals[row].calls as i64);
        reply.bulk(b"histogram_usec");
        reply.map(buckets(&totals[row]).count());
        for (micros, calls) in buckets(&totals[row]) {
            reply.integer(micros as i64);
            reply.integer(calls as i64);
        }
    };
    if is_all {
        all.for_each(write);
    } else {
        named.for_each(&mut write);
    }
    Ok(())
}

/// The upper bounds of the buckets in use, in microseconds, with the calls that took no longer.
fn buckets(totals: &CommandTotals) -> impl Iterator<Item = (u64, u64)> + Clone {
    let mut sum = 0;
    (0..LATENCY_BUCKETS).filter_map(move |number| {
        let calls = u64::from(totals.histogram[number]);
        sum += calls;
        (calls > 0).then_some((CommandTotals::bucket_nanos(number) / 1000, sum))
    })
}

/// `LATENCY HELP`
pub(super) fn help(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.help(
        "LATENCY",
        "DOCTOR\n\
         \x20   Return a human readable latency analysis report.\n\
         GRAPH <event>\n\
         \x20   Return an ASCII latency graph for the <event> class.\n\
         HISTORY <event>\n\
         \x20   Return time-latency samples for the <event> class.\n\
         LATEST\n\
         \x20   Return the latest latency samples for all events.\n\
         RESET [<event> ...]\n\
         \x20   Reset latency data of one or more <event> classes.\n\
         \x20   (default: reset all data for all event classes)\n\
         HISTOGRAM [COMMAND ...]\n\
         \x20   Return a cumulative distribution of latencies in the format of a histogram for the specified command names.\n\
         \x20   If no commands are specified then all histograms are replied.",
    );
    Ok(())
}
