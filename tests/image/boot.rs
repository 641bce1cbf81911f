//! How the image comes up, and what it says when it cannot.

use std::time::Duration;

use crate::support::guest::{Guest, READY};

/// Both passt (as run.sh sets it up) and QEMU's user networking give a guest this address.
const LEASE: &str = "10.0.2.15";

pub(crate) fn the_log_tells_the_address_that_dhcp_gave(guest: &Guest) {
    let serial = guest.serial();
    let lease = serial.lines().find(|line| line.contains(LEASE));
    assert!(lease.is_some(), "no line with {LEASE}");
}

pub(crate) fn boot_arguments_that_cannot_be_used_are_named_in_the_log(guest: &Guest) {
    let serial = guest.serial();
    for key in ["frobnicate", "on-panic"] {
        let named = serial
            .lines()
            .find(|line| line.contains("ERROR") && line.contains(key));
        assert!(named.is_some(), "no ERROR line names {key}");
    }
    assert!(
        !serial.contains("console=ttyAMA0"),
        "a word that is another's was complained about"
    );
}

/// From what QEMU accepts at all up to where the image must serve.
pub(crate) fn too_little_memory_is_one_clear_line_and_an_end() {
    let mut served = false;
    let mut refused = false;
    for megabytes in [5, 6, 8, 12, 16] {
        let mut guest = Guest::start(&[("MEM", format!("{megabytes}M"))]);
        let ready = loop {
            if guest.serial().contains(READY) {
                break true;
            }
            if guest.wait_for_end(Duration::from_millis(100)).is_some() {
                break false;
            }
        };
        let serial = guest.serial();
        println!(
            "  -m {megabytes}M: {}",
            if ready { "serves" } else { serial.trim() }
        );
        assert!(
            !serial.contains("crashed") && !serial.contains("panicked"),
            "{serial}"
        );
        if ready {
            guest.assert_serves();
            served = true;
        } else {
            assert!(
                !served,
                "{megabytes}M do not serve, though less did:\n{serial}"
            );
            let told: Vec<&str> = serial
                .lines()
                .filter(|line| !line.trim().is_empty())
                .collect();
            assert_eq!(told.len(), 1, "one clear line, not {told:?}");
            assert!(
                told[0].contains("memory"),
                "the line does not say what is missing: {told:?}"
            );
            refused = true;
        }
    }
    assert!(served, "16M do not serve");
    // Where even the least that QEMU takes serves, nothing is left to refuse.
    println!(
        "  {}",
        if refused {
            "refused below"
        } else {
            "every size serves"
        }
    );
}
