//! The machines that the image boots on: every pair of settings in `make test`, every combination in
//! `make nightly`. On each it must get ready, take and give back a key, and be scraped.
//!
//! `NOS_MACHINES=1/3` takes that part of all combinations, drawn at random by `NOS_TEST_SEED`.

use std::fmt;
use std::time::Instant;

use crate::support::guest::{Guest, image, scratch};
use crate::support::http::get;
use crate::support::random::Random;
use crate::support::resp::Reply;

/// What can be chosen about a machine, and from what.
const CHOICES: [(&str, &[&str]); 8] = [
    ("cpu", &["cortex-a53", "cortex-a72", "neoverse-n1", "max"]),
    ("gic", &["2", "3"]),
    ("smp", &["1", "2", "4", "8"]),
    ("memory", &["8M", "64M", "512M", "4G", "16G"]),
    ("network", &["mmio-legacy", "mmio-modern", "pci"]),
    ("disk", &["none", "mmio", "pci"]),
    ("image", &["nos.img", "nos.elf"]),
    // On: entered at EL2.
    ("virtualization", &["off", "on"]),
];

/// The choice made for each, by its place.
#[derive(Clone, Copy, PartialEq)]
struct Machine([usize; CHOICES.len()]);

impl Machine {
    fn choice(&self, what: &str) -> &'static str {
        let at = CHOICES.iter().position(|(name, _)| *name == what);
        let at = at.expect("it is one of the choices");
        CHOICES[at].1[self.0[at]]
    }

    /// Every combination.
    fn all() -> Vec<Self> {
        let mut machines = vec![Self([0; CHOICES.len()])];
        for (at, (_, values)) in CHOICES.iter().enumerate() {
            let each = |machine: Self| {
                (0..values.len()).map(move |value| {
                    let mut chosen = machine;
                    chosen.0[at] = value;
                    chosen
                })
            };
            machines = machines.into_iter().flat_map(each).collect();
        }
        machines
    }

    /// The part of all combinations that `part` says, as `1/3`, in an order drawn at random.
    fn some(part: &str) -> Vec<Self> {
        let number = |text: &str| text.parse::<usize>().ok().filter(|&number| number > 0);
        let (of, parts) = part
            .split_once('/')
            .and_then(|(of, parts)| number(of).zip(number(parts)))
            .expect("NOS_MACHINES is a part, as 1/3");
        let mut random = Random::seeded(1);
        let mut machines = Self::all();
        for at in (1..machines.len()).rev() {
            machines.swap(at, random.below(at + 1));
        }
        machines.truncate(machines.len() * of / parts);
        machines
    }

    /// Few machines that have every pair of choices among them: of some at random, always the one with most new pairs.
    fn pairwise() -> Vec<Self> {
        const TRIED: usize = 200;
        let mut random = Random::seeded(0x9a1c);
        let all = Self::all();
        let mut missing: Vec<[usize; 4]> = all.iter().flat_map(Self::pairs).collect();
        missing.sort_unstable();
        missing.dedup();
        let mut chosen = Vec::new();
        while let Some(wanted) = missing.first().copied() {
            let candidates = (0..TRIED).map(|_| {
                let mut machine = all[random.below(all.len())];
                machine.0[wanted[0]] = wanted[1];
                machine.0[wanted[2]] = wanted[3];
                machine
            });
            let new_pairs = |machine: &Self| {
                let pairs = machine.pairs();
                pairs.iter().filter(|pair| missing.contains(pair)).count()
            };
            let best = candidates.max_by_key(new_pairs).expect("some were tried");
            let pairs = best.pairs();
            missing.retain(|pair| !pairs.contains(pair));
            chosen.push(best);
        }
        chosen
    }

    /// Its choices, two by two: place and value, place and value.
    fn pairs(&self) -> Vec<[usize; 4]> {
        let places = 0..CHOICES.len();
        places
            .clone()
            .flat_map(|one| places.clone().map(move |other| (one, other)))
            .filter(|(one, other)| one < other)
            .map(|(one, other)| [one, self.0[one], other, self.0[other]])
            .collect()
    }

    fn boot(&self) -> Guest {
        // A later word of QEMU's command line adds to the machine, or wins.
        let mut extra = format!(
            "-machine gic-version={},virtualization={}",
            self.choice("gic"),
            self.choice("virtualization"),
        );
        let nic = match self.choice("network") {
            "pci" => "virtio-net-pci,romfile=",
            version => {
                let legacy = version == "mmio-legacy";
                extra += &format!(" -global virtio-mmio.force-legacy={legacy}");
                "virtio-net-device"
            }
        };
        let block = match self.choice("disk") {
            "none" => None,
            "mmio" => Some("virtio-blk-device"),
            _ => Some("virtio-blk-pci"),
        };
        if let Some(block) = block {
            extra += &format!(
                " -drive file={},if=none,id=d0,format=raw -device {block},drive=d0",
                disk()
            );
        }
        Guest::boot(&[
            ("NIC", nic.into()),
            ("CPU", self.choice("cpu").into()),
            ("SMP", self.choice("smp").into()),
            ("MEM", self.choice("memory").into()),
            ("IMAGE", image(self.choice("image"))),
            ("QEMU_EXTRA", extra),
        ])
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        CHOICES
            .iter()
            .try_for_each(|(what, _)| write!(f, " {what} {}", self.choice(what)))
    }
}

pub(crate) fn every_pair_of_machine_settings_boots_and_serves() {
    let machines = match std::env::var("NOS_MACHINES") {
        Ok(part) => Machine::some(&part),
        Err(_) if std::env::var_os("NOS_NIGHTLY").is_some() => Machine::all(),
        Err(_) => Machine::pairwise(),
    };
    println!("  {} machines", machines.len());
    let start = Instant::now();
    let failed = machines.iter().filter(|machine| !serves(machine)).count();
    println!("  booted and asked in {:?}", start.elapsed());
    assert_eq!(failed, 0, "of {} machines", machines.len());
}

/// A disk image of the tests' own.
fn disk() -> String {
    const BYTES: u64 = 1 << 20;
    let file = scratch(&format!("disk-{}.img", std::process::id()));
    let made = std::fs::File::create(&file).and_then(|made| made.set_len(BYTES));
    made.expect("a file can be written");
    file.display().to_string()
}

/// Tells what is wrong if it does not.
fn serves(machine: &Machine) -> bool {
    let attempt = std::panic::catch_unwind(|| {
        let guest = machine.boot();
        let mut client = guest.redis();
        assert_eq!(client.command(&["SET", "key", "value"]), Reply::ok());
        assert_eq!(client.command(&["GET", "key"]), Reply::bulk("value"));
        let page = get(guest.http_port, "/metrics");
        assert_eq!(page.status, 200);
        assert!(page.body.contains("nos_build_info{"), "{}", page.body);
    });
    if attempt.is_err() {
        println!("  failed:{machine}");
    }
    attempt.is_ok()
}
