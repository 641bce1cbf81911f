//! What works on the disk for the server: it restores what an earlier life saved, and writes checkpoints while clients
//! are served.
//!
//! It is driven in the server's ticks, a bounded step each: a few hundred keys, one buffer. It never waits: where the
//! disk has to do something first, the disk's interrupt brings the next tick.
//!
//! Until all is restored clients are held up, as CLIENT PAUSE does; then what they asked is answered.
//!
//! A death of the data plane ends what is under way; the next one looks at the disk again, but restores only what was
//! not restored.

use super::persistence::{Asked, Disk, writes};
use super::restoration::{Outcome, Restoration, SIZES, save_sizes};
use super::server::Server;
use super::settings_part;
use super::store::Progress;
use crate::error::Result;
use crate::platform::time::{Duration, Instant, NANOS_PER_MILLI};
use crate::storage::checkpoint::record::Record;
use crate::storage::checkpoint::{
    Contents, NoNotebook, Notebook, Notes, Opener, Volume, WriteStep, Writer,
};
use crate::storage::{BUFFER_BYTES, BlockQueue, DiskBay, DiskEvent, DiskWitness, Unheard};
use alloc::boxed::Box;

/// A disk that does nothing for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Between two looks at the save points, at least.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// From one buffer to the next, at least: about what it takes to fill one, so that other subsystems on the same CPU run.
const PACE: Duration = Duration::from_nanos(100_000);
/// From one note to the next, at least.
const NOTE_INTERVAL: Duration = Duration::from_secs(5);
/// How often what cannot be read, or is not what was written, is read again: a disk that failed once may not again.
const READS_AGAIN_MAX: u8 = 2;
/// How often a checkpoint begins anew after databases were flushed.
const RESTARTS_MAX: u8 = 8;

/// What is under way.
enum Work {
    /// Nothing ever will be.
    Off,
    Opening(Opener),
    Restoring(Restoration),
    /// Nothing is.
    Ready,
    Saving(Save),
    /// A note is read or written.
    Noting,
}

struct Save {
    writer: Writer,
    /// Commands that may change keys, run before it.
    writes_before: u64,
    /// True once it is to begin again when it has ended.
    begins_again: bool,
}

/// Works on the disk.
pub(super) struct Checkpointer {
    queue: Option<Box<dyn BlockQueue>>,
    volume: Option<Volume>,
    may_format: bool,
    witness: &'static dyn DiskWitness,
    notebook: &'static dyn Notebook,
    notes: Option<Notes>,
    /// When a note may be written, at the earliest.
    may_note_at: Instant,
    work: Work,
    restarts: u8,
    /// How often the disk was read again.
    reads_again: u8,
    /// When a tick is needed next; at once for zero.
    next: Instant,
    /// The disk has something to do first.
    waits_for_disk: bool,
}

impl Checkpointer {
    /// Without a disk.
    pub(super) const NONE: Self = Self {
        queue: None,
        volume: None,
        may_format: false,
        witness: &Unheard,
        notebook: &NoNotebook,
        notes: None,
        may_note_at: Instant::ZERO,
        work: Work::Off,
        restarts: 0,
        reads_again: 0,
        next: Instant::NEVER,
        waits_for_disk: false,
    };

    /// On the disk in the bay, if there is one.
    pub(super) fn new(bay: &dyn DiskBay, server: &mut Server) -> Self {
        let mut own = Self::NONE;
        let persistence = &mut server.persistence;
        if persistence.saving_since.take().is_some() {
            persistence.is_last_ok = false;
            server.checkpoints.note_failed();
        }
        persistence.asked = Asked::default();
        let disk = bay.open().unwrap_or_else(|error| {
            log::error!("the disk cannot be used: {error}");
            None
        });
        let Some(disk) = disk else {
            persistence.disk = Disk::Missing;
            persistence.is_loaded = true;
            server.forget_save_points();
            return own;
        };
        (own.may_format, own.witness) = (disk.may_format, disk.witness);
        own.notebook = disk.notebook;
        match Opener::new(disk.queue.blocks()) {
            Some(opener) => {
                own.work = Work::Opening(opener);
                own.queue = Some(disk.queue);
                own.next = Instant::ZERO;
                if !server.persistence.is_loaded {
                    server.begin_loading();
                }
            }
            None => own.leave_alone(server, "it is too small"),
        }
        own
    }

