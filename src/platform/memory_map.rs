//! Arithmetic on address ranges: what to map, once each, around what is mapped otherwise.

use core::ops::Range;
use heapless::Vec;

/// Ranges handled at once.
pub const RANGES_MAX: usize = 48;

/// A list of ranges that are sorted and neither overlap nor touch.
pub type Ranges = Vec<Range<usize>, RANGES_MAX>;

/// Rounds `range` outwards to multiples of `align`, a power of two.
pub const fn outwards(range: Range<usize>, align: usize) -> Range<usize> {
    range.start & !(align - 1)..range.end.saturating_add(align - 1) & !(align - 1)
}

/// Rounds `range` inwards to multiples of `align`, a power of two; empty if nothing is left.
pub const fn inwards(range: Range<usize>, align: usize) -> Range<usize> {
    let start = range.start.saturating_add(align - 1) & !(align - 1);
    let end = range.end & !(align - 1);
    if start < end {
        start..end
    } else {
        start..start
    }
}

/// Sorts ranges and joins those that overlap or touch; those beyond [`RANGES_MAX`] are left out.
pub fn merge(ranges: impl IntoIterator<Item = Range<usize>>) -> Ranges {
    let mut sorted = Ranges::new();
    for range in ranges.into_iter().filter(|range| !range.is_empty()) {
        let place = sorted.partition_point(|other| other.start <= range.start);
        if sorted.insert(place, range).is_err() {
            break;
        }
    }
    let mut merged = Ranges::new();
    for range in sorted {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range).expect("no more than were sorted"),
        }
    }
    merged
}

/// The parts of `range` outside `holes`, which are sorted and do not overlap.
pub fn subtract(range: Range<usize>, holes: &Ranges) -> impl Iterator<Item = Range<usize>> {
    let mut start = range.start;
    let end = range.end;
    let tail = end..end;
    holes
        .iter()
        .cloned()
        .chain(core::iter::once(tail))
        .filter_map(move |hole| {
            let part = start..hole.start.min(end);
            start = start.max(hole.end);
            (part.start < part.end).then_some(part)
        })
}

/// The end of the first bank of `ram` that has `bytes` in one piece outside `taken`.
pub fn last_room(bytes: usize, ram: &Ranges, taken: &Ranges) -> Option<Range<usize>> {
    let has_room = |part: &Range<usize>| part.len() >= bytes;
    let last = |bank: &Range<usize>| subtract(bank.clone(), taken).filter(has_room).last();
    let end = ram.iter().find_map(last)?.end;
    Some(end - bytes..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec as StdVec;

    #[test]
    fn what_lies_around_holes_is_left() {
        let holes = merge([30..40, 10..20, 20..25, 90..200]);
        assert_eq!(holes.as_slice(), [10..25, 30..40, 90..200]);
        let parts: StdVec<_> = subtract(0..100, &holes).collect();
        assert_eq!(parts, [0..10, 25..30, 40..90]);
        assert!(subtract(12..35, &holes).eq(core::iter::once(25..30)));
        assert!(subtract(300..400, &holes).eq(core::iter::once(300..400)));
        assert_eq!(subtract(31..39, &holes).count(), 0);
    }

    #[test]
    fn room_is_found_at_the_end_of_the_first_bank_that_has_it() {
        let ram = merge([0..100, 200..400]);
        let taken = merge([0..30, 60..70, 95..110, 390..395]);
        assert_eq!(last_room(5, &ram, &taken), Some(90..95));
        assert_eq!(last_room(30, &ram, &taken), Some(30..60));
        assert_eq!(last_room(31, &ram, &taken), Some(359..390));
        assert_eq!(last_room(191, &ram, &taken), None);
    }

    #[test]
    fn rounding_keeps_or_covers_the_range() {
        assert_eq!(inwards(5..23, 8), 8..16);
        assert!(inwards(1..7, 8).is_empty());
        assert_eq!(outwards(5..23, 8), 0..24);
    }
}
