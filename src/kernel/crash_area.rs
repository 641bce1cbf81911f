//! The crash area: the last pages of the first bank of RAM that has room, where a life tells the next how it ended, and of
//! what the last subsystem died that did. Each stands in a record of its own.
//!
//! A reset by PSCI loads the image's bytes again and leaves the rest of RAM alone. The place depends on the RAM and
//! on what its tree reserves only, so every life of one machine finds it again; it is never handed out. What
//! is found is copied to the heap and replaced at once by an empty record, so each reason is told once. A
//! dying image writes to it without a lock or an allocation. The format is that of [`crash_record`].
//!
//! Limits: memory that was wiped as a whole looks like that of a machine just turned on, whoever reset it.
#![allow(
    unsafe_code,
    reason = "memory outside the image and the allocator, written by a dying image"
)]

use super::crash::{Keeper, LastLife, Tell};
use crate::arch::aarch64::{cache, cpu};
use crate::diagnosis::crash_record::{self, Found, HEADER_BYTES, MARK};
use crate::error::{Result, try_box, try_to_string};
use crate::memory::frames::PAGE_SIZE;
use crate::platform::memory_map::{Ranges, last_room};
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt::{self, Write};
use core::ops::Range;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicUsize};

/// Bytes for how a life ended: registers, and a backtrace of the greatest depth with its lines.
const END_BYTES: usize = 3 * PAGE_SIZE;
/// Bytes for the last death of a subsystem: subsystems call less deeply than that.
const DEATH_BYTES: usize = 2 * PAGE_SIZE;
/// Bytes of the area.
pub const AREA_BYTES: usize = END_BYTES + DEATH_BYTES;

/// Nobody writes yet.
const NOBODY: usize = usize::MAX;

/// Where this life writes how it ends.
#[derive(Debug)]
pub struct CrashArea {
    /// This life's number.
    life: u32,
    last: LastLife,
    last_death: Option<(u32, &'static str)>,
    /// How this life ends.
    end: Record,
    /// The CPU that died first: it alone writes there, so no text is cut by another's.
    writer: AtomicUsize,
    is_sealed: AtomicBool,
    /// How a subsystem died last. The supervisor alone writes there.
    death: Record,
}

/// A part of the area, with a record in it.
#[derive(Debug)]
struct Record {
    start: usize,
    bytes: usize,
    /// Bytes of text that are whole; only its writer moves it.
    written: AtomicUsize,
}

/// Takes room for the area from RAM outside `taken`; none if there is none.
pub(super) fn place(ram: &Ranges, taken: &Ranges) -> Option<Range<usize>> {
    last_room(AREA_BYTES, ram, taken)
}

/// Opens the area at `range`, for good; none where there is no room for one.
///
/// # Errors
/// As [`CrashArea::open`].
///
/// # Safety
/// `range` is what [`place`] answered; it is mapped as memory, and nothing else ever uses it.
pub(super) unsafe fn open(range: Option<Range<usize>>) -> Result<Option<&'static dyn Keeper>> {
    let Some(range) = range else {
        return Ok(None);
    };
    // SAFETY: our caller promises the same.
    let area = unsafe { CrashArea::open(range) }?;
    Ok(Some(Box::leak(try_box(area)?)))
}

impl CrashArea {
    /// Takes over what the last life left at `range`, and begins a record of this one.
    ///
    /// # Errors
    /// `OutOfMemory` if the last life's words find no room on the heap.
    ///
    /// # Safety
    /// `range` is what [`place`] answered; it is mapped as memory, and nothing else ever uses it.
    unsafe fn open(range: Range<usize>) -> Result<Self> {
        let record = |start, bytes| Record {
            start,
            bytes,
            written: AtomicUsize::new(0),
        };
        let end = record(range.start, END_BYTES);
        let death = record(range.start + END_BYTES, DEATH_BYTES);
        let (life, last) = match end.found() {
            Found::Nothing => (1, LastLife::None),
            Found::Damaged => (1, LastLife::Damaged),
            Found::Record { life, text } => {
                let last =
                    kept(text)?.map_or(LastLife::None, |text| LastLife::Ended { life, text });
                (life.saturating_add(1), last)
            }
        };
        // Of one that was cut nothing is told: how the life ended says enough.
        let last_death = match death.found() {
            Found::Record { life, text } => kept(text)?.map(|text| (life, text)),
            Found::Nothing | Found::Damaged => None,
        };
        end.write_header(life, &[]);
        death.write_header(life, &[]);
        Ok(Self {
            life,
            last,
            last_death,
            end,
            writer: AtomicUsize::new(NOBODY),
            is_sealed: AtomicBool::new(false),
            death,
        })
    }
}

