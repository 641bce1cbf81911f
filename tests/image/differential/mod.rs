//! The same stream of commands to the image and to a real redis-server: the same replies.
//!
//! Commands are generated from a seed (`NOS_TEST_SEED` runs another). What cannot agree is left out: RANDOMKEY,
//! TIME, INFO, MEMORY USAGE, client ids. KEYS and SCAN are compared as sets, what is left of a lifetime within
//! a second. A difference prints the seed, the command, both replies and what came before on the same keys.

mod commands;
mod server_commands;

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use self::commands::{Generator, Issued};
use crate::support::guest::{Guest, free_port, scratch};
use crate::support::random::Random;
use crate::support::resp::{Client, Reply, encode};
use crate::support::tools::tool;
use crate::support::watcher::Watcher;

/// Commands of a run; the nightly run takes ten times as many.
const COMMANDS: usize = 100_000;
/// Sent at once, so that the answer's way back costs nothing.
const BATCH: usize = 250;
/// The seed of a run that is told none.
const SEED: u64 = 0xd1ff;
/// Earlier commands on the same keys that a difference shows.
const HISTORY: usize = 12;

/// How two replies are held against each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Compare {
    Exactly,
    /// Elements in any order.
    AsSet,
    /// A cursor and elements in any order; both servers are asked for all at once.
    AsScan,
    /// Errors exactly; anything else must only be none.
    IfRefused,
    /// Integers, so much apart at most: the servers read their own clocks.
    Within(i64),
}

impl Compare {
    fn agree(self, one: &Reply, other: &Reply) -> bool {
        match (self, one, other) {
            (Self::AsSet, Reply::Array(one), Reply::Array(other)) => sorted(one) == sorted(other),
            (Self::AsScan, Reply::Array(one), Reply::Array(other)) => {
                one.len() == 2
                    && other.len() == 2
                    && one[0] == other[0]
                    && Self::AsSet.agree(&one[1], &other[1])
            }
            (Self::IfRefused, one, other) => {
                let is_error = |reply: &Reply| matches!(reply, Reply::Error(_));
                one == other || !is_error(one) && !is_error(other)
            }
            // Below 0 are words: no key, no expiry.
            (Self::Within(most), &Reply::Integer(one), &Reply::Integer(other))
                if one >= 0 && other >= 0 =>
            {
                (one - other).abs() <= most
            }
            _ => one == other,
        }
    }
}

fn sorted(replies: &[Reply]) -> Vec<String> {
    let mut texts: Vec<String> = replies.iter().map(|reply| format!("{reply:?}")).collect();
    texts.sort();
    texts
}

/// The real thing, on a port of its own; ended when dropped.
pub(crate) struct RedisServer {
    process: Child,
    _watcher: Watcher,
    pub(crate) port: u16,
}

impl RedisServer {
    /// With the image's own bound for a value: Redis's is larger than the image.
    pub(crate) fn start(bulk_len_max: &str) -> Self {
        let port = free_port();
        let (process, _watcher) = Watcher::start(
            tool("redis-server")
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
                .args(["--save", "", "--appendonly", "no"])
                .args(["--proto-max-bulk-len", bulk_len_max])
                .arg("--dir")
                .arg(scratch(""))
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let server = Self {
            process,
            _watcher,
            port,
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn a_hundred_thousand_random_commands_are_answered_as_redis_answers_them(guest: &Guest) {
    let count = match std::env::var_os("NOS_NIGHTLY") {
        Some(_) => 10 * COMMANDS,
        None => COMMANDS,
    };
    compare(guest.redis_port, count);
}

/// Sends that many commands to the server at `port` and to a redis-server.
pub(crate) fn compare(port: u16, count: usize) {
    let mut ours = Client::connect(port);
    let Reply::Array(limit) = ours.command(&["CONFIG", "GET", "proto-max-bulk-len"]) else {
        panic!("CONFIG GET answers with an array")
    };
    let redis = RedisServer::start(&limit[1].text());
    assert_version(redis.port);
    let mut generator = Generator::new(Random::seeded(SEED));
    let mut clients = [ours, Client::connect(redis.port)];
    clients.iter_mut().for_each(start_afresh);
    let start = Instant::now();
    let mut history: Vec<Issued> = Vec::with_capacity(count);
    let mut differences = 0;
    for protocol in [2, 3] {
        for client in &mut clients {
            client.command(&["HELLO", &protocol.to_string()]);
        }
        while history.len() < count / 2 * (protocol - 1) {
            let batch: Vec<Issued> = (0..BATCH).map(|_| generator.next()).collect();
            let bytes: Vec<u8> = batch
                .iter()
                .flat_map(|issued| encode(&issued.words))
                .collect();
            for client in &mut clients {
                client.send(&bytes);
            }
            for issued in batch {
                let [ours, theirs] = clients.each_mut().map(Client::reply);
                if !issued.compare.agree(&ours, &theirs) {
                    differences += 1;
                    tell(&history, &issued, &ours, &theirs);
                    assert!(differences < 20, "20 differences are enough");
                }
                history.push(issued);
            }
        }
    }
    println!("  {} commands in {:?}", history.len(), start.elapsed());
    clients.iter_mut().for_each(start_afresh);
    assert_eq!(differences, 0, "differences, told above");
}

/// No keys, and the settings that the stream changes as they are by default: others use the image too.
fn start_afresh(client: &mut Client) {
    let settings = [
        "maxmemory-samples 5",
        "lfu-log-factor 10",
        "lfu-decay-time 1",
        "slowlog-max-len 128",
    ];
    for setting in settings {
        let (name, value) = setting.split_once(' ').expect("a name and a value");
        let changed = client.command(&["CONFIG", "SET", name, value]);
        assert_eq!(changed, Reply::ok(), "{setting}");
    }
    client.command(&["FLUSHALL"]);
}

/// Another version may answer otherwise, and rightly.
fn assert_version(port: u16) {
    let info = Client::connect(port).command(&["INFO", "server"]).text();
    let version = info
        .lines()
        .find_map(|line| line.strip_prefix("redis_version:"));
    println!("  redis-server {}", version.unwrap_or("of no version"));
}

fn tell(history: &[Issued], issued: &Issued, ours: &Reply, theirs: &Reply) {
    println!("  command {}: {}", history.len(), issued.shown());
    println!("    nos:   {}", shortened(&format!("{ours:?}")));
    println!("    redis: {}", shortened(&format!("{theirs:?}")));
    let related = |earlier: &&Issued| {
        let words = &issued.words[1..];
        earlier.words[1..].iter().any(|word| words.contains(word)) || earlier.changes_database()
    };
    let before: Vec<&Issued> = history.iter().rev().filter(related).take(HISTORY).collect();
    for earlier in before.iter().rev() {
        println!("    after  {}", earlier.shown());
    }
}

pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}
