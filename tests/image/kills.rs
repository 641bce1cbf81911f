//! Subsystems that die, by each means, under load: the others never notice, what must survive survives, and what died
//! comes back. What kills them are points of the image's own fault injection.

use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::guest::{Guest, Setting, connect};
use crate::support::http::{Response, get, parse_if_whole};
use crate::support::resp::{Client, Reply};

/// How a subsystem can die: points of `/faults`, each without its `task-`.
const MEANS: [&str; 9] = [
    "panic",
    "wild-read",
    "wild-write",
    "wild-jump",
    "stack-overflow",
    "hang",
    "hang-pinned",
    "lock-held",
    "endless-allocation",
];
/// Deaths of each subsystem by each means; on machines that are looked at briefly; at night, on all.
const TIMES: u64 = 5;
const TIMES_BRIEFLY: u64 = 1;
const TIMES_NIGHTLY: u64 = 100;
/// How long a subsystem gets to come back.
pub(super) const LIMIT: Duration = Duration::from_secs(20);
/// Time between two deaths: groups bear so many in so long.
const BREATH: Duration = Duration::from_millis(270);

pub(super) fn is_night() -> bool {
    std::env::var_os("NOS_NIGHTLY").is_some()
}

pub(super) fn guest(cpus: u32) -> Guest {
    guest_with(cpus, "")
}

pub(super) fn guest_with(cpus: u32, arguments: &str) -> Guest {
    let own = "nos.hang-ms=100 nos.health-ms=1000 nos.quiet-ms=3000 nos.admin-token=kill";
    let settings: [Setting; 3] = [
        ("MEM", "128M".into()),
        ("SMP", cpus.to_string()),
        ("APPEND", format!("{own} {arguments}")),
    ];
    Guest::boot(&settings)
}

/// How long an answer may take, and how long is waited for one that may never come: whoever asks for the data plane's
/// death is told of it by the next one.
const PATIENCE: Duration = Duration::from_secs(1);
const SHORT_PATIENCE: Duration = Duration::from_millis(150);

