//! Blocks held by one word, and vectors in blocks: what the keyspace is made of.
//!
//! The keyspace outlives the data plane, which may be killed between any two machine steps and whose heap
//! is thrown away. So nothing here is on the heap, a block is held by a single word that one store writes,
//! and every word is a plain number, valid however a cut left it.
//!
//! Always true: a slot of [`Held`] that is not empty names a block of this keyspace's that no other slot
//! names (but for [`super::budget`]'s two, which say so); a [`BlockVec`]'s elements below `len` lie in
//! chunks that are held, for `len` rises after a chunk was attached and falls before one is given back.
#![expect(
    unsafe_code,
    reason = "a word that names an owned block becomes its bytes"
)]

use super::budget::{Budget, out_of_memory};
use crate::error::Result;
use crate::memory::frames::{BlockWord, Contents, Order, PAGE_SIZE};
use core::hint::assert_unchecked;
use core::ops::{Index, IndexMut};
use core::ptr::{NonNull, with_exposed_provenance_mut};
use core::sync::atomic::{Ordering, compiler_fence};

/// Keeps the stores before it before those after it, as a kill sees them: that is an interruption on the
/// same CPU, so what the compiler may not reorder is in order.
#[inline(always)]
pub(super) fn in_order() {
    compiler_fence(Ordering::SeqCst);
}

/// Where a block is held: empty, or a block's only owner. Nothing gives it back but [`Budget::give`].
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct Held(BlockWord);

impl Held {
    /// Empty.
    pub(super) const NONE: Self = Self(BlockWord::NONE);

    /// True if there is a block.
    #[inline(always)]
    pub(super) fn is_some(&self) -> bool {
        self.0 != BlockWord::NONE
    }

    /// The word.
    pub(super) fn word(&self) -> BlockWord {
        self.0
    }

    /// Makes it hold the block of `word`, or none.
    ///
    /// # Safety
    /// The block came from the keyspace's frame source and has not been given back; once the caller is
    /// done no other slot holds it.
    #[inline]
    pub(super) unsafe fn set(&mut self, word: BlockWord) {
        self.0 = word;
    }

    #[inline(always)]
    fn start(&self) -> *mut u8 {
        with_exposed_provenance_mut(self.0.0 as usize & !(PAGE_SIZE - 1))
    }

    /// The bytes of the block; none if there is none.
    #[inline(always)]
    pub(super) fn bytes(&self) -> &[u8] {
        if !self.is_some() {
            return &[];
        }
        // SAFETY: by `set`'s contract this slot owns the block: as many bytes as its order says, readable
        // until `&mut self` changes it; any pattern is a `u8`.
        unsafe { core::slice::from_raw_parts(self.start(), self.0.bytes()) }
    }

    /// Bytes of the block, to write; none if there is no block.
    ///
    /// # Safety
    /// They are bytes of it, if there is one.
    #[inline(always)]
    pub(super) unsafe fn part_mut(&mut self, start: usize, len: usize) -> Option<&mut [u8]> {
        // No block starts at 0.
        let block = NonNull::new(self.start())?;
        // SAFETY: as in `bytes_mut`, of which these are a part by this function's contract.
        Some(unsafe { core::slice::from_raw_parts_mut(block.add(start).as_ptr(), len) })
    }

    /// The bytes of the block if they are so many. Where `len` is a constant that takes less than to find out how
    /// many there are.
    #[inline(always)]
    pub(super) fn bytes_if(&self, len: usize) -> Option<&[u8]> {
        Some(self.bytes()).filter(|bytes| bytes.len() == len)
    }

    /// The bytes of the block, to write.
    #[inline(always)]
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        if !self.is_some() {
            return &mut [];
        }
        // SAFETY: as in `bytes`, and `&mut self` is the only way to the block now.
        unsafe { core::slice::from_raw_parts_mut(self.start(), self.0.bytes()) }
    }
}

/// What a [`BlockVec`] may hold.
///
/// # Safety
/// The type's size is a power of two up to a page, its alignment at most its size; it has no destructor;
/// all bytes 0 are a value of it, and so is any mixture of the fields of two values.
pub(super) unsafe trait Plain: Sized {}

// SAFETY: one word; 0 is `NONE`.
unsafe impl Plain for Held {}

/// A vector in blocks: each chunk doubles until it is the largest block, then the next one starts.
pub(super) struct BlockVec<T, const CHUNKS: usize> {
    chunks: [Held; CHUNKS],
    len: usize,
    element: core::marker::PhantomData<T>,
}

impl<T: Plain, const CHUNKS: usize> BlockVec<T, CHUNKS> {
    const PER_CHUNK: usize = {
        assert!(size_of::<T>().is_power_of_two() && size_of::<T>() <= PAGE_SIZE);
        Order::MAX.bytes() / size_of::<T>()
    };

    /// An empty vector; holds no block.
    pub(super) const fn new() -> Self {
        Self {
            chunks: [const { Held::NONE }; CHUNKS],
            len: 0,
            element: core::marker::PhantomData,
        }
    }

    /// Elements held.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Where element `index` lies.
    #[inline(always)]
    fn place(&self, index: usize) -> Option<*mut T> {
        if index >= self.len {
            return None;
        }
        let chunk = &self.chunks[index / Self::PER_CHUNK];
        // SAFETY: `index` is below `len`, so its chunk is held and reaches as far (see the module); no block
        // starts at 0.
        unsafe {
            assert_unchecked(!chunk.start().is_null());
            Some(chunk.start().cast::<T>().add(index % Self::PER_CHUNK))
        }
    }

