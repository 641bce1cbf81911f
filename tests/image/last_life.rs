//! What a life of the image tells the next: why it ended, once, and nothing that memory lost.
//!
//! Nothing that a peer can do crashes the image: the debugger has to. It also damages what was left, and resets the
//! machine in the way that leaves RAM alone.

use std::thread::sleep;
use std::time::Duration;

use crate::support::debugger::Debugger;
use crate::support::guest::{Guest, READY, free_port};
use crate::support::http::get;

/// The last pages of RAM: with this much of it in one bank, nothing else lies there.
const RAM: (&str, u64) = ("64M", 64 << 20);
const AREA_BYTES: u64 = 20 << 10;
/// The record of how a life ended comes first in it.
const END_BYTES: u64 = 12 << 10;
const AREA: u64 = 0x4000_0000 + RAM.1 - AREA_BYTES;
const MARK: &[u8] = b"nosCRASH";
/// The mark and four words.
const HEADER_BYTES: u64 = 24;
const TOLD: &str = ", the last one, ended: ";
const DAMAGED: &str = "the crash area of the last life is damaged";

/// Looks at a dying image, of some hundredths of a second each.
const POLLS_MAX: usize = 500;

/// Bytes of text in the area: the third word.
fn text_bytes(debugger: &mut Debugger) -> usize {
    let word = debugger.read(AREA + 16, 4);
    u32::from_le_bytes(word.try_into().expect("four bytes")) as usize
}

/// A machine with a debugger's port.
struct Machine {
    guest: Guest,
    port: u16,
    lives: usize,
}

impl Machine {
    fn boot(ending: &str) -> Self {
        let port = free_port();
        let guest = Guest::boot(&[
            ("MEM", RAM.0.into()),
            ("APPEND", format!("nos.on-panic={ending}")),
            ("QEMU_EXTRA", format!("-gdb tcp:127.0.0.1:{port}")),
        ]);
        assert_eq!(guest.serial().matches(TOLD).count(), 0, "of no life before");
        Self {
            guest,
            port,
            lives: 1,
        }
    }

    /// Has the image fetch its next instruction from nowhere.
    fn crash(&self) {
        crate::crashes::crash(&self.guest, self.port);
    }

    /// Crashes the image, and waits until its report is where a reset leaves it.
    fn crash_and_halt(&self) {
        self.crash();
        for _ in 0..POLLS_MAX {
            let mut debugger = Debugger::connect(self.port);
            let is_sealed = text_bytes(&mut debugger) > 0;
            debugger.go_on();
            if is_sealed {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        panic!("no report was sealed:\n{}", self.guest.serial());
    }

    /// Resets the machine after `change` was made to its stopped memory.
    fn reset(&mut self, change: impl FnOnce(&mut Debugger)) {
        let mut debugger = Debugger::connect(self.port);
        change(&mut debugger);
        debugger.reset();
        self.await_next_life();
    }

    #[track_caller]
    fn await_next_life(&mut self) {
        self.lives += 1;
        self.guest.await_serial(READY, self.lives);
    }

    /// What this life tells of the one before, and more.
    fn page(&self) -> String {
        get(self.guest.http_port, "/subsystems").body
    }

    fn count(&self, text: &str) -> usize {
        self.guest.serial().matches(text).count()
    }

    /// How many lives told of the one before, and how many found damage.
    #[track_caller]
    fn assert_told(&self, told: usize, damaged: usize, when: &str) {
        let counts = (self.count(TOLD), self.count(DAMAGED));
        assert_eq!(counts, (told, damaged), "{when}:\n{}", self.guest.serial());
    }
}

pub(crate) fn the_life_after_a_crash_tells_why_the_last_one_ended_and_only_that_one() {
    let mut machine = Machine::boot("reset");
    machine.crash();
    machine.await_next_life();
    machine.assert_told(1, 0, "after a crash");
    let reason = "life 1 of this machine, the last one, ended: crashed: Synchronous exception: instruction abort";
    machine.guest.await_serial(reason, 1);
    let page = machine.page();
    for told in [
        r#""last_life":{"state":"ended","life":1,"reason":"crashed: Synchronous exception: "#,
        "\\nbacktrace, innermost first:\\n",
    ] {
        assert!(page.contains(told), "no {told:?} in {page}");
    }
    machine.reset(|_| {});
    assert!(!machine.page().contains("last_life"), "told twice");
    machine.assert_told(1, 0, "after a reset without a reason");
    machine.crash();
    machine.await_next_life();
    machine.assert_told(2, 0, "after another crash");
    machine
        .guest
        .await_serial("life 3 of this machine, the last one, ended: crashed: ", 1);
}

pub(crate) fn a_halted_machine_tells_why_once_it_is_reset() {
    let mut machine = Machine::boot("halt");
    machine.crash_and_halt();
    machine.reset(|debugger| {
        let length = text_bytes(debugger);
        let text = debugger.read(AREA + HEADER_BYTES, length);
        let text = String::from_utf8_lossy(&text).into_owned();
        for kept in [
            "crashed: ",
            "\n  x0  ",
            "  sp  ",
            "\nbacktrace, innermost first:\n",
        ] {
            assert!(text.contains(kept), "no {kept:?} in {text}");
        }
    });
    machine.assert_told(1, 0, "after a crash and a reset from outside");
}

pub(crate) fn what_memory_lost_of_the_last_life_is_said_and_not_believed() {
    let mut machine = Machine::boot("reset");
    let flip = |debugger: &mut Debugger, at: u64| {
        let [byte] = debugger.read(AREA + at, 1)[..] else {
            panic!("one byte was asked for");
        };
        debugger.write(AREA + at, &[byte ^ 0x10]);
    };
    machine.reset(|debugger| {
        assert_eq!(
            debugger.read(AREA, MARK.len()),
            MARK,
            "the area is elsewhere"
        );
        flip(debugger, 12);
    });
    machine.assert_told(0, 1, "with the header damaged");
    let page = machine.page();
    assert!(
        page.contains(r#""last_life":{"state":"damaged"}"#),
        "{page}"
    );
    machine.reset(|_| {});
    machine.assert_told(0, 1, "damage is told once");
    machine.reset(|debugger| debugger.write(AREA, &[0; 64]));
    machine.assert_told(0, 2, "with the head wiped");
    machine.reset(|debugger| {
        debugger.write(AREA, &[0; 64]);
        debugger.write(AREA + END_BYTES - MARK.len() as u64, &[0; 8]);
    });
    machine.assert_told(0, 2, "with all of it wiped, as by a loss of power");

    let mut halted = Machine::boot("halt");
    halted.crash_and_halt();
    halted.reset(|debugger| flip(debugger, HEADER_BYTES + 20));
    halted.assert_told(0, 1, "with the text damaged");
}
