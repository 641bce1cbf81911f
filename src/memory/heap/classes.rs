//! Size classes: which sizes objects have, and which class or block a layout takes.
//!
//! Up to 128 bytes the classes are 8 bytes apart. Above, there are eight to a doubling, and from 256 bytes on they
//! are the sizes of which 15, 14, ... 8 fill a slab, so that hardly anything is left over at its end.
//!
//! Always true: at most 7 bytes of an object up to 64 bytes are unused, and above at most an eighth of what was asked
//! for. A class above 128 bytes is a multiple of [`USUAL_ALIGN`].
//!
//! Limits: larger alignments are met by the next class that is a multiple of them, and by a block of its own beyond
//! [`MAX_ALIGN`]. Objects above 4,080 bytes are blocks too, so up to half of one is unused.

use super::hardening::RED_ZONE;
use crate::memory::frames::{Order, PAGE_SIZE};
use crate::memory::zone::owners;
use core::alloc::Layout;

/// Sizes of the classes in bytes.
#[rustfmt::skip]
pub(super) const CLASS_BYTES: [u16; 55] = [
    8, 16, 24, 32, 40, 48, 56, 64,
    72, 80, 88, 96, 104, 112, 120, 128,
    144, 160, 176, 192, 208, 224, 240, 256,
    288, 304, 336, 368, 400, 448, 496,
    528, 576, 624, 672, 736, 800, 896, 1008,
    1088, 1152, 1248, 1360, 1472, 1632, 1808, 2032,
    2176, 2336, 2512, 2720, 2960, 3264, 3632, 4080,
];

/// How many classes there are.
pub(super) const CLASSES: usize = CLASS_BYTES.len();
/// Largest object that comes from a slab.
pub(super) const MAX_BYTES: usize = CLASS_BYTES[CLASSES - 1] as usize;
/// All classes are multiples of this.
pub(super) const GRAIN: usize = 8;
/// Largest alignment of an object in a slab.
const MAX_ALIGN: usize = 128;
/// Largest alignment that classes above 128 bytes have without being looked for.
const USUAL_ALIGN: usize = 16;
/// Sizes in grains, rounded up, that have a class.
pub(super) const GRAINS: usize = MAX_BYTES / GRAIN + 1;
/// Objects that a slab holds at least, if there is an order for it.
const OBJECTS_MIN: usize = 8;
/// The same where memory is small: an image at rest has a few objects of each of many classes, and most of what it then
/// has of memory is the rest of their slabs.
const OBJECTS_MIN_SMALL: usize = 4;
/// Memory below which it is small.
const SMALL_MEMORY_BYTES: u64 = 32 << 20;
/// The largest slabs: of order 3, every class fills its slabs with eight objects.
const SLAB_ORDER_MAX: u8 = 3;

/// Where an object of some layout lives, once frames are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// In a slab of that class.
    Slab(usize),
    /// In a block of its own.
    Block(Order),
}

/// Where an object of `layout` lives; `None` if no block is large enough.
pub(super) fn room_for(layout: Layout) -> Option<Room> {
    let (bytes, align) = (layout.size() + RED_ZONE, layout.align());
    if bytes <= MAX_BYTES && align <= MAX_ALIGN {
        let first = CLASS_BYTES.partition_point(|&class| usize::from(class) < bytes);
        let aligned = (first..CLASSES).find(|&class| bytes_of(class) & (align - 1) == 0);
        if let Some(class) = aligned {
            return Some(Room::Slab(class));
        }
    }
    // A block is aligned to its size.
    Order::for_bytes(layout.size().max(align)).map(Room::Block)
}

/// Bytes of an object of class `index`.
#[inline]
pub(super) const fn bytes_of(index: usize) -> usize {
    CLASS_BYTES[index] as usize
}

/// The order of the slabs of class `index` on a machine of so many bytes.
pub(super) const fn order_of(index: usize, memory_bytes: u64) -> Order {
    let objects_min = if memory_bytes < SMALL_MEMORY_BYTES {
        OBJECTS_MIN_SMALL
    } else {
        OBJECTS_MIN
    };
    let mut number = 0;
    while number < SLAB_ORDER_MAX && (PAGE_SIZE << number) / bytes_of(index) < objects_min {
        number += 1;
    }
    Order::new(number).expect("an order")
}

/// Offset of the first object in a slab of class `index` behind a header of `header_bytes`: aligned as all its objects
/// are to be.
pub(super) fn first_object(index: usize, header_bytes: usize) -> usize {
    let align = (1 << CLASS_BYTES[index].trailing_zeros()).min(MAX_ALIGN);
    header_bytes.next_multiple_of(align)
}

const _: () = {
    assert!(
        SLAB_ORDER_MAX <= owners::SLAB_ORDER_MAX,
        "the frame source gives out no such slab"
    );
    let mut i = 0;
    while i < CLASSES {
        let bytes = bytes_of(i);
        assert!(bytes.is_multiple_of(GRAIN), "classes are whole grains");
        assert!(
            bytes <= 128 || bytes.is_multiple_of(USUAL_ALIGN),
            "a class that is not aligned as usual"
        );
        if i > 0 && bytes > 64 {
            let smallest = bytes_of(i - 1) + 1;
            assert!(
                8 * (bytes - smallest) <= smallest,
                "a class that wastes more than an eighth"
            );
        }
        i += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    fn class_for(size: usize, align: usize) -> Option<usize> {
        let layout = Layout::from_size_align(size - RED_ZONE, align).expect("a layout");
        match room_for(layout) {
            Some(Room::Slab(class)) => Some(bytes_of(class)),
            _ => None,
        }
    }

    #[test]
    fn the_class_of_a_size_is_the_smallest_that_holds_it() {
        for (size, class) in [
            (9, 16),
            (63, 64),
            (64, 64),
            (65, 72),
            (129, 144),
            (257, 288),
            (4_080, 4_080),
        ] {
            assert_eq!(class_for(size, 8), Some(class), "{size}");
        }
        assert_eq!(class_for(4_081, 8), None);
    }

    #[test]
    fn an_aligned_object_is_of_a_class_that_is_a_multiple_of_its_alignment() {
        for (size, align, class) in [
            (24, 16, 32),
            (100, 32, 128),
            (300, 64, 448),
            (129, 128, 256),
        ] {
            assert_eq!(class_for(size, align), Some(class), "{size} to {align}");
        }
        assert_eq!(class_for(100, 256), None);
    }

    #[test]
    fn a_slab_holds_eight_objects_and_four_where_memory_is_small() {
        for class in 0..CLASSES {
            let objects = |memory_bytes| {
                let first = first_object(class, 40);
                (order_of(class, memory_bytes).bytes() - first) / bytes_of(class)
            };
            assert!(objects(SMALL_MEMORY_BYTES - 1) >= OBJECTS_MIN_SMALL);
            assert!(objects(SMALL_MEMORY_BYTES) >= OBJECTS_MIN);
        }
    }
}
