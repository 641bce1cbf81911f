//! Checkpoints as clients and operators meet them, on a disk in memory that outlives the machine.
#![expect(unsafe_code, reason = "says which incarnations are dead")]

use super::tests::{Machine, PEER, connection, environment};
use super::*;
use crate::app::{Application, Environment, Incarnation};
use crate::error::Result;
use crate::storage::checkpoint::NoNotebook;
use crate::storage::{BLOCK_BYTES, BlockDevice, Disk, DiskBay, DiskWitness, Immediate, Unheard};
use core::mem::forget;
use core::sync::atomic::Ordering::Relaxed;
use std::boxed::Box;
use std::format;
use std::string::String;
use std::sync::{Arc, Mutex};
use std::vec;
use std::vec::Vec;

const MEGABYTE: usize = 1 << 20;

/// What is on a disk: it outlives the machines it is attached to.
#[derive(Clone)]
struct Platter {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// Requests until the disk fails.
    left: Arc<Mutex<usize>>,
    may_format: bool,
    witness: &'static dyn DiskWitness,
}

impl Platter {
    fn new(bytes: usize) -> Self {
        Self {
            bytes: Arc::new(Mutex::new(vec![0; bytes])),
            left: Arc::new(Mutex::new(usize::MAX)),
            may_format: false,
            witness: &Unheard,
        }
    }

    fn change(&self, at: usize, byte: u8) {
        self.bytes.lock().expect("no test panics with it")[at] ^= byte;
    }

    fn copy(&self) -> Vec<u8> {
        self.bytes.lock().expect("no test panics with it").clone()
    }

    fn request(&self) -> Result<()> {
        let mut left = self.left.lock().expect("no test panics with it");
        if *left == 0 {
            let kind = crate::error::Kind::Device { what: "a test" };
            return Err(crate::error::Error::new(
                crate::error::Subsystem::Platform,
                kind,
            ));
        }
        *left -= 1;
        Ok(())
    }
}

impl BlockDevice for Platter {
    fn blocks(&self) -> u64 {
        (self.bytes.lock().expect("no test panics with it").len() / BLOCK_BYTES) as u64
    }

    fn read(&mut self, first: u64, into: &mut [u8]) -> Result<()> {
        self.request()?;
        let start = first as usize * BLOCK_BYTES;
        let bytes = self.bytes.lock().expect("no test panics with it");
        into.copy_from_slice(&bytes[start..start + into.len()]);
        Ok(())
    }

    fn write(&mut self, first: u64, from: &[u8]) -> Result<()> {
        self.request()?;
        let start = first as usize * BLOCK_BYTES;
        let mut bytes = self.bytes.lock().expect("no test panics with it");
        bytes[start..start + from.len()].copy_from_slice(from);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.request()
    }
}

impl DiskBay for Platter {
    fn open(&self) -> Result<Option<Disk>> {
        let queue = Box::new(Immediate::new(self.clone())?);
        let may_format = self.may_format;
        let witness = self.witness;
        Ok(Some(Disk {
            queue,
            may_format,
            witness,
            notebook: &NoNotebook,
        }))
    }
}

impl Machine {
    fn pass_nanos(&self, nanos: u64) {
        self.now_nanos.fetch_add(nanos, Relaxed);
    }

    fn is_off(&self) -> bool {
        self.is_off.load(Relaxed)
    }
}

struct World {
    application: &'static CacheApplication,
    machine: &'static Machine,
    environment: Environment,
    incarnations: u64,
    services: Vec<Box<dyn Service>>,
}

impl World {
    /// A machine with that disk.
    fn boot(platter: &Platter, settings: &[(&str, &str)]) -> Self {
        let machine: &'static Machine = Box::leak(Box::default());
        let environment = Environment {
            disk: Box::leak(Box::new(platter.clone())),
            ..environment(machine)
        };
        let mut application = CacheApplication::default();
        for (key, value) in settings {
            let known = application.configure(key, value);
            known.expect("known").expect("a good value");
        }
        application.prepare(environment).expect("memory");
        let mut world = Self {
            application: Box::leak(Box::new(application)),
            machine,
            environment,
            incarnations: 0,
            services: Vec::new(),
        };
        world.begin();
        world
    }

