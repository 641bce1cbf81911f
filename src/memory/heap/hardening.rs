//! What debug builds look for in objects: writes beyond their end, writes after they were freed, and second frees.
//!
//! Every object of a slab has a red zone of at least [`RED_ZONE`] bytes behind what was asked for, and every free one
//! is filled with poison behind the link in its first word. Both are looked at when the object is freed and
//! when it is handed out; a violation stops the image and names the object and its class. Release builds have
//! none of it: there, [`RED_ZONE`] is 0 and nothing calls these functions.
#![allow(unsafe_code, reason = "reads and fills raw objects")]

use super::classes::bytes_of;
use core::mem::size_of;
use core::ptr::NonNull;

/// Bytes behind each object that nobody may write.
pub(super) const RED_ZONE: usize = if cfg!(debug_assertions) { 8 } else { 0 };
/// Fills red zones.
const RED: u8 = 0xbd;
/// Fills free objects.
const POISON: u8 = 0x6b;
/// The first word of a free object links it to the next.
const LINK: usize = size_of::<usize>();

/// Fills an object of class `index` that nobody has.
///
/// # Safety
/// It is nobody's, and the caller may write it.
pub(super) unsafe fn poison(object: NonNull<u8>, index: usize) {
    // SAFETY: this function's contract.
    unsafe { object.add(LINK).write_bytes(POISON, bytes_of(index) - LINK) };
}

/// Looks at an object that is about to be handed out, and lays the red zone behind its first `size` bytes.
///
/// # Panics
/// If it was written to after it was freed.
///
/// # Safety
/// It was just taken, and is of class `index`; nobody else uses it.
pub(super) unsafe fn hand_out(object: NonNull<u8>, index: usize, size: usize) {
    // SAFETY: this function's contract.
    let is_poisoned = unsafe { is_filled(object, LINK..bytes_of(index), POISON) };
    assert!(
        is_poisoned,
        "the object of {} bytes at {object:p} was written to after it was freed",
        bytes_of(index)
    );
    // SAFETY: as above.
    unsafe { lay_red_zone(object, index, size) };
}

/// Lays the red zone of an object that has `size` bytes from now on.
///
/// # Safety
/// It is of class `index`, and nobody else uses it.
pub(super) unsafe fn lay_red_zone(object: NonNull<u8>, index: usize, size: usize) {
    // SAFETY: this function's contract; a class holds what was asked for and the red zone.
    unsafe { object.add(size).write_bytes(RED, bytes_of(index) - size) };
}

/// Looks at the red zone of an object that had `size` bytes.
///
/// # Panics
/// If it was written to, or the object is free already.
///
/// # Safety
/// It is of class `index`, and nobody else uses it.
pub(super) unsafe fn check_red_zone(object: NonNull<u8>, index: usize, size: usize) {
    let bytes = bytes_of(index);
    // SAFETY: this function's contract.
    if unsafe { is_filled(object, size..bytes, RED) } {
        return;
    }
    // SAFETY: as above. The last bytes of a free object are poison, whatever its size.
    let is_free = unsafe { is_filled(object, bytes - RED_ZONE..bytes, POISON) };
    let what = if is_free {
        "is freed twice"
    } else {
        "was written to beyond its end"
    };
    panic!("the object of {bytes} bytes at {object:p} {what}");
}

/// True if each of these bytes of an object is `byte`.
///
/// # Safety
/// They may be read, and nobody writes them.
unsafe fn is_filled(object: NonNull<u8>, range: core::ops::Range<usize>, byte: u8) -> bool {
    // SAFETY: this function's contract.
    let bytes =
        unsafe { core::slice::from_raw_parts(object.add(range.start).as_ptr(), range.len()) };
    // Each as the one before it: one comparison of memory, where a loop would be slow in a debug build.
    bytes
        .split_first()
        .is_none_or(|(&first, rest)| first == byte && *rest == bytes[..rest.len()])
}
