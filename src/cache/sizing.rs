//! How large a cache should be: a limit that follows demand between a floor and a ceiling.
//!
//! The control law, by what happens to the cache:
//! - *Overflow*: an entry finds no room, and a batch is given up to make some. It is remembered how many
//!   entries were given up and not missed since: the regret, at most the ceiling.
//! - *Miss*: a request finds the cache empty. If there is regret, a larger cache would have met it: the limit grows
//!   by [`SizingPolicy::growth`] batches, at most by the regret, and the regret shrinks by as much. Without regret the
//!   limit stays, since the entry never was here, and no size of the cache would have kept it.
//! - *Period*: time has passed. If no request was met by regret in it, the limit loses one part of
//!   [`SizingPolicy::decay`] of what it is above the floor; and half of the regret is forgotten, so that what was
//!   given up long ago is not taken for need.
//! - *Pressure*: somebody else needs what the cache holds. The limit falls to the floor, and the regret to 0.
//!
//! Growth by regret is the ghost list of ARC (Megiddo and Modha, 2003) with a count in place of the list, as entries
//! of these caches are alike; decay by an eighth is that of Linux' per-CPU page lists (mm/page_alloc.c, `decay_pcp_high`).
//!
//! Units are the cache's own: pages, symbols, bytes. Policy only: the cache obeys [`Sizing::limit`] and says what
//! happened; no call costs more than a few instructions, and none is needed for a hit.

/// Between which bounds a limit moves, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizingPolicy {
    /// The least limit: what the cache has when nobody needs it.
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
    grown: u32,
    shrunk: u32,
}

impl Sizing {
    /// A limit at the floor.
    ///
    /// # Panics
    /// If the floor is above the ceiling, or batch, growth or decay is 0.
    pub const fn new(policy: SizingPolicy) -> Self {
        assert!(
            policy.floor <= policy.ceiling,
            "the floor is above the ceiling"
        );
        assert!(
            policy.batch > 0 && policy.growth > 0 && policy.decay > 0,
            "a limit moves by something"
        );
        Self {
            policy,
            limit: policy.floor,
            regret: 0,
            was_needed: false,
            grown: 0,
            shrunk: 0,
        }
    }

    /// Entries that the cache may hold now.
    #[inline]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// How often the limit grew, and shrank.
    pub const fn resizes(&self) -> (u32, u32) {
        (self.grown, self.shrunk)
    }

    /// Notes that so many entries were given up for want of room.
    pub fn overflowed(&mut self, given_up: u32) {
        self.regret = self
            .regret
            .saturating_add(given_up)
            .min(self.policy.ceiling);
    }

    /// Notes that a request found the cache empty.
    pub fn missed(&mut self) {
        let step = (self.policy.batch.saturating_mul(self.policy.growth)).min(self.regret);
        if step == 0 {
            return;
        }
        self.regret -= step;
        self.was_needed = true;
        self.move_to(self.limit.saturating_add(step));
    }

    /// Notes that a period has passed; true if the limit is lower now.
    pub fn period_ended(&mut self) -> bool {
        self.regret /= 2;
        if core::mem::take(&mut self.was_needed) {
            return false;
        }
        let spare = self.limit - self.policy.floor;
        self.move_to(self.limit - spare.div_ceil(self.policy.decay));
        spare > 0
    }

    /// Gives up everything above the floor; true if there was something.
    pub fn pressed(&mut self) -> bool {
        self.regret = 0;
        let is_above = self.limit > self.policy.floor;
        self.move_to(self.policy.floor);
        is_above
    }

    fn move_to(&mut self, limit: u32) {
        let limit = limit.clamp(self.policy.floor, self.policy.ceiling);
        if limit > self.limit {
            self.grown = self.grown.wrapping_add(1);
        } else if limit < self.limit {
            self.shrunk = self.shrunk.wrapping_add(1);
        }
        self.limit = limit;
    }
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
        sizing.missed();
        assert_eq!((sizing.limit(), sizing.resizes()), (32, (0, 0)));
        sizing.overflowed(100);
        for limit in [96, 132, 132] {
            sizing.missed();
            assert_eq!(sizing.limit(), limit);
        }
        assert_eq!(sizing.resizes(), (2, 0));
    }

    #[test]
    fn the_limit_keeps_between_floor_and_ceiling_whatever_happens() {
        let mut random = Random::new(5);
        let mut sizing = Sizing::new(POLICY);
        let mut seen = [u32::MAX, 0];
        for _ in 0..100_000 {
            match random.below(8) {
                0..=2 => sizing.overflowed(random.below(500)),
                3..=5 => sizing.missed(),
                6 => drop(sizing.period_ended()),
                _ if random.below(1_000) == 0 => drop(sizing.pressed()),
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
                sizing.missed();
            }
            assert_eq!(sizing.limit(), 1024);
        };
        grow(&mut sizing);
        assert!(!sizing.period_ended(), "it was needed in this period");
        let mut periods = 0;
        while sizing.period_ended() {
            periods += 1;
        }
        assert_eq!(sizing.limit(), 32);
        assert!((20..50).contains(&periods), "{periods}");
        grow(&mut sizing);
        assert!(sizing.pressed());
        assert_eq!(sizing.limit(), 32);
        assert!(!sizing.pressed() && !sizing.period_ended());
    }

    /// What a cache of pages did under a load: misses, drains, and pages held, summed over all steps.
    struct Run {
        visits: u64,
        held: u64,
    }

    /// A load that takes and gives back in runs of random lengths up to `amplitude`, `steps` in all, a period each 4,096;
    /// `sizing` is none for a fixed limit of 64.
    fn run(mut sizing: Option<Sizing>, load: &[(u32, u32)], random: &mut Random) -> Run {
        let (mut pages, mut out, mut steps) = (0, 0, 0);
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
                            sizing.as_mut().map(Sizing::missed);
                        }
                        pages -= 1;
                    } else {
                        out -= 1;
                        if pages >= limit {
                            done.visits += 1;
                            pages -= POLICY.batch;
                            sizing
                                .as_mut()
                                .map(|sizing| sizing.overflowed(POLICY.batch));
                        }
                        pages += 1;
                    }
                    steps += 1;
                    if steps % 4_096 == 0 && sizing.as_mut().is_some_and(Sizing::period_ended) {
                        pages = pages.min(sizing.as_ref().map_or(64, Sizing::limit));
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
