//! Frames of physical memory: their numbers, orders, the [`FrameSource`] they come from and the owned
//! [`Block`] by which the rest of the image holds them.
//!
//! Memory is identity-mapped: a frame's physical address is where it is read and written. On the host the
//! "physical" memory is an allocation of the test's.
#![allow(unsafe_code, reason = "a block turns frames it owns into a slice")]

use crate::error::Result;
use core::ops::{Deref, DerefMut};
use core::ptr::{NonNull, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes in a frame.
pub const PAGE_SIZE: usize = 4096;
/// `log2(PAGE_SIZE)`.
pub const PAGE_SHIFT: u32 = PAGE_SIZE.trailing_zeros();

/// The number of a frame: its physical address divided by [`PAGE_SIZE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Pfn(pub u64);

impl Pfn {
    /// The frame that holds `address`.
    pub const fn containing(address: usize) -> Self {
        Self((address >> PAGE_SHIFT) as u64)
    }

    /// The address of the frame's first byte.
    pub const fn address(self) -> usize {
        (self.0 as usize) << PAGE_SHIFT
    }
}

/// The size of a block: 2^order frames, aligned to its own size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order(u8);

impl Order {
    /// One frame.
    pub const ZERO: Self = Self(0);
    /// The largest block: 1,024 frames, 4 MiB.
    pub const MAX: Self = Self(10);
    /// How many orders there are.
    pub const COUNT: usize = Self::MAX.0 as usize + 1;

    /// The order of that number, if there is one.
    pub const fn new(order: u8) -> Option<Self> {
        if order <= Self::MAX.0 {
            Some(Self(order))
        } else {
            None
        }
    }

    /// The smallest order whose blocks hold `bytes`, if there is one.
    pub const fn for_bytes(bytes: usize) -> Option<Self> {
        let frames = bytes.div_ceil(PAGE_SIZE);
        if frames > 1 << Self::MAX.0 {
            return None;
        }
        Some(Self(frames.next_power_of_two().trailing_zeros() as u8))
    }

    /// The number of the order.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Frames in a block of this order.
    pub const fn frames(self) -> u64 {
        1 << self.0
    }

    /// Bytes in a block of this order.
    pub const fn bytes(self) -> usize {
        PAGE_SIZE << self.0
    }

    /// All orders, smallest first.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (0..=Self::MAX.0).map(Self)
    }
}

/// Whether the owner of a block can be asked to let it be moved: the two are kept apart, so that what can be moved away
/// is not held in place by what cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mobility {
    /// It stays where it is until it is freed.
    Immovable,
    /// Its owner moves it when asked.
    Movable,
}

/// What is asked of a block's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Whatever the frames held before.
    Any,
    /// Zeroes.
    Zero,
}

/// Names a block in one word, its address with its order in the bits below, so that one store records it:
/// for owners that may be killed between any two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockWord(pub u64);

impl BlockWord {
    /// No block.
    pub const NONE: Self = Self(0);
    const ORDER_MASK: u64 = 0xf;

    /// The word for a block.
    pub const fn new(first: Pfn, order: Order) -> Self {
        Self(first.address() as u64 | order.0 as u64)
    }

    /// The block, if it names one.
    pub fn block(self) -> Option<(Pfn, Order)> {
        let order = Order::new((self.0 & Self::ORDER_MASK) as u8)?;
        (self != Self::NONE).then(|| (Pfn::containing(self.0 as usize), order))
    }

    /// Bytes in the block; meaningless for none.
    #[inline]
    pub const fn bytes(self) -> usize {
        PAGE_SIZE << (self.0 & Self::ORDER_MASK)
    }
}

const _: () = assert!((Order::MAX.0 as u64) <= BlockWord::ORDER_MASK && PAGE_SIZE > 16);

/// Gives out blocks of frames and takes them back. Safe to call from any CPU, but not from interrupt handlers.
///
/// # Safety
/// A block given out is memory that nothing else reads or writes until it is given back: readable and
/// writable, `order.bytes()` long and aligned to that.
#[expect(unsafe_code, reason = "owners turn what it gives out into memory")]
pub unsafe trait FrameSource: Sync {
    /// Gives out a block.
    ///
    /// # Errors
    /// `OutOfMemory` if there is no block of that order.
    fn allocate(&self, order: Order) -> Result<Pfn>;

    /// Takes a block back.
    ///
    /// # Errors
    /// `BadFree` if this block was not given out with this order, as far as can be seen; nothing changes.
    fn free(&self, first: Pfn, order: Order) -> Result<()>;

    /// Gives out a block and writes its [`BlockWord`] to `place`, which held none.
    ///
    /// A source whose callers may be killed between any two instructions makes both one step, so that no
    /// block is ever in nobody's hands; by default they are two.
    ///
    /// # Errors
    /// As `allocate`; `place` is then as it was.
    fn allocate_into(&self, order: Order, place: &AtomicU64) -> Result<()> {
        allocate_and_note(self, order, place)
    }

    /// Takes back the block whose [`BlockWord`] is at `place`, and leaves none there: one step where
    /// `allocate_into` is.
    ///
    /// # Errors
    /// As `free`.
    fn free_from(&self, place: &AtomicU64) -> Result<()> {
        free_and_forget(place, |first, order| self.free(first, order))
    }

