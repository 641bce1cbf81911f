//! What a frame's byte says, as the table in [`super`] has it.
#![allow(unsafe_code, reason = "looks at eight bytes at once")]

use super::Use;
use crate::memory::accounts::Owner;
use crate::memory::frames::Order;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// No block in hand starts at the frame.
pub(in crate::memory) const NOT_IN_HAND: u8 = 0;
/// The frame is not managed.
pub(super) const HOLE: u8 = 0x05;
/// The frame is free in the zone, and all of it is 0.
pub(super) const ZERO: u8 = 0x08;
/// The smallest order that the second frame tells, as 1.
pub(super) const LARGE_MIN: u8 = 7;
/// A block of such an order.
const LARGE: u8 = 0x80;
/// A slab of order 0.
const SLAB: u8 = 0x90;
/// The largest order of a slab.
pub(in crate::memory) const SLAB_ORDER_MAX: u8 = 4;
const MOVABLE: u8 = 0xe0;
const CACHED: u8 = 0xf0;

/// CPUs whose number such a byte can say.
pub(in crate::memory) const CACHING_CPUS: usize = 16;
/// CPUs in whose caches a frame can be known to be zero.
const ZERO_CACHING_CPUS: usize = (ZERO - 1) as usize;

/// The byte of the first frame of a block in hand.
#[inline]
pub(in crate::memory) const fn code(of: Use, order: Order, owner: Owner) -> u8 {
    code_of_use(of, order) | owner.get()
}

#[inline]
const fn code_of_use(of: Use, order: Order) -> u8 {
    match of {
        Use::Block if order.get() < LARGE_MIN => (order.get() + 1) << 4,
        Use::Block => LARGE,
        Use::Slab => SLAB + (order.get() << 4),
        Use::Movable => MOVABLE,
    }
}

/// The byte of every frame of a block in the page cache of that CPU.
#[inline]
pub(in crate::memory) const fn cached_by(cpu: usize) -> u8 {
    CACHED | cpu as u8
}

/// The same, of a block all of which is 0; of the last CPUs nothing tells that.
pub(in crate::memory) const fn cached_zero_by(cpu: usize) -> u8 {
    if cpu < ZERO_CACHING_CPUS {
        ZERO + 1 + cpu as u8
    } else {
        cached_by(cpu)
    }
}

/// True of the byte of a frame that is free or cached, and known to be zero.
#[inline]
pub(in crate::memory) const fn is_known_zero(code: u8) -> bool {
    code & !(ZERO - 1) == ZERO
}

/// What the second frame of a large block says.
pub(super) const fn told(order: Order) -> u8 {
    order.get() - (LARGE_MIN - 1)
}

/// The order that it says, or none that there is.
const fn order_told(code: u8) -> u8 {
    code.wrapping_add(LARGE_MIN - 1)
}

/// Who is charged for the block with these bytes, if it is in hand with that order and use.
#[inline(always)]
pub(in crate::memory) fn holder_of(bytes: &[AtomicU8], order: Order, of: Use) -> Option<Owner> {
    let code = u32::from(bytes[0].load(Relaxed));
    let owner = code.wrapping_sub(code_of_use(of, order).into());
    let is_large = order.get() >= LARGE_MIN;
    if is_large && bytes[1].load(Relaxed) != told(order) {
        return None;
    }
    // Compared as it is, so that it is an index already.
    (owner < Owner::COUNT as u32).then(|| Owner::from_low_bits(owner as u8))
}

/// Use and order of a block in hand, of whose first frame this is the byte; `next` is that of the second.
pub(super) fn decode(code: u8, next: Option<&AtomicU8>) -> Option<(Use, Order)> {
    let high = code & 0xf0;
    let (of, order) = match high {
        0 | CACHED => return None,
        LARGE => (Use::Block, order_told(next?.load(Relaxed))),
        MOVABLE => (Use::Movable, 0),
        SLAB..=0xd0 => (Use::Slab, (high - SLAB) >> 4),
        _ => (Use::Block, (high >> 4) - 1),
    };
    Order::new(order).map(|order| (of, order))
}

/// True of what the second frame of a large block says.
pub(super) const fn is_told_order(code: u8) -> bool {
    code != NOT_IN_HAND && code <= told(Order::MAX)
}

