//! The clients that people use, as they come.

use std::time::{Duration, Instant};

use crate::support::guest::Guest;
use crate::support::random::Random;
use crate::support::resp::{Client, Reply, encode};
use crate::support::tools::{node, python, succeed, tool};

pub(crate) fn redis_cli_sets_gets_counts_and_expires(guest: &Guest) {
    let session = "\
        flushall\nset greeting hello\nget greeting\nget nothing\n\
        set greeting other nx\nset greeting there xx get\nget greeting\n\
        set short lived px 300\nset long lived ex 100\nttl long\nttl greeting\nttl nothing\n\
        expire greeting 50\nttl greeting\nincr n\nincr n\nincr greeting\n\
        mset a 1 b 2\nmget a b c\nexists a b c\ndel a b c\ndbsize\nping\nping again\n\
        frobnicate\nget\n";
    let said = succeed(
        tool("redis-cli").args(["-p", &guest.redis_port.to_string()]),
        session.as_bytes(),
    );
    let expected = "\
        OK\nOK\nhello\n\n\n\
        hello\nthere\n\
        OK\nOK\n100\n-1\n-2\n\
        1\n50\n1\n2\nERR value is not an integer or out of range\n\n\
        OK\n1\n2\n\n2\n2\n4\nPONG\nagain\n\
        ERR unknown command 'frobnicate', with args beginning with: \n\n\
        ERR wrong number of arguments for 'get' command\n\n";
    assert_eq!(said, expected);

    let mut client = guest.redis();
    assert_eq!(client.command(&["GET", "long"]), Reply::bulk("lived"));
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(
        client.command(&["GET", "short"]),
        Reply::Nil,
        "it lived 300 ms"
    );
    assert_eq!(client.command(&["EXISTS", "short"]), Reply::Integer(0));

    let port = guest.redis_port.to_string();
    let scanned = succeed(tool("redis-cli").args(["-p", &port, "--scan"]), b"");
    let mut keys: Vec<&str> = scanned.lines().collect();
    keys.sort_unstable();
    assert_eq!(keys, ["greeting", "long", "n"]);
    let info = succeed(tool("redis-cli").args(["-p", &port, "info"]), b"");
    for field in [
        "redis_version:",
        "used_memory:",
        "maxmemory:",
        "connected_clients:",
        "db0:keys=",
    ] {
        assert!(info.contains(field), "INFO has no {field}:\n{info}");
    }
    let limit = succeed(
        tool("redis-cli").args(["-p", &port, "config", "get", "maxmemory"]),
        b"",
    );
    assert!(limit.starts_with("maxmemory\n"), "{limit}");
}

pub(crate) fn redis_benchmark_runs_as_it_comes(guest: &Guest) {
    let port = guest.redis_port.to_string();
    for (pipeline, requests) in [("16", "50000"), ("1", "10000")] {
        let mut command = tool("redis-benchmark");
        command.args([
            "-p",
            &port,
            "-t",
            "ping,set,get,incr,mset",
            "-c",
            "50",
            "-P",
            pipeline,
        ]);
        let said = succeed(command.args(["-n", requests, "-q"]), b"");
        assert!(
            !said.contains("WARNING") && !said.contains("rror"),
            "{said}"
        );
        for test in [
            "PING_INLINE",
            "PING_MBULK",
            "SET",
            "GET",
            "INCR",
            "MSET (10 keys)",
        ] {
            assert!(
                said.contains(&format!("{test}: ")),
                "no figure for {test}:\n{said}"
            );
        }
        let rates = said
            .split('\r')
            .flat_map(str::lines)
            .filter(|line| line.contains("per second"));
        for rate in rates {
            println!("  pipeline {pipeline}: {}", rate.trim());
        }
    }
    let count = guest.redis().command(&["GET", "counter:__rand_int__"]);
    assert_eq!(count, Reply::bulk("60000"), "each INCR counted once");
}

pub(crate) fn redis_py_works_as_it_comes(guest: &Guest) {
    succeed(python("redis_py.py").arg(guest.redis_port.to_string()), b"");
}

pub(crate) fn ioredis_works_as_it_comes(guest: &Guest) {
    succeed(node("ioredis.js").arg(guest.redis_port.to_string()), b"");
}

pub(crate) fn values_of_every_size_and_byte_come_back(guest: &Guest) {
    let mut client = guest.redis();
    let mut random = Random::seeded(0x5eed);
    let every_byte: Vec<u8> = (0..=255).collect();
    assert_eq!(
        client.command(&[b"SET", &every_byte[..], &every_byte]),
        Reply::ok()
    );
    assert_eq!(
        client.command(&[b"GET", &every_byte[..]]),
        Reply::Bulk(every_byte)
    );
    for size in [
        0, 1, 2, 1_399, 1_460, 1_461, 4_096, 65_535, 65_536, 1_000_000, 4_000_000,
    ] {
        let value = random.bytes(size);
        assert_eq!(
            client.command(&[b"SET", &b"big"[..], &value]),
            Reply::ok(),
            "{size} bytes"
        );
        assert!(
            client.command(&["GET", "big"]) == Reply::Bulk(value),
            "{size} bytes came back otherwise"
        );
    }
    client.command(&["FLUSHALL"]);

    // Pipelined: a reply for each, in order.
    let commands: Vec<u8> = (0..1_000)
        .flat_map(|n| encode(&["ECHO", &format!("{n}")]))
        .collect();
    client.send(&commands);
    for n in 0..1_000 {
        assert_eq!(client.reply(), Reply::bulk(&n.to_string()));
    }
}

/// libslirp's backlog of 1 would make most of these wait for seconds; what run.sh chooses must not.
pub(crate) fn many_connections_at_once_do_not_wait_for_each_other(guest: &Guest) {
    let start = Instant::now();
    let mut clients: Vec<Client> = std::thread::scope(|scope| {
        let connect = || {
            let mut client = guest.redis();
            assert_eq!(client.command(&["PING"]), Reply::Simple("PONG".into()));
            client
        };
        let threads: Vec<_> = (0..200).map(|_| scope.spawn(connect)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("it is answered"))
            .collect()
    });
    let took = start.elapsed();
    println!("  200 connections at once: {took:?}");
    assert!(
        took < Duration::from_secs(10),
        "200 connections took {took:?}"
    );
    for client in &mut clients {
        assert_eq!(client.command(&["PING"]), Reply::Simple("PONG".into()));
    }
}
