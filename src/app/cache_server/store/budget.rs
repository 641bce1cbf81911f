//! The memory budget: where every block of the keyspace comes from, and the count of what is held.
//!
//! Always true: `held_bytes` is the sum of the sizes of all blocks taken and not yet given back, so
//! `maxmemory` is held against what the keyspace really occupies, slack and all.
//!
//! A block on its way is named by a word of its own, so that it is found again if the way is cut short:
//! `incoming` from the source until a slot holds it, `outgoing` from before its slot is emptied until the
//! source has it back. [`Budget::settle`] tells the two cases apart by whether a slot holds it.
#![expect(unsafe_code, reason = "moves blocks from one slot to another")]

use super::blocks::{Held, in_order};
use crate::error::{Error, Kind, Result, Subsystem};
use crate::memory::frames::{BlockWord, Contents, FrameSource, Order};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Takes blocks from a frame source up to a limit.
pub(super) struct Budget {
    source: &'static dyn FrameSource,
    held_bytes: u64,
    peak_bytes: u64,
    limit_bytes: u64,
    incoming: AtomicU64,
    /// `incoming`'s block, to be filled before a slot holds it.
    filling: Held,
    outgoing: AtomicU64,
}

impl Budget {
    /// A budget of `limit_bytes` from `source`.
    pub(super) fn new(source: &'static dyn FrameSource, limit_bytes: u64) -> Self {
        Self {
            source,
            held_bytes: 0,
            peak_bytes: 0,
            limit_bytes,
            incoming: AtomicU64::new(0),
            filling: Held::NONE,
            outgoing: AtomicU64::new(0),
        }
    }

    /// Takes a block of whatever it held, as [`Budget::take_with`].
    ///
    /// # Errors
    /// As there.
    pub(super) fn take(&mut self, order: Order) -> Result<()> {
        self.take_with(order, Contents::Any)
    }

    /// Takes a block, to be filled by [`Budget::incoming_mut`] and put where it belongs by
    /// [`Budget::attach`] or [`Budget::exchange`].
    ///
    /// # Errors
    /// `OutOfMemory` if the limit would be passed or the source has none.
    pub(super) fn take_with(&mut self, order: Order, contents: Contents) -> Result<()> {
        let bytes = order.bytes() as u64;
        if self.held_bytes + bytes > self.limit_bytes {
            return Err(out_of_memory(order.bytes()));
        }
        assert_eq!(self.incoming.load(Relaxed), 0, "one block comes at a time");
        let taken = match contents {
            Contents::Any => self.source.allocate_into(order, &self.incoming),
            Contents::Zero => self.source.allocate_zeroed_into(order, &self.incoming),
        };
        taken.map_err(|_| out_of_memory(order.bytes()))?;
        // SAFETY: the source gave the block out just now; `filling` is the view of it by which it is
        // filled, and is emptied before a slot holds it.
        unsafe { self.filling.set(BlockWord(self.incoming.load(Relaxed))) };
        self.held_bytes += bytes;
        self.peak_bytes = self.peak_bytes.max(self.held_bytes);
        Ok(())
    }

    /// The bytes of the block taken last.
    pub(super) fn incoming_mut(&mut self) -> &mut [u8] {
        self.filling.bytes_mut()
    }

    /// Puts the block taken last into an empty slot.
    pub(super) fn attach(&mut self, slot: &mut Held) {
        assert!(!slot.is_some(), "a block goes where there is none");
        self.fill(slot);
    }

    /// Puts the block taken last into a slot, and gives back the one that was there, if any.
    pub(super) fn exchange(&mut self, slot: &mut Held) {
        let old = slot.word();
        self.outgoing.store(old.0, Relaxed);
        in_order();
        self.fill(slot);
        self.finish_giving(old);
    }

    fn fill(&mut self, slot: &mut Held) {
        let word = self.filling.word();
        self.filling = Held::NONE;
        in_order();
        // SAFETY: `take` got the block from the source, and `filling` has let go of it.
        unsafe { slot.set(word) };
        in_order();
        self.incoming.store(0, Relaxed);
    }

    /// Gives the block of a slot back, if there is one, and leaves the slot empty.
    pub(super) fn give(&mut self, slot: &mut Held) {
        let old = self.let_go(slot);
        self.finish_giving(old);
    }

    fn let_go(&mut self, slot: &mut Held) -> BlockWord {
        let old = slot.word();
        if slot.is_some() {
            self.outgoing.store(old.0, Relaxed);
            in_order();
            *slot = Held::NONE;
            in_order();
        }
        old
    }

    fn finish_giving(&mut self, old: BlockWord) {
        if old == BlockWord::NONE {
            return;
        }
        self.finish(old, self.source.free_from(&self.outgoing));
    }

    fn finish(&mut self, old: BlockWord, freed: Result<()>) {
        freed.expect("a slot's block was given out with its order, and no other slot holds it");
        self.held_bytes -= old.bytes() as u64;
    }

    /// As [`Budget::give`], of a block all of whose bytes are 0.
    ///
    /// # Safety
    /// They are.
    pub(super) unsafe fn give_zeroed(&mut self, slot: &mut Held) {
        debug_assert!(slot.bytes().iter().all(|&byte| byte == 0));
        let old = self.let_go(slot);
        if old != BlockWord::NONE {
            // SAFETY: this function's contract.
            let freed = unsafe { self.source.free_zeroed_from(&self.outgoing) };
            self.finish(old, freed);
        }
    }

    /// The blocks on their way, none for nothing.
    pub(super) fn on_their_way(&self) -> [BlockWord; 2] {
        [&self.incoming, &self.outgoing].map(|place| BlockWord(place.load(Relaxed)))
    }

    /// After a cut: gives back the blocks on their way but those that are held by slots, and sets anew
    /// what is held: `held_bytes` in all slots.
    pub(super) fn settle(&mut self, is_held: [bool; 2], held_bytes: u64) {
        self.filling = Held::NONE;
        for (place, is_held) in [&self.incoming, &self.outgoing].into_iter().zip(is_held) {
            if is_held {
                place.store(0, Relaxed);
            } else {
                self.source
                    .free_from(place)
                    .expect("a block on its way was given out and is nobody else's");
            }
        }
        self.held_bytes = held_bytes;
        self.peak_bytes = self.peak_bytes.max(held_bytes);
    }

    /// True if a block is on its way.
    pub(super) fn is_unsettled(&self) -> bool {
        self.incoming.load(Relaxed) | self.outgoing.load(Relaxed) != 0
    }

    /// Bytes held now.
    #[inline]
    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// The most bytes held so far.
    #[inline]
    pub(super) fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    /// Starts the peak anew.
    pub(super) fn reset_peak(&mut self) {
        self.peak_bytes = self.held_bytes;
    }

    /// The limit.
    #[inline]
    pub(super) fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Changes the limit; what is held beyond it stays until it is evicted.
    pub(super) fn set_limit(&mut self, limit_bytes: u64) {
        self.limit_bytes = limit_bytes;
    }

    /// True when more is held than the limit allows.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.held_bytes > self.limit_bytes
    }
}

/// The error for a request of the keyspace that found no memory.
pub(super) const fn out_of_memory(requested_bytes: usize) -> Error {
    Error::new(Subsystem::Cache, Kind::OutOfMemory { requested_bytes })
}