/// False if none of `bytes` says that `owner` is charged; eight at a time.
pub(super) fn names(bytes: &[AtomicU8], owner: Owner) -> bool {
    // SAFETY: eight atomic bytes are as good as an atomic word, and nobody waits for an order between them.
    let (before, words, after) = unsafe { bytes.align_to::<AtomicU64>() };
    let ends = before.iter().chain(after);
    ends.into_iter()
        .any(|byte| names_in(byte.load(Relaxed).into(), owner))
        || words.iter().any(|word| names_in(word.load(Relaxed), owner))
}

/// True if none of eight bytes says that a block in hand starts there: each frame is free, cached, within a block in hand, or
/// not managed.
#[inline]
pub(super) fn is_none_in_hand(word: u64) -> bool {
    // The high four bits of each byte are all 0, or all 1.
    let cached = word & SIXTEENS;
    word & (LOW_BITS << 4) == cached * 0xf
}

const LOW_BITS: u64 = 0x0f0f_0f0f_0f0f_0f0f;
const SIXTEENS: u64 = 0x1010_1010_1010_1010;

/// True if the low four bits of some byte are the owner's and the high four are not 0.
#[inline]
fn names_in(word: u64, owner: Owner) -> bool {
    let differing = (word ^ (LOW_BITS / 15 * u64::from(owner.get()))) & LOW_BITS;
    let others = differing + LOW_BITS;
    let in_use = (word >> 4 & LOW_BITS) + LOW_BITS;
    !others & in_use & SIXTEENS != 0
}

const _: () = assert!(
    Owner::COUNT == 16,
    "an owner is four bits of a frame's byte"
);
const _: () = assert!(
    SLAB + (SLAB_ORDER_MAX << 4) < MOVABLE,
    "slabs end before movable pages"
);
const _: () = assert!(
    told(Order::MAX) < HOLE && HOLE < ZERO,
    "no two meanings share a byte"
);

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn what_is_written_is_read_again_and_no_two_uses_share_a_byte() {
        let slabs = (0..=SLAB_ORDER_MAX).map(|order| (Use::Slab, order));
        let blocks = (0..Order::COUNT as u8).map(|order| (Use::Block, order));
        let uses = || {
            slabs
                .clone()
                .chain(blocks.clone())
                .chain([(Use::Movable, 0)])
        };
        for (of, order) in uses() {
            let order = Order::new(order).expect("an order");
            for owner in Owner::all() {
                let second = order.get().saturating_sub(LARGE_MIN - 1);
                let bytes = [code(of, order, owner), second].map(AtomicU8::new);
                let found = decode(bytes[0].load(Relaxed), Some(&bytes[1]));
                assert_eq!(found, Some((of, order)));
                for (other, of_order) in uses() {
                    let other_order = Order::new(of_order).expect("an order");
                    let is_same = (other, other_order) == (of, order);
                    let holder = holder_of(&bytes, other_order, other);
                    assert_eq!(holder, is_same.then_some(owner));
                }
            }
        }
        let cached = (0..16).flat_map(|cpu| [cached_by(cpu), cached_zero_by(cpu)]);
        let others = cached.chain([NOT_IN_HAND, HOLE, ZERO, 1, 4]);
        assert!(others.into_iter().all(|code| decode(code, None).is_none()));
    }

    #[test]
    fn a_block_in_hand_is_told_from_everything_else_at_any_place() {
        for code in 0..=u8::MAX {
            let is_in_hand = decode(code, Some(&AtomicU8::new(1))).is_some();
            for at in 0..8 {
                for other in [NOT_IN_HAND, HOLE, ZERO, cached_zero_by(6), cached_by(15)] {
                    let mut bytes = [other; 8];
                    bytes[at] = code;
                    let word = u64::from_ne_bytes(bytes);
                    assert_eq!(is_none_in_hand(word), !is_in_hand, "{code:#x} {at}");
                }
            }
        }
    }

    #[test]
    fn an_owner_is_found_at_any_place_among_others_and_nowhere_else() {
        let owner = Owner::new(5).expect("an owner");
        let other = code(Use::Block, Order::ZERO, Owner::new(6).expect("an owner"));
        let mut bytes: Vec<u8> = std::vec![other; 64];
        bytes[1..40].fill(NOT_IN_HAND);
        let named = |bytes: &[u8]| {
            let bytes: Vec<_> = bytes.iter().map(|&byte| AtomicU8::new(byte)).collect();
            names(&bytes[3..], owner)
        };
        assert!(!named(&bytes));
        for at in 3..64 {
            let before = bytes[at];
            bytes[at] = code(Use::Slab, Order::ZERO, owner);
            assert!(named(&bytes), "{at}");
            bytes[at] = before;
        }
    }
}