    /// When a tick is needed.
    #[inline]
    pub(super) fn deadline(&self, server: &Server) -> Instant {
        if matches!(self.work, Work::Ready) {
            let asked = &server.persistence.asked;
            if asked.save || asked.look {
                return Instant::ZERO;
            }
            if self.can_note() {
                return self.next.min(self.may_note_at);
            }
        }
        if self.waits_for_disk && self.queue.as_ref().is_some_and(|queue| queue.has_done()) {
            return Instant::ZERO;
        }
        self.next
    }

    /// Does a step, if it is time.
    #[inline]
    pub(super) fn tick(&mut self, server: &mut Server, now: Instant) {
        if self.deadline(server) <= now {
            self.step(server, now);
        }
    }

    /// Whether there is something to be noted, and it can be.
    #[inline]
    fn can_note(&self) -> bool {
        self.notes.as_ref().is_some_and(Notes::is_idle) && self.notebook.has_news()
    }

    #[cold]
    fn step(&mut self, server: &mut Server, now: Instant) {
        let was_silent = self.waits_for_disk && self.next <= now && self.next != Instant::ZERO;
        let is_silent = was_silent && !self.queue.as_ref().is_some_and(|queue| queue.has_done());
        if is_silent {
            self.end_save(server, now, false);
            return self.leave_alone(server, "it does not answer");
        }
        (self.next, self.waits_for_disk) = (Instant::ZERO, false);
        match core::mem::replace(&mut self.work, Work::Off) {
            Work::Off => self.next = Instant::NEVER,
            Work::Opening(opener) => self.open(server, opener, now),
            Work::Restoring(restoration) => self.restore(server, restoration, now),
            Work::Ready => self.look_for_work(server, now),
            Work::Saving(save) => self.save_timed(server, save, now),
            Work::Noting => self.go_on_noting(now),
        }
    }

    /// Goes on with `work` once the disk has done something.
    fn wait(&mut self, work: Work, now: Instant) {
        self.work = work;
        self.waits_for_disk = true;
        self.next = now + SILENCE_MAX;
    }

    /// Does without the disk from now on.
    fn leave_alone(&mut self, server: &mut Server, why: &'static str) {
        log::error!("the disk is left as it is: {why}");
        self.work = Work::Off;
        self.next = Instant::NEVER;
        self.waits_for_disk = false;
        server.persistence.disk = Disk::LeftAlone(why);
        server.finish_loading();
    }

    fn open(&mut self, server: &mut Server, mut opener: Opener, now: Instant) {
        let Some(queue) = self.queue.as_deref_mut() else {
            return;
        };
        let Some(contents) = opener.step(queue) else {
            return self.wait(Work::Opening(opener), now);
        };
        let blocks = queue.blocks();
        if contents == Contents::Unreadable
            && let Some(opener) = Opener::new(blocks)
            && self.reads_again()
        {
            self.work = Work::Opening(opener);
            return;
        }
        let is_whole = !matches!(contents, Contents::Unreadable);
        if let Some(volume) = Volume::format(blocks).filter(|_| self.may_format && is_whole) {
            log::warn!("what was on the disk is given up, as nos.disk=format says");
            return self.use_volume(server, volume);
        }
        let why = match contents {
            Contents::Blank(volume) => return self.use_volume(server, volume),
            Contents::Ours(volume) => {
                if volume.is_torn() {
                    self.witness.tell(DiskEvent::SlotTorn);
                }
                self.volume = Some(volume);
                if server.persistence.is_loaded {
                    return self.use_volume(server, volume);
                }
                return match Restoration::newest(&volume) {
                    Some(restoration) => self.work = Work::Restoring(restoration),
                    None => self.use_volume(server, volume),
                };
            }
            Contents::Foreign => "it holds something else; nos.disk=format would overwrite it",
            Contents::Damaged => "it is damaged; nos.disk=format would begin anew",
            Contents::OfVersion(_) => "it is of another version; nos.disk=format would begin anew",
            Contents::TooSmall => "it is too small",
            Contents::Unreadable => "it cannot be read",
        };
        match contents {
            Contents::Foreign => self.witness.tell(DiskEvent::Foreign),
            Contents::Damaged => self.witness.tell(DiskEvent::SlotTorn),
            _ => {}
        }
        self.leave_alone(server, why);
    }

