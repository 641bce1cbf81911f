//! `scripts/setup.sh` on machines that lack something: what it installs, what it says, and that it is done once.
//!
//! The machines are directories of programs: the few that the script is written with, and stand-ins for
//! those that install, which write down how they were called.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ROOT;

/// What the script is written with.
const TOOLS: [&str; 12] = [
    "sh", "dirname", "basename", "mkdir", "mktemp", "rm", "sed", "tr", "tail", "ls", "cat", "env",
];

struct Machine {
    home: PathBuf,
}

impl Machine {
    /// A machine with the pinned Rust toolchain, a C compiler and curl, and with no QEMU.
    fn new(name: &str) -> Self {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("setup-{name}"));
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(home.join("bin")).expect("a directory can be made");
        fs::create_dir_all(home.join("nos/scripts")).expect("a directory can be made");
        for file in ["scripts/setup.sh", "scripts/lib.sh", "rust-toolchain.toml"] {
            fs::copy(Path::new(ROOT).join(file), home.join("nos").join(file)).expect("it is there");
        }
        let machine = Self { home };
        for tool in TOOLS {
            let found = std::env::split_paths(&std::env::var_os("PATH").expect("there is a PATH"))
                .map(|dir| dir.join(tool))
                .find(|file| file.exists());
            let found = found.unwrap_or_else(|| panic!("no {tool}"));
            symlink(found, machine.home.join("bin").join(tool)).expect("a link can be made");
        }
        for program in ["cc", "curl", "rustup", "cargo"] {
            machine.program(program, "exit 0");
        }
        machine.program("uname", "echo Linux");
        machine.program("id", "echo 0");
        machine.toolchain();
        machine
    }

    /// Puts a program there that runs `body`.
    fn program(&self, name: &str, body: &str) {
        let file = self.home.join("bin").join(name);
        fs::write(&file, format!("#!/bin/sh\n{body}\n")).expect("a file can be written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }

    /// A program that writes down its arguments, and puts `installs` there.
    fn installer(&self, name: &str, installs: &str) {
        let (log, bin) = (self.home.join("log"), self.home.join("bin"));
        let body = format!(
            "echo \"{name} $*\" >>{}\ncase $* in *install*) cp_to={}/{installs}; echo '#!/bin/sh' >$cp_to ;; esac\n\
             PATH=/bin:/usr/bin chmod 755 {}/*",
            log.display(),
            bin.display(),
            bin.display()
        );
        self.program(name, &body);
    }

    /// What the script looks for of the toolchain that rust-toolchain.toml names.
    fn toolchain(&self) {
        let text = fs::read_to_string(Path::new(ROOT).join("rust-toolchain.toml"))
            .expect("the toolchain is pinned");
        let channel = text
            .lines()
            .find_map(|line| line.strip_prefix("channel = \""))
            .and_then(|rest| rest.strip_suffix('"'))
            .expect("a channel is named");
        let lib = format!(".rustup/toolchains/{channel}-here/lib/rustlib");
        let dir = self.home.join(&lib);
        fs::create_dir_all(dir.join("aarch64-unknown-none")).expect("a directory can be made");
        for program in [
            format!("../{lib}/here/bin/llvm-objcopy"),
            format!("../.rustup/toolchains/{channel}-here/bin/cargo-clippy"),
            format!("../.rustup/toolchains/{channel}-here/bin/rustfmt"),
        ] {
            let file = self.home.join("bin").join(&program);
            fs::create_dir_all(file.parent().expect("it has one")).expect("it can be made");
            self.program(&program, "");
        }
    }

    /// Runs `setup.sh run`: whether it ended well, and what it said.
    fn set_up(&self) -> (bool, String) {
        let output = Command::new("/bin/sh")
            .arg(self.home.join("nos/scripts/setup.sh"))
            .arg("run")
            .env_clear()
            .env("PATH", self.home.join("bin"))
            .env("HOME", &self.home)
            .stdin(std::process::Stdio::null())
            .output()
            .expect("there is a shell");
        assert!(output.stdout.is_empty(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    }

    /// How the installers were called.
    fn calls(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }
}

#[test]
fn what_is_missing_is_installed_and_told_and_the_second_time_nothing_is() {
    let machine = Machine::new("debian");
    machine.installer("apt-get", "qemu-system-aarch64");
    let (is_good, said) = machine.set_up();
    assert!(is_good, "{said}");
    assert_eq!(
        said,
        "setup: installing: qemu-system-arm (apt-get install)\n"
    );
    let calls = machine.calls();
    assert!(
        calls.starts_with("apt-get update") && calls.contains("qemu-system-arm"),
        "{calls}"
    );
    // As with the network unplugged: nothing that could ask it is run.
    assert_eq!(machine.set_up(), (true, String::new()));
    assert_eq!(machine.calls(), calls);
}

#[test]
fn who_may_not_install_is_told_what_to_type() {
    let machine = Machine::new("unprivileged");
    machine.installer("apt-get", "qemu-system-aarch64");
    machine.program("id", "echo 1000");
    let told = "setup: error: not there, and you may not install it; type this as root, then try again:\n    \
                apt-get update && apt-get install -y qemu-system-arm\n";
    assert_eq!(machine.set_up(), (false, told.into()));
    // A sudo that would have to ask, where there is nobody to be asked.
    machine.program("sudo", "exit 1");
    assert_eq!(machine.set_up(), (false, told.into()));
    assert_eq!(machine.calls(), "", "nothing was tried");
    machine.program("sudo", "[ \"$1\" = -n ] || exec \"$@\"");
    let (is_good, said) = machine.set_up();
    assert!(is_good && machine.calls().contains("install"), "{said}");
}

#[test]
fn an_installation_that_fails_names_the_command() {
    let machine = Machine::new("broken");
    machine.program("apt-get", "echo 'E: no such mirror'; exit 100");
    let (is_good, said) = machine.set_up();
    assert!(!is_good);
    assert!(
        said.contains("E: no such mirror\n")
            && said.ends_with("    apt-get update && apt-get install -y qemu-system-arm\n"),
        "{said}"
    );
}

#[test]
fn on_macos_it_is_brew_that_installs() {
    let machine = Machine::new("macos");
    machine.program("uname", "echo Darwin");
    machine.program("id", "echo 501");
    let (is_good, said) = machine.set_up();
    assert!(!is_good);
    assert_eq!(
        said,
        "setup: error: needs Homebrew (https://brew.sh), then type: brew install qemu\n"
    );
    machine.installer("brew", "qemu-system-aarch64");
    assert_eq!(
        machine.set_up(),
        (true, "setup: installing: brew install qemu\n".into())
    );
    assert_eq!(machine.calls(), "brew install --quiet qemu\n");
    assert_eq!(machine.set_up(), (true, String::new()));
}
