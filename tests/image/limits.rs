//! What clients may take, and that it ends there: for themselves, and for nobody else.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use crate::memory::wait_for_ease;
use crate::support::guest::{Guest, connect};
use crate::support::http::{get, try_get};
use crate::support::resp::{Client, Reply, encode};

/// What the machine of the limits is booted with.
pub(crate) const ARGUMENTS: &str = "nos.maxclients=50 nos.maxmemory=8mb nos.maxmemory-policy=noeviction \
    nos.client-query-buffer-limit=1mb nos.proto-max-bulk-len=3mb";

fn pong() -> Reply {
    Reply::Simple("PONG".into())
}

pub(crate) fn a_client_beyond_the_limit_is_told_so_and_the_others_stay(guest: &Guest) {
    // Those of the tests before may still be closing.
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut clients = Vec::new();
    while clients.len() < 50 {
        let mut client = guest.redis();
        match client.command(&["PING"]) {
            Reply::Simple(_) => clients.push(client),
            _ => assert!(Instant::now() < deadline, "{} clients fit", clients.len()),
        }
    }
    for _ in 0..5 {
        let mut refused = guest.redis();
        let told = Reply::Error("ERR max number of clients reached".into());
        assert_eq!(refused.reply(), told);
        assert!(refused.try_reply().is_err(), "and it is closed");
    }
    for client in &mut clients {
        assert_eq!(client.command(&["PING"]), pong());
    }
    // Metrics are not clients of the cache.
    assert_eq!(get(guest.http_port, "/healthz").status, 200);
    drop(clients);
    let deadline = Instant::now() + Duration::from_secs(10);
    while guest.redis().command(&["PING"]) != pong() {
        assert!(Instant::now() < deadline, "closed clients still count");
    }
}

pub(crate) fn a_full_dataset_without_eviction_refuses_writes_and_serves_the_rest(guest: &Guest) {
    let mut client = guest.redis();
    let value = "x".repeat(4_096);
    let mut written = 0;
    let refusal = loop {
        match client.command(&["SET", &format!("full:{written}"), &value]) {
            Reply::Simple(_) => written += 1,
            refusal => break refusal,
        }
        assert!(written < 4_000, "16 MB fitted into 8 MB");
    };
    println!("  {written} values of 4 KiB, then {refusal:?}");
    let told = "OOM command not allowed when used memory > 'maxmemory'.";
    assert_eq!(refusal, Reply::Error(told.into()));
    assert!(written > 1_000, "8 MB hold more than {written} values");
    assert_eq!(client.command(&["DBSIZE"]), Reply::Integer(written));
    for n in 0..written {
        assert_eq!(
            client.command(&["STRLEN", &format!("full:{n}")]),
            Reply::Integer(4_096)
        );
    }
    let unlinked: Vec<String> = (0..100).map(|n| format!("full:{n}")).collect();
    let mut command = vec!["UNLINK".to_string()];
    command.extend(unlinked);
    assert_eq!(client.command(&command), Reply::Integer(100));
    assert_eq!(client.command(&["SET", "full:0", &value]), Reply::ok());
    assert_eq!(client.command(&["FLUSHALL"]), Reply::ok());
}

pub(crate) fn a_request_beyond_the_query_buffer_limit_ends_its_client_only(guest: &Guest) {
    let mut witness = guest.redis();
    for announced in [2_000_000, 4_000_000] {
        let mut greedy = connect(guest.redis_port);
        let head = format!("*2\r\n$4\r\nECHO\r\n${announced}\r\n");
        greedy.write_all(head.as_bytes()).expect("it is taken");
        let mut sent = 0;
        while sent < 3_900_000 && greedy.write_all(&[b'x'; 50_000]).is_ok() {
            sent += 50_000;
        }
        assert!(is_ended(&mut greedy), "{announced} bytes are not refused");
        assert_eq!(witness.command(&["PING"]), pong());
    }
}

/// Whether the server has closed, with a reply before that or without.
fn is_ended(stream: &mut std::net::TcpStream) -> bool {
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(fault) => fault.kind() != ErrorKind::WouldBlock,
    }
}

