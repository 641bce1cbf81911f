//! What values were seen, by a few of them: how far is another from all of these?

/// Values that are remembered. One stands for all within [`ALIKE`] of the range about it, so about 50 fill a range;
/// the others are what was closer together while the range was smaller.
const REMEMBERED: usize = 64;
/// Values closer together than this share of the range are taken for one.
const ALIKE: f64 = 0.02;
/// No value is further out than this, in ranges: one wild value outweighs no others.
const FAR: f64 = 0.5;

/// Remembers where values lie.
#[derive(Clone, Debug)]
pub(super) struct Gaps {
    /// Sorted.
    seen: heapless::Vec<f64, REMEMBERED>,
    low: f64,
    high: f64,
}

impl Gaps {
    pub(super) const NEW: Self = Self {
        seen: heapless::Vec::new(),
        low: f64::INFINITY,
        high: f64::NEG_INFINITY,
    };

    /// The distance from `value` to the nearest that was seen, in ranges of all that were, and at most [`FAR`].
    pub(super) fn apart(&self, value: f64) -> f64 {
        let distance = self.nearest(value);
        if self.seen.is_empty() || distance <= 0.0 {
            return 0.0;
        }
        // Of a series that never changed, any change is far out: the range is nothing, the quotient infinite.
        (distance / (self.high - self.low)).min(FAR)
    }

    pub(super) fn learn(&mut self, value: f64) {
        self.low = self.low.min(value);
        self.high = self.high.max(value);
        if !self.seen.is_empty() && self.nearest(value) <= ALIKE * (self.high - self.low) {
            return;
        }
        if self.seen.is_full() {
            self.forget_one();
        }
        let place = self.place(value);
        self.seen
            .insert(place, value)
            .expect("one was forgotten if there was no room");
    }

    /// Where `value` belongs among those that were seen.
    fn place(&self, value: f64) -> usize {
        self.seen.partition_point(|&seen| seen < value)
    }

    /// The distance to the nearest that was seen; infinite if there is none.
    fn nearest(&self, value: f64) -> f64 {
        let place = self.place(value);
        let above = self.seen.get(place).map(|seen| seen - value);
        let below = place
            .checked_sub(1)
            .and_then(|below| self.seen.get(below))
            .map(|seen| value - seen);
        above
            .unwrap_or(f64::INFINITY)
            .min(below.unwrap_or(f64::INFINITY))
    }

    /// Drops the one that leaves the narrowest gap; never the lowest or the highest.
    fn forget_one(&mut self) {
        let left = self.seen.windows(3).map(|three| three[2] - three[0]);
        let narrowest = left
            .enumerate()
            .min_by(|(_, a), (_, b)| a.total_cmp(b))
            .map_or(0, |(before, _)| before);
        self.seen.remove(narrowest + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn having_seen(values: &[f64]) -> Gaps {
        let mut gaps = Gaps::NEW;
        for &value in values {
            gaps.learn(value);
        }
        gaps
    }

    #[test]
    fn a_value_is_as_far_out_as_its_distance_to_the_nearest_in_ranges() {
        let gaps = having_seen(&[10.0, 0.0, 4.0]);
        for (value, apart) in [
            (4.0, 0.0),
            (7.0, 0.3),
            (1.0, 0.1),
            (12.0, 0.2),
            (-99.0, FAR),
        ] {
            let found = gaps.apart(value);
            assert!((found - apart).abs() < 1e-12, "{value}: {found}");
        }
    }

    #[test]
    fn of_what_never_changed_any_change_is_far_out() {
        let gaps = having_seen(&[3.0; 10]);
        assert_eq!(gaps.apart(3.0), 0.0);
        assert_eq!(gaps.apart(3.001), FAR);
        assert_eq!(
            Gaps::NEW.apart(5.0),
            0.0,
            "before the first, nothing is odd"
        );
    }

    #[test]
    fn however_many_values_were_seen_none_of_them_is_far_out() {
        // The range grows all the time, so what was remembered lies ever closer together.
        let values: std::vec::Vec<f64> = (0..400).map(|n| libm::exp(f64::from(n) / 40.0)).collect();
        let gaps = having_seen(&values);
        assert!(gaps.seen.len() <= REMEMBERED);
        for &value in &values {
            assert!(gaps.apart(value) <= 2.0 * ALIKE, "{value}");
        }
    }
}
