//! An image without some of its optional parts: what is there works, and what is not is not missed. `scripts/features.sh`
//! names the image, and its parts in `NOS_TEST_PARTS`; else it is the whole one.

use std::time::Duration;

use crate::support::guest::{Guest, READY, Setting, free_port};
use crate::support::http::get;
use crate::support::resp::Reply;

/// How long QEMU gets to end when the image turns the machine off.
const LIMIT: Duration = Duration::from_secs(20);

/// Does the image have that part?
fn has(part: &str) -> bool {
    match std::env::var("NOS_TEST_PARTS") {
        Ok(parts) => parts.split_whitespace().any(|other| other == part),
        Err(_) => true,
    }
}

/// Panics unless a key is taken and given back, and a scrape counts it.
#[track_caller]
fn assert_serves(guest: &Guest) -> String {
    let mut client = guest.redis();
    let set = client.command(&["SET", "part", "whole"]);
    assert_eq!(set, Reply::Simple("OK".into()));
    assert_eq!(client.command(&["GET", "part"]), Reply::bulk("whole"));
    let metrics = get(guest.http_port, "/metrics");
    assert_eq!(metrics.status, 200);
    let keys = "\nnos_kv_keys{tier=\"hot\"} 1\n";
    assert!(metrics.body.contains(keys), "{}", metrics.body);
    metrics.body
}

pub(crate) fn the_parts_that_are_there_work_and_the_rest_serves_without_the_others() {
    let guest = Guest::boot(&[
        ("SMP", "2".into()),
        ("APPEND", "nos.place=http:1,diagnosis:0".into()),
    ]);
    let metrics = assert_serves(&guest);
    let cpus = metrics.matches("\nnos_cpu_online{").count();
    let refusals = guest.serial().matches("there is no CPU 1 for http").count();
    let expected = if has("smp") { (2, 0) } else { (1, 1) };
    assert_eq!((cpus, refusals), expected, "{}", guest.serial());
    let faults = get(guest.http_port, "/faults").status;
    let expected = if has("fault-injection") { 200 } else { 404 };
    assert_eq!(faults, expected, "/faults is a part's page");
    let count = format!(" on {cpus} CPUs, ");
    assert!(guest.serial().contains(&count), "{}", guest.serial());
    guest.assert_serves();
}

pub(crate) fn a_network_device_on_pci_is_found_by_an_image_with_that_part_alone() {
    let on_pci: Setting = ("NIC", "virtio-net-pci,romfile=".into());
    let mut guest = Guest::start(&[on_pci]);
    if has("virtio-pci") {
        assert_eq!(guest.ready_or_ended(), None, "{}", guest.serial());
        assert_serves(&guest);
        return;
    }
    guest.wait_for_line("nos: cannot start: ");
    let ended = guest.wait_for_end(LIMIT);
    assert!(ended.is_some(), "the machine was to be turned off");
    let why = "virtio network device";
    assert!(guest.serial().contains(why), "{}", guest.serial());
}

pub(crate) fn an_image_with_that_part_alone_tells_how_its_last_life_ended_and_where() {
    let port = free_port();
    let guest = Guest::boot(&[
        ("MEM", "64M".into()),
        ("APPEND", "nos.on-panic=reset".into()),
        ("QEMU_EXTRA", format!("-gdb tcp:127.0.0.1:{port}")),
    ]);
    crate::crashes::crash(&guest, port);
    guest.await_serial(READY, 2);
    assert_serves(&guest);
    let told = guest.serial().matches(", the last one, ended: ").count();
    let expected = usize::from(has("crash-report"));
    assert_eq!(told, expected, "{}", guest.serial());
    let serial = guest.serial();
    let named = serial
        .lines()
        .filter(|line| line.contains("  image+0x") && line.contains("  nos::"));
    assert_eq!(named.count() > 0, has("symbols"), "{serial}");
    let lined = serial
        .lines()
        .filter(|line| line.starts_with("      in ") && line.contains(" at src/kernel/"));
    assert_eq!(lined.count() > 0, has("symbols"), "{serial}");
}
