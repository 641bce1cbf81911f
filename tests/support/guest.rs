//! A guest under QEMU, booted by `scripts/run.sh` as `make run` does, on free ports of 127.0.0.1.
//!
//! It is killed when dropped, and ends when the test process does. Its serial line is kept, and shown when a test
//! fails.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::resp::{Client, Reply};
use super::watcher::Watcher;

/// What the image says on the serial line when both ports answer.
pub(crate) const READY: &str = "nos: ready";
/// From QEMU's start to [`READY`]: a boot takes under a second; the rest is a busy host.
const BOOT_LIMIT: Duration = Duration::from_secs(60);

/// The settings of `make run`, by their names there.
pub(crate) type Setting = (&'static str, String);

pub(crate) struct Guest {
    qemu: Child,
    _watcher: Watcher,
    serial: Arc<Mutex<Vec<u8>>>,
    pub(crate) redis_port: u16,
    pub(crate) http_port: u16,
}

impl Guest {
    /// Starts QEMU and returns at once.
    pub(crate) fn start(settings: &[Setting]) -> Self {
        let mut command = Command::new(root().join("scripts/run.sh"));
        command.env("IMAGE", image("nos.img"));
        Self::spawn(command, settings, Stdio::null())
    }

    /// Starts what starts QEMU.
    pub(crate) fn spawn(mut command: Command, settings: &[Setting], input: Stdio) -> Self {
        let (redis_port, http_port) = (free_port(), free_port());
        // The caller's own `make test SMP=4` must not leak into a test that chose otherwise.
        for name in [
            "SMP",
            "MEM",
            "NET",
            "NIC",
            "DISK",
            "APPEND",
            "APP",
            "FEATURES",
            "WITHOUT",
            "PROFILE",
            "CPU",
            "ACCEL",
            "LINE_TABLE",
            "QEMU_EXTRA",
        ] {
            command.env_remove(name);
        }
        // Tests compare what they see with TCG's behaviour, wherever they run.
        command
            .env("ACCEL", "tcg")
            .env("REDIS_PORT", redis_port.to_string())
            .env("HTTP_PORT", http_port.to_string());
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        command
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let (mut qemu, watcher) = Watcher::start(&mut command);
        let serial = Arc::new(Mutex::new(Vec::new()));
        collect(
            qemu.stdout.take().expect("piped above"),
            Arc::clone(&serial),
        );
        collect(
            qemu.stderr.take().expect("piped above"),
            Arc::clone(&serial),
        );
        Self {
            qemu,
            _watcher: watcher,
            serial,
            redis_port,
            http_port,
        }
    }

    /// Starts QEMU and waits until the image is ready.
    #[track_caller]
    pub(crate) fn boot(settings: &[Setting]) -> Self {
        let mut guest = Self::start(settings);
        if let Some(status) = guest.ready_or_ended() {
            panic!(
                "the image ended with {status}; its serial line:\n{}",
                guest.serial()
            );
        }
        guest
    }

    /// Waits until the image is ready; if QEMU ends before, how.
    ///
    /// Panics if it does neither.
    #[track_caller]
    pub(crate) fn ready_or_ended(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + BOOT_LIMIT;
        loop {
            if self.serial().contains(READY) {
                return None;
            }
            if let Some(status) = self.wait_for_end(Duration::from_millis(10)) {
                // What it said last is still under way to us.
                sleep(Duration::from_millis(100));
                return Some(status);
            }
            assert!(
                Instant::now() < deadline,
                "the image was not ready after {BOOT_LIMIT:?}; its serial line:\n{}",
                self.serial()
            );
        }
    }

    /// The serial line so far, QEMU's own complaints included.
    pub(crate) fn serial(&self) -> String {
        let bytes = self.serial.lock().expect("no reader panics");
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }

    /// Waits until the serial line holds `text`.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, text: &str) {
        self.await_serial(text, 1);
    }

    /// Types on the serial line of a guest that was spawned with one.
    pub(crate) fn type_in(&mut self, keys: &[u8]) {
        let input = self.qemu.stdin.as_mut().expect("it was spawned with input");
        input.write_all(keys).expect("QEMU reads what is typed");
    }

    /// Seconds of CPU that QEMU has taken; `None` where the system has no /proc.
    pub(crate) fn cpu_seconds(&self) -> Option<f64> {
        // Fields 14 and 15, counted after the name in brackets, in ticks of 10 ms.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.qemu.id())).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
        Some((ticks(11)? + ticks(12)?) / 100.0)
    }

    /// Waits until the serial line holds `text` that many times.
    #[track_caller]
    pub(crate) fn await_serial(&self, text: &str, times: usize) {
        let deadline = Instant::now() + BOOT_LIMIT;
        while self.serial().matches(text).count() < times {
            assert!(
                Instant::now() < deadline,
                "no {text:?} within {BOOT_LIMIT:?}; the serial line:\n{}",
                self.serial()
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// Waits until QEMU has ended; `None` if it has not by then.
    pub(crate) fn wait_for_end(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.qemu.try_wait().expect("QEMU is our child") {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// A connection to the cache.
    pub(crate) fn redis(&self) -> Client {
        Client::connect(self.redis_port)
    }

    /// Panics unless the image serves a fresh client on both ports and has logged no crash.
    #[track_caller]
    pub(crate) fn assert_serves(&self) {
        assert_eq!(
            self.redis().command(&["PING"]),
            Reply::Simple("PONG".into())
        );
        assert_eq!(super::http::get(self.http_port, "/healthz").status, 200);
        assert!(
            !self.serial().contains("nos: crashed"),
            "a crash was logged"
        );
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Under make, QEMU is not our child: it ends by its keys.
        if let Some(input) = self.qemu.stdin.as_mut() {
            let _ = input.write_all(b"\x01x");
            let _ = self.wait_for_end(Duration::from_secs(5));
        }
        // run.sh has become QEMU, so this ends QEMU itself.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the tests' own, in cargo's scratch directory.
pub(crate) fn scratch(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// A file that `scripts/image.sh` made.
pub(crate) fn image(name: &str) -> String {
    // cargo's scratch directory of integration tests lies in the target directory.
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = target.parent().expect("it has a parent").join(name);
    // A stand-in, to work on the tests without building an image.
    std::env::var("NOS_TEST_IMAGE").unwrap_or_else(|_| file.to_string_lossy().into_owned())
}

/// A port of 127.0.0.1 that nobody listens on. Bound once and let go: nobody else picks it in between
/// but by bad luck, and then run.sh names it.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

/// A plain TCP connection to a port of the guest.
pub(crate) fn connect(port: u16) -> TcpStream {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let stream =
        TcpStream::connect_timeout(&address, Duration::from_secs(10)).expect("the port accepts");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout above 0");
    stream
        .set_write_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout above 0");
    stream.set_nodelay(true).expect("a TCP option");
    stream
}

fn collect(mut from: impl Read + Send + 'static, into: Arc<Mutex<Vec<u8>>>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            into.lock()
                .expect("no reader panics")
                .extend_from_slice(&buffer[..n]);
        }
    });
}
