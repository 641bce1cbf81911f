//! The server as a peer meets it: bytes in, bytes out.

use super::server::Server;
use super::store::testing::host_frames;
use super::*;
use crate::app::{Environment, Power};
use crate::cache::random::Random;
use crate::metrics::{Encoder, Format, Source};
use crate::platform::time::Clock;
use crate::storage::NoDisk;
use alloc::sync::Arc;
use core::net::Ipv4Addr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::{boxed::Box, format, string::String, vec, vec::Vec};

/// 2023-11-14, some time after the machine's reset.
const BOOT_UNIX_NANOS: u64 = 1_700_000_000_000_000_000;

#[derive(Default)]
pub(super) struct Machine {
    pub(super) now_nanos: AtomicU64,
    pub(super) is_off: AtomicBool,
}

impl Clock for Machine {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.now_nanos.load(Relaxed))
    }

    fn boot_unix_nanos(&self) -> u64 {
        BOOT_UNIX_NANOS
    }
}

impl Power for Machine {
    fn off(&self) {
        self.is_off.store(true, Relaxed);
    }
}

pub(super) fn environment(machine: &'static Machine) -> Environment {
    Environment {
        frames: host_frames(64 << 20),
        memory_budget_bytes: 32 << 20,
        clock: machine,
        seed: 7,
        keep_alive_seconds: 20,
        power: machine,
        disk: &NoDisk,
        parts: &[],
    }
}

pub(super) struct Fixture {
    pub(super) server: CacheServer,
    pub(super) machine: &'static Machine,
    counters: Arc<KvCounters>,
    pub(super) output: Output,
}

pub(super) const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 40_000);

pub(super) fn connection(slot: u32) -> ConnectionId {
    ConnectionId {
        slot,
        generation: 1,
    }
}

impl Fixture {
    pub(super) fn new(settings: &[(&str, &str)]) -> Self {
        let machine: &'static Machine = Box::leak(Box::default());
        let mut config = CacheConfig::default();
        for (key, value) in settings {
            config
                .set(key, value)
                .expect("a known setting")
                .expect("a good value");
        }
        let environment = environment(machine);
        let counters = Arc::new(KvCounters::new());
        let server = Server::new(config, environment, Arc::clone(&counters));
        let server = CacheServer::new(Box::leak(Box::new(server)));
        let mut fixture = Self {
            server,
            machine,
            counters,
            output: Output::new(),
        };
        assert_eq!(fixture.open(0), Next::MORE);
        fixture
    }

    pub(super) fn open(&mut self, slot: u32) -> Next {
        self.output.clear();
        self.server
            .open(connection(slot), PEER, self.machine.now(), &mut self.output)
    }

    pub(super) fn receive(&mut self, slot: u32, input: &[u8]) -> Progress {
        let (id, now) = (connection(slot), self.machine.now());
        self.server.receive(Turn {
            id,
            now,
            input,
            output: &mut self.output,
        })
    }

    /// Sends pieces of requests from connection 0 and returns the replies, read as soon as they are there.
    fn converse<'a>(&mut self, pieces: impl Iterator<Item = &'a str>) -> String {
        let (mut pending, mut replies) = (Vec::new(), Vec::new());
        for piece in pieces {
            pending.extend_from_slice(piece.as_bytes());
            loop {
                self.output.clear();
                let progress = self.receive(0, &pending);
                pending.drain(..progress.consumed);
                replies.extend_from_slice(self.output.as_slice());
                if !self.output.is_full() {
                    break;
                }
            }
        }
        assert!(pending.is_empty());
        String::from_utf8_lossy(&replies).into_owned()
    }

    /// Sends a line from connection 0 and returns the reply, line ends shown as blanks.
    pub(super) fn ask(&mut self, line: &str) -> String {
        self.ask_as(0, line)
    }

    pub(super) fn ask_as(&mut self, slot: u32, line: &str) -> String {
        self.output.clear();
        self.receive(slot, format!("{line}\r\n").as_bytes());
        String::from_utf8_lossy(self.output.as_slice())
            .trim_end()
            .replace("\r\n", " ")
    }

    pub(super) fn pass_millis(&self, millis: u64) {
        self.machine
            .now_nanos
            .fetch_add(millis * NANOS_PER_MILLI, Relaxed);
    }

    fn page(&self) -> String {
        let mut page = vec![];
        let mut encoder = Encoder::new(&mut page, Format::Text);
        self.counters.collect(&mut encoder);
        encoder.finish().expect("the host has memory");
        String::from_utf8(page).expect("text")
    }

    fn compat_page(&self) -> String {
        let mut page = vec![];
        let mut encoder = Encoder::new(&mut page, Format::Text);
        self.counters.collect_compat(&mut encoder);
        encoder.finish().expect("the host has memory");
        String::from_utf8(page).expect("text")
    }
}

