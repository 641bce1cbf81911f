//! The real clients, run as their users run them.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use super::guest::root;

/// A client that takes longer hangs: under emulation the slowest takes seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// A program that `scripts/setup.sh test` put beside the build, or else from PATH.
pub(crate) fn tool(name: &str) -> Command {
    let own = test_tools().join("bin").join(name);
    Command::new(if own.exists() { own } else { name.into() })
}

/// Python with the pinned client library.
pub(crate) fn python(script: &str) -> Command {
    let mut command = Command::new(test_tools().join("venv/bin/python"));
    command.arg(root().join("tests/image").join(script));
    command
}

/// Node with the pinned client library.
pub(crate) fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.env("NODE_PATH", test_tools().join("node_modules"));
    command.arg(root().join("tests/image").join(script));
    command
}

fn test_tools() -> PathBuf {
    root().join("target/test-tools")
}

/// A program of the pinned toolchain's own LLVM.
pub(crate) fn llvm(name: &str) -> Command {
    let mut asked = Command::new("rustc");
    let sysroot = succeed(asked.current_dir(root()).args(["--print", "sysroot"]), b"");
    let libraries = format!("{}/lib/rustlib", sysroot.trim());
    let hosts = std::fs::read_dir(&libraries).expect("the toolchain's directory can be listed");
    let program = |host: std::io::Result<std::fs::DirEntry>| {
        let host = host.expect("it can be listed").path();
        host.join(format!("bin/llvm-{name}"))
    };
    let program = hosts.map(program).find(|program| program.exists());
    Command::new(program.expect("scripts/setup.sh installs the component llvm-tools"))
}

/// Runs a client to its end with `input`, and panics with all it said if it fails or hangs.
#[track_caller]
pub(crate) fn succeed(command: &mut Command, input: &[u8]) -> String {
    let output = run(command, input);
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(
        output.status.success(),
        "{command:?} ended with {}:\n{said}",
        output.status
    );
    said
}

fn run(command: &mut Command, input: &[u8]) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
    let mut stdin = child.stdin.take().expect("piped above");
    let input = input.to_vec();
    // From a thread of its own: a client that writes before it reads would wait for us for ever.
    std::thread::spawn(move || drop(stdin.write_all(&input)));
    let id = child.id();
    let (done, finished) = channel();
    std::thread::spawn(move || drop(done.send(child.wait_with_output())));
    match finished.recv_timeout(LIMIT) {
        Ok(output) => output.expect("the client can be waited for"),
        Err(_) => {
            let _ = Command::new("kill")
                .args(["-KILL", &id.to_string()])
                .status();
            let said = finished
                .recv()
                .ok()
                .and_then(Result::ok)
                .map(|output| output.stdout)
                .unwrap_or_default();
            panic!(
                "{command:?} took more than {LIMIT:?}; it said:\n{}",
                String::from_utf8_lossy(&said)
            );
        }
    }
}
