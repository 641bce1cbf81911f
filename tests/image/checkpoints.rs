//! Checkpoints on a real disk image: what was saved is there after a boot, whatever ended the life before.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::diagnosis::await_the_end;
use crate::faults::{counts, point, post};
use crate::kills::{kill, standing};
use crate::support::guest::{Guest, Setting, scratch};
use crate::support::http::get;
use crate::support::random::Random;
use crate::support::resp::{Client, Reply, encode};

/// How long a save may take on a busy host.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// Keys of the tests with many.
const KEYS: usize = 20_000;

/// A disk image of zeros.
pub(crate) fn disk(name: &str, megabytes: u64) -> PathBuf {
    let file = scratch(&format!("{name}-{}.img", std::process::id()));
    let made = std::fs::File::create(&file).and_then(|made| made.set_len(megabytes << 20));
    made.expect("a file can be written");
    file
}

pub(crate) fn machine(file: &Path, arguments: &str) -> Vec<Setting> {
    vec![
        ("MEM", "128M".into()),
        ("DISK", file.display().to_string()),
        ("APPEND", arguments.into()),
    ]
}

pub(crate) fn persistence(client: &mut Client, name: &str) -> String {
    let info = client.command(&["INFO", "persistence"]).text();
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.expect("a line of INFO").trim().into()
}

