//! How large a cache should be: a limit that follows demand between a floor and a ceiling.
//!
//! The control law, by what happens to the cache:
//! - *Overflow*: an entry finds no room, and a batch is given up to make some. It is remembered how many
//!   entries were given up and not missed since: the regret, at most the ceiling.
//! - *Miss*: a request finds the cache empty. If there is regret, a larger cache would have met it: the limit grows
//!   by [`SizingPolicy::growth`] batches, at most by the regret, and the regret shrinks by as much. Without regret the
//!   limit stays, since the entry never was here, and no size of the cache would have kept it.
//! - *Period*: time has passed. Of the entries that nobody needed in it, half are given up: they lay below the lowest
//!   level that the cache fell to. If no request met regret in it, the limit loses one part of [`SizingPolicy::decay`] of
//!   what it is above the floor; and half of the regret is forgotten, so that what was given up long ago is not
//!   taken for need. Several periods of which nobody took note do so several times, but while the cache was used the limit
//!   decays once, since more is not known than that it sufficed.
//! - *Pressure*: somebody else needs what the cache holds. The limit falls to the floor, the regret to 0, and all
//!   entries are given up.
//!
//! Growth by regret is the ghost list of ARC (Megiddo and Modha, FAST 2003) with a count in place of the list, as entries of
//! these caches are alike. To give up what lay below the low-water mark of a period is how the magazine layer reaps its
//! depot (Bonwick and Adams, USENIX 2001: its working set is what was used since the last interval) and how TCMalloc's
//! thread caches are collected, by halves; the limit's decay by an eighth is that of Linux' per-CPU page lists
//! (mm/page_alloc.c, `decay_pcp_high`).
//!
//! Units are the cache's own: pages, symbols, bytes. Policy only: the cache obeys [`Sizing::limit`] and says what
//! happened; no call costs more than a few instructions, and none is needed for a hit.

use core::cmp::Ordering;

/// Periods beyond which a limit is at its floor: of 2^32 above it less than one is left.
const PERIODS_MAX: u32 = 192;

/// Between which bounds a limit moves, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizingPolicy {
    /// The least limit: what the cache may hold when nobody needs it.
    pub floor: u32,
    /// The largest limit.
    pub ceiling: u32,
    /// Entries that move at once.
    pub batch: u32,
    /// Batches by which the limit grows for one miss that it could have met.
    pub growth: u32,
    /// The limit loses one part of so many in a period without need.
    pub decay: u32,
}

/// One cache's limit.
#[derive(Clone, Copy, Debug)]
pub struct Sizing {
    policy: SizingPolicy,
    limit: u32,
    regret: u32,
    was_needed: bool,
    resizes: [u32; 2],
}

impl Sizing {
    /// A limit at the floor.
    ///
    /// # Panics
    /// If the floor is above the ceiling, or growth or decay is 0.
    pub const fn new(policy: SizingPolicy) -> Self {
        assert!(
            policy.floor <= policy.ceiling,
            "the floor is above the ceiling"
        );
        assert!(
            policy.growth > 0 && policy.decay > 0,
            "a limit moves by something"
        );
        Self {
            policy,
            limit: policy.floor,
            regret: 0,
            was_needed: false,
            resizes: [0; 2],
        }
    }

    /// Entries that the cache may hold now.
    #[inline]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Entries that move at once.
    #[inline]
    pub const fn batch(&self) -> u32 {
        self.policy.batch
    }

    /// True if entries were given up that a miss would regret: without, [`Sizing::missed`] changes nothing.
    #[inline]
    pub const fn has_regret(&self) -> bool {
        self.regret > 0
    }

    /// How often the limit grew, and shrank.
    pub const fn resizes(&self) -> [u32; 2] {
        self.resizes
    }

    /// Notes that so many entries were given up for want of room.
    #[inline]
    pub fn overflowed(&mut self, given_up: u32) {
        self.regret = self
            .regret
            .saturating_add(given_up)
            .min(self.policy.ceiling);
    }

    /// Notes that a request found the cache empty. The limit grows by `room` at most: what others of the same
    /// memory leave of it.
    pub fn missed(&mut self, room: u32) {
        self.was_needed |= self.regret > 0;
        let step = (self.policy.batch.saturating_mul(self.policy.growth))
            .min(self.regret)
            .min(room);
        self.regret -= step;
        self.move_to(self.limit.saturating_add(step));
    }

