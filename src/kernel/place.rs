//! A place in the image's text, and the function that it is in.

use super::cut::Cut;
#[cfg(feature = "symbols")]
use crate::arch::aarch64::ImageLayout;
#[cfg(feature = "symbols")]
use crate::diagnosis::symbols::{Function, Symbols};
use core::fmt::{self, Write};
use heapless::String;

/// Bytes of a function's name and a place in it: the longest of the image are cut.
const NAME_BYTES: usize = 160;

/// An instruction that a report is about.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Place {
    /// Where it is, in bytes from the image's start.
    pub(in crate::kernel) offset: usize,
    /// How far behind the instruction that was at work it is.
    #[cfg_attr(
        not(feature = "symbols"),
        expect(dead_code, reason = "only names are looked for there")
    )]
    behind: usize,
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

    /// The function and how far into it, as `name+0x1c`; empty if it is in none that has a name.
    pub(in crate::kernel) fn function(self) -> String<NAME_BYTES> {
        let mut text = String::new();
        // What does not fit is cut.
        let _ = self.write(&mut Cut(&mut text));
        text
    }

    #[cfg(feature = "symbols")]
    fn write(self, to: &mut impl Write) -> fmt::Result {
        match self.find() {
            Some(function) => {
                let within = self.offset - function.start as usize;
                write!(to, "{function}+{within:#x}")
            }
            None => Ok(()),
        }
    }

    #[cfg(not(feature = "symbols"))]
    fn write(self, _: &mut impl Write) -> fmt::Result {
        Ok(())
    }

    #[cfg(feature = "symbols")]
    fn find(self) -> Option<Function<'static>> {
        let at = u32::try_from(self.offset.checked_sub(self.behind)?).ok()?;
        Symbols::read(ImageLayout::symbols())?.at(at)
    }
}

/// Behind two spaces, so that it ends the line of an address.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let function = self.function();
        match function.is_empty() {
            true => Ok(()),
            false => write!(f, "  {function}"),
        }
    }
}
