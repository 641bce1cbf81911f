//! A test process that is killed must not leave its QEMU behind.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::watcher::Watcher;
use crate::{End, ROOT, guest};

/// Tells the process to be killed which ELF to boot, and which ports are its own.
const ELF: &str = "NOS_HELD_ELF";
/// What it says once QEMU is there.
const HELD: &str = "held";
/// For QEMU to come up, and to end.
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_test_process_that_is_killed_leaves_no_qemu_behind() {
    for signal in ["INT", "TERM", "KILL"] {
        let name = format!("held-by-{signal}");
        let [redis_port, http_port] = [free_port(), free_port()];
        let mut held = Command::new(std::env::current_exe().expect("we run from a file"))
            .args(["--ignored", "--exact", "--nocapture"])
            .arg("orphans::is_killed_while_it_holds_a_guest")
            .env(ELF, guest(&name, "", End::Hang))
            .env("REDIS_PORT", redis_port.to_string())
            .env("HTTP_PORT", http_port.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("we can run ourselves");
        let said = BufReader::new(held.stdout.take().expect("piped above"));
        let is_up = said
            .lines()
            .map_while(Result::ok)
            .any(|line| line.contains(HELD));
        assert!(is_up && listens(redis_port), "it never held a guest");

        let killed = Command::new("kill")
            .args(["-s", signal, &held.id().to_string()])
            .status();
        assert!(killed.is_ok_and(|status| status.success()));
        let status = held.wait().expect("it is our child");
        assert!(status.code().is_none(), "{signal}: {status}");
        assert!(
            becomes(|| !listens(redis_port)),
            "{signal}: QEMU is still there"
        );
    }
}

/// Not a test: what the test above starts and kills.
#[test]
#[ignore = "started by the test above"]
fn is_killed_while_it_holds_a_guest() {
    let elf = std::env::var_os(ELF).expect("the test above names it");
    let port = std::env::var("REDIS_PORT").map(|port| port.parse());
    let port = port
        .ok()
        .and_then(Result::ok)
        .expect("the test above names it");
    let mut command = Command::new(Path::new(ROOT).join("scripts/run.sh"));
    command
        .env("IMAGE", elf)
        .env("ACCEL", "tcg")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let (_qemu, _watcher) = Watcher::start(&mut command);
    assert!(becomes(|| listens(port)), "QEMU did not come up");
    println!("{HELD}");
    sleep(LIMIT);
    panic!("nobody killed it");
}

/// QEMU holds the forwarded ports as long as it lives.
fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn becomes(condition: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        if condition() {
            return true;
        }
        sleep(Duration::from_millis(20));
    }
    false
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}
