//! A place in the image's text: the function that it is in, and the lines that it was made from.
//!
//! Names come from the table in the image, lines from the table beside it, which the loader hands over as the initial RAM
//! disk. Whoever dies reads both: no lock, no memory.

use super::crash::Tell;
use super::cut::Cut;
use crate::arch::aarch64::ImageLayout;
use crate::diagnosis::lines::{Frame, Lines};
use crate::diagnosis::symbols::{Function, Symbols};
use core::fmt::Write;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use heapless::String;
use spin::Once;

/// Bytes of a function's name and a place in it: the longest of the image are cut.
const NAME_BYTES: usize = 160;

// A report is made anywhere, and of anything: what it reads has to be global.
static LINES: Once<Lines<'static>> = Once::new();
/// What is known of the table of lines: [`UNSEEN`], [`WHOLE`] or [`DAMAGED`].
static STATE: AtomicU8 = AtomicU8::new(UNSEEN);
const UNSEEN: u8 = 0;
const WHOLE: u8 = 1;
const DAMAGED: u8 = 2;

/// An instruction that a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernel) struct Place {
    /// Where it is, in bytes from the image's start.
    pub(in crate::kernel) offset: usize,
    /// How far behind the instruction that was at work it is.
    behind: usize,
}

/// Takes what the loader handed over, if it is this image's table of lines; says so if it is something else.
pub(in crate::kernel) fn set_lines(initrd: Option<&'static [u8]>) {
    let Some(bytes) = initrd else {
        return;
    };
    match Lines::read(bytes, ImageLayout::identity()) {
        Some(lines) => {
            LINES.call_once(|| lines);
        }
        None => log::warn!("the initial RAM disk is not this image's table of lines: left alone"),
    }
}

/// The table of lines, looked at as a whole before it is used first.
fn lines() -> Option<&'static Lines<'static>> {
    let lines = LINES.get()?;
    let mut state = STATE.load(Relaxed);
    if state == UNSEEN {
        // It is not written any more: whoever looks sees the same.
        state = if lines.is_whole() { WHOLE } else { DAMAGED };
        STATE.store(state, Relaxed);
    }
    Some(lines).filter(|_| state == WHOLE)
}

impl Place {
    /// An instruction that was interrupted.
    pub(in crate::kernel) const fn interrupted(offset: usize) -> Self {
        Self { offset, behind: 0 }
    }

    /// One that was called from: where the call returns to. A call that never returns may be the last of its function.
    pub(in crate::kernel) const fn returned_to(offset: usize) -> Self {
        Self { offset, behind: 4 }
    }

    /// The instruction that was at work, in bytes from the image's start.
    pub(in crate::kernel) fn at_work(self) -> Option<u32> {
        u32::try_from(self.offset.checked_sub(self.behind)?).ok()
    }

    /// The function and how far into it, as `name+0x1c`; empty if it is in none that has a name.
    fn function(self) -> String<NAME_BYTES> {
        let mut text = String::new();
        if let Some(function) = self.find() {
            let within = self.offset - function.start as usize;
            // What does not fit is cut.
            let _ = write!(Cut(&mut text), "{function}+{within:#x}");
        }
        text
    }

    /// The function that it is in, if that has a name.
    #[inline(never)]
    pub(in crate::kernel) fn find(self) -> Option<Function<'static>> {
        Symbols::read(ImageLayout::symbols())?.at(self.at_work()?)
    }

    /// Shows the functions at work there and their lines, the innermost first, if they are known.
    #[inline(never)]
    pub(in crate::kernel) fn each_frame(self, show: &mut dyn FnMut(Frame<'static>)) {
        let place = self.at_work();
        let chain = place.and_then(|place| lines()?.at(place));
        if let Some(chain) = chain {
            chain.each(show);
        }
    }

    /// Tells it in lines of a backtrace: the address, and each function at work there.
    pub(in crate::kernel) fn tell(self, tell: Tell<'_>) {
        let layout = ImageLayout::current();
        tell(format_args!(
            "  {:#018x}  image+{:#x}  linked {:#x}",
            layout.start + self.offset,
            self.offset,
            layout.linked_at + self.offset,
        ));
        match self.function() {
            function if function.is_empty() => tell(format_args!("\n")),
            function => tell(format_args!("  {function}\n")),
        }
        self.each_frame(&mut |frame| tell(format_args!("      in {frame}\n")));
    }
}