/// A session with every kind of request.
const SESSION: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\nbinary\r\n\0\xff!!\r\nGET k\r\n\
    *2\r\n$4\r\nMGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\nset \"quoted key\" 'v'\r\n*0\r\n\r\nNOSUCH a b\r\n\
    *4\r\n$4\r\nMSET\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\nINCR k\r\nSTRLEN \"quoted key\"\r\nHELLO 3\r\nGET x\r\n";

fn replies_to(pieces: impl Iterator<Item = &'static [u8]>) -> Vec<u8> {
    let mut fixture = Fixture::new(&[]);
    let mut pending = Vec::new();
    for piece in pieces {
        pending.extend_from_slice(piece);
        let progress = fixture.receive(0, &pending);
        pending.drain(..progress.consumed);
    }
    fixture.output.as_slice().to_vec()
}

#[test]
fn a_session_byte_by_byte_gets_the_replies_it_gets_at_once() {
    let at_once = replies_to([SESSION].into_iter());
    assert!(at_once.ends_with(b"_\r\n"));
    assert_eq!(replies_to(SESSION.chunks(1)), at_once);
    assert_eq!(replies_to(SESSION.chunks(7)), at_once);
}

/// A command as an array of strings, and as a line, which is never known by its head.
fn in_both_forms(words: &[&str]) -> (String, String) {
    let mut array = format!("*{}\r\n", words.len());
    for word in words {
        array += &format!("${}\r\n{word}\r\n", word.len());
    }
    (array, words.join(" ") + "\r\n")
}

#[test]
fn requests_that_repeat_get_the_replies_they_get_one_by_one() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let (mut fixture, mut other) = (Fixture::new(&[]), Fixture::new(&[]));
        for _ in 0..20 {
            let (mut arrays, mut lines) = (String::new(), String::new());
            let commands = 2 + random.below(3) as usize;
            for _ in 0..random.below(40) {
                let key = format!("k{}", 7 + random.below(5));
                let value = ["1", "ten", "9223372036854775807", "x"][random.below(4) as usize];
                let value = value.repeat(1 + 30 * random.below(4) as usize / 3);
                let words: [&[&str]; 14] = [
                    &["GET", &key],
                    &["SET", &key, &value],
                    &["INCR", &key],
                    &["get", &key],
                    &["SET", &key, &value, "NX"],
                    &["APPEND", &key, &value],
                    &["MGET", &key, "k7", "k8"],
                    &["PEXPIRE", &key, "3"],
                    &["GETDEL", &key],
                    &["DBSIZE"],
                    &["SELECT", if value == "1" { "1" } else { "0" }],
                    &["CLIENT", "REPLY", "SKIP"],
                    &["CONFIG", "SET", "slowlog-log-slower-than", &value],
                    &["SET", &key],
                ];
                let words = words[(seed as usize + random.below(commands as u32) as usize) % 14];
                let (array, line) = in_both_forms(words);
                arrays += &array;
                lines += &line;
            }
            let cut = random.below(arrays.len() as u32 + 1) as usize;
            let replies = fixture.converse([&arrays[..cut], &arrays[cut..]].into_iter());
            let expected = other.converse(lines.split_inclusive('\n'));
            assert!(
                replies == expected,
                "seed {seed}: {replies:?}, {expected:?}"
            );
            fixture.pass_millis(2);
            other.pass_millis(2);
        }
        let counted = |fixture: &Fixture| {
            let page = fixture.page();
            let lines = page.lines().filter(|line| !line.contains("duration"));
            lines.map(String::from).collect::<Vec<_>>()
        };
        assert_eq!(counted(&fixture), counted(&other), "seed {seed}");
    }
}

#[test]
fn every_prefix_of_a_session_leaves_the_server_fit_for_others() {
    for end in 0..SESSION.len() {
        let mut fixture = Fixture::new(&[]);
        fixture.receive(0, &SESSION[..end]);
        fixture.open(1);
        fixture.server.close(connection(0));
        assert_eq!(fixture.ask_as(1, "PING"), "+PONG", "after {end} bytes");
    }
}

