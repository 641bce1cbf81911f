//! The crash area: the last pages of the first bank of RAM that has room, where a life tells the next how it ended.
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

use super::crash::{Keeper, LastLife};
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

/// Bytes of the area: registers and a backtrace of the greatest depth take 4 KiB, a message may be as long again.
pub const AREA_BYTES: usize = 2 * PAGE_SIZE;

/// Nobody writes yet.
const NOBODY: usize = usize::MAX;

/// Where this life writes how it ends.
#[derive(Debug)]
pub struct CrashArea {
    start: usize,
    /// This life's number.
    life: u32,
    last: LastLife,
    /// The CPU that died first: it alone writes, so no text is cut by another's.
    writer: AtomicUsize,
    /// Bytes of text that are whole; only the writer moves it.
    written: AtomicUsize,
    is_sealed: AtomicBool,
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
        // SAFETY: our caller promises mapped memory that nothing else uses; the borrow ends before this life
        // writes there.
        let found = crash_record::read(unsafe {
            core::slice::from_raw_parts(range.start as *const u8, range.len())
        });
        let (life, last) = match found {
            Found::Nothing => (1, LastLife::None),
            Found::Damaged => (1, LastLife::Damaged),
            Found::Record { life, text } => (life.saturating_add(1), LastLife::of(life, text)?),
        };
        let area = Self {
            start: range.start,
            life,
            last,
            writer: AtomicUsize::new(NOBODY),
            written: AtomicUsize::new(0),
            is_sealed: AtomicBool::new(false),
        };
        area.write_header(&[]);
        Ok(area)
    }

    /// The text as far as it is whole.
    fn text(&self) -> &[u8] {
        // Acquire: pairs with the Release in `write_str`: the bytes are there.
        let written = self.written.load(Acquire);
        // SAFETY: `open` was promised the area; its writer wrote that much behind the header, and writes further
        // back only.
        unsafe { core::slice::from_raw_parts((self.start + HEADER_BYTES) as *const u8, written) }
    }

    /// Makes the record that of `text`, which stands in the area, and writes it back to memory.
    fn write_header(&self, text: &[u8]) {
        let header = crash_record::header(self.life, text);
        let end_mark = self.start + AREA_BYTES - MARK.len();
        // SAFETY: both places lie in the area, apart from the text; `open` was promised that nothing else uses
        // it, and this runs once at boot and once at the end (`is_sealed`).
        unsafe {
            core::ptr::copy_nonoverlapping(header.as_ptr(), self.start as *mut u8, HEADER_BYTES);
            core::ptr::copy_nonoverlapping(MARK.as_ptr(), end_mark as *mut u8, MARK.len());
        }
        // SAFETY: the area, as above; nobody writes any of it before the caches are clean but a dying image,
        // which cleans them again when it seals what it wrote.
        cache::clean(unsafe { core::slice::from_raw_parts(self.start as *const u8, AREA_BYTES) });
    }
}

impl Keeper for CrashArea {
    fn last_life(&self) -> LastLife {
        self.last
    }

    fn note(&self, arguments: fmt::Arguments<'_>) {
        let this = cpu::current();
        // Relaxed: only who was first matters.
        let claim = self.writer.compare_exchange(NOBODY, this, Relaxed, Relaxed);
        let is_ours = claim.is_ok() || claim == Err(this);
        if is_ours && !self.is_sealed.load(Relaxed) {
            // Text that does not fit is cut.
            let _ = Text(self).write_fmt(arguments);
        }
    }

    fn seal(&self) {
        // Relaxed: only who was first matters.
        if !self.is_sealed.swap(true, Relaxed) {
            self.write_header(self.text());
        }
    }
}

/// Puts text behind what is there, as far as it fits.
struct Text<'a>(&'a CrashArea);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let area = self.0;
        let written = area.written.load(Relaxed);
        let room = crash_record::text_room(AREA_BYTES) - written;
        let bytes = text.floor_char_boundary(room);
        let to = area.start + HEADER_BYTES + written;
        // SAFETY: that much room is left before the mark at the end; `open` was promised that nothing else uses
        // the area, and `note` lets one CPU write, which is not interrupted: it is dying.
        unsafe { core::ptr::copy_nonoverlapping(text.as_ptr(), to as *mut u8, bytes) };
        // Release: pairs with the Acquire in `text`.
        area.written.store(written + bytes, Release);
        if bytes < text.len() {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

impl LastLife {
    /// What life number `life` left, kept on the heap for good.
    fn of(life: u32, text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::None);
        }
        let copy = try_to_string(text)?;
        Ok(Self::Ended {
            life,
            text: String::leak(copy),
        })
    }
}