/// Asks, and reads for that long at most.
fn exchange(port: u16, request: &[u8], patience: Duration) -> Vec<u8> {
    let mut stream = connect(port);
    stream
        .set_read_timeout(Some(patience))
        .expect("a timeout above 0");
    let _ = stream.write_all(request);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

/// A page of JSON, as soon as it is answered.
pub(super) fn page(guest: &Guest, path: &str) -> String {
    let ask = format!("GET {path} HTTP/1.1\r\nHost: nos\r\nConnection: close\r\n\r\n");
    let is_whole = |reply: &Response| reply.status == 200 && reply.body.trim_end().ends_with('}');
    let began = Instant::now();
    loop {
        let reply = exchange(guest.http_port, ask.as_bytes(), SHORT_PATIENCE);
        if let Some(reply) = parse_if_whole(&reply).filter(is_whole) {
            return reply.body;
        }
        assert!(began.elapsed() < LIMIT, "{path} is not answered");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A subsystem's row of `/subsystems`.
pub(super) fn row(guest: &Guest, name: &str) -> String {
    // Whoever asks while HTTP is dead is told so, or nothing.
    let page = page(guest, "/subsystems");
    let row = page
        .split("{\"name\":")
        .find(|row| row.starts_with(&format!("\"{name}\"")));
    row.unwrap_or_else(|| panic!("{name} is not in {page}"))
        .into()
}

/// The first number of that name in a row.
pub(super) fn number(row: &str, key: &str) -> u64 {
    let (_, rest) = row.split_once(&format!("\"{key}\":")).expect(key);
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).expect(key)
}

/// The number of that name in what a row says of memory.
pub(super) fn memory(row: &str, key: &str) -> u64 {
    number(row.split_once("\"memory\":").expect("memory").1, key)
}

/// Restarts and bytes of the subsystem of that name, and whether it runs.
pub(super) fn standing(guest: &Guest, name: &str) -> (u64, u64, bool) {
    let row = row(guest, name);
    let is_running = row.contains("\"state\":\"running\"");
    (
        number(&row, "recovered"),
        memory(&row, "used_bytes"),
        is_running,
    )
}

/// The request that has a subsystem die so often, each time once it is up again.
fn order(name: &str, means: &str, times: u64) -> String {
    let order = format!("point=task-{means}&target={name}&times={times}");
    format!(
        "POST /faults HTTP/1.1\r\nHost: nos\r\nConnection: close\r\nAuthorization: Bearer kill\r\n\
         Content-Length: {}\r\n\r\n{order}",
        order.len()
    )
}

pub(super) fn kill(guest: &Guest, name: &str, means: &str) {
    kill_times(guest, name, means, 1);
}

pub(super) fn kill_times(guest: &Guest, name: &str, means: &str, times: u64) {
    let request = order(name, means, times);
    let began = Instant::now();
    // Whoever asks while HTTP is dead is told so; so is who asked it to die, and was heard.
    let is_heard = |reply: &Response| reply.status != 503 || name == "http";
    let patience = match name {
        "data-plane" => SHORT_PATIENCE,
        _ => PATIENCE,
    };
    let reply = loop {
        let reply = parse_if_whole(&exchange(guest.http_port, request.as_bytes(), patience));
        if reply.as_ref().is_none_or(is_heard) || began.elapsed() > LIMIT {
            break reply;
        }
        thread::sleep(Duration::from_millis(10));
    };
    // Of these two one may be dead before the answer is whole.
    let may_be_cut = name == "http" || name == "data-plane";
    let is_told = |reply: Response| reply.status == 200 || name == "http" && reply.status == 503;
    assert!(
        reply.map_or(may_be_cut, is_told),
        "{name} was not told to die by {means}"
    );
}

/// Kills one subsystem by every means, and sees to it that it comes back each time with as much memory as before.
fn kill_by_every_means(guest: &Guest, name: &str, times: u64, check: &mut dyn FnMut(&str)) {
    let times = if is_night() { TIMES_NIGHTLY } else { times };
    for means in MEANS {
        for _ in 0..times {
            let (before, ..) = standing(guest, name);
            let began = Instant::now();
            kill(guest, name, means);
            while {
                let (now, _, is_running) = standing(guest, name);
                now == before || !is_running
            } {
                assert!(
                    began.elapsed() < LIMIT,
                    "{name} did not come back from {means}"
                );
                thread::sleep(Duration::from_millis(10));
            }
            check(means);
            thread::sleep(BREATH.saturating_sub(began.elapsed()));
        }
    }
    let crashes = guest.serial().matches("nos: crashed").count();
    assert_eq!(crashes, 0, "the image crashed");
}

/// Sets it when dropped.
pub(super) struct Ends<'a>(pub(super) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// HTTP and the diagnosis die; a redis connection that was there before serves through all of it.
fn others_never_notice(cpus: u32, times: u64) {
    let guest = guest(cpus);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let port = guest.redis_port;
        let is_over = &is_over;
        // A test that fails must not leave its load behind.
        let _ends = Ends(is_over);
        let load = scope.spawn(move || {
            let mut client = Client::connect(port);
            let mut requests = 0_u64;
            while !is_over.load(Relaxed) {
                let value = requests.to_string();
                assert_eq!(client.command(&["SET", "k", &value]), Reply::ok());
                assert_eq!(client.command(&["GET", "k"]), Reply::bulk(&value));
                requests += 1;
            }
            requests
        });
        for name in ["http", "diagnosis"] {
            kill_by_every_means(&guest, name, times, &mut |means| {
                assert!(
                    !load.is_finished(),
                    "a client noticed {name} die by {means}: {:?}",
                    guest
                        .serial()
                        .lines()
                        .filter(|line| line.contains(" died "))
                        .collect::<Vec<_>>()
                );
            });
        }
        is_over.store(true, Relaxed);
        let requests = load.join().expect("its connection was never touched");
        println!("  {requests} requests served on one connection meanwhile");
        assert!(requests > 100);
    });
    assert_eq!(guest.serial().matches("nos: ready").count(), 1);
}

pub(crate) fn others_never_notice_http_or_diagnosis_die_on_one_cpu() {
    others_never_notice(1, TIMES);
}

pub(crate) fn others_never_notice_http_or_diagnosis_die_on_two_cpus() {
    others_never_notice(2, TIMES_BRIEFLY);
}

pub(crate) fn others_never_notice_http_or_diagnosis_die_on_four_cpus() {
    others_never_notice(4, TIMES);
}

pub(crate) fn others_never_notice_http_or_diagnosis_die_on_eight_cpus() {
    others_never_notice(8, TIMES_BRIEFLY);
}

