//! The pages of port 9100.

use std::collections::BTreeMap;

use crate::support::guest::Guest;
use crate::support::http::{exchange, get, parse};
use crate::support::resp::Reply;
use crate::support::tools::{succeed, tool};

/// Families that the first page of metrics owes: name and type.
const FAMILIES: [(&str, &str); 61] = [
    ("nos_build_info", "gauge"),
    ("nos_boot_timestamp_seconds", "gauge"),
    ("nos_boot_duration_seconds", "gauge"),
    ("nos_uptime_seconds", "gauge"),
    ("nos_cpu_seconds_total", "counter"),
    ("nos_cpu_online", "gauge"),
    ("nos_interrupts_total", "counter"),
    ("nos_memory_total_bytes", "gauge"),
    ("nos_memory_free_bytes", "gauge"),
    ("nos_memory_reserved_bytes", "gauge"),
    ("nos_buddy_free_blocks", "gauge"),
    ("nos_buddy_fragmentation_ratio", "gauge"),
    ("nos_buddy_allocations_total", "counter"),
    ("nos_buddy_frees_total", "counter"),
    ("nos_buddy_failures_total", "counter"),
    ("nos_buddy_splits_total", "counter"),
    ("nos_buddy_merges_total", "counter"),
    ("nos_buddy_allocation_seconds", "histogram"),
    ("nos_page_cache_hits_total", "counter"),
    ("nos_page_cache_misses_total", "counter"),
    ("nos_page_cache_drains_total", "counter"),
    ("nos_page_cache_pages", "gauge"),
    ("nos_page_cache_capacity_pages", "gauge"),
    ("nos_page_cache_resizes_total", "counter"),
    ("nos_symbol_cache_lookups_total", "counter"),
    ("nos_symbol_cache_entries", "gauge"),
    ("nos_heap_used_bytes", "gauge"),
    ("nos_heap_committed_bytes", "gauge"),
    ("nos_heap_allocations_total", "counter"),
    ("nos_heap_failures_total", "counter"),
    ("nos_kv_keyspace_hits_total", "counter"),
    ("nos_kv_keyspace_misses_total", "counter"),
    ("nos_kv_damage_total", "counter"),
    ("nos_kv_evicted_keys_total", "counter"),
    ("nos_kv_expired_keys_total", "counter"),
    ("nos_kv_keys", "gauge"),
    ("nos_kv_memory_used_bytes", "gauge"),
    ("nos_kv_memory_limit_bytes", "gauge"),
    ("nos_kv_clients_connected", "gauge"),
    ("nos_kv_commands_total", "counter"),
    ("nos_kv_command_errors_total", "counter"),
    ("nos_kv_command_duration_seconds", "histogram"),
    ("nos_fault_injections_total", "counter"),
    ("nos_checkpoint_writes_total", "counter"),
    ("nos_checkpoint_bytes", "gauge"),
    ("nos_checkpoint_last_timestamp_seconds", "gauge"),
    ("nos_network_receive_bytes_total", "counter"),
    ("nos_network_transmit_bytes_total", "counter"),
    ("nos_network_receive_packets_total", "counter"),
    ("nos_network_drops_total", "counter"),
    ("nos_tcp_connections", "gauge"),
    ("nos_tcp_retransmits_total", "counter"),
    ("nos_http_requests_total", "counter"),
    ("nos_http_request_duration_seconds", "histogram"),
    ("nos_http_rejected_total", "counter"),
    ("nos_diagnosis_incidents_total", "counter"),
    ("nos_diagnosis_incidents_open", "gauge"),
    ("nos_diagnosis_detection_seconds", "histogram"),
    ("nos_diagnosis_recovery_seconds", "histogram"),
    ("nos_diagnosis_recoveries_total", "counter"),
    ("nos_diagnosis_exhaustion_seconds", "gauge"),
];

pub(crate) fn promtool_finds_nothing_to_say_about_the_metrics(guest: &Guest) {
    let page = get(guest.http_port, "/metrics");
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let said = succeed(
        tool("promtool").args(["check", "metrics"]),
        page.body.as_bytes(),
    );
    assert_eq!(said, "", "promtool complains");
}