    /// The data plane dies, as it does: nothing is dropped. Another begins.
    fn begin(&mut self) {
        forget(core::mem::take(&mut self.services));
        self.incarnations += 1;
        // SAFETY: the services of the last incarnation are forgotten; the numbers rise.
        let incarnation = unsafe { Incarnation::new(self.incarnations) };
        let services = self.application.serve(self.environment, &incarnation);
        self.services = services.expect("memory");
        let (now, mut output) = (self.now(), Output::new());
        let next = self.services[0].open(connection(0), PEER, now, &mut output);
        assert_eq!(next, Next::MORE);
    }

    fn now(&self) -> Instant {
        use crate::platform::time::Clock;
        self.machine.now()
    }

    /// One tick, if one is due or will be in less than a millisecond; false if not.
    fn tick(&mut self) -> bool {
        let (now, at) = (self.now(), self.services[0].agenda().deadline);
        let is_due = at < now + Duration::from_millis(1);
        if is_due {
            self.machine.pass_nanos(at.max(now).since(now).as_nanos());
            let now = self.now();
            self.services[0].tick(now);
        }
        is_due
    }

    /// Ticks as long as there is something to do; tells how often.
    fn settle(&mut self) -> usize {
        (0..).find(|_| !self.tick()).expect("it ends")
    }

    fn send(&mut self, line: &[u8]) -> String {
        let (now, mut output) = (self.now(), Output::new());
        self.services[0].receive(Turn {
            id: connection(0),
            now,
            input: line,
            output: &mut output,
        });
        let answer = String::from_utf8_lossy(output.as_slice());
        answer.trim_end().replace("\r\n", " ")
    }

    fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes())
    }

    fn info(&mut self, name: &str) -> String {
        let info = self.ask("INFO persistence");
        let line = info
            .split(' ')
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.expect("a line of INFO").into()
    }

    fn save(&mut self) {
        assert_eq!(self.ask("BGSAVE"), "+Background saving started");
        assert_eq!(self.info("rdb_bgsave_in_progress"), "1");
        self.settle();
        assert_eq!(self.info("rdb_bgsave_in_progress"), "0");
    }
}

/// Restores what is on the disk.
fn reboot(platter: &Platter) -> World {
    let mut world = World::boot(platter, &[]);
    world.settle();
    world
}

#[test]
fn keys_expiries_and_changed_settings_are_there_after_a_boot() {
    let platter = Platter::new(MEGABYTE);
    let mut world = reboot(&platter);
    assert_eq!(world.info("rdb_changes_since_last_save"), "0");
    world.send(b"*3\r\n$3\r\nSET\r\n$3\r\nk\0\n\r\n$4\r\n\r\n\0\xff\r\n");
    for line in [
        "SET number 12",
        "SET soon x PX 40000",
        "SET over x PX 5",
        "SELECT 9",
        "SET far away EX 1000",
    ] {
        assert_eq!(world.ask(line), "+OK");
    }
    assert_eq!(
        world.ask("CONFIG SET maxmemory 9mb timeout 77 save \"60 5\""),
        "+OK"
    );
    assert_eq!(world.info("rdb_changes_since_last_save"), "5");
    let started = world.ask("LASTSAVE");
    world.machine_passes(2_000);
    world.save();
    assert_eq!(world.info("rdb_changes_since_last_save"), "0");
    assert_eq!(world.info("rdb_last_bgsave_status"), "ok");
    assert_eq!(world.info("rdb_saves"), "1");
    assert_ne!(world.ask("LASTSAVE"), started);
    world.ask("SET number 13");
    assert_eq!(world.info("rdb_changes_since_last_save"), "1");

    let mut world = World::boot(&platter, &[("timeout", "5")]);
    world.machine_passes(2_000);
    world.settle();
    assert_eq!(world.info("rdb_last_load_keys_loaded"), "4");
    assert_eq!(
        world.info("rdb_last_load_keys_expired"),
        "0",
        "it had ended before"
    );
    assert_eq!(world.ask("DBSIZE"), ":3");
    assert_eq!(
        world.send(b"*2\r\n$3\r\nGET\r\n$3\r\nk\0\n\r\n").as_bytes(),
        "$4  \0\u{fffd}".as_bytes()
    );
    assert_eq!(world.ask("INCR number"), ":13");
    assert_eq!(world.ask("PTTL soon"), ":38000");
    world.ask("SELECT 9");
    assert_eq!(world.ask("TTL far"), ":998");
    assert_eq!(
        world.ask("CONFIG GET maxmemory"),
        "*2 $9 maxmemory $7 9437184"
    );
    assert_eq!(world.ask("CONFIG GET save"), "*2 $4 save $4 60 5");
    assert_eq!(
        world.ask("CONFIG GET timeout"),
        "*2 $7 timeout $1 5",
        "boot arguments come first"
    );
}