    /// Whether what was not read well is to be read again.
    fn reads_again(&mut self) -> bool {
        let again = self.reads_again < READS_AGAIN_MAX;
        if again {
            self.reads_again += 1;
            log::warn!("the disk was not read well: it is read again");
        }
        again
    }

    /// From now on checkpoints are written there.
    fn use_volume(&mut self, server: &mut Server, volume: Volume) {
        let is_read_only = self.queue.as_ref().is_none_or(|queue| queue.is_read_only());
        self.volume = Some(volume);
        if is_read_only {
            return self.leave_alone(server, "it takes no writes");
        }
        server.persistence.disk = Disk::Usable;
        server.finish_loading();
        self.begin_notes();
    }

    /// Reads what is noted on the disk, where that is not known; nothing is on one that was never written to.
    fn begin_notes(&mut self) {
        self.work = Work::Ready;
        let (Some(queue), Some(volume)) = (self.queue.as_deref_mut(), self.volume) else {
            return;
        };
        if self.notes.is_some() {
            return;
        }
        if volume.is_fresh() {
            return self.notebook.recall(None);
        }
        self.notes = Notes::read(&volume, queue);
        if self.notes.is_some() {
            self.work = Work::Noting;
        }
    }

    fn go_on_noting(&mut self, now: Instant) {
        let (Some(queue), Some(notes)) = (self.queue.as_deref_mut(), &mut self.notes) else {
            return;
        };
        match notes.step(queue, self.notebook) {
            true => self.work = Work::Ready,
            false => self.wait(Work::Noting, now),
        }
    }

    fn restore(&mut self, server: &mut Server, mut restoration: Restoration, now: Instant) {
        let (Some(queue), Some(mut volume)) = (self.queue.as_deref_mut(), self.volume) else {
            return;
        };
        match restoration.step(queue, server) {
            Outcome::GoesOn => self.work = Work::Restoring(restoration),
            Outcome::Waits => self.wait(Work::Restoring(restoration), now),
            Outcome::Restored(header) => {
                let persistence = &mut server.persistence;
                persistence.last_save_secs = header.saved_at_ms / 1000;
                log::info!(
                    "restored {} keys of checkpoint {}; {} had expired",
                    persistence.keys_loaded,
                    header.sequence,
                    persistence.keys_expired
                );
                self.use_volume(server, volume);
            }
            Outcome::Broken(slot, header) => {
                if !restoration.is_unread() {
                    self.witness.tell(DiskEvent::ChecksumMismatch);
                }
                server.forget_loaded();
                if !self.reads_again() {
                    log::error!("checkpoint {} on the disk is damaged", header.sequence);
                    self.reads_again = 0;
                    volume.distrust(slot);
                    self.volume = Some(volume);
                }
                match Restoration::newest(&volume) {
                    Some(restoration) => self.work = Work::Restoring(restoration),
                    None => self.leave_alone(
                        server,
                        "no checkpoint is whole; nos.disk=format would begin anew",
                    ),
                }
            }
        }
    }

    /// Begins a checkpoint if one is asked for, or a save point is passed.
    fn look_for_work(&mut self, server: &mut Server, now: Instant) {
        self.work = Work::Ready;
        if server.store.snapshot() != Progress::Nothing {
            // What the last one left unmarked.
            server.store.walk_snapshot();
            return;
        }
        server.persistence.asked.look = false;
        let is_due = server.is_save_due(now);
        if server.persistence.asked.save || is_due {
            server.persistence.asked.save = false;
            self.restarts = 0;
            return self.begin(server, now);
        }
        if self.can_note()
            && self.may_note_at <= now
            && let (Some(queue), Some(notes)) = (self.queue.as_deref_mut(), &mut self.notes)
        {
            self.may_note_at = now + NOTE_INTERVAL;
            notes.write(queue, self.notebook, server.store.now_ms());
            return self.wait(Work::Noting, now);
        }
        self.next = server.next_save_check(now, CHECK_INTERVAL);
    }