pub(crate) fn every_family_that_this_image_owes_is_there(guest: &Guest) {
    let body = get(guest.http_port, "/metrics").body;
    let missing: Vec<&str> = FAMILIES
        .iter()
        .filter(|(name, kind)| {
            let has = |line: &str| body.lines().any(|l| l.starts_with(line));
            !has(&format!("# TYPE {name} {kind}")) || !has(&format!("# HELP {name} "))
        })
        .map(|(name, _)| *name)
        .collect();
    assert!(
        missing.is_empty(),
        "no such families, or of another type: {missing:?}"
    );
}

/// The samples of a page: series to value.
fn scrape(guest: &Guest) -> BTreeMap<String, f64> {
    let body = get(guest.http_port, "/metrics").body;
    body.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let (series, value) = line
                .rsplit_once(' ')
                .expect("a sample is a series and a value");
            (series.into(), value.parse().expect("a value is a number"))
        })
        .collect()
}

/// The sum of a family's samples whose series hold `label`.
fn sum(page: &BTreeMap<String, f64>, family: &str, label: &str) -> f64 {
    let of_family =
        |series: &str| series.split('{').next() == Some(family) && series.contains(label);
    page.iter()
        .filter(|(series, _)| of_family(series))
        .map(|(_, value)| value)
        .sum()
}

pub(crate) fn counters_move_with_what_they_count(guest: &Guest) {
    let mut client = guest.redis();
    client.command(&["FLUSHALL"]);
    let before = scrape(guest);
    for n in 0..50 {
        client.command(&["SET", &format!("k{n}"), "v"]);
    }
    for n in 0..70 {
        client.command(&["GET", &format!("k{n}")]);
    }
    client.command(&["FROBNICATE"]);
    let after = scrape(guest);
    let grew = |family: &str, label: &str| sum(&after, family, label) - sum(&before, family, label);
    assert_eq!(grew("nos_kv_keyspace_hits_total", ""), 50.0);
    assert_eq!(grew("nos_kv_keyspace_misses_total", ""), 20.0);
    assert_eq!(grew("nos_kv_commands_total", "cmd=\"set\""), 50.0);
    assert_eq!(grew("nos_kv_commands_total", "cmd=\"get\""), 70.0);
    assert_eq!(sum(&after, "nos_kv_keys", ""), 50.0);
    assert_eq!(grew("nos_http_requests_total", "path=\"/metrics\""), 1.0);
    assert!(grew("nos_network_receive_bytes_total", "") > 120.0 * 50.0);
    assert!(grew("nos_network_transmit_bytes_total", "") > 0.0);
    assert!(sum(&after, "nos_kv_clients_connected", "") >= 1.0);
    assert!(sum(&after, "nos_page_cache_hits_total", "") > 0.0);
    let falls: Vec<_> = before
        .iter()
        .filter(|(series, value)| {
            let family = series.split('{').next().unwrap_or_default();
            family.ends_with("_total") && after.get(*series).is_none_or(|now| now < value)
        })
        .collect();
    assert!(
        falls.is_empty(),
        "counters that fell or vanished: {falls:?}"
    );
    client.command(&["FLUSHALL"]);
}

pub(crate) fn open_metrics_is_answered_where_it_is_accepted(guest: &Guest) {
    let request = b"GET /metrics HTTP/1.1\r\nHost: nos\r\nConnection: close\r\n\
        Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n\r\n";
    let page = parse(&exchange(guest.http_port, request)).expect("an answer");
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(page.body.ends_with("\n# EOF\n"), "it ends in its own way");
}

pub(crate) fn two_scrapes_differ_in_values_only(guest: &Guest) {
    let form = || {
        let body = get(guest.http_port, "/metrics").body;
        let without_value = |line: &str| match line.rsplit_once(' ') {
            Some((series, _)) if !line.starts_with('#') => series.to_string(),
            _ => line.to_string(),
        };
        body.lines().map(without_value).collect::<Vec<_>>()
    };
    let mut client = guest.redis();
    let mut work = || {
        for n in 0..100 {
            client.command(&["SET", &format!("scraped:{n}"), "between"]);
        }
        client.command(&["FLUSHALL"]);
        client.command(&["FROBNICATE"]);
        get(guest.http_port, "/nothing");
    };
    // A command has its series from its first use on.
    work();
    let before = form();
    work();
    let after = form();
    let only_in = |one: &[String], other: &[String]| {
        let only = one.iter().filter(|line| !other.contains(line));
        only.cloned().collect::<Vec<_>>()
    };
    assert!(
        after == before,
        "not the same series in the same order: gone {:?}, new {:?}",
        only_in(&before, &after),
        only_in(&after, &before)
    );
    let mut series: Vec<_> = before
        .iter()
        .filter(|line| !line.starts_with('#'))
        .collect();
    let count = series.len();
    series.sort();
    series.dedup();
    assert_eq!(series.len(), count, "no series twice");
}