    /// Notes that so many periods have passed, one or more, and that of the entries `held` so many lay `unused` through
    /// all of them. Answers how many entries are to be given up.
    pub fn periods_ended(&mut self, periods: u32, held: u32, unused: u32) -> u32 {
        self.regret = halved(self.regret, periods);
        let decays = match core::mem::take(&mut self.was_needed) {
            true => 0,
            false if unused < held => 1,
            false => periods.min(PERIODS_MAX),
        };
        let floor = self.policy.floor;
        let decayed = |limit: u32, _| limit - (limit - floor).div_ceil(self.policy.decay);
        self.move_to((0..decays).fold(self.limit, decayed));
        let excess = held.saturating_sub(self.limit);
        excess.max(unused - halved(unused, periods))
    }

    /// Gives up everything above the floor; what the cache holds is to be given up.
    pub fn pressed(&mut self) {
        self.regret = 0;
        self.was_needed = false;
        self.move_to(self.policy.floor);
    }

    fn move_to(&mut self, limit: u32) {
        let limit = limit.clamp(self.policy.floor, self.policy.ceiling);
        let [grown, shrunk] = &mut self.resizes;
        match limit.cmp(&self.limit) {
            Ordering::Greater => *grown = grown.wrapping_add(1),
            Ordering::Less => *shrunk = shrunk.wrapping_add(1),
            Ordering::Equal => {}
        }
        self.limit = limit;
    }
}

