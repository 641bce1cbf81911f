//! How the image comes up, and what it says when it cannot.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::guest::{Guest, root, scratch};
use crate::support::http::get;
use crate::support::resp::Reply;
use crate::support::tools::{succeed, tool};

/// QEMU's user networking gives a guest this address.
const LEASE: &str = "10.0.2.15";

/// Boot arguments that cannot be used: an unknown key, then values of every kind.
pub(crate) const UNUSABLE: &str = "nos.frobnicate=7 nos.on-panic=sulk nos.log=loud nos.ip=10.0.2.300/24 \
    nos.http-port=0 nos.time=noon nos.tcp-connections=none nos.maxmemory-policy=all nos.timeout=-1";

pub(crate) fn the_log_tells_the_address_that_dhcp_gave(guest: &Guest) {
    let serial = guest.serial();
    let lease = serial.lines().find(|line| line.contains(LEASE));
    assert!(lease.is_some(), "no line with {LEASE}");
}

pub(crate) fn boot_arguments_that_cannot_be_used_are_named_in_the_log(guest: &Guest) {
    let serial = guest.serial();
    for key in UNUSABLE
        .split(' ')
        .map(|word| &word[..word.find('=').expect("a key and a value")])
    {
        let told =
            |line: &&str| line.contains("ERROR") && line.contains(&format!("argument {key}:"));
        assert_eq!(
            serial.lines().filter(told).count(),
            1,
            "not one ERROR line names {key}"
        );
    }
    let clamped = "maxmemory 1073741824 is more than the image can spare";
    assert_eq!(
        serial.matches(clamped).count(),
        1,
        "a limit beyond the memory is told"
    );
    assert!(
        !serial.contains("console=ttyAMA0"),
        "a word that is another's was complained about"
    );
}

/// `make run`, as a user types it.
pub(crate) fn make_run() -> Command {
    let mut command = Command::new("make");
    command
        .current_dir(root())
        .args(["--no-print-directory", "run"]);
    // What the make that runs these tests was told is not for this one.
    for name in ["IMAGE", "MAKEFLAGS", "MFLAGS", "MAKELEVEL"] {
        command.env_remove(name);
    }
    command
}

/// As the README has it: the command, the line, and the keys that end it.
pub(crate) fn make_run_gets_ready_serves_and_ends_at_ctrl_a_x() {
    let mut guest = Guest::spawn(make_run(), &[], Stdio::piped());
    assert_eq!(guest.ready_or_ended(), None, "{}", guest.serial());
    guest.assert_serves();
    guest.type_in(b"\x01x");
    let status = guest.wait_for_end(Duration::from_secs(20));
    assert!(
        status.is_some_and(|status| status.success()),
        "{status:?} after Ctrl-A X:\n{}",
        guest.serial()
    );
}

/// The least that QEMU takes, and the least that is promised.
pub(crate) fn eight_megabytes_hold_a_thousand_keys_and_a_scrape() {
    for megabytes in [5, 8] {
        let guest = Guest::boot(&[("MEM", format!("{megabytes}M"))]);
        let mut client = guest.redis();
        let keys = if megabytes < 8 { 10 } else { 1_000 };
        let value = "x".repeat(64);
        for n in 0..keys {
            let set = client.command(&["SET", &format!("key:{n}"), &value]);
            assert_eq!(set, Reply::ok(), "key {n} at {megabytes}M");
        }
        assert_eq!(client.command(&["DBSIZE"]), Reply::Integer(keys));
        let scrape = get(guest.http_port, "/metrics");
        assert!(
            scrape
                .body
                .contains(&format!("nos_kv_keys{{tier=\"hot\"}} {keys}\n")),
            "{}",
            scrape.body
        );
        guest.assert_serves();
    }
}

/// RAM begins here on QEMU's virt; the image lies from 2 MiB on, the tree of a machine of 8M from 4 MiB on.
const RAM: u64 = 0x4000_0000;

