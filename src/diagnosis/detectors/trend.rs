//! A straight line through recent values, and when it meets a limit.
//!
//! Discounted least squares (Brown, "Smoothing, forecasting and prediction of discrete time series", 1963): each value
//! weighs less the longer ago it was seen, by the time and not by the number of values since. The time to exhaustion
//! comes with the range of lines that the values allow.

use super::{Score, StreamDetector};
use crate::platform::time::{Duration, Instant, NANOS_PER_SEC};

/// Deviations of the slope that the fastest and slowest line lie from the likeliest: 95 % of a normal spread.
const CONFIDENCE: f64 = 1.96;

/// Watches a resource on its way to its limit.
#[derive(Clone, Copy, Debug)]
pub struct Trend {
    limit: f64,
    /// In which a value's weight falls by half, in seconds.
    half_life: f64,
    /// Anomalous is exhaustion sooner than this, in seconds.
    horizon: f64,
    learning: u32,
    count: u32,
    latest: Option<Instant>,
    /// Sums over all values of weight, and weight times: time, time squared, distance to the limit, time and distance,
    /// distance squared. Times are seconds before the latest value, so negative.
    sums: [f64; 6],
}

/// When a trend meets its limit, from the latest value on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhaustion {
    /// By the fastest line that the values allow.
    pub soonest: Duration,
    /// By the likeliest line.
    pub likeliest: Duration,
    /// By the slowest line; none if that never gets there.
    pub latest: Option<Duration>,
}

impl Trend {
    /// Towards `limit`, from either side. Values from `half_life` ago weigh half; anomalous is a trend that is sure to be
    /// at the limit within `horizon`, after at least `learning` values.
    pub const fn new(limit: f64, half_life: Duration, horizon: Duration, learning: u32) -> Self {
        Self {
            limit,
            half_life: seconds(half_life),
            horizon: seconds(horizon),
            learning,
            count: 0,
            latest: None,
            sums: [0.0; 6],
        }
    }

    /// When the limit will be met if it goes on like this; none if it will not be, or too little was seen.
    pub fn exhaustion(&self) -> Option<Exhaustion> {
        let (level, slope, doubt) = self.line()?;
        // The distance to the limit has the limit's sign; it is met as it falls to nothing.
        let reach = |slope: f64| {
            let time = -level / slope;
            (time.is_finite() && time >= 0.0).then(|| duration(time))
        };
        let towards = if level > 0.0 { -1.0 } else { 1.0 };
        Some(Exhaustion {
            soonest: reach(slope + towards * doubt)?,
            likeliest: reach(slope)?,
            latest: reach(slope - towards * doubt),
        })
    }

    /// Distance to the limit now, its change a second, and how far the true change may lie from that.
    fn line(&self) -> Option<(f64, f64, f64)> {
        let [n, t, tt, y, ty, yy] = self.sums;
        if self.count < self.learning.max(3) {
            return None;
        }
        let spread = tt - t * t / n;
        if spread <= 0.0 {
            return None;
        }
        let slope = (ty - t * y / n) / spread;
        let level = (y - slope * t) / n;
        let residual = (yy - y * y / n - slope * slope * spread).max(0.0);
        let doubt = CONFIDENCE * libm::sqrt(residual / (n - 2.0).max(1.0) / spread);
        Some((level, slope, doubt))
    }

    /// Moves the origin of time to `at`, and lets the weights fall.
    fn age(&mut self, at: Instant) {
        let Some(latest) = self.latest.replace(at) else {
            return;
        };
        let step = seconds(at.since(latest));
        let [n, t, tt, y, ty, yy] = self.sums;
        let moved = [
            n,
            t - step * n,
            tt - 2.0 * step * t + step * step * n,
            y,
            ty - step * y,
            yy,
        ];
        let left = left_after(step / self.half_life);
        self.sums = moved.map(|sum| sum * left);
    }
}

impl StreamDetector for Trend {
    fn take(&mut self, at: Instant, value: f64) -> Score {
        self.age(at);
        let distance = value - self.limit;
        self.count = self.count.saturating_add(1);
        for (sum, more) in
            self.sums
                .iter_mut()
                .zip([1.0, 0.0, 0.0, distance, 0.0, distance * distance])
        {
            *sum += more;
        }
        match self.exhaustion() {
            // Sure to be there in time only if the slowest line is.
            Some(Exhaustion {
                latest: Some(latest),
                ..
            }) => Score::of(self.horizon, seconds(latest).max(f64::MIN_POSITIVE)),
            _ => Score::NONE,
        }
    }
}

