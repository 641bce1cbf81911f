//! The runs of whole frames in RAM that nothing has reserved.
//!
//! What the device tree says of RAM and reservations is taken as it comes: in any order, not aligned to
//! frames, overlapping, empty. RAM is rounded inwards and reservations outwards, and no frame comes twice.

use crate::memory::frames::{PAGE_SIZE, Pfn};
use core::ops::Range;

/// Iterates over the runs, in frame numbers; lowest first within each bank, banks as given. Frame 0 is left out.
#[derive(Clone)]
pub(in crate::memory) struct FreeSpans<'a> {
    ram: &'a [Range<usize>],
    reserved: &'a [Range<usize>],
    /// One more reservation, in frames.
    also_reserved: Range<u64>,
    bank: usize,
    cursor: u64,
}

impl<'a> FreeSpans<'a> {
    pub(in crate::memory) fn new(
        ram: &'a [Range<usize>],
        reserved: &'a [Range<usize>],
        also_reserved: Range<u64>,
    ) -> Self {
        Self {
            ram,
            reserved,
            also_reserved,
            bank: 0,
            cursor: 0,
        }
    }

    /// What may not be given out of the current bank; banks before it count, lest they overlap.
    fn holes(&self) -> impl Iterator<Item = Range<u64>> {
        self.ram[..self.bank]
            .iter()
            .chain(self.reserved)
            .filter(|range| !range.is_empty())
            .map(|range| Pfn::containing(range.start).0..range.end.div_ceil(PAGE_SIZE) as u64)
            .chain(core::iter::once(self.also_reserved.clone()))
    }
}

impl Iterator for FreeSpans<'_> {
    type Item = Range<u64>;

    fn next(&mut self) -> Option<Range<u64>> {
        loop {
            let bank = self.ram.get(self.bank)?;
            let end = Pfn::containing(bank.end).0;
            let cursor = self
                .cursor
                .max(bank.start.div_ceil(PAGE_SIZE) as u64)
                .max(1);
            if cursor >= end {
                self.bank += 1;
                self.cursor = 0;
                continue;
            }
            let hole = self.holes().find(|hole| hole.contains(&cursor));
            if let Some(hole) = hole {
                self.cursor = hole.end;
                continue;
            }
            let later = self
                .holes()
                .map(|hole| hole.start)
                .filter(|&start| start > cursor);
            let stop = later.min().unwrap_or(end).min(end);
            self.cursor = stop;
            return Some(cursor..stop);
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "a list of one range is what is meant"
)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn spans(ram: &[Range<usize>], reserved: &[Range<usize>]) -> Vec<Range<u64>> {
        FreeSpans::new(ram, reserved, 0..0).collect()
    }

    #[test]
    fn reservations_cut_ram_and_are_rounded_outwards() {
        let free = spans(&[0x1000..0xa000], &[0x5800..0x6001, 0x2fff..0x3000]);
        assert_eq!(free, [1..2, 3..5, 7..10]);
    }

    #[test]
    fn ram_is_rounded_inwards_and_frame_0_is_left_out() {
        assert_eq!(spans(&[0..0x2fff], &[]), [1..2]);
        assert_eq!(spans(&[0x4001..0x6000], &[]), [5..6]);
        assert_eq!(spans(&[0x4001..0x4fff], &[]), []);
    }

    #[test]
    fn overlapping_banks_give_every_frame_once() {
        let free = spans(&[0x4000..0x8000, 0x2000..0xa000, 0x4000..0x5000], &[]);
        assert_eq!(free, [4..8, 2..4, 8..10]);
    }

    #[test]
    fn empty_and_reversed_ranges_are_ignored() {
        #[expect(
            clippy::reversed_empty_ranges,
            reason = "a damaged device tree says so"
        )]
        let free = spans(
            &[0x8000..0x2000, 0x1000..0x4000],
            &[0x2800..0x2800, 0x3000..0x1000],
        );
        assert_eq!(free, [1..4]);
    }
}