#[test]
fn random_bytes_end_at_most_their_own_connection() {
    let mut fixture = Fixture::new(&[]);
    fixture.open(1);
    for seed in 0..3000 {
        let mut random = Random::new(seed);
        let mut input = SESSION.to_vec();
        for _ in 0..1 + random.below(8) {
            let at = random.below(input.len() as u32) as usize;
            input[at] = random.next_u64() as u8;
        }
        fixture.open(0);
        let progress = fixture.receive(0, &input);
        assert!(progress.consumed <= input.len(), "seed {seed}");
        fixture.server.close(connection(0));
        assert_eq!(fixture.ask_as(1, "PING"), "+PONG", "seed {seed}");
    }
}

#[test]
fn a_protocol_error_is_answered_in_redis_words_and_ends_the_connection() {
    for (input, text) in [
        (
            &b"*1\r\nx3\r\nGET\r\n"[..],
            "-ERR Protocol error: expected '$', got 'x'\r\n",
        ),
        (
            b"*1\r\n$x\r\n",
            "-ERR Protocol error: invalid bulk length\r\n",
        ),
        (
            b"*x\r\n",
            "-ERR Protocol error: invalid multibulk length\r\n",
        ),
        (
            b"GET \"x\r\n",
            "-ERR Protocol error: unbalanced quotes in request\r\n",
        ),
    ] {
        let mut fixture = Fixture::new(&[]);
        let progress = fixture.receive(0, input);
        assert_eq!(String::from_utf8_lossy(fixture.output.as_slice()), text);
        assert_eq!(
            (progress.consumed, progress.next),
            (input.len(), Next::Close)
        );
    }
}

#[test]
fn replies_wait_while_the_output_is_full_and_no_request_is_lost() {
    let mut fixture = Fixture::new(&[]);
    let big = format!(
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$40000\r\n{}\r\n",
        "x".repeat(40_000)
    );
    fixture.receive(0, big.as_bytes());
    fixture.output.clear();
    let mut pending = b"GET k\r\n".repeat(10);
    let mut replies = 0;
    while !pending.is_empty() {
        let progress = fixture.receive(0, &pending);
        assert!(progress.consumed > 0 && fixture.output.len() < 2 * Output::FULL);
        pending.drain(..progress.consumed);
        replies += fixture.output.len();
        fixture.output.clear();
    }
    assert_eq!(replies, 10 * (40_000 + "$40000\r\n\r\n".len()));
}

#[test]
fn unknown_commands_and_wrong_arity_answer_as_redis() {
    let mut fixture = Fixture::new(&[]);
    for (line, reply) in [
        (
            "foo",
            "-ERR unknown command 'foo', with args beginning with: ",
        ),
        (
            "foo 'a b' c",
            "-ERR unknown command 'foo', with args beginning with: 'a b' 'c' ",
        ),
        ("get", "-ERR wrong number of arguments for 'get' command"),
        (
            "client",
            "-ERR wrong number of arguments for 'client' command",
        ),
        (
            "client id x",
            "-ERR wrong number of arguments for 'client|id' command",
        ),
        (
            "client nosuch",
            "-ERR unknown subcommand 'nosuch'. Try CLIENT HELP.",
        ),
        (
            "mset a",
            "-ERR wrong number of arguments for 'mset' command",
        ),
        (
            "mset a b c",
            "-ERR wrong number of arguments for 'mset' command",
        ),
    ] {
        assert_eq!(fixture.ask(line), reply.trim_end(), "{line}");
    }
}

#[test]
fn without_the_password_only_the_handshake_is_served() {
    let mut fixture = Fixture::new(&[("requirepass", "secret")]);
    assert_eq!(fixture.ask("GET k"), "-NOAUTH Authentication required.");
    assert!(
        fixture
            .ask("HELLO 3")
            .starts_with("-NOAUTH HELLO must be called")
    );
    assert!(fixture.ask("AUTH wrong").starts_with("-WRONGPASS"));
    assert_eq!(fixture.ask("AUTH secret"), "+OK");
    assert_eq!(fixture.ask("GET k"), "$-1");
    assert_eq!(fixture.ask("RESET"), "+RESET");
    assert_eq!(fixture.ask("GET k"), "-NOAUTH Authentication required.");
    assert!(fixture.ask("HELLO 3 AUTH default secret").starts_with("%7"));
}

