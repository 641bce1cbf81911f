//! The image on other machines than `make run` makes by default, and how a crash shows outside.

use std::time::{Duration, Instant};

use crate::support::debugger::Debugger;
use crate::support::guest::{Guest, Setting, free_port};

/// How long QEMU gets to end, or a line to appear, after what causes it.
const LIMIT: Duration = Duration::from_secs(20);

/// Waits until the serial line holds `text` that many times.
#[track_caller]
fn await_serial(guest: &Guest, text: &str, times: usize) {
    let deadline = Instant::now() + LIMIT;
    while guest.serial().matches(text).count() < times {
        assert!(
            Instant::now() < deadline,
            "no {text:?} within {LIMIT:?}; the serial line:\n{}",
            guest.serial()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn machine(options: &str) -> Setting {
    ("QEMU_EXTRA", format!("-machine {options}"))
}

pub(crate) fn a_network_device_on_pci_serves() {
    for nic in [
        "virtio-net-pci,romfile=",
        "virtio-net-pci,romfile=,disable-legacy=on",
    ] {
        // Configuration space above and below 4 GiB; both interrupt controllers.
        for options in ["gic-version=2", "gic-version=3", "highmem=off"] {
            let guest = Guest::boot(&[("NIC", nic.into()), machine(options)]);
            guest.assert_serves();
            let metrics = crate::support::http::get(guest.http_port, "/metrics").body;
            let interrupts = metrics
                .lines()
                .find(|line| line.starts_with("nos_interrupts_total") && line.contains("network"));
            assert!(
                interrupts.is_some_and(|line| !line.ends_with(" 0")),
                "{nic}, {options}: served without an interrupt: {interrupts:?}"
            );
        }
    }
}

pub(crate) fn a_crash_is_reported_and_ends_as_asked() {
    for ending in ["exit", "halt", "reset"] {
        let port = free_port();
        let mut guest = Guest::boot(&[
            ("APPEND", format!("nos.on-panic={ending}")),
            ("QEMU_EXTRA", format!("-gdb tcp:127.0.0.1:{port}")),
        ]);
        // Nothing that a peer can do crashes the image: the debugger has to.
        Debugger::connect(port).jump_to(0);
        // It slept: a frame wakes it.
        let _woken = guest.redis();
        await_serial(&guest, "nos: crashed", 1);
        for told in [
            "instruction abort",
            "translation fault",
            "by an instruction fetch",
            "backtrace",
        ] {
            await_serial(&guest, told, 1);
        }
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
                await_serial(&guest, "nos: ready", 2);
                let status = guest.wait_for_end(Duration::ZERO);
                assert_eq!(status, None, "the machine was to start again");
            }
        }
    }
}
