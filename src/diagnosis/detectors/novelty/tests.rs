//! What the general scorer makes of series whose anomalies are known.

use super::super::series::{Noise, second};
use super::*;
use crate::platform::time::Duration;
use std::vec::Vec;

/// The indices of the values it alarms at, one every five minutes.
fn alarms(len: usize, mut value: impl FnMut(usize) -> f64) -> Vec<usize> {
    let mut detector = Novelty::new();
    (0..len)
        .filter(|&index| {
            let at = Instant::ZERO + Duration::from_secs(300 * index as u64);
            detector.observe(at, value(index)).is_anomalous()
        })
        .collect()
}

/// The alarms in the second half, when what is usual is known.
fn late(alarms: &[usize], len: usize) -> Vec<usize> {
    alarms.iter().copied().filter(|&at| at >= len / 2).collect()
}

/// A day of 288 values that is high from 9 to 18 hours.
fn working_day(index: usize) -> f64 {
    if (108..216).contains(&(index % 288)) {
        80.0
    } else {
        20.0
    }
}

#[test]
fn a_spike_out_of_noise_is_found_at_once() {
    for seed in 0..10 {
        let mut noise = Noise::new(seed);
        let found = alarms(3000, |index| {
            noise.normal() + if index == 2000 { 25.0 } else { 0.0 }
        });
        assert!(found.contains(&2000), "seed {seed}: {found:?}");
        assert!(late(&found, 3000).len() <= 2, "seed {seed}: {found:?}");
    }
}

#[test]
fn a_value_in_an_empty_gap_within_the_range_is_found() {
    // Two levels that alternate; the anomaly lies between them.
    let mut noise = Noise::new(3);
    let found = alarms(2000, |index| match index {
        1500..1510 => 50.0,
        _ if index % 40 < 20 => noise.normal(),
        _ => 100.0 + noise.normal(),
    });
    assert!(
        found.iter().any(|at| (1500..1510).contains(at)),
        "{found:?}"
    );
}

#[test]
fn a_new_level_is_one_alarm_and_then_the_usual() {
    let mut noise = Noise::new(5);
    let found = alarms(4000, |index| {
        noise.normal() + if index < 3000 { 0.0 } else { 30.0 }
    });
    let after: Vec<_> = found.into_iter().filter(|&at| at >= 3000).collect();
    assert_eq!(after.first(), Some(&3000), "{after:?}");
    assert!(after.len() <= 2, "{after:?}");
}

#[test]
fn a_day_unlike_the_others_is_found_though_each_of_its_values_is_common() {
    let mut noise = Noise::new(8);
    // On the twelfth day nobody comes to work.
    let holiday = 288 * 12..288 * 13;
    let found = alarms(288 * 14, |index| {
        let usual = if holiday.contains(&index) {
            20.0
        } else {
            working_day(index)
        };
        usual + 2.0 * noise.normal()
    });
    let late = late(&found, 288 * 14);
    assert!(
        late.iter().any(|at| holiday.contains(at)),
        "holiday {holiday:?}: {found:?}"
    );
}

#[test]
fn series_without_an_anomaly_hardly_alarm() {
    let mut total = 0;
    for seed in 0..3 {
        let mut noise = Noise::new(40 + seed);
        let mut walk = 0.0;
        let normal = alarms(4000, |_| noise.normal());
        let daily = alarms(4000, |index| working_day(index) + 3.0 * noise.normal());
        let bursts = alarms(4000, |_| libm::exp(noise.normal()));
        let wander = alarms(4000, |_| {
            walk = 0.95 * walk + noise.normal();
            walk
        });
        for found in [normal, daily, bursts, wander] {
            total += late(&found, 4000).len();
        }
    }
    assert!(total <= 24, "{total} alarms in 24,000 values");
}

#[test]
fn alarms_tire_and_bursts_cost_one() {
    // A spike of another height every 100 values, from nothing: each is new.
    let found = alarms(20_000, |index| {
        if index % 100 == 99 {
            (index * 7919 % 10_007) as f64
        } else {
            0.0
        }
    });
    let half = late(&found, 20_000).len();
    assert!(half <= 20, "{half} of 100 spikes");
    for pair in found.windows(2) {
        assert!(pair[1] - pair[0] > REST as usize, "{pair:?}");
    }
}

#[test]
fn the_same_series_in_another_unit_has_the_same_alarms() {
    let of_unit = |unit: f64| {
        let mut noise = Noise::new(12);
        alarms(3000, move |index| {
            let spike = if index % 997 == 0 { 40.0 } else { 10.0 };
            unit * (spike + noise.normal())
        })
    };
    // A power of two: no rounding differs.
    assert_eq!(of_unit(1.0), of_unit(1024.0));
    assert_eq!(of_unit(1.0), of_unit(1.0 / 4096.0));
}

#[test]
fn while_learning_and_at_missing_samples_it_is_silent() {
    let mut detector = Novelty::new();
    for index in 0..LEARNING as usize {
        let score = detector.observe(second(index), (index * index) as f64);
        assert_eq!(score, Score::NONE);
    }
    assert_eq!(detector.observe(second(50), f64::NAN), Score::NONE);
    assert!(detector.observe(second(51), -1e6).is_anomalous());
}

#[test]
fn a_score_is_a_share_from_0_to_1_with_its_limit_at_a_half() {
    let mut noise = Noise::new(77);
    let mut detector = Novelty::new();
    for index in 0..5000 {
        let wild = if index % 701 == 0 { 1e12 } else { 1.0 };
        let score = detector.observe(second(index), wild * noise.normal());
        let share = score.as_share();
        assert!((0.0..1.0).contains(&share), "{share}");
        assert_eq!(score.is_anomalous(), share >= Score::LIMIT_SHARE);
    }
}