pub(crate) fn a_client_that_does_not_read_holds_nobody_up_and_gets_all_in_the_end(guest: &Guest) {
    const REPLIES: usize = 100;
    let mut witness = guest.redis();
    let value = vec![b'v'; 1_000_000];
    assert_eq!(
        witness.command(&[b"SET", &b"large"[..], &value]),
        Reply::ok()
    );
    let mut slow: Vec<Client> = (0..5).map(|_| guest.redis()).collect();
    for client in &mut slow {
        client.send(&encode(&["GET", "large"]).repeat(REPLIES));
    }
    let start = Instant::now();
    for n in 0..200 {
        let text = n.to_string();
        assert_eq!(witness.command(&["ECHO", &text]), Reply::bulk(&text));
    }
    println!(
        "  200 requests beside 5 that do not read: {:?}",
        start.elapsed()
    );
    // Half of them go away with all that unread.
    slow.truncate(2);
    for client in &mut slow {
        for _ in 0..REPLIES {
            assert!(
                client.reply() == Reply::Bulk(value.clone()),
                "whole and in order"
            );
        }
    }
    assert_eq!(witness.command(&["FLUSHALL"]), Reply::ok());
}

pub(crate) fn memory_taken_by_clients_is_given_back_and_the_image_lives(guest: &Guest) {
    let mut witness = guest.redis();
    for round in 0..3 {
        let mut greedy = Vec::new();
        for n in 0..60 {
            let mut stream = connect(guest.redis_port);
            let head = format!("*3\r\n$3\r\nSET\r\n$8\r\ngreedy{n:02}\r\n$1000000\r\n");
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.set_write_timeout(Some(Duration::from_millis(500)));
            // 60 times 800 KB do not fit into 16M: some are dropped, none of them by a crash.
            let _ = stream.write_all(&[b'x'; 800_000]);
            greedy.push(stream);
            assert_eq!(
                witness.command(&["PING"]),
                pong(),
                "round {round}, client {n}"
            );
        }
        // Requests that take the data plane's half of the reserve leave a new connection to be reset: then there is no
        // answer, and never half a one.
        let scraped = match try_get(guest.http_port, "/metrics") {
            Some(scrape) => {
                assert_eq!(scrape.status, 200, "round {round}");
                "scraped"
            }
            None => "reset",
        };
        println!("  round {round}: {scraped} while they hold it");
        drop(greedy);
        wait_for_ease(guest);
        assert_eq!(get(guest.http_port, "/metrics").status, 200);
    }
    // Until those are gone, a key may have to give way to them.
    let value = "x".repeat(100_000);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        wait_for_ease(guest);
        if witness.command(&["SET", "after", &value]) == Reply::ok()
            && witness.command(&["GET", "after"]) == Reply::bulk(&value)
        {
            break;
        }
        assert!(Instant::now() < deadline, "no key is kept after it");
    }
    witness.command(&["FLUSHALL"]);
}

pub(crate) fn a_thousand_idle_connections_leave_others_served(guest: &Guest) {
    let timed = |what: &str| {
        let mut client = guest.redis();
        let start = Instant::now();
        for n in 0..500 {
            let text = n.to_string();
            assert_eq!(client.command(&["ECHO", &text]), Reply::bulk(&text));
        }
        println!("  500 requests {what}: {:?}", start.elapsed());
    };
    timed("alone");
    let mut idle: Vec<Client> = (0..1_000).map(|_| guest.redis()).collect();
    for client in &mut idle {
        assert_eq!(client.command(&["PING"]), pong());
    }
    timed("beside 1,000 idle connections");
    let connected = get(guest.http_port, "/metrics").body;
    let connected = connected
        .lines()
        .find_map(|line| line.strip_prefix("nos_kv_clients_connected "))
        .and_then(|count| count.parse::<u32>().ok());
    assert!(connected >= Some(1_000), "{connected:?} clients connected");
    for client in &mut idle {
        assert_eq!(client.command(&["PING"]), pong(), "none was forgotten");
    }
}
