//! Blocks refused, and bits flipped in blocks that were given out.

use super::{leak, turned};
use crate::error::{Kind, Result};
use crate::injection::{FRAME_POINTS, FaultyFrames, Group, Knob};
use crate::memory::frames::{Block, FrameSource, Order, PAGE_SIZE, Pfn};
use std::alloc::{GlobalAlloc as _, Layout, System};
use std::vec::Vec;

struct Host;

fn layout(order: Order) -> Layout {
    Layout::from_size_align(order.bytes(), PAGE_SIZE).expect("a power of two")
}

// SAFETY: blocks are the host allocator's. They are aligned to a page, which is all that these tests look at.
#[expect(unsafe_code, reason = "a frame source promises memory")]
unsafe impl FrameSource for Host {
    fn allocate(&self, order: Order) -> Result<Pfn> {
        // SAFETY: the layout is not empty.
        Ok(Pfn::containing(
            unsafe { System.alloc_zeroed(layout(order)) } as usize,
        ))
    }

    fn free(&self, first: Pfn, order: Order) -> Result<()> {
        // SAFETY: the block came from `allocate` with this order.
        unsafe { System.dealloc(first.address() as *mut u8, layout(order)) };
        Ok(())
    }

    fn free_frames(&self) -> u64 {
        7
    }

    fn total_frames(&self) -> u64 {
        9
    }
}

fn source() -> (&'static FaultyFrames, &'static Group) {
    let group = leak(Group::new(FRAME_POINTS).expect("memory"));
    (
        leak(FaultyFrames::new(&Host, group, 64).expect("memory")),
        group,
    )
}

#[test]
fn a_block_is_refused_as_if_there_were_none() {
    let (source, group) = source();
    assert_eq!((source.free_frames(), source.total_frames()), (7, 9));
    drop(Block::allocate(source, Order::ZERO).expect("it is inert"));
    group.arm(
        0,
        &turned(&[(Knob::Space, 3 * PAGE_SIZE as u64), (Knob::Times, 2)]),
    );
    let two = Order::new(1).expect("an order");
    let _kept = Block::allocate(source, two).expect("within the space");
    let refused = [(); 3].map(|()| Block::allocate(source, two).map(drop).map_err(|e| e.kind()));
    let kind = Kind::OutOfMemory {
        requested_bytes: 2 * PAGE_SIZE,
    };
    assert_eq!(refused, [Err(kind), Err(kind), Ok(())]);
}

#[test]
#[expect(unsafe_code, reason = "bits flip")]
fn one_bit_flips_in_a_block_that_somebody_has_and_none_in_another() {
    let (source, _) = source();
    // SAFETY: nobody has a block.
    assert!(!unsafe { source.flip(7, PAGE_SIZE) }, "there is none");
    for seed in 0..100_u64 {
        let gone = Block::allocate(source, Order::ZERO).expect("the host has memory");
        let blocks: Vec<_> = (0..3)
            .map(|order| Block::allocate(source, Order::new(order).expect("an order")))
            .map(|block| block.expect("the host has memory"))
            .collect();
        drop(gone);
        let draw = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let within = if seed % 2 == 0 { 100 } else { usize::MAX };
        // SAFETY: this test has the blocks.
        assert!(unsafe { source.flip(draw, within) });
        let starts = blocks
            .iter()
            .flat_map(|block| &block[..within.min(block.len())]);
        let bits = starts.map(|byte| byte.count_ones()).sum::<u32>();
        assert_eq!(bits, 1, "seed {seed}");
    }
}
