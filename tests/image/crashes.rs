//! How the image dies, and how it says that it cannot start: always with a reason, never in silence.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::debugger::Debugger;
use crate::support::guest::{Guest, free_port, image, scratch};
use crate::support::random::Random;

/// How long QEMU gets to end after what causes it.
const LIMIT: Duration = Duration::from_secs(20);

/// Crashes the image by the debugger on `port`: nothing that a peer can do does. What is jumped from must be no subsystem,
/// which would die alone: an image that sleeps is in the scheduler.
pub(crate) fn crash(guest: &Guest, port: u16) {
    let crashes = || guest.serial().matches("nos: crashed").count();
    let before = crashes();
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(300));
        Debugger::connect(port).jump_to(0, 0);
        // It slept: a frame wakes it.
        let _woken = std::net::TcpStream::connect(("127.0.0.1", guest.redis_port));
        std::thread::sleep(Duration::from_millis(300));
        if crashes() > before {
            return;
        }
    }
    panic!("the image does not crash: {}", guest.serial());
}

pub(crate) fn a_crash_is_reported_and_ends_as_asked() {
    for ending in ["exit", "halt", "reset"] {
        let port = free_port();
        let mut guest = Guest::boot(&[
            ("APPEND", format!("nos.on-panic={ending}")),
            ("QEMU_EXTRA", format!("-gdb tcp:127.0.0.1:{port}")),
        ]);
        crash(&guest, port);
        for told in [
            "instruction abort",
            "translation fault",
            "by an instruction fetch",
            "backtrace",
        ] {
            guest.await_serial(told, 1);
        }
        assert_ends(&mut guest, ending);
    }
}

/// Panics unless a crashed image ends as `nos.on-panic=` asked.
#[track_caller]
fn assert_ends(guest: &mut Guest, ending: &str) {
    match ending {
        "exit" => {
            let status = guest
                .wait_for_end(LIMIT)
                .expect("the panic device ends QEMU");
            assert!(!status.success(), "a crash passed for success");
        }
        "halt" => {
            let ended = guest.wait_for_end(Duration::from_secs(1));
            assert_eq!(ended, None, "the machine was to stay");
        }
        _ => {
            guest.await_serial("nos: ready", 2);
            let status = guest.wait_for_end(Duration::ZERO);
            assert_eq!(status, None, "the machine was to start again");
        }
    }
}

/// No device of the machine raises an SError under TCG, but EL2 can make one pending at EL1. The image left EL2 with
/// its vectors at 0, in the empty flash: there stand instructions that do it, and the debugger has the image call them.
pub(crate) fn a_system_error_is_reported_and_ends_as_asked() {
    const MAKE_PENDING: [u32; 5] = [
        0xd2b0_0000, // mov  x0, #0x80000000     RW: EL1 is AArch64
        0xf280_2400, // movk x0, #0x120          AMO and VSE: a virtual SError
        0xd51c_1100, // msr  hcr_el2, x0
        0xd503_3fdf, // isb
        0xd69f_03e0, // eret
    ];
    const HVC: u32 = 0xd400_0002;
    let file = scratch("make-system-error-pending.bin");
    let code: Vec<u8> = MAKE_PENDING
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    std::fs::write(&file, code).expect("a file can be written");
    for ending in ["exit", "halt", "reset"] {
        let port = free_port();
        let mut guest = Guest::boot(&[
            ("APPEND", format!("nos.on-panic={ending}")),
            (
                "QEMU_EXTRA",
                // 0x400: the vector of synchronous exceptions from EL1.
                format!(
                    "-machine virtualization=on -gdb tcp:127.0.0.1:{port} \
                     -device loader,file={},addr=0x400,force-raw=on",
                    file.display()
                ),
            ),
        ]);
        Debugger::connect(port).replace_next_instruction(HVC);
        // It slept: a frame wakes it.
        let _woken = guest.redis();
        for told in [
            "nos: crashed: SystemError exception: system error, esr 0xbe000000",
            // What the interrupted code had, and not the handler.
            "  x0  0000000080000120    x1  ",
            "  pc  ",
            "backtrace",
        ] {
            guest.await_serial(told, 1);
        }
        assert_ends(&mut guest, ending);
    }
}

