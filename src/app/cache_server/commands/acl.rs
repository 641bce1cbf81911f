//! ACL: the one user there is, `default`, who may do everything once authenticated.

use super::describe::{CATEGORIES, categories};
use super::document::{Document, Documents};
use super::{COMMANDS, Context, find};
use crate::app::cache_server::number::{integer, refused, refused_text};
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::sha256::Sha256Text;
use crate::app::cache_server::word::Word;
use crate::error::{CommandFault, Result};

const USER: &[u8] = b"default";

/// `ACL WHOAMI`
pub(super) fn whoami(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.bulk(USER);
    Ok(())
}

/// `ACL USERS`
pub(super) fn users(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.array(1);
    context.reply.bulk(USER);
    Ok(())
}

/// The hash under which the password is shown, if there is one.
fn password(context: &Context<'_>) -> Option<Sha256Text> {
    let config = &context.server.config;
    config
        .requires_password()
        .then(|| Sha256Text::of(&config.password))
}

/// `ACL LIST`
pub(super) fn list(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    let password = password(context);
    let (mark, hash) = match &password {
        Some(hash) => (&b"#"[..], hash.as_bytes()),
        None => (&b""[..], &b"nopass"[..]),
    };
    context.reply.array(1);
    let start = context.reply.output.len();
    context
        .reply
        .raw(&[b"user default on ", mark, hash, b" ~* &* +@all"]);
    let line = context.reply.take_since(start)?;
    context.reply.bulk(&line);
    Ok(())
}

/// `ACL GETUSER username`
pub(super) fn getuser(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    if args.at(2) != USER {
        context.reply.null();
        return Ok(());
    }
    let password = password(context);
    let reply = &mut context.reply;
    reply.map(6);
    reply.bulk(b"flags");
    reply.set(1 + usize::from(password.is_none()));
    reply.bulk(b"on");
    if password.is_none() {
        reply.bulk(b"nopass");
    }
    reply.bulk(b"passwords");
    reply.array(usize::from(password.is_some()));
    if let Some(hash) = &password {
        reply.bulk(hash.as_bytes());
    }
    for (key, rule) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        reply.bulk(key.as_bytes());
        reply.bulk(rule.as_bytes());
    }
    reply.bulk(b"selectors");
    reply.array(0);
    Ok(())
}

/// `ACL CAT [category]`
pub(super) fn cat(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    if args.len() > 3 {
        return context.refuse_words(args, "'. Try ACL HELP.");
    }
    let reply = &mut context.reply;
    let Some(word) = args.get(2) else {
        reply.array(CATEGORIES.len());
        CATEGORIES
            .iter()
            .for_each(|category| reply.bulk(category.as_bytes()));
        return Ok(());
    };
    let mut known = CATEGORIES.into_iter();
    let asked = known.find(|category| word.is_word(category.as_bytes()));
    let Some(category) = asked else {
        return context.refuse("ERR Unknown category '", word, "'");
    };
    let documents = Documents::read()?;
    let in_it = |document: &Document<'_>| categories(*document).any(|one| one == category);
    reply.array(documents.all().filter(in_it).count());
    documents
        .all()
        .filter(in_it)
        .for_each(|document| reply.bulk(document.name().as_bytes()));
    Ok(())
}

/// `ACL DRYRUN username command [argument ...]`
pub(super) fn dryrun(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    if args.at(2) != USER {
        return context.refuse("ERR User '", args.at(2), "' not found");
    }
    let Some(row) = find(args.at(3)) else {
        return context.refuse("ERR Command '", args.at(3), "' not found");
    };
    let command = &COMMANDS[usize::from(row)];
    if !command.fits(args.len() - 3) {
        return Err(refused(CommandFault::WrongArity(command.name)));
    }
    context.reply.ok();
    Ok(())
}

/// `ACL LOG [count | RESET]`: refused passwords are counted, not kept.
pub(super) fn log(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    if args.len() > 3 {
        return context.refuse_words(args, "'. Try ACL HELP.");
    }
    if let Some(word) = args.get(2) {
        if word.is_word(b"RESET") {
            context.reply.ok();
            return Ok(());
        }
        integer(word)?;
    }
    context.reply.array(0);
    Ok(())
}

/// `ACL LOAD` and `ACL SAVE`: there is no file.
pub(super) fn load(_: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    Err(refused_text(
        "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via \
         the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis \
         configuration file set) in order to store users in the Redis configuration.",
    ))
}

/// `ACL SETUSER`
pub(super) fn setuser(_: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    Err(refused_text(
        "ERR users other than 'default' are not served; CONFIG SET requirepass sets its password",
    ))
}

/// `ACL DELUSER username [username ...]`
pub(super) fn deluser(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    if args.from(2).any(|name| name == USER) {
        return Err(refused_text("ERR The 'default' user cannot be removed"));
    }
    context.reply.integer(0);
    Ok(())
}

/// `ACL HELP`
pub(super) fn help(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.reply.help(
        "ACL",
        "CAT [<category>]\n\
         \x20   List all commands that belong to <category>, or all command categories\n\
         \x20   when no category is specified.\n\
         DELUSER <username> [<username> ...]\n\
         \x20   Delete a list of users.\n\
         DRYRUN <username> <command> [<arg> ...]\n\
         \x20   Returns whether the user can execute the given command without executing the command.\n\
         GETUSER <username>\n\
         \x20   Get the user's details.\n\
         LIST\n\
         \x20   Show users details in config file format.\n\
         LOAD\n\
         \x20   Reload users from the ACL file.\n\
         LOG [<count> | RESET]\n\
         \x20   Show the ACL log entries.\n\
         SAVE\n\
         \x20   Save the current config to the ACL file.\n\
         SETUSER <username> <attribute> [<attribute> ...]\n\
         \x20   Create or modify a user with the specified attributes.\n\
         USERS\n\
         \x20   List all the registered usernames.\n\
         WHOAMI\n\
         \x20   Return the current connection username.",
    );
    Ok(())
}