    /// Element `index`.
    #[inline(always)]
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        // SAFETY: `place` points to an element, which began as bytes of 0 and was changed as a `T` only;
        // it stays where it is while `self` is borrowed.
        self.place(index).map(|place| unsafe { &*place })
    }

    /// Element `index`, to write.
    #[inline(always)]
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        // SAFETY: as in `get`, and `&mut self` is the only way to it now.
        self.place(index).map(|place| unsafe { &mut *place })
    }

    /// Two elements, to write.
    pub(super) fn pair_mut(&mut self, one: usize, other: usize) -> Option<(&mut T, &mut T)> {
        if one == other {
            return None;
        }
        // SAFETY: as in `get_mut`; they are two elements, so neither reference reaches the other's.
        unsafe { Some((&mut *self.place(one)?, &mut *self.place(other)?)) }
    }

    /// All elements.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        (0..self.len).map(|index| &self[index])
    }

    /// Makes room for one more.
    ///
    /// # Errors
    /// `OutOfMemory`.
    #[inline]
    pub(super) fn reserve(&mut self, budget: &mut Budget) -> Result<()> {
        let at = self.len / Self::PER_CHUNK;
        let Some(chunk) = self.chunks.get_mut(at) else {
            return Err(out_of_memory(Order::MAX.bytes()));
        };
        if self.len % Self::PER_CHUNK < chunk.bytes().len() / size_of::<T>() {
            return Ok(());
        }
        Self::grow(chunk, budget)
    }

    #[cold]
    fn grow(chunk: &mut Held, budget: &mut Budget) -> Result<()> {
        let order = match chunk.word().block() {
            None => Order::ZERO,
            Some((_, order)) => {
                Order::new(order.get() + 1).expect("a full largest chunk is left be")
            }
        };
        budget.take(order)?;
        let (old, new) = (chunk.bytes(), budget.incoming_mut());
        let (head, tail) = new.split_at_mut(old.len());
        head.copy_from_slice(old);
        tail.fill(0);
        budget.exchange(chunk);
        Ok(())
    }

    /// Adds an element of zeros after [`BlockVec::reserve`], and gives its index.
    pub(super) fn push_zeroed(&mut self) -> usize {
        let index = self.len;
        let chunk = &mut self.chunks[index / Self::PER_CHUNK];
        let start = index % Self::PER_CHUNK * size_of::<T>();
        chunk.bytes_mut()[start..start + size_of::<T>()].fill(0);
        in_order();
        self.len += 1;
        index
    }

    /// Forgets all elements from `len` on. Blocks that they hold are lost: give them back before.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        in_order();
    }

    /// Forgets all elements and gives the vector's own blocks back.
    pub(super) fn clear(&mut self, budget: &mut Budget) {
        self.truncate(0);
        for chunk in &mut self.chunks {
            budget.give(chunk);
        }
    }

    /// The vector's own blocks.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &Held> {
        self.chunks.iter()
    }
}

impl<const CHUNKS: usize> BlockVec<Held, CHUNKS> {
    /// Adds a block of `order`.
    ///
    /// # Errors
    /// `OutOfMemory`; nothing is changed.
    pub(super) fn push_block(
        &mut self,
        order: Order,
        budget: &mut Budget,
        contents: Contents,
    ) -> Result<()> {
        self.reserve(budget)?;
        budget.take_with(order, contents)?;
        let index = self.push_zeroed();
        budget.attach(&mut self[index]);
        Ok(())
    }

    /// Gives the last block back.
    pub(super) fn pop_block(&mut self, budget: &mut Budget) {
        if let Some(last) = self.len.checked_sub(1) {
            budget.give(&mut self[last]);
            self.truncate(last);
        }
    }

    /// Gives the last block back, all of whose bytes are 0.
    ///
    /// # Safety
    /// They are.
    pub(super) unsafe fn pop_zeroed_block(&mut self, budget: &mut Budget) {
        if let Some(last) = self.len.checked_sub(1) {
            // SAFETY: this function's contract.
            unsafe { budget.give_zeroed(&mut self[last]) };
            self.truncate(last);
        }
    }

    /// Gives all blocks back, the vector's own too.
    pub(super) fn give_all(&mut self, budget: &mut Budget) {
        while self.len > 0 {
            self.pop_block(budget);
        }
        self.clear(budget);
    }

    /// Drops empty slots at the end, which a cut of `push_block` or `pop_block` left.
    pub(super) fn trim(&mut self) {
        while self.len > 0 && !self[self.len - 1].is_some() {
            self.truncate(self.len - 1);
        }
    }
}

impl<T: Plain, const CHUNKS: usize> Index<usize> for BlockVec<T, CHUNKS> {
    type Output = T;

    #[inline]
    fn index(&self, index: usize) -> &T {
        self.get(index).expect("an index below the length")
    }
}

impl<T: Plain, const CHUNKS: usize> IndexMut<usize> for BlockVec<T, CHUNKS> {
    #[inline]
    fn index_mut(&mut self, index: usize) -> &mut T {
        self.get_mut(index).expect("an index below the length")
    }
}