impl Record {
    /// What the last life left there.
    fn found(&self) -> Found<'_> {
        // SAFETY: `CrashArea::open` was promised mapped memory that nothing else uses; what is found is looked at before
        // this life writes there.
        crash_record::read(unsafe {
            core::slice::from_raw_parts(self.start as *const u8, self.bytes)
        })
    }

    /// The text as far as it is whole.
    fn text(&self) -> &[u8] {
        // Acquire: pairs with the Release in `write_str`: the bytes are there.
        let written = self.written.load(Acquire);
        // SAFETY: `open` was promised the area; its writer wrote that much behind the header, and writes further
        // back only, or is who asks.
        unsafe { core::slice::from_raw_parts((self.start + HEADER_BYTES) as *const u8, written) }
    }

    /// Makes the record that of `text`, which stands in the area, and writes it back to memory.
    fn write_header(&self, life: u32, text: &[u8]) {
        let header = crash_record::header(life, text);
        let end_mark = self.start + self.bytes - MARK.len();
        // SAFETY: both places lie in the record's part, apart from the text; `open` was promised that nothing else uses
        // it, and this runs at boot, and then by its one writer: at the end (`is_sealed`), or after a death.
        unsafe {
            core::ptr::copy_nonoverlapping(header.as_ptr(), self.start as *mut u8, HEADER_BYTES);
            core::ptr::copy_nonoverlapping(MARK.as_ptr(), end_mark as *mut u8, MARK.len());
        }
        // SAFETY: as above; nobody writes any of it before the caches are clean but its writer, who cleans them again when
        // what it wrote is whole.
        cache::clean(unsafe { core::slice::from_raw_parts(self.start as *const u8, self.bytes) });
    }
}

impl Keeper for CrashArea {
    fn last_life(&self) -> LastLife {
        self.last
    }

    fn last_death(&self) -> Option<(u32, &'static str)> {
        self.last_death
    }

    fn keep_death(&self, report: &mut dyn FnMut(Tell<'_>)) {
        self.death.written.store(0, Relaxed);
        report(&mut |piece| {
            // Text that does not fit is cut.
            let _ = Text(&self.death).write_fmt(piece);
        });
        self.death.write_header(self.life, self.death.text());
    }

    fn note(&self, arguments: fmt::Arguments<'_>) {
        let this = cpu::current();
        // Relaxed: only who was first matters.
        let claim = self.writer.compare_exchange(NOBODY, this, Relaxed, Relaxed);
        let is_ours = claim.is_ok() || claim == Err(this);
        if is_ours && !self.is_sealed.load(Relaxed) {
            // Text that does not fit is cut.
            let _ = Text(&self.end).write_fmt(arguments);
        }
    }

    fn seal(&self) {
        // Relaxed: only who was first matters.
        if !self.is_sealed.swap(true, Relaxed) {
            self.end.write_header(self.life, self.end.text());
        }
    }
}

/// Puts text behind what is there, as far as it fits.
struct Text<'a>(&'a Record);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let record = self.0;
        let written = record.written.load(Relaxed);
        let room = crash_record::text_room(record.bytes) - written;
        let bytes = text.floor_char_boundary(room);
        let to = record.start + HEADER_BYTES + written;
        // SAFETY: that much room is left before the mark at the end; `open` was promised that nothing else uses
        // the area, and there is one writer: the CPU that `note` lets write, which is dying, or the supervisor.
        unsafe { core::ptr::copy_nonoverlapping(text.as_ptr(), to as *mut u8, bytes) };
        // Release: pairs with the Acquire in `text`.
        record.written.store(written + bytes, Release);
        if bytes < text.len() {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

/// A copy of `text` on the heap, for good; none of an empty one.
fn kept(text: &str) -> Result<Option<&'static str>> {
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(String::leak(try_to_string(text)?)))
}
