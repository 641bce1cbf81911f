//! Memory that runs out: eviction, and what the diagnosis makes of it.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::support::guest::Guest;
use crate::support::http::{get, try_get};
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
    // Clients that send half of large values take what was kept for connections, where no key gives way to them.
    let stay = ["CONFIG", "SET", "maxmemory-policy", "noeviction"];
    assert_eq!(client.command(&stay), Reply::ok());
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
    let page = get(guest.http_port, "/diagnosis").body;
    let named = "\"causes\":[{\"cause\":\"memory_full\",\"part\":null,";
    assert!(page.contains(named), "{page}");

    drop(halves);
    client.command(&["FLUSHALL"]);
    client.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
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

/// What a client is told for whom there is no memory.
const REFUSAL: &str = "OOM command not allowed when used memory > 'maxmemory'.";
/// Bytes of a value of which all but the last few are sent at first.
const HALF: usize = 100_000;

/// A client that has sent a SET but for the last ten bytes, if it was let.
fn half_a_set(guest: &Guest, number: usize) -> Client {
    let client = guest.redis();
    let mut stream = client.stream();
    let head = format!("*3\r\n$3\r\nSET\r\n$8\r\nhalf:{number:03}\r\n${HALF}\r\n");
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&vec![b'h'; HALF - 10]);
    client
}

/// A member of `GET /memory`, as text.
fn shown(guest: &Guest, name: &str) -> String {
    member(&get(guest.http_port, "/memory").body, name)
}

fn member(page: &str, name: &str) -> String {
    let found = page.split_once(&format!("\"{name}\":"));
    let value = found.and_then(|(_, rest)| rest.split([',', '}']).next());
    value
        .unwrap_or_else(|| panic!("no {name} in {page}"))
        .trim_matches('"')
        .into()
}

fn shown_bytes(guest: &Guest, name: &str) -> i64 {
    shown(guest, name).parse().expect("a number")
}

/// The messages of pressure that were delivered, and those that were lost.
fn pressure_messages(guest: &Guest) -> (u64, u64) {
    let body = get(guest.http_port, "/metrics").body;
    let sum = |family: &str| {
        let lines = body
            .lines()
            .filter(|line| line.starts_with(family) && line.contains("topic=\"memory.pressure\""));
        let values = lines.map(|line| {
            line.rsplit_once(' ')
                .and_then(|(_, n)| n.parse::<u64>().ok())
        });
        values.map(|n| n.expect("a number")).sum()
    };
    (
        sum("nos_bus_messages_total{"),
        sum("nos_bus_dropped_total{"),
    )
}