/// The image is put into the second GiB of RAM: QEMU's own tree lies in the first, so the place where the
/// image looks for one is ours to fill.
pub(crate) fn a_bad_device_tree_is_told_on_the_emergency_console() {
    const TREE_AT: &str = "0x80000000";
    const IMAGE_AT: &str = "0x80200000";
    for (name, tree, reason) in bad_trees() {
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.dtb"));
        std::fs::write(&file, tree).expect("the target directory can be written");
        let loader = format!(
            "-device loader,file={},addr={TREE_AT},force-raw=on \
             -device loader,file={},addr={IMAGE_AT},force-raw=on \
             -device loader,addr={IMAGE_AT},cpu-num=0",
            file.display(),
            image("nos.img")
        );
        let mut guest = Guest::start(&[
            ("IMAGE", image("nos.elf")),
            ("MEM", "1200M".into()),
            ("NET", "none".into()),
            ("QEMU_EXTRA", loader),
        ]);
        guest.await_serial("nos: cannot start: ", 1);
        guest.await_serial(reason, 1);
        assert!(
            !guest.serial().contains("crashed"),
            "{name}: {}",
            guest.serial()
        );
        // Without a tree there is no way known to turn the machine off: it sleeps.
        assert_eq!(
            guest.wait_for_end(Duration::from_millis(200)),
            None,
            "{name}"
        );
    }
}

/// Where QEMU puts the image: at its first byte it is entered.
const ENTRY: u64 = 0x4020_0000;

pub(crate) fn a_device_tree_that_is_nowhere_is_told() {
    // Beyond all tables, where no memory is, in flash, at an odd address.
    for tree in [0x10_0000_0000_0000, 0x7f_ffff_f000, 0x1000, 0x4020_0001] {
        let port = free_port();
        let guest = Guest::start(&[
            ("NET", "none".into()),
            ("QEMU_EXTRA", format!("-S -gdb tcp:127.0.0.1:{port}")),
        ]);
        Debugger::connect(port).jump_to(ENTRY, tree);
        guest.await_serial("nos: c", 1);
        let serial = guest.serial();
        let told = serial.contains("cannot start: ") || serial.contains("crashed: ");
        assert!(told, "{tree:#x}: {serial}");
        println!(
            "  {tree:#x}: {}",
            serial.trim().lines().next().unwrap_or("")
        );
    }
}

/// Damaged trees, and what is said of each.
fn bad_trees() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let sound = virts_tree();
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut tree = sound.clone();
        change(&mut tree);
        tree
    };
    let used = sound.iter().rposition(|&byte| byte != 0).expect("a tree") + 1;
    let mut random = Random::seeded(0x6261_645f_6474_6273);
    vec![
        ("none", vec![0; 64], "no device tree magic"),
        ("noise", random.bytes(4096), "no device tree magic"),
        (
            "half",
            sound[..used / 2].to_vec(),
            "bad device tree at offset",
        ),
        ("header", sound[..40].to_vec(), "bad device tree at offset"),
        (
            "oversized",
            changed(&|tree| tree[4..8].copy_from_slice(&(64u32 << 20).to_be_bytes())),
            "total size out of range",
        ),
        (
            "outside",
            changed(&|tree| tree[8..12].copy_from_slice(&0x7fff_fff0u32.to_be_bytes())),
            "a block lies outside the tree",
        ),
        (
            "token",
            // The structure block begins with the root.
            changed(&|tree| {
                let at = u32::from_be_bytes(tree[8..12].try_into().expect("four bytes")) as usize;
                tree[at + 3] = 7;
            }),
            "unknown token",
        ),
        (
            "no-memory",
            changed(&|tree| {
                let text = b"memory\0";
                let at = tree.windows(text.len()).position(|bytes| bytes == text);
                tree[at.expect("virt has memory")] = b'x';
            }),
            "no memory in the device tree",
        ),
    ]
}

/// What QEMU itself would hand over.
fn virts_tree() -> Vec<u8> {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("virt.dtb");
    let machine = format!("virt,dumpdtb={}", file.display());
    let output = Command::new("qemu-system-aarch64")
        .args(["-M", &machine, "-cpu", "cortex-a72", "-m", "1200M"])
        .args(["-nodefaults", "-display", "none"])
        .output()
        .expect("QEMU is there");
    assert!(output.status.success(), "{output:?}");
    std::fs::read(file).expect("QEMU wrote it")
}

pub(crate) fn shutdown_turns_the_machine_off() {
    let mut guest = Guest::boot(&[]);
    let mut client = guest.redis();
    client.send(b"SHUTDOWN NOSAVE\r\n");
    let status = guest.wait_for_end(LIMIT).expect("PSCI turns it off");
    assert!(status.success(), "{status}");
    assert!(!guest.serial().contains("crashed"), "{}", guest.serial());
}
