//! CLIENT PAUSE and UNPAUSE, and what WAIT and CLIENT UNBLOCK do to a client: see [`gate`].
//!
//! [`gate`]: crate::app::cache_server::gate

use super::Context;
use super::replication::timeout;
use crate::app::cache_server::gate::{Held, NOBODY_ACKNOWLEDGED, Paused};
use crate::app::cache_server::number::{integer, refused_text};
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::session::Fate;
use crate::app::cache_server::word::Word;
use crate::error::Result;
use crate::platform::time::{Duration, NANOS_PER_MILLI};

impl Context<'_> {
    /// Holds the client that asks until a checkpoint is written.
    pub(super) fn wait_for_save(&mut self, is_last: bool) {
        self.session.held = Held::Saving { is_last };
        self.session.fate = Fate::Yielding;
        self.server.gate.note_waiting();
    }

    /// Holds the client that asks until the time is over, or for ever; 0 is for ever.
    pub(super) fn wait(&mut self, millis: u64) -> Result<()> {
        let until = (millis > 0).then(|| self.server.now + duration(millis));
        self.session.held = Held::Waiting(until);
        self.session.fate = Fate::Yielding;
        self.server.gate.note_waiting();
        Ok(())
    }
}

fn duration(millis: u64) -> Duration {
    Duration::from_nanos(millis.min(u64::MAX / NANOS_PER_MILLI / 2) * NANOS_PER_MILLI)
}

/// `CLIENT PAUSE timeout [WRITE | ALL]`
pub(super) fn pause(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    if args.len() > 4 {
        return context.refuse_words(args, "'. Try CLIENT HELP.");
    }
    let paused = match args.get(3) {
        Some(word) if word.is_word(b"WRITE") => Paused::Writes,
        Some(word) if !word.is_word(b"ALL") => {
            return Err(refused_text("ERR CLIENT PAUSE mode must be WRITE or ALL"));
        }
        _ => Paused::Everything,
    };
    let until = context.server.now + duration(timeout(args.at(2))?);
    context.server.gate.pause(paused, until);
    // What this client sent behind the pause is held as well.
    context.session.fate = Fate::Yielding;
    context.reply.ok();
    Ok(())
}

/// `CLIENT UNPAUSE`
pub(super) fn unpause(context: &mut Context<'_>, _: Args<'_>) -> Result<()> {
    context.server.gate.unpause();
    context.reply.ok();
    Ok(())
}

/// `CLIENT UNBLOCK id [TIMEOUT | ERROR]`
pub(super) fn unblock(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    if args.len() > 4 {
        return context.refuse_words(args, "'. Try CLIENT HELP.");
    }
    let is = |word: &[u8], name: &str| word.is_word(name.as_bytes());
    let is_error = match args.get(3) {
        Some(word) if is(word, "ERROR") => true,
        Some(word) if !is(word, "TIMEOUT") => {
            return Err(refused_text(
                "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR",
            ));
        }
        _ => false,
    };
    let id = u64::try_from(integer(args.at(2))?).ok();
    let mut sessions = context.server.sessions.iter_mut();
    let waiting =
        sessions.find(|session| Some(session.id) == id && matches!(session.held, Held::Waiting(_)));
    let is_found = waiting.is_some();
    if let Some(session) = waiting {
        let answer = match is_error {
            true => b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n",
            false => NOBODY_ACKNOWLEDGED,
        };
        session.held = Held::Released { answer };
        context.server.gate.wake();
    }
    context.reply.integer(i64::from(is_found));
    Ok(())
}
