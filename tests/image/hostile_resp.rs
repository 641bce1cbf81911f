//! Peers of port 6379 that misbehave: each gets an error or is closed, and nobody else notices.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::support::guest::{Guest, connect};
use crate::support::random::Random;
use crate::support::resp::{Client, Reply, encode};

/// A session with every form a request takes.
fn session() -> Vec<u8> {
    let mut bytes = b"PING\r\nSET inline value\r\n".to_vec();
    bytes.extend(encode(&["SET", "key", "a value with \r\n in it"]));
    bytes.extend(encode(&["MSET", "a", "1", "b", ""]));
    bytes.extend(encode(&["GET", "key"]));
    bytes
}

pub(crate) fn every_prefix_of_a_session_leaves_others_served(guest: &Guest) {
    let bytes = session();
    let mut witness = guest.redis();
    for length in 0..bytes.len() {
        let mut stream = connect(guest.redis_port);
        stream
            .write_all(&bytes[..length])
            .expect("a prefix can be sent");
        if length % 2 == 0 {
            stream
                .shutdown(Shutdown::Write)
                .expect("our half can be closed");
        }
        drop(stream);
        assert_eq!(
            witness.command(&["PING"]),
            Reply::Simple("PONG".into()),
            "after {length} bytes"
        );
    }
}

pub(crate) fn a_session_in_single_bytes_is_answered(guest: &Guest) {
    let mut client = guest.redis();
    for byte in session() {
        client.send(&[byte]);
    }
    assert_eq!(client.reply(), Reply::Simple("PONG".into()));
    for _ in 0..3 {
        assert_eq!(client.reply(), Reply::ok());
    }
    assert_eq!(client.reply(), Reply::bulk("a value with \r\n in it"));
}

pub(crate) fn wrong_lengths_are_answered_with_an_error(guest: &Guest) {
    let mut witness = guest.redis();
    let malformed: [&[u8]; 12] = [
        b"*1\r\n$-5\r\nPING\r\n",
        b"*1\r\n$x\r\nPING\r\n",
        b"*1\r\n:4\r\nPING\r\n",
        b"*2147483648\r\n",
        b"*99999999999999999999\r\n",
        b"*x\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870913\r\n",
        b"*1\r\n$99999999999999999999\r\n",
        b"*1\r\n$4294967296\r\n",
        b"*1\r\n$ 4\r\nPING\r\n",
        b"*1\r\n$4\r\nPINGPONG\r\n*x\r\n",
        b"SET \"unbalanced\r\n",
    ];
    for bytes in malformed {
        let mut client = guest.redis();
        client.send(bytes);
        let text = String::from_utf8_lossy(bytes).into_owned();
        // A command before the fault may still be answered; the fault is the last word, then the end.
        let mut last = None;
        while let Ok(reply) = client.try_reply() {
            last = Some(reply);
        }
        assert!(
            matches!(&last, Some(Reply::Error(error)) if error.starts_with("ERR Protocol error")),
            "{text:?} got {last:?}"
        );
        assert_eq!(
            witness.command(&["PING"]),
            Reply::Simple("PONG".into()),
            "after {text:?}"
        );
    }
    // Nothing is asked with these, and nothing is answered.
    for bytes in [&b"*0\r\n"[..], b"*-1\r\n", b"\r\n", b"   \r\n"] {
        let mut client = guest.redis();
        client.send(bytes);
        assert_eq!(client.command(&["PING"]), Reply::Simple("PONG".into()));
    }
}

pub(crate) fn a_line_without_end_is_refused(guest: &Guest) {
    for start in [&b""[..], b"*", b"*1\r\n$"] {
        let mut client = guest.redis();
        client.send(start);
        // 64 KiB and more without a newline; the server may close before it has all.
        for _ in 0..20 {
            if client.stream().write_all(&[b'1'; 4_096]).is_err() {
                break;
            }
        }
        let reply = client.try_reply();
        let refused = match &reply {
            Ok(Reply::Error(error)) => error.starts_with("ERR Protocol error"),
            Ok(_) => false,
            // Closed with our bytes unread: the reset may overtake the error.
            Err(fault) => fault.kind() != std::io::ErrorKind::WouldBlock,
        };
        assert!(
            refused,
            "{:?}… got {reply:?}",
            String::from_utf8_lossy(start)
        );
    }
}

