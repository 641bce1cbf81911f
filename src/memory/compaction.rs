//! Compaction: empties the emptiest pageblocks, so that there is memory in blocks of 2 MiB again.
//!
//! Flow: [`compact`] has the zone isolate the emptiest movable pageblock, which it knows from its counts; asks for each
//! block in use there to be moved into a partly used pageblock; and ends the isolation. It runs for a request of a
//! large block that was refused, or in the [background](Background).
//!
//! Always true: the moves it has made are never more than [`CompactionPolicy::moves_max`] for each pageblock recovered
//! and one more; nothing is moved into a free pageblock; between two steps no lock is held, and whoever stops in
//! between leaves nothing to clean up but an isolation, which the next request that needs it ends.

mod background;

pub use background::{Background, Foreground, QUIET};

use super::frames::{Order, Pfn};
use core::ops::Range;

/// What compaction may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionPolicy {
    /// Most frames that are moved for each pageblock recovered, on the mean.
    pub moves_max: usize,
    /// Most frames that are moved out of one pageblock; a fuller one is not tried.
    pub used_max: usize,
    /// The share of free memory outside of whole pageblocks, in per cent, that is borne without a run in the background.
    pub scattered_max_percent: u64,
}

impl CompactionPolicy {
    /// 310 on the mean: what LLFree needs after churn at 80 % full (USENIX ATC '23, counted again for this project);
    /// three quarters of one pageblock, a guess. A twentieth may lie scattered: what compaction leaves after that churn.
    pub const DEFAULT: Self = Self {
        moves_max: 310,
        used_max: 384,
        scattered_max_percent: 5,
    };
}

/// What came of asking for a block to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// It lies elsewhere, or was freed meanwhile; its frames are free.
    Done,
    /// Its owner does not let it be moved.
    Refused,
    /// There is no place for it.
    NoRoom,
}

/// What lies in memory and can be moved. Each call holds a lock for a bounded time at most.
pub trait Compactible {
    /// Isolates the emptiest pageblock of movable blocks, if it has at most `used_max` frames in use.
    fn isolate_emptiest(&mut self, used_max: usize) -> Option<Range<u64>>;

    /// The first block in use of at least `order` that starts within these frames.
    fn next_block(&mut self, within: Range<u64>, order: Order) -> Option<(Pfn, Order)>;

    /// Moves a block out of the isolated pageblock into one that is partly used.
    fn move_away(&mut self, first: Pfn, order: Order) -> Move;

    /// Ends the isolation: true if the pageblock is free. If it is `stuck`, it is not isolated again before it has been
    /// free.
    fn end_isolation(&mut self, stuck: bool) -> bool;
}

/// What a run of [`compact`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Pageblocks that are free now.
    pub pageblocks: usize,
    /// Frames moved.
    pub moves: usize,
    /// Pageblocks that hold what could not be moved.
    pub stuck: usize,
}

/// Recovers `wanted` pageblocks, or as many as can be had within the policy and before `is_busy`.
pub fn compact(
    memory: &mut dyn Compactible,
    policy: CompactionPolicy,
    wanted: usize,
    is_busy: &dyn Fn() -> bool,
) -> Compacted {
    let mut done = Compacted::default();
    while done.pageblocks < wanted {
        let allowed = policy.moves_max * (done.pageblocks + 1) - done.moves;
        let allowed = allowed.min(policy.used_max);
        let Some(frames) = memory.isolate_emptiest(allowed) else {
            break;
        };
        let stop = empty(memory, frames, allowed, is_busy, &mut done.moves);
        let is_stuck = stop == Some(Stop::Stuck);
        done.stuck += usize::from(is_stuck);
        let is_free = memory.end_isolation(is_stuck);
        done.pageblocks += usize::from(is_free);
        // What is neither in hand nor free is on its way, in a page cache: it would be the emptiest again.
        if stop == Some(Stop::Ended) || !is_free && !is_stuck {
            break;
        }
    }
    done
}

/// Why a pageblock was not emptied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Something in it cannot be moved.
    Stuck,
    /// Nothing more can be moved now.
    Ended,
}

/// Moves away what is in the isolated pageblock, at most `moves_max` frames of it: the largest blocks first, as places
/// for those are fewest.
fn empty(
    memory: &mut dyn Compactible,
    frames: Range<u64>,
    moves_max: usize,
    is_busy: &dyn Fn() -> bool,
    moves: &mut usize,
) -> Option<Stop> {
    let last = *moves + moves_max;
    for least in Order::all().rev() {
        let mut rest = frames.clone();
        while let Some((first, order)) = memory.next_block(rest.clone(), least) {
            let count = order.frames();
            if *moves + count as usize > last || is_busy() {
                return Some(Stop::Ended);
            }
            match memory.move_away(first, order) {
                Move::Done => *moves += count as usize,
                Move::NoRoom if order == Order::ZERO => return Some(Stop::Ended),
                Move::NoRoom | Move::Refused => return Some(Stop::Stuck),
            }
            rest.start = first.0 + count;
        }
    }
    None
}
