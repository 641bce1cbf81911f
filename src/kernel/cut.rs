//! Text of a fixed size, of what may be longer.

use core::fmt::{self, Write};
use heapless::string::StringView;

/// Takes as much of a text as fits: what is written then fails, and the rest is not made.
pub(in crate::kernel) struct Cut<'a>(pub(in crate::kernel) &'a mut StringView);

impl Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars()
            .try_for_each(|character| self.0.push(character).map_err(|_| fmt::Error))
    }
}
