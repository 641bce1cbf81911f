//! What deaths and restarts do to memory: a quota ends who allocates without end, and hundreds of restarts cost no
//! frame.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::kills::{
    Ends, LIMIT, guest, guest_with, is_night, kill, kill_times, memory, number, page, row, standing,
};
use crate::support::guest::Guest;
use crate::support::http::get;
use crate::support::resp::{Client, Reply};

/// Starts of a subsystem after which free memory is looked at first, and again; at night it is later again.
const EARLY: u64 = 100;
const LATE: u64 = 300;
const LATE_NIGHTLY: u64 = 1_000;
/// The last of them, without load, so that nothing else is under way.
const QUIET: u64 = 10;
/// Until all is over that a death began.
const SETTLED: Duration = Duration::from_millis(500);
/// How long there is load after each order.
const LOAD: Duration = Duration::from_secs(1);

/// A subsystem that allocates without end dies of its quota: it never had more, nobody else was refused anything, and a
/// client that sets one key after another meanwhile sees each set.
pub(crate) fn who_allocates_without_end_meets_its_quota_and_not_the_others_memory() {
    let guest = guest(1);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (port, is_over) = (guest.redis_port, &is_over);
        let _ends = Ends(is_over);
        let load = scope.spawn(move || {
            let (mut client, mut keys) = (Client::connect(port), 0);
            while !is_over.load(Relaxed) || keys <= 100 {
                let set = ["SET", &format!("key:{keys}"), "value"];
                assert_eq!(client.command(&set), Reply::ok());
                keys += 1;
            }
            assert_eq!(client.command(&["DBSIZE"]).integer(), keys);
            keys
        });
        for name in ["diagnosis", "http"] {
            let before = standing(&guest, name).0;
            kill(&guest, name, "endless-allocation");
            let began = Instant::now();
            while standing(&guest, name).0 == before {
                assert!(began.elapsed() < LIMIT, "{name} did not come back");
            }
            let row = row(&guest, name);
            assert!(memory(&row, "refusals") > 0, "{row}");
            let (peak, quota) = (memory(&row, "peak_bytes"), memory(&row, "quota_bytes"));
            // It asks for 64 KiB each time.
            assert!(peak <= quota && peak + (128 << 10) > quota, "{row}");
            let others = ["data-plane", "http", "diagnosis"];
            for other in others.into_iter().filter(|&other| other != name) {
                let row = self::row(&guest, other);
                let is_first = name == "diagnosis";
                assert!(
                    memory(&row, "refusals") == 0 || other == "diagnosis" && !is_first,
                    "{row}"
                );
                assert!(memory(&row, "used_bytes") < memory(&row, "quota_bytes"));
            }
        }
        is_over.store(true, Relaxed);
        let keys = load.join().expect("every SET was answered with OK");
        println!("  {keys} keys set on one connection meanwhile and after");
    });
    guest.assert_serves();
}

/// The data plane too dies of its quota: by the count of refusals, and because what the quota leaves to the others was
/// free all the time. The keys are there afterwards, and HTTP was refused nothing.
pub(crate) fn a_data_plane_that_allocates_without_end_leaves_the_others_their_memory() {
    let guest = guest(1);
    let mut client = guest.redis();
    for number in 0..500 {
        let key = format!("key:{number}");
        assert_eq!(client.command(&["SET", &key, "value"]), Reply::ok());
    }
    let before = standing(&guest, "data-plane").0;
    kill(&guest, "data-plane", "endless-allocation");
    let began = Instant::now();
    while standing(&guest, "data-plane").0 == before {
        assert!(began.elapsed() < LIMIT, "it did not come back");
    }
    let own = row(&guest, "data-plane");
    assert!(memory(&own, "refusals") > 0, "{own}");
    let (peak, quota) = (memory(&own, "peak_bytes"), memory(&own, "quota_bytes"));
    println!("  it had {peak} of {quota} bytes at most");
    assert!(peak <= quota && peak + (128 << 10) > quota, "{own}");
    for other in ["http", "diagnosis"] {
        let row = row(&guest, other);
        assert_eq!(memory(&row, "refusals"), 0, "{row}");
        assert_eq!(standing(&guest, other).0, 0, "{other} died of it");
    }
    // A page allocator that has nothing left refuses, whoever asks: it never did.
    let page = get(guest.http_port, "/metrics").body;
    let refused: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("nos_buddy_failures_total{"))
        .collect();
    assert!(
        !refused.is_empty() && refused.iter().all(|line| line.ends_with(" 0")),
        "{refused:?}"
    );
    let mut client = guest.redis();
    assert_eq!(client.command(&["DBSIZE"]).integer(), 500);
    assert_eq!(client.command(&["GET", "key:499"]), Reply::bulk("value"));
    guest.assert_serves();
}

