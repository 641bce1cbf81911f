//! CLIENT TRACKING and what belongs to it: server-assisted client-side caching ([`tracking`]).
//!
//! [`tracking`]: crate::app::cache_server::tracking

use super::Context;
use super::client::redirection;
use crate::app::cache_server::number::{integer, refused, refused_text};
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::session::Fate;
use crate::app::cache_server::tracking::{Caching, PREFIXES_MAX, Redirect, Tracker, too_many};
use crate::app::cache_server::word::Word;
use crate::error::{CommandFault, Grow, Result};
use alloc::vec::Vec;

/// What CLIENT TRACKING was asked for.
#[derive(Default)]
struct Options<'a> {
    redirect: Option<Redirect>,
    broadcasts: bool,
    opts_in: bool,
    opts_out: bool,
    ignores_own: bool,
    prefixes: Vec<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(context: &Context<'_>, args: Args<'a>) -> Result<Self> {
        let mut options = Self::default();
        let mut number = 3;
        while let Some(word) = args.get(number) {
            let is = |name: &str| word.is_word(name.as_bytes());
            match args.get(number + 1) {
                Some(text) if is("REDIRECT") => {
                    if options.redirect.is_some() {
                        return Err(refused_text(
                            "ERR A client can only redirect to a single other client",
                        ));
                    }
                    options.redirect = Some(find_client(context, integer(text)?)?);
                    number += 1;
                }
                Some(prefix) if is("PREFIX") => {
                    if options.prefixes.len() == PREFIXES_MAX {
                        return Err(too_many());
                    }
                    options.prefixes.try_push(prefix)?;
                    number += 1;
                }
                _ if is("BCAST") => options.broadcasts = true,
                _ if is("OPTIN") => options.opts_in = true,
                _ if is("OPTOUT") => options.opts_out = true,
                _ if is("NOLOOP") => options.ignores_own = true,
                _ => return Err(refused(CommandFault::Syntax)),
            }
            number += 1;
        }
        Ok(options)
    }

    /// Refuses what does not go together, or not with how the client tracks already.
    fn check(&self, context: &mut Context<'_>) -> Result<()> {
        let present = context.session.tracker;
        let was = |caching| present.caching == caching;
        let is_switched =
            self.opts_in && was(Caching::OptOut) || self.opts_out && was(Caching::OptIn);
        let text = if !self.broadcasts && !self.prefixes.is_empty() {
            "ERR PREFIX option requires BCAST mode to be enabled"
        } else if present.is_on && present.is_broadcasting != self.broadcasts {
            return refuse_switch(context, b"BCAST mode on/off");
        } else if self.broadcasts && (self.opts_in || self.opts_out) {
            "ERR OPTIN and OPTOUT are not compatible with BCAST"
        } else if self.opts_in && self.opts_out {
            "ERR You can't specify both OPTIN mode and OPTOUT mode"
        } else if is_switched {
            return refuse_switch(context, b"OPTIN/OPTOUT mode");
        } else {
            return Ok(());
        };
        Err(refused_text(text))
    }

    /// Refuses prefixes that are one the beginning of the other: keys with the longer would be told twice.
    /// Redis 7.0 answers those behind the first with the error and then with OK, which no client can follow.
    fn check_prefixes(&self, context: &mut Context<'_>) -> Result<()> {
        for (number, &prefix) in self.prefixes.iter().enumerate() {
            let tracking = &context.server.tracking;
            let mut present = tracking.prefixes_of(context.session.connection);
            let mut others = self.prefixes[number + 1..].iter().copied();
            let (kind, other) = if let Some(other) = overlapping(prefix, &mut present) {
                ("an existing prefix", other)
            } else if let Some(other) = overlapping(prefix, &mut others) {
                ("another provided prefix", other)
            } else {
                continue;
            };
            let reply = &mut context.reply;
            reply.raw(&[b"-ERR Prefix '"]);
            reply.quoted(prefix, usize::MAX);
            reply.raw(&[b"' overlaps with ", kind.as_bytes(), b" '"]);
            reply.quoted(other, usize::MAX);
            reply.raw(&[b"'. Prefixes for a single client must not overlap.\r\n"]);
            return Err(refused(CommandFault::Told));
        }
        Ok(())
    }
}

