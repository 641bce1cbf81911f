//! What the image remembers of its lives on a disk, and its figures of checkpoints, counted.

use std::path::Path;
use std::time::Instant;

use crate::checkpoints::{LIMIT, await_save, disk, fill, machine, persistence};
use crate::diagnosis::await_the_end;
use crate::kills::{is_night, kill, number, standing};
use crate::support::guest::{Guest, Setting};
use crate::support::http::get;
use crate::support::resp::{Reply, encode};

/// Keys of the figures: in CI, and at night.
const KEYS: usize = 20_000;
const KEYS_NIGHTLY: usize = 200_000;
/// What a turn of the data plane may take for a save, in microseconds of guest time.
const TURN_USEC_MAX: u64 = 1_000;
/// When the first GET is answered after power on, in microseconds of guest time: at night, and with the keys of CI.
const FIRST_GET_USEC_NIGHTLY: i64 = 100_000;
const FIRST_GET_USEC: i64 = 20_000;

fn keys() -> usize {
    if is_night() { KEYS_NIGHTLY } else { KEYS }
}

/// The number of the newest note on a disk; 0 for none.
fn newest_note(file: &Path) -> u64 {
    let bytes = std::fs::read(file).expect("it is there");
    let blocks = bytes.chunks_exact(512);
    let notes = blocks.filter(|block| block.starts_with(b"nos-note"));
    let number = |block: &[u8]| u64::from_le_bytes(block[16..24].try_into().expect("8 bytes"));
    notes.map(number).max().unwrap_or(0)
}

fn await_note_after(file: &Path, number: u64) {
    let began = Instant::now();
    while newest_note(file) <= number {
        assert!(began.elapsed() < LIMIT, "nothing is noted after {number}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// What a page shows under `earlier`.
fn earlier(guest: &Guest, path: &str) -> (u64, String) {
    let page = get(guest.http_port, path).body;
    let (_, shown) = page.split_once("\"boot\":").expect("a boot's number");
    let boot = number(&page, "boot");
    let (_, shown) = shown.split_once("\"earlier\":").expect("what was");
    (boot, shown.to_string())
}

pub(crate) fn a_disk_remembers_boots_deaths_and_incidents_of_earlier_lives() {
    let file = disk("chronicle", 16);
    let arguments = "nos.admin-token=kill nos.quiet-ms=300";
    let guest = Guest::boot(&machine(&file, arguments));
    assert_eq!(earlier(&guest, "/reports"), (1, "[]}\n".into()));
    kill(&guest, "http", "panic");
    while standing(&guest, "http").0 == 0 {}
    await_the_end(&guest, 1);
    assert_eq!(newest_note(&file), 0, "a disk is blank until it is used");
    assert_eq!(guest.redis().command(&["SAVE"]), Reply::ok());
    await_note_after(&file, 0);
    // Later news is noted some seconds later.
    let noted = newest_note(&file);
    kill(&guest, "diagnosis", "panic");
    await_note_after(&file, noted);
    drop(guest);

    let noted = newest_note(&file);
    let guest = Guest::boot(&machine(&file, arguments));
    await_note_after(&file, noted);
    let (boot, reports) = earlier(&guest, "/reports");
    assert_eq!(boot, 2);
    let first = "{\"boot\":1,\"number\":1,\"subsystem\":\"http\",\"incarnation\":";
    let second = "{\"boot\":1,\"number\":2,\"subsystem\":\"diagnosis\",";
    let places = (reports.find(first), reports.find(second));
    assert!(places.1 < places.0 && places.1.is_some(), "{reports}");
    assert!(reports.contains("\"cause\":\"panic\""), "{reports}");
    let (_, subsystems) = earlier(&guest, "/subsystems");
    let row = "{\"boot\":1,\"name\":\"http\",\"restarts\":{\"recovered\":1,\"failed\":0},\"last_fault\":\"panic\"}";
    assert!(subsystems.contains(row), "{subsystems}");
    let (_, incidents) = earlier(&guest, "/diagnosis");
    let row = "{\"boot\":1,\"id\":1,\"cause\":\"task_panic\",\"part\":\"http\",\"opened_seconds\":";
    assert!(incidents.contains(row), "{incidents}");
    assert!(incidents.contains("\"symptoms\":[\"part_panicked\"]"));
    drop(guest);

    let guest = Guest::boot(&machine(&file, arguments));
    let (boot, reports) = earlier(&guest, "/reports");
    assert!(boot == 3 && reports.contains(first), "{boot}: {reports}");
}

pub(crate) fn an_image_without_a_disk_tells_nothing_of_earlier_lives() {
    let guest = Guest::boot(&[("MEM", "64M".into())]);
    for path in ["/reports", "/subsystems", "/diagnosis"] {
        let page = get(guest.http_port, path).body;
        assert!(!page.contains("\"earlier\""), "{page}");
    }
}

/// One instruction takes a nanosecond there.
fn counted(file: &Path) -> Vec<Setting> {
    let mut settings = machine(file, "");
    settings.push(("QEMU_EXTRA", "-icount shift=0".into()));
    settings
}

pub(crate) fn no_turn_of_a_save_is_longer_than_a_millisecond() {
    let file = disk("turns", 128);
    let guest = Guest::boot(&counted(&file));
    let mut client = guest.redis();
    fill(&mut client, keys(), "some");
    client.command(&["BGSAVE"]);
    await_save(&mut client);
    assert_eq!(persistence(&mut client, "rdb_last_bgsave_status"), "ok");
    let longest = persistence(&mut client, "rdb_longest_turn_usec");
    println!("  {} keys: {longest} us", keys());
    let longest = longest.parse::<u64>().expect("a number");
    assert!((1..TURN_USEC_MAX).contains(&longest), "{longest} us");
}

pub(crate) fn the_first_get_after_power_on_is_answered_within_a_tenth_of_a_second() {
    let file = disk("first", 128);
    let guest = Guest::boot(&machine(&file, ""));
    fill(&mut guest.redis(), keys(), "some");
    assert_eq!(guest.redis().command(&["SAVE"]), Reply::ok());
    drop(guest);
    let guest = Guest::boot(&counted(&file));
    let mut client = guest.redis();
    // Both are answered in one turn: the time is that of the answer.
    let last = format!("key:{}", keys() - 1);
    client.send(&[encode(&["GET", &last]), encode(&["TIME"])].concat());
    assert!(client.reply().text().starts_with("some:"));
    let Reply::Array(time) = client.reply() else {
        panic!("TIME has two parts");
    };
    let part = |at: usize| time[at].clone().text().parse::<i64>().expect("a number");
    let answered = part(0) * 1_000_000 + part(1);
    let page = get(guest.http_port, "/metrics").body;
    let line = |line: &str| {
        let rest = line.strip_prefix("nos_boot_timestamp_seconds ")?;
        let (seconds, decimals) = rest.split_once('.').unwrap_or((rest, "0"));
        let micros = format!("{decimals:0<6}")[..6].parse::<i64>().ok()?;
        Some(seconds.parse::<i64>().ok()? * 1_000_000 + micros)
    };
    let booted = page.lines().find_map(line).expect("when it was booted");
    let took = answered - booted;
    println!("  {} keys: {took} us", keys());
    let limit = match is_night() {
        true => FIRST_GET_USEC_NIGHTLY,
        false => FIRST_GET_USEC,
    };
    assert!((0..limit).contains(&took), "{took} us");
}