/// What is left of 1 after so many half-lives, to the last few bits: 2^-x without the tables of a general power.
fn left_after(half_lives: f64) -> f64 {
    // After so many nothing is left that a sum of 53 bits would show.
    if half_lives >= 64.0 {
        return 0.0;
    }
    let whole = half_lives as u32;
    let exponent = -(half_lives - f64::from(whole)) * core::f64::consts::LN_2;
    let (mut sum, mut term) = (1.0, 1.0);
    for power in 1..=15 {
        term *= exponent / f64::from(power);
        sum += term;
    }
    sum / (1_u64 << whole) as f64
}

const fn seconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / NANOS_PER_SEC as f64
}

fn duration(seconds: f64) -> Duration {
    // A cast of a number too large gives the largest there is.
    Duration::from_nanos((seconds * NANOS_PER_SEC as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::super::series::{Noise, second};
    use super::*;

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(3600 * hours)
    }

    #[test]
    fn what_is_left_falls_by_half_each_half_life() {
        for step in 0..700 {
            let half_lives = f64::from(step) / 10.0;
            let (left, exact) = (left_after(half_lives), (-half_lives).exp2());
            assert!(
                (left - exact).abs() <= exact * 1e-14 + 6e-20,
                "{half_lives}"
            );
        }
    }

    #[test]
    fn a_straight_line_meets_its_limit_when_it_does() {
        // 1,000 free, 2 fewer a second, seen for 100 seconds: none left after 400 more.
        let mut trend = Trend::new(0.0, hours(1), hours(1), 10);
        for index in 0..=100 {
            trend.observe(second(index), 1000.0 - 2.0 * index as f64);
        }
        let found = trend.exhaustion().expect("it falls");
        assert!(
            found.likeliest.as_millis().abs_diff(400_000) <= 1,
            "{found:?}"
        );
        assert!(found.soonest <= found.likeliest);
        assert!(found.latest.is_some_and(|latest| latest >= found.likeliest));
    }

    #[test]
    fn it_rises_to_a_limit_as_well_as_it_falls_to_one() {
        let mut trend = Trend::new(100.0, hours(1), hours(1), 10);
        for index in 0..=50 {
            trend.observe(second(index), index as f64);
        }
        let found = trend.exhaustion().expect("it rises");
        assert!(
            found.likeliest.as_millis().abs_diff(50_000) <= 1,
            "{found:?}"
        );
    }

    #[test]
    fn the_true_time_lies_within_the_range_as_often_as_it_says() {
        let mut within = 0;
        for seed in 0..400 {
            let mut noise = Noise::new(seed);
            // Without discount, for which the theory holds.
            let mut trend = Trend::new(0.0, hours(1000), hours(1), 10);
            for index in 0..=200 {
                let line = 1000.0 - 2.0 * index as f64;
                trend.observe(second(index), line + 20.0 * noise.normal());
            }
            let found = trend.exhaustion().expect("it falls");
            let latest = found.latest.expect("so does the slowest line");
            within += usize::from((found.soonest.as_secs()..=latest.as_secs()).contains(&300));
        }
        // The level has a doubt of its own, which widens nothing.
        assert!((340..=400).contains(&within), "{within} of 400");
    }

    #[test]
    fn noise_about_a_level_is_no_trend() {
        for seed in 0..50 {
            let mut noise = Noise::new(seed);
            let mut trend = Trend::new(0.0, hours(1), hours(1), 60);
            for index in 0..3600 {
                let score = trend.observe(second(index), 1000.0 + 20.0 * noise.normal());
                assert!(!score.is_anomalous(), "seed {seed}, second {index}");
            }
        }
    }

    #[test]
    fn the_far_past_is_forgotten_by_time() {
        // Flat for an hour, then it falls by 1 a second.
        let mut trend = Trend::new(0.0, Duration::from_secs(60), hours(1), 10);
        for index in 0..3600 {
            trend.observe(second(index), 5000.0);
        }
        for index in 3600..4200 {
            trend.observe(second(index), 8600.0 - index as f64);
        }
        let left = trend.exhaustion().expect("it falls").likeliest;
        assert!(left.as_secs().abs_diff(4400) < 150, "{left:?}");
    }
}