    fn begin(&mut self, server: &mut Server, now: Instant) {
        let Some(volume) = self.volume else {
            return;
        };
        let began_at = server.clock.now();
        let unix_ms = server.store.now_ms();
        let (config, parts) = (&server.config, server.parts);
        let begun = server.store.begin_snapshot(|store, out| -> Result<()> {
            Record::append_part(out, SIZES, |out| save_sizes(store, out))?;
            Record::append_part(out, settings_part::NAME, |out| {
                settings_part::save(config, out)
            })?;
            for part in parts {
                Record::append_part(out, part.name(), |out| part.save(out))?;
            }
            Ok(())
        });
        server.persistence.longest_turn = server.clock.now().since(began_at);
        server.persistence.last_try = now;
        server.persistence.saving_since = Some(now);
        server.persistence.keys_to_save = server.store.total_len() as u64;
        match begun {
            Ok(_) => {
                self.work = Work::Saving(Save {
                    writer: Writer::new(&volume, unix_ms),
                    writes_before: writes(&server.counters),
                    begins_again: false,
                });
            }
            Err(error) => {
                log::error!("no checkpoint can be written: {error}");
                self.end_save(server, now, false);
                self.work = Work::Ready;
            }
        }
    }

    /// A turn of a save, and how long it was.
    fn save_timed(&mut self, server: &mut Server, save: Save, now: Instant) {
        let began = server.clock.now();
        self.save(server, save, now);
        let turn = server.clock.now().since(began);
        let longest = &mut server.persistence.longest_turn;
        *longest = turn.max(*longest);
    }

    fn save(&mut self, server: &mut Server, mut save: Save, now: Instant) {
        let Some(queue) = self.queue.as_deref_mut() else {
            return;
        };
        let store = &mut server.store;
        if matches!(store.snapshot(), Progress::Flushed | Progress::GivenUp) {
            save.begins_again = store.snapshot() == Progress::Flushed;
            store.end_snapshot();
            save.writer.abandon();
        }
        match save.writer.step(queue) {
            WriteStep::Wait => self.wait(Work::Saving(save), now),
            WriteStep::Data(slot) => {
                store.walk_snapshot();
                server.persistence.keys_saved = store.snapshot_keys();
                let is_all = store.snapshot() == Progress::Saved;
                if is_all && store.saved_bytes() == 0 {
                    save.writer.finish();
                } else if is_all || store.saved_bytes() >= BUFFER_BYTES {
                    let len = store.take_saved(queue.buffer(slot));
                    save.writer.write(queue, slot, len);
                    self.next = now + PACE;
                }
                self.work = Work::Saving(save);
            }
            WriteStep::End(Ok(header)) => {
                self.volume = Some(save.writer.volume_after());
                server.persistence.writes_before = save.writes_before;
                let unix_secs = store.now_ms() / 1000;
                server.persistence.last_save_secs = unix_secs;
                server.checkpoints.note_written(header.bytes, unix_secs);
                log::info!(
                    "checkpoint {}: {} keys, {} bytes",
                    header.sequence,
                    store.snapshot_keys(),
                    header.bytes
                );
                self.end_save(server, now, true);
                self.begin_notes();
            }
            WriteStep::End(Err(error)) => {
                self.restarts += 1;
                let begins_again = save.begins_again && self.restarts <= RESTARTS_MAX;
                self.work = Work::Ready;
                if begins_again {
                    server.store.end_snapshot();
                    server.persistence.saving_since = None;
                    server.persistence.asked.save = true;
                } else {
                    log::error!("no checkpoint was written: {error}");
                    self.end_save(server, now, false);
                }
            }
        }
    }

    /// Notes how a checkpoint ended, and tells who waited for it.
    fn end_save(&mut self, server: &mut Server, now: Instant, is_written: bool) {
        server.store.end_snapshot();
        let persistence = &mut server.persistence;
        let Some(since) = persistence.saving_since.take() else {
            return;
        };
        persistence.is_last_ok = is_written;
        persistence.last_seconds = (now.since(since).as_nanos() / NANOS_PER_MILLI / 1000) as i64;
        match is_written {
            true => persistence.saves += 1,
            false => {
                server.checkpoints.note_failed();
                self.witness.tell(DiskEvent::CheckpointFailed);
            }
        }
        // Who asks for the end while one is written waits for the next.
        let ends = !persistence.asked.save && core::mem::take(&mut persistence.asked.power_off);
        if ends && is_written {
            server.power.off();
        }
        server.release_savers(is_written, ends);
    }
}
