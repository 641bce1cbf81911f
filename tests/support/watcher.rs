//! Processes that must not outlive this one, whatever ends it: a test process that is killed drops nothing.
//!
//! Each gets a watcher: a shell whose input ends when this process does, and which then ends what it watches.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// What the watcher runs; its argument is the process group it watches. The signals that a terminal sends to
/// everything must not end it before its time.
const SCRIPT: &str = "trap '' HUP INT TERM; read -r line || kill -s TERM -- \"-$1\"";

/// Watches until it is dropped.
pub(crate) struct Watcher(Child);

impl Watcher {
    /// Starts what must end with this process. It leads a process group of its own, and all of it ends.
    pub(crate) fn start(command: &mut Command) -> (Child, Self) {
        let watched = command.process_group(0).spawn();
        let watched = watched.unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
        let watcher = Command::new("sh")
            .args(["-c", SCRIPT, "sh", &watched.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a shell");
        (watched, Self(watcher))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Before its input ends with `self.0`: nothing is left to watch.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
