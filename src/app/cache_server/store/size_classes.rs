//! Size classes of slots: steps of 8 bytes up to 128, above of an eighth of a power of two.

use crate::memory::frames::Order;

/// The smallest slot.
pub(super) const SMALLEST: usize = 32;
/// Up to here classes rise by 8 bytes, above by an eighth of a power of two.
const FINE_LIMIT: usize = 128;
/// The largest slot; what is larger has a block of its own.
pub(super) const LARGEST: usize = 8192;
const FINE_CLASSES: usize = (FINE_LIMIT - SMALLEST) / 8 + 1;
/// How many classes there are.
pub(super) const CLASSES: usize = FINE_CLASSES + 8 * (LARGEST / FINE_LIMIT).ilog2() as usize;

/// The class for a size, and the bytes of its slots.
#[inline]
pub(super) fn class_of(bytes: usize) -> (u8, usize) {
    if bytes <= FINE_LIMIT {
        let class = bytes.saturating_sub(SMALLEST).div_ceil(8);
        return (class as u8, SMALLEST + class * 8);
    }
    let top = bytes - 1;
    let power = top.ilog2();
    let eighths = top >> (power - 3);
    let class = FINE_CLASSES + (power - FINE_LIMIT.ilog2()) as usize * 8 + (eighths - 8);
    (class as u8, (eighths + 1) << (power - 3))
}

/// Bytes that an entry of `bytes` occupies.
#[inline]
pub(super) fn slot_bytes_for(bytes: usize) -> usize {
    if bytes > LARGEST {
        Order::for_bytes(bytes).map_or(bytes, Order::bytes)
    } else {
        class_of(bytes).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_its_size_and_wastes_at_most_an_eighth() {
        let mut last = 0;
        for bytes in 1..=LARGEST {
            let (class, slot_bytes) = class_of(bytes);
            assert!(
                usize::from(class) < CLASSES && slot_bytes >= bytes,
                "{bytes}"
            );
            assert!(class_of(slot_bytes) == (class, slot_bytes), "{bytes}");
            let waste = slot_bytes - bytes;
            assert!(
                waste < 8 || waste * 8 <= slot_bytes || bytes < SMALLEST,
                "{bytes}"
            );
            assert!(slot_bytes >= last);
            last = slot_bytes;
        }
    }
}
