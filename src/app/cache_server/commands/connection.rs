//! Commands on the connection itself, but for CLIENT.

use super::Context;
use super::client::set_name;
use crate::app::cache_server::number::{parse_i64, refused, refused_text};
use crate::app::cache_server::reply::Protocol;
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::session::{Fate, Hearing};
use crate::app::cache_server::word::Word;
use crate::error::{CommandFault, Result};

/// The version of Redis whose replies these are.
pub(super) const REDIS_VERSION: &str = "7.0.15";

/// `PING [message]`
pub(super) fn ping(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    match args.len() {
        1 => context.reply.output.write(b"+PONG\r\n"),
        2 => context.reply.bulk(args.at(1)),
        _ => return Err(refused(CommandFault::WrongArity("ping"))),
    }
    Ok(())
}

/// `ECHO message`
pub(super) fn echo(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    context.reply.bulk(args.at(1));
    Ok(())
}

/// `QUIT`
pub(super) fn quit(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.session.fate = Fate::Closing;
    context.reply.ok();
    Ok(())
}

/// `RESET`
pub(super) fn reset(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.server.end_tracking(context.session);
    let session = &mut context.session;
    session.database = 0;
    session.protocol = Protocol::Resp2;
    session.hearing = Hearing::All;
    session.name.clear();
    session.is_no_evict = false;
    session.is_authenticated = !context.server.config.requires_password();
    context.reply.protocol = Protocol::Resp2;
    context.reply.status("RESET");
    Ok(())
}

/// `AUTH [username] password`
pub(super) fn auth(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let (user, password) = match args.len() {
        2 if !context.server.config.requires_password() => {
            return Err(refused_text(
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            ));
        }
        2 => (&b"default"[..], args.at(1)),
        3 => (args.at(1), args.at(2)),
        _ => return Err(refused(CommandFault::Syntax)),
    };
    authenticate(context, user, password)?;
    context.reply.ok();
    Ok(())
}

fn authenticate(context: &mut Context<'_>, user: &[u8], password: &[u8]) -> Result<()> {
    let config = &context.server.config;
    // Without a password the default user accepts any, as in Redis.
    let is_right = !config.requires_password() || config.accepts_password(password);
    if user != b"default" || !is_right {
        return Err(refused(CommandFault::WrongPassword));
    }
    context.session.is_authenticated = true;
    Ok(())
}

/// `HELLO [version [AUTH username password] [SETNAME name]]`
pub(super) fn hello(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let mut protocol = context.session.protocol;
    if let Some(version) = args.get(1) {
        protocol = match parse_i64(version) {
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => return Err(refused_text("NOPROTO unsupported protocol version")),
            None => {
                return Err(refused_text(
                    "ERR Protocol version is not an integer or out of range",
                ));
            }
        };
    }
    let mut number = 2;
    while let Some(word) = args.get(number) {
        if word.is_word(b"AUTH")
            && let (Some(user), Some(password)) = (args.get(number + 1), args.get(number + 2))
        {
            authenticate(context, user, password)?;
            number += 3;
        } else if word.is_word(b"SETNAME")
            && let Some(name) = args.get(number + 1)
        {
            set_name(context, name)?;
            number += 2;
        } else {
            return context.refuse("ERR Syntax error in HELLO option '", word, "'");
        }
    }
    if !context.session.is_authenticated {
        return Err(refused_text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
             AUTH <user> <pass> option can be used to authenticate the client and select the RESP \
             protocol version at the same time",
        ));
    }
    context.session.protocol = protocol;
    context.reply.protocol = protocol;
    let id = context.session.id;
    let reply = &mut context.reply;
    reply.map(7);
    for (key, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.integer(if protocol == Protocol::Resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.integer(i64::try_from(id).unwrap_or(i64::MAX));
    for (key, value) in [("mode", "standalone"), ("role", "master")] {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
    Ok(())
}
