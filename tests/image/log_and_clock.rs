//! What the log shows at which level, and what the image knows of time.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::guest::Guest;
use crate::support::http::get;
use crate::support::resp::Reply;

/// How far the guest's clock may be from ours: it counts whole seconds, and a host is busy.
const CLOCK_SECONDS: u64 = 5;

fn levels(guest: &Guest) -> Vec<String> {
    let serial = guest.serial();
    let levels = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
    levels
        .into_iter()
        .filter(|level| serial.contains(&format!("] {level:5} ")))
        .map(Into::into)
        .collect()
}

pub(crate) fn the_log_shows_its_level_and_above() {
    for (level, shown) in [
        ("off", vec![]),
        ("error", vec!["ERROR"]),
        ("info", vec!["ERROR", "INFO"]),
        ("debug", vec!["ERROR", "INFO", "DEBUG"]),
        ("loud", vec!["ERROR", "INFO"]),
    ] {
        let arguments = format!("nos.log={level} nos.no-such-key=1");
        let guest = Guest::boot(&[("APPEND", arguments)]);
        assert_eq!(
            levels(&guest),
            shown,
            "nos.log={level}:\n{}",
            guest.serial()
        );
        // Seconds since reset stand before each line of the log, and rise.
        let serial = guest.serial();
        let stamps: Vec<f64> = serial
            .lines()
            .filter_map(|line| {
                line.strip_prefix('[')?
                    .split_once(']')?
                    .0
                    .trim()
                    .parse()
                    .ok()
            })
            .collect();
        let lines = serial.lines().filter(|line| line.starts_with('[')).count();
        assert_eq!(stamps.len(), lines, "{serial}");
        assert!(stamps.is_sorted(), "{stamps:?}");
        assert!(stamps.iter().all(|&seconds| seconds < 60.0), "{stamps:?}");
    }
}

pub(crate) fn time_of_day_comes_from_the_boot_arguments_before_the_clock() {
    let guest = Guest::boot(&[("APPEND", "nos.time=1000000000".into())]);
    let seconds = time(&guest);
    assert!(
        (1_000_000_000..1_000_000_000 + 60).contains(&seconds),
        "{seconds}"
    );
    let metrics = get(guest.http_port, "/metrics").body;
    let booted = value(&metrics, "nos_boot_timestamp_seconds");
    assert!((booted - 1e9).abs() <= CLOCK_SECONDS as f64, "{booted}");
    let mut client = guest.redis();
    client.command(&["SET", "k", "v"]);
    let at = (seconds + 1_000).to_string();
    assert_eq!(client.command(&["EXPIREAT", "k", &at]), Reply::Integer(1));
    let Reply::Integer(left) = client.command(&["TTL", "k"]) else {
        panic!("TTL answers a number");
    };
    assert!((900..=1_000).contains(&left), "{left} s left");
    let past = (seconds - 1).to_string();
    assert_eq!(client.command(&["EXPIREAT", "k", &past]), Reply::Integer(1));
    assert_eq!(client.command(&["EXISTS", "k"]), Reply::Integer(0));
}

pub(crate) fn time_of_day_is_the_machines(guest: &Guest) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("it is past 1970").as_secs();
    assert!(time(guest).abs_diff(now) <= CLOCK_SECONDS, "it is {now}");
    let metrics = get(guest.http_port, "/metrics").body;
    let sum = value(&metrics, "nos_boot_timestamp_seconds") + value(&metrics, "nos_uptime_seconds");
    assert!((sum - now as f64).abs() <= CLOCK_SECONDS as f64, "{sum}");
}

pub(crate) fn boot_stages_follow_each_other(guest: &Guest) {
    let metrics = get(guest.http_port, "/metrics").body;
    let stages = [
        "loader",
        "memory",
        "devices",
        "application",
        "network",
        "ready",
    ];
    let ends = stages.map(|stage| {
        value(
            &metrics,
            &format!("nos_boot_duration_seconds{{stage=\"{stage}\"}}"),
        )
    });
    assert!(ends.is_sorted(), "{ends:?}");
    assert!(
        ends[0] > 0.0 && ends[5] <= value(&metrics, "nos_uptime_seconds"),
        "{ends:?}"
    );
}

fn value(metrics: &str, sample: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(sample));
    let value = line.and_then(|rest| rest.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {sample} in:\n{metrics}"))
}

fn time(guest: &Guest) -> u64 {
    let Reply::Array(parts) = guest.redis().command(&["TIME"]) else {
        panic!("TIME answers an array");
    };
    parts[0].text().parse().expect("seconds")
}