/// Half of it, so many times.
fn halved(entries: u32, times: u32) -> u32 {
    entries.checked_shr(times).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::random::Random;

    const POLICY: SizingPolicy = SizingPolicy {
        floor: 32,
        ceiling: 1024,
        batch: 32,
        growth: 2,
        decay: 8,
    };

    #[test]
    fn misses_of_what_was_given_up_raise_the_limit_and_others_do_not() {
        let mut sizing = Sizing::new(POLICY);
        sizing.missed(u32::MAX);
        assert_eq!((sizing.limit(), sizing.resizes()), (32, [0, 0]));
        sizing.overflowed(100);
        for (room, limit) in [(1_000, 96), (20, 116), (0, 116), (1_000, 132), (1_000, 132)] {
            sizing.missed(room);
            assert_eq!(sizing.limit(), limit);
        }
        assert_eq!(sizing.resizes(), [3, 0]);
    }

    #[test]
    fn the_limit_keeps_between_floor_and_ceiling_whatever_happens() {
        let mut random = Random::new(5);
        let mut sizing = Sizing::new(POLICY);
        let mut seen = [u32::MAX, 0];
        for _ in 0..100_000 {
            match random.below(8) {
                0..=2 => sizing.overflowed(random.below(500)),
                3..=5 => sizing.missed(random.below(300)),
                6 => {
                    let held = random.below(2_000);
                    let unused = random.below(held + 1);
                    let given_up = sizing.periods_ended(1 + random.below(3), held, unused);
                    assert!(given_up <= held && held - given_up <= sizing.limit());
                }
                _ if random.below(1_000) == 0 => sizing.pressed(),
                _ => {}
            }
            seen = [seen[0].min(sizing.limit()), seen[1].max(sizing.limit())];
        }
        assert_eq!(seen, [32, 1024]);
    }

    #[test]
    fn a_limit_that_nobody_needs_decays_to_the_floor_and_pressure_puts_it_there_at_once() {
        let mut sizing = Sizing::new(POLICY);
        let grow = |sizing: &mut Sizing| {
            for _ in 0..20 {
                sizing.overflowed(64);
                sizing.missed(u32::MAX);
            }
            assert_eq!(sizing.limit(), 1024);
        };
        grow(&mut sizing);
        let end = |sizing: &mut Sizing, periods| sizing.periods_ended(periods, 10, 5);
        end(&mut sizing, 1);
        assert_eq!(sizing.limit(), 1024, "it was needed in this period");
        end(&mut sizing, 500);
        assert_eq!(sizing.limit(), 900, "it was used, and sufficed");
        let mut periods = 0;
        while sizing.limit() > 32 {
            end(&mut sizing, 1);
            periods += 1;
        }
        assert!((20..50).contains(&periods), "{periods}");
        grow(&mut sizing);
        end(&mut sizing, 1);
        sizing.periods_ended(periods + 1, 10, 10);
        assert_eq!(sizing.limit(), 32, "nobody used it in any of them");
        grow(&mut sizing);
        sizing.pressed();
        assert_eq!(sizing.limit(), 32);
        sizing.missed(u32::MAX);
        assert_eq!(sizing.limit(), 32, "what was regretted before is not");
    }

    #[test]
    fn a_limit_of_any_height_is_at_its_floor_after_as_many_periods_as_are_counted() {
        let policy = SizingPolicy {
            floor: 0,
            ceiling: u32::MAX,
            batch: u32::MAX,
            ..POLICY
        };
        let mut sizing = Sizing::new(policy);
        sizing.overflowed(u32::MAX);
        sizing.missed(u32::MAX);
        assert_eq!(sizing.limit(), u32::MAX);
        sizing.periods_ended(1, 0, 0);
        assert_eq!(sizing.periods_ended(u32::MAX, 0, 0), 0);
        assert_eq!(sizing.limit(), 0);
    }

    #[test]
    fn of_what_nobody_used_half_is_given_up_a_period_and_all_that_is_above_the_limit() {
        let mut sizing = Sizing::new(POLICY);
        assert_eq!(sizing.periods_ended(1, 32, 0), 0);
        assert_eq!(sizing.periods_ended(1, 30, 9), 5);
        assert_eq!(sizing.periods_ended(3, 30, 9), 8);
        assert_eq!(sizing.periods_ended(4, 30, 9), 9);
        assert_eq!(sizing.periods_ended(1, 40, 6), 8);
    }

    /// What a cache of pages did under a load: misses, drains, and pages held, summed over all steps.
    struct Run {
        visits: u64,
        held: u64,
    }

    /// A load that takes and gives back in runs of random lengths up to `amplitude`, `steps` in all, a period each 4,096;
    /// `sizing` is none for a fixed limit of 64.
    fn run(mut sizing: Option<Sizing>, load: &[(u32, u32)], random: &mut Random) -> Run {
        // What lies below `unused` was not needed in this period.
        let (mut pages, mut unused, mut out, mut steps) = (0u32, 0, 0, 0);
        let mut done = Run { visits: 0, held: 0 };
        for &(amplitude, runs) in load {
            for _ in 0..runs {
                let target = random.below(amplitude);
                while out != target {
                    let limit = sizing.as_ref().map_or(64, Sizing::limit);
                    if out < target {
                        out += 1;
                        if pages == 0 {
                            done.visits += 1;
                            pages = POLICY.batch;
                            sizing.as_mut().map(|sizing| sizing.missed(u32::MAX));
                        }
                        pages -= 1;
                        unused = unused.min(pages);
                    } else {
                        out -= 1;
                        if pages >= limit {
                            done.visits += 1;
                            pages -= POLICY.batch;
                            unused = unused.min(pages);
                            sizing
                                .as_mut()
                                .map(|sizing| sizing.overflowed(POLICY.batch));
                        }
                        pages += 1;
                    }
                    steps += 1;
                    if steps % 4_096 == 0
                        && let Some(sizing) = &mut sizing
                    {
                        pages -= sizing.periods_ended(1, pages, unused);
                        unused = pages;
                    }
                    done.held += u64::from(pages);
                }
            }
        }
        done
    }

    #[test]
    fn a_limit_that_follows_demand_visits_less_than_a_fixed_one_under_bursts_and_no_more_without() {
        let fixed = || run(None, &[(600, 500)], &mut Random::new(3));
        let adaptive = run(
            Some(Sizing::new(POLICY)),
            &[(600, 500)],
            &mut Random::new(3),
        );
        assert!(
            adaptive.visits * 2 < fixed().visits,
            "{} of {}",
            adaptive.visits,
            fixed().visits
        );
        // What fits the fixed one fits.
        let calm = [(40, 20_000)];
        let fixed = run(None, &calm, &mut Random::new(4));
        let adaptive = run(Some(Sizing::new(POLICY)), &calm, &mut Random::new(4));
        assert!(
            adaptive.visits <= fixed.visits + 200 && adaptive.held <= fixed.held,
            "{} of {} visits, {} of {} held",
            adaptive.visits,
            fixed.visits,
            adaptive.held,
            fixed.held
        );
    }
}
