//! The image on other machines than `make run` makes by default.

use std::time::Duration;

use crate::support::guest::{Guest, Setting, image};
use crate::support::http::get;

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
            let metrics = get(guest.http_port, "/metrics").body;
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

/// Every number of CPUs, every other on the other interrupt controller.
pub(crate) fn every_cpu_is_started_and_shown() {
    for cpus in 1..=8 {
        let gic = 2 + cpus % 2;
        let guest = Guest::boot(&[
            ("SMP", cpus.to_string()),
            machine(&format!("gic-version={gic}")),
        ]);
        guest.assert_serves();
        // A started CPU is ready a little later than the one that serves.
        let ready = || {
            let metrics = get(guest.http_port, "/metrics").body;
            let shown = metrics
                .lines()
                .filter(|line| line.starts_with("nos_cpu_online{"));
            let values: Vec<bool> = shown.map(|line| line.ends_with(" 1")).collect();
            assert_eq!(values.len(), cpus, "-smp {cpus}, GICv{gic}");
            values.iter().all(|&is_ready| is_ready)
        };
        let came_up = (0..50).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            ready()
        });
        assert!(came_up, "-smp {cpus}, GICv{gic}: {}", guest.serial());
    }
}

/// The loader puts the image's bytes elsewhere and starts the CPU there, with nothing in its registers;
/// that the ELF is given as well makes QEMU leave the tree at the start of RAM.
pub(crate) fn the_image_runs_at_any_2_mib_of_memory_at_el1_and_el2() {
    for address in ["0x41000000", "0x4c600000", "0x5be00000"] {
        for level in ["virtualization=off", "virtualization=on,gic-version=3"] {
            let loader = format!(
                "-machine {level} -device loader,file={},addr={address},force-raw=on \
                 -device loader,addr={address},cpu-num=0",
                image("nos.img")
            );
            let guest = Guest::boot(&[
                ("IMAGE", image("nos.elf")),
                ("SMP", "2".into()),
                ("APPEND", "nos.log=debug".into()),
                ("QEMU_EXTRA", loader),
            ]);
            guest.assert_serves();
            let place = format!("image at {address}, device tree at 0x40000000");
            assert!(guest.serial().contains(&place), "{}", guest.serial());
        }
    }
}

/// What the log says when peers can guess the numbers that protect from them.
const GUESSABLE: &str = "hashes and sequence numbers can be guessed";

pub(crate) fn random_numbers_come_from_the_tree_or_else_from_the_entropy_device() {
    const DEVICE: &str = "random numbers from the virtio entropy device";
    const WITHOUT_SEED: &str = "-machine dtb-randomness=off";
    let from_device = [
        "-device virtio-rng-device",
        "-global virtio-mmio.force-legacy=true -device virtio-rng-device",
        "-device virtio-rng-pci",
        "-device virtio-rng-pci,disable-legacy=on",
    ];
    for device in from_device {
        let extra = format!("{WITHOUT_SEED} -object rng-builtin,id=r0 {device},rng=r0");
        let guest = Guest::boot(&[("QEMU_EXTRA", extra)]);
        guest.assert_serves();
        let serial = guest.serial();
        assert!(serial.contains(DEVICE), "{device}: {serial}");
        assert!(!serial.contains(GUESSABLE), "{device}: {serial}");
    }
    let seeded = Guest::boot(&[]);
    assert!(!seeded.serial().contains(GUESSABLE), "{}", seeded.serial());
    // The second device has a source that never answers.
    for extra in [
        String::new(),
        "-chardev null,id=c0 -object rng-egd,chardev=c0,id=r0 -device virtio-rng-device,rng=r0"
            .into(),
    ] {
        let guest = Guest::boot(&[("QEMU_EXTRA", format!("{WITHOUT_SEED} {extra}"))]);
        guest.assert_serves();
        let serial = guest.serial();
        assert_eq!(serial.matches(GUESSABLE).count(), 1, "{extra}: {serial}");
    }
}

/// The CPU of each subsystem, by `/subsystems`.
fn placed(cpus: u32, arguments: &str) -> Vec<(String, u32)> {
    let guest = Guest::boot(&[("SMP", cpus.to_string()), ("APPEND", arguments.into())]);
    guest.assert_serves();
    let page = get(guest.http_port, "/subsystems").body;
    let row = |row: &str| {
        let (name, row) = row.split_once('"').expect("a name");
        let (_, cpu) = row.split_once("\"cpu\":").expect("a CPU");
        let cpu = cpu.split(',').next().and_then(|cpu| cpu.parse().ok());
        (name.to_string(), cpu.expect("a number"))
    };
    page.split("{\"name\":\"").skip(1).map(row).collect()
}

pub(crate) fn the_data_plane_is_alone_on_cpu_0_unless_placed_otherwise() {
    let expected = |cpus: [u32; 3]| -> Vec<(String, u32)> {
        let names = ["data-plane", "http", "diagnosis"].map(String::from);
        names.into_iter().zip(cpus).collect()
    };
    assert_eq!(placed(1, ""), expected([0, 0, 0]));
    for cpus in [2, 4] {
        assert_eq!(placed(cpus, ""), expected([0, 1, 1]), "-smp {cpus}");
    }
    let moved = placed(4, "nos.place=data-plane:3,http:0,diagnosis:2");
    assert_eq!(moved, expected([3, 0, 2]));
    // There is no such CPU: the default holds.
    assert_eq!(placed(2, "nos.place=http:7"), expected([0, 1, 1]));
}