fn refuse_switch(context: &mut Context<'_>, mode: &[u8]) -> Result<()> {
    let end = " before disabling tracking for this client, and then re-enabling it with a different mode.";
    context.refuse("ERR You can't switch ", mode, end)
}

/// The first of `others` that is the beginning of `prefix`, or the other way round.
#[inline(never)]
fn overlapping<'a>(
    prefix: &[u8],
    mut others: &mut dyn Iterator<Item = &'a [u8]>,
) -> Option<&'a [u8]> {
    Iterator::find(&mut others, |other| {
        other.starts_with(prefix) || prefix.starts_with(other)
    })
}

fn find_client(context: &Context<'_>, id: i64) -> Result<Redirect> {
    let mut all = context.server.sessions.iter().chain([&*context.session]);
    let found = all.find(|session| u64::try_from(id) == Ok(session.id));
    let missing = refused_text("ERR The client ID you want redirect to does not exist");
    let session = found.ok_or(missing)?;
    Ok(Redirect {
        id: session.id,
        connection: session.connection,
    })
}

/// `CLIENT TRACKING ON | OFF [REDIRECT id] [PREFIX prefix ...] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]`
pub(super) fn tracking(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let mut options = Options::parse(context, args)?;
    let word = args.at(2);
    if word.is_word(b"OFF") {
        context.server.end_tracking(context.session);
    } else if word.is_word(b"ON") {
        let present = context.session.tracker;
        options.check(context)?;
        options.check_prefixes(context)?;
        if options.broadcasts && options.prefixes.is_empty() {
            options.prefixes.try_push(b"")?;
        }
        let tracker = Tracker {
            is_on: true,
            is_broadcasting: options.broadcasts,
            caching: match () {
                () if options.opts_in => Caching::OptIn,
                () if options.opts_out => Caching::OptOut,
                () => Caching::Always,
            },
            is_caching_given: present.is_caching_given,
            ignores_own: options.ignores_own,
            redirect: options.redirect,
            is_redirect_broken: false,
        };
        let (server, session) = (&mut context.server, &mut *context.session);
        server.track(session, tracker, &options.prefixes)?;
        // What follows in this turn is tracked as well.
        session.fate = Fate::Yielding;
    } else {
        return Err(refused(CommandFault::Syntax));
    }
    context.reply.ok();
    Ok(())
}

/// `CLIENT TRACKINGINFO`
pub(super) fn info(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    let Context {
        server,
        session,
        reply,
    } = context;
    let tracker = session.tracker;
    let (opts_in, opts_out) = (
        tracker.caching == Caching::OptIn,
        tracker.caching == Caching::OptOut,
    );
    let flags = [
        (tracker.is_on, "on"),
        (!tracker.is_on, "off"),
        (tracker.is_broadcasting, "bcast"),
        (opts_in, "optin"),
        (opts_in && tracker.is_caching_given, "caching-yes"),
        (opts_out, "optout"),
        (opts_out && tracker.is_caching_given, "caching-no"),
        (tracker.ignores_own, "noloop"),
        (tracker.is_redirect_broken, "broken_redirect"),
    ];
    let flags = flags.iter().filter(|(is_set, _)| *is_set);
    let prefixes = server.tracking.prefixes_of(session.connection);
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.clone().count());
    flags.for_each(|(_, name)| reply.bulk(name.as_bytes()));
    reply.bulk(b"redirect");
    reply.integer(redirection(session));
    reply.bulk(b"prefixes");
    reply.array(prefixes.clone().count());
    prefixes.for_each(|prefix| reply.bulk(prefix));
    Ok(())
}

/// `CLIENT CACHING YES | NO`
pub(super) fn caching(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let (word, tracker) = (args.at(2), &mut context.session.tracker);
    let (needed, text) = match () {
        () if !tracker.is_on => {
            return Err(refused_text(
                "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or \
                 OPTOUT mode enabled",
            ));
        }
        () if word.is_word(b"YES") => (
            Caching::OptIn,
            "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
        ),
        () if word.is_word(b"NO") => (
            Caching::OptOut,
            "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
        ),
        () => return Err(refused(CommandFault::Syntax)),
    };
    if tracker.caching != needed {
        return Err(refused_text(text));
    }
    tracker.is_caching_given = true;
    context.reply.ok();
    Ok(())
}

/// `CLIENT GETREDIR`
pub(super) fn getredir(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.integer(redirection(context.session));
    Ok(())
}