pub(crate) fn await_save(client: &mut Client) {
    let began = Instant::now();
    while persistence(client, "rdb_bgsave_in_progress") != "0" {
        assert!(began.elapsed() < LIMIT, "the checkpoint is not written");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sets many keys, whose values tell by whom.
pub(crate) fn fill(client: &mut Client, keys: usize, by: &str) {
    for chunk in 0..keys.div_ceil(1000) {
        let numbers = chunk * 1000..keys.min(chunk * 1000 + 1000);
        let sets = numbers
            .clone()
            .map(|number| encode(&["SET", &format!("key:{number}"), &value(number, by)]));
        client.send(&sets.collect::<Vec<_>>().concat());
        for _ in numbers {
            assert_eq!(client.reply(), Reply::ok());
        }
    }
}

fn value(number: usize, by: &str) -> String {
    format!("{by}:{number}:{}", "x".repeat(number % 100))
}

/// Panics unless each of the keys has the value that it was given by `by`.
fn assert_all(client: &mut Client, keys: usize, by: &str) {
    for chunk in 0..keys.div_ceil(1000) {
        let numbers = chunk * 1000..keys.min(chunk * 1000 + 1000);
        let gets = numbers
            .clone()
            .map(|number| encode(&["GET", &format!("key:{number}")]));
        client.send(&gets.collect::<Vec<_>>().concat());
        for number in numbers {
            assert_eq!(client.reply(), Reply::bulk(&value(number, by)), "{number}");
        }
    }
}

/// A metric of the image; the sum over its series with that label.
fn metric(guest: &Guest, name: &str, label: &str) -> u64 {
    let page = get(guest.http_port, "/metrics").body;
    let lines = page
        .lines()
        .filter(|line| line.starts_with(name) && line.contains(label));
    lines
        .map(|line| {
            let (_, number) = line.rsplit_once(' ').expect("a name and a number");
            number.parse::<f64>().expect("a number") as u64
        })
        .sum()
}

pub(crate) fn keys_with_and_without_expiry_are_there_after_a_boot() {
    let file = disk("keys", 64);
    let guest = Guest::boot(&machine(&file, ""));
    let mut client = guest.redis();
    fill(&mut client, KEYS, "first");
    let mut random = Random::seeded(7);
    let binary = random.bytes(1_500_000);
    for words in [
        &[&b"SET"[..], b"\0binary\r\n", &binary][..],
        &[b"SET", b"lasts", b"v", b"EX", b"1000"],
        &[b"SET", b"ends", b"v", b"PX", b"1500"],
        &[b"CONFIG", b"SET", b"maxmemory", b"50mb"],
        &[b"SELECT", b"11"],
        &[b"SET", b"elsewhere", b"v"],
    ] {
        assert_eq!(client.command(words), Reply::ok());
    }
    let begun = client.command(&["BGSAVE"]);
    assert_eq!(begun, Reply::Simple("Background saving started".into()));
    await_save(&mut client);
    assert_eq!(persistence(&mut client, "rdb_last_bgsave_status"), "ok");
    assert_eq!(
        metric(&guest, "nos_checkpoint_writes_total", "outcome=\"ok\""),
        1
    );
    assert!(metric(&guest, "nos_checkpoint_bytes", "store") > 1_500_000);
    client.command(&["SET", "elsewhere", "too late"]);
    let saved_at = client.command(&["LASTSAVE"]).integer();
    drop(guest);
    std::thread::sleep(Duration::from_millis(1_500));

    let guest = Guest::boot(&machine(&file, ""));
    let mut client = guest.redis();
    assert_all(&mut client, KEYS, "first");
    assert_eq!(client.command(&["DBSIZE"]).integer(), KEYS as i64 + 2);
    let found = client.command(&[&b"GET"[..], b"\0binary\r\n"]);
    assert!(found == Reply::Bulk(binary), "bytes are as they were");
    let left = client.command(&["TTL", "lasts"]).integer();
    assert!((900..1000).contains(&left), "{left}");
    assert_eq!(client.command(&["EXISTS", "ends"]).integer(), 0);
    client.command(&["SELECT", "11"]);
    assert_eq!(client.command(&["GET", "elsewhere"]), Reply::bulk("v"));
    let limit = client.command(&["CONFIG", "GET", "maxmemory"]);
    assert!(format!("{limit:?}").contains("52428800"), "{limit:?}");
    let told = client.command(&["LASTSAVE"]).integer();
    assert!(
        (saved_at - 2..=saved_at).contains(&told),
        "{told}, {saved_at}"
    );
    // As `docker stop` ends a server: what is there is saved first.
    client.send(&encode(&["SHUTDOWN", "SAVE"]));
    guest.wait_for_line("checkpoint 2: ");
    drop(guest);
    let guest = Guest::boot(&machine(&file, ""));
    assert_all(&mut guest.redis(), KEYS, "first");
}

pub(crate) fn a_machine_killed_in_the_middle_of_a_save_has_the_state_before() {
    let file = disk("killed", 64);
    let guest = Guest::boot(&machine(&file, ""));
    let mut client = guest.redis();
    fill(&mut client, KEYS, "old");
    assert_eq!(client.command(&["SAVE"]), Reply::ok());
    drop(guest);
    let mut random = Random::seeded(11);
    let (mut held, mut in_the_middle) = ("old", 0);
    for _ in 0..5 {
        let guest = Guest::boot(&machine(&file, ""));
        let mut client = guest.redis();
        assert_all(&mut client, KEYS, held);
        let other = if held == "old" { "new" } else { "old" };
        fill(&mut client, KEYS, other);
        client.command(&["BGSAVE"]);
        let enough = random.below(KEYS);
        let is_under_way = loop {
            let is_under_way = persistence(&mut client, "rdb_bgsave_in_progress") == "1";
            let saved = persistence(&mut client, "current_save_keys_processed");
            if !is_under_way || saved.parse::<usize>().expect("a number") >= enough {
                break is_under_way;
            }
        };
        in_the_middle += usize::from(is_under_way);
        // Killed, as a host that loses its power kills it.
        drop(guest);
        let found = who_is_there(&file);
        assert!(is_under_way && found == held || found == other);
        held = found;
    }
    assert!(
        in_the_middle > 0,
        "all were done before they could be cut off"
    );
}

/// Whose keys are on the disk; panics unless all are of one.
fn who_is_there(file: &Path) -> &'static str {
    let guest = Guest::boot(&machine(file, ""));
    let mut client = guest.redis();
    let first = client.command(&["GET", "key:0"]).text();
    let by = if first.starts_with("new") {
        "new"
    } else {
        "old"
    };
    assert_all(&mut client, KEYS, by);
    by
}

pub(crate) fn a_disk_that_holds_something_else_is_left_as_it_is() {
    let file = disk("foreign", 4);
    let mut bytes = vec![0; 4 << 20];
    // An ext4 superblock's magic number.
    bytes[1080..1082].copy_from_slice(&[0x53, 0xef]);
    std::fs::write(&file, &bytes).expect("a file can be written");
    let guest = Guest::boot(&machine(&file, "nos.quiet-ms=300"));
    guest.wait_for_line("the disk is left as it is: it holds something else");
    await_cause(&guest, 1, "disk_foreign");
    let mut client = guest.redis();
    client.command(&["SET", "key", "value"]);
    let refused = client.command(&["BGSAVE"]).text();
    assert!(refused.contains("it holds something else"), "{refused}");
    drop(guest);
    assert!(std::fs::read(&file).expect("it is there") == bytes);

    let guest = Guest::boot(&machine(&file, "nos.disk=format"));
    let mut client = guest.redis();
    client.command(&["SET", "key", "value"]);
    assert_eq!(client.command(&["SAVE"]), Reply::ok());
    drop(guest);
    let guest = Guest::boot(&machine(&file, ""));
    assert_eq!(guest.redis().command(&["GET", "key"]), Reply::bulk("value"));
}

pub(crate) fn disks_on_every_transport_are_saved_to_and_restored_from() {
    let file = disk("transports", 8);
    let drive = format!(
        "-drive file={},if=none,id=d0,format=raw,cache=writeback",
        file.display()
    );
    for (number, device) in [
        "-device virtio-blk-device,drive=d0",
        "-device virtio-blk-device,drive=d0 -global virtio-mmio.force-legacy=true",
        "-device virtio-blk-pci,drive=d0",
        "-device virtio-blk-pci,drive=d0,disable-legacy=on",
        "-device virtio-blk-device,drive=d0,write-cache=off,config-wce=off",
    ]
    .iter()
    .enumerate()
    {
        let guest = Guest::boot(&[
            ("MEM", "64M".into()),
            ("QEMU_EXTRA", format!("{drive} {device}")),
        ]);
        let mut client = guest.redis();
        let found = client.command(&["INCR", "boots"]);
        assert_eq!(found, Reply::Integer(number as i64 + 1), "{device}");
        assert_eq!(client.command(&["SAVE"]), Reply::ok(), "{device}");
        assert!(metric(&guest, "nos_interrupts_total", "block") > 0);
    }
}

pub(crate) fn a_data_plane_that_dies_in_the_middle_of_a_save_loses_no_key_and_saves_again() {
    let file = disk("deaths", 64);
    let guest = Guest::boot(&machine(&file, "nos.admin-token=kill"));
    for (round, by) in ["one", "two", "three"].into_iter().enumerate() {
        let mut client = guest.redis();
        fill(&mut client, KEYS, by);
        client.command(&["BGSAVE"]);
        kill(&guest, "data-plane", "panic");
        let began = Instant::now();
        while standing(&guest, "data-plane").0 <= round as u64 {
            assert!(began.elapsed() < LIMIT, "the data plane does not come back");
        }
        let mut client = guest.redis();
        assert_all(&mut client, KEYS, by);
        await_save(&mut client);
        assert_eq!(client.command(&["SAVE"]), Reply::ok());
        drop(client);
        // On a copy: the machine goes on with the disk.
        let copy = scratch(&format!("deaths-copy-{}.img", std::process::id()));
        std::fs::copy(&file, &copy).expect("a file can be written");
        let other = Guest::boot(&machine(&copy, ""));
        assert_all(&mut other.redis(), KEYS, by);
    }
}

pub(crate) fn a_disk_that_fails_is_named_and_the_old_checkpoint_stays_until_it_works_again() {
    let file = disk("failing", 16);
    let guest = Guest::boot(&machine(&file, "nos.admin-token=secret nos.quiet-ms=500"));
    let page = get(guest.http_port, "/faults").body;
    assert!(
        point(&page, "block-write-error").contains("\"state\":\"off\""),
        "{page}"
    );
    let mut client = guest.redis();
    fill(&mut client, 1000, "old");
    assert_eq!(client.command(&["SAVE"]), Reply::ok());
    fill(&mut client, 1000, "new");
    for (number, (order, cause)) in [
        ("block-write-error&times=-1", "block_write_error"),
        ("block-flush-error", "block_flush_error"),
        ("block-write-torn", "block_write_error"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = order.split('&').next().expect("a name");
        assert_eq!(post(&guest, &format!("point={order}")).status, 200);
        client.command(&["BGSAVE"]);
        await_save(&mut client);
        assert_eq!(persistence(&mut client, "rdb_last_bgsave_status"), "err");
        assert!(counts(&guest, name)[1] > 0, "{order}");
        post(&guest, &format!("point={name}&state=off"));
        await_cause(&guest, number as u64 + 1, cause);
        assert_eq!(client.command(&["DBSIZE"]).integer(), 1000);
        // On a copy: the machine goes on with the disk.
        let copy = scratch(&format!("failing-copy-{number}-{}.img", std::process::id()));
        std::fs::copy(&file, &copy).expect("a file can be written");
        assert_all(&mut Guest::boot(&machine(&copy, "")).redis(), 1000, "old");
    }
    client.command(&["BGSAVE"]);
    await_save(&mut client);
    assert_eq!(persistence(&mut client, "rdb_last_bgsave_status"), "ok");
    drop(guest);
    let guest = Guest::boot(&machine(&file, ""));
    assert_all(&mut guest.redis(), 1000, "new");
}

/// Waits until that incident is over, and panics unless `/diagnosis` ranked that cause first.
fn await_cause(guest: &Guest, incident: u64, cause: &str) {
    let page = await_the_end(guest, incident);
    let newest = format!("\"past\":[{{\"id\":{incident},");
    let newest = page.find(&newest).expect("the newest of all first");
    let first = format!("\"causes\":[{{\"cause\":\"{cause}\"");
    let named = page[newest..].find("\"causes\":[").expect("causes");
    assert!(
        page[newest + named..].starts_with(&first),
        "{cause}: {page}"
    );
}

pub(crate) fn what_is_read_wrong_once_is_read_again_and_what_stays_wrong_gives_way_to_the_one_before()
 {
    let file = disk("misread", 16);
    let guest = Guest::boot(&machine(&file, ""));
    let mut client = guest.redis();
    for by in ["old", "new"] {
        fill(&mut client, 1000, by);
        assert_eq!(client.command(&["SAVE"]), Reply::ok());
    }
    drop(guest);
    // The third read is the second header, the fourth the newest checkpoint's first piece.
    for (fault, held, cause) in [
        ("block-read-error:nth=1", "new", "block_read_error"),
        ("block-read-error:nth=4", "new", "block_read_error"),
        ("block-read-corrupt:nth=4", "new", "block_corruption"),
    ] {
        let arguments = format!("nos.quiet-ms=300 nos.faults={fault}");
        let guest = Guest::boot(&machine(&file, &arguments));
        assert_all(&mut guest.redis(), 1000, held);
        assert!(counts(&guest, &fault[..fault.find(':').expect("a knob")])[1] == 1);
        await_cause(&guest, 1, cause);
    }
    // A bit of the newest one's data is another for good.
    let mut bytes = std::fs::read(&file).expect("it is there");
    let at = bytes.windows(8).rposition(|bytes| bytes == b"new:999:");
    bytes[at.expect("a value")] ^= 1;
    std::fs::write(&file, &bytes).expect("a file can be written");
    let guest = Guest::boot(&machine(&file, "nos.quiet-ms=300"));
    assert_all(&mut guest.redis(), 1000, "old");
    await_cause(&guest, 1, "block_corruption");
}

pub(crate) fn a_slow_disk_is_named_while_clients_are_served() {
    let file = disk("slow", 64);
    let guest = Guest::boot(&machine(&file, "nos.admin-token=secret nos.quiet-ms=500"));
    let mut client = guest.redis();
    fill(&mut client, KEYS, "some");
    assert_eq!(post(&guest, "point=block-slow&times=-1").status, 200);
    client.command(&["BGSAVE"]);
    await_save(&mut client);
    assert_eq!(persistence(&mut client, "rdb_last_bgsave_status"), "ok");
    await_cause(&guest, 1, "disk_slow");
}
