//! Conversions from the crates' errors into the one [`Error`].

use super::refused::take_refused;
use super::{Error, Kind, Subsystem};
use alloc::collections::TryReserveError;
use core::fmt;

impl From<TryReserveError> for Error {
    #[cold]
    #[inline(never)]
    fn from(_: TryReserveError) -> Self {
        let requested_bytes = take_refused();
        Self::new(Subsystem::Memory, Kind::OutOfMemory { requested_bytes })
            .caused_by("a buffer could not grow")
    }
}

impl From<fmt::Error> for Error {
    fn from(_: fmt::Error) -> Self {
        Self::new(Subsystem::Memory, Kind::OutOfMemory { requested_bytes: 0 })
            .caused_by("text did not fit its buffer")
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_heap::refuse_blocks_above;
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn a_buffer_that_could_not_grow_tells_of_the_size_that_it_asked_for() {
        let mut words = Vec::<u64>::new();
        refuse_blocks_above(10_000);
        let refused = words.try_reserve_exact(1_251);
        refuse_blocks_above(usize::MAX);
        let error = Error::from(refused.expect_err("it is one word more than there is"));
        let requested_bytes = 10_008;
        assert_eq!(error.kind(), Kind::OutOfMemory { requested_bytes });
        let text = error.to_string();
        assert!(text.contains("out of memory for 10008 bytes"), "{text}");

        // More than an address space holds has no size to tell of.
        let refused = words.try_reserve_exact(usize::MAX / 4);
        let error = Error::from(refused.expect_err("no memory is as large"));
        let text = error.to_string();
        assert!(
            text.contains("out of memory (a buffer could not grow)"),
            "{text}"
        );
    }
}
