//! Restoring a checkpoint: pieces of it as they come, records across their borders, and what to make of the whole.

use super::server::Server;
use super::settings_part;
use super::store::{DATABASES, ENTRY_BYTES_MAX, Store};
use crate::error::{Error, Grow, Kind, Result};
use crate::storage::BlockQueue;
use crate::storage::checkpoint::record::{HEAD_BYTES, KeyRecord, Read, Record};
use crate::storage::checkpoint::{Header, ReadStep, Reader, Volume};
use alloc::vec::Vec;

/// The part that says how many keys each database has, before them.
pub(super) const SIZES: &str = "sizes";
/// Evictions for one key, at most: memory is less than it was.
const EVICTIONS_MAX: usize = 64;

/// Appends the sizes of all databases.
///
/// # Errors
/// `OutOfMemory`.
pub(super) fn save_sizes(store: &Store, out: &mut Vec<u8>) -> Result<()> {
    (0..DATABASES).try_for_each(|database| {
        let keys = u32::try_from(store.len(database)).unwrap_or(u32::MAX);
        out.try_append(&keys.to_le_bytes())
    })
}

/// How far a restoration is.
pub(super) enum Outcome {
    /// There is more to do at once.
    GoesOn,
    /// The disk has something to do first.
    Waits,
    /// All is there.
    Restored(Header),
    /// The checkpoint in that slot is not what was written: what was restored of it is to be removed.
    Broken(usize, Header),
}

/// Restores one checkpoint.
pub(super) struct Restoration {
    reader: Reader,
    slot: usize,
    header: Header,
    /// The start of a record whose end is in the next piece.
    rest: Vec<u8>,
    /// Records of parts: taken up once all is known to be sound.
    parts: Vec<u8>,
    /// Keys read.
    keys: u64,
    /// Keys that found no room.
    lost: u64,
    state: State,
}

/// What there was to take.
enum Taken {
    /// A record of so many bytes.
    Whole(usize),
    /// The start of one, which needs so many at least.
    Needs(usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    /// The last record was read.
    Ended,
    /// What was read is no checkpoint.
    Bad,
}

impl Restoration {
    /// Of the newest checkpoint that is not known to be damaged, if there is one.
    pub(super) fn newest(volume: &Volume) -> Option<Self> {
        let (slot, header) = volume.checkpoints().next()?;
        Some(Self {
            reader: Reader::new(volume, slot, header),
            slot,
            header,
            rest: Vec::new(),
            parts: Vec::new(),
            keys: 0,
            lost: 0,
            state: State::Reading,
        })
    }

    /// True if the disk failed to read a piece.
    pub(super) fn is_unread(&self) -> bool {
        self.reader.has_failed()
    }

    /// Goes on by one piece.
    pub(super) fn step(&mut self, queue: &mut dyn BlockQueue, server: &mut Server) -> Outcome {
        match self.reader.step(queue) {
            ReadStep::Piece(slot, len) => {
                self.take(&queue.buffer(slot)[..len], server);
                self.reader.release(queue, (slot, len));
                Outcome::GoesOn
            }
            ReadStep::Wait => Outcome::Waits,
            ReadStep::Sound if self.state == State::Ended => {
                if self.lost > 0 {
                    log::error!("{} keys of the checkpoint found no room", self.lost);
                }
                self.restore_parts(server);
                Outcome::Restored(self.header)
            }
            ReadStep::Sound | ReadStep::Broken => Outcome::Broken(self.slot, self.header),
        }
    }

    fn take(&mut self, piece: &[u8], server: &mut Server) {
        if self.state == State::Reading {
            server.store.begin_restoring();
            self.take_records(piece, server);
            server.store.end_restoring();
        } else {
            // There is nothing behind the end.
            self.state = State::Bad;
        }
    }

