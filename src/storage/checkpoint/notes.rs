//! Notes: what is kept on the disk beside checkpoints, a buffer's worth at most, in two slots that are written in turns.
//!
//! A note is small, so its header and its data are one write: whatever a loss of power leaves of it, the header's checksum
//! or the data's does not fit, and the note before, in the other slot, is the newest. A disk that was labelled before there
//! were notes has no room for them, and goes without.

use super::layout::{Header, NOTE_BLOCKS, NOTE_MAGIC};
use super::{Lanes, Volume};
use crate::platform::crc32c::Crc32c;
use crate::storage::{BLOCK_BYTES, BlockQueue, Operation};

/// Bytes that a note has at most.
pub const NOTE_BYTES_MAX: usize = (NOTE_BLOCKS as usize - 1) * BLOCK_BYTES;

/// Whose notes they are.
pub trait Notebook: Sync {
    /// Takes up the newest note, if there is one. Told once for each time that the disk is taken into use: what comes
    /// after the first time is known.
    fn recall(&'static self, note: Option<&[u8]>);

    /// Whether there is something to be noted.
    fn has_news(&'static self) -> bool;

    /// Writes all that is to be kept to the start of `out`, which has [`NOTE_BYTES_MAX`]; answers how much it is.
    fn write(&'static self, out: &mut [u8]) -> usize;
}

/// Of somebody who notes nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoNotebook;

impl Notebook for NoNotebook {
    fn recall(&'static self, _: Option<&[u8]>) {}

    fn has_news(&'static self) -> bool {
        false
    }

    fn write(&'static self, _: &mut [u8]) -> usize {
        0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Reading,
    Idle,
    Writing,
    Flushing,
    /// What is there cannot be read: nothing is written over it.
    Off,
}

/// Reads the newest note, and writes others.
#[derive(Debug)]
pub struct Notes {
    /// Where both slots are.
    first: u64,
    stage: Stage,
    /// The slot of the newest one and its number; 0 for none.
    newest: (usize, u64),
    lanes: Lanes,
}

impl Notes {
    /// Begins to read those of a disk; `None` if it was never labelled or has no room for them.
    pub fn read(volume: &Volume, queue: &mut dyn BlockQueue) -> Option<Self> {
        let first = volume.geometry.notes().filter(|_| volume.is_labelled)?;
        let mut own = Self {
            first,
            stage: Stage::Reading,
            newest: (1, 0),
            lanes: Lanes::default(),
        };
        if queue.slots() < 2 {
            own.stage = Stage::Off;
            return Some(own);
        }
        for slot in 0..2 {
            let request = (Operation::Read, own.place(slot), NOTE_BLOCKS as usize);
            own.lanes.submit(queue, slot, request);
        }
        Some(own)
    }

    fn place(&self, slot: usize) -> u64 {
        self.first + slot as u64 * NOTE_BLOCKS
    }

    /// Whether a note can be written now.
    pub fn is_idle(&self) -> bool {
        self.stage == Stage::Idle
    }

    /// Goes on; true once nothing is under way. To be called again when a request is done.
    pub fn step(&mut self, queue: &mut dyn BlockQueue, notebook: &'static dyn Notebook) -> bool {
        self.lanes.reap(queue, |_| {});
        if !self.lanes.are_idle() {
            return false;
        }
        let has_failed = core::mem::take(&mut self.lanes).has_failed;
        self.stage = match self.stage {
            Stage::Reading if has_failed => Stage::Off,
            Stage::Reading => {
                self.choose(queue, notebook);
                Stage::Idle
            }
            Stage::Writing if !has_failed => {
                self.lanes.submit(queue, 0, (Operation::Flush, 0, 0));
                Stage::Flushing
            }
            Stage::Flushing if !has_failed => {
                self.newest = (1 - self.newest.0, self.newest.1 + 1);
                Stage::Idle
            }
            Stage::Off => Stage::Off,
            Stage::Idle | Stage::Writing | Stage::Flushing => Stage::Idle,
        };
        self.stage != Stage::Flushing
    }

    /// Finds the newest note that is whole, and hands it over.
    fn choose(&mut self, queue: &mut dyn BlockQueue, notebook: &'static dyn Notebook) {
        let mut newest = None;
        for slot in 0..2 {
            let (head, data) = queue.buffer(slot).split_at(BLOCK_BYTES);
            let header = Header::read_as(NOTE_MAGIC, head, NOTE_BYTES_MAX as u64);
            let header = header.filter(|header| {
                header.sequence > self.newest.1
                    && Crc32c::of(&data[..header.bytes as usize]) == header.crc
            });
            if let Some(header) = header {
                self.newest = (slot, header.sequence);
                newest = Some((slot, header.bytes as usize));
            }
        }
        let note = newest.map(|(slot, bytes)| &queue.buffer(slot)[BLOCK_BYTES..][..bytes]);
        notebook.recall(note);
    }

    /// Begins to write one, over the older of the two.
    ///
    /// # Panics
    /// If it is not idle.
    pub fn write(
        &mut self,
        queue: &mut dyn BlockQueue,
        notebook: &'static dyn Notebook,
        now_ms: u64,
    ) {
        assert!(self.is_idle(), "a note is under way");
        let (head, data) = queue.buffer(0).split_at_mut(BLOCK_BYTES);
        let bytes = notebook
            .write(&mut data[..NOTE_BYTES_MAX])
            .min(NOTE_BYTES_MAX);
        let header = Header {
            sequence: self.newest.1 + 1,
            bytes: bytes as u64,
            saved_at_ms: now_ms,
            crc: Crc32c::of(&data[..bytes]),
        };
        head.copy_from_slice(&header.to_block_as(NOTE_MAGIC));
        let blocks = bytes.div_ceil(BLOCK_BYTES);
        data[bytes..blocks * BLOCK_BYTES].fill(0);
        let place = self.place(1 - self.newest.0);
        self.lanes
            .submit(queue, 0, (Operation::Write, place, 1 + blocks));
        self.stage = Stage::Writing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{BlockDevice, Immediate, MemoryDevice};
    use std::boxed::Box;
    use std::string::{String, ToString};
    use std::sync::Mutex;

    const BLOCKS: usize = 8192;

    #[derive(Default)]
    struct Book {
        found: Mutex<Option<String>>,
        says: Mutex<String>,
    }

    impl Notebook for Book {
        fn recall(&'static self, note: Option<&[u8]>) {
            let text = note.map(|note| std::str::from_utf8(note).expect("text").to_string());
            *self.found.lock().expect("no test panics with it") = text;
        }

        fn has_news(&'static self) -> bool {
            true
        }

        fn write(&'static self, out: &mut [u8]) -> usize {
            let says = self.says.lock().expect("no test panics with it");
            out[..says.len()].copy_from_slice(says.as_bytes());
            says.len()
        }
    }

    fn volume() -> Volume {
        let mut volume = Volume::format(BLOCKS as u64).expect("large enough");
        volume.is_labelled = true;
        volume
    }

    fn read(queue: &mut dyn BlockQueue) -> (Notes, Option<String>) {
        let book: &'static Book = Box::leak(Box::default());
        let mut notes = Notes::read(&volume(), queue).expect("room");
        while !notes.step(queue, book) {}
        let found = book.found.lock().expect("no test panics with it").clone();
        (notes, found)
    }

    fn write(notes: &mut Notes, queue: &mut dyn BlockQueue, text: &str) {
        let book: &'static Book = Box::leak(Box::default());
        *book.says.lock().expect("no test panics with it") = text.into();
        notes.write(queue, book, 0);
        while !notes.step(queue, book) {}
    }

    fn device() -> Immediate<MemoryDevice> {
        Immediate::new(MemoryDevice::new(BLOCKS).expect("memory")).expect("memory")
    }

    #[test]
    fn the_newest_note_is_found_and_a_fresh_disk_has_none() {
        let mut queue = device();
        let (mut notes, found) = read(&mut queue);
        assert_eq!(found, None);
        for number in 0..5 {
            let text = number.to_string().repeat(3000 * number);
            write(&mut notes, &mut queue, &text);
            let (again, found) = read(&mut queue);
            assert_eq!(found, Some(text));
            notes = again;
        }
    }

    #[test]
    fn a_note_that_was_cut_off_or_changed_anywhere_leaves_the_one_before() {
        let mut queue = device();
        let (mut notes, _) = read(&mut queue);
        for text in ["one", "two", "three"] {
            write(&mut notes, &mut queue, text);
        }
        let start = notes.place(notes.newest.0);
        let mut whole = [0; 2 * BLOCK_BYTES];
        queue.device_mut().read(start, &mut whole).expect("there");
        for cut in 0..BLOCK_BYTES + "three".len() {
            let mut torn = whole;
            torn[cut..].fill(0);
            if torn == whole {
                continue;
            }
            queue.device_mut().write(start, &torn).expect("there");
            assert_eq!(read(&mut queue).1.as_deref(), Some("two"), "cut at {cut}");
            let mut changed = whole;
            changed[cut] ^= 1;
            queue.device_mut().write(start, &changed).expect("there");
            assert_eq!(read(&mut queue).1.as_deref(), Some("two"), "byte {cut}");
        }
        // The next one is written over the damaged one.
        let (mut notes, _) = read(&mut queue);
        write(&mut notes, &mut queue, "four");
        assert_eq!(read(&mut queue).1.as_deref(), Some("four"));
    }

    #[test]
    fn a_disk_without_a_label_or_without_room_has_no_notes() {
        let mut queue = device();
        let fresh = Volume::format(BLOCKS as u64).expect("large enough");
        assert!(Notes::read(&fresh, &mut queue).is_none());
        let mut small = Volume::format(64).expect("large enough");
        small.is_labelled = true;
        assert!(Notes::read(&small, &mut queue).is_none());
    }
}
