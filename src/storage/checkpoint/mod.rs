//! Checkpoints: the image's state on a disk, in two slots that are written in turns.
//!
//! A checkpoint is a stream of records ([`record`]) in one slot, and becomes the newest by its header alone: the data
//! is written, flushed, then the header is written and flushed ([`Writer`]). So whatever a loss of power leaves of a
//! slot that is being written, the other one is whole, and what is restored ([`Reader`]) is the state before or the
//! state after, never anything else.
//!
//! Nothing here waits: [`Opener`], [`Writer`] and [`Reader`] are asked what they want again and again, by whoever owns
//! the device, and do what can be done at once.
//!
//! | blocks | what |
//! | --- | --- |
//! | 0 | the label: whose disk it is, the version of its format, where the slots are |
//! | 8 | the header of slot 0; its data from 8 blocks behind it |
//! | 8 + half of the rest | the header of slot 1, likewise |
//! | behind slot 1 | two notes ([`Notes`]) of 64 blocks each, on disks of 2 MiB and more |
//!
//! A disk that is no disk of nos', or was and is damaged, is told ([`Contents`]) and not written to.

mod layout;
mod notes;
mod opener;
mod reader;
pub mod record;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod writer;

pub use layout::{Header, VERSION};
pub use notes::{NOTE_BYTES_MAX, NoNotebook, Notebook, Notes};
pub use opener::{Contents, Opener, Volume};
pub use reader::{ReadStep, Reader};
pub use writer::{WriteStep, Writer};

use super::BlockQueue;
use crate::error::Result;
use alloc::vec::Vec;

/// Slots of a queue that are used at most.
const LANES_MAX: usize = 8;

/// What is saved beside the store: a part of the image adds itself to the list that the composition root hands over.
pub trait CheckpointPart: Sync {
    /// Its name in checkpoints; unique, and never another's in a later version.
    fn name(&self) -> &'static str;

    /// Appends what a later life needs to `out`: a bounded piece of work, done at the moment that the checkpoint is of.
    ///
    /// # Errors
    /// `OutOfMemory`; there is no checkpoint then.
    fn save(&self, out: &mut Vec<u8>) -> Result<()>;

    /// Takes up what an earlier life saved, before anybody is served.
    ///
    /// # Errors
    /// `Protocol` or `UnknownVersion` if it cannot be read; it is then as it was made.
    fn restore(&self, from: &[u8]) -> Result<()>;
}

/// The slots of a queue: which of them are under way.
#[derive(Debug, Default)]
struct Lanes {
    under_way: u32,
    has_failed: bool,
}

impl Lanes {
    /// A slot that can be used now.
    fn free(&self, queue: &dyn BlockQueue) -> Option<usize> {
        let slots = queue.slots().min(LANES_MAX);
        (0..slots).find(|slot| self.under_way & 1 << slot == 0)
    }

    fn are_idle(&self) -> bool {
        self.under_way == 0
    }

    /// Takes back what is done; answers each slot to `see` that was read into or written as asked.
    fn reap(&mut self, queue: &mut dyn BlockQueue, mut see: impl FnMut(usize)) {
        while let Some((slot, is_done_as_asked)) = queue.take_done() {
            self.under_way &= !(1 << slot);
            self.has_failed |= !is_done_as_asked;
            if is_done_as_asked {
                see(slot);
            }
        }
    }

    fn submit(
        &mut self,
        queue: &mut dyn BlockQueue,
        slot: usize,
        request: (super::Operation, u64, usize),
    ) {
        let (operation, first, blocks) = request;
        match queue.submit(slot, operation, first, blocks) {
            Ok(()) => self.under_way |= 1 << slot,
            Err(_) => self.has_failed = true,
        }
    }
}