    fn take_records(&mut self, mut piece: &[u8], server: &mut Server) {
        while !self.rest.is_empty() && self.state == State::Reading {
            let rest = core::mem::take(&mut self.rest);
            let taken = self.take_one(&rest, server);
            self.rest = rest;
            let Taken::Needs(needed) = taken else {
                self.rest.clear();
                break;
            };
            let more = piece.len().min(needed - self.rest.len());
            if more == 0 {
                return;
            }
            let (now, later) = piece.split_at(more);
            if self.rest.try_append(now).is_err() {
                self.state = State::Bad;
            }
            piece = later;
        }
        while self.state == State::Reading && !piece.is_empty() {
            // Nearly all are keys, whole.
            while let Some((key, used)) = KeyRecord::read(piece) {
                piece = &piece[used..];
                self.restore_key(&key, server);
            }
            match self.take_one(piece, server) {
                Taken::Whole(used) => piece = &piece[used..],
                Taken::Needs(_) => {
                    if self.rest.try_append(piece).is_err() {
                        self.state = State::Bad;
                    }
                    return;
                }
            }
        }
        if self.state == State::Ended && !piece.is_empty() {
            self.state = State::Bad;
        }
    }

    /// Takes the record at the start of `bytes`, and tells the bytes it takes; or how many it needs.
    #[inline]
    fn take_one(&mut self, bytes: &[u8], server: &mut Server) -> Taken {
        let (record, used) = match Record::read(bytes, ENTRY_BYTES_MAX) {
            Ok(Read::Whole(record, used)) => (record, used),
            Ok(Read::Needs(needed)) => return Taken::Needs(needed),
            Err(_) => {
                self.state = State::Bad;
                return Taken::Whole(bytes.len());
            }
        };
        match record {
            Record::Key(key) => self.restore_key(&key, server),
            Record::Part { name, state } if name == SIZES.as_bytes() => {
                self.expect_keys(state, server);
            }
            Record::Part { .. } => {
                if self.parts.try_append(&bytes[..used]).is_err() {
                    self.state = State::Bad;
                }
            }
            Record::End { keys } => {
                self.state = match keys == self.keys {
                    true => State::Ended,
                    false => State::Bad,
                };
            }
        }
        Taken::Whole(used)
    }

    #[inline(always)]
    fn restore_key(&mut self, key: &KeyRecord<'_>, server: &mut Server) {
        self.keys += 1;
        match server.store.restore(key) {
            Ok(true) => server.persistence.keys_loaded += 1,
            Ok(false) => server.persistence.keys_expired += 1,
            Err(error) => self.restore_with_room(key, server, error),
        }
    }

    /// Makes room for a key that found none.
    #[cold]
    #[inline(never)]
    fn restore_with_room(&mut self, key: &KeyRecord<'_>, server: &mut Server, mut error: Error) {
        for _ in 0..EVICTIONS_MAX {
            let Kind::OutOfMemory { requested_bytes } = error.kind() else {
                break;
            };
            server.store.end_restoring();
            let is_room = server.store.make_room(requested_bytes);
            server.store.begin_restoring();
            match server.store.restore(key) {
                Ok(_) => {
                    server.persistence.keys_loaded += 1;
                    return;
                }
                Err(_) if !is_room => break,
                Err(again) => error = again,
            }
        }
        self.lost += 1;
    }

    /// Makes room for the keys of all databases.
    fn expect_keys(&self, sizes: &[u8], server: &mut Server) {
        let (sizes, _) = sizes.as_chunks::<4>();
        for (database, size) in sizes.iter().enumerate().take(DATABASES) {
            // No more than a checkpoint of that length can have.
            let most = self.header.bytes / HEAD_BYTES as u64;
            let keys = u64::from(u32::from_le_bytes(*size)).min(most);
            if keys > 0 {
                server.store.expect_keys(database, keys as usize);
            }
        }
        server.store.begin_restoring();
    }

    /// Hands each part its state.
    fn restore_parts(&self, server: &mut Server) {
        let mut rest = &self.parts[..];
        while let Ok(Read::Whole(Record::Part { name, state }, used)) =
            Record::read(rest, ENTRY_BYTES_MAX)
        {
            rest = &rest[used..];
            let is_it = |known: &str| known.as_bytes() == name;
            let outcome = if is_it(settings_part::NAME) {
                settings_part::restore(server, state)
            } else {
                let mut parts = server.parts.iter();
                // One that this image has no more is done without.
                parts
                    .find(|part| is_it(part.name()))
                    .map_or(Ok(()), |part| part.restore(state))
            };
            if let Err(error) = outcome {
                log::error!("a part of the checkpoint cannot be taken up: {error}");
            }
        }
    }
}