#[test]
fn an_idle_server_has_no_deadline_until_a_key_is_about_to_expire() {
    let mut fixture = Fixture::new(&[]);
    fixture.ask("SET stays v");
    assert_eq!(fixture.server.deadline(), None);
    fixture.ask("SET goes v PX 60000");
    let due = fixture.machine.now() + Duration::from_millis(60_001);
    assert_eq!(fixture.server.deadline(), Some(due));
    fixture.pass_millis(60_001);
    fixture.server.tick(fixture.machine.now());
    assert_eq!(fixture.server.deadline(), None);
    assert_eq!(fixture.ask("DBSIZE"), ":1");
    let page = fixture.page();
    assert!(
        page.contains("nos_kv_expired_keys_total{mode=\"active\"} 1\n"),
        "{page}"
    );
}

#[test]
fn many_keys_that_end_together_go_in_bounded_slices() {
    let mut fixture = Fixture::new(&[]);
    for id in 0..2000 {
        fixture.ask(&format!("SET key:{id} v PX 100"));
    }
    fixture.pass_millis(101);
    let mut ticks = 0;
    while let Some(due) = fixture.server.deadline() {
        assert!(due <= fixture.machine.now());
        fixture.server.tick(fixture.machine.now());
        ticks += 1;
    }
    assert_eq!((ticks, fixture.ask("DBSIZE")), (4, ":0".into()));
}

#[test]
fn a_client_beyond_the_limit_is_refused_and_the_others_are_served_on() {
    let mut fixture = Fixture::new(&[("maxclients", "2")]);
    assert_eq!(fixture.open(1), Next::MORE);
    assert_eq!(fixture.open(2), Next::Close);
    assert_eq!(
        fixture.output.as_slice(),
        b"-ERR max number of clients reached\r\n"
    );
    assert_eq!(fixture.ask("PING"), "+PONG");
    fixture.server.close(connection(1));
    assert_eq!(fixture.open(3), Next::MORE);
}

#[test]
fn clients_idle_for_longer_than_the_timeout_are_ended() {
    let mut fixture = Fixture::new(&[("timeout", "10")]);
    fixture.open(1);
    fixture.pass_millis(6_000);
    fixture.ask_as(1, "PING");
    fixture.pass_millis(4_000);
    let due = fixture.server.deadline().expect("clients may become idle");
    assert_eq!(due, fixture.machine.now());
    fixture.server.tick(due);
    assert_eq!(fixture.server.take_doomed(), Some(connection(0)));
    assert_eq!(fixture.server.take_doomed(), None);
    assert_eq!(
        fixture.server.deadline(),
        Some(due + Duration::from_secs(6))
    );
}

#[test]
fn a_timeout_that_is_set_later_holds_for_the_clients_that_are_there() {
    let mut fixture = Fixture::new(&[]);
    assert_eq!(fixture.server.deadline(), None);
    assert_eq!(fixture.ask("CONFIG SET timeout 3"), "+OK");
    let now = fixture.machine.now();
    assert_eq!(fixture.server.deadline(), Some(now));
    fixture.server.tick(now);
    assert_eq!(fixture.server.take_doomed(), None);
    let due = fixture.server.deadline().expect("clients may become idle");
    assert_eq!(due, now + Duration::from_secs(3));
    fixture.pass_millis(3_000);
    fixture.server.tick(due);
    assert_eq!(fixture.server.take_doomed(), Some(connection(0)));
    fixture.ask("CONFIG SET timeout 0");
    fixture.server.tick(due);
    assert_eq!(fixture.server.deadline(), None);
}

#[test]
fn a_client_can_end_another_one_by_its_id() {
    let mut fixture = Fixture::new(&[]);
    fixture.open(1);
    let id = fixture.ask_as(1, "CLIENT ID");
    assert_eq!(fixture.ask(&format!("CLIENT KILL ID {}", &id[1..])), ":1");
    assert_eq!(fixture.server.take_doomed(), Some(connection(1)));
}

#[test]
fn a_full_store_evicts_by_policy_and_refuses_without_one() {
    let mut fixture = Fixture::new(&[("maxmemory", "1mb"), ("maxmemory-policy", "noeviction")]);
    let value = "x".repeat(200);
    let refusal = "-OOM command not allowed when used memory > 'maxmemory'.";
    let set = |fixture: &mut Fixture, id: u32| fixture.ask(&format!("SET key:{id} {value}"));
    let held = (0..)
        .take_while(|&id| set(&mut fixture, id) == "+OK")
        .count() as u32;
    assert!(held > 3000, "{held}");
    assert_eq!(set(&mut fixture, held), refusal);
    assert_eq!(fixture.ask("DBSIZE"), format!(":{held}"));
    assert_eq!(
        fixture.ask("CONFIG SET maxmemory-policy allkeys-lru"),
        "+OK"
    );
    (0..held).for_each(|id| assert_eq!(set(&mut fixture, held + id), "+OK"));
    assert!(
        !fixture
            .page()
            .contains("nos_kv_evicted_keys_total{tier=\"hot\"} 0\n")
    );
}

