//! What a client finds after the data plane died and was made again.
#![expect(unsafe_code, reason = "says which incarnations are dead")]

use super::tests::{Machine, PEER, connection, environment};
use super::*;
use crate::app::{Application, Incarnation};
use core::mem::forget;
use std::boxed::Box;
use std::format;
use std::string::String;
use std::vec::Vec;

struct World {
    application: &'static CacheApplication,
    machine: &'static Machine,
    incarnations: u64,
    services: Vec<Box<dyn Service>>,
}

impl World {
    fn new() -> Self {
        let machine: &'static Machine = Box::leak(Box::default());
        let mut application = CacheApplication::default();
        let known = application.configure("maxclients", "5");
        known.expect("known").expect("a number");
        application.prepare(environment(machine)).expect("memory");
        let mut world = Self {
            application: Box::leak(Box::new(application)),
            machine,
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
        let environment = environment(self.machine);
        let services = self.application.serve(environment, &incarnation);
        self.services = services.expect("memory");
        let mut output = Output::new();
        let next = self.services[0].open(connection(0), PEER, Instant::ZERO, &mut output);
        assert_eq!(next, Next::MORE);
    }

    fn ask(&mut self, line: &str) -> String {
        let mut output = Output::new();
        self.services[0].receive(Turn {
            id: connection(0),
            now: Instant::ZERO,
            input: format!("{line}\r\n").as_bytes(),
            output: &mut output,
        });
        let answer = String::from_utf8_lossy(output.as_slice());
        answer.trim_end().replace("\r\n", " ")
    }
}

#[test]
fn keys_settings_and_counts_survive_and_clients_do_not() {
    let mut world = World::new();
    let total = |world: &mut World, name: &str| -> u64 {
        let info = world.ask("INFO");
        let line = info.split(' ').find_map(|line| line.strip_prefix(name));
        line.and_then(|number| number.parse().ok())
            .expect("a total")
    };
    for line in [
        "SET key value",
        "EXPIRE key 100",
        "SELECT 3",
        "SET other 7",
        "SWAPDB 3 4",
    ] {
        assert!(!world.ask(line).starts_with('-'), "{line}");
    }
    let set = "CONFIG SET maxmemory 9000000 requirepass secret maxmemory-policy volatile-ttl";
    assert_eq!(world.ask(set), "+OK");
    assert_eq!(world.ask("CLIENT ID"), ":1");
    let counted = total(&mut world, "total_commands_processed:");
    let run_id = world.ask("INFO server");
    world.begin();
    assert_eq!(world.ask("GET key"), "-NOAUTH Authentication required.");
    assert_eq!(world.ask("AUTH secret"), "+OK");
    assert_eq!(world.ask("CLIENT ID"), ":2");
    assert_eq!(world.ask("GET key"), "$5 value");
    assert_eq!(world.ask("TTL key"), ":100");
    world.ask("SELECT 4");
    assert_eq!(world.ask("INCR other"), ":8");
    assert_eq!(
        world.ask("CONFIG GET maxmemory"),
        "*2 $9 maxmemory $7 9000000"
    );
    assert_eq!(
        world.ask("CONFIG GET maxmemory-policy"),
        "*2 $16 maxmemory-policy $12 volatile-ttl"
    );
    assert!(total(&mut world, "total_commands_processed:") > counted);
    assert_eq!(total(&mut world, "total_connections_received:"), 2);
    assert_eq!(total(&mut world, "connected_clients:"), 1);
    let id_of = |info: &str| {
        info.split(' ')
            .find(|line| line.starts_with("run_id:"))
            .map(String::from)
    };
    assert_eq!(id_of(&world.ask("INFO server")), id_of(&run_id));
}

#[test]
fn what_clients_tracked_ends_with_them() {
    let mut world = World::new();
    for line in ["HELLO 3", "CLIENT TRACKING ON", "GET key"] {
        assert!(!world.ask(line).starts_with('-'), "{line}");
    }
    assert!(world.ask("INFO").contains("tracking_clients:1 "));
    world.begin();
    let info = world.ask("INFO");
    for field in ["tracking_clients:0 ", "tracking_total_keys:0 "] {
        assert!(info.contains(field), "{field}");
    }
    assert_eq!(
        world
            .ask("HELLO 3\r\nSET key 1\r\nSET key 2")
            .matches("+OK")
            .count(),
        2
    );
    let told = "+OK _ +OK >2 $10 invalidate *1 $5 other";
    assert_eq!(
        world.ask("CLIENT TRACKING ON\r\nGET other\r\nSET other 1"),
        told
    );
}

#[test]
fn a_clients_command_is_named_while_it_is_run_and_not_after() {
    let world = &mut World::new();
    assert_eq!(world.application.command(), None);
    world.ask("SET key value\r\nGET key\r\nGET key");
    assert_eq!(world.application.command(), None, "its turn is over");
    // What a dead incarnation leaves: the turn never ended.
    world
        .application
        .counters
        .runs(commands::find(b"get").expect("a command"));
    assert_eq!(world.application.command(), Some("get"));
    world.begin();
    assert_eq!(world.application.command(), None, "nobody runs it any more");
}
