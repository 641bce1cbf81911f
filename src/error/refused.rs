//! How large the block was that the global allocator refused last: the collections' own error does not say.
//!
//! A global, as the allocator is one, and what asks it hands nothing on. Where two CPUs are refused at one time either may
//! be told the other's size.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[cfg(not(test))]
static REFUSED_BYTES: AtomicUsize = AtomicUsize::new(0);
#[cfg(test)]
std::thread_local! {
    static REFUSED_BYTES: AtomicUsize = const { AtomicUsize::new(0) };
}

#[cfg(not(test))]
fn refused_bytes<R>(section: impl FnOnce(&AtomicUsize) -> R) -> R {
    section(&REFUSED_BYTES)
}

#[cfg(test)]
fn refused_bytes<R>(section: impl FnOnce(&AtomicUsize) -> R) -> R {
    REFUSED_BYTES.with(section)
}

/// Notes that the global allocator refuses a block of that many bytes.
pub fn note_refused(bytes: usize) {
    refused_bytes(|place| place.store(bytes, Relaxed));
}

/// How many bytes it refused last; 0 if none since this was asked.
pub(super) fn take_refused() -> usize {
    refused_bytes(|place| place.swap(0, Relaxed))
}
