//! In place of places that have names, where the image is built without: reports show addresses alone.

use crate::arch::aarch64::ImageLayout;
use crate::kernel::crash::Tell;

/// An instruction that a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernel) struct Place {
    /// Where it is, in bytes from the image's start.
    pub(in crate::kernel) offset: usize,
}

/// Takes nothing.
pub(in crate::kernel) fn set_lines(_: Option<&'static [u8]>) {}

impl Place {
    /// An instruction that was interrupted.
    pub(in crate::kernel) const fn interrupted(offset: usize) -> Self {
        Self { offset }
    }

    /// One that was called from: where the call returns to.
    pub(in crate::kernel) const fn returned_to(offset: usize) -> Self {
        Self { offset }
    }

    /// Tells it in a line of a backtrace.
    pub(in crate::kernel) fn tell(self, tell: Tell<'_>) {
        let layout = ImageLayout::current();
        tell(format_args!(
            "  {:#018x}  image+{:#x}  linked {:#x}\n",
            layout.start + self.offset,
            self.offset,
            layout.linked_at + self.offset,
        ));
    }
}