/// Waits until `GET /memory` shows no pressure.
pub(crate) fn wait_for_ease(guest: &Guest) {
    let deadline = Instant::now() + Duration::from_secs(20);
    // A connection may be reset until there is.
    let is_easy = || {
        try_get(guest.http_port, "/memory")
            .is_some_and(|page| member(&page.body, "level") == "none")
    };
    while !is_easy() {
        assert!(
            Instant::now() < deadline,
            "pressure after 20 s without a cause"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub(crate) fn keys_give_way_to_requests_where_the_policy_lets_them(guest: &Guest) {
    let mut client = guest.redis();
    let mut written = 0;
    while info(&mut client, "evicted_keys") == 0 {
        written += fill(&mut client, written..written + 2_000);
        assert!(written < 200_000, "200 MB fitted into a machine of 32M");
    }
    assert_eq!(
        shown(guest, "level"),
        "none",
        "a full dataset alone is no pressure"
    );
    let (used, evicted) = (
        info(&mut client, "used_memory"),
        info(&mut client, "evicted_keys"),
    );
    let (told, _) = pressure_messages(guest);

    // As much as the dataset leaves free, and half of the dataset; a request takes a block of 128 KiB and two rings.
    let free = shown_bytes(guest, "free_bytes");
    let halves = (free + used / 2) as usize / 150_000;
    let mut halves: Vec<Client> = (0..halves).map(|n| half_a_set(guest, n)).collect();
    // They arrive as fast as the image takes them.
    let deadline = Instant::now() + Duration::from_secs(30);
    let used_then = loop {
        let used_then = info(&mut client, "used_memory");
        if used_then < used * 3 / 4 {
            break used_then;
        }
        assert!(
            Instant::now() < deadline,
            "{used_then} of {used} bytes are still used"
        );
        std::thread::sleep(Duration::from_millis(50));
    };
    let evicted_then = info(&mut client, "evicted_keys");
    println!(
        "  {} half requests: {used} bytes of keys became {used_then}, {} keys went",
        halves.len(),
        evicted_then - evicted
    );
    assert!(evicted_then > evicted + (used - used_then) / 2_048);
    let (told_then, lost) = pressure_messages(guest);
    assert!(told_then > told, "pressure was told");
    println!("  told of {} times", told_then - told);
    // One message a level, not one an eviction.
    assert!(
        (told_then + lost) - told < 200,
        "told of {} times",
        told_then - told
    );

    assert_eq!(client.command(&["SET", "small", "value"]), Reply::ok());
    assert_eq!(client.command(&["GET", "small"]), Reply::bulk("value"));
    guest.assert_serves();
    // They are let to their end, but for a few that found no block where the keys that are left lie.
    let is_done = |half: &mut Client| {
        let _ = half.stream().write_all(b"hhhhhhhhhh\r\n");
        half.try_reply().is_ok_and(|reply| reply == Reply::ok())
    };
    let done = halves.iter_mut().map(is_done).filter(|&done| done).count();
    println!("  {done} of them were done");
    assert!(done * 4 >= halves.len() * 3, "{done} of {}", halves.len());
    drop(halves);
    wait_for_ease(guest);
    client.command(&["FLUSHALL"]);
}

pub(crate) fn memory_filled_to_the_reserve_without_eviction_refuses_and_serves_on(guest: &Guest) {
    let mut client = guest.redis();
    let mut written = 0;
    loop {
        let accepted = fill(&mut client, written..written + 2_000);
        written += accepted;
        if accepted < 2_000 {
            break;
        }
    }
    let set = |client: &mut Client, key: &str| client.command(&["SET", key, &"x".repeat(1_024)]);
    let refused = Reply::Error(REFUSAL.into());
    assert_eq!(set(&mut client, "one more"), refused);

    // Requests take what the keys have left, until one of them is told that there is no more.
    let mut halves = Vec::new();
    let told = loop {
        let mut half = half_a_set(guest, halves.len());
        half.stream()
            .set_read_timeout(Some(Duration::from_millis(300)))
            .expect("a timeout above 0");
        match half.try_reply() {
            Ok(reply) => break reply,
            Err(_) => halves.push(half),
        }
        assert!(
            halves.len() < 32,
            "32 MB of requests in a machine of 32M full of keys"
        );
    };
    println!(
        "  {written} keys and {} half requests, then {told:?}",
        halves.len()
    );
    assert_eq!(told, refused);
    let (free, min) = (
        shown_bytes(guest, "zone_free_bytes"),
        shown_bytes(guest, "min_bytes"),
    );
    println!(
        "  {free} bytes are free, {min} the reserve: {}",
        shown(guest, "level")
    );
    // The block that a request lies in is kept off the reserve whole, and has to be had in one piece: what is free beside
    // the reserve is less than ends the pressure.
    let high = shown_bytes(guest, "high_bytes");
    assert!(free < high, "{free} bytes are free yet, {high} are ease");
    assert_eq!(
        info(&mut client, "evicted_keys"),
        0,
        "the policy lets none go"
    );
    let (heard, lost) = pressure_messages(guest);
    println!("  told of {heard} times, {lost} lost");
    assert!((2..50).contains(&heard), "one message a level");
    assert_eq!(client.command(&["DBSIZE"]), Reply::Integer(written as i64));

    for _ in 0..20 {
        assert_eq!(set(&mut client, "one more"), refused);
        assert_eq!(
            client.command(&["GET", "key:0"]),
            Reply::bulk(&"x".repeat(1_024))
        );
        assert_eq!(client.command(&["DEL", "key:1"]), Reply::Integer(1));
        assert_eq!(set(&mut client, "key:1"), Reply::ok());
        // Clients that come now are served as well, and scrapes.
        guest.assert_serves();
        assert_eq!(get(guest.http_port, "/metrics").status, 200);
    }
    drop(halves);
    wait_for_ease(guest);
    assert_eq!(client.command(&["DBSIZE"]), Reply::Integer(written as i64));
    client.command(&["FLUSHALL"]);
    assert_eq!(set(&mut client, "one more"), Reply::ok());
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