    /// Gives out a block as [`FrameSource::allocate_into`], all of whose bytes are 0 when this returns.
    ///
    /// # Errors
    /// As there.
    fn allocate_zeroed_into(&self, order: Order, place: &AtomicU64) -> Result<()> {
        self.allocate_into(order, place)?;
        if let Some((first, order)) = BlockWord(place.load(Relaxed)).block() {
            // SAFETY: it was given out just now.
            unsafe { zero(first, order) };
        }
        Ok(())
    }

    /// Takes back a block as [`FrameSource::free_from`], all of whose bytes are 0. A source may remember that, and not write it
    /// again for who next asks for zeroes.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Safety
    /// They are.
    unsafe fn free_zeroed_from(&self, place: &AtomicU64) -> Result<()> {
        self.free_from(place)
    }

    /// Gives out a block all of whose bytes are 0.
    ///
    /// # Errors
    /// As `allocate`.
    fn allocate_zeroed(&self, order: Order) -> Result<Pfn>
    where
        Self: Sized,
    {
        let place = AtomicU64::new(BlockWord::NONE.0);
        self.allocate_zeroed_into(order, &place)?;
        Ok(Pfn::containing(place.into_inner() as usize))
    }

    /// Takes back a block all of whose bytes are 0, as [`FrameSource::free_zeroed_from`].
    ///
    /// # Errors
    /// As `free`.
    ///
    /// # Safety
    /// As there.
    unsafe fn free_zeroed(&self, first: Pfn, order: Order) -> Result<()>
    where
        Self: Sized,
    {
        let place = AtomicU64::new(BlockWord::new(first, order).0);
        // SAFETY: this function's contract.
        unsafe { self.free_zeroed_from(&place) }
    }

    /// Frames free now, those in page caches counted as free.
    fn free_frames(&self) -> u64;

    /// Frames managed in all.
    fn total_frames(&self) -> u64;
}

/// [`FrameSource::allocate_into`] in two steps, for a source that makes them one.
pub(super) fn allocate_and_note<S: FrameSource + ?Sized>(
    source: &S,
    order: Order,
    place: &AtomicU64,
) -> Result<()> {
    let first = source.allocate(order)?;
    place.store(BlockWord::new(first, order).0, Relaxed);
    Ok(())
}

/// [`FrameSource::free_from`] in two steps, for a source that makes them one.
pub(super) fn free_and_forget(
    place: &AtomicU64,
    free: impl FnOnce(Pfn, Order) -> Result<()>,
) -> Result<()> {
    let word = BlockWord(place.load(Relaxed));
    if let Some((first, order)) = word.block() {
        free(first, order)?;
    }
    place.store(BlockWord::NONE.0, Relaxed);
    Ok(())
}

/// Zeroes a block.
///
/// # Safety
/// It is the caller's alone.
unsafe fn zero(first: Pfn, order: Order) {
    let start = with_exposed_provenance_mut::<u8>(first.address());
    // SAFETY: by this function's contract it is memory that nobody else uses, as long as its order says.
    unsafe { start.write_bytes(0, order.bytes()) };
}

/// A block of frames, owned: readable and writable bytes, given back when dropped.
///
/// Its contents are whatever the frames held before.
pub struct Block {
    start: NonNull<u8>,
    order: Order,
    source: &'static dyn FrameSource,
}

impl core::fmt::Debug for Block {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Block({:p}, order {})", self.start, self.order.0)
    }
}

impl Block {
    /// Takes a block of `order` from `source`.
    ///
    /// # Errors
    /// `OutOfMemory` if the source has none.
    pub fn allocate(source: &'static dyn FrameSource, order: Order) -> Result<Self> {
        let first = source.allocate(order)?;
        let start = NonNull::new(first.address() as *mut u8).expect("frame 0 is never given out");
        Ok(Self {
            start,
            order,
            source,
        })
    }

    /// Its order.
    pub fn order(&self) -> Order {
        self.order
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `allocate` got the block from a `FrameSource`, which promises `order.bytes()` readable
        // bytes for this owner alone until `drop`; any byte pattern is a valid `u8`.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.order.bytes()) }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` is the only way to the block now.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.order.bytes()) }
    }
}

// SAFETY: the block is owned memory without ties to a CPU, and its source is `Sync`.
unsafe impl Send for Block {}
// SAFETY: shared access only reads.
unsafe impl Sync for Block {}

impl Drop for Block {
    fn drop(&mut self) {
        self.source
            .free(Pfn::containing(self.start.as_ptr() as usize), self.order)
            .expect("a block is given back once, with the order it was given out with");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_for_a_size_is_the_smallest_that_holds_it() {
        let order = |bytes| Order::for_bytes(bytes).map(Order::get);
        assert_eq!(order(1), Some(0));
        assert_eq!(order(PAGE_SIZE), Some(0));
        assert_eq!(order(PAGE_SIZE + 1), Some(1));
        assert_eq!(order(4 << 20), Some(10));
        assert_eq!(order((4 << 20) + 1), None);
    }
}