pub(crate) fn page_cache_counters_of_each_cpu_move_under_load(guest: &Guest) {
    let series = ["nos_page_cache_hits_total", "nos_page_cache_misses_total"]
        .map(|family| format!("{family}{{cpu=\"0\"}}"));
    let before = scrape(guest);
    // Values of a page and more: the dataset grows by frames.
    let mut client = guest.redis();
    let value = "x".repeat(8 * 1024);
    for n in 0..1_000 {
        assert_eq!(
            client.command(&["SET", &format!("page:{n}"), &value]),
            Reply::ok()
        );
    }
    let after = scrape(guest);
    for series in series {
        let (before, after) = (before.get(&series), after.get(&series));
        println!("  {series}: {before:?}, then {after:?}");
        assert!(before.is_some() && after > before, "{series} did not move");
    }
    client.command(&["FLUSHALL"]);
}

/// Each mode of the CPU grows with what is done in it, and all of them together are the time since boot.
pub(crate) fn time_is_shown_by_what_it_was_spent_on(guest: &Guest) {
    let mut client = guest.redis();
    let before = scrape(guest);
    for _ in 0..100 {
        client.command(&["SET", "time", "spent"]);
    }
    let after = scrape(guest);
    let grew = |family: &str, label: &str| sum(&after, family, label) - sum(&before, family, label);
    // A data plane that is awake is not interrupted.
    assert!(grew("nos_interrupts_total", "") > 0.0);
    for mode in ["idle", "irq", "app"] {
        let seconds = grew("nos_cpu_seconds_total", &format!("mode=\"{mode}\""));
        println!("  {mode}: {seconds} s");
        assert!(seconds > 0.0, "no time was spent in {mode}");
    }
    for page in [&before, &after] {
        let all = sum(page, "nos_cpu_seconds_total", "");
        let uptime = sum(page, "nos_uptime_seconds", "");
        assert!((all - uptime).abs() < 1e-6, "{all} s of {uptime} s");
    }
    // Boot was the kernel's, and the supervisor is: it asks for health every ten seconds.
    let kernel = |page: &_| sum(page, "nos_cpu_seconds_total", "mode=\"kernel\"");
    let at_first = kernel(&after);
    assert!(at_first > 0.0);
    let began = std::time::Instant::now();
    while kernel(&scrape(guest)) <= at_first {
        assert!(began.elapsed().as_secs() < 30, "{at_first} s and no more");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

/// Without a request there is no work: the CPU waits for an interrupt, and next to none come.
pub(crate) fn an_idle_image_sleeps(guest: &Guest) {
    const SECONDS: f64 = 4.0;
    let host_before = guest.cpu_seconds();
    let before = scrape(guest);
    std::thread::sleep(std::time::Duration::from_secs_f64(SECONDS));
    let after = scrape(guest);
    let grew = |family: &str, label: &str| sum(&after, family, label) - sum(&before, family, label);
    let idle = grew("nos_cpu_seconds_total", "mode=\"idle\"");
    let interrupts = grew("nos_interrupts_total", "");
    println!("  of {SECONDS} s, {idle:.3} s asleep; {interrupts} interrupts");
    assert!(idle > 0.95 * SECONDS, "asleep for {idle} s of {SECONDS} s");
    // The scrapes themselves cost about ten.
    assert!(interrupts < 60.0, "{interrupts} interrupts while idle");
    // What the host sees, where it tells: QEMU's own threads cost a little.
    if let (Some(before), Some(after)) = (host_before, guest.cpu_seconds()) {
        println!("  QEMU took {:.2} s", after - before);
        assert!(after - before < 0.25 * SECONDS, "it spins");
    }
}

pub(crate) fn health_and_index_answer(guest: &Guest) {
    for page in ["/healthz", "/readyz"] {
        assert_eq!(get(guest.http_port, page).status, 200, "{page}");
    }
    let index = get(guest.http_port, "/");
    assert_eq!(index.status, 200);
    assert!(
        index
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/html"))
    );
    for link in [
        "/metrics",
        "/metrics/compat",
        "/healthz",
        "/readyz",
        "/memory",
        "/reports",
        "/diagnosis",
    ] {
        assert!(index.body.contains(link), "the index does not name {link}");
    }
    // As an operator does it.
    let url = format!("http://127.0.0.1:{}/healthz", guest.http_port);
    succeed(tool("curl").args(["-fsS", "-m", "10", &url]), b"");
}

pub(crate) fn unknown_pages_and_methods_are_refused_by_their_codes(guest: &Guest) {
    assert_eq!(get(guest.http_port, "/nothing").status, 404);
    let request = b"DELETE /metrics HTTP/1.1\r\nHost: nos\r\nConnection: close\r\n\r\n";
    let answer = parse(&exchange(guest.http_port, request)).expect("an answer");
    assert_eq!(answer.status, 405);
    assert!(
        answer
            .header("allow")
            .is_some_and(|allow| allow.contains("GET"))
    );
}

/// The whole numbers of a JSON page that stand after `name`.
fn numbers(page: &str, name: &str) -> Vec<u64> {
    let member = format!("\"{name}\":");
    let found = page.split(&member).skip(1);
    let digits = found.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    digits
        .map(|digits| digits.and_then(|d| d.parse().ok()).expect("a number"))
        .collect()
}

pub(crate) fn memory_is_shown_by_order_cpu_and_heap(guest: &Guest) {
    // The first one grows the page's own buffer while it is written; it is kept for the next.
    assert_eq!(get(guest.http_port, "/memory").status, 200);
    let page = get(guest.http_port, "/memory");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("application/json"));
    let metrics = scrape(guest);
    let number = |name: &str| numbers(&page.body, name);
    assert_eq!(
        number("total_bytes")[0] as f64,
        sum(&metrics, "nos_memory_total_bytes", "")
    );
    assert_eq!(number("order"), (0..=10).collect::<Vec<_>>());
    assert_eq!(number("cpu"), [0]);
    // What is free lies in blocks of the orders, or in the page caches.
    let in_blocks: u64 = number("free_blocks")
        .iter()
        .zip(number("block_bytes"))
        .map(|(blocks, bytes)| blocks * bytes)
        .sum();
    let in_caches = number("pages").iter().sum::<u64>() * 4096;
    assert_eq!(
        number("free_bytes"),
        [in_blocks + in_caches],
        "{}",
        page.body
    );
    assert!(number("used_bytes")[0] > 0, "{}", page.body);
    // The watermarks of 256M less the image; what is free lies above them.
    assert!(page.body.contains("\"level\":\"none\""), "{}", page.body);
    let mark = |name: &str| number(name)[0];
    let min = mark("min_bytes");
    assert!((1_900_000..2 << 20).contains(&min), "{min}");
    let marks = [min + min / 4, min + min / 2].map(|mark| mark / 4096);
    assert_eq!(
        [mark("low_bytes"), mark("high_bytes")].map(|mark| mark / 4096),
        marks
    );
    assert!(mark("zone_free_bytes") > mark("high_bytes"));
    // As a program reads it.
    let said = succeed(
        tool("python3").args(["-m", "json.tool", "--no-indent"]),
        page.body.as_bytes(),
    );
    assert!(said.starts_with('{'), "{said}");
}

pub(crate) fn diagnosis_sees_nothing_in_a_healthy_image(guest: &Guest) {
    let page = get(guest.http_port, "/diagnosis");
    assert_eq!(page.status, 200);
    assert!(
        page.header("content-type")
            .is_some_and(|kind| kind.starts_with("application/json"))
    );
    assert!(
        page.body.replace(' ', "").contains("\"symptoms\":[]"),
        "{}",
        page.body
    );
}