/// The data plane dies: connections end, keys and what CONFIG SET changed stay, and it answers where it did.
fn the_keys_outlive_the_data_plane(cpus: u32, times: u64) {
    let guest = guest(cpus);
    let mut client = guest.redis();
    for number in 0..500 {
        let (key, value) = (format!("key:{number}"), format!("value:{number}"));
        assert_eq!(client.command(&["SET", &key, &value]), Reply::ok());
    }
    let expires: [&str; 4] = ["EXPIRE", "key:7", "100000", "NX"];
    assert_eq!(client.command(&expires).integer(), 1);
    let change = ["CONFIG", "SET", "maxmemory-policy", "allkeys-lfu"];
    assert_eq!(client.command(&change), Reply::ok());
    let mut used = None;
    kill_by_every_means(&guest, "data-plane", times, &mut |means| {
        let mut client = Client::connect(guest.redis_port);
        assert_eq!(client.command(&["DBSIZE"]).integer(), 500, "after {means}");
        for number in [0, 7, 250, 499] {
            let reply = client.command(&["GET", &format!("key:{number}")]);
            assert_eq!(
                reply,
                Reply::bulk(&format!("value:{number}")),
                "after {means}"
            );
        }
        assert!(client.command(&["TTL", "key:7"]).integer() > 90_000);
        let policy = client.command(&["CONFIG", "GET", "maxmemory-policy"]);
        assert!(format!("{policy:?}").contains("allkeys-lfu"), "{policy:?}");
        drop(client);
        // Nothing of the dead is kept: each life takes what the first restarted one took, a page cache's worth aside.
        // Page caches that grew with what it asked for are empty once their CPU has idled for a second.
        let began = Instant::now();
        loop {
            let (_, bytes, _) = standing(&guest, "data-plane");
            let first = *used.get_or_insert(bytes);
            if bytes.abs_diff(first) < 256 << 10 {
                break;
            }
            let is_late = began.elapsed() > LIMIT;
            assert!(!is_late, "after {means}: {first} then {bytes} bytes");
            thread::sleep(Duration::from_millis(1500));
        }
    });
    drop(connect(guest.redis_port));
    guest.assert_serves();
}

