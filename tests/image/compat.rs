//! `/metrics/compat`: what a dashboard made for the Redis and node exporters finds.
//!
//! Names, types and labels are those of redis_exporter 1.45 and node_exporter 1.5, as scraped from them.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::guest::Guest;
use crate::support::http::{Response, exchange, get, parse};
use crate::support::resp::Reply;

/// Family, type, names of its labels in the order of their samples, and how many samples it has; `None`
/// where that depends on use.
const FAMILIES: [(&str, &str, &str, Option<usize>); 16] = [
    ("node_boot_time_seconds", "gauge", "", Some(1)),
    ("node_cpu_seconds_total", "counter", "cpu,mode", Some(3)),
    ("node_memory_MemTotal_bytes", "gauge", "", Some(1)),
    ("node_memory_MemFree_bytes", "gauge", "", Some(1)),
    ("node_buddyinfo_blocks", "gauge", "node,size,zone", Some(11)),
    ("redis_keyspace_hits_total", "counter", "", Some(1)),
    ("redis_keyspace_misses_total", "counter", "", Some(1)),
    ("redis_evicted_keys_total", "counter", "", Some(1)),
    ("redis_expired_keys_total", "counter", "", Some(1)),
    ("redis_db_keys", "gauge", "db", Some(16)),
    ("redis_memory_used_bytes", "gauge", "", Some(1)),
    ("redis_memory_max_bytes", "gauge", "", Some(1)),
    ("redis_connected_clients", "gauge", "", Some(1)),
    ("redis_commands_total", "counter", "cmd", None),
    (
        "node_network_receive_bytes_total",
        "counter",
        "device",
        Some(1),
    ),
    (
        "node_network_transmit_bytes_total",
        "counter",
        "device",
        Some(1),
    ),
];

fn page(guest: &Guest, accept: &str) -> Response {
    let request = format!(
        "GET /metrics/compat HTTP/1.1\r\nHost: nos\r\nConnection: close\r\nAccept: {accept}\r\n\r\n"
    );
    parse(&exchange(guest.http_port, request.as_bytes())).expect("an answer")
}

/// Series and value of each sample.
fn samples(page: &str) -> BTreeMap<String, String> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let pair = |line: &str| line.rsplit_once(' ').map(|(s, v)| (s.into(), v.into()));
    lines
        .map(|line| pair(line).expect("a sample is a series and a value"))
        .collect()
}

fn label_names(series: &str) -> String {
    let labels = series.split_once('{').map_or("", |(_, labels)| labels);
    let names = labels.split(',').filter_map(|label| label.split_once('='));
    names.map(|(name, _)| name).collect::<Vec<_>>().join(",")
}

pub(crate) fn the_usual_exporters_names_have_their_types_labels_and_values(guest: &Guest) {
    let text = page(guest, "text/plain").body;
    let all = samples(&text);
    for (family, kind, labels, count) in FAMILIES {
        assert!(
            text.contains(&format!("# TYPE {family} {kind}\n")),
            "{family}:\n{text}"
        );
        let own: Vec<&String> = all
            .keys()
            .filter(|series| series.split('{').next() == Some(family))
            .collect();
        assert!(
            count.is_none_or(|count| own.len() == count),
            "{family}: {own:?}"
        );
        for series in own {
            assert_eq!(label_names(series), labels, "{series}");
        }
    }
    let known: BTreeSet<&str> = FAMILIES.iter().map(|(family, ..)| *family).collect();
    let shown: BTreeSet<&str> = all
        .keys()
        .filter_map(|series| series.split('{').next())
        .collect();
    assert!(shown.is_subset(&known), "{shown:?}");
    for mode in ["user", "system", "idle"] {
        let series = format!("node_cpu_seconds_total{{cpu=\"0\",mode=\"{mode}\"}}");
        assert!(all.contains_key(&series), "{series}");
    }
    let default = get(guest.http_port, "/metrics").body;
    assert!(!default.contains("\nredis_") && !default.contains("\nnode_"));
}

pub(crate) fn the_usual_exporters_values_are_those_of_the_clients(guest: &Guest) {
    let mut client = guest.redis();
    // A command has its series from its first use on.
    for command in [&["SET", "k", "v"][..], &["GET", "k"], &["FLUSHALL"]] {
        client.command(command);
    }
    let before = samples(&page(guest, "text/plain").body);
    for (database, keys) in [("0", 3), ("7", 5), ("15", 1)] {
        assert_eq!(client.command(&["SELECT", database]), Reply::ok());
        for n in 0..keys {
            client.command(&["SET", &format!("k{n}"), "v"]);
        }
        client.command(&["GET", "k0"]);
        client.command(&["GET", "nothing"]);
    }
    assert_eq!(client.command(&["SWAPDB", "7", "9"]), Reply::ok());
    let after = samples(&page(guest, "text/plain").body);
    let number = |page: &BTreeMap<String, String>, series: &str| -> f64 {
        let value = page
            .get(series)
            .unwrap_or_else(|| panic!("no {series} in {page:?}"));
        value.parse().expect("a value is a number")
    };
    for (database, keys) in [("db0", 3.0), ("db7", 0.0), ("db9", 5.0), ("db15", 1.0)] {
        let series = format!("redis_db_keys{{db=\"{database}\"}}");
        assert_eq!(number(&after, &series), keys, "{series}");
    }
    let grew = |series: &str| number(&after, series) - number(&before, series);
    assert_eq!(grew("redis_keyspace_hits_total"), 3.0);
    assert_eq!(grew("redis_keyspace_misses_total"), 3.0);
    assert_eq!(grew("redis_commands_total{cmd=\"set\"}"), 9.0);
    // What the default page says of the same, now that nothing happens any more.
    client.command(&["FLUSHALL"]);
    let compat = samples(&page(guest, "text/plain").body);
    let default = samples(&get(guest.http_port, "/metrics").body);
    for (alias, name) in [
        ("node_boot_time_seconds", "nos_boot_timestamp_seconds"),
        ("node_memory_MemTotal_bytes", "nos_memory_total_bytes"),
        ("redis_memory_max_bytes", "nos_kv_memory_limit_bytes"),
        ("redis_memory_used_bytes", "nos_kv_memory_used_bytes"),
        ("redis_connected_clients", "nos_kv_clients_connected"),
        (
            "redis_keyspace_misses_total",
            "nos_kv_keyspace_misses_total",
        ),
        (
            "redis_commands_total{cmd=\"get\"}",
            "nos_kv_commands_total{cmd=\"get\"}",
        ),
    ] {
        assert_eq!(compat.get(alias), default.get(name), "{alias}, {name}");
        assert!(compat.contains_key(alias), "{alias}");
    }
}

pub(crate) fn compat_speaks_both_formats(guest: &Guest) {
    let text = page(guest, "text/plain");
    let version = Some("text/plain; version=0.0.4; charset=utf-8");
    assert_eq!((text.status, text.header("content-type")), (200, version));
    let open = page(guest, "application/openmetrics-text;version=1.0.0");
    let version = Some("application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert_eq!((open.status, open.header("content-type")), (200, version));
    assert!(open.body.contains("# TYPE redis_evicted_keys counter\n"));
    assert!(open.body.ends_with("\n# EOF\n"));
}
