//! Commands about checkpoints, and the one that ends the machine.

use super::Context;
use crate::app::cache_server::number::{refused, refused_text};
use crate::app::cache_server::persistence::Disk;
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::session::Fate;
use crate::app::cache_server::word::Word;
use crate::error::{CommandFault, Result};

impl Context<'_> {
    /// Asks for a checkpoint.
    ///
    /// # Errors
    /// Whatever keeps one from being written, in a text for the client.
    fn ask_for_save(&mut self) -> Result<()> {
        let persistence = &mut self.server.persistence;
        if persistence.saving_since.is_some() || persistence.asked.save {
            return Err(refused_text("ERR Background save already in progress"));
        }
        match persistence.disk {
            Disk::Usable => {
                persistence.asked.save = true;
                Ok(())
            }
            Disk::LeftAlone(why) => {
                self.refuse("ERR the disk is left as it is: ", why.as_bytes(), "")
            }
            Disk::Missing | Disk::Unknown => Err(refused_text("ERR no disk is attached")),
        }
    }
}

/// `BGSAVE [SCHEDULE]`
pub(super) fn bgsave(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let is_schedule = args.get(1).is_none_or(|word| word.is_word(b"SCHEDULE"));
    if args.len() > 2 || !is_schedule {
        return Err(refused(CommandFault::Syntax));
    }
    context.ask_for_save()?;
    context.reply.raw(&[b"+Background saving started\r\n"]);
    Ok(())
}

/// `SAVE`: the client that asks waits for the checkpoint, and no other.
pub(super) fn save(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.ask_for_save()?;
    context.wait_for_save(false);
    Ok(())
}

/// `LASTSAVE`: without a checkpoint it is the start, which a Redis without a snapshot names too.
pub(super) fn lastsave(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    let seconds = context.server.last_save_secs();
    context.reply.integer(seconds as i64);
    Ok(())
}

/// `SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]`: a checkpoint is written first where there is a disk and save
/// points, or where that is asked for; else the machine goes off at once.
pub(super) fn shutdown(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let has = |name: &str| args.from(1).any(|word| word.is_word(name.as_bytes()));
    let known = ["NOSAVE", "SAVE", "NOW", "FORCE", "ABORT"];
    let is_known = |word: &[u8]| known.iter().any(|k| word.is_word(k.as_bytes()));
    if !args.from(1).all(is_known) || has("NOSAVE") && has("SAVE") || has("ABORT") && args.len() > 2
    {
        return Err(refused(CommandFault::Syntax));
    }
    if has("ABORT") {
        return Err(refused_text("ERR No shutdown in progress."));
    }
    let server = &mut context.server;
    let is_wanted = has("SAVE") || !server.config.save_points.is_empty() && !has("NOSAVE");
    if is_wanted && server.persistence.disk == Disk::Usable && !has("FORCE") {
        server.persistence.asked.save = true;
        server.persistence.asked.power_off = true;
        context.wait_for_save(true);
        return Ok(());
    }
    context.session.fate = Fate::Closing;
    server.power.off();
    Ok(())
}
