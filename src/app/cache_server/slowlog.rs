//! The slow log: the latest commands that took longer than a threshold.
//!
//! Reading the clock for every command would cost more than many commands do, so only those that can be
//! slow are timed (see `commands::Flags::TIMED`), or all when the threshold is 0.

use super::resp::Args;
use crate::error::{Grow, GrowQueue, Result};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Arguments kept of a command, at most (Redis' `SLOWLOG_ENTRY_MAX_ARGC`).
const ARGUMENTS_MAX: usize = 32;
/// Bytes kept of an argument, at most (Redis' `SLOWLOG_ENTRY_MAX_STRING`).
const ARGUMENT_BYTES_MAX: usize = 128;

/// A slow command.
#[derive(Debug)]
pub(super) struct SlowCommand {
    /// Counts slow commands from 0.
    pub id: u64,
    /// When it ran, seconds since the Unix epoch.
    pub unix_secs: u64,
    /// How long it took.
    pub micros: u64,
    /// The command and its arguments, cut to what is kept.
    pub arguments: Vec<Vec<u8>>,
    /// Who sent it.
    pub peer: core::net::SocketAddrV4,
    /// The name the client gave itself.
    pub client_name: Vec<u8>,
}

/// The latest slow commands, the latest first.
#[derive(Debug, Default)]
pub(super) struct SlowLog {
    entries: VecDeque<SlowCommand>,
    limit: usize,
    next_id: u64,
}

impl SlowLog {
    /// Keeps at most `limit` commands from now on.
    pub(super) fn set_limit(&mut self, limit: u64) {
        self.limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.entries.truncate(self.limit);
    }

    /// Adds a command; its id is given here.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn push(&mut self, mut command: SlowCommand) -> Result<()> {
        command.id = self.next_id;
        self.next_id += 1;
        self.entries.truncate(self.limit.saturating_sub(1));
        if self.limit > 0 {
            self.entries.try_push_front(command)?;
        }
        Ok(())
    }

    /// The commands, the latest first.
    pub(super) fn entries(&self) -> impl ExactSizeIterator<Item = &SlowCommand> {
        self.entries.iter()
    }

    /// Forgets all entries, whose memory is gone, but not how many there were.
    pub(super) fn abandon(&mut self) {
        core::mem::forget(core::mem::take(&mut self.entries));
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.entries = VecDeque::new();
    }

    /// How many are kept.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// What the log keeps of arguments: as Redis does, long ones are cut and many left out, with a note.
///
/// # Errors
/// `OutOfMemory`.
pub(super) fn kept_arguments(args: Args<'_>) -> Result<Vec<Vec<u8>>> {
    let mut kept = Vec::new();
    let count = args.len().min(ARGUMENTS_MAX);
    kept.try_reserve(count)?;
    for (number, arg) in args.from(0).take(count).enumerate() {
        let mut text = Vec::new();
        text.try_reserve(arg.len().min(ARGUMENT_BYTES_MAX) + 40)?;
        if number + 1 == ARGUMENTS_MAX && args.len() > ARGUMENTS_MAX {
            note(&mut text, args.len() - number, "more arguments)");
        } else if arg.len() > ARGUMENT_BYTES_MAX {
            text.append_reserved(&arg[..ARGUMENT_BYTES_MAX]);
            note(&mut text, arg.len() - ARGUMENT_BYTES_MAX, "more bytes)");
        } else {
            text.append_reserved(arg);
        }
        kept.push_reserved(text);
    }
    Ok(kept)
}

fn note(text: &mut Vec<u8>, count: usize, what: &str) {
    text.append_reserved(b"... (");
    text.append_reserved(itoa::Buffer::new().format(count).as_bytes());
    text.push_reserved(b' ');
    text.append_reserved(what.as_bytes());
}
