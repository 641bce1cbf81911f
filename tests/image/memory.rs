//! Memory that runs out: eviction, and what the diagnosis makes of it.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::support::guest::Guest;
use crate::support::http::get;
use crate::support::resp::{Client, Reply, encode};

/// The dataset's limit that this machine was booted with (`nos.maxmemory=4mb`).
const LIMIT: i64 = 4 << 20;

pub(crate) fn a_full_cache_evicts_and_stays_under_its_limit(guest: &Guest) {
    let mut client = guest.redis();
    let limit = client.command(&["CONFIG", "GET", "maxmemory"]);
    assert_eq!(
        limit,
        Reply::Array(vec![
            Reply::bulk("maxmemory"),
            Reply::bulk(&LIMIT.to_string())
        ])
    );
    const KEYS: i64 = 20_000;
    assert_eq!(
        fill(&mut client, 0..KEYS as usize),
        KEYS as usize,
        "every SET is accepted"
    );
    let resident = client.command(&["DBSIZE"]).integer();
    let evicted = info(&mut client, "evicted_keys");
    assert_eq!(
        resident + evicted,
        KEYS,
        "{resident} resident and {evicted} evicted"
    );
    assert!(evicted > KEYS / 2, "20 MB in 4 MB: {evicted} evicted");
    assert!(
        resident > 1_000,
        "a cache of 4 MB holds more than {resident} values of 1 KiB"
    );
    let used = info(&mut client, "used_memory");
    // The directories of blocks come on top.
    assert!(
        used <= LIMIT + 65_536,
        "{used} bytes used, more than {LIMIT}"
    );

    // Least recently used leaves first: what is read all along stays.
    assert_eq!(client.command(&["SET", "wanted", "here"]), Reply::ok());
    for batch in 0..100 {
        fill(&mut client, batch * 100..(batch + 1) * 100);
        assert_eq!(
            client.command(&["GET", "wanted"]),
            Reply::bulk("here"),
            "after batch {batch}"
        );
    }
    client.command(&["FLUSHALL"]);
    assert_eq!(client.command(&["DBSIZE"]), Reply::Integer(0));
}

pub(crate) fn filling_the_memory_raises_a_symptom_with_its_evidence(guest: &Guest) {
    // The cache fills what it may and then evicts.
    let mut client = guest.redis();
    let mut written = 0;
    while info(&mut client, "evicted_keys") == 0 {
        written += fill(&mut client, written..written + 2_000);
        assert!(written < 200_000, "200 MB fitted into a machine of 32M");
    }
    // Clients that send half of large values take what was kept for connections.
    let mut halves = Vec::new();
    let is_raised = || {
        let raised = find_detector(guest, "symptoms", "\"state\":\"raised\"");
        raised.ok()
    };
    let symptom = loop {
        if let Some(symptom) = is_raised() {
            break symptom;
        }
        assert!(halves.len() < 60, "60 half requests and no symptom");
        let half = guest.redis();
        let _ = half
            .stream()
            .write_all(b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$250000\r\n");
        let _ = half.stream().write_all(&[b'x'; 125_000]);
        halves.push(half);
    };
    println!("  raised with {} half requests open", halves.len());
    for part in [
        "\"evidence\":{",
        "\"raise_below\":",
        "\"free_bytes\":",
        "\"total_bytes\":",
    ] {
        assert!(symptom.contains(part), "no {part} in {symptom}");
    }
    assert_eq!(
        client.command(&["PING"]),
        Reply::Simple("PONG".into()),
        "served on while it lasts"
    );

    drop(halves);
    client.command(&["FLUSHALL"]);
    wait_for_diagnosis(guest, "past", "\"state\":\"cleared\"");
    for told in ["symptom 1 raised: ", "symptom 1 cleared: "] {
        guest.wait_for_line(told);
    }
}

/// Waits until the list `member` of `GET /diagnosis` holds the free-memory detector in `state`.
fn wait_for_diagnosis(guest: &Guest, member: &str, state: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(page) = find_detector(guest, member, state) {
        assert!(
            Instant::now() < deadline,
            "no {state} among {member} after 20 s: {page}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The list `member` of `GET /diagnosis` if it holds the free-memory detector in `state`, else the page.
fn find_detector(guest: &Guest, member: &str, state: &str) -> Result<String, String> {
    let page = get(guest.http_port, "/diagnosis")
        .body
        .replace([' ', '\n'], "");
    let list = page
        .split_once(&format!("\"{member}\":["))
        .map_or("", |(_, rest)| rest);
    // Members follow in a fixed order; the list ends where the next begins.
    let list = list.split("],\"").next().unwrap_or_default();
    match list.contains("\"detector\":\"free_memory_ratio\"") && list.contains(state) {
        true => Ok(list.into()),
        false => Err(page),
    }
}

/// Writes `key:N` with 1 KiB each; how many were accepted.
fn fill(client: &mut Client, keys: std::ops::Range<usize>) -> usize {
    let value = "x".repeat(1_024);
    let keys: Vec<usize> = keys.collect();
    let mut accepted = 0;
    for batch in keys.chunks(100) {
        client.send(
            &batch
                .iter()
                .flat_map(|n| encode(&["SET", &format!("key:{n}"), &value]))
                .collect::<Vec<_>>(),
        );
        accepted += batch
            .iter()
            .filter(|_| client.reply() == Reply::ok())
            .count();
    }
    accepted
}

/// A number that INFO tells.
fn info(client: &mut Client, field: &str) -> i64 {
    let info = client.command(&["INFO"]).text();
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|value| value.trim().parse().ok())
        .unwrap_or_else(|| panic!("INFO has no number {field}:\n{info}"))
}

/// Objects that the heap has handed out since boot, as a scrape tells it.
fn heap_allocations(guest: &Guest) -> u64 {
    let body = get(guest.http_port, "/metrics").body;
    let samples = body
        .lines()
        .filter(|line| line.starts_with("nos_heap_allocations_total{"));
    samples
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum()
}

pub(crate) fn a_get_that_finds_its_key_allocates_nothing(guest: &Guest) {
    const GETS: usize = 1_000;
    let mut client = guest.redis();
    assert_eq!(client.command(&["SET", "k", &"x".repeat(64)]), Reply::ok());
    let found = Reply::bulk(&"x".repeat(64));
    let mut get_each = |count: usize| {
        for _ in 0..count {
            assert_eq!(client.command(&["GET", "k"]), found);
        }
    };
    // What grows once has grown, on this connection and on those of the scrapes.
    get_each(100);
    heap_allocations(guest);
    let (first, second) = (heap_allocations(guest), heap_allocations(guest));
    get_each(GETS);
    let third = heap_allocations(guest);
    let (scrape, with_gets) = (second - first, third - second);
    println!("  {scrape} objects a scrape, {with_gets} with {GETS} GETs");
    // A timer or a spare socket may come in between: far fewer than one for each GET.
    assert!(
        with_gets < scrape + GETS as u64 / 50,
        "{scrape}, {with_gets}"
    );
}
