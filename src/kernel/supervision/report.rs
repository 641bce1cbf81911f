//! The report of a death: on the console at once, and kept for `GET /subsystems`.

use crate::arch::aarch64::ImageLayout;
use crate::arch::aarch64::backtrace::DEPTH_MAX;
use crate::arch::aarch64::exceptions::class_of;
use crate::bus::{MessageId, Queue, RECENT};
use crate::kernel::cut::Cut;
use crate::kernel::place::Place;
use crate::kernel::scheduler::{Cause, Obituary, Registers};
use crate::platform::console::print;
use crate::platform::time::Instant;
use alloc::sync::Arc;
use core::fmt::{self, Write};
use heapless::{String, Vec};

/// Bytes of a reason: a panic's message and its place, cut to what fits.
const REASON_BYTES: usize = 200;
/// Addresses of a backtrace, with where it was.
const TRACE_MAX: usize = DEPTH_MAX + 1;
/// Messages of a report: the last of three queues.
const MESSAGES_MAX: usize = 3 * RECENT;

/// The last death of a subsystem, in words.
#[derive(Clone, Debug)]
pub(in crate::kernel) struct LastFault {
    /// Why; empty if it never died.
    pub(in crate::kernel) reason: String<REASON_BYTES>,
    /// When.
    pub(in crate::kernel) at: Instant,
    /// Its registers, where an exception or the watchdog saved them.
    pub(in crate::kernel) registers: Option<Registers>,
    /// Where it was and who had called it, innermost first.
    pub(in crate::kernel) backtrace: Vec<Place, TRACE_MAX>,
    /// The messages that it received last, by topic.
    pub(in crate::kernel) messages: Vec<(&'static str, MessageId), MESSAGES_MAX>,
}

impl LastFault {
    /// It never died.
    pub(super) const NONE: Self = Self {
        reason: String::new(),
        at: Instant::ZERO,
        registers: None,
        backtrace: Vec::new(),
        messages: Vec::new(),
    };

    pub(super) fn note(&mut self, obituary: &Obituary, queues: &[Arc<dyn Queue>]) {
        self.at = obituary.at;
        self.reason.clear();
        // What does not fit is cut.
        let _ = write!(Cut(&mut self.reason), "{}", Reason(obituary));
        self.registers.clone_from(&obituary.registers);
        self.backtrace = Vec::from_iter(places(obituary));
        let received = queues.iter().flat_map(|queue| {
            let recent = queue.recent().into_iter().flatten();
            recent.map(|id| (queue.topic(), id))
        });
        self.messages = Vec::from_iter(received.take(MESSAGES_MAX));
    }
}

/// Why, in one line.
struct Reason<'a>(&'a Obituary);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Obituary {
            cause,
            esr,
            far,
            message,
            location,
            ..
        } = self.0;
        match cause {
            Cause::Panic => write!(f, "panicked at {location}: {message}"),
            Cause::Exception => write!(f, "{}, esr {esr:#x}, far {far:#x}", class_of(*esr)),
            Cause::StackOverflow => write!(f, "its stack overflowed, far {far:#x}"),
            Cause::Hang => f.write_str("it did not come back to its executor in time"),
            Cause::Stopped => f.write_str("it was stopped: its health checks failed"),
            Cause::Returned => f.write_str("it ended by itself"),
        }
    }
}

/// Prints the whole report.
pub(super) fn print_report(name: &str, obituary: &Obituary) {
    print(format_args!(
        "\nnos: subsystem {name} died (start {}): {}\n",
        obituary.incarnation,
        Reason(obituary)
    ));
    if let Some(registers) = &obituary.registers {
        for (i, value) in registers.x.iter().enumerate() {
            let end = if i % 4 == 3 { "\n" } else { "  " };
            print(format_args!("  x{i:<2} {value:016x}{end}"));
        }
        print(format_args!(
            "  sp  {:016x}\n  pc  {:016x}    spsr {:016x}\n",
            registers.sp, registers.pc, registers.spsr
        ));
    }
    print(format_args!("backtrace, innermost first:\n"));
    for place in places(obituary) {
        place.tell(&mut print);
    }
}

/// Where it was and who had called it.
fn places(obituary: &Obituary) -> impl Iterator<Item = Place> + '_ {
    let start = ImageLayout::current().start;
    let offset = move |address: usize| address.wrapping_sub(start);
    let first = obituary.registers.iter();
    let first = first.map(move |registers| Place::interrupted(offset(registers.pc as usize)));
    let returns = obituary.backtrace.iter();
    first.chain(returns.map(move |&address| Place::returned_to(offset(address))))
}