/// QEMU takes no machine too small for the image, so the device tree reserves all but what is tried.
pub(crate) fn too_little_memory_is_one_clear_line_and_an_end() {
    let tree = dumped_tree("8M");
    let (mut served, mut refused) = (false, false);
    for spare in [0, 128, 256, 512, 768, 1_024, 2_048] {
        let below = RAM..RAM + (2_048 - spare) * 1_024;
        let above = RAM + (4_096 + 64) * 1_024..RAM + (8 << 20);
        let file = scratch(&format!("spare-{spare}.dtb"));
        std::fs::write(&file, reserving(&tree, &[below, above])).expect("a file can be written");
        let mut guest = Guest::start(&[
            ("MEM", "8M".into()),
            ("QEMU_EXTRA", format!("-dtb {}", file.display())),
        ]);
        let ended = guest.ready_or_ended();
        let serial = guest.serial();
        assert!(
            !serial.contains("crashed") && !serial.contains("panicked"),
            "{serial}"
        );
        match ended {
            None => {
                println!("  {spare} KiB to spare: serves");
                guest.assert_serves();
                served = true;
            }
            Some(status) => {
                assert!(
                    !served,
                    "{spare} KiB do not serve, though less did:\n{serial}"
                );
                let told = |line: &&str| !line.trim().is_empty() && !line.contains(" INFO ");
                let told: Vec<&str> = serial.lines().filter(told).collect();
                println!("  {spare} KiB to spare: {told:?}");
                assert_eq!(told.len(), 1, "one clear line, not {told:?}");
                assert!(
                    told[0].starts_with("nos: cannot start: ") && told[0].contains("memory"),
                    "the line does not say what is missing: {told:?}"
                );
                assert!(status.success(), "turned off, not {status}");
                refused = true;
            }
        }
    }
    assert!(served, "2 MiB to spare do not serve");
    assert!(refused, "nothing to spare, and it serves");
}

/// The device tree that QEMU makes for a machine of that size.
fn dumped_tree(memory: &str) -> Vec<u8> {
    let file = scratch("dumped.dtb");
    let machine = format!("virt,dumpdtb={}", file.display());
    succeed(
        tool("qemu-system-aarch64")
            .args(["-M", &machine, "-cpu", "cortex-a72", "-m", memory])
            .args(["-nodefaults", "-display", "none"]),
        b"",
    );
    std::fs::read(&file).expect("QEMU has written it")
}

/// `tree` with ranges of physical memory in its reservation block, which follows the header.
fn reserving(tree: &[u8], ranges: &[std::ops::Range<u64>]) -> Vec<u8> {
    const HEADER_BYTES: usize = 40;
    /// Where the header has the offsets of the structure block and the strings block.
    const OFFSETS: [usize; 2] = [8, 12];
    let field = |tree: &[u8], at: usize| {
        u32::from_be_bytes(tree[at..at + 4].try_into().expect("four bytes"))
    };
    let reservations = field(tree, 16) as usize;
    assert!(reservations >= HEADER_BYTES, "a tree of version 17");
    let mut block = Vec::new();
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        block.extend(range.start.to_be_bytes());
        block.extend((range.end - range.start).to_be_bytes());
    }
    // QEMU keeps twice the size it is told, and its own trees are mostly room for more.
    let used = (field(tree, 12) + field(tree, 32)) as usize;
    let mut longer = tree[..used].to_vec();
    longer[4..8].copy_from_slice(&((used + block.len()) as u32).to_be_bytes());
    for at in OFFSETS {
        let offset = field(tree, at);
        // What lies behind the reservation block moves by what is put into it.
        if offset as usize > reservations {
            let moved = offset + block.len() as u32;
            longer[at..at + 4].copy_from_slice(&moved.to_be_bytes());
        }
    }
    longer.splice(reservations..reservations, block);
    longer
}