impl World {
    fn machine_passes(&self, millis: u64) {
        self.machine.pass_nanos(millis * NANOS_PER_MILLI);
    }
}

#[test]
fn clients_wait_until_all_is_restored_and_see_nothing_half_done() {
    let platter = Platter::new(16 * MEGABYTE);
    let mut world = reboot(&platter);
    let value = "v".repeat(300);
    for number in 0..10_000 {
        assert_eq!(world.ask(&format!("SET key:{number} {value}")), "+OK");
    }
    world.ask(&format!("SET large {}", "l".repeat(MEGABYTE)));
    world.save();
    let mut world = World::boot(&platter, &[]);
    let mut ticks = 0;
    while world.tick() {
        ticks += 1;
        if ticks % 20 == 10 && world.services[0].take_ready().is_none() {
            assert_eq!(world.ask("GET key:77"), "", "held up");
        }
    }
    assert!(ticks > 100, "{ticks}: each does a little");
    assert!(world.services[0].take_ready().is_some());
    assert_eq!(world.ask("DBSIZE"), ":10001");
    assert_eq!(world.ask("GET key:9999"), format!("$300 {value}"));
    assert_eq!(world.ask("STRLEN large"), format!(":{MEGABYTE}"));
    assert!(!world.tick());
}

#[test]
fn what_is_written_while_a_checkpoint_is_written_is_not_in_it() {
    let platter = Platter::new(16 * MEGABYTE);
    let mut world = reboot(&platter);
    for number in 0..10_000 {
        world.ask(&format!("SET key:{number} old"));
    }
    assert_eq!(world.ask("BGSAVE"), "+Background saving started");
    assert_eq!(
        world.ask("BGSAVE"),
        "-ERR Background save already in progress"
    );
    let mut number = 0;
    while world.tick() {
        if world.info("rdb_bgsave_in_progress") == "1" {
            let refusal = "-ERR Background save already in progress";
            assert_eq!(world.ask("SAVE"), refusal);
        }
        for _ in 0..40 {
            number += 1;
            world.ask(&format!("SET key:{} new", number * 7 % 10_000));
            world.ask(&format!("DEL key:{}", (number * 7 + 1) % 10_000));
            world.ask(&format!("SET more:{number} new"));
        }
    }
    assert!(number > 1_000, "{number}");
    let mut world = reboot(&platter);
    assert_eq!(world.ask("DBSIZE"), ":10000");
    assert!((0..10_000).all(|number| world.ask(&format!("GET key:{number}")) == "$3 old"));
}

#[test]
fn who_asks_to_save_waits_for_it_and_a_failure_is_told() {
    let platter = Platter::new(MEGABYTE);
    let mut world = reboot(&platter);
    world.ask("SET key value");
    assert_eq!(world.ask("SAVE"), "");
    assert_eq!(world.ask("PING"), "", "it waits");
    world.settle();
    assert!(world.services[0].take_ready().is_some());
    assert_eq!(world.ask("PING"), "+OK +PONG");
    *platter.left.lock().expect("unused") = 1;
    assert_eq!(world.ask("SAVE"), "");
    world.settle();
    assert_eq!(world.ask("PING"), "-ERR +PONG");
    assert_eq!(world.info("rdb_last_bgsave_status"), "err");
    *platter.left.lock().expect("unused") = usize::MAX;
    world.ask("SET key other");
    world.save();
    assert_eq!(world.info("rdb_last_bgsave_status"), "ok");
    assert_eq!(reboot(&platter).ask("GET key"), "$5 other");
    // One that does not fit.
    let small = Platter::new(64 << 10);
    let mut world = reboot(&small);
    world.ask("SET key value");
    world.save();
    world.ask(&format!("SET large {}", "x".repeat(100_000)));
    assert_eq!(world.ask("BGSAVE"), "+Background saving started");
    world.settle();
    assert_eq!(world.info("rdb_last_bgsave_status"), "err");
    assert_eq!(reboot(&small).ask("DBSIZE"), ":1");
}

