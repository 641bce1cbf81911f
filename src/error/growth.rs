//! Taking memory in ways that may be refused: an error comes back where `alloc`'s own ways would end the image.
//!
//! `clippy.toml` disallows those ways in nos' own code, so this is where its vectors, queues and boxes grow. Two kinds
//! of method: `try_*` take what memory they need, or answer `OutOfMemory` and leave all as it was; `*_reserved` use room
//! that was reserved before, where an error could no longer be answered, and never allocate. To lack that room is a bug
//! and panics.
//!
//! There is no such way to an `Arc` in stable Rust: see [`arc_at_boot`].
#![expect(
    unsafe_code,
    reason = "writes into reserved room, and hands out what the allocator gave"
)]

use super::{Error, Kind, Result, Subsystem};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// Growth of a vector.
pub trait Grow<T> {
    /// Adds a value at the end.
    ///
    /// # Errors
    /// `OutOfMemory`.
    fn try_push(&mut self, value: T) -> Result<()>;

    /// Adds a value at the end, in reserved room.
    ///
    /// # Panics
    /// If there is none.
    fn push_reserved(&mut self, value: T);

    /// Inserts a value at `index`, in reserved room.
    ///
    /// # Panics
    /// If there is none, or `index` is beyond the end.
    fn insert_reserved(&mut self, index: usize, value: T);

    /// Adds values at the end, in reserved room.
    ///
    /// # Panics
    /// If there are more than fit.
    fn extend_reserved(&mut self, values: impl IntoIterator<Item = T>);

    /// Adds what `make` makes at the end, or takes from it, until it has `len` elements.
    ///
    /// # Errors
    /// `OutOfMemory`.
    fn try_resize_with(&mut self, len: usize, make: impl FnMut() -> T) -> Result<()>;

    /// Adds a copy of a slice at the end.
    ///
    /// # Errors
    /// `OutOfMemory`.
    fn try_append(&mut self, slice: &[T]) -> Result<()>
    where
        T: Copy;

    /// Adds a copy of a slice at the end, in reserved room.
    ///
    /// # Panics
    /// If it does not fit.
    fn append_reserved(&mut self, slice: &[T])
    where
        T: Copy;

    /// Adds `value` at the end, or takes from it, until it has `len` elements.
    ///
    /// # Errors
    /// `OutOfMemory`.
    fn try_resize(&mut self, len: usize, value: T) -> Result<()>
    where
        T: Copy;

    /// Adds `value` at the end, or takes from it, until it has `len` elements, in reserved room.
    ///
    /// # Panics
    /// If so many do not fit.
    fn resize_reserved(&mut self, len: usize, value: T)
    where
        T: Copy;
}

impl<T> Grow<T> for Vec<T> {
    #[inline]
    fn try_push(&mut self, value: T) -> Result<()> {
        self.try_reserve(1)?;
        self.push_reserved(value);
        Ok(())
    }

    #[inline]
    fn push_reserved(&mut self, value: T) {
        let len = self.len();
        let Some(place) = self.spare_capacity_mut().first_mut() else {
            no_room();
        };
        place.write(value);
        // SAFETY: the element behind the last was written just now, within the capacity.
        unsafe { self.set_len(len + 1) };
    }

    fn insert_reserved(&mut self, index: usize, value: T) {
        self.push_reserved(value);
        self[index..].rotate_right(1);
    }

    #[inline]
    fn extend_reserved(&mut self, values: impl IntoIterator<Item = T>) {
        values
            .into_iter()
            .for_each(|value| self.push_reserved(value));
    }

    #[inline]
    fn try_resize_with(&mut self, len: usize, mut make: impl FnMut() -> T) -> Result<()> {
        self.truncate(len);
        self.try_reserve(len - self.len())?;
        while self.len() < len {
            self.push_reserved(make());
        }
        Ok(())
    }

    #[inline]
    fn try_append(&mut self, slice: &[T]) -> Result<()>
    where
        T: Copy,
    {
        self.try_reserve(slice.len())?;
        self.append_reserved(slice);
        Ok(())
    }

    #[inline]
    fn append_reserved(&mut self, slice: &[T])
    where
        T: Copy,
    {
        let len = self.len() + slice.len();
        let Some(room) = self.spare_capacity_mut().get_mut(..slice.len()) else {
            no_room();
        };
        room.write_copy_of_slice(slice);
        // SAFETY: as many elements behind the last were written just now, within the capacity.
        unsafe { self.set_len(len) };
    }