pub(crate) fn random_bytes_leave_others_served(guest: &Guest) {
    let mut random = Random::seeded(0xbad_5eed);
    let mut witness = guest.redis();
    for round in 0..200 {
        let length = 1 + random.below(4_096);
        let mut bytes = random.bytes(length);
        // Half of them get past the first byte.
        if round % 2 == 0 {
            bytes[0] = b'*';
        }
        let mut stream = connect(guest.redis_port);
        let _ = stream.write_all(&bytes);
        if round % 3 == 0 {
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
            let _ = stream.read(&mut [0; 4_096]);
        }
        drop(stream);
        assert_eq!(
            witness.command(&["PING"]),
            Reply::Simple("PONG".into()),
            "after round {round}"
        );
    }
}

/// Closes with a reset instead of a FIN.
pub(crate) fn reset(stream: TcpStream) {
    // std's set_linger is not stable.
    #[repr(C)]
    struct Linger {
        on: i32,
        seconds: i32,
    }
    unsafe extern "C" {
        fn setsockopt(fd: i32, level: i32, name: i32, value: *const Linger, length: u32) -> i32;
    }
    let (level, name) = if cfg!(target_os = "macos") {
        (0xffff, 0x80)
    } else {
        (1, 13)
    };
    let now = Linger { on: 1, seconds: 0 };
    // SAFETY: the descriptor is open, `stream` owns it; the option's value is a `struct linger` of that length.
    let set = unsafe {
        setsockopt(
            stream.as_raw_fd(),
            level,
            name,
            &now,
            size_of::<Linger>() as u32,
        )
    };
    assert_eq!(set, 0, "SO_LINGER is refused");
}

pub(crate) fn connections_reset_a_hundred_times_leave_others_served(guest: &Guest) {
    let mut witness = guest.redis();
    for round in 0..100 {
        let mut stream = connect(guest.redis_port);
        match round % 4 {
            0 => {}
            1 => stream
                .write_all(b"*2\r\n$3\r\nGE")
                .expect("half a request can be sent"),
            2 => stream
                .write_all(&encode(&["GET", "nothing"]))
                .expect("a request can be sent"),
            _ => stream
                .write_all(&encode(&["PING"]).repeat(1_000))
                .expect("many can be sent"),
        }
        reset(stream);
        assert_eq!(
            witness.command(&["PING"]),
            Reply::Simple("PONG".into()),
            "after {round} resets"
        );
    }
}

pub(crate) fn connections_closed_three_hundred_times_leave_others_served(guest: &Guest) {
    let mut witness = guest.redis();
    for round in 0..300 {
        drop(connect(guest.redis_port));
        if round % 10 == 0 {
            assert_eq!(
                witness.command(&["PING"]),
                Reply::Simple("PONG".into()),
                "after {round}"
            );
        }
    }
}

pub(crate) fn half_a_request_and_silence_hold_nobody_up(guest: &Guest) {
    let mut silent: Vec<Client> = (0..20).map(|_| guest.redis()).collect();
    for client in &mut silent {
        client.send(b"*2\r\n$3\r\nGET\r\n$1000\r\nhalf");
    }
    let mut witness = guest.redis();
    for n in 0..100 {
        assert_eq!(
            witness.command(&["ECHO", &n.to_string()]),
            Reply::bulk(&n.to_string())
        );
    }
    // They are held, not forgotten: the rest of the request is answered.
    for client in &mut silent {
        client.send(&[b'x'; 996]);
        client.send(b"\r\n");
        assert_eq!(client.reply(), Reply::Nil);
    }
}