#[test]
fn disks_of_others_and_damaged_ones_are_left_as_they_are_unless_told() {
    for (at, why) in [(3, "it holds something else"), (20, "it is damaged")] {
        let mut platter = Platter::new(MEGABYTE);
        let mut world = reboot(&platter);
        world.ask("SET key value");
        world.save();
        platter.change(at, 0x40);
        let before = platter.copy();
        let mut world = reboot(&platter);
        assert_eq!(world.ask("DBSIZE"), ":0");
        assert!(
            world
                .ask("BGSAVE")
                .starts_with(&format!("-ERR the disk is left as it is: {why}"))
        );
        assert!(
            world
                .ask("SAVE")
                .starts_with("-ERR the disk is left as it is")
        );
        world.ask("SET key other");
        world.machine_passes(4_000_000);
        world.settle();
        assert!(platter.copy() == before);
        platter.may_format = true;
        let mut world = reboot(&platter);
        assert!(
            platter.copy() == before,
            "nothing is written before something is saved"
        );
        world.ask("SET key new");
        world.save();
        platter.may_format = false;
        assert_eq!(reboot(&platter).ask("GET key"), "$3 new");
    }
    let mut world = World::boot(&Platter::new(1024), &[]);
    assert_eq!(
        world.ask("BGSAVE"),
        "-ERR the disk is left as it is: it is too small"
    );
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before() {
    let platter = Platter::new(MEGABYTE);
    let mut world = reboot(&platter);
    for value in ["first", "second"] {
        world.ask(&format!("SET key {value}"));
        world.ask(&format!("SET {value} {}", "x".repeat(5_000)));
        world.save();
    }
    // Slot 1's data: its header is at 8 blocks and half of the rest, its data 8 blocks behind.
    let slot = (8 + (2048 - 8) / 2 / 8 * 8) * BLOCK_BYTES;
    platter.change(slot + 8 * BLOCK_BYTES + 700, 1);
    let mut world = reboot(&platter);
    assert_eq!(world.ask("GET key"), "$5 first");
    assert_eq!(world.ask("DBSIZE"), ":2");
    world.save();
    assert_eq!(reboot(&platter).ask("GET key"), "$5 first");
}

#[test]
fn save_points_bring_checkpoints_about_and_no_change_none() {
    let platter = Platter::new(MEGABYTE);
    let mut world = World::boot(&platter, &[("save", "100:3,1000:1")]);
    world.settle();
    assert_eq!(world.ask("CONFIG GET save"), "*2 $4 save $12 100 3 1000 1");
    for (changes, millis, saves) in [
        (0, 500_000, 0),
        (2, 400_000, 0),
        (1, 90_000, 1),
        (1, 1_100_000, 2),
        (0, 5_000_000, 2),
    ] {
        (0..changes).for_each(|_| assert_eq!(world.ask("SET key value"), "+OK"));
        for _ in 0..millis / 5_000 {
            world.machine_passes(5_000);
            let ticks = world.settle();
            assert!(ticks < 20, "{ticks}");
        }
        assert_eq!(
            world.info("rdb_saves"),
            format!("{saves}"),
            "{changes} in {millis}"
        );
    }
    assert_eq!(
        world.ask("CONFIG SET save \"1 x\""),
        "-ERR CONFIG SET failed (possibly related to argument 'save') - Invalid save parameters"
    );
    assert_eq!(world.ask("CONFIG SET save \"\""), "+OK");
    world.settle();
    assert!(world.services[0].deadline().is_none(), "it sleeps for good");
    world.ask("SET key value");
    assert_eq!(world.ask("CONFIG SET save \"10 1\""), "+OK");
    world.machine_passes(11_000);
    world.settle();
    assert_eq!(world.info("rdb_saves"), "3");
    assert_eq!(world.ask("CONFIG SET save \"\""), "+OK");
    assert_eq!(world.ask("CONFIG GET save"), "*2 $4 save $0 ".trim_end());
    world.ask("SET key value");
    world.settle();
    assert!(world.services[0].deadline().is_none(), "it sleeps for good");
}

#[test]
fn a_shutdown_saves_first_where_save_points_are_set() {
    let platter = Platter::new(MEGABYTE);
    let mut world = reboot(&platter);
    world.ask("SET key value");
    assert_eq!(world.ask("SHUTDOWN"), "");
    assert!(!world.machine.is_off());
    world.settle();
    assert!(world.machine.is_off());
    let mut world = reboot(&platter);
    assert_eq!(world.ask("GET key"), "$5 value");
    *platter.left.lock().expect("unused") = 0;
    assert_eq!(world.ask("SHUTDOWN SAVE"), "");
    world.settle();
    assert_eq!(
        world.ask("PING"),
        "-ERR Errors trying to SHUTDOWN. Check logs. +PONG"
    );
    assert!(!world.machine.is_off());
    world.ask("SHUTDOWN NOSAVE");
    assert!(world.machine.is_off());
}

#[test]
fn flushes_begin_a_checkpoint_anew() {
    for flush in ["FLUSHALL", "FLUSHDB"] {
        let platter = Platter::new(4 * MEGABYTE);
        let mut world = reboot(&platter);
        for number in 0..5_000 {
            world.ask(&format!("SET key:{number} value"));
        }
        world.ask("SELECT 1");
        world.ask("SET other value");
        world.ask("SELECT 0");
        world.ask("BGSAVE");
        (0..3).for_each(|_| assert!(world.tick()));
        assert_eq!(world.ask(flush), "+OK");
        world.ask("SET after value");
        world.settle();
        assert_eq!(world.info("rdb_last_bgsave_status"), "ok");
        let mut world = reboot(&platter);
        let keys = world.info("rdb_last_load_keys_loaded");
        assert_eq!(keys, ["2", "1"][usize::from(flush == "FLUSHALL")]);
        assert_eq!(world.ask("GET after"), "$5 value");
    }
}

#[test]
fn a_death_of_the_data_plane_costs_the_checkpoint_under_way_and_no_other() {
    let platter = Platter::new(16 * MEGABYTE);
    let mut world = reboot(&platter);
    for number in 0..5_000 {
        world.ask(&format!("SET key:{number} value"));
    }
    world.save();
    for ticks in 0..12 {
        world.ask("SET key:7 new");
        world.ask("BGSAVE");
        (0..ticks).for_each(|_| _ = world.tick());
        world.begin();
        world.settle();
        assert_eq!(world.info("rdb_bgsave_in_progress"), "0");
        assert_eq!(
            world.info("rdb_last_bgsave_status"),
            if ticks == 0 { "ok" } else { "err" }
        );
        assert_eq!(world.ask("DBSIZE"), ":5000");
        world.save();
        assert_eq!(world.info("rdb_last_bgsave_status"), "ok");
        let mut other = reboot(&platter);
        assert_eq!(other.ask("DBSIZE"), ":5000");
        assert_eq!(other.ask("GET key:7"), "$3 new");
    }
    // Dead while it restores: the next one begins anew.
    let mut world = World::boot(&platter, &[]);
    (0..6).for_each(|_| _ = world.tick());
    assert_eq!(world.ask("GET key:7"), "");
    world.begin();
    world.settle();
    assert_eq!(world.ask("DBSIZE"), ":5000");
    assert_eq!(world.info("rdb_last_load_keys_loaded"), "5000");
}

#[test]
fn without_a_disk_nothing_is_saved_and_that_is_told() {
    let mut fixture = super::tests::Fixture::new(&[]);
    assert_eq!(fixture.ask("BGSAVE"), "-ERR no disk is attached");
    assert_eq!(fixture.ask("SAVE"), "-ERR no disk is attached");
    assert_eq!(fixture.ask("BGSAVE NOW"), "-ERR syntax error");
    assert_eq!(fixture.ask("BGSAVE SCHEDULE"), "-ERR no disk is attached");
    assert!(fixture.server.deadline().is_none());
}