    #[inline]
    fn try_resize(&mut self, len: usize, value: T) -> Result<()>
    where
        T: Copy,
    {
        self.try_reserve(len.saturating_sub(self.len()))?;
        self.resize_reserved(len, value);
        Ok(())
    }

    #[inline]
    fn resize_reserved(&mut self, len: usize, value: T)
    where
        T: Copy,
    {
        let missing = len.saturating_sub(self.len());
        let Some(room) = self.spare_capacity_mut().get_mut(..missing) else {
            no_room();
        };
        room.fill(MaybeUninit::new(value));
        // SAFETY: what lies between the last element and the new end was written just now, within the capacity; and
        // elements that are `Copy` need no drop where there are fewer.
        unsafe { self.set_len(len) };
    }
}

/// Growth of a queue.
pub trait GrowQueue<T> {
    /// Adds a value at the front.
    ///
    /// # Errors
    /// `OutOfMemory`.
    fn try_push_front(&mut self, value: T) -> Result<()>;

    /// Adds a value at the back, in reserved room.
    ///
    /// # Panics
    /// If there is none.
    fn push_back_reserved(&mut self, value: T);
}

#[expect(clippy::disallowed_methods, reason = "into reserved room")]
impl<T> GrowQueue<T> for VecDeque<T> {
    #[inline]
    fn try_push_front(&mut self, value: T) -> Result<()> {
        self.try_reserve(1)?;
        self.push_front(value);
        Ok(())
    }

    #[inline]
    fn push_back_reserved(&mut self, value: T) {
        if self.len() >= self.capacity() {
            no_room();
        }
        self.push_back(value);
    }
}

/// A value in a box.
///
/// # Errors
/// `OutOfMemory`.
#[inline]
pub fn try_box<T>(value: T) -> Result<Box<T>> {
    let layout = Layout::new::<T>();
    let place = if layout.size() == 0 {
        NonNull::dangling()
    } else {
        // SAFETY: the size is not 0.
        let place = unsafe { alloc::alloc::alloc(layout) };
        NonNull::new(place.cast::<T>()).ok_or(out_of_memory(layout.size()))?
    };
    // SAFETY: (1) `place` is aligned for a `T`, and nobody else's: the allocator gave it out just now for that layout,
    // or no bytes are written. (2) A box is freed with the same layout by the same allocator, or, without a size, not.
    unsafe {
        place.write(value);
        Ok(Box::from_raw(place.as_ptr()))
    }
}

/// A value that is shared. At boot only: stable Rust has no way to an `Arc` that may be refused, and without memory for
/// its parts there is no image, so a refusal ends it with the allocator's message.
#[expect(clippy::disallowed_methods, reason = "the one place that makes them")]
pub fn arc_at_boot<T>(value: T) -> Arc<T> {
    Arc::new(value)
}

/// A boxed slice of `len` values, which `make` makes from their indices.
///
/// # Errors
/// `OutOfMemory`.
pub fn try_boxed_slice<T>(len: usize, make: impl FnMut(usize) -> T) -> Result<Box<[T]>> {
    let mut values = Vec::new();
    values.try_reserve_exact(len)?;
    values.extend_reserved((0..len).map(make));
    #[expect(
        clippy::disallowed_methods,
        reason = "it is full: there is nothing to give back"
    )]
    Ok(values.into_boxed_slice())
}

/// All values of an iterator.
///
/// # Errors
/// `OutOfMemory`.
pub fn try_collect<T>(values: impl IntoIterator<Item = T>) -> Result<Vec<T>> {
    let values = values.into_iter();
    let mut all = Vec::new();
    all.try_reserve_exact(values.size_hint().0)?;
    for value in values {
        all.try_push(value)?;
    }
    Ok(all)
}

/// A copy of a slice.
///
/// # Errors
/// `OutOfMemory`.
pub fn try_to_vec<T: Copy>(slice: &[T]) -> Result<Vec<T>> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(slice.len())?;
    copy.append_reserved(slice);
    Ok(copy)
}

/// A copy of a text.
///
/// # Errors
/// `OutOfMemory`.
pub fn try_to_string(text: &str) -> Result<String> {
    Ok(String::from_utf8(try_to_vec(text.as_bytes())?).expect("it was text before"))
}

/// The error for a request of that many bytes.
#[cold]
fn out_of_memory(requested_bytes: usize) -> Error {
    Error::new(Subsystem::Memory, Kind::OutOfMemory { requested_bytes })
}

/// One place for all growth without room: callers carry no message of their own.
#[cold]
#[inline(never)]
fn no_room() -> ! {
    panic!("there is no room left of what was reserved");
}

#[cfg(test)]
mod tests;