/// Whoever waits for an answer of a data plane that dies is told so by the next, though it sends nothing more.
pub(crate) fn clients_that_wait_are_told_that_the_data_plane_died() {
    let guest = guest(1);
    // Half a command each, after none or some whole ones: both sides stand where no other does.
    let waiting: Vec<_> = (0..8)
        .map(|number| {
            let mut stream = connect(guest.redis_port);
            stream
                .set_read_timeout(Some(LIMIT))
                .expect("a timeout above 0");
            for _ in 0..number {
                stream.write_all(b"PING\r\n").expect("it is open");
                stream.read_exact(&mut [0; 7]).expect("+PONG");
            }
            stream.write_all(b"*2\r\n$3\r\nGE").expect("it is open");
            stream
        })
        .collect();
    guest.assert_serves();
    let (before, ..) = standing(&guest, "data-plane");
    kill(&guest, "data-plane", "panic");
    let began = Instant::now();
    for mut stream in waiting {
        // An end or a reset, as whoever stands in between passes it on; no answer, and no silence.
        match stream.read(&mut [0; 64]) {
            Ok(0) => {}
            Ok(_) => panic!("half a command was answered"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    println!("  all were told within {:?}", began.elapsed());
    assert!(standing(&guest, "data-plane").0 > before);
    guest.assert_serves();
}

pub(crate) fn keys_outlive_the_data_plane_on_one_cpu() {
    the_keys_outlive_the_data_plane(1, TIMES);
}

pub(crate) fn keys_outlive_the_data_plane_on_two_cpus() {
    the_keys_outlive_the_data_plane(2, TIMES);
}

pub(crate) fn keys_outlive_the_data_plane_on_eight_cpus() {
    the_keys_outlive_the_data_plane(8, TIMES_BRIEFLY);
}

/// One that does not answer the supervisor is down by the metrics, and started again after some checks.
pub(crate) fn a_subsystem_that_answers_no_health_check_is_started_again() {
    let guest = guest(1);
    let mut client = guest.redis();
    assert_eq!(client.command(&["SET", "k", "v"]), Reply::ok());
    let began = Instant::now();
    for name in ["http", "data-plane"] {
        kill(&guest, name, "deaf");
        let down = format!("{name}: health check failed: it does not answer");
        guest.await_serial(&down, 3);
        while {
            let (restarts, _, is_running) = standing(&guest, name);
            restarts == 0 || !is_running
        } {
            assert!(began.elapsed() < LIMIT, "{name} is not started again");
            thread::sleep(Duration::from_millis(10));
        }
    }
    // HTTP's end did not touch the connection, the data plane's did.
    let mut client = Client::connect(guest.redis_port);
    assert_eq!(client.command(&["GET", "k"]), Reply::bulk("v"));
    assert_eq!(guest.serial().matches("nos: crashed").count(), 0);
}

/// Has the diagnosis panic until the machine starts again.
pub(super) fn kill_until_it_starts_again(guest: &Guest) {
    let began = Instant::now();
    while guest.serial().matches("nos: ready").count() < 2 {
        assert!(began.elapsed() < 6 * LIMIT, "{}", guest.serial());
        let request = order("diagnosis", "panic", 1);
        exchange(guest.http_port, request.as_bytes(), PATIENCE);
    }
}

/// A subsystem that dies too often has the machine start again, warm, and the next life says why.
pub(crate) fn too_many_deaths_start_the_machine_again_and_it_says_why() {
    let guest = guest(1);
    kill_until_it_starts_again(&guest);
    // Once by the life that ends, once by the next.
    guest.await_serial("warm reboot: diagnosis died too often: panicked at ", 2);
    let page = get(guest.http_port, "/subsystems").body;
    let said = r#""last_life":{"state":"ended","life":1,"reason":"warm reboot: diagnosis died too often: panicked at "#;
    assert!(page.contains(said), "{page}");
    guest.assert_serves();
}

/// Waits until a message of that topic has been delivered: work done, of which this is told, comes by the requests.
pub(super) fn await_message(guest: &Guest, topic: &str) {
    let began = Instant::now();
    let mailbox = format!("\"topic\":\"{topic}\",\"depth\":0,\"delivered\":");
    loop {
        let page = get(guest.http_port, "/subsystems").body;
        let (_, rest) = page.split_once(&mailbox).unwrap_or_default();
        if rest.starts_with(|digit| ('1'..='9').contains(&digit)) {
            return;
        }
        assert!(began.elapsed() < LIMIT, "no message of {topic}: {page}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// What is known of a death is kept: the reason, the registers, and a backtrace into the image.
pub(crate) fn the_report_of_a_death_is_shown() {
    let guest = guest(1);
    await_message(&guest, "diagnosis");
    kill(&guest, "diagnosis", "wild-read");
    guest.await_serial("nos: subsystem diagnosis died", 1);
    let page = get(guest.http_port, "/subsystems").body;
    let (_, fault) = page.split_once("\"last_fault\":").expect("it died");
    for part in [
        "\"cause\":\"abort\"",
        "\"reason\":\"data abort, translation fault at level ",
        " by a read at 0x10, esr 0x9",
        "\"exception\":{\"esr\":\"0x9",
        "\"far\":\"0x10\"}",
        "\"registers\":{\"x0\":\"0x",
        "\"spsr\":\"0x",
        "\"last_messages\":[{\"topic\":\"diagnosis\",\"sender\":\"data-plane\",\"number\":",
    ] {
        assert!(fault.contains(part), "no {part} in {fault}");
    }
    let (_, pc) = fault.split_once("\"pc\":\"").expect("a register");
    let pc = pc.split('"').next().expect("a number");
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("hex");
    let (_, trace) = fault.split_once("\"backtrace\":[").expect("a member");
    let trace = trace.split(']').next().expect("its end");
    let trace: Vec<u64> = trace
        .split(',')
        .map(|part| number(part.trim_matches('"')))
        .collect();
    assert!(trace.len() > 2, "{trace:x?}");
    // The image is loaded where it was linked or moved as a whole.
    assert_eq!(trace[0] & 0xfff, number(pc) & 0xfff);
    let spread = trace.iter().max().unwrap_or(&0) - trace.iter().min().unwrap_or(&0);
    assert!(spread < 4 << 20, "{trace:x?}");
    let (_, functions) = fault.split_once("\"functions\":[").expect("a member");
    let functions: Vec<&str> = functions
        .split(']')
        .next()
        .expect("its end")
        .split(',')
        .collect();
    assert_eq!(functions.len(), trace.len(), "{functions:?}");
    let is_told = |part: &str| functions.iter().any(|function| function.contains(part));
    // Where it died, how it got there, and how far into each of them.
    for part in ["DiagnosisBody", "Ward::enter+0x", "\"fiber_begin+0x"] {
        assert!(is_told(part), "no {part} in {functions:?}");
    }
}