#[test]
fn client_reply_skips_one_reply_or_all_of_them() {
    let mut fixture = Fixture::new(&[]);
    assert_eq!(fixture.ask("CLIENT REPLY SKIP"), "");
    assert_eq!(fixture.ask("PING"), "");
    assert_eq!(fixture.ask("PING"), "+PONG");
    assert_eq!(fixture.ask("CLIENT REPLY OFF"), "");
    assert_eq!(fixture.ask("PING"), "");
    assert_eq!(fixture.ask("CLIENT REPLY ON"), "+OK");
    assert_eq!(fixture.ask("PING"), "+PONG");
}

#[test]
fn the_metrics_page_shows_closed_sets_whole_and_commands_from_their_first_use() {
    let mut fixture = Fixture::new(&[]);
    let page = fixture.page();
    assert!(
        page.contains("nos_kv_keys{tier=\"compressed\"} 0\n"),
        "{page}"
    );
    assert!(!page.contains("cmd="), "{page}");
    fixture.ask("SET k v");
    fixture.ask("GET k");
    fixture.ask("GET nosuch");
    fixture.ask("INCR k");
    let page = fixture.page();
    for line in [
        "nos_kv_keyspace_hits_total{tier=\"hot\"} 1\n",
        "nos_kv_keyspace_misses_total 1\n",
        "nos_kv_keys{tier=\"hot\"} 1\n",
        "nos_kv_clients_connected 1\n",
        "nos_kv_commands_total{cmd=\"get\"} 2\n",
        "nos_kv_command_errors_total{cmd=\"incr\"} 1\n",
        "nos_kv_command_duration_seconds_count 4\n",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
}

#[test]
fn shutdown_turns_the_machine_off() {
    let mut fixture = Fixture::new(&[]);
    assert_eq!(fixture.ask("SHUTDOWN NOSAVE SAVE"), "-ERR syntax error");
    assert!(!fixture.machine.is_off.load(Relaxed));
    fixture.ask("SHUTDOWN NOSAVE");
    assert!(fixture.machine.is_off.load(Relaxed));
}

#[test]
fn the_slow_log_keeps_the_latest_commands_above_its_threshold() {
    let mut fixture = Fixture::new(&[("slowlog-log-slower-than", "0"), ("slowlog-max-len", "2")]);
    fixture.ask("SET a 1");
    fixture.ask("SET b 2");
    assert_eq!(fixture.ask("SLOWLOG LEN"), ":2");
    let log = fixture.ask("SLOWLOG GET");
    assert!(
        log.contains("SLOWLOG") && log.contains("$1 b") && !log.contains("$1 a"),
        "{log}"
    );
}

#[test]
fn keys_are_shown_by_database_whatever_moves_them_about() {
    const SEED: u64 = 0x6b65_7973;
    let mut fixture = Fixture::new(&[]);
    let mut random = Random::new(SEED);
    for step in 0..2_000 {
        let mut turn = String::new();
        for _ in 0..=random.below(3) {
            let (key, other) = (random.below(6), random.below(6));
            turn += &match random.below(12) {
                0..4 => format!("SET k{key} v\r\n"),
                4 => format!("SET k{key} v PX 5\r\n"),
                5 => format!("DEL k{key}\r\n"),
                6 | 7 => format!("SELECT {other}\r\n"),
                8 => format!("MOVE k{key} {other}\r\n"),
                9 => format!("SWAPDB {key} {other}\r\n"),
                10 => format!("COPY k{key} k{other} DB {other} REPLACE\r\n"),
                _ => "FLUSHDB\r\n".into(),
            };
        }
        fixture.output.clear();
        fixture.receive(0, turn.as_bytes());
        fixture.pass_millis(random.below(4) as u64);
        let page = fixture.compat_page();
        for database in 0..16 {
            let keys = fixture.server.server.store.len(database);
            let line = format!("redis_db_keys{{db=\"db{database}\"}} {keys}\n");
            assert!(
                page.contains(&line),
                "seed {SEED}, step {step}: {line}{page}"
            );
        }
    }
}