/// Bytes that nobody lets go of: those of the kernel and of the keyspace. All others are free, or with a subsystem that
/// lives: it lets go of them when it dies.
fn lasting_bytes(guest: &Guest) -> u64 {
    let read = || {
        let (all, subsystems) = (page(guest, "/memory"), page(guest, "/subsystems"));
        let rows = subsystems.split("{\"name\":").skip(1);
        let used: u64 = rows.map(|row| memory(row, "used_bytes")).sum();
        number(&all, "total_bytes") - number(&all, "free_bytes") - used
    };
    // What is under way between two pages is in neither.
    let (began, mut before) = (Instant::now(), read());
    loop {
        let now = read();
        if now == before {
            return now;
        }
        assert!(began.elapsed() < LIMIT, "{before} and then {now} bytes");
        before = now;
    }
}

/// Has a subsystem die so often, each time once it is up again, and does `meanwhile`; what lasts at the end of it.
fn die_until(guest: &Guest, name: &str, starts: [u64; 2], meanwhile: impl FnOnce()) -> u64 {
    let [done, until] = starts;
    let began = Instant::now();
    let starts = || number(&row(guest, name), "incarnation");
    // An order whose answer is cut may have been cut itself.
    while starts() == done {
        assert!(began.elapsed() < LIMIT, "{name} does not die");
        kill_times(guest, name, "panic", until - done);
        thread::sleep(Duration::from_millis(300));
    }
    meanwhile();
    while starts() < until || !standing(guest, name).2 {
        assert!(began.elapsed() < 10 * LIMIT, "{name} dies no more");
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(starts(), until, "{name} died by itself");
    lasting_bytes(guest)
}

/// Clients that come and go for a while, whatever becomes of them.
fn come_and_go(guest: &Guest) {
    let requests: [(u16, &[u8]); 2] = [
        (guest.redis_port, b"SET k 0123456789\r\nGET k\r\nQUIT\r\n"),
        (
            guest.http_port,
            b"GET /metrics HTTP/1.1\r\nHost: nos\r\nConnection: close\r\n\r\n",
        ),
    ];
    let began = Instant::now();
    for (port, request) in requests.into_iter().cycle() {
        if began.elapsed() > LOAD {
            return;
        }
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
            let _ = stream.write_all(request);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
}

/// After hundreds of restarts of each subsystem the kernel and the keyspace have exactly as much memory as after the
/// first hundred: of what a subsystem had nothing stays behind when it dies. What the living hold counts as free: the
/// data plane's connections are those of the clients that there happen to be.
pub(crate) fn hundreds_of_restarts_cost_no_frame() {
    let guest = guest_with(1, "nos.restarts=65535");
    let late = if is_night() { LATE_NIGHTLY } else { LATE };
    let names = ["data-plane", "diagnosis", "http"];
    let mut lasting = Vec::new();
    let mut done = 0;
    for until in [EARLY, late] {
        for name in names {
            die_until(&guest, name, [done, until - QUIET], || come_and_go(&guest));
        }
        let quietly = names.map(|name| {
            thread::sleep(SETTLED);
            die_until(&guest, name, [until - QUIET, until], || ())
        });
        println!("  {quietly:?} bytes after {until} starts of each of {names:?}");
        lasting.push(quietly);
        done = until;
    }
    assert_eq!(lasting[0], lasting[1]);
    guest.assert_serves();
}
